//! Names of the files in an output directory.

/// The records, one a line: the truth.
pub const JSONL: &str = "unified_results.jsonl";
/// The same as a table, derived from it.
pub const CSV: &str = "unified_results.csv";
/// How to repeat the run.
pub const MANIFEST: &str = "repro_manifest.json";
