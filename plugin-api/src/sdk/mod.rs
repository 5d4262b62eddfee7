//! The safe layer for plugin authors.
//!
//! Implement [`Backend`], call [`export_backend!`](crate::export_backend). Every call from the host
//! runs inside `catch_unwind`: a panic becomes an error that names it instead of an abort.
//! `tracing` events of the plugin are forwarded to the host's log.

#[cfg(feature = "c_entry")]
#[doc(hidden)]
pub mod c_entry;
mod error;
mod export;
mod forward;
mod host;
mod options;
mod pipeline;

pub use error::Error;
pub use export::{IS_AVAILABLE_FAILED, module, runner};
pub use host::{Host, Operator};
pub use options::{BackendOption, OPTIONS, Takes, options_answer};
pub use pipeline::InlinePipeline;

use abi_stable::std_types::RString;

use crate::v1;

/// A backend, as its author writes it.
pub trait Backend: Send + Sync + 'static {
    /// The name users type after `--backend`: lower case letters, digits and `_`.
    const NAME: &'static str;

    /// The name of this very backend, for a library that learns it only when it is loaded.
    fn name(&self) -> &str {
        Self::NAME
    }

    /// Light, idempotent, starts nothing. By default a backend is available.
    fn is_available(&self) -> Availability {
        Availability::ready("built in")
    }

    /// Runs the workload: read events, apply the operators, emit the results.
    ///
    /// # Errors
    /// Whatever ended the run early.
    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error>;

    /// The settings of its own that users give as `--backend-option KEY=VALUE` and `run` finds in
    /// [`Spec::extra`]. The host refuses others. Nothing, which is the default, means that the backend does not say
    /// what it takes: then the host passes everything on with a warning.
    fn options(&self) -> Option<&'static [BackendOption]> {
        None
    }

    /// Answers an extension such as `bench.requirements/1`.
    fn extension(&self, id: &str, request: &str) -> Option<String> {
        let _ = (id, request);
        None
    }
}

/// Whether a backend can run here and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Ready {
        /// Version of the runtime behind the backend.
        version: String,
    },
    /// It cannot.
    Missing {
        /// Which part is missing, and where it was looked for.
        reason: String,
        /// The command that mends it.
        remedy: String,
    },
}

impl Availability {
    /// Available, with the runtime's version.
    pub fn ready(version: impl Into<String>) -> Self {
        Self::Ready { version: version.into() }
    }

    /// Not available: why, and the command that mends it.
    pub fn missing(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Missing { reason: reason.into(), remedy: remedy.into() }
    }
}

impl From<Availability> for v1::Availability {
    fn from(value: Availability) -> Self {
        match value {
            Availability::Ready { version } => {
                Self { available: true, detail: version.into(), remedy: RString::new() }
            }
            Availability::Missing { reason, remedy } => {
                Self { available: false, detail: reason.into(), remedy: remedy.into() }
            }
        }
    }
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Name of the workload.
    pub name: String,
    /// Queries the source will emit, warm-up included.
    pub total_items: u64,
    /// Operator-level parallelism, at least 1.
    pub parallelism: u32,
    /// Scheduler hint.
    pub scheduler_name: String,
    /// Everything else, by name.
    pub extra: Vec<(String, String)>,
}

impl Spec {
    /// The value of an extra, if given.
    #[must_use]
    pub fn extra(&self, key: &str) -> Option<&str> {
        self.extra.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// An extra read as a number, or `default`.
    #[must_use]
    pub fn number(&self, key: &str, default: u32) -> u32 {
        self.extra(key).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// Queries per batch: the micro-batch that every backend must use.
    #[must_use]
    pub fn batch_size(&self) -> u32 {
        self.number("parity_batch_size", 16).max(1)
    }
}

impl From<v1::WorkloadSpec> for Spec {
    fn from(spec: v1::WorkloadSpec) -> Self {
        Self {
            name: spec.name.into(),
            total_items: spec.total_items,
            parallelism: spec.parallelism.max(1),
            scheduler_name: spec.scheduler_name.into(),
            extra: spec.extra.into_iter().map(|pair| (pair.key.into(), pair.value.into())).collect(),
        }
    }
}

/// What a backend has to say at the end beyond what the host measured.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// Facts for the record's `extra`, by name.
    pub metrics: Vec<(String, serde_json::Value)>,
}
