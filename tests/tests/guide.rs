//! The commands of `docs/guide.md`, as a reader would type them, on the real runtimes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bench_tests::{bench_path, installed, records, small_run, staged, stdout, succeed};
use tempfile::TempDir;

/// The shell blocks of the section under `heading`.
fn shell_blocks(heading: &str) -> Vec<String> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide.md");
    let guide = fs::read_to_string(guide).unwrap();
    let section = guide.split("\n## ").find(|section| section.starts_with(heading)).expect(heading);
    let blocks = section.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// Runs a block in `folder` with `bench` on the path.
fn type_in(block: &str, folder: &Path) -> String {
    let bin = bench_path().parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-euc", block]).current_dir(folder).env("PATH", format!("{}:{path}", bin.display()));
    stdout(&succeed(shell.env("BENCH_CACHE_DIR", staged().join("cache"))))
}

#[test]
fn the_single_run_commands_work_and_the_manifests_say_that_the_configurations_match() {
    if !installed("sage") || !installed("ray") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let blocks = shell_blocks("A single run");
    let [runs, snippet] = blocks.as_slice() else { panic!("{blocks:?}") };
    type_in(runs, folder.path());
    let [sage, ray] =
        ["wl4_sage", "wl4_ray"].map(|name| records(&folder.path().join("results").join(name)).remove(0));
    assert_eq!((&sage["backend"], &ray["backend"]), (&"sage".into(), &"ray".into()));
    assert_eq!(sage["extra"]["output_digest"], ray["extra"]["output_digest"]);
    let said = type_in(snippet, folder.path());
    assert_eq!(said.trim(), format!("Configs match: {}", sage["config_hash"].as_str().unwrap()));
}

#[test]
fn folders_given_relative_to_where_the_user_is_reach_drivers_that_run_elsewhere() {
    if !installed("sage") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let data = PathBuf::from(std::env::var_os("BENCH_DATA_DIR").expect("`cargo xtask test` sets it"));
    std::os::unix::fs::symlink(fs::canonicalize(data).unwrap(), folder.path().join("data")).unwrap();
    let mut run = small_run("sage", Path::new("results"), &["--cache-dir", "cache"]);
    succeed(run.current_dir(folder.path()).env("BENCH_DATA_DIR", "data"));
    assert!(folder.path().join("cache").is_dir());
}
