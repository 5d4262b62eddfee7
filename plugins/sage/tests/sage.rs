//! The real SAGE on the real operators, against the one-thread pipeline.
//!
//! Needs the managed environment (`bench backends install sage`); says so and passes where it is
//! missing, unless `BENCH_REQUIRE_RUNTIMES` is set, as it is in CI.

#[path = "../../../tests/src/skip.rs"]
mod skip;
#[path = "../../python/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use backend_sage::Sage;
use bench_plugin_api::sdk::{Availability, Backend, Error, Finished, Spec};
use bench_workloads::workload::OpenSpec;
use support::{Bench, Outcome, Seen, library, open_spec, oracle, set, spec};

fn installed() -> bool {
    let Availability::Missing { reason, remedy } = Sage.is_available() else { return true };
    skip::skip(&reason, &remedy);
    false
}

fn run(bench: &Arc<Bench>, spec: &Spec) -> (Result<Finished, Error>, Seen) {
    let result = Sage.run(spec, &bench.host());
    (result, bench.seen())
}

fn with(mut spec: Spec, extra: &[(&str, &str)]) -> Spec {
    spec.extra.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    spec
}

fn answers_are_those_of_the_oracle(workload: &str, queries: u32, engine: &str) {
    answers_in_shards(workload, queries, engine, 1);
}

fn answers_in_shards(workload: &str, queries: u32, engine: &str, shards: u32) {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = set(open_spec(workload, queries, dir.path()), "vdb_shards", &shards.to_string());
    let expected = oracle(&open);
    assert_eq!(expected.len(), queries as usize);
    for (parallelism, batch) in [(1, 16), (2, 1), (4, 16)] {
        let bench = Bench::new(open.clone(), 64);
        let spec = with(spec(&bench, parallelism, batch, dir.path()), &[("sage_engine", engine)]);
        let (result, seen) = run(&bench, &spec);
        let finished = result.unwrap();
        let labels = format!("{engine} parallelism {parallelism} batch {batch}");
        assert_eq!(seen.duplicates, 0, "{labels}");
        assert!(seen.outcomes == expected, "{labels}: answers differ");
        assert_eq!(seen.phases, ["start-up", "deploy", "warm-up", "steady", "drain", "teardown"]);
        let metric = |name: &str| finished.metrics.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!((metric("events"), metric("results")), (queries.into(), queries.into()));
        assert_eq!(metric("sage")["runtime_errors"]["errors"], 0, "{labels}");
    }
}

#[test]
fn wl4_on_the_environment() {
    answers_are_those_of_the_oracle("wl4", 200, "environment");
}

#[test]
fn wl4_on_the_flow_engine() {
    answers_are_those_of_the_oracle("wl4", 200, "flow");
}

#[test]
fn the_simpler_workloads() {
    for workload in ["wl1", "wl2", "wl3"] {
        answers_are_those_of_the_oracle(workload, 60, "environment");
    }
}

#[test]
fn vector_databases_in_shards() {
    answers_in_shards("wl4", 60, "environment", 3);
    answers_in_shards("wl4", 60, "flow", 3);
}

#[test]
fn null_on_the_environment() {
    answers_are_those_of_the_oracle("null", 300, "environment");
}

#[test]
fn null_on_the_flow_engine() {
    answers_are_those_of_the_oracle("null", 300, "flow");
}

fn faulty(workload: &str, fault: &str, dir: &Path) -> OpenSpec {
    set(open_spec(workload, 100, dir), "fault", fault)
}

#[test]
fn an_operator_that_raises_fails_exactly_its_record() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = faulty("wl4", "raise:vdb1:7", dir.path());
    for engine in ["environment", "flow"] {
        let bench = Bench::new(open.clone(), 64);
        let spec = with(spec(&bench, 2, 16, dir.path()), &[("sage_engine", engine)]);
        let (result, seen) = run(&bench, &spec);
        result.unwrap();
        let failed: Vec<_> =
            seen.outcomes.iter().filter(|(_, o)| **o == Outcome::Failed).map(|(seq, _)| *seq).collect();
        assert_eq!((failed, seen.outcomes.len()), (vec![7], 100));
        assert!(seen.outcomes == oracle(&open));
    }
}

/// Runs `driver_test.py`, which needs a Python but no SAGE.
#[test]
fn the_driver_makes_good_what_sage_fails_to_do() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    if Command::new(&python).arg("--version").output().is_err() {
        return skip::skip(&format!("there is no {python}"), "name a Python 3.10 or later in PYTHON");
    }
    let dir = tempfile::tempdir().unwrap();
    let open = open_spec("null", 48, dir.path());
    let host = Bench::new(open.clone(), 64).host();
    let mut events = Vec::new();
    while let Some(batch) = host.next_events(16).unwrap() {
        events.extend_from_slice(&(batch.len() as u32).to_le_bytes());
        events.extend_from_slice(&batch);
    }
    let file = dir.path().join("events");
    std::fs::write(&file, events).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = Command::new(python)
        .args(["-B", "-W", "error"])
        .arg(root.join("tests/driver_test.py"))
        .arg(library())
        .arg(serde_json::to_string(&open).unwrap())
        .arg(file)
        .env("PYTHONPATH", std::env::join_paths([root.join("src"), root.join("../python")]).unwrap())
        .output()
        .unwrap();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stderr));
}

#[test]
fn a_process_that_ends_is_reported_with_its_status() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(faulty("null", "exit:vdb1:7", dir.path()), 64);
    let (result, _) = run(&bench, &spec(&bench, 2, 16, dir.path()));
    let message = result.unwrap_err().to_string();
    assert!(message.contains("exit status: 86") && message.contains("phase steady"), "{message}");
}

#[test]
fn schedulers_are_reported_for_what_they_are() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (asked, effect) in
        [("fifo", "does not consult"), ("load_aware", "does not consult"), ("default", "left to SAGE")]
    {
        let bench = Bench::new(open_spec("null", 20, dir.path()), 64);
        let spec = with(spec(&bench, 2, 16, dir.path()), &[("sage_engine", "environment")]);
        let (result, seen) = run(&bench, &Spec { scheduler_name: asked.into(), ..spec });
        let metrics = result.unwrap().metrics;
        let sage = &metrics.iter().find(|(key, _)| key == "sage").unwrap().1;
        assert_eq!(sage["scheduler"]["asked"], asked);
        assert!(sage["scheduler"]["effect"].as_str().unwrap().contains(effect), "{sage}");
        assert_eq!(seen.outcomes.len(), 20);
    }
    let bench = Bench::new(open_spec("null", 20, dir.path()), 64);
    let spec = Spec { scheduler_name: "random".into(), ..spec(&bench, 2, 16, dir.path()) };
    assert!(matches!(run(&bench, &spec).0, Err(Error::Invalid(message)) if message.contains("load_aware")));
}

#[test]
fn several_nodes_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(open_spec("null", 1, dir.path()), 64);
    let spec = with(spec(&bench, 1, 16, dir.path()), &[("nodes", "3")]);
    let Err(Error::Unsupported(reason)) = run(&bench, &spec).0 else { panic!("not refused") };
    assert!(reason.contains("3 nodes") && reason.contains("submitting process"), "{reason}");
}
