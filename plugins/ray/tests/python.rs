//! The driver's own tests, in Python: what needs no Ray runs wherever there is a Python 3.10.

#[path = "../../../tests/src/skip.rs"]
mod skip;
#[path = "../../python/tests/support/mod.rs"]
mod support;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use support::{Bench, library, open_spec};

/// Runs a file of tests, or says that there is no Python.
fn passes(module: &str, args: &[OsString]) {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    if let Err(cause) = Command::new(&python).arg("--version").output() {
        return skip::skip(&format!("there is no {python}"), &cause.to_string());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let imported = std::env::join_paths([root.join("src/driver"), root.join("../python")]).unwrap();
    let tests = Command::new(python)
        .args(["-B", "-W", "error"])
        .arg(root.join("tests").join(module))
        .args(args)
        .env("PYTHONPATH", imported)
        .output()
        .unwrap();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stderr));
}

#[test]
fn rays_of_all_accepted_versions_are_understood() {
    passes("compat_test.py", &[]);
}

/// The engine on a simulated Ray, where every actor can die at any moment.
fn the_engine_recovers(workload: &str, queries: u32, tests: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let open = open_spec(workload, queries, dir.path());
    let host = Bench::new(open.clone(), 2 * queries as usize).host();
    let mut events = Vec::new();
    while let Some(batch) = host.next_events(8).unwrap() {
        events.extend_from_slice(&(batch.len() as u32).to_le_bytes());
        events.extend_from_slice(&batch);
    }
    let file = dir.path().join("events");
    std::fs::write(&file, events).unwrap();
    let open = serde_json::to_string(&open).unwrap();
    let mut args: Vec<OsString> = vec![library().into(), open.into(), file.into()];
    args.extend(tests.iter().map(OsString::from));
    passes("engine_test.py", &args);
}

#[test]
fn the_engine_recovers_whatever_dies() {
    the_engine_recovers("null", 96, &[]);
}

/// The slower ones of the tests with what is not null: its center keeps back more.
#[test]
fn the_engine_recovers_with_real_operators() {
    the_engine_recovers("wl4", 48, &["LostDataTest", "RecordTest"]);
}

/// A module that is not embedded is missing where the plugin runs.
#[test]
fn every_module_of_the_driver_is_embedded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/driver");
    let on_disk =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut modules: Vec<String> =
        on_disk.filter(|name| name.ends_with(".py") && name != "driver.py").collect();
    modules.sort();
    let embedded: Vec<&str> = backend_ray::MODULES.iter().map(|(name, _)| *name).collect();
    assert_eq!(embedded, modules);
}
