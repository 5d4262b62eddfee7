//! Opening a workload by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bench_dataflow::graph::{Graph, Role, State};
use serde::{Deserialize, Serialize};

use crate::chain::{Chain, NotALine};
use crate::corpus::{self, Choice, Corpus, CorpusError};
use crate::fault::Fault;
use crate::index::IndexError;
use crate::instance::{Instance, Placement};
use crate::judge::Judge;
use crate::null;
use crate::operator::Operator;
use crate::schedule::{Schedule, ScheduleConfig};
use crate::text::endpoint::{EndpointError, Served};
use crate::wl4;
use crate::wl4::params::{EmbedderKind, Params};
use crate::wl4::shared::{self, Recipe, Shared};

/// Names of the workloads.
pub const WORKLOADS: [&str; 5] = ["wl4", "wl1", "wl2", "wl3", "null"];

/// One line about a workload.
#[must_use]
pub fn summary(workload: &str) -> &'static str {
    match workload {
        "wl1" => "single-stream RAG: one line of operators, no state",
        "wl2" => "multi-stage RAG: three searches at once and a three-way join",
        "wl3" => "dual-stream RAG: a window join with a document stream, and two searches",
        "wl4" => "distributed RAG: window join, graph memory, two searches, keyed and global batches",
        "null" => "the graph of wl4 without the work: what the runtime itself costs",
        _ => "",
    }
}

/// Everything a process needs to open a workload; travels to worker processes as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenSpec {
    pub workload: String,
    pub seed: u64,
    /// Queries of the schedule, warm-up included.
    pub num_tasks: u32,
    pub params: Params,
    /// Digest of the corpus, when there is one.
    pub corpus_digest: Option<String>,
    /// What the embedding endpoint serves, when there is one.
    #[serde(default)]
    pub served: Option<Served>,
    /// Where prepared indexes are kept.
    pub cache_dir: PathBuf,
}

/// A workload cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error("there is no workload '{name}'; there are {}", WORKLOADS.join(", "))]
    UnknownWorkload { name: String },
    #[error("node {node} of workload {workload} is not an operator")]
    NotAnOperator { node: u32, workload: String },
    #[error("parameter 'fault': {0}")]
    Fault(String),
    #[error("{url} serves another model now ({now}) than when this was planned ({then}): plan it anew")]
    OtherModel { url: String, then: Box<Served>, now: Box<Served> },
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    NotALine(#[from] NotALine),
}

/// An open workload. Cheap to share, usable from any thread.
pub struct Workload {
    spec: OpenSpec,
    graph: Graph,
    shared: Option<Arc<Shared>>,
    corpus: Option<Arc<Corpus>>,
    fault: Option<Fault>,
}

/// The graph of a workload, without opening it.
///
/// # Errors
/// When there is no such workload.
pub fn graph(workload: &str, params: &Params) -> Result<Graph, WorkloadError> {
    let unknown = || WorkloadError::UnknownWorkload { name: workload.to_owned() };
    if workload != "null" {
        return wl4::graph(workload, params).ok_or_else(unknown);
    }
    let mut graph = wl4::graph("wl4", params).ok_or_else(unknown)?;
    graph.workload = workload.to_owned();
    // Nothing holds back records that only pass through.
    graph.min_in_flight = 1;
    graph.nodes.iter_mut().for_each(|node| node.blocking = false);
    Ok(graph)
}

/// Asks the embedding endpoint what it serves, where one is used. What comes back stands for its model in
/// [`OpenSpec::served`], in the configuration and in the cache.
///
/// # Errors
/// When the endpoint does not embed a text.
pub fn served(spec: &OpenSpec) -> Result<Option<Served>, WorkloadError> {
    if spec.workload == "null" || spec.params.embedder != EmbedderKind::Http {
        return Ok(None);
    }
    let served = shared::endpoint(&spec.params)?.served()?;
    let spec = OpenSpec { served: Some(served), ..spec.clone() };
    let known = recipe(&spec, None).known(&spec.cache_dir);
    Ok(known.or(spec.served))
}

/// Builds what the workload needs and the cache lacks. Call it once, before any [`Workload::open`].
///
/// # Errors
/// When the corpus, an embedding or a file is at fault, or the endpoint serves another model than is planned.
pub fn prepare(spec: &OpenSpec, progress: &mut dyn FnMut(&str)) -> Result<(), WorkloadError> {
    if spec.workload == "null" {
        return Ok(());
    }
    if let (Some(then), Some(now)) = (&spec.served, served(spec)?)
        && !now.is_the_model_of(then)
    {
        let url = spec.params.embedding_url.clone().unwrap_or_default();
        return Err(WorkloadError::OtherModel { url, then: Box::new(then.clone()), now: Box::new(now) });
    }
    let corpus = load_corpus(spec)?;
    let recipe = recipe(spec, corpus);
    recipe.prepare(&spec.cache_dir.join(recipe.folder()), progress)
}

/// Reads the collection that the parameters name, if they name one.
///
/// # Errors
/// When it cannot be used.
pub fn corpus(params: &Params, cache_dir: &Path) -> Result<Option<Corpus>, CorpusError> {
    let choice = Choice { split: params.corpus_split.as_deref(), queries: params.corpus_queries };
    params.corpus.as_deref().map(|folder| Corpus::load(folder, choice, cache_dir)).transpose()
}

fn load_corpus(spec: &OpenSpec) -> Result<Option<Arc<Corpus>>, WorkloadError> {
    let Some(corpus) = corpus(&spec.params, &spec.cache_dir)? else { return Ok(None) };
    if spec.corpus_digest.as_deref().is_some_and(|digest| digest != corpus.digest()) {
        return Err(corpus::changed(spec.params.corpus.as_deref().unwrap_or(Path::new(""))).into());
    }
    Ok(Some(Arc::new(corpus)))
}

fn recipe(spec: &OpenSpec, corpus: Option<Arc<Corpus>>) -> Recipe<'_> {
    Recipe {
        seed: spec.seed,
        params: &spec.params,
        corpus,
        corpus_digest: spec.corpus_digest.as_deref(),
        served: spec.served.as_ref(),
    }
}

impl Workload {
    /// Opens a workload whose indexes are prepared. The texts of a corpus are not read: workers only
    /// need its indexes; [`Workload::with_texts`] is for the process that runs the schedule.
    ///
    /// # Errors
    /// When the name is unknown or the prepared state is missing or damaged.
    pub fn open(spec: OpenSpec) -> Result<Self, WorkloadError> {
        let graph = graph(&spec.workload, &spec.params)?;
        let fault = spec.params.fault.as_deref().map(str::parse).transpose().map_err(WorkloadError::Fault)?;
        let shared = if spec.workload == "null" {
            None
        } else {
            let recipe = recipe(&spec, None);
            Some(Arc::new(recipe.open(&spec.cache_dir.join(recipe.folder()))?))
        };
        Ok(Self { graph, shared, corpus: None, fault, spec })
    }

    /// As [`Workload::open`], with the texts that the schedule and the judge need.
    ///
    /// # Errors
    /// As [`Workload::open`], and when the corpus cannot be read.
    pub fn with_texts(spec: OpenSpec) -> Result<Self, WorkloadError> {
        let corpus = load_corpus(&spec)?;
        Ok(Self { corpus, ..Self::open(spec)? })
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

    /// Creates instance `instance` of the `of` instances of `node`.
    ///
    /// # Errors
    /// When the node is not an operator.
    pub fn operator(&self, node: u32, instance: u32, of: u32) -> Result<Instance, WorkloadError> {
        let wrong = || WorkloadError::NotAnOperator { node, workload: self.spec.workload.clone() };
        let known = self.graph.nodes.get(node as usize).filter(|known| known.role == Role::Operator);
        let known = known.filter(|_| instance < of).ok_or_else(wrong)?;
        let judged = self.spec.corpus_digest.is_some();
        let operator: Box<dyn Operator> = match &self.shared {
            Some(shared) => wl4::create(shared, &self.graph, known, instance, judged).ok_or_else(wrong)?,
            None => match known.name.as_str() {
                "join" => Box::new(null::PassQueries),
                "generate" => Box::new(null::Echo),
                _ if known.state == State::Keyed => {
                    let parts = self.graph.inputs(node).count();
                    Box::new(null::PassParts::new(parts, self.graph.output_ports(node)))
                }
                _ => Box::new(null::Pass::new(self.graph.output_ports(node))),
            },
        };
        let placement = Placement {
            node: node as u16,
            instance: instance as u16,
            ports: self.graph.output_ports(node),
            attempts: self.spec.params.operator_attempts,
            fault: self.fault.clone().filter(|fault| fault.node == known.name),
        };
        Ok(Instance::new(operator, placement))
    }

    /// Creates an instance of several nodes fused into one.
    ///
    /// # Errors
    /// When a node is not an operator or they do not form a line.
    pub fn chain(&self, nodes: &[u32], instance: u32, of: u32) -> Result<Chain, WorkloadError> {
        let instances = nodes.iter().map(|&node| self.operator(node, instance, of));
        Ok(Chain::new(&self.graph, nodes, instances.collect::<Result<_, _>>()?)?)
    }

    /// The texts, where they were read.
    #[must_use]
    pub fn corpus(&self) -> Option<&Corpus> {
        self.corpus.as_deref()
    }

    /// The schedule of events.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule::new(ScheduleConfig {
            seed: self.spec.seed,
            queries: self.spec.num_tasks,
            documents: self.graph.node("doc_source").is_some(),
            params: self.spec.params.clone(),
            corpus: self.corpus.clone(),
        })
    }

    /// A judge of rankings, when the corpus came with judgements and its texts were read.
    #[must_use]
    pub fn judge(&self) -> Option<Judge> {
        let corpus = self.corpus.as_ref().filter(|corpus| corpus.facts().split.is_some())?;
        Some(Judge::new(Arc::clone(corpus)))
    }

    /// The state that operators share; absent for `null`.
    #[must_use]
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            params: Params { corpus: Some(folder.path().to_owned()), ..Params::default() },
            corpus_digest: Some("that of another day".into()),
            served: None,
            cache_dir: folder.path().join("cache"),
        };
        let error = prepare(&spec, &mut |_| ()).unwrap_err().to_string();
        assert!(error.ends_with("it was changed while it was in use"), "{error}");
        assert!(!spec.cache_dir.exists());
    }
}
