//! Libraries that ship with bench, below `lib/` of the staged layout.

use std::path::PathBuf;

use bench_measure::guest::WorkloadLibrary;
use bench_record::canonical_json::sha256_hex;

/// `lib/libbench_workloads.so` of the staged layout, or beside the executable.
#[must_use]
pub fn workload_library() -> Option<WorkloadLibrary> {
    let path = shipped_library("BENCH_WORKLOADS_LIBRARY", "libbench_workloads.so")?;
    let sha256 = sha256_hex(&std::fs::read(&path).ok()?);
    Some(WorkloadLibrary { path, sha256 })
}

/// A library that ships with bench: named by `variable`, or in `lib/` of the staged layout, or beside the executable.
#[must_use]
pub fn shipped_library(variable: &str, file: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let executable = std::env::current_exe().ok()?.canonicalize().ok()?;
    let folder = executable.parent()?;
    let candidates = named.into_iter().chain([folder.join("../lib").join(file), folder.join(file)]);
    candidates.filter_map(|path| path.canonicalize().ok()).find(|path| path.is_file())
}
