//! The commands of `docs/guide.md`, as a reader would type them, on the real runtimes.

use std::fs;
use std::path::{Path, PathBuf};

use bench_tests::runtimes::runtimes;
use bench_tests::{records, shell_blocks, small_run, succeed, type_in};
use tempfile::TempDir;

#[test]
fn the_single_run_commands_work_and_the_manifests_say_that_the_configurations_match() {
    let Some(_alone) = runtimes(&["sage", "ray"]) else { return };
    let folder = TempDir::new().unwrap();
    let blocks = shell_blocks("guide.md", "A single run");
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
    let Some(_alone) = runtimes(&["sage"]) else { return };
    let folder = TempDir::new().unwrap();
    let data = PathBuf::from(std::env::var_os("BENCH_DATA_DIR").expect("`cargo xtask test` sets it"));
    std::os::unix::fs::symlink(fs::canonicalize(data).unwrap(), folder.path().join("data")).unwrap();
    let mut run = small_run("sage", Path::new("results"), &["--cache-dir", "cache"]);
    succeed(run.current_dir(folder.path()).env("BENCH_DATA_DIR", "data"));
    assert!(folder.path().join("cache").is_dir());
}
