//! What a run found out beyond the fields of its record: the record's `extra`.
//!
//! This is its one definition. A run fills it in, `extra` is its serialisation, the JSON Schema is generated from
//! it, and whatever reads records reads it. Records come from older versions, from the Python version and from
//! third parties too, so everything may be absent, and what has another type than here counts as absent: `extra`
//! belongs to its backend as well, and nothing fails over it. The record itself keeps what was written, to the byte.

mod brief;
mod generation;
mod machine;
mod place;
mod validity;
mod work;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use brief::Brief;
pub use generation::{Generation, Goodput, Percentiles};
pub use machine::{Clock, Disturbance, Host, Machine, Plugin, Resolution, Server, Worker};
pub use place::{DrawnFrom, Layout, Place, SweepPlace, TrialPlace};
pub use validity::{Finding, Settling, Steady, Validity, Verdict};
pub use work::{Account, Arrivals, Attribution, Generator, Items, Load, OperatorTime, Parts, ServiceLatency};

/// Everything a run found out, in the order in which it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(transform = may_be_absent)]
pub struct Evidence {
    /// SHA-256 of the backend's name.
    pub backend_hash: Option<String>,
    /// The scheduler's name.
    pub scheduler: Option<String>,
    /// Which repeat of the run this is.
    pub repeat_index: Option<u64>,
    /// How many repeats there are.
    pub repeats: Option<u64>,
    /// Whether the user cut the run short.
    pub partial: bool,
    /// Proof of the answers: equal for equal answers. Null when no timed query was answered.
    pub output_digest: Option<String>,
    /// Counts of items.
    pub items: Items,
    /// Why items failed, the first reasons.
    pub failure_reasons: Vec<String>,
    /// Failed items whose reason is not among them.
    #[serde(skip_serializing_if = "is_none")]
    pub failure_reasons_left_out: u64,
    /// Work and time of each operator, in the workload's order.
    pub operators: IndexMap<String, OperatorTime>,
    /// Where the time of the timed items went. Null where what operators say of their times cannot be, and where their
    /// clocks are not known.
    pub attribution: Option<Attribution>,
    /// Clocks of other machines that operators ran on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clocks: Vec<Clock>,
    /// Why a figure is null, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, String>,
    /// Latency from the moment the backend took an item instead of its intended arrival.
    pub service_latency: ServiceLatency,
    /// How items arrived.
    pub load: Option<Load>,
    /// Arrivals that the generator was late for.
    pub late_arrivals: Option<u64>,
    /// How well the generator of an open load kept to its schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<Generator>,
    /// Most memory of the process tree. Null where operators ran outside of it.
    pub memory_peak_bytes: Option<u64>,
    /// CPU time of the process tree, by the kernel's account, and of workers outside of it, by theirs. Null where one of
    /// the two is missing.
    pub cpu_seconds: Option<f64>,
    /// How much of it the kernel hands to nobody, so that it was sampled.
    pub cpu_seconds_sampled: Option<f64>,
    /// What the whole machine, others and idling included, took from its socket between the first timed query and the
    /// last answer, by the counters of its processors. Absent where they cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
    /// Most processes at once. Null when no sample was taken.
    pub processes_peak: Option<u64>,
    /// Processes that ran operators.
    pub workers: Vec<Worker>,
    /// Operator calls of processes that are not among them, because there were too many.
    #[serde(skip_serializing_if = "is_none")]
    pub workers_left_out: u64,
    /// Machines with workers outside of the process tree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Machine>,
    /// Scores of the rankings, where the corpus has judgements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Map<String, Value>>,
    /// What answers of a language model took, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The corpus, and what is odd about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corpus: Option<Map<String, Value>>,
    /// What the encoder left unread of the longest texts of the corpus, where it did: `words` that it reads, how many
    /// texts are `longer`, `of` how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncation: Option<Map<String, Value>>,
    /// What the embedding endpoint serves, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_endpoint: Option<Map<String, Value>>,
    /// Where the answers of each item are, relative to the record. Null where they could not be kept.
    pub items_file: Option<String>,
    /// SHA-256 of that file as it was written. Null where it could not be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items_sha256: Option<String>,
    /// Where all latencies are, relative to the record. Null where they could not be kept.
    pub latency_histogram: Option<String>,
    /// SHA-256 of that file as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_histogram_sha256: Option<String>,
    /// Where every answer is with what it cites, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers_file: Option<String>,
    /// SHA-256 of that file as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers_sha256: Option<String>,
    /// Where the vectors are that an embedding endpoint gave, as many as fit: as the cache had them when the run was
    /// over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors_file: Option<String>,
    /// SHA-256 of that file as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors_sha256: Option<String>,
    /// The plugin that ran.
    pub plugin: Plugin,
    /// Version of the runtime, as the plugin states it.
    pub runtime_version: Option<String>,
    /// SHA-256 of the operators' library. Null where there was none.
    pub workloads_sha256: Option<String>,
    /// Version of bench.
    pub bench_version: Option<String>,
    /// Instructions that the operators used.
    pub simd: Option<String>,
    /// The machine. Another writer may say other things about it than bench does.
    #[schemars(with = "Option<Host>")]
    pub host: Option<Map<String, Value>>,
    /// What else the machine did while queries were timed.
    pub disturbance: Disturbance,
    /// Servers on this machine that were declared: what they used is none of the others'.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// From when on the run was steady.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steady: Option<Steady>,
    /// Whether the run may be read as a measurement.
    pub validity: Validity,
    /// The configuration that `config_hash` is of.
    pub effective_config: Map<String, Value>,
    /// The backend's own settings.
    pub backend_options: IndexMap<String, String>,
    /// The run's place in a campaign.
    #[serde(flatten)]
    pub place: Place,
    /// Files that could not be written, each with its cause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unwritten: Vec<String>,
    /// The backend's own account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_account: Option<Account>,
    /// What was not as it should be, and cost nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Value>,
    /// Whatever else somebody had to say.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Evidence {
    /// Reads an `extra`, whoever wrote it.
    #[must_use]
    pub fn of(extra: &Map<String, Value>) -> Self {
        let carefully = || {
            let read = |value: Value| serde_json::from_value::<Self>(value).ok();
            read(understood(&Value::Object(extra.clone()), &|part| read(part).is_some())?)
        };
        Self::deserialize(extra).ok().or_else(carefully).unwrap_or_default()
    }

    /// As the record keeps it.
    #[must_use]
    pub fn into_extra(self) -> Map<String, Value> {
        object(&self)
    }

    /// Whether the run was judged and found wanting.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.validity.verdict == Some(Verdict::Invalid)
    }

    /// The host in words: the same for two descriptions of one host.
    #[must_use]
    pub fn host_in_words(&self) -> Option<String> {
        self.host.as_ref().map(in_words)
    }

    /// What the embedding endpoint serves, in words.
    #[must_use]
    pub fn embedding_in_words(&self) -> Option<String> {
        self.embedding_endpoint.as_ref().map(in_words)
    }
}

/// There is nothing to count.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// A value whose keys are known to others. Nothing that is written here fails to be JSON.
pub fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// As much of a value as `fits`: of an object or a list the members that do, and of those as much as does.
fn understood(value: &Value, fits: &dyn Fn(Value) -> bool) -> Option<Value> {
    if fits(value.clone()) {
        return Some(value.clone());
    }
    let part: Value = match value {
        Value::Object(map) => {
            let alone = |key: &String, member| Value::from_iter([(key.clone(), member)]);
            let fitting = map.iter().filter_map(|(key, member)| {
                Some((key.clone(), understood(member, &|member| fits(alone(key, member)))?))
            });
            fitting.collect()
        }
        Value::Array(list) => {
            let alone = |member| Value::Array(vec![member]);
            list.iter().filter_map(|member| understood(member, &|member| fits(alone(member)))).collect()
        }
        _ => return None,
    };
    fits(part.clone()).then_some(part)
}

/// Keys in order, so that two descriptions of one thing are equal.
fn in_words(map: &Map<String, Value>) -> String {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(key, _)| key.as_str());
    let words = pairs.iter().map(|(key, value)| match value {
        Value::String(text) => format!("{key} {text}"),
        other => format!("{key} {other}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A record of somebody else's need not say any of this.
fn may_be_absent(schema: &mut Schema) {
    schema.remove("required");
}

#[cfg(test)]
mod tests;
