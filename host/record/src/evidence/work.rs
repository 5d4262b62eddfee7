//! The work that was done, and the time that it took.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::units::Millis;

/// Counts of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Items {
    /// Read from the source.
    pub emitted: Option<u64>,
    /// Answered.
    pub completed: Option<u64>,
    /// Failed.
    pub failed: Option<u64>,
    /// Answered without anything to join with.
    pub join_empty: Option<u64>,
    /// Not timed, at the start.
    pub warmup: Option<u64>,
    /// Timed.
    pub timed: Option<u64>,
}

impl Items {
    /// Timed items, or those that were completed where nothing is said of timed ones.
    #[must_use]
    pub fn counted(&self) -> Option<u64> {
        self.timed.or(self.completed)
    }
}

/// Work and time of one operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OperatorTime {
    /// Records it handled.
    pub records: u64,
    /// Seconds it was busy, over all threads. Null where what operators say of their times cannot be.
    pub busy_seconds: Option<f64>,
}

/// Where the time of the timed items went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Attribution {
    /// In all.
    #[serde(flatten)]
    pub all: Parts,
    /// Of each operator, and of the sink.
    pub stages: IndexMap<String, Parts>,
}

/// Seconds, summed over the timed items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Parts {
    /// Operators at work.
    pub operator_seconds: f64,
    /// Waiting for an operator.
    pub queueing_seconds: f64,
    /// On the way between processes.
    pub transfer_seconds: f64,
    /// On the way within a process.
    pub overhead_seconds: f64,
}

impl Parts {
    /// The names of the parts.
    pub const NAMES: [&str; 4] = ["operator", "queueing", "transfer", "overhead"];

    /// One for each of the names.
    #[must_use]
    pub fn seconds(&self) -> [f64; 4] {
        [self.operator_seconds, self.queueing_seconds, self.transfer_seconds, self.overhead_seconds]
    }
}

/// Percentiles in milliseconds. Null when nothing was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceLatency {
    /// The median.
    pub p50: Option<Millis>,
    /// The 99th percentile.
    pub p99: Option<Millis>,
}

/// How items arrive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "model", rename_all = "snake_case")]
pub enum Load {
    /// As fast as the in-flight limit allows, so that latency follows from throughput.
    Closed,
    /// At a fixed or random rate, whatever the backend does.
    Open {
        /// Items a second.
        rate: f64,
        /// The gaps between them.
        arrivals: Arrivals,
    },
}

impl Load {
    /// Its model.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
        }
    }
}

/// Gaps between arrivals of an open load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// All equal.
    Fixed,
    /// Exponentially distributed.
    Poisson,
}

/// How well the generator of an open load kept to its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Generator {
    /// Arrivals a second that the schedule asked for, over its whole length.
    pub offered_rate: f64,
    /// Arrivals a second that there were.
    pub achieved_rate: f64,
    /// Arrivals that the backend took more than 5 ms late: their wait is in the response time.
    pub backpressured: u64,
    /// How long a query was emitted after its intended time, or after the backend asked for it if that was
    /// later, in milliseconds: the median.
    pub lateness_p50_ms: f64,
    /// The same, 99th percentile.
    pub lateness_p99_ms: f64,
    /// The same, at most.
    pub lateness_max_ms: f64,
}

/// The backend's own account of its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// How long it took.
    pub elapsed_seconds: f64,
    /// Items that it answered or gave up.
    pub items_processed: u64,
    /// What it wants to add.
    pub metrics: Map<String, Value>,
}
