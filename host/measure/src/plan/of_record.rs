//! The plan of a run that is over, from what its record says of it.

use std::path::Path;

use bench_workloads::list::Listed;
use bench_workloads::parameters::{CORPUS, NotAgain, ParamError};
use bench_workloads::workload::WorkloadError;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::bounds::Bounds;

use super::{Load, Plan, PlanError, Variation};
use bench_record::Record;

/// A run cannot be repeated from its record.
#[derive(Debug, thiserror::Error)]
pub enum Unrepeatable {
    #[error("its record does not say what was run: {0}")]
    Unread(String),
    #[error("it ran on a corpus, and a record does not say where that is")]
    NoCorpus,
    #[error("it ran on another corpus, or was judged by another split of it")]
    OtherCorpus,
    #[error("what its record says comes to config_hash {now}, and not to its own")]
    OtherHash { now: String },
    #[error(transparent)]
    NotAgain(#[from] NotAgain),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl Unrepeatable {
    /// What to do; empty where nothing helps.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NoCorpus | Self::OtherCorpus => format!("say where it is: --set {CORPUS}=DIR"),
            Self::Unread(_) | Self::OtherHash { .. } => {
                "another version of bench, or another program, wrote it: run it anew".to_owned()
            }
            _ => String::new(),
        }
    }
}

impl From<ParamError> for Unrepeatable {
    fn from(error: ParamError) -> Self {
        Self::NotAgain(error.into())
    }
}

/// [`Plan::fingerprint`], read back.
#[derive(Deserialize)]
struct Fingerprint {
    workload: Listed,
    seed: u64,
    nodes: u32,
    parallelism: u32,
    num_tasks: u32,
    warmup_items: u32,
    parity_batch_size: u32,
    repeat: u32,
    quick: bool,
    scheduler: String,
    max_in_flight: u32,
    load: Load,
    parameters: Map<String, Value>,
    #[serde(default)]
    warmup: Option<String>,
    #[serde(default)]
    variation: Variation,
}

impl Plan {
    /// The plan of the run that `record` is of. `set` adds what no record holds: where the corpus is.
    ///
    /// # Errors
    /// When the record does not say it, or it is not the same work any more.
    pub fn of_record<E>(
        record: &Record,
        cache_dir: &Path,
        set: impl FnOnce(Listed, &mut bench_workloads::parameters::Values) -> Result<(), E>,
    ) -> Result<Self, E>
    where
        E: From<Unrepeatable>,
    {
        let config = record.evidence().effective_config;
        let read =
            Fingerprint::deserialize(&config).map_err(|cause| Unrepeatable::Unread(cause.to_string()))?;
        let known = read.workload.parameters().of_fingerprint(&read.parameters);
        let (mut params, digest) = known.map_err(Unrepeatable::from)?;
        set(read.workload, &mut params)?;
        let corpus = read.workload.corpus(&params, cache_dir).map_err(Unrepeatable::from)?;
        match (&digest, &corpus) {
            (Some(_), None) => return Err(Unrepeatable::NoCorpus.into()),
            (digest, Some(corpus)) if digest.as_deref() != Some(corpus.digest()) => {
                return Err(Unrepeatable::OtherCorpus.into());
            }
            _ => {}
        }
        let plan = Self {
            workload: read.workload,
            seed: read.seed,
            nodes: read.nodes,
            parallelism: read.parallelism,
            num_tasks: read.num_tasks,
            warmup_items: read.warmup_items,
            warmup_auto: read.warmup.is_some(),
            bounds: Bounds::default(),
            parity_batch_size: read.parity_batch_size,
            repeat: read.repeat,
            quick: read.quick,
            scheduler: read.scheduler,
            max_in_flight: read.max_in_flight,
            load: read.load,
            params,
            variation: read.variation,
            corpus_digest: digest,
            served: None,
            cache_dir: cache_dir.to_owned(),
            timeout: None,
        };
        plan.validate().map_err(Unrepeatable::from)?;
        let now = plan.config_hash();
        if record.config_hash.as_deref() != Some(now.as_str()) {
            return Err(Unrepeatable::OtherHash { now }.into());
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example;
    use bench_record::evidence::{Evidence, object};
    use bench_record::testing::example as record;

    fn of(plan: &Plan, change: impl FnOnce(&mut Map<String, Value>)) -> Result<Plan, Unrepeatable> {
        let mut effective_config = object(&plan.fingerprint());
        change(&mut effective_config);
        let extra = Evidence { effective_config, ..Evidence::default() }.into_extra();
        let record = Record { config_hash: Some(plan.config_hash()), extra, ..record() };
        Plan::of_record(&record, Path::new("/nowhere"), |_, _| Ok(()))
    }

    #[test]
    fn a_record_holds_the_plan_of_its_run() {
        let mut plan = Plan { seed: 7, num_tasks: 90, warmup_auto: true, ..example() };
        let table = plan.workload.parameters();
        table.set_text(&mut plan.params, "mmr_lambda", "0.6").unwrap();
        table.set_together(&mut plan.params, table.quick.sets).unwrap();
        assert_eq!(of(&plan, |_| ()).unwrap(), plan);
    }

    #[test]
    fn what_a_record_does_not_hold_is_named() {
        let said = |change: &dyn Fn(&mut Map<String, Value>)| {
            of(&example(), |config| change(config)).unwrap_err().to_string()
        };
        assert!(said(&|config| drop(config.remove("seed"))).contains("missing field `seed`"));
        assert!(said(&|config| config["parameters"]["corpus"] = "0f".into()).contains("on a corpus"));
        assert!(said(&|config| config["parameters"]["llm_url"] = true.into()).contains("a service"));
        assert!(said(&|config| config["seed"] = 9.into()).contains("config_hash"));
    }
}
