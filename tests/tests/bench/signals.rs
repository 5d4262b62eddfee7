//! Ctrl-C, and what is left when a run is killed.

use std::process::Command;

use bench_tests::following::Following;
use bench_tests::{bench, bench_path, eventually, mark, marked, records, small_run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A run of hours, under way: of its open load the first queries are answered.
fn slow_run(output: &TempDir, mark: &str) -> Following {
    let more = ["--load", "open", "--rate", "10", "--workload", "null", "--num-tasks", "1000000"];
    let mut run = start(&mut small_run("local", output.path(), &more), mark);
    run.until("/1000000 items");
    run
}

fn start(command: &mut Command, mark: &str) -> Following {
    Following::start(command.arg("--verbose").env("MARK", mark))
}

fn signal(child: &Following, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn ctrl_c_once_drains_and_writes_a_partial_record() {
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let run = slow_run(&output, &mark);
    signal(&run, Signal::INT);
    assert_eq!(run.end().status.code(), Some(130));
    let record = records(output.path()).remove(0);
    assert_eq!(record["extra"]["partial"], true);
    assert_eq!(record["extra"]["validity"]["verdict"], "INVALID");
    let items = &record["extra"]["items"];
    let emitted = items["emitted"].as_u64().unwrap();
    assert!((1..1_000_000).contains(&emitted) && items["completed"].as_u64() == Some(emitted), "{items}");
    assert!(marked(&mark).is_empty());
}

#[test]
fn ctrl_c_ends_a_soak_early_and_keeps_what_it_saw() {
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let load = ["soak", "--duration", "24h", "--load", "open", "--rate", "20", "--workload", "null"];
    let place = ["--backend", "local", "--no-user-plugins", "--output-dir", output.path().to_str().unwrap()];
    let mut soak = start(&mut bench(&[&load[..], &place].concat()), &mark);
    // Windows are what lies between two reports of a stream that goes on after them.
    for _ in 0..3 {
        soak.until("/1728000 items");
    }
    signal(&soak, Signal::INT);
    assert_eq!(soak.end().status.code(), Some(130));
    let soak: Value =
        serde_json::from_slice(&std::fs::read(output.path().join("soak.json")).unwrap()).unwrap();
    assert_eq!((&soak["partial"], &soak["validity"]["verdict"]), (&true.into(), &"INVALID".into()));
    assert!(!soak["windows"].as_array().unwrap().is_empty() && soak["items"].as_u64() < Some(1_728_000));
}

#[test]
fn a_killed_host_leaves_no_process_and_no_broken_file() {
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let run = slow_run(&output, &mark);
    // Host, warden and runner.
    assert!(marked(&mark).len() >= 3, "{:?}", marked(&mark));
    signal(&run, Signal::KILL);
    assert!(!run.end().status.success());
    eventually("nothing is left", || marked(&mark).is_empty());
    assert!(!output.path().join("unified_results.jsonl").exists());
    assert!(bench_path().exists());
}
