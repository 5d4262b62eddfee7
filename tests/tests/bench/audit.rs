//! `bench audit`: who takes shortcuts is found out, and who takes none is not.

use std::path::Path;
use std::process::Command;

use bench_tests::pairs;
use bench_tests::rows::all_hold;
use bench_tests::{bench, folder, records, small_run, stderr, stdout, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A workload whose answers depend on their query alone, at a size that takes some work.
const WORK: [&str; 4] = ["--workload", "wl1", "--num-tasks", "120"];

fn audit(results: &Path, more: &[&str]) -> Command {
    let mut command = bench(&["audit", results.to_str().unwrap(), "--no-user-plugins", "--json"]);
    command.args(more);
    command
}

/// The outcome of each question, by its variant.
fn outcomes(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let answers = report["audits"][0]["answers"].as_array().unwrap().iter();
    answers.map(|answer| (text(&answer["variant"]), text(&answer["outcome"]))).collect()
}

/// A cheat, and the question that finds it out.
const CHEATS: [(&str, &str); 5] = [
    ("cache", "repeated"),
    ("seed", "other_seed"),
    ("order", "other_order"),
    ("size", "fewer"),
    ("unwatched", "as_recorded"),
];

#[test]
fn each_cheat_is_found_out_by_its_question() {
    let plugins = folder(&[("cheat", "cheat")]);
    let plugins = ["--plugins-dir", plugins.path().to_str().unwrap()];
    all_hold(&CHEATS, |(cheat, variant)| {
        let (results, store) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let cheating = |command: &mut Command| {
            command.args(plugins).env("CHEAT", cheat).env("CHEAT_STORE", store.path()).output().unwrap()
        };
        let ran = cheating(&mut small_run("cheat", results.path(), &WORK));
        assert!(ran.status.success(), "{}", stderr(&ran));
        let audited = cheating(&mut audit(results.path(), &["--rounds", "4"]));
        let told =
            || format!("{cheat}: {:?}\n{}\n{}", audited.status.code(), stdout(&audited), stderr(&audited));
        if audited.status.code() != Some(15) {
            return Err(told());
        }
        let report: Value = serde_json::from_str(&stdout(&audited)).unwrap();
        let found = outcomes(&report).contains(&((*variant).to_owned(), "shortcut".to_owned()));
        let kept = pairs::json(&results.path().join("audit.json"));
        if found && kept == report { Ok(()) } else { Err(told()) }
    });
}

#[test]
fn who_takes_no_shortcut_passes_and_nothing_is_added_to_the_results() {
    let (results, plugins) = (TempDir::new().unwrap(), folder(&[("cheat", "cheat")]));
    for (backend, workload) in [("local", "wl4"), ("local", "null"), ("cheat", "wl1")] {
        let mut run = small_run(backend, results.path(), &["--workload", workload, "--plugins-dir"]);
        succeed(run.arg(plugins.path()));
    }
    let audited = succeed(audit(results.path(), &["--plugins-dir"]).arg(plugins.path()));
    let report: Value = serde_json::from_str(&stdout(&audited)).unwrap();
    assert_eq!((report["outcome"].as_str(), report["audits"].as_array().unwrap().len()), (Some("honest"), 3));
    assert_eq!(records(results.path()).len(), 3);
    let again = succeed(audit(results.path(), &["--backend", "cheat", "--plugins-dir"]).arg(plugins.path()));
    let report: Value = serde_json::from_str(&stdout(&again)).unwrap();
    assert_eq!(report["audits"].as_array().unwrap().len(), 1);
    assert!(results.path().join("audit.2.json").is_file(), "the first is not overwritten");
}

#[test]
fn what_cannot_be_audited_is_said() {
    let (results, plugins) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let refused = |more: &[&str], code: i32, says: &str| {
        let output = audit(results.path(), more).arg("--plugins-dir").arg(plugins.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{more:?}: {}", stderr(&output));
    };
    refused(&[], 2, "no unified_results.jsonl");
    succeed(&mut small_run("local", results.path(), &["--workload", "null"]));
    refused(&["--backend", "nobody"], 2, "there are no runs of 'nobody'");
    refused(&["--rounds", "1"], 2, "--rounds must be from 4 to 20");
    let path = results.path().join("unified_results.jsonl");
    let mut record = records(results.path()).remove(0);
    record["extra"]["effective_config"]["parity_batch_size"] = json!(8);
    let other = format!("{record}\n");
    std::fs::write(&path, other).unwrap();
    refused(&[], 2, "cannot be repeated: what its record says comes to config_hash");
}
