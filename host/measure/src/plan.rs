//! What a run is: validated once, hashed, serialised, and read by everything after.

mod of_record;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench_dataflow::graph::{Graph, Role};
use bench_workloads::fault::Fault;
use bench_workloads::list::{self, Listed};
use bench_workloads::parameters::{FAULT, ParamError, Values};
pub use bench_workloads::schedule::Variation;
use bench_workloads::text::endpoint::Served;
use bench_workloads::workload::{OpenSpec, WorkloadError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bounds::Bounds;
use super::input_plan::InputPlan;
use bench_record::canonical_json::config_hash;
pub use bench_record::evidence::{Arrivals, Load};
pub use of_record::Unrepeatable;

/// A complete, validated plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub workload: Listed,
    pub seed: u64,
    pub nodes: u32,
    pub parallelism: u32,
    pub num_tasks: u32,
    pub warmup_items: u32,
    /// What is warm-up the run itself shows: the first items up to where it is steady.
    #[serde(default)]
    pub warmup_auto: bool,
    /// A run that breaks one of these is ended there. They change nothing of what it does until then.
    #[serde(default, skip_serializing_if = "Bounds::is_empty")]
    pub bounds: Bounds,
    pub parity_batch_size: u32,
    pub repeat: u32,
    pub quick: bool,
    pub scheduler: String,
    pub max_in_flight: u32,
    pub load: Load,
    pub params: Values,
    /// Whether the queries are others than seed and number stand for.
    #[serde(default)]
    pub variation: Variation,
    /// Stands for the corpus in the hash; absent for synthetic text.
    pub corpus_digest: Option<String>,
    /// Stands for the model behind an embedding endpoint; absent without one.
    #[serde(default)]
    pub served: Option<Served>,
    /// Where prepared indexes are kept. Not part of the hash.
    pub cache_dir: PathBuf,
    /// A run that takes longer is ended.
    pub timeout: Option<Duration>,
}

/// A plan was refused.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("{flag} must be {range}, not {value}")]
    Range { flag: &'static str, range: String, value: String },
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

impl Plan {
    /// Checks everything that can be checked without running.
    ///
    /// # Errors
    /// The first thing that is out of range.
    pub fn validate(&self) -> Result<(), PlanError> {
        let check = |fine, flag, range: &str, value: &dyn ToString| {
            let range = range.to_owned();
            if fine { Ok(()) } else { Err(PlanError::Range { flag, range, value: value.to_string() }) }
        };
        check(self.nodes >= 1, "--nodes", "at least 1", &self.nodes)?;
        check((1..=1024).contains(&self.parallelism), "--parallelism", "from 1 to 1024", &self.parallelism)?;
        check(self.num_tasks >= 1, "--num-tasks", "at least 1", &self.num_tasks)?;
        check((1..=10_000).contains(&self.repeat), "--repeat", "from 1 to 10000", &self.repeat)?;
        let batch = self.parity_batch_size;
        check((1..=65_536).contains(&batch), "--parity-batch-size", "from 1 to 65536", &batch)?;
        check(
            self.warmup_items < self.num_tasks,
            "--warmup-items",
            &format!("below --num-tasks ({}), or nothing is left to time", self.num_tasks),
            &self.warmup_items,
        )?;
        if let Load::Open { rate, .. } = self.load {
            check(rate > 0.0 && rate <= 1e6, "--rate", "above 0 and at most 1000000 per second", &rate)?;
        }
        self.workload.parameters().validate(&self.params)?;
        let graph = self.graph()?;
        // One that strikes nowhere is a mistake.
        if let Some(fault) =
            self.params.get(FAULT).and_then(Value::as_str).and_then(|text| text.parse::<Fault>().ok())
        {
            let operators = graph.nodes.iter().filter(|node| node.role == Role::Operator);
            let names: Vec<&str> = operators.map(|node| node.name.as_str()).collect();
            let range = format!("at one of the operators {}", names.join(", "));
            check(names.contains(&fault.node.as_str()), "--set fault", &range, &fault.node)?;
        }
        let least = graph.min_in_flight.saturating_add(self.parity_batch_size);
        check(
            self.max_in_flight >= least,
            "--max-in-flight",
            &format!(
                "at least {least} here (open batches hold back up to {} queries, and one input batch must fit beside them)",
                graph.min_in_flight
            ),
            &self.max_in_flight,
        )
    }

    /// The graph of the workload.
    ///
    /// # Errors
    /// When the parameters are another workload's.
    pub fn graph(&self) -> Result<Graph, ParamError> {
        self.workload.graph(&self.params)
    }

    /// What a node of the graph is called.
    #[must_use]
    pub fn node_name(&self, node: u16) -> String {
        let graph = self.graph().ok();
        let known = graph.as_ref().and_then(|graph| graph.nodes.get(usize::from(node)));
        known.map_or_else(|| format!("node {node}"), |known| known.name.clone())
    }

    /// What the configuration hash is taken of: everything that changes the work, nothing else.
    #[must_use]
    pub fn fingerprint(&self) -> Value {
        let (digest, served) = (self.corpus_digest.as_deref(), self.served.as_ref());
        let mut fingerprint = json!({
            "workload": self.workload,
            "seed": self.seed,
            "nodes": self.nodes,
            "parallelism": self.parallelism,
            "num_tasks": self.num_tasks,
            "warmup_items": self.warmup_items,
            "parity_batch_size": self.parity_batch_size,
            "repeat": self.repeat,
            "quick": self.quick,
            "scheduler": self.scheduler,
            "max_in_flight": self.max_in_flight,
            "load": self.load,
            "deterministic_shuffle_version": bench_workloads::shuffle::SHUFFLE_VERSION,
            "parameters": self.workload.parameters().fingerprint(&self.params, digest, served),
        });
        if self.warmup_auto {
            fingerprint["warmup"] = json!("auto");
        }
        if self.variation != Variation::default() {
            fingerprint["variation"] = json!(self.variation);
        }
        fingerprint
    }

    /// SHA-256 of the canonical JSON of [`Plan::fingerprint`], 64 hex digits.
    #[must_use]
    pub fn config_hash(&self) -> String {
        config_hash(&self.fingerprint())
    }

    /// Warm-up and batches.
    ///
    /// # Errors
    /// When there is nothing to plan; [`Plan::validate`] refuses that first.
    pub fn input_plan(&self) -> bench_record::Result<InputPlan> {
        InputPlan::new(
            self.num_tasks as usize,
            self.variation.order.unwrap_or(self.seed),
            self.warmup_items as usize,
            self.parity_batch_size as usize,
        )
    }

    /// What a worker process needs to open the workload.
    #[must_use]
    pub fn open_spec(&self) -> OpenSpec {
        OpenSpec {
            workload: self.workload.name().to_owned(),
            seed: self.seed,
            num_tasks: self.num_tasks,
            params: self.params.clone(),
            corpus_digest: self.corpus_digest.clone(),
            served: self.served.clone(),
            key: None,
            placed: self.nodes > 1,
            cache_dir: self.cache_dir.clone(),
        }
    }
}

/// Where prepared indexes go unless the user says otherwise.
#[must_use]
pub fn default_cache_dir() -> PathBuf {
    let base = directories::ProjectDirs::from("", "", "bench");
    base.map_or_else(|| Path::new(".bench-cache").to_owned(), |dirs| dirs.cache_dir().to_owned())
}

/// A plan for tests, here and in other crates.
#[doc(hidden)]
pub fn example() -> Plan {
    Plan {
        workload: list::default(),
        seed: 42,
        nodes: 1,
        parallelism: 2,
        num_tasks: 100,
        warmup_items: 0,
        warmup_auto: false,
        bounds: Bounds::default(),
        parity_batch_size: 16,
        repeat: 1,
        quick: false,
        scheduler: "default".into(),
        max_in_flight: 128,
        load: Load::Closed,
        params: list::default().parameters().defaults(),
        variation: Variation::default(),
        corpus_digest: None,
        served: None,
        cache_dir: "/nowhere".into(),
        timeout: None,
    }
}

#[cfg(test)]
mod tests {
    use bench_dataflow::graph::Role;

    use super::example as plan;
    use super::*;

    #[test]
    fn where_and_how_long_do_not_change_the_hash_but_the_work_does() {
        let base = plan().config_hash();
        let elsewhere = Plan { cache_dir: "/else".into(), timeout: Some(Duration::from_secs(1)), ..plan() };
        assert_eq!(elsewhere.config_hash(), base);
        let mut params = plan().params;
        plan().workload.parameters().set_text(&mut params, "mmr_lambda", "0.6").unwrap();
        for other in [
            Plan { seed: 43, ..plan() },
            Plan { parallelism: 4, ..plan() },
            Plan { scheduler: "fifo".into(), ..plan() },
            Plan { warmup_auto: true, ..plan() },
            Plan { variation: Variation { distinct: Some(8), order: None }, ..plan() },
            Plan { params, ..plan() },
        ] {
            assert_ne!(other.config_hash(), base);
        }
    }

    #[test]
    fn an_in_flight_limit_that_would_wait_for_ever_is_refused() {
        let error = Plan { max_in_flight: 20, ..plan() }.validate().unwrap_err();
        assert!(error.to_string().starts_with("--max-in-flight must be at least 43"), "{error}");
    }

    #[test]
    fn a_fault_at_no_operator_is_refused() {
        let with = |fault: &str| {
            let mut params = plan().params;
            plan().workload.parameters().set_text(&mut params, FAULT, fault).unwrap();
            Plan { params, ..plan() }.validate()
        };
        let graph = plan().graph().unwrap();
        let operator = &graph.operators().next().unwrap().name;
        // Sources are nodes too, and work on nothing.
        let source = &graph.nodes.iter().find(|node| node.role == Role::Source).unwrap().name;
        assert!(with(&format!("raise:{operator}:1")).is_ok());
        for node in ["nope", &operator.to_uppercase(), source, "*"] {
            let error = with(&format!("raise:{node}:1")).unwrap_err().to_string();
            let operators = format!("--set fault must be at one of the operators {operator}, ");
            assert!(error.starts_with(&operators), "{error}");
            assert!(error.ends_with(&format!(", not {node}")), "{error}");
        }
    }

    #[test]
    fn a_warm_up_of_everything_is_refused() {
        let error = Plan { warmup_items: 100, ..plan() }.validate().unwrap_err();
        assert!(error.to_string().contains("nothing is left to time"), "{error}");
    }
}
