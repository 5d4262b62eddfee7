//! What ran, on which machine, and what else the machine did.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A process that ran operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// The machine that it ran on, where that is another one or has processes apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its id.
    pub pid: u32,
    /// Operator calls it made.
    pub spans: u64,
}

/// A server on this machine that the run asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Server {
    /// The process at its root; of one that bench started, the one that keeps watch over it.
    pub pid: u32,
    /// What the kernel calls that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether bench started it, and ended it.
    pub started: bool,
}

/// The monotonic clock of other machines, held against this one's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Clock {
    /// The machines that have it, as they call themselves.
    pub hosts: Vec<String>,
    /// How far it is ahead. Null where it was not compared.
    pub offset_seconds: Option<f64>,
    /// How wrong that can be: half of the soonest question and answer.
    pub within_seconds: Option<f64>,
    /// How much faster it goes, in millionths. Null where it was compared once only.
    pub drift_ppm: Option<f64>,
}

/// A machine with workers that bench did not start, by their own account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Machine {
    /// As it calls itself.
    pub host: String,
    /// Processes that ran operators.
    pub workers: u64,
    /// CPU time that they used from deploy to the end of the stream. Null where one of them did not say.
    pub cpu_seconds: Option<f64>,
    /// The most memory that one of them ever had.
    pub largest_worker_bytes: Option<u64>,
    /// Share of the machine's CPU time that processes used which are none of them. Null where that is not known, and
    /// on the machine that bench runs on: see `disturbance`.
    pub others: Option<f64>,
}

/// The plugin that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Plugin {
    /// Its own version.
    pub version: Option<String>,
    /// Version of the plugin API that it was built for.
    pub api: Option<String>,
    /// The ABI it speaks.
    pub abi: Option<String>,
    /// SHA-256 of its file.
    pub sha256: Option<String>,
}

/// The machine that a result has to be read with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::may_be_absent)]
pub struct Host {
    /// The processor.
    pub cpu_model: String,
    /// Cores that bench may use.
    pub cores: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Operating system.
    pub os: String,
}

/// What else the machine did while queries were timed, as shares of all its CPU time (0 to 1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Disturbance {
    /// Taken by the hypervisor.
    pub steal: Option<f64>,
    /// Used by processes that are not part of the run.
    pub others: Option<f64>,
    /// Used by the run's own processes and by bench.
    pub own: Option<f64>,
    /// Used by the servers that were declared; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<f64>,
    /// From the first timed query to the last answer, as far apart as the two readings were.
    pub window_seconds: Option<f64>,
    /// Where that is too short to tell what others used: from the run's start to the last answer, which `others` is
    /// about then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others_window_seconds: Option<f64>,
    /// How exact they are.
    pub resolution: Resolution,
    /// Why a figure is null, by its name.
    pub unknown: BTreeMap<String, String>,
}

/// How far a share can be from the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Resolution {
    /// That of the hypervisor.
    pub steal: Option<f64>,
    /// That of other processes.
    pub others: Option<f64>,
    /// That of declared servers; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<f64>,
}

impl Disturbance {
    /// What others used is not known, and why.
    pub fn forget_others(&mut self, why: &str) {
        (self.others, self.resolution.others) = (None, None);
        self.unknown.insert("others".to_owned(), why.to_owned());
    }

    /// When nothing is known, and why.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        let unknown = ["steal", "others", "own"].map(|figure| (figure.to_owned(), why.to_owned()));
        Self { unknown: unknown.into(), ..Self::default() }
    }
}
