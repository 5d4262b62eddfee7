//! What an author of a plugin does first: make a project, build it, check it. And what a careful user
//! does last: trust and pin.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bench_tests::skip::{leave_out, skip};
use bench_tests::{bench, bench_path, folder, shell_blocks, stderr, stdout, succeed, type_in};
use serde_json::Value;
use tempfile::TempDir;

/// Makes a project, and returns the folder it lies in.
fn new(language: &str) -> TempDir {
    let place = TempDir::new().unwrap();
    succeed(bench(&["backends", "new", "my_engine", "--lang", language]).current_dir(place.path()));
    place
}

/// Quick tests of each area; the whole suite runs on the examples, which are the same sources.
const SOME: &str = "image|loads|name|explains|every-item|answers-are-right$|zero";

fn check(plugin: &Path) {
    let plugin = plugin.to_str().unwrap();
    succeed(&mut bench(&["backends", "check", plugin, "--only", SOME]));
}

#[test]
fn the_tutorial_for_c_works_as_it_is_printed() {
    let place = TempDir::new().unwrap();
    let blocks = shell_blocks("plugin-author.md", "From nothing, in C or C++");
    let said = type_in(&blocks[0], place.path());
    assert!(said.contains("backend 'my_engine' conforms: "), "{said}");
    let records = bench_tests::records(&place.path().join("my_engine/results"));
    assert_eq!(records[0]["extra"]["items"]["completed"], 20);
}

/// A folder with a Python in it and nothing else; nothing where there is none.
fn python_alone() -> Option<TempDir> {
    let script = "import sys; assert sys.version_info >= (3, 10); print(sys.executable)";
    let asked =
        Command::new("python3").args(["-c", script]).output().ok().filter(|asked| asked.status.success());
    let Some(python) = asked.map(|asked| stdout(&asked)) else {
        skip("there is no python3 of 3.10 or newer", "");
        return None;
    };
    let folder = TempDir::new().unwrap();
    std::os::unix::fs::symlink(python.trim(), folder.path().join("python3")).unwrap();
    Some(folder)
}

#[test]
fn the_tutorial_for_python_works_as_it_is_printed_without_rust_and_without_a_compiler() {
    let Some(python) = python_alone() else { return };
    let place = TempDir::new().unwrap();
    let blocks = shell_blocks("plugin-author.md", "From nothing, in Python");
    let mut shell = Command::new("/bin/sh");
    let path = format!("{}:{}", bench_tests::staged().join("bin").display(), python.path().display());
    shell.args(["-euc", &blocks[0]]).current_dir(place.path()).env("PATH", path);
    shell.env("BENCH_CACHE_DIR", bench_tests::staged().join("cache"));
    let said = stdout(&succeed(shell.env("BENCH_DATA_DIR", place.path().join("data"))));
    assert!(said.contains("backend 'my_engine' conforms: "), "{said}");
    assert!(place.path().join("my_engine/libbackend_my_engine.so").is_file());
    let records = bench_tests::records(&place.path().join("my_engine/results"));
    assert_eq!(records[0]["extra"]["items"]["completed"], 20);
}

#[test]
fn a_new_driver_in_python_is_read_in_a_minute() {
    let place = new("python");
    let project = place.path().join("my_engine");
    let driver = std::fs::read_to_string(project.join("driver.py")).unwrap();
    assert!(driver.lines().count() <= 60, "{} lines", driver.lines().count());
}

#[test]
fn a_new_project_in_c_builds_and_conforms_with_its_own_make() {
    for language in ["c", "cpp"] {
        let place = new(language);
        let project = place.path().join("my_engine");
        let mut make = Command::new("make");
        make.current_dir(&project).arg(format!("BENCH={}", bench_path().display()));
        let output = succeed(&mut make);
        assert!(!stderr(&output).contains("warning"), "{}", stderr(&output));
        check(&project.join("build/libbackend_my_engine.so"));
    }
}

/// Builds a new project with a compiler that CI installs; nothing where there is none.
fn make_with(language: &str, variable: &str, settings: &[(&str, PathBuf)]) {
    let named = std::env::var_os(variable).unwrap_or_else(|| language.into());
    if Command::new(&named).arg("version").output().is_err() {
        return leave_out(&format!("there is no {language}"));
    }
    let place = new(language);
    let project = place.path().join("my_engine");
    let mut make = Command::new("make");
    make.current_dir(&project).arg(format!("{}={}", language.to_uppercase(), named.display()));
    let output = succeed(make.envs(settings.iter().cloned()));
    assert!(!stderr(&output).contains("warning"), "{}", stderr(&output));
    let plugin = project.join("build/libbackend_my_engine.so");
    succeed(&mut bench(&["backends", "check", plugin.to_str().unwrap()]));
}

/// Where compilers keep what they built before.
fn cache(name: &str) -> PathBuf {
    let folder = bench_tests::staged().join("../languages-cache").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

#[test]
fn a_new_project_in_go_builds_and_conforms() {
    let settings = [("GOCACHE", cache("go")), ("GOPATH", cache("gopath")), ("GOTOOLCHAIN", "local".into())];
    make_with("go", "BENCH_GO", &settings);
}

#[test]
fn a_new_project_in_zig_builds_and_conforms() {
    let settings = [("ZIG_GLOBAL_CACHE_DIR", cache("zig")), ("ZIG_LOCAL_CACHE_DIR", cache("zig-local"))];
    make_with("zig", "BENCH_ZIG", &settings);
}

#[test]
fn a_new_project_in_rust_builds_offline_and_conforms() {
    let place = new("rust");
    let project = place.path().join("my_engine");
    // The fixtures' own target folder: what they share is built already.
    let target = bench_tests::staged().join("../new-rust");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(&project).args(["build", "--offline", "--target-dir"]).arg(&target);
    let output = succeed(&mut build);
    assert!(!stderr(&output).contains("warning:"), "{}", stderr(&output));
    check(&target.canonicalize().unwrap().join("debug/libbackend_my_engine.so"));
}

/// As the project's CI does it: the source of bench in a folder of the project.
#[test]
fn a_new_project_in_rust_takes_the_api_from_bench_inside_it() {
    let place = new("rust");
    let project = place.path().join("my_engine");
    let workflow = std::fs::read_to_string(project.join(".github/workflows/ci.yml")).unwrap();
    assert!(workflow.contains("run: cargo add bench-plugin-api --path bench/plugin-api"), "{workflow}");
    std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), project.join("bench"))
        .unwrap();
    let cargo = |args: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&project).args(args).arg("--offline");
        succeed(&mut command)
    };
    cargo(&["add", "bench-plugin-api", "--path", "bench/plugin-api"]);
    let known = stdout(&cargo(&["metadata", "--format-version", "1", "--no-deps"]));
    assert!(known.contains("my_engine/bench/plugin-api"), "{known}");
}

#[test]
fn a_project_is_never_written_over_another_and_its_name_must_be_one() {
    let place = new("c");
    let again = bench(&["backends", "new", "my_engine"]).current_dir(place.path()).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("my_engine exists already"), "{}", stderr(&again));
    let misnamed = bench(&["backends", "new", "../My Engine"]).current_dir(place.path()).output().unwrap();
    assert_eq!(misnamed.status.code(), Some(2));
    assert!(stderr(&misnamed).contains("a name consists of a-z, 0-9 and _ only"), "{}", stderr(&misnamed));
}

/// `bench backends …` on a folder of plugins, with a data directory of the test's own.
struct User {
    data: TempDir,
    plugins: TempDir,
}

impl User {
    fn new() -> Self {
        Self {
            data: TempDir::new().unwrap(),
            plugins: folder(&[("healthy", "healthy"), ("example_c", "example_c")]),
        }
    }

    fn call(&self, args: &[&str]) -> Command {
        let mut command = bench(&["backends"]);
        command.args(args).env("BENCH_DATA_DIR", self.data.path());
        command
    }

    fn with_plugins(&self, args: &[&str]) -> Command {
        let mut command = self.call(args);
        command.arg("--no-user-plugins").arg("--plugins-dir").arg(self.plugins.path());
        command
    }

    /// Whether a backend is listed as ready, or why it was refused.
    fn state(&self, name: &str, more: &[&str]) -> String {
        let output = succeed(self.with_plugins(&["info", name, "--json"]).args(more));
        let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
        match listing["status"].as_str().unwrap() {
            "described" => "ready".to_owned(),
            _ => listing["refusal"]["reason"].as_str().unwrap_or("?").to_owned(),
        }
    }
}

#[test]
fn only_trusted_files_load_when_the_user_says_so() {
    let user = User::new();
    assert_eq!(user.state("healthy", &[]), "ready");
    assert_eq!(user.state("healthy", &["--only-trusted"]), "untrusted");
    succeed(&mut user.with_plugins(&["trust", "healthy"]));
    assert_eq!(user.state("healthy", &["--only-trusted"]), "ready");
    assert_eq!(user.state("example_c", &["--only-trusted"]), "untrusted");
    succeed(&mut user.call(&["untrust", "healthy"]));
    assert_eq!(user.state("healthy", &["--only-trusted"]), "untrusted");
}

#[test]
fn plugins_in_the_data_directory_are_found_unless_the_user_says_no() {
    let user = User::new();
    std::fs::rename(user.plugins.path(), user.data.path().join("plugins")).unwrap();
    let found = |more: &[&str]| stdout(&succeed(user.call(&["list"]).args(more))).contains("healthy");
    assert!(found(&[]));
    assert!(!found(&["--no-user-plugins"]));
}

#[test]
fn what_several_commands_vouch_for_at_once_is_all_on_the_list() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let (plugins, data) = (folder(&names.map(|name| ("healthy", name))), TempDir::new().unwrap());
    let pin = |name: &&str| {
        let mut pin = bench(&["backends", "pin", name, "--plugins-dir", plugins.path().to_str().unwrap()]);
        pin.env("BENCH_DATA_DIR", data.path()).stdout(Stdio::null()).spawn().unwrap()
    };
    let pins: Vec<_> = names.iter().map(pin).collect();
    pins.into_iter().for_each(|mut pin| assert!(pin.wait().unwrap().success()));
    let list: Value =
        serde_json::from_slice(&std::fs::read(data.path().join("trust.json")).unwrap()).unwrap();
    assert_eq!(list.as_object().unwrap().keys().collect::<Vec<_>>(), names);
}

#[test]
fn a_resumed_pair_trusts_no_more_than_the_one_that_was_started() {
    let user = User::new();
    let root = TempDir::new().unwrap();
    let pair = |args: &[&str]| {
        let mut command = bench(&["pair", "--output-root", root.path().to_str().unwrap()]);
        command.args(args).env("BENCH_DATA_DIR", user.data.path());
        command
    };
    succeed(&mut user.with_plugins(&["trust", "healthy"]));
    let plugins = user.plugins.path().to_str().unwrap();
    let flags = ["--aa", "--backends", "healthy", "--run-id", "t", "--quick", "--only-trusted"];
    succeed(pair(&flags).args(["--no-user-plugins", "--plugins-dir", plugins]));
    succeed(&mut user.call(&["untrust", "healthy"]));
    let resumed = pair(&["--resume", "t"]).output().unwrap();
    assert!(!resumed.status.success());
    assert!(stderr(&resumed).contains("bench backends trust"), "{}", stderr(&resumed));
}

#[test]
fn a_pinned_name_is_loaded_from_that_content_or_not_at_all() {
    let user = User::new();
    succeed(&mut user.with_plugins(&["pin", "healthy"]));
    assert_eq!(user.state("healthy", &[]), "ready");
    std::fs::copy(bench_tests::library("hostile"), user.plugins.path().join("libbackend_healthy.so"))
        .unwrap();
    assert_eq!(user.state("healthy", &[]), "untrusted");
    let mut run = bench(&["run", "--backend", "healthy", "--no-user-plugins", "--plugins-dir"]);
    let output = run.arg(user.plugins.path()).env("BENCH_DATA_DIR", user.data.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{}", stdout(&output));
    let said = stderr(&output);
    assert!(
        said.contains("is not the file that was pinned") && said.contains("bench backends pin healthy"),
        "{said}"
    );
}

#[test]
fn with_a_damaged_list_nothing_is_loaded() {
    let user = User::new();
    std::fs::write(user.data.path().join("trust.json"), "{").unwrap();
    let output = user.with_plugins(&["list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(stderr(&output).contains("mend or remove"), "{}", stderr(&output));
}
