//! `bench recover`: something is killed under a steady load, and what is said of it is what happened.
//!
//! How soon a backend is itself again depends on the machine, so no test wants a certain figure; what was killed, what
//! was answered and what was lost does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bench_tests::runtimes::runtimes;
use bench_tests::{bench, records, small_run, stderr, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

const LOCAL: [&str; 6] = ["recover", "--backend", "local", "--workload", "null", "--no-user-plugins"];

fn recover(words: &[&str], more: &[&str], output: &Path) -> Output {
    bench(&[words, more, &["--output-dir", output.to_str().unwrap()]].concat()).output().unwrap()
}

fn report(output: &Path) -> Value {
    serde_json::from_slice(&fs::read(output.join("recovery.json")).unwrap()).unwrap()
}

/// The folder of the run with the kill.
fn run_folder(output: &Path) -> PathBuf {
    let folders = fs::read_dir(output.join("runs")).unwrap().map(|entry| entry.unwrap().path());
    folders.into_iter().find(|folder| folder.join("completions.csv").is_file()).unwrap()
}

/// How many arrivals were answered, by the answers themselves.
fn answered(output: &Path) -> u64 {
    let text = fs::read_to_string(run_folder(output).join("completions.csv")).unwrap();
    let firsts = text.lines().filter(|line| line.starts_with("ok,") || line.starts_with("failed,"));
    let arrivals: Vec<&str> = firsts.map(|line| line.split(',').nth(1).unwrap()).collect();
    let distinct: BTreeSet<&&str> = arrivals.iter().collect();
    assert_eq!(distinct.len(), arrivals.len(), "an arrival has one first answer");
    arrivals.len() as u64
}

/// What holds whatever the machine and the backend did.
fn holds_together(output: &Path, ended: &Output) -> Value {
    let report = report(output);
    let schema: Value = serde_json::from_slice(&succeed(&mut bench(&["schema", "recovery"])).stdout).unwrap();
    let wrongs: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&report)
        .map(|wrong| wrong.to_string())
        .collect();
    assert!(wrongs.is_empty(), "{wrongs:?}");
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(count("arrivals"), answered(output) + count("lost") + count("never_taken"), "{report:#}");
    for figure in [
        "seconds_to_drop",
        "seconds_to_recover",
        "seconds_to_catch_up",
        "seconds_to_p99",
        "latency_debt_seconds",
        "late",
    ] {
        assert_eq!(report[figure].is_null(), report["unknown"][figure].is_string(), "{figure}: {report:#}");
    }
    let windows = report["windows"].as_array().unwrap();
    let in_windows: u64 = windows.iter().map(|window| window["arrivals"].as_u64().unwrap()).sum();
    assert_eq!((windows.len(), in_windows), (60, count("arrivals")));
    assert_eq!(fs::read_to_string(output.join("recovery.csv")).unwrap().lines().count(), 61);
    for file in ["report.html", "recovery_throughput.svg", "recovery_latency.svg"] {
        assert!(fs::read_to_string(output.join(file)).unwrap().contains("kill at"), "{file}");
    }
    let whole = ["lost", "never_taken", "duplicated", "unexpected"].map(count).iter().sum::<u64>() == 0
        && report["run_failed"].is_null();
    let wanted = match report["verdict"].as_str().unwrap() {
        "recovered" | "not_felt" if whole => 0,
        "unknown" => 13,
        _ => 10,
    };
    assert_eq!(ended.status.code(), Some(wanted), "{}{}", stdout(ended), stderr(ended));
    report
}

#[test]
fn a_backend_without_worker_processes_has_none_to_kill() {
    let output = TempDir::new().unwrap();
    let ended = recover(&LOCAL, &["--rate", "100", "--duration", "3s", "--kill-at", "20%"], output.path());
    assert_eq!(ended.status.code(), Some(13), "{}", stderr(&ended));
    let why = "nothing was killed: its operators run in the plugin's own process: there is no worker to kill";
    assert!(stderr(&ended).contains(why) && stderr(&ended).contains("--kill operator"), "{}", stderr(&ended));
    assert!(!output.path().join("recovery.json").exists());
    // There is nothing to see, so the rest of the arrivals is spared.
    assert!(records(output.path())[0]["extra"]["items"]["emitted"].as_u64() < Some(300));
}

#[test]
fn an_operator_that_panics_costs_nothing_with_retries() {
    let output = TempDir::new().unwrap();
    let more = ["--kill", "operator", "--rate", "50", "--duration", "6s", "--retries", "1"];
    let ended = recover(&LOCAL, &more, output.path());
    let report = holds_together(output.path(), &ended);
    let killed = &report["killed"];
    assert_eq!((&killed["what"], &killed["after"]), (&"operator".into(), &120.into()));
    assert_eq!((report["lost"].as_u64(), report["failed"].as_u64()), (Some(0), Some(0)));
    assert_eq!(report["killed_after_seconds"].as_f64(), Some(120.0 / 50.0));
    let operator = killed["operator"].as_str().unwrap();
    let said = stdout(&ended);
    assert!(said.contains(&format!("operator {operator} panicked at query 120")), "{said}");
    let log = fs::read_to_string(run_folder(output.path()).join("run.log")).unwrap();
    assert!(log.contains("injected fault at record"), "it did panic: {log}");
}

#[test]
fn a_process_that_the_user_names_is_killed_at_its_event_and_what_it_did_for_the_run_is_said() {
    let output = TempDir::new().unwrap();
    let mut named = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pid = named.id().to_string();
    let more = ["--kill-pid", &pid, "--rate", "100", "--duration", "3s", "--json"];
    let ended = recover(&LOCAL, &more, output.path());
    assert!(!named.wait().unwrap().success());
    let report = holds_together(output.path(), &ended);
    let killed = &report["killed"];
    assert_eq!((&killed["what"], &killed["calls"]), (&"process".into(), &0.into()));
    assert_eq!(killed["processes"][0]["pid"].to_string(), pid);
    assert_eq!(killed["processes"][0]["command"], "cat");
    assert!(killed["after"].as_u64() >= Some(120) && killed["at"].is_string());
    assert_eq!((report["lost"].as_u64(), report["duplicated"].as_u64()), (Some(0), Some(0)));
    let page = fs::read_to_string(output.path().join("report.html")).unwrap();
    assert!(page.contains("no answer before it bears the work of what was killed"));
    assert_eq!(serde_json::from_slice::<Value>(&ended.stdout).unwrap(), report);
    // Nobody compares it with runs in which nothing was killed.
    let record = records(output.path()).remove(0);
    assert_eq!(record["extra"]["killed"], report["killed"]);
    let findings = record["extra"]["validity"]["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["code"] == "killed"), "{findings:?}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_runs() {
    let (output, own) = (TempDir::new().unwrap(), std::process::id().to_string());
    for (flags, words) in [
        (&["--kill", "node"][..], "--kill node needs several: add --nodes 2"),
        (&["--num-tasks", "100"], "use --duration"),
        (&["--warmup", "auto"], "leave --warmup out"),
        (&["--share", "0"], "--share must be above 0"),
        (&["--kill-at", "10%"], "--kill-at must be from 20% to below 100%"),
        (&["--operator", "embed_q"], "--operator belongs to --kill operator"),
        (&["--kill", "operator", "--kill-pid", &own], "--kill operator kills no process"),
        (&["--kill-pid", &own], "is bench itself, or what it was started by"),
        (&["--kill-pid", "4294967295"], "there is no such process on this machine"),
        (&["--load", "closed"], "`bench recover` has an open load"),
        (&["--rate", "10", "--duration", "9s"], "are 90 arrivals, and fewer than 120 show no curve"),
        (
            &["--rate", "50", "--kill", "operator", "--operator", "vdb9"],
            "no operator without state that is called 'vdb9'",
        ),
        (
            &["--rate", "50", "--kill", "operator", "--set", "fault=raise:embed_q:1"],
            "--kill operator is a fault by itself: leave --set fault out",
        ),
    ] {
        let refused = recover(&LOCAL, flags, output.path());
        assert_eq!(refused.status.code(), Some(2), "{flags:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(words), "{flags:?}: {}", stderr(&refused));
    }
    assert!(!output.path().join("recovery.json").exists() && !output.path().join("runs").exists());
}

fn lost_a_worker_and_no_item(report: &Value) {
    assert_eq!((&report["run_failed"], &report["killed"]["what"]), (&Value::Null, &"worker".into()));
    let items = ["lost", "never_taken", "duplicated", "failed"].map(|name| report[name].as_u64());
    assert_eq!(items, [Some(0); 4], "{report}");
}

#[test]
fn ray_replaces_a_worker_and_with_retries_nothing_is_lost() {
    let Some(_alone) = runtimes(&["ray"]) else { return };
    let output = TempDir::new().unwrap();
    let words = ["recover", "--backend", "ray", "--quick", "--retries", "3", "--no-user-plugins"];
    let ended = recover(&words, &["--rate", "20", "--duration", "8s"], output.path());
    let report = holds_together(output.path(), &ended);
    lost_a_worker_and_no_item(&report);
    let killed = &report["killed"]["processes"][0];
    assert!(killed["command"].as_str().unwrap().starts_with("ray::"), "{killed}");
    assert!(report["killed"]["calls"].as_u64() > Some(0));
    let record = records(output.path()).remove(0);
    assert_eq!(record["extra"]["backend_account"]["metrics"]["ray"]["recovery"]["deaths"], 1);
    let local = TempDir::new().unwrap();
    succeed(&mut small_run("local", local.path(), &["--num-tasks", "160"]));
    let digest = |record: &Value| record["extra"]["output_digest"].clone();
    assert_eq!(digest(&record), digest(&records(local.path())[0]), "and the answers are right");
}

#[test]
fn what_dask_does_without_a_worker_is_told_as_it_is() {
    let Some(_alone) = runtimes(&["dask"]) else { return };
    let output = TempDir::new().unwrap();
    let words = ["recover", "--backend", "dask", "--quick", "--no-user-plugins"];
    let ended = recover(&words, &["--rate", "30", "--duration", "6s"], output.path());
    let report = holds_together(output.path(), &ended);
    let killed = &report["killed"]["processes"][0];
    assert!(killed["command"].as_str().unwrap().contains("python"), "{killed}");
    assert!(!Path::new("/proc").join(killed["pid"].to_string()).exists(), "it is gone");
    if let Some(why) = report["run_failed"].as_str() {
        // A run that did not survive leaves no record, and what is known of it all the same.
        assert!(why.contains("backend `dask`") && records_are_none(output.path()), "{why}");
        assert!(stdout(&ended).contains(why), "{}", stdout(&ended));
    }
}

#[test]
fn dask_makes_anew_what_a_worker_held_and_with_retries_nothing_is_lost() {
    let Some(_alone) = runtimes(&["dask"]) else { return };
    let output = TempDir::new().unwrap();
    let words = ["recover", "--backend", "dask", "--quick", "--retries", "3", "--no-user-plugins"];
    let ended = recover(&words, &["--rate", "20", "--duration", "6s"], output.path());
    let report = holds_together(output.path(), &ended);
    lost_a_worker_and_no_item(&report);
}

fn records_are_none(output: &Path) -> bool {
    !output.join("unified_results.jsonl").exists()
}
