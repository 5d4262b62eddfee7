//! `bench run --backend ray` on the real Ray: answers, faults, nodes, and what is left behind.
//!
//! Needs `bench backends install ray`; says so and passes where Ray is missing, unless
//! `BENCH_REQUIRE_RUNTIMES` is set, as it is in CI.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::MutexGuard;

use bench_tests::following::Following;
use bench_tests::runtimes::runtimes;
use bench_tests::{bench, digest, eventually, records, shared_memory, stderr, succeed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// An open load that lasts for ten seconds at least, so that something can die in the middle of it.
const TEN_SECONDS: [&str; 6] = ["--num-tasks", "300", "--load", "open", "--rate", "30"];
/// One that is not over before something dies.
const HOURS: [&str; 6] = ["--num-tasks", "1000000", "--load", "open", "--rate", "60"];

fn ray() -> Option<MutexGuard<'static, ()>> {
    runtimes(&["ray"])
}

fn quick(backend: &str, output: &Path, more: &[&str]) -> Command {
    let output = output.to_str().unwrap();
    let mut command =
        bench(&["run", "--quick", "--backend", backend, "--no-user-plugins", "--output-dir", output]);
    command.args(more);
    command
}

/// The record of a run that ends well.
fn record(backend: &str, more: &[&str]) -> Value {
    let output = TempDir::new().unwrap();
    succeed(&mut quick(backend, output.path(), more));
    records(output.path()).remove(0)
}

fn answers(record: &Value) -> (&Value, u64, u64) {
    let items = &record["extra"]["items"];
    let number = |name: &str| items[name].as_u64().unwrap();
    (&record["extra"]["output_digest"], number("completed"), number("failed"))
}

fn metrics(record: &Value) -> &Value {
    &record["extra"]["backend_account"]["metrics"]
}

fn agrees_with_local(more: &[&str]) -> Value {
    let (local, ray) = (record("local", more), record("ray", more));
    assert_eq!(answers(&ray), answers(&local), "{more:?}");
    assert_eq!(ray["config_hash"], local["config_hash"]);
    ray
}

#[test]
fn the_answers_are_those_of_local() {
    let Some(_alone) = ray() else { return };
    for (workload, parallelism, batch) in [("wl4", "1", "1"), ("wl4", "4", "16"), ("null", "4", "16")] {
        let flags = ["--workload", workload, "--parallelism", parallelism, "--parity-batch-size", batch];
        let ray = agrees_with_local(&flags);
        let phases = metrics(&ray)["ray"]["phase_seconds"].as_object().unwrap();
        let names: Vec<&str> = phases.keys().map(String::as_str).collect();
        assert_eq!(names, ["start-up", "deploy", "warm-up", "steady", "drain", "teardown"]);
        assert_eq!(metrics(&ray)["ray"]["recovery"]["deaths"], 0);
        // Every record goes from process to process, and the host sees it without asking Ray.
        assert!(ray["extra"]["attribution"]["transfer_seconds"].as_f64() > Some(0.0));
    }
}

#[test]
fn the_simpler_workloads_too() {
    let Some(_alone) = ray() else { return };
    for workload in ["wl1", "wl2", "wl3"] {
        agrees_with_local(&["--workload", workload, "--parallelism", "2", "--parity-batch-size", "4"]);
    }
}

#[test]
fn vector_databases_in_shards_too() {
    let Some(_alone) = ray() else { return };
    let shards = ["--corpus-shards", "3", "--parallelism", "2"];
    let local = record("local", &shards);
    let ray = record("ray", &[&shards[..], &["--backend-option", "ray_fusion=chains"]].concat());
    assert_eq!(answers(&ray), answers(&local));
    assert_eq!(ray["config_hash"], local["config_hash"]);
}

#[test]
fn other_ways_to_use_ray_give_the_same_answers_and_are_labelled() {
    let Some(_alone) = ray() else { return };
    let local = record("local", &[]);
    for option in ["ray_mode=naive", "ray_mode=compiled", "ray_fusion=none"] {
        let ray = record("ray", &["--backend-option", option]);
        assert_eq!(answers(&ray), answers(&local), "{option}");
        assert_eq!(ray["config_hash"], local["config_hash"], "{option}");
        let (key, value) = option.split_once('=').unwrap();
        assert_eq!(ray["extra"]["backend_options"][key], value);
        assert_eq!(metrics(&ray)["ray"][key.trim_start_matches("ray_")], value);
    }
}

#[test]
fn the_naive_way_takes_a_graph_without_a_second_wave_too() {
    let Some(_alone) = ray() else { return };
    let local = record("local", &["--workload", "wl1"]);
    let ray = record("ray", &["--workload", "wl1", "--backend-option", "ray_mode=naive"]);
    assert_eq!(answers(&ray), answers(&local));
}

#[test]
fn a_worker_that_dies_costs_its_batch_or_with_retries_nothing() {
    let Some(_alone) = ray() else { return };
    let fault = |operator: &str| format!("fault=exit:{operator}:40");
    let good = record("local", &["--num-tasks", "120"]);
    let with = record("ray", &["--num-tasks", "120", "--set", &fault("vdb1"), "--retries", "2"]);
    assert_eq!(answers(&with), answers(&good));
    assert_eq!(metrics(&with)["ray"]["recovery"]["deaths"], 1);
    // The last one has seen the whole stream, so everything has to be sent to its successor.
    for operator in ["vdb1", "category_batch"] {
        let without = record("ray", &["--num-tasks", "120", "--set", &fault(operator)]);
        let (_, completed, failed) = answers(&without);
        assert_eq!((completed, failed), (104, 16), "{operator}");
    }
}

#[test]
fn a_record_that_an_operator_refuses_fails_alone() {
    let Some(_alone) = ray() else { return };
    let ray = agrees_with_local(&["--set", "fault=raise:vdb1:7"]);
    let (_, completed, failed) = answers(&ray);
    assert_eq!((completed, failed), (19, 1));
}

#[test]
fn a_call_that_never_returns_is_ended_where_a_time_limit_is_given() {
    let Some(_alone) = ray() else { return };
    // What hangs, hangs for ever; every other call has ten seconds for its milliseconds.
    let more = ["--set", "fault=hang:vdb1:7", "--backend-option", "call_timeout_seconds=10"];
    let ray = record("ray", &more);
    let (_, completed, failed) = answers(&ray);
    assert_eq!((completed, failed), (4, 16));
}

#[test]
fn operators_run_on_as_many_nodes_as_were_asked_for_or_the_run_is_refused() {
    let Some(_alone) = ray() else { return };
    let ray = record("ray", &["--nodes", "3"]);
    assert_eq!(answers(&ray), answers(&record("local", &[])));
    assert_eq!(ray["nodes"], 3);
    let nodes = metrics(&ray)["nodes"].as_object().unwrap();
    assert_eq!(nodes.len(), 3);
    for node in nodes.values() {
        assert!(node["calls"].as_u64() > Some(0) && node["alive"] == true, "{nodes:?}");
    }
    let output = TempDir::new().unwrap();
    for (more, reason) in [
        (&["--nodes", "9", "--parallelism", "1"][..], "Leave --nodes at 4 at most, or raise --parallelism"),
        (&["--nodes", "2", "--backend-option", "ray_mode=naive"], "runs on one node: leave --nodes at 1"),
    ] {
        let run = quick("ray", output.path(), more).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
        assert!(stderr(&run).contains(reason), "{}", stderr(&run));
    }
}

#[test]
fn a_node_that_dies_costs_nothing_with_retries() {
    let Some(_alone) = ray() else { return };
    let output = TempDir::new().unwrap();
    let mut more = TEN_SECONDS.to_vec();
    more.extend(["--nodes", "3", "--retries", "3"]);
    let child = steady(quick("ray", output.path(), &more));
    let node = *raylets(child.id()).get(1).expect("a worker node");
    for process in descendants(node) {
        // Some end with their parents.
        let _ = kill_process(Pid::from_raw(process as i32).unwrap(), Signal::KILL);
    }
    let ended = child.end();
    assert!(ended.status.success(), "{}", stderr(&ended));
    // The answers are those of any load.
    assert_eq!(digest(output.path()), record("local", &["--num-tasks", "300"])["extra"]["output_digest"]);
    let record = records(output.path()).remove(0);
    assert_eq!(metrics(&record)["ray"]["nodes_alive"], 2);
    let nodes = metrics(&record)["nodes"].as_object().unwrap();
    assert_eq!(nodes.len(), 3);
    for node in nodes.values() {
        assert!(node["operators"].as_u64() > Some(0) && node["calls"].as_u64() > Some(0), "{nodes:?}");
    }
    assert_eq!(nodes.values().filter(|node| node["alive"] == false).count(), 1);
}

#[test]
fn whoever_is_killed_nothing_stays_behind() {
    let Some(_alone) = ray() else { return };
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ray/auth_token"));
    let token = home.as_ref().and_then(|token| fs::metadata(token).and_then(|m| m.modified()).ok());
    let modes = [("host", "actors"), ("runner", "actors"), ("driver", "actors"), ("host", "compiled")];
    for (victim, mode) in modes {
        // Short, or Ray's sockets would not fit below it.
        let temporary = tempfile::Builder::new().prefix("t").rand_bytes(3).tempdir_in("/tmp").unwrap();
        let output = TempDir::new().unwrap();
        let mut command = quick("ray", output.path(), &HOURS);
        command.env("TMPDIR", temporary.path()).args(["--backend-option", &format!("ray_mode={mode}")]);
        let shared = shared_memory();
        let child = steady(command);
        let everyone = descendants(child.id());
        let driver = *everyone.iter().find(|pid| command_line(**pid).contains("driver.py")).unwrap();
        let target = match victim {
            "host" => child.id(),
            "runner" => parent(driver).unwrap(),
            _ => driver,
        };
        kill_process(Pid::from_raw(target as i32).unwrap(), Signal::KILL).unwrap();
        assert!(!child.end().status.success(), "{victim}");
        let alive = || -> Vec<String> {
            everyone.iter().filter(|pid| parent(**pid).is_some()).map(|pid| command_line(*pid)).collect()
        };
        eventually("every process ends", || alive().is_empty());
        eventually("the temporary folder is empty", || {
            fs::read_dir(temporary.path()).unwrap().next().is_none()
        });
        assert!(shared_memory().is_subset(&shared), "{victim} {mode}");
    }
    assert_eq!(token, home.and_then(|token| fs::metadata(token).and_then(|m| m.modified()).ok()));
}

/// Starts a run and waits until its first results are there: every operator has had calls by then.
fn steady(mut command: Command) -> Following {
    let mut run = Following::start(command.arg("--verbose"));
    run.until("phase: steady");
    run.until("00 items");
    run
}

/// The parent of a living process.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields[0] == "Z" { None } else { fields[1].parse().ok() }
}

fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

/// A process and everything below it, by number.
fn descendants(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in all {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(above) = found.get(next) {
        found.extend(children.remove(above).unwrap_or_default());
        next += 1;
    }
    found
}

/// Ray's node managers below a process, the head's first.
fn raylets(root: u32) -> Vec<u32> {
    let program = |pid: &u32| command_line(*pid).split(' ').next().is_some_and(|p| p.ends_with("/raylet"));
    let mut found: Vec<u32> = descendants(root).into_iter().filter(program).collect();
    found.sort_unstable();
    found
}
