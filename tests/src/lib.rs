//! What the whole-binary tests share: the staged binary, folders of plugins, and a look at what is
//! left running. `cargo xtask test` builds and stages everything that is used here.

pub mod clusters;
pub mod environments;
pub mod following;
pub mod hosts;
pub mod pairs;
pub mod rows;
pub mod runtimes;
pub mod skip;
pub mod small_disk;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use bench_isolate::discover::{Candidate, SearchPath};
use serde_json::Value;
use signal_hook::consts::SIGHUP;
use tempfile::TempDir;

/// The folder that `cargo xtask test` staged.
#[must_use]
pub fn staged() -> PathBuf {
    std::env::var_os("BENCH_STAGED").map(PathBuf::from).expect("run these tests with `cargo xtask test`")
}

/// The staged binary.
#[must_use]
pub fn bench_path() -> PathBuf {
    staged().join("bin/bench")
}

/// `bench` with arguments, away from the user's own plugins and with no backtraces, whatever the environment asks
/// for: what tests compare is what users see. Indexes are shared by all tests.
#[must_use]
pub fn bench(args: &[&str]) -> Command {
    hear_hang_ups();
    let mut command = Command::new(bench_path());
    command.args(args).env("BENCH_CACHE_DIR", staged().join("cache")).env("NO_COLOR", "1");
    command.env_remove("BENCH_PLUGINS_PATH").env_remove("RUST_BACKTRACE");
    command
}

/// Whoever tests under `nohup` wants the tests to outlive the terminal, not the commands to be deaf: what they are
/// told to ignore is inherited, and what is handled here is as usual in them.
fn hear_hang_ups() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("it is there");
        let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
        if ignored & 1 << (SIGHUP - 1) != 0 {
            signal_hook::flag::register(SIGHUP, Arc::default()).expect("a handler can be set");
        }
    });
}

/// A small run of Workload4 on `backend` into `output`, of 120 queries unless `more` says how many.
#[must_use]
pub fn small_run(backend: &str, output: &Path, more: &[&str]) -> Command {
    let output = output.to_str().expect("temporary paths are text");
    let mut args = vec!["run", "--backend", backend, "--output-dir", output, "--no-user-plugins"];
    if !more.contains(&"--num-tasks") {
        args.extend(["--num-tasks", "120"]);
    }
    args.extend(["--set", "vdb1_corpus_size=1000", "--set", "vdb2_corpus_size=1000"]);
    args.extend(["--set", "join_window_seconds=10"]);
    args.extend(more);
    bench(&args)
}

/// Runs to the end and returns the output; fails the test when the command fails.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}\n{}\n{}", stdout(&output), stderr(&output));
    output
}

/// Standard output as text.
#[must_use]
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
#[must_use]
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The shell blocks of the section under `heading` in a file of `docs/`.
#[must_use]
pub fn shell_blocks(document: &str, heading: &str) -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    let text = fs::read_to_string(document).expect("it is there");
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).expect(heading);
    let blocks = section.split("```sh\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).map(str::to_owned).collect()
}

/// Runs a block in `folder` with `bench` on the path, as a reader would type it.
pub fn type_in(block: &str, folder: &Path) -> String {
    let bin = staged().join("bin");
    let path = std::env::var("PATH").expect("a shell finds its programs");
    let mut shell = Command::new("sh");
    shell.args(["-euc", block]).current_dir(folder).env("PATH", format!("{}:{path}", bin.display()));
    stdout(&succeed(shell.env("BENCH_CACHE_DIR", staged().join("cache"))))
}

/// The records of an output folder.
#[must_use]
pub fn records(output: &Path) -> Vec<Value> {
    let text = fs::read_to_string(output.join("unified_results.jsonl")).expect("there are results");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is a record")).collect()
}

/// `extra.output_digest` of the only record.
#[must_use]
pub fn digest(output: &Path) -> String {
    let records = records(output);
    assert_eq!(records.len(), 1);
    records[0]["extra"]["output_digest"].as_str().expect("there is a digest").to_owned()
}

/// `libbackend_<name>.so` of a crate in `tests/plugins/`.
#[must_use]
pub fn library(name: &str) -> PathBuf {
    staged().join("fixtures").join(format!("libbackend_{name}.so"))
}

/// A private folder with a copy of each of `(library, as)`.
#[must_use]
pub fn folder(plugins: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    for (name, as_name) in plugins {
        let to = folder.path().join(format!("libbackend_{as_name}.so"));
        fs::copy(library(name), &to).expect("the fixture was built");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("our own file");
    }
    folder
}

/// The plugins in `folder`.
#[must_use]
pub fn candidates(folder: &Path) -> Vec<Candidate> {
    SearchPath::new(&[folder.to_owned()], None, None, None).survey().expect("the folder exists").candidates
}

/// A value for the variable `MARK`, by which everything that descends from a call is recognised.
#[must_use]
pub fn mark() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Processes that `process` started.
#[must_use]
pub fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Command lines of the living processes that carry `mark`.
#[must_use]
pub fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("MARK={mark}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("Linux").flatten() {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}

/// What lies in the machine's shared memory, by name.
#[must_use]
pub fn shared_memory() -> HashSet<String> {
    let entries = fs::read_dir("/dev/shm").expect("Linux").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Ends a test that hangs, and decides nothing else: far more than anything takes on the busiest machine.
pub const PATIENCE: Duration = Duration::from_secs(900);

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
