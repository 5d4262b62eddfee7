//! `bench_engine`, the SDK, against the real library, and the driver process from start to end.
//!
//! Needs a Python 3.10 with nothing installed; says so and passes where there is none.

#[path = "../../../tests/src/skip.rs"]
mod skip;
mod support;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bench_plugin_api::sdk::{Error, Finished, Spec};
use bench_python_engine::{Engine, Launch};
use bench_workloads::open::OpenWorkload;
use support::{Bench, library, open_spec, oracle, spec};

const ENGINE: Engine = Engine {
    name: "inline",
    display: "Inline",
    requirements: &[],
    imports: &[],
    driver: include_str!("inline_driver.py"),
    plain_pip: None,
    options: &[],
    starts_processes: true,
};

/// Chooses the interpreter for [`ENGINE`]; `None` where there is no Python.
fn python() -> Option<PathBuf> {
    let chosen = std::env::var_os("PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    if Command::new(&chosen).arg("--version").output().is_err() {
        skip::skip(&format!("there is no {}", chosen.display()), "name a Python 3.10 or later in PYTHON");
        return None;
    }
    // SAFETY: every test of this binary sets the variable to the same value, before it is read.
    unsafe { std::env::set_var("BENCH_PYTHON_INLINE", &chosen) };
    Some(chosen)
}

fn run(bench: &std::sync::Arc<Bench>, dir: &Path, behave: &str) -> Result<Finished, Error> {
    let mut launch = Launch::default();
    launch.config.insert("behave".into(), behave.into());
    ENGINE.run(&spec(bench, 1, 16, dir), &bench.host(), launch)
}

/// Processes that work below `dir`, as a driver and all it starts do.
fn alive(dir: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
        .map(|process| process.path())
        .collect()
}

/// Waits until `done`. The time ends a test that hangs, and decides nothing else.
fn eventually(dir: &Path, done: impl Fn(usize) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !done(alive(dir).len()) {
        assert!(Instant::now() < deadline, "{:?}", alive(dir));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a file of Python tests against the SDK.
fn passes(module: &str, args: &[OsString]) {
    let Some(python) = python() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = Command::new(python)
        .args(["-B", "-W", "error"])
        .arg(root.join("tests").join(module))
        .arg(library())
        .args(args)
        .env("PYTHONPATH", root)
        .output()
        .unwrap();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stderr));
}

fn json(open: &impl serde::Serialize) -> OsString {
    serde_json::to_string(open).unwrap().into()
}

#[test]
fn the_library_and_the_channel() {
    let cache = tempfile::tempdir().unwrap();
    let open = open_spec("null", 10, cache.path());
    let chains = OpenWorkload::new(open.clone()).unwrap().graph().chains();
    passes("workload_test.py", &[json(&open), json(&chains)]);
}

#[test]
fn what_runs_in_worker_processes() {
    let cache = tempfile::tempdir().unwrap();
    passes("worker_test.py", &[json(&open_spec("null", 10, cache.path()))]);
}

/// The stream on a simulated runtime.
fn the_stream_answers_every_query(workload: &str, queries: u32) {
    let dir = tempfile::tempdir().unwrap();
    let open = open_spec(workload, queries, dir.path());
    let host = Bench::new(open.clone(), 2 * queries as usize).host();
    let mut events = Vec::new();
    while let Some(batch) = host.next_events(8).unwrap() {
        events.extend_from_slice(&(batch.len() as u32).to_le_bytes());
        events.extend_from_slice(&batch);
    }
    let file = dir.path().join("events");
    fs::write(&file, events).unwrap();
    passes("stream_test.py", &[json(&open), file.into()]);
}

#[test]
fn the_stream_answers_every_query_whatever_the_runtime_does() {
    the_stream_answers_every_query("null", 96);
}

#[test]
fn the_stream_answers_every_query_with_real_operators() {
    the_stream_answers_every_query("wl4", 48);
}

#[test]
fn a_driver_gives_the_right_answers_and_leaves_nothing_behind() {
    let Some(_) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let open = open_spec("null", 200, dir.path());
    let bench = Bench::new(open.clone(), 64);
    let temp = tempfile::tempdir().unwrap();
    let finished = run(&bench, temp.path(), "children").unwrap();
    let seen = bench.seen();
    assert_eq!(seen.outcomes, oracle(&open));
    assert_eq!(seen.phases, ["start-up", "deploy", "steady", "drain", "teardown"]);
    let metric =
        |name: &str| finished.metrics.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    assert_eq!((metric("events"), metric("results")), (Some(200.into()), Some(200.into())));
    assert!(metric("runtime").is_some());
    assert!(alive(temp.path()).is_empty(), "{:?}", alive(temp.path()));
    let left: Vec<_> = fs::read_dir(temp.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn what_goes_wrong_is_told_apart_and_explained() {
    let Some(_) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let run =
        |behave| run(&Bench::new(open_spec("null", 50, dir.path()), 64), dir.path(), behave).unwrap_err();
    assert_eq!(run("refuse"), Error::Unsupported("no such scheduler".into()));
    assert_eq!(run("raise"), Error::Runtime("ValueError: on purpose".into()));
    let died = run("die").to_string();
    assert!(died.contains("signal: 9") && died.contains("phase start-up"), "{died}");
    let died = run("die later").to_string();
    assert!(died.contains("signal: 9") && died.contains("phase steady"), "{died}");
    assert!(alive(dir.path()).is_empty(), "{:?}", alive(dir.path()));
}

#[test]
fn a_cancelled_run_ends_every_process_even_one_that_does_not_listen() {
    let Some(_) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(open_spec("null", 50, dir.path()), 64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The driver, its warden, and the child that it has once it does not listen.
            eventually(dir.path(), |count| count == 3);
            bench.cancelled.store(true, Ordering::Relaxed);
        });
        assert_eq!(run(&bench, dir.path(), "hang").unwrap_err(), Error::Cancelled);
    });
    assert!(alive(dir.path()).is_empty(), "{:?}", alive(dir.path()));
}

/// This test's own binary is the host that gets killed: the driver's children must not survive it.
#[test]
fn a_killed_host_takes_the_drivers_children_with_it() {
    let Some(_) = python() else { return };
    if let Some(dir) = std::env::var_os("BENCH_TEST_VICTIM") {
        let bench = Bench::new(open_spec("null", 50, Path::new(&dir)), 64);
        let _ = run(&bench, Path::new(&dir), "hang");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_host_takes_the_drivers_children_with_it"])
        .env("BENCH_TEST_VICTIM", dir.path())
        .spawn()
        .unwrap();
    // The driver, its warden and its child.
    eventually(dir.path(), |count| count == 3);
    host.kill().unwrap();
    host.wait().unwrap();
    eventually(dir.path(), |count| count == 0);
}

#[test]
fn a_spec_without_a_library_is_refused_with_what_to_do() {
    let Some(_) = python() else { return };
    let (host, _) = bench_plugin_api::testkit::fake_host(1);
    let spec: Spec = bench_plugin_api::testkit::spec(1, 1);
    let Err(Error::Unavailable { reason, remedy }) = ENGINE.run(&spec, &host, Launch::default()) else {
        panic!("it ran")
    };
    assert!(reason.contains("workload library") && remedy.contains("xtask stage"));
}
