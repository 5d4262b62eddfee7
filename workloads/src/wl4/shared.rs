//! What all operators of a process share: parameters, mapped indexes, embedder, generator.

use std::borrow::Cow;
use std::collections::HashSet;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::dedup::Vectors;
use super::generate::{Extractive, Generated, Generator, Texts, prompt};
use super::graph_memory::MemoryGraph;
use super::params::{EmbedderKind, Params};
use super::records::DocRef;
use super::rerank::{DocFacts, Documents};
use crate::corpus::Corpus;
use crate::index::{Index, IndexDoc, IndexError, Shards, build, shards};
use crate::operator::OperatorError;
use crate::random;
use crate::schedule::{self, doc_time_ns, prefill};
use crate::text::bm25::{Bm25, TermTable};
use crate::text::embed::{Embedder, HashEmbedder, HttpEmbedder, TopicEmbedder};
use crate::text::endpoint::{ChatRequest, Endpoint, EndpointError, Patience};
use crate::text::synthetic::{self, DocMeta};
use crate::text::vocabulary::Category;
use crate::workload::WorkloadError;

/// Increase when the content of prepared indexes changes.
const FORMAT: u32 = 1;
/// Weight of the topic direction in the topic embedder.
const BETA: f64 = 1.0;

/// The prepared state, memory-mapped from the cache.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// `vdb1` and `vdb2`; one and the same for a corpus of real text.
    pub vdb: [Arc<Shards>; 2],
    /// Documents of the stream that precede the first query.
    pub window: Arc<Index>,
    /// Nodes of the graph memory.
    pub nodes: Arc<Index>,
}

/// See the module.
pub struct Shared {
    pub params: Params,
    pub prepared: Prepared,
    pub embedder: Arc<dyn Embedder>,
    pub generator: Arc<dyn Generator>,
    pub graph: Arc<MemoryGraph>,
}

/// What the prepared state is made of, and so what its name in the cache depends on.
pub struct Recipe<'a> {
    pub seed: u64,
    pub params: &'a Params,
    pub corpus: Option<Arc<Corpus>>,
    pub corpus_digest: Option<&'a str>,
}

impl Recipe<'_> {
    /// Name of the folder in the cache: equal recipes share it.
    #[must_use]
    pub fn folder(&self) -> String {
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
            prefill(p),
            p.doc_qps,
            p.category_distribution,
            p.graph_nodes,
            p.embedding_url.as_deref().unwrap_or_default(),
        );
        let digest = Sha256::digest(text.as_bytes());
        digest[..12].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Builds what is missing in `folder`. `progress` hears what is being built.
    ///
    /// # Errors
    /// When a text cannot be embedded or a file cannot be written.
    pub fn prepare(&self, folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), WorkloadError> {
        let p = self.params;
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for shard in 0..p.vdb_shards {
            let numbers = |len| shards::numbers(shard, p.vdb_shards, len);
            let mut want = |name, docs| {
                wanted.push(Wanted { path: shards::path(folder, name, shard, p.vdb_shards), docs });
            };
            if let Some(corpus) = &self.corpus {
                want("vdb", Box::new(numbers(corpus.docs.len() as u64).map(|item| corpus_doc(corpus, item))));
            } else {
                let seed = self.seed;
                let first = u64::from(p.vdb1_corpus_size);
                let categories = categories(p);
                want("vdb1", Box::new(numbers(first).map(move |item| vdb1_doc(seed, item, &categories))));
                let second = numbers(p.vdb2_corpus_size.into());
                want("vdb2", Box::new(second.map(move |item| vdb2_doc(seed, item, first, &categories))));
            }
        }
        let texts = schedule::Texts::new(self.seed, p, self.corpus.clone());
        let prefilled = prefill(p);
        let window = (0..prefilled).map(move |number| {
            let doc = texts.doc(number);
            let seconds = doc_time_ns(number, prefilled, p.doc_qps) as f64 / 1e9;
            let meta = DocMeta { timestamp_s: Some(seconds), ..DocMeta::plain(doc.category, "stream") };
            IndexDoc { id: doc.id.into(), text: doc.text.into(), meta }
        });
        wanted.push(Wanted { path: folder.join("window.idx"), docs: Box::new(window) });
        let nodes = (0..u64::from(p.graph_nodes)).map(|item| {
            let (text, kind) = match &self.corpus {
                // The memory of a real corpus is made of its own documents.
                Some(corpus) => (corpus.docs[item as usize % corpus.docs.len()].content(), "memory"),
                None => {
                    let node = synthetic::graph_node(self.seed, item);
                    (node.text, node.node_type.as_str())
                }
            };
            let meta = DocMeta::plain(Category::General, kind);
            IndexDoc { id: format!("node_{item}").into(), text: text.into(), meta }
        });
        wanted.push(Wanted { path: folder.join("nodes.idx"), docs: Box::new(nodes) });
        wanted.retain(|index| Index::open(&index.path).is_err());
        if wanted.is_empty() {
            return Ok(());
        }
        let embedder = self.embedder(|| self.term_table())?;
        build_all(wanted, p.embedding_dimension as usize, &*embedder, progress)
    }

    /// Maps the prepared state.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn open(&self, folder: &Path) -> Result<Shared, WorkloadError> {
        let open = |name: &str| Index::open(&folder.join(name)).map(Arc::new);
        let vdb = |name: &str| Shards::open(folder, name, self.params.vdb_shards).map(Arc::new);
        let vdb = if self.corpus_digest.is_some() {
            let whole = vdb("vdb")?;
            [Arc::clone(&whole), whole]
        } else {
            [vdb("vdb1")?, vdb("vdb2")?]
        };
        let statistics = Arc::clone(&vdb[0]);
        Ok(Shared {
            params: self.params.clone(),
            embedder: self.embedder(|| statistics)?,
            generator: self.generator()?,
            graph: Arc::new(memory_graph(self.seed, self.params.graph_nodes)),
            prepared: Prepared { vdb, window: open("window.idx")?, nodes: open("nodes.idx")? },
        })
    }

    fn term_table(&self) -> Arc<TermTable> {
        let contents: Vec<String> =
            self.corpus.iter().flat_map(|corpus| &corpus.docs).map(|doc| doc.content()).collect();
        Arc::new(TermTable::of_texts(contents.iter().map(String::as_str)))
    }

    fn embedder<S: crate::text::bm25::TermStatistics + 'static>(
        &self,
        statistics: impl FnOnce() -> Arc<S>,
    ) -> Result<Arc<dyn Embedder>, WorkloadError> {
        let p = self.params;
        let dim = p.embedding_dimension as usize;
        Ok(match p.embedder {
            EmbedderKind::Topic => Arc::new(TopicEmbedder::new(dim, BETA, p.encoder_layers)),
            EmbedderKind::Hash => Arc::new(HashEmbedder::new(dim, statistics(), p.encoder_layers)),
            EmbedderKind::Http => {
                let url = p.embedding_url.as_deref().unwrap_or_default();
                let endpoint = Endpoint::new(url, &p.embedding_model, patience(p))?;
                Arc::new(HttpEmbedder::new(endpoint, dim, p.embedding_batch_size as usize))
            }
        })
    }

    fn generator(&self) -> Result<Arc<dyn Generator>, WorkloadError> {
        let p = self.params;
        Ok(match &p.llm_url {
            Some(url) => Arc::new(Remote {
                endpoint: Endpoint::new(url, &p.llm_model, patience(p))?,
                max_tokens: p.llm_max_tokens,
                temperature: p.llm_temperature,
                top_p: p.llm_top_p,
                seed: self.seed,
            }),
            None => Arc::new(Extractive { bm25: bm25(p), max_tokens: p.llm_max_tokens as usize }),
        })
    }
}

/// An index that is missing, and the documents it is to hold.
struct Wanted<'a> {
    path: PathBuf,
    docs: Box<dyn Iterator<Item = IndexDoc<'static>> + Send + 'a>,
}

/// Builds as many at once as there are cores; `progress` hears of each as it begins.
fn build_all(
    wanted: Vec<Wanted<'_>>,
    dim: usize,
    embedder: &dyn Embedder,
    progress: &mut dyn FnMut(&str),
) -> Result<(), WorkloadError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(wanted.len());
    let queue = Mutex::new(wanted.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (begun, names) = mpsc::channel();
    let label = embedder.name();
    thread::scope(|scope| {
        let builder = |begun: mpsc::Sender<String>| {
            while let Some(Wanted { path, docs }) = next() {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                // Nobody listens any more only when the scope is being unwound.
                let _ = begun.send(name);
                build(&path, dim, &label, docs, embedder)?;
            }
            Ok(())
        };
        let builders: Vec<_> = (0..threads)
            .map(|_| {
                let begun = begun.clone();
                scope.spawn(move || builder(begun))
            })
            .collect();
        drop(begun);
        names.iter().for_each(|name| progress(&name));
        let outcome = |builder: thread::ScopedJoinHandle<'_, Result<(), IndexError>>| {
            builder.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        // All of them end before the first failure is told.
        let outcomes: Vec<_> = builders.into_iter().map(outcome).collect();
        outcomes.into_iter().collect::<Result<(), _>>().map_err(WorkloadError::from)
    })
}

fn corpus_doc(corpus: &Corpus, number: u64) -> IndexDoc<'static> {
    let doc = &corpus.docs[number as usize];
    IndexDoc {
        id: Cow::Owned(doc.id.clone()),
        text: Cow::Owned(doc.content()),
        meta: DocMeta::plain(Category::General, "corpus"),
    }
}

fn vdb1_doc(seed: u64, number: u64, categories: &[f64; 4]) -> IndexDoc<'static> {
    let doc = synthetic::doc(seed, synthetic::VDB1, number, categories);
    IndexDoc { id: format!("v1_{number:06}").into(), text: doc.text.into(), meta: doc.meta }
}

/// `first` is the size of `vdb1`, which some documents of `vdb2` nearly repeat.
fn vdb2_doc(seed: u64, number: u64, first: u64, categories: &[f64; 4]) -> IndexDoc<'static> {
    let (doc, _) = synthetic::second_doc(seed, number, first, categories);
    IndexDoc { id: format!("v2_{number:06}").into(), text: doc.text.into(), meta: doc.meta }
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

fn categories(p: &Params) -> [f64; 4] {
    let c = &p.category_distribution;
    [c.finance, c.healthcare, c.technology, c.general]
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
}

impl Generator for Remote {
    fn generate(&self, question: &str, context: &[&str]) -> Result<Generated, OperatorError> {
        let request = ChatRequest {
            prompt: &prompt(question, context),
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            seed: Some(self.seed),
        };
        let answer =
            self.endpoint.chat(&request).map_err(|cause: EndpointError| OperatorError::new(cause))?;
        Ok(Generated {
            text: answer.text,
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
        })
    }
}

/// Looks documents and nodes up in the mapped indexes, for every operator that needs them.
#[derive(Debug, Clone)]
pub struct Lookup(pub Prepared);

impl Lookup {
    fn index(&self, doc: DocRef) -> (&Index, usize) {
        self.0.vdb[usize::from(doc.vdb.min(1))].find(doc.row)
    }
}

impl Vectors for Lookup {
    fn doc(&self, doc: DocRef) -> (&[i8], u32) {
        let (index, row) = self.index(doc);
        (index.row(row), index.norm2(row))
    }

    fn node(&self, node: u32) -> (&[i8], u32) {
        (self.0.nodes.row(node as usize), self.0.nodes.norm2(node as usize))
    }
}

impl Documents for Lookup {
    fn facts(&self, doc: DocRef) -> DocFacts<'_> {
        let (index, row) = self.index(doc);
        let meta = index.meta(row);
        DocFacts {
            timestamp_s: meta.timestamp_s,
            citations: meta.citations,
            centrality: meta.centrality,
            source: meta.source,
        }
    }

    fn terms_present(&self, doc: DocRef, terms: &HashSet<u64>) -> usize {
        let (index, row) = self.index(doc);
        let doc = index.doc_terms(row);
        terms.iter().filter(|term| doc.tf(**term) > 0).count()
    }
}

impl Texts for Lookup {
    fn doc_id(&self, doc: DocRef) -> &str {
        let (index, row) = self.index(doc);
        index.id(row)
    }

    fn doc_text(&self, doc: DocRef) -> &str {
        let (index, row) = self.index(doc);
        index.text(row)
    }

    fn doc_source(&self, doc: DocRef) -> &str {
        let (index, row) = self.index(doc);
        index.meta(row).source
    }

    fn node_text(&self, node: u32) -> &str {
        self.0.nodes.text(node as usize)
    }
}
