//! The family: workloads of one catalogue of operators, each with paths of its own through it.

use std::path::Path;
use std::sync::Arc;

use bench_dataflow::graph::{Edge, Graph};

use super::graph::{carries_batches, graph};
use super::operators::create;
use super::own::Own;
use super::params::{EmbedderKind, Params, TABLE};
use super::shared::{Recipe, Share, Shared, chat_endpoint, endpoint};
use crate::corpus::{Choice, Corpus, Queries};
use crate::parameters::{ParamError, Table, Values};
use crate::schedule::{Schedule, ScheduleConfig, Texts};
use crate::text::endpoint::Served;
use crate::text::stored::StoredVectors;
use crate::truncation::{self, Truncation};
use crate::workload::{OpenSpec, Operators, Source, Workload, WorkloadError, planned_corpus};

/// A workload of the family.
#[derive(Clone, Copy)]
pub struct Rag {
    pub name: &'static str,
    pub summary: &'static str,
    /// Its paths from a source to where they meet another.
    pub paths: &'static [&'static str],
}

impl Rag {
    fn joins_documents(&self) -> bool {
        self.paths.iter().any(|path| path.starts_with("doc_source"))
    }
}

impl Workload for Rag {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn parameters(&self) -> &'static Table {
        &TABLE
    }

    fn graph(&self, params: &Values) -> Result<Graph, ParamError> {
        Ok(graph(self.name, self.paths, &params.read()?))
    }

    fn carries_batches(&self, graph: &Graph, edge: &Edge) -> bool {
        carries_batches(graph, edge)
    }

    fn source(&self, params: &Values) -> Result<Source, ParamError> {
        let params: Params = params.read()?;
        let documents = self.joins_documents().then(|| params.documents());
        Ok(Source { rate: params.query_qps, documents })
    }

    fn corpus(&self, params: &Values, cache_dir: &Path) -> Result<Option<Corpus>, WorkloadError> {
        let params: Params = params.read()?;
        let choice = Choice { split: params.corpus_split.as_deref(), queries: params.corpus_queries };
        match &params.corpus {
            Some(folder) => Ok(Some(Corpus::load(folder, choice, cache_dir)?)),
            None if choice.split.is_some() || choice.queries != Queries::default() => {
                Err(WorkloadError::NoCorpus("--corpus-split and --corpus-queries"))
            }
            None => Ok(None),
        }
    }

    fn schedule(&self, spec: &OpenSpec, corpus: Option<Arc<Corpus>>) -> Result<Schedule, ParamError> {
        let params: Params = spec.params.read()?;
        Ok(Schedule::new(ScheduleConfig {
            queries: spec.num_tasks,
            query_qps: params.query_qps,
            documents: self.joins_documents().then(|| params.documents()),
            // The timers of open batches fire on time.
            heartbeat_ns: i64::from(params.category_batch_timeout_ms) * 1_000_000 / 3,
            texts: Texts::new(spec.seed, params.types(), params.categories(), corpus),
        }))
    }

    fn served(&self, spec: &OpenSpec) -> Result<Option<Served>, WorkloadError> {
        let params: Params = spec.params.read()?;
        if let Some(url) = &params.llm_url {
            // Before anything is prepared or measured.
            chat_endpoint(&params, url)?.is_there()?;
        }
        if params.embedder != EmbedderKind::Http {
            return Ok(None);
        }
        let served = endpoint(&params)?.served()?;
        let known = Recipe::of(spec, &params, None, Some(&served)).known(&spec.cache_dir);
        Ok(known.or(Some(served)))
    }

    fn vectors(&self, spec: &OpenSpec) -> Result<Option<StoredVectors>, WorkloadError> {
        let params: Params = spec.params.read()?;
        let recipe = Recipe::of(spec, &params, None, spec.served.as_ref());
        recipe.stored(&spec.cache_dir.join(recipe.folder()))
    }

    fn truncation(&self, spec: &OpenSpec) -> Result<Option<Truncation>, ParamError> {
        let params: Params = spec.params.read()?;
        let folder = Recipe::of(spec, &params, None, spec.served.as_ref()).folder();
        Ok(spec.served.as_ref().and_then(|_| truncation::kept(&spec.cache_dir.join(folder))))
    }

    fn prepare(&self, spec: &OpenSpec, progress: &mut dyn FnMut(&str)) -> Result<(), WorkloadError> {
        self.prepare_share(spec, share(spec)?, progress)
    }

    fn operators(&self, spec: &OpenSpec) -> Result<Operators, WorkloadError> {
        let (shared, judged) = (open_shared(spec)?, spec.corpus_digest.is_some());
        let own = (share(spec)? == Share::Common).then(|| self.own(spec));
        Ok(Box::new(move |graph, node, instance| {
            create(&shared, graph, node, instance, judged, own.as_ref())
        }))
    }
}

impl Rag {
    /// Builds what of a share is missing.
    ///
    /// # Errors
    /// As [`Workload::prepare`].
    fn prepare_share(
        &self,
        spec: &OpenSpec,
        share: Share,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), WorkloadError> {
        let params: Params = spec.params.read()?;
        let now = self.served(spec)?;
        if let (Some(then), Some(now)) = (&spec.served, now)
            && !now.is_the_model_of(then)
        {
            let url = params.embedding_url.unwrap_or_default();
            return Err(WorkloadError::OtherModel { url, then: Box::new(then.clone()), now: Box::new(now) });
        }
        let corpus = planned_corpus(self, spec)?;
        let recipe = Recipe::of(spec, &params, corpus, spec.served.as_ref());
        recipe.prepare(&spec.cache_dir.join(recipe.folder()), share, progress)
    }
}

impl Rag {
    fn own(self, spec: &OpenSpec) -> Own {
        let build = move |spec: &OpenSpec, share| self.prepare_share(spec, share, &mut |_| ());
        Own::new(spec.clone(), Box::new(build))
    }
}

/// What is prepared before operators are made. Shards that are spread over machines are not: each follows where its
/// operator is.
fn share(spec: &OpenSpec) -> Result<Share, ParamError> {
    let params: Params = spec.params.read()?;
    Ok(if spec.placed && params.vdb_shards > 1 { Share::Common } else { Share::Whole })
}

/// What the operators of a process share.
///
/// # Errors
/// When it was not prepared, or is damaged.
pub fn open_shared(spec: &OpenSpec) -> Result<Shared, WorkloadError> {
    let params: Params = spec.params.read()?;
    let recipe = Recipe::of(spec, &params, None, spec.served.as_ref());
    recipe.open(&spec.cache_dir.join(recipe.folder()), share(spec)?)
}
