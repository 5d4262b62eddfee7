//! Measurements: each command takes its own figures and their reference in one run, so that ratios hold
//! on whatever machine this is.

pub mod backends;
pub mod clocks;
pub mod compare;
pub mod host;
mod kernel;
pub mod listing;
pub mod load;
pub mod observer;
pub mod operators;
pub mod python;
mod quiet;
pub mod same;
pub mod scale;
pub mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cargo::{cargo, target};

/// Builds a benchmark and returns its executable.
fn executable(package: &str, bench: &str) -> Result<PathBuf, String> {
    executable_with(package, bench, &[])
}

/// The same with features. It is another executable then.
fn executable_with(package: &str, bench: &str, features: &[&str]) -> Result<PathBuf, String> {
    let mut args = vec!["build", "--release", "--package", package, "--bench", bench];
    features.iter().for_each(|feature| args.extend(["--features", feature]));
    let mut command = cargo(args.into_iter().chain(["--message-format", "json-render-diagnostics"]));
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|cause| format!("cargo build --bench {bench}: {cause}"))?;
    if !output.status.success() {
        return Err(format!("cargo build --bench {bench}: {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built = messages.filter(|message| message["target"]["name"] == bench);
    let path = built.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    path.ok_or_else(|| format!("cargo did not say where the benchmark {bench} is"))
}

/// Runs a command whose standard output is JSON.
fn json(command: &mut Command) -> Result<Value, String> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.stderr(Stdio::inherit()).output().map_err(|cause| format!("{shown}: {cause}"))?;
    if !output.status.success() {
        return Err(format!("{shown}: {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|cause| format!("{shown}: {cause}"))
}

/// Prepared indexes of all benchmarks.
pub fn cache_dir() -> PathBuf {
    target().join("bench-cache")
}

/// Real runtimes that benchmarks drive.
fn data_dir() -> PathBuf {
    target().join("bench-data")
}

pub fn write(path: &Path, value: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|cause| cause.to_string())?;
    fs::write(path, text + "\n").map_err(|cause| format!("{}: {cause}", path.display()))
}

/// Whether an aim was reached, as tables say it.
fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "NOT met" }
}

/// Processor and load: what figures mean little without.
pub fn machine() -> Value {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|m| m.1));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    serde_json::json!({
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "load_average": load.split(' ').next().and_then(|one| one.parse::<f64>().ok()),
    })
}
