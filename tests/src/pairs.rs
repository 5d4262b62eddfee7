//! Small pairs and the trees they leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bench;

/// A small pair `id` of `backends` below `root`, without the work of Workload4.
#[must_use]
pub fn pair(root: &Path, plugins: &Path, backends: &str, id: &str, more: &[&str]) -> Command {
    let mut args = vec!["pair", "--backends", backends, "--run-id", id, "--output-root", text(root)];
    args.extend(["--plugins-dir", text(plugins), "--no-user-plugins", "--quick", "--workload", "null"]);
    args.extend(more);
    bench(&args)
}

/// `bench pair --resume`.
#[must_use]
pub fn resume(root: &Path, id: &str) -> Command {
    bench(&["pair", "--resume", id, "--output-root", text(root)])
}

/// The only `config_hash=…` folder of a pair.
#[must_use]
pub fn tree(root: &Path, id: &str) -> PathBuf {
    let mut folders = fs::read_dir(root.join(format!("run_id={id}"))).expect("the pair has begun");
    let tree = folders.next().expect("one folder").expect("a readable folder").path();
    assert!(folders.next().is_none());
    tree
}

/// Every file below a folder, relative to it, sorted.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a readable folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("it is below").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A JSON file.
#[must_use]
pub fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// Temporary paths are text.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
