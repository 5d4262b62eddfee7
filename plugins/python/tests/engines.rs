//! The tests of the engines in Python that need no runtime: they run wherever there is a Python 3.10.

#[path = "../../../tests/src/skip.rs"]
mod skip;
mod support;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use support::{Bench, library, open_spec};

/// Runs a file of tests of an engine, or says that there is no Python.
fn passes(engine: &str, module: &str, args: &[OsString]) {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    if let Err(cause) = Command::new(&python).arg("--version").output() {
        return skip::skip(&format!("there is no {python}"), &cause.to_string());
    }
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
    let engine = sdk.parent().unwrap().join(engine);
    let tests = Command::new(python)
        .args(["-B", "-W", "error"])
        .arg(engine.join("tests").join(module))
        .args(args)
        .env("PYTHONPATH", std::env::join_paths([&*engine, sdk, &*sdk.join("tests")]).unwrap())
        .output()
        .unwrap();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stderr));
}

/// With the library, a workload, and a file of batches of its events, each behind its length.
fn passes_on(engine: &str, module: &str, (workload, queries, batch): (&str, u32, u32), tests: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let open = open_spec(workload, queries, dir.path());
    let host = Bench::new(open.clone(), 2 * queries as usize).host();
    let mut events = Vec::new();
    while let Some(batch) = host.next_events(batch).unwrap() {
        events.extend_from_slice(&(batch.len() as u32).to_le_bytes());
        events.extend_from_slice(&batch);
    }
    let file = dir.path().join("events");
    std::fs::write(&file, events).unwrap();
    let open = serde_json::to_string(&open).unwrap();
    let mut args: Vec<OsString> = vec![library().into(), open.into(), file.into()];
    args.extend(tests.iter().map(OsString::from));
    passes(engine, module, &args);
}

#[test]
fn rays_of_all_accepted_versions_are_understood() {
    passes("ray", "compat_test.py", &[]);
}

/// On a simulated Ray, where every actor can die at any moment.
#[test]
fn rays_engine_recovers_whatever_dies() {
    passes_on("ray", "engine_test.py", ("null", 96, 8), &[]);
}

/// The slower ones of the tests with what is not null: its center keeps back more.
#[test]
fn rays_engine_recovers_with_real_operators() {
    passes_on("ray", "engine_test.py", ("wl4", 48, 8), &["LostDataTest", "RecordTest"]);
}

#[test]
fn rays_environment_is_the_runs_own_or_the_users() {
    passes("ray", "environment_test.py", &[]);
}

#[test]
fn of_dasks_workers_that_are_gone_nothing_is_waited_for() {
    passes("dask", "places_test.py", &[]);
}

#[test]
fn sages_engine_makes_good_what_sage_fails_to_do() {
    passes_on("sage", "driver_test.py", ("null", 48, 16), &[]);
}
