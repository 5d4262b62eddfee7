//! What a change has to pass.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
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
    match browser() {
        Ok(program) => drop(tests.env("BENCH_CHROMIUM", program)),
        Err(why) => eprintln!("tests of the report in Chromium are skipped: {why}"),
    }
    // In CI a runtime that could not be installed is a failure and not a gap.
    if in_ci() {
        tests.env("BENCH_REQUIRE_RUNTIMES", "1");
    }
    let skipped = target().join("skipped-tests.txt");
    // Whatever an earlier run skipped is not of interest now.
    let _ = std::fs::remove_file(&skipped);
    let done = run(tests.env("BENCH_SKIPPED", &skipped));
    tell_skipped(&skipped);
    done
}

/// Says at the end which tests were skipped and why: a green line must not be mistaken for a whole one.
fn tell_skipped(list: &Path) {
    let list = std::fs::read_to_string(list).unwrap_or_default();
    let lines: BTreeSet<&str> = list.lines().collect();
    eprintln!("{} tests were skipped{}", lines.len(), if lines.is_empty() { "." } else { ":" });
    lines.iter().for_each(|line| eprintln!("  {line}"));
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some()
}

/// Chromium for the tests of the report: named by `BENCH_CHROMIUM`, or on the path. In CI, and there
/// only, it is installed by apt where that is possible.
fn browser() -> Result<PathBuf, String> {
    let apt = Path::new("/usr/bin/apt-get");
    if let Some(found) = installed_browser() {
        return Ok(found);
    }
    if !in_ci() || !apt.exists() {
        return Err("none is on the path; install chromium, or name one in BENCH_CHROMIUM".to_owned());
    }
    let apt_get = |args: &[&str]| {
        let mut command = Command::new(apt);
        run(command.arg("--quiet").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // Lists may be fresh enough; if not, the next step says so.
    let _ = apt_get(&["update"]);
    apt_get(&["install", "--yes", "--no-install-recommends", "chromium"])?;
    installed_browser().ok_or_else(|| "apt-get installed chromium, and none is on the path".to_owned())
}

fn installed_browser() -> Option<PathBuf> {
    let named = std::env::var_os("BENCH_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let on_path = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    named.into_iter().chain(on_path).find(|program| program.is_file())
}

/// Real runtimes that tests drive, installed from PyPI by the product's own command.
const RUNTIMES: [&str; 3] = ["sage", "ray", "dask"];

/// Installs the runtimes into `data`; returns those that could not be.
fn provision(staged: &Path, data: &Path) -> Vec<(&'static str, String)> {
    let bench = staged.join("bin/bench");
    RUNTIMES.iter().filter_map(|name| Some((*name, provide(&bench, data, name).err()?))).collect()
}

/// Installs a runtime into `data`, unless it is there and fits.
///
/// # Errors
/// When the installation fails.
pub fn provide(bench: &Path, data: &Path, runtime: &str) -> Done {
    let call = |args: &[&str]| {
        let mut command = Command::new(bench);
        command.args(args).args([runtime, "--no-user-plugins"]).env("BENCH_DATA_DIR", data);
        command
    };
    let ready = call(&["run", "--dry-run", "--backend"]).output();
    if ready.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    run(&mut call(&["backends", "install"]))
}

/// Builds the plugins of `tests/plugins/` into the staged folder.
fn fixtures(staged: &Path) -> Done {
    let crates = ["backend-healthy", "backend-hostile", "backend-example-rust"];
    run(&mut cargo(["build"].into_iter().chain(crates.iter().flat_map(|name| ["--package", name]))))?;
    // Not members of the workspace: they claim the name of one that is.
    let own = target().join("stranger");
    for name in ["stranger", "old_api"] {
        let manifest = root().join("tests/plugins").join(name).join("Cargo.toml");
        run(cargo(["build", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&own))?;
    }
    let rust = [("healthy", target()), ("hostile", target()), ("example_rust", target())];
    let apart = ["stranger", "old_api"].map(|name| (name, own.clone()));
    for (name, built) in rust.into_iter().chain(apart) {
        let file = format!("libbackend_{name}.so");
        place(&built.join("debug").join(&file), &staged.join("fixtures").join(&file))?;
    }
    COMPILED.iter().try_for_each(|(source, name)| {
        let built = compile(staged, source, name)?;
        place(&built, &staged.join("fixtures").join(format!("libbackend_{name}.so")))
    })
}

/// Plugins in C and C++, and the file each becomes.
const COMPILED: [(&str, &str); 4] = [
    ("plugins/examples/c/backend_example_c.c", "example_c"),
    ("plugins/examples/cpp/backend_example_cpp.cpp", "example_cpp"),
    ("tests/plugins/hostile_c/hostile.c", "hostile_c"),
    ("tests/plugins/hostile_cpp/hostile.cpp", "hostile_cpp"),
];

/// Builds one of them as an author would, with every warning an error.
///
/// # Errors
/// When it does not compile, or compiles with a warning.
pub fn compile(staged: &Path, source: &str, name: &str) -> Result<PathBuf, String> {
    let cpp = source.ends_with(".cpp");
    let named = std::env::var(if cpp { "CXX" } else { "CC" }).ok();
    let compiler = named.unwrap_or_else(|| if cpp { "c++".into() } else { "cc".into() });
    let built = target().join(format!("libbackend_{name}.so"));
    let mut command = Command::new(compiler);
    command.arg(if cpp { "-std=c++17" } else { "-std=c11" });
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1"]);
    command.args(["-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-I"]).arg(staged.join("include"));
    run(command.arg(root().join(source)).arg("-o").arg(&built))?;
    Ok(built)
}
