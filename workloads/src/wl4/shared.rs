//! What all operators of a process share: parameters, mapped indexes, embedder, generator.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::generate::{Extractive, Generated, Generator, prompt};
use super::graph_memory::MemoryGraph;
use super::params::{EmbedderKind, Params, Switch};
use super::records::Call;
use crate::corpus::Corpus;
use crate::index::{CANNOT_WRITE, Counts, Index, IndexError, Keywords, Shards, counts, shards};
use crate::operator::OperatorError;
use crate::random;
use crate::slots::Slots;
use crate::text::bm25::{Bm25, TermStatistics, TermTable};
use crate::text::chunks::chunks;
use crate::text::embed::{Ask, Embedder, HashEmbedder, HttpEmbedder, TopicEmbedder};
use crate::text::endpoint::{
    ChatAnswer, ChatRequest, Endpoint, EndpointError, Fingerprint, Patience, Pieces, Served,
};
use crate::text::stemming::Stemming;
use crate::text::stored::StoredVectors;
use crate::workload::{OpenSpec, WorkloadError};

/// Where vectors of endpoints are kept, beside the prepared indexes, and how such a file ends.
const EMBEDDINGS: &str = "embeddings";
const VECTORS: &str = ".vec";
/// Increase when the content of prepared indexes changes.
const FORMAT: u32 = 1;
/// Weight of the topic direction in the topic embedder.
const BETA: f64 = 1.0;

/// Of the prepared state, what is built or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    Whole,
    /// What every machine has where each has shards of its own: all but those, and what is counted over them.
    Common,
    /// This shard of each database.
    Shard(u32),
}

impl Share {
    /// The shards in it, of so many.
    #[must_use]
    pub fn shards(self, of: u32) -> Range<u32> {
        match self {
            Self::Whole => 0..of,
            Self::Common => 0..0,
            Self::Shard(shard) => shard..shard + 1,
        }
    }

    /// Whether it is more than shards.
    #[must_use]
    pub fn has_the_rest(self) -> bool {
        !matches!(self, Self::Shard(_))
    }
}

/// The vector databases, or those shards of them that are here.
#[derive(Debug, Clone)]
pub struct Databases {
    /// `vdb1` and `vdb2`; one and the same for a corpus of real text.
    pub vdb: [Arc<Shards>; 2],
    /// Their inverted indexes, where BM25 ranks over the whole of them.
    pub keywords: Option<[Arc<Keywords>; 2]>,
}

/// The prepared state, memory-mapped from the cache.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub databases: Databases,
    /// Documents of the stream that precede the first query.
    pub window: Arc<Index>,
    /// Nodes of the graph memory.
    pub nodes: Arc<Index>,
}

/// One per process; every operator holds it.
pub struct Shared {
    pub params: Params,
    pub prepared: Prepared,
    pub embedder: Arc<dyn Embedder>,
    pub generator: Arc<dyn Generator>,
    /// How many answers this process asks for at once, where that is a setting.
    pub slots: Option<Arc<Slots>>,
    pub graph: Arc<MemoryGraph>,
    /// Parts that a document of the corpus has at most.
    pub parts: usize,
}

/// What the prepared state is made of, and so what its name in the cache depends on.
pub struct Recipe<'a> {
    pub seed: u64,
    pub params: &'a Params,
    pub corpus: Option<Arc<Corpus>>,
    pub corpus_digest: Option<&'a str>,
    /// What the embedding endpoint serves, where there is one.
    pub served: Option<&'a Served>,
}

impl<'a> Recipe<'a> {
    /// That of a run.
    #[must_use]
    pub fn of(
        spec: &'a OpenSpec,
        params: &'a Params,
        corpus: Option<Arc<Corpus>>,
        served: Option<&'a Served>,
    ) -> Self {
        Self { seed: spec.seed, params, corpus, corpus_digest: spec.corpus_digest.as_deref(), served }
    }
}

impl Recipe<'_> {
    /// Name of the folder in the cache: equal recipes share it.
    #[must_use]
    pub fn folder(&self) -> String {
        match self.served {
            None => self.name(),
            Some(served) => format!("{}-{}", self.name(), served.fingerprint),
        }
    }

    /// What an endpoint serves as the cache knows it: rounding aside, one model keeps one name.
    #[must_use]
    pub fn known(&self, cache: &Path) -> Option<Served> {
        let served = self.served?;
        let fingerprints = |folder: &Path, prefix: String| {
            let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
            files.filter_map(move |file| {
                let name = file.file_name().into_string().ok()?;
                let fingerprint = name.strip_prefix(&prefix)?.trim_end_matches(VECTORS);
                fingerprint.parse::<Fingerprint>().ok()
            })
        };
        let indexes = fingerprints(cache, format!("{}-", self.name()));
        let vectors = fingerprints(&cache.join(EMBEDDINGS), format!("{}-", self.model(served)));
        let known = indexes.chain(vectors).filter(|known| known.is_of_the_model_of(served.fingerprint));
        let nearest = known.min_by_key(|known| (known.distance(served.fingerprint), known.to_string()));
        nearest.map(|fingerprint| Served { fingerprint, ..served.clone() })
    }

    /// Names the model behind the endpoint, but for its fingerprint: whatever it embeds, its vectors are kept together.
    fn model(&self, served: &Served) -> String {
        let (asked, named) = (&self.params.embedding_model, served.model.as_deref().unwrap_or_default());
        let digest = Sha256::digest(format!("{asked}\n{named}").as_bytes());
        format!("{}-{}", hex::encode(&digest[..12]), served.dimension)
    }

    /// The vectors that are kept of the endpoint's model, where there is one. `folder` holds the prepared state.
    pub(super) fn stored(&self, folder: &Path) -> Result<Option<StoredVectors>, WorkloadError> {
        let Some(served) = self.served.filter(|_| self.params.embedder == EmbedderKind::Http) else {
            return Ok(None);
        };
        let name = format!("{}-{}{VECTORS}", self.model(served), served.fingerprint);
        let path = folder.with_file_name(EMBEDDINGS).join(name);
        let stored = StoredVectors::open(&path, self.params.embedding_dimension as usize);
        Ok(Some(stored.map_err(|source| IndexError::Io { path, action: CANNOT_WRITE, source })?))
    }

    fn name(&self) -> String {
        let p = self.params;
        let text = format!(
            "{FORMAT} {} {:?} {} {} {} {:?} {} {} {} {} {:?} {} {}",
            self.seed,
            self.corpus_digest,
            p.vdb1_corpus_size,
            p.vdb2_corpus_size,
            p.embedding_dimension,
            p.embedder,
            if p.embedder == EmbedderKind::Http { p.embedding_model.as_str() } else { "" },
            p.encoder_layers,
            p.documents().prefill,
            p.doc_qps,
            p.category_distribution,
            p.graph_nodes,
            self.served.and_then(|served| served.model.as_deref()).unwrap_or_default(),
        );
        let text = match p.document_prefix.as_str() {
            "" => text,
            prefix => format!("{text} {prefix:?}"),
        };
        let text = match p.chunk_tokens {
            None => text,
            Some(words) => format!("{text} parts {words} {}", p.chunk_overlap),
        };
        let digest = Sha256::digest(text.as_bytes());
        hex::encode(&digest[..12])
    }

    /// Maps the prepared state.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn open(&self, folder: &Path, share: Share) -> Result<Shared, WorkloadError> {
        let open = |name: &str| Index::open(&folder.join(name)).map(Arc::new);
        let databases = self.databases_of(folder, share)?;
        let statistics = Arc::clone(&databases.vdb[0]);
        let parts = if self.params.chunk_tokens.is_some() { statistics.most_of_an_id() } else { 1 };
        let (stored, ask) = (self.stored(folder)?.map(Arc::new), self.params.embed_again.ask());
        Ok(Shared {
            params: self.params.clone(),
            embedder: self.embedder(|| Ok(statistics), stored, ask)?,
            generator: self.generator()?,
            slots: self.params.llm_concurrency.map(|calls| Arc::new(Slots::new(calls))),
            parts,
            graph: Arc::new(memory_graph(self.seed, self.params.graph_nodes)),
            prepared: Prepared { databases, window: open("window.idx")?, nodes: open("nodes.idx")? },
        })
    }

    /// Maps what there is in a share of the vector databases.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn databases_of(&self, folder: &Path, share: Share) -> Result<Databases, IndexError> {
        let (of, stemmer) = (self.params.vdb_shards, self.params.stemmer);
        let some = share.shards(of);
        let counts = |name: &str, stemming| {
            let asked = share != Share::Whole && self.params.asks_the_collection();
            let open = || Counts::open(&counts::path(folder, name, stemming)).map(Arc::new);
            asked.then(open).transpose()
        };
        let vdb = |name: &str| {
            Shards::open_some(folder, name, some.clone(), of, counts(name, Stemming::None)?).map(Arc::new)
        };
        let keywords = |name: &str| {
            let paths = some.clone().map(|shard| shards::path(folder, name, shard, of));
            let here = Keywords::open(paths, stemmer, bm25(self.params))?;
            Ok(Arc::new(match counts(name, stemmer)? {
                None => here,
                Some(counts) => here.among(some.start, of, counts),
            }))
        };
        let keywords = self.params.ranks_over_corpus().then(|| self.of_each(keywords)).transpose()?;
        Ok(Databases { vdb: self.of_each(vdb)?, keywords })
    }

    /// The names of the vector databases: of a corpus both are one and the same.
    pub(super) fn names(&self) -> &'static [&'static str] {
        if self.corpus_digest.is_some() { &["vdb"] } else { &["vdb1", "vdb2"] }
    }

    /// What there is of each vector database, by its name.
    fn of_each<T>(
        &self,
        open: impl Fn(&str) -> Result<Arc<T>, IndexError>,
    ) -> Result<[Arc<T>; 2], IndexError> {
        let (first, last) = (self.names()[0], self.names()[self.names().len() - 1]);
        let one = open(first)?;
        let other = if first == last { Arc::clone(&one) } else { open(last)? };
        Ok([one, other])
    }

    /// What of a document of the corpus is embedded and searched by itself.
    pub(super) fn parts<'t>(&self, text: &'t str) -> Vec<&'t str> {
        match self.params.chunk_tokens {
            None => vec![text],
            Some(words) => chunks(text, words as usize, self.params.chunk_overlap as usize),
        }
    }

    pub(super) fn term_table(&self) -> Result<Arc<TermTable>, WorkloadError> {
        let of = |corpus: &Arc<Corpus>| corpus.term_table(|text| self.parts(text));
        let table = self.corpus.as_ref().map(of).transpose()?;
        Ok(Arc::new(table.unwrap_or_default()))
    }

    pub(super) fn embedder<S: TermStatistics + 'static>(
        &self,
        statistics: impl FnOnce() -> Result<Arc<S>, WorkloadError>,
        stored: Option<Arc<StoredVectors>>,
        ask: Ask,
    ) -> Result<Arc<dyn Embedder>, WorkloadError> {
        let p = self.params;
        let dim = p.embedding_dimension as usize;
        Ok(match p.embedder {
            EmbedderKind::Topic => Arc::new(TopicEmbedder::new(dim, BETA, p.encoder_layers)),
            EmbedderKind::Hash => Arc::new(HashEmbedder::new(dim, statistics()?, p.encoder_layers)),
            EmbedderKind::Http => {
                let embedder = HttpEmbedder::new(endpoint(p)?, dim, p.embedding_batch_size as usize);
                Arc::new(match stored {
                    Some(stored) => embedder.with_stored(stored, ask),
                    None => embedder,
                })
            }
        })
    }

    fn generator(&self) -> Result<Arc<dyn Generator>, WorkloadError> {
        let p = self.params;
        Ok(match &p.llm_url {
            Some(url) => Arc::new(Remote {
                endpoint: chat_endpoint(p, url)?,
                max_tokens: p.llm_max_tokens,
                temperature: p.llm_temperature,
                top_p: p.llm_top_p,
                seed: self.seed,
                stream: p.llm_stream == Switch::On,
            }),
            None => Arc::new(Extractive { bm25: bm25(p), max_tokens: p.llm_max_tokens as usize }),
        })
    }
}

/// The embedding endpoint.
///
/// # Errors
/// When its address or the environment cannot be used.
pub fn endpoint(p: &Params) -> Result<Endpoint, EndpointError> {
    Endpoint::new(p.embedding_url.as_deref().unwrap_or_default(), &p.embedding_model, patience(p))
}

/// The endpoint of generation at `url`.
///
/// # Errors
/// As [`endpoint`].
pub fn chat_endpoint(p: &Params, url: &str) -> Result<Endpoint, EndpointError> {
    Ok(Endpoint::new(url, &p.llm_model, patience(p))?.with_chat_fields(p.chat_fields()))
}

fn patience(p: &Params) -> Patience {
    Patience {
        timeout: Duration::from_millis(p.request_timeout_ms.into()),
        attempts: p.request_attempts,
        backoff: Duration::from_millis(p.request_backoff_ms.into()),
        ..Patience::default()
    }
}

/// BM25 with the workload's constants.
#[must_use]
pub fn bm25(p: &Params) -> Bm25 {
    Bm25 { k1: p.bm25_k1, b: p.bm25_b }
}

/// 2 to 5 random successors per node, no loops, weights in 0.5..1.
fn memory_graph(seed: u64, nodes: u32) -> MemoryGraph {
    let mut graph = MemoryGraph::with_nodes(nodes as usize);
    for node in 0..nodes {
        let mut random = random::stream(seed, "graph edges", node.into());
        let degree = 2 + random.below(4);
        for target in random.choose_distinct(nodes, degree as usize) {
            let weight = 0.5 + 0.5 * random.unit();
            if target != node {
                graph.add_edge(node, target, weight);
            }
        }
    }
    graph
}

/// A real language model.
struct Remote {
    endpoint: Endpoint,
    max_tokens: u32,
    temperature: f64,
    top_p: f64,
    seed: u64,
    stream: bool,
}

impl Generator for Remote {
    fn generate(&self, question: &str, context: &[&str]) -> Result<Generated, OperatorError> {
        let request = ChatRequest {
            prompt: &prompt(question, context),
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            seed: Some(self.seed),
            stream: self.stream,
        };
        let asked = Instant::now();
        let answer =
            self.endpoint.chat(&request).map_err(|cause: EndpointError| OperatorError::new(cause))?;
        Ok(Generated {
            call: Some(heard(asked, asked.elapsed(), &answer)),
            text: answer.text,
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
        })
    }
}

/// How an answer to a question that was `asked` then was heard.
fn heard(asked: Instant, latency: Duration, answer: &ChatAnswer) -> Call {
    let us = |time: Duration| time.as_micros().try_into().unwrap_or(u64::MAX);
    let after = |then: fn(&Pieces) -> Instant| answer.pieces.as_ref().map(|pieces| us(then(pieces) - asked));
    let gaps = answer.pieces.iter().flat_map(|pieces| &pieces.gaps);
    let told = |count: u32| Some(count).filter(|count| *count > 0);
    Call {
        latency_us: us(latency),
        first_us: after(|pieces| pieces.first),
        last_us: after(|pieces| pieces.last),
        gaps_us: gaps.map(|gap| gap.as_micros().try_into().unwrap_or(u32::MAX)).collect(),
        prompt_tokens: told(answer.prompt_tokens),
        completion_tokens: told(answer.completion_tokens),
    }
}
