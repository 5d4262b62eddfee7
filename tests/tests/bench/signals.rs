//! Ctrl-C and its kin, and what is left when a run is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bench_tests::following::Following;
use bench_tests::{bench, bench_path, eventually, folder, mark, marked, records, small_run};
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
fn ctrl_c_termination_and_a_lost_terminal_drain_and_leave_a_partial_record() {
    for kind in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (output, mark) = (TempDir::new().unwrap(), mark());
        let run = slow_run(&output, &mark);
        signal(&run, kind);
        let ended = run.end();
        assert_eq!(ended.status.code(), Some(130), "{kind:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("stopping: what is under way is finished first; once more"), "{said}");
        let record = records(output.path()).remove(0);
        assert_eq!(record["extra"]["partial"], true);
        assert_eq!(record["extra"]["validity"]["verdict"], "INVALID");
        let items = &record["extra"]["items"];
        let emitted = items["emitted"].as_u64().unwrap();
        assert!((1..1_000_000).contains(&emitted) && items["completed"].as_u64() == Some(emitted), "{items}");
        assert!(marked(&mark).is_empty());
    }
}

#[test]
fn a_second_signal_ends_it_without_waiting_for_what_is_under_way() {
    // What is under way takes a day. Signals of two kinds, because two of one may arrive as one.
    let more = ["--verbose", "--llm-latency-ms", "24h"];
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let mut run = Following::start(small_run("local", output.path(), &more).env("MARK", &mark));
    run.until("phase: ");
    signal(&run, Signal::TERM);
    signal(&run, Signal::HUP);
    assert_eq!(run.end().status.code(), Some(130));
    eventually("nothing is left", || marked(&mark).is_empty());
    assert!(!output.path().join("unified_results.jsonl").exists());
}

#[test]
fn one_signal_ends_a_run_that_has_not_begun_because_nothing_is_under_way() {
    let (output, plugins, mark) = (TempDir::new().unwrap(), folder(&[("hostile", "hostile")]), mark());
    let mut hangs = small_run("hostile", output.path(), &["--plugins-dir", plugins.path().to_str().unwrap()]);
    let mut run = start(hangs.env("HOSTILE", "run:hang"), &mark);
    run.until("phase: run");
    signal(&run, Signal::TERM);
    assert_eq!(run.end().status.code(), Some(130));
    eventually("nothing is left", || marked(&mark).is_empty());
    assert!(!output.path().join("unified_results.jsonl").exists());
}

#[test]
fn a_run_that_was_told_to_ignore_a_lost_terminal_goes_on_without_it() {
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let more = ["--verbose", "--load", "open", "--rate", "40", "--workload", "null"];
    let run = small_run("local", output.path(), &more);
    let mut nohup = Command::new("nohup");
    nohup.arg(run.get_program()).args(run.get_args()).env("MARK", &mark);
    nohup.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut run = Following::start(&mut nohup);
    run.until("/120 items");
    signal(&run, Signal::HUP);
    assert_eq!(run.end().status.code(), Some(0));
    assert_eq!(records(output.path())[0]["extra"]["partial"], false);
}

/// The only folder below which a campaign keeps everything.
fn tree(root: &Path) -> PathBuf {
    let only = |folder: &Path| fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    only(&only(root))
}

#[test]
fn campaigns_keep_what_is_finished_when_their_terminal_is_lost() {
    let place = TempDir::new().unwrap();
    let folder = |name: &str| place.path().join(name);
    let load =
        ["--load", "open", "--rate", "40", "--workload", "null", "--num-tasks", "120", "--no-user-plugins"];
    for (command, more) in
        [("pair", ["--aa", "--repeat", "9"]), ("sweep", ["--parallelism", "1,2,3", "--repeat=9"])]
    {
        let (root, mark) = (folder(command), mark());
        let words = [command, "--backends", "local", "--output-root", root.to_str().unwrap()];
        let mut campaign = start(&mut bench(&[&words[..], &more, &load].concat()), &mark);
        campaign.until("/120 items");
        signal(&campaign, Signal::HUP);
        let ended = campaign.end();
        assert_eq!(ended.status.code(), Some(130), "{command}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains(&format!("bench {command} --resume ")), "{said}");
        // The run that was under way was let end: a part of it is worth nothing here.
        let records = records(&tree(&root).join("backends/local"));
        assert!(records.iter().all(|record| record["extra"]["partial"] == false), "{command}");
        assert!(records.len() < 18, "{command}");
    }
    let (output, mark) = (folder("capacity"), mark());
    let words = ["capacity", "--backend", "local", "--slo", "p99=1s", "--trial", "1h", "--workload", "null"];
    let place = ["--no-user-plugins", "--output-dir", output.to_str().unwrap()];
    let mut search = start(&mut bench(&[&words[..], &place].concat()), &mark);
    search.until(" items");
    signal(&search, Signal::HUP);
    assert_eq!(search.end().status.code(), Some(130));
    assert!(!records(&output).is_empty());
}

#[test]
fn a_lost_terminal_ends_a_soak_early_and_keeps_what_it_saw() {
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let load = ["soak", "--duration", "24h", "--load", "open", "--rate", "20", "--workload", "null"];
    let place = ["--backend", "local", "--no-user-plugins", "--output-dir", output.path().to_str().unwrap()];
    let mut soak = start(&mut bench(&[&load[..], &place].concat()), &mark);
    // Windows are what lies between two reports of a stream that goes on after them.
    for _ in 0..3 {
        soak.until("/1728000 items");
    }
    signal(&soak, Signal::HUP);
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
