//! The first message down: everything a driver needs to know about the run.

use std::path::Path;

use bench_plugin_api::sdk::{Error, Host, Spec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Engine;

/// The host's answer to `bench.workloads/1`.
#[derive(Deserialize)]
struct Library {
    library: String,
    sha256: String,
    open: Value,
}

/// The configuration as JSON.
pub fn config(
    engine: &Engine,
    spec: &Spec,
    host: &Host,
    dir: &Path,
    additions: Map<String, Value>,
) -> Result<String, Error> {
    let answer = host.extension("bench.workloads/1", "").ok_or_else(|| Error::Unavailable {
        reason: "the host offers no workload library, which Python workers need".into(),
        remedy: "run a staged bench (cargo xtask stage), or build bench-workloads beside it".into(),
    })?;
    let library: Library = serde_json::from_str(&answer)
        .map_err(|cause| Error::Invalid(format!("the host's answer to bench.workloads/1: {cause}")))?;
    let attempts = spec.number("operator_attempts", 1).max(1);
    let timeout: Option<f64> = spec.extra("timeout_seconds").and_then(|seconds| seconds.parse().ok());
    let mut extra: Map<String, Value> =
        spec.extra.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    extra.extend(additions);
    // Each option that is declared: as it was given, or else what holds without.
    let options: Map<String, Value> = engine
        .options
        .iter()
        .map(|option| (option.name.to_owned(), spec.extra(option.name).or(option.default).into()))
        .collect();
    Ok(json!({
        "name": engine.name,
        "display": engine.display,
        "workload": spec.name,
        "graph": host.graph()?,
        "total_items": spec.total_items,
        "parallelism": spec.parallelism,
        "batch_size": spec.batch_size(),
        "max_in_flight": spec.number("max_in_flight", 0),
        "scheduler": spec.scheduler_name,
        "nodes": spec.number("nodes", 1).max(1),
        "library": library.library,
        "sha256": library.sha256,
        "open": library.open,
        "retries": spec.number("retries", attempts - 1),
        "timeout": timeout,
        "dir": dir,
        // The driver's own is in `dir`.
        "home": std::env::var("HOME").ok(),
        "options": options,
        "extra": extra,
    })
    .to_string())
}
