//! Ctrl-C, and what is left when a run is killed.

use std::process::{Child, Stdio};
use std::time::Duration;

use bench_tests::{bench, bench_path, eventually, mark, marked, records, small_run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A run that would take a minute: an open load of two queries a second.
fn slow_run(output: &TempDir, mark: &str) -> Child {
    let more = ["--load", "open", "--rate", "2", "--workload", "null"];
    let mut command = small_run("local", output.path(), &more);
    command.env("MARK", mark).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The run is under way once host, warden and runner exist; then it gets a moment to emit.
fn under_way(mark: &str) {
    eventually("the run is under way", || marked(mark).len() >= 3);
    std::thread::sleep(Duration::from_millis(1500));
}

#[test]
fn ctrl_c_once_drains_and_writes_a_partial_record() {
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let mut child = slow_run(&output, &mark);
    under_way(&mark);
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let record = records(output.path()).remove(0);
    assert_eq!(record["extra"]["partial"], true);
    assert_eq!(record["extra"]["validity"]["verdict"], "INVALID");
    let items = &record["extra"]["items"];
    let emitted = items["emitted"].as_u64().unwrap();
    assert!((1..120).contains(&emitted) && items["completed"].as_u64() == Some(emitted), "{items}");
    assert!(marked(&mark).is_empty());
}

#[test]
fn ctrl_c_ends_a_soak_early_and_keeps_what_it_saw() {
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let load = ["soak", "--duration", "60s", "--load", "open", "--rate", "20", "--workload", "null"];
    let place = ["--backend", "local", "--no-user-plugins", "--output-dir", output.path().to_str().unwrap()];
    let mut command = bench(&[&load[..], &place].concat());
    let mut child = command.env("MARK", &mark).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    under_way(&mark);
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let soak: Value =
        serde_json::from_slice(&std::fs::read(output.path().join("soak.json")).unwrap()).unwrap();
    assert_eq!((&soak["partial"], &soak["validity"]["verdict"]), (&true.into(), &"INVALID".into()));
    assert!(!soak["windows"].as_array().unwrap().is_empty() && soak["items"].as_u64() < Some(1_200));
}

#[test]
fn a_killed_host_leaves_no_process_and_no_broken_file() {
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let mut child = slow_run(&output, &mark);
    under_way(&mark);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    eventually("nothing is left", || marked(&mark).is_empty());
    assert!(!output.path().join("unified_results.jsonl").exists());
    assert!(bench_path().exists());
}
