//! What a pair of runs leaves beside its results: `manifest.json`, or `failure_report.json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::time::UtcTime;

/// Name of the file that a pair writes at its end.
pub const MANIFEST_NAME: &str = "manifest.json";

/// Name of the file that it writes instead when it did not come that far.
pub const FAILURE_NAME: &str = "failure_report.json";

/// A pair that was completed and compared.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "bench pair manifest")]
pub struct PairManifest {
    /// Always "success".
    #[schemars(extend("const" = "success"))]
    pub status: &'static str,
    /// When the pair was begun, ISO-8601 in UTC.
    pub started_at: UtcTime,
    /// When the comparison was written.
    pub finished_at: UtcTime,
    /// Shared by every record of the pair.
    pub run_id: String,
    /// SHA-256 of the configuration, 64 hexadecimal digits.
    pub config_hash: String,
    /// What was run.
    pub config: PairConfig,
    /// Where the results are: `<backend>_csv` and `<backend>_jsonl` of each backend, `summary`,
    /// `comparison_csv` and `compare_log`.
    pub paths: BTreeMap<String, String>,
}

/// A pair that failed or was interrupted.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "bench failure report")]
pub struct FailureReport {
    /// "failed", or "interrupted" by the user.
    #[schemars(extend("enum" = ["failed", "interrupted"]))]
    pub status: &'static str,
    /// When the pair was begun, ISO-8601 in UTC.
    pub started_at: UtcTime,
    /// When it was given up.
    pub failed_at: UtcTime,
    /// Shared by every record of the pair.
    pub run_id: String,
    /// SHA-256 of the configuration, 64 hexadecimal digits.
    pub config_hash: String,
    /// What was to be run.
    pub config: PairConfig,
    /// What went wrong, one line each.
    pub error: String,
    /// Backends that failed, or "compare". Empty when the user stopped it.
    pub failed: Vec<String>,
    /// Folder of all logs.
    pub logs_dir: String,
    /// The command that continues the pair. Finished runs are not repeated.
    pub resume: String,
}

/// What a pair runs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct PairConfig {
    /// Scheduling hint.
    pub scheduler: String,
    /// Queries of each run.
    pub items: u32,
    /// Parallelism of each operator.
    pub parallelism: u32,
    /// Number of worker nodes.
    pub nodes: u32,
    /// Seed of every random choice.
    pub seed: u64,
    /// Number of pairs.
    pub repeat: u32,
    /// Name of the workload.
    pub workload: String,
    /// Names of the backends.
    pub backends: Vec<String>,
    /// Whether one backend runs against itself.
    pub aa: bool,
}
