//! What a change has to pass.

use std::path::Path;
use std::process::Command;

use crate::Done;
use crate::cargo::{cargo, root, run, target};
use crate::stage::{Profile, place, stage};

/// Builds everything that tests load, and runs all of them.
///
/// # Errors
/// When something does not build or a test fails.
pub fn test(rest: &[String]) -> Done {
    let staged = stage(Profile::Dev)?;
    fixtures(&staged)?;
    let data = target().join("bench-data");
    let missing = provision(&staged, &data);
    let mut tests = cargo(["test", "--workspace"]);
    tests.args(rest).env("BENCH_STAGED", &staged).env("BENCH_DATA_DIR", &data);
    for (runtime, why) in &missing {
        eprintln!("tests of `{runtime}` are skipped: {why}");
    }
    // In CI a runtime that could not be installed is a failure and not a gap.
    if std::env::var_os("CI").is_some() {
        tests.env("BENCH_REQUIRE_RUNTIMES", "1");
    }
    run(&mut tests)
}

/// Real runtimes that tests drive, installed from PyPI by the product's own command.
const RUNTIMES: [&str; 2] = ["sage", "ray"];

/// Installs the runtimes into `data`, each unless it is there; returns those that could not be.
fn provision(staged: &Path, data: &Path) -> Vec<(&'static str, String)> {
    let bench = |args: &[&str]| {
        let mut command = Command::new(staged.join("bin/bench"));
        command.args(args).arg("--no-user-plugins").env("BENCH_DATA_DIR", data);
        command
    };
    let ready = |runtime: &str| {
        let dry = bench(&["run", "--dry-run", "--backend", runtime]).output();
        dry.is_ok_and(|output| output.status.success())
    };
    let install = |runtime: &&'static str| {
        if ready(runtime) {
            return None;
        }
        run(&mut bench(&["backends", "install", runtime])).err().map(|why| (*runtime, why))
    };
    RUNTIMES.iter().filter_map(install).collect()
}

/// Builds the plugins of `tests/plugins/` into the staged folder.
fn fixtures(staged: &Path) -> Done {
    run(&mut cargo(["build", "--package", "backend-healthy", "--package", "backend-hostile"]))?;
    // Not a member of the workspace: it claims the name of one that is.
    let stranger = root().join("tests/plugins/stranger/Cargo.toml");
    let own = target().join("stranger");
    run(cargo(["build", "--manifest-path"]).arg(stranger).arg("--target-dir").arg(&own))?;
    for (name, built) in [("healthy", target()), ("hostile", target()), ("stranger", own)] {
        let file = format!("libbackend_{name}.so");
        place(&built.join("debug").join(&file), &staged.join("fixtures").join(&file))?;
    }
    Ok(())
}
