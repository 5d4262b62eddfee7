//! A run over time: what its progress reports add up to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One report. Counts are totals since the start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Seconds since the first report with an arrival.
    pub at: f64,
    pub emitted: u64,
    pub finished: u64,
    pub failed: u64,
    pub in_flight: u64,
    /// Sum of the response times of all finished items, in seconds.
    pub response_seconds: f64,
}
