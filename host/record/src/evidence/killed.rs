//! What was killed on purpose while a run went on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::UtcTime;

/// What was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Victim {
    /// The process that had run the most operators.
    Worker,
    /// Of the nodes that the run has on this machine the one with that process, and all that runs there.
    Node,
    /// A process that the user named.
    Process,
    /// None: an operator panicked, once.
    Operator,
}

impl Victim {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "a worker",
            Self::Node => "a node",
            Self::Process => "a process that the user named",
            Self::Operator => "an operator",
        }
    }
}

/// A kill: of what, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Killed {
    /// What it was to the run.
    pub what: Victim,
    /// The event that it was tied to: so many queries had been answered. Of an operator the record at which it panicked.
    pub after: u64,
    /// When, by this machine's clock. Null for an operator, whose moment is that of its record.
    pub at: Option<UtcTime>,
    /// The same by its monotonic clock, in nanoseconds, by which the sink stamps answers.
    pub monotonic_ns: Option<u64>,
    /// Which processes were sent the signal, the one that was aimed at first.
    pub processes: Vec<KilledProcess>,
    /// Operator calls of theirs on records that had been answered. Null where that is not known.
    pub calls: Option<u64>,
    /// Queries that were taken and not answered.
    pub in_flight: Option<u64>,
    /// The operator that panicked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// Letters of a command line that people are shown.
const SHOWN: usize = 80;

impl KilledProcess {
    /// Its command line as far as it fits on a screen.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.command.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &self.command[..end]),
            None => self.command.clone(),
        }
    }
}

/// A process that was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KilledProcess {
    /// Its number.
    pub pid: u32,
    /// Its command line, or its name where it has none.
    pub command: String,
}
