//! `bench run --backend sage` on the real SAGE: answers, faults, schedulers, and what is refused.
//!
//! Needs `bench backends install sage`; says so and passes where SAGE is missing, unless `BENCH_REQUIRE_RUNTIMES` is
//! set, as it is in CI.

use std::process::Output;
use std::sync::MutexGuard;

use bench_tests::runtimes::runtimes;
use bench_tests::{records, small_run, stderr, succeed};
use serde_json::Value;
use tempfile::TempDir;

const ENGINES: [&str; 2] = ["sage_engine=environment", "sage_engine=flow"];

fn sage() -> Option<MutexGuard<'static, ()>> {
    runtimes(&["sage"])
}

/// The record of a run that ends well.
fn record(backend: &str, more: &[&str]) -> Value {
    let output = TempDir::new().unwrap();
    succeed(&mut small_run(backend, output.path(), more));
    records(output.path()).remove(0)
}

/// A run that does not.
fn failed(more: &[&str]) -> Output {
    let output = TempDir::new().unwrap();
    let run = small_run("sage", output.path(), more).output().unwrap();
    assert!(!run.status.success());
    run
}

fn answers_are_those_of_local(more: &[&str]) {
    let local = record("local", more);
    for engine in ENGINES {
        let sage = record("sage", &[more, &["--backend-option", engine]].concat());
        assert_eq!(sage["extra"]["output_digest"], local["extra"]["output_digest"], "{engine} {more:?}");
        assert_eq!(sage["extra"]["items"], local["extra"]["items"], "{engine} {more:?}");
        assert_eq!(sage["config_hash"], local["config_hash"], "{engine} {more:?}");
        let metrics = &sage["extra"]["backend_account"]["metrics"];
        assert_eq!(metrics["sage"]["runtime_errors"]["errors"], 0, "{engine} {more:?}");
    }
}

#[test]
fn the_answers_are_those_of_local() {
    let Some(_alone) = sage() else { return };
    for (parallelism, batch) in [("1", "16"), ("2", "1"), ("4", "16")] {
        answers_are_those_of_local(&["--parallelism", parallelism, "--parity-batch-size", batch]);
    }
}

#[test]
fn the_other_workloads_too() {
    let Some(_alone) = sage() else { return };
    for workload in ["null", "wl1", "wl2", "wl3"] {
        answers_are_those_of_local(&["--workload", workload, "--parallelism", "2"]);
    }
}

#[test]
fn vector_databases_in_shards_too() {
    let Some(_alone) = sage() else { return };
    answers_are_those_of_local(&["--corpus-shards", "3", "--parallelism", "2"]);
}

#[test]
fn a_record_that_an_operator_refuses_fails_alone() {
    let Some(_alone) = sage() else { return };
    let fault = ["--parallelism", "2", "--set", "fault=raise:vdb1:7"];
    answers_are_those_of_local(&fault);
    assert_eq!(record("sage", &fault)["extra"]["items"]["failed"], 1);
}

#[test]
fn a_process_that_ends_is_reported_with_its_status() {
    let Some(_alone) = sage() else { return };
    let run = failed(&["--workload", "null", "--parallelism", "2", "--set", "fault=exit:vdb1:7"]);
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    assert!(
        stderr(&run).contains("exit status: 86") && stderr(&run).contains("phase steady"),
        "{}",
        stderr(&run)
    );
}

#[test]
fn schedulers_are_reported_for_what_they_are() {
    let Some(_alone) = sage() else { return };
    for (asked, effect) in
        [("fifo", "does not consult"), ("load_aware", "does not consult"), ("default", "left to SAGE")]
    {
        let sage = record("sage", &["--workload", "null", "--scheduler", asked]);
        let scheduler = &sage["extra"]["backend_account"]["metrics"]["sage"]["scheduler"];
        assert_eq!(scheduler["asked"], asked);
        assert!(scheduler["effect"].as_str().unwrap().contains(effect), "{scheduler}");
    }
}

#[test]
fn several_nodes_are_refused() {
    let Some(_alone) = sage() else { return };
    let run = failed(&["--nodes", "3"]);
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert!(stderr(&run).contains("SAGE cannot use 3 nodes"), "{}", stderr(&run));
}
