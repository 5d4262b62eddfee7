//! `bench run --backend dask` on the real Dask: answers, faults, and what is left behind.
//!
//! Needs `bench backends install dask`; says so and passes where Dask is missing, unless
//! `BENCH_REQUIRE_RUNTIMES` is set, as it is in CI.

use std::fs;
use std::path::Path;
use std::sync::MutexGuard;

use bench_tests::following::Following;
use bench_tests::runtimes::runtimes;
use bench_tests::{eventually, mark, marked, records, shared_memory, small_run, stderr, succeed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

fn dask() -> Option<MutexGuard<'static, ()>> {
    runtimes(&["dask"])
}

/// The record of a run that ends well.
fn record(backend: &str, more: &[&str]) -> Value {
    let output = TempDir::new().unwrap();
    succeed(&mut small_run(backend, output.path(), more));
    records(output.path()).remove(0)
}

#[test]
fn the_answers_are_those_of_local() {
    let Some(_alone) = dask() else { return };
    for workload in ["wl4", "null"] {
        for batch in ["1", "16"] {
            let shards = if batch == "1" { "1" } else { "3" };
            let flags = ["--parallelism", "2", "--parity-batch-size", batch, "--corpus-shards", shards];
            let flags = [&["--workload", workload][..], &flags].concat();
            let (local, dask) = (record("local", &flags), record("dask", &flags));
            assert_eq!(dask["extra"]["output_digest"], local["extra"]["output_digest"], "{flags:?}");
            assert_eq!(dask["extra"]["items"]["completed"], 120);
            assert_eq!(dask["config_hash"], local["config_hash"]);
            assert_eq!(dask["extra"]["backend_account"]["metrics"]["dask"]["workers"], 2);
        }
    }
}

#[test]
fn a_record_that_an_operator_refuses_fails_alone() {
    let Some(_alone) = dask() else { return };
    let fault = ["--set", "fault=raise:vdb1:7"];
    let (local, dask) = (record("local", &fault), record("dask", &fault));
    assert_eq!(dask["extra"]["output_digest"], local["extra"]["output_digest"]);
    assert_eq!(dask["extra"]["items"]["failed"], 1);
}

#[test]
fn a_worker_that_dies_ends_the_run_with_the_reason() {
    let Some(_alone) = dask() else { return };
    for operator in ["vdb1", "category_batch"] {
        let output = TempDir::new().unwrap();
        let fault = format!("fault=exit:{operator}:40");
        let run = small_run("dask", output.path(), &["--set", &fault]).output().unwrap();
        assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
        assert!(stderr(&run).contains("failed in Dask"), "{}", stderr(&run));
    }
}

#[test]
fn more_nodes_than_this_machine_need_a_cluster() {
    let Some(_alone) = dask() else { return };
    let output = TempDir::new().unwrap();
    let run = small_run("dask", output.path(), &["--nodes", "2"]).output().unwrap();
    assert!(!run.status.success());
    assert!(stderr(&run).contains("dask_address=tcp://"), "{}", stderr(&run));
}

#[test]
fn whoever_ends_the_run_nothing_stays_behind() {
    let Some(_alone) = dask() else { return };
    for signal in [Signal::KILL, Signal::INT] {
        let (output, temporary, mark) = (TempDir::new().unwrap(), TempDir::new().unwrap(), mark());
        let hours = ["--load", "open", "--rate", "20", "--num-tasks", "1000000", "--verbose"];
        let mut command = small_run("dask", output.path(), &hours);
        command.env("MARK", &mark).env("TMPDIR", temporary.path());
        let shared = shared_memory();
        let mut child = Following::start(&mut command);
        child.until("phase: steady");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert!(!child.end().status.success());
        eventually("every process ends", || marked(&mark).is_empty());
        eventually("the temporary folder is empty", || is_empty(temporary.path()));
        assert!(shared_memory().is_subset(&shared), "{signal:?}");
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
