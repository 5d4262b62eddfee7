//! An open workload: its operators, ready to run, on any thread.

use std::sync::Arc;

use bench_dataflow::graph::{Graph, Role};
use serde::Deserialize;

use crate::chain::{Chain, NotALine};
use crate::corpus::Corpus;
use crate::fault::Fault;
use crate::instance::{Instance, Placement};
use crate::judge::Judge;
use crate::list::{self, Listed};
use crate::parameters::{FAULT, STEMMER};
use crate::schedule::Schedule;
use crate::text::stemming::Stemming;
use crate::workload::{OpenSpec, Operators, Source, WorkloadError, planned_corpus};

/// An open workload. Cheap to share, usable from any thread.
pub struct OpenWorkload {
    workload: Listed,
    spec: OpenSpec,
    graph: Graph,
    source: Source,
    operators: Operators,
    corpus: Option<Arc<Corpus>>,
    fault: Option<Fault>,
}

/// Builds what the workload needs and the cache lacks. Call it once, before any [`OpenWorkload::new`].
///
/// # Errors
/// When the corpus, an embedding or a file is at fault, or the endpoint serves another model than is planned.
pub fn prepare(spec: &OpenSpec, progress: &mut dyn FnMut(&str)) -> Result<(), WorkloadError> {
    list::find(&spec.workload)?.prepare(spec, progress)
}

impl OpenWorkload {
    /// Opens a workload whose indexes are prepared. The texts of a corpus are not read: workers only
    /// need its indexes; [`OpenWorkload::with_texts`] is for the process that runs the schedule.
    ///
    /// # Errors
    /// When the name is unknown or the prepared state is missing or damaged.
    pub fn new(spec: OpenSpec) -> Result<Self, WorkloadError> {
        let workload = list::find(&spec.workload)?;
        let fault = spec.params.get(FAULT).and_then(|fault| fault.as_str());
        Ok(Self {
            workload,
            graph: workload.graph(&spec.params)?,
            source: workload.source(&spec.params)?,
            fault: fault.map(str::parse).transpose().map_err(WorkloadError::Fault)?,
            operators: workload.operators(&spec)?,
            corpus: None,
            spec,
        })
    }

    /// As [`OpenWorkload::new`], with the texts that the schedule and the judge need.
    ///
    /// # Errors
    /// As [`OpenWorkload::new`], and when the corpus cannot be read.
    pub fn with_texts(spec: OpenSpec) -> Result<Self, WorkloadError> {
        let corpus = planned_corpus(&*list::find(&spec.workload)?, &spec)?;
        Ok(Self { corpus, ..Self::new(spec)? })
    }

    /// What it was opened from.
    #[must_use]
    pub fn spec(&self) -> &OpenSpec {
        &self.spec
    }

    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What its sources emit.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Creates instance `instance` of the `of` instances of `node`.
    ///
    /// # Errors
    /// When the node is not an operator, or what it reads can be neither opened nor, where it is to be, prepared.
    pub fn operator(&self, node: u32, instance: u32, of: u32) -> Result<Instance, WorkloadError> {
        let wrong = || WorkloadError::NotAnOperator { node, workload: self.spec.workload.clone() };
        let known = self.graph.nodes.get(node as usize).filter(|known| known.role == Role::Operator);
        let known = known.filter(|_| instance < of).ok_or_else(wrong)?;
        let operator = (self.operators)(&self.graph, known, instance)?.ok_or_else(wrong)?;
        let placement = Placement {
            node: node as u16,
            instance: instance as u16,
            ports: self.graph.output_ports(node),
            batched: self.batched(node),
            attempts: self.spec.params.attempts(),
            key: self.spec.key,
            fault: self.fault.clone().filter(|fault| fault.node == known.name),
        };
        Ok(Instance::new(operator, placement))
    }

    /// Input ports of a node on which each record is a batch.
    #[must_use]
    pub fn batched(&self, node: u32) -> Vec<u8> {
        let edges = self.graph.inputs(node).filter(|edge| self.workload.carries_batches(&self.graph, edge));
        edges.map(|edge| edge.to_port).collect()
    }

    /// Creates an instance of several nodes fused into one.
    ///
    /// # Errors
    /// When a node is not an operator or they do not form a line.
    pub fn chain(&self, nodes: &[u32], instance: u32, of: u32) -> Result<Chain, NotAChain> {
        let instances = nodes.iter().map(|&node| self.operator(node, instance, of));
        Ok(Chain::new(&self.graph, nodes, instances.collect::<Result<_, _>>()?)?)
    }

    /// The texts, where they were read.
    #[must_use]
    pub fn corpus(&self) -> Option<&Corpus> {
        self.corpus.as_deref()
    }

    /// The schedule of events.
    ///
    /// # Errors
    /// When the parameters are another workload's.
    pub fn schedule(&self) -> Result<Schedule, WorkloadError> {
        Ok(self.workload.schedule(&self.spec, self.corpus.clone())?)
    }

    /// A judge of rankings, when the corpus came with judgements and its texts were read.
    #[must_use]
    pub fn judge(&self) -> Option<Judge> {
        let corpus = self.corpus.as_ref().filter(|corpus| corpus.facts().split.is_some())?;
        let stemming = self.spec.params.get(STEMMER).and_then(|name| Stemming::deserialize(name).ok());
        Some(Judge::new(Arc::clone(corpus), stemming.unwrap_or_default()))
    }
}

/// Nodes cannot be fused.
#[derive(Debug, thiserror::Error)]
pub enum NotAChain {
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    NotALine(#[from] NotALine),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Values;
    use crate::wl4::params::Params;

    #[test]
    fn a_corpus_other_than_the_planned_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["corpus.jsonl", "queries.jsonl"] {
            std::fs::write(folder.path().join(name), "{\"_id\": \"1\", \"text\": \"wings\"}").unwrap();
        }
        let spec = OpenSpec {
            workload: "wl4".into(),
            seed: 1,
            num_tasks: 1,
            params: Values::of(&Params { corpus: Some(folder.path().to_owned()), ..Params::default() }),
            corpus_digest: Some("that of another day".into()),
            served: None,
            key: None,
            placed: false,
            cache_dir: folder.path().join("cache"),
        };
        let error = prepare(&spec, &mut |_| ()).unwrap_err().to_string();
        assert!(error.ends_with("it was changed while it was in use"), "{error}");
        assert!(!spec.cache_dir.exists());
    }
}
