//! What a workload is.
//!
//! A workload is a value: a name, a graph, operators, a schedule. Nobody else knows its name, its operators or its
//! parameters. [`crate::list`] has those there are, [`crate::open`] makes one ready to run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bench_dataflow::graph::{Edge, Graph, Node};
use serde::{Deserialize, Serialize};

use crate::corpus::{self, Corpus, CorpusError};
use crate::index::IndexError;
use crate::operator::Operator;
use crate::parameters::{CORPUS, ParamError, Table, Values};
use crate::schedule::{Documents, Schedule};
use crate::seal::Key;
use crate::text::endpoint::{EndpointError, Served};
use crate::text::stored::StoredVectors;
use crate::truncation::Truncation;

/// A workload: what it is, and how it is made ready.
pub trait Workload: Sync {
    /// Its name on the command line and in every record.
    fn name(&self) -> &'static str;

    /// One line for people.
    fn summary(&self) -> &'static str;

    /// Its parameters.
    fn parameters(&self) -> &'static Table;

    /// Its graph. The first node is the source of queries.
    ///
    /// # Errors
    /// When the parameters are another workload's.
    fn graph(&self, params: &Values) -> Result<Graph, ParamError>;

    /// Whether the records on an edge are batches, each a [`crate::records::Batch`].
    fn carries_batches(&self, _graph: &Graph, _edge: &Edge) -> bool {
        false
    }

    /// What its sources emit.
    ///
    /// # Errors
    /// When the parameters are another workload's.
    fn source(&self, params: &Values) -> Result<Source, ParamError>;

    /// Reads the collection of real text that the parameters name, if they name one.
    ///
    /// # Errors
    /// When it cannot be used.
    fn corpus(&self, _params: &Values, _cache_dir: &Path) -> Result<Option<Corpus>, WorkloadError> {
        Ok(None)
    }

    /// The events, in order. A corpus is the planned one.
    ///
    /// # Errors
    /// When the parameters are another workload's.
    fn schedule(&self, spec: &OpenSpec, corpus: Option<Arc<Corpus>>) -> Result<Schedule, ParamError>;

    /// Asks the endpoints that are part of the work whether they are there, and what the one for embeddings serves.
    ///
    /// # Errors
    /// When one does not answer.
    fn served(&self, _spec: &OpenSpec) -> Result<Option<Served>, WorkloadError> {
        Ok(None)
    }

    /// The vectors that its endpoint gave, where it asks one.
    ///
    /// # Errors
    /// When they cannot be read.
    fn vectors(&self, _spec: &OpenSpec) -> Result<Option<StoredVectors>, WorkloadError> {
        Ok(None)
    }

    /// What its encoder leaves unread of the documents of the prepared corpus, where that is known.
    ///
    /// # Errors
    /// When the parameters are another workload's.
    fn truncation(&self, _spec: &OpenSpec) -> Result<Option<Truncation>, ParamError> {
        Ok(None)
    }

    /// Builds what the operators need and the cache lacks.
    ///
    /// # Errors
    /// When the corpus, an endpoint or a file is at fault.
    fn prepare(&self, _spec: &OpenSpec, _progress: &mut dyn FnMut(&str)) -> Result<(), WorkloadError> {
        Ok(())
    }

    /// Its operators, over what was prepared.
    ///
    /// # Errors
    /// When that is missing or damaged.
    fn operators(&self, spec: &OpenSpec) -> Result<Operators, WorkloadError>;
}

/// Creates instance `instance` of a node's operator; nothing where there is no such operator.
pub type Operators =
    Box<dyn Fn(&Graph, &Node, u32) -> Result<Option<Box<dyn Operator>>, WorkloadError> + Send + Sync>;

/// What the sources of a workload emit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source {
    /// Queries a second, where nobody asks for another rate.
    pub rate: f64,
    /// The stream of documents beside them, where there is one.
    pub documents: Option<Documents>,
}

/// Everything a process needs to open a workload; travels to worker processes as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenSpec {
    pub workload: String,
    pub seed: u64,
    /// Queries of the schedule, warm-up included.
    pub num_tasks: u32,
    pub params: Values,
    /// Digest of the corpus, when there is one.
    pub corpus_digest: Option<String>,
    /// What the embedding endpoint serves, when there is one.
    #[serde(default)]
    pub served: Option<Served>,
    /// What the spans of this run are sealed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Whether each machine prepares what its own operators read, once they are made, and no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub placed: bool,
    /// Where prepared indexes are kept.
    pub cache_dir: PathBuf,
}

/// A workload cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error("there is no workload '{name}'; there are {known}")]
    UnknownWorkload { name: String, known: String },
    #[error("node {node} of workload {workload} is not an operator")]
    NotAnOperator { node: u32, workload: String },
    #[error("parameter 'fault': {0}")]
    Fault(String),
    #[error("{0} say something about a corpus: add --corpus DIR")]
    NoCorpus(&'static str),
    #[error("{url} serves another model now ({now}) than when this was planned ({then}): plan it anew")]
    OtherModel { url: String, then: Box<Served>, now: Box<Served> },
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl WorkloadError {
    /// Whether the same may be well a little later: a service does not answer yet.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Endpoint(error) if error.fault.may_pass())
    }
}

/// Reads the collection that was planned.
///
/// # Errors
/// When it cannot be used, or is another one by now.
pub fn planned_corpus(
    workload: &dyn Workload,
    spec: &OpenSpec,
) -> Result<Option<Arc<Corpus>>, WorkloadError> {
    let Some(corpus) = workload.corpus(&spec.params, &spec.cache_dir)? else { return Ok(None) };
    if spec.corpus_digest.as_deref().is_some_and(|digest| digest != corpus.digest()) {
        let folder = spec.params.get(CORPUS).and_then(|folder| folder.as_str()).unwrap_or_default();
        return Err(corpus::changed(Path::new(folder)).into());
    }
    Ok(Some(Arc::new(corpus)))
}
