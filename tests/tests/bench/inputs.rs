//! Small things as people write and keep them: numbers, durations, files of other systems, group-writable folders.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use bench_tests::{bench, folder, small_run, stderr, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

/// What a dry run says of a configuration.
fn hash(more: &[&str]) -> Value {
    let dry = ["run", "--backend", "local", "--no-user-plugins", "--workload", "null", "--dry-run"];
    let output = succeed(&mut bench(&[&dry[..], more].concat()));
    serde_json::from_str::<Value>(&stdout(&output)).unwrap()["config_hash"].clone()
}

#[test]
fn counts_and_durations_are_the_same_however_they_are_written() {
    let thousand = hash(&["-n", "1000", "--corpus-size", "1000", "--timeout", "90"]);
    for [n, size, timeout] in [["1e3", "1e3", "90s"], ["1k", "1_000", "1m30s"], ["1_000", "1k", "PT1M30S"]] {
        assert_eq!(hash(&["-n", n, "--corpus-size", size, "--timeout", timeout]), thousand, "{n}");
    }
    let soak = ["soak", "--backend", "local", "--no-user-plugins", "--workload", "null"];
    for (duration, why) in
        [("0", "it must be above 0 seconds"), ("-5s", "below zero"), ("1y", "is not a duration")]
    {
        let output = bench(&[&soak[..], &["--duration", duration]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{duration}");
        let said = stderr(&output);
        assert!(said.starts_with("error: invalid value") && said.contains(why), "{said}");
    }
}

/// As editors and transfers of other systems leave a text.
fn made_foreign(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let text = text.trim_start_matches('\u{feff}');
    fs::write(path, format!("\u{feff}{}", text.replace("\r\n", "\n").replace('\n', "\r\n"))).unwrap();
}

#[test]
fn results_that_went_through_another_system_are_read_and_added_to() {
    let place = TempDir::new().unwrap();
    let (results, report) = (place.path().join("results"), place.path().join("report"));
    let run = || succeed(&mut small_run("local", &results, &["--workload", "null"]));
    run();
    for file in ["unified_results.jsonl", "unified_results.csv", "repro_manifest.json"] {
        made_foreign(&results.join(file));
    }
    run();
    made_foreign(&results.join("unified_results.jsonl"));
    let (results, report) = (results.to_str().unwrap(), report.to_str().unwrap());
    let compared = succeed(&mut bench(&["compare", results, "--output-dir", report, "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&stdout(&compared)).unwrap()["records"], 2);
    succeed(&mut bench(&["verify", results, results]));
}

#[test]
fn a_group_of_ones_own_needs_no_chmod_and_others_need_one() {
    let plugins = folder(&[("healthy", "healthy")]);
    let file = plugins.path().join("libbackend_healthy.so");
    let set = |mode| {
        for place in [plugins.path(), &file] {
            fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    let info = || {
        let path = plugins.path().to_str().unwrap();
        let info = ["backends", "info", "healthy", "--json", "--no-user-plugins", "--plugins-dir", path];
        let output = succeed(&mut bench(&info));
        serde_json::from_str::<Value>(&stdout(&output)).unwrap()["status"].clone()
    };
    let id = |what: &str| stdout(&succeed(Command::new("id").arg(what).arg("-n")));
    set(0o775);
    if id("-un") == id("-gn") {
        assert_eq!(info(), "described");
    }
    set(0o777);
    let path = plugins.path().to_str().unwrap();
    let run = ["run", "--backend", "healthy", "--quick", "--no-user-plugins", "--plugins-dir", path];
    let said = stderr(&bench(&run).output().unwrap());
    let chmod = said.split_once("run: ").expect("there is a remedy").1.lines().next().unwrap().to_owned();
    assert!(chmod.contains(file.to_str().unwrap()), "{said}");
    succeed(Command::new("sh").args(["-c", &chmod]));
    assert_eq!(info(), "described", "one command mends both");
}

#[test]
fn tables_fit_a_hundred_columns_or_what_is_asked_for() {
    let plugins = folder(&[("healthy", &"a_rather_long_name_".repeat(3))]);
    let path = plugins.path().to_str().unwrap();
    for (columns, width) in [(None, 100), (Some("72"), 72), (Some("nonsense"), 100)] {
        let mut list = bench(&["backends", "list", "--no-user-plugins", "--plugins-dir", path]);
        list.env_remove("COLUMNS").envs(columns.map(|columns| ("COLUMNS", columns)));
        let shown = stdout(&succeed(&mut list));
        let widest = shown.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest}\n{shown}");
        assert!(!shown.contains('\u{1b}'), "no colour where nobody looks");
    }
}
