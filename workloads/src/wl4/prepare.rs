//! Builds the indexes of the prepared state, in a stream and on all cores.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::params::Params;
use super::shared::{Recipe, Share};
use crate::corpus::Corpus;
use crate::index::postings::{self, Postings};
use crate::index::{
    CANNOT_WRITE, Counts, Index, IndexDoc, IndexError, counts, lock, make_room, shards, try_build,
};
use crate::schedule;
use crate::slots::Slots;
use crate::text::embed::{Ask, Embedder, Prefixed, prefixed};
use crate::text::stemming::Stemming;
use crate::text::stored::{StoredVectors, key};
use crate::text::synthetic::{self, DocMeta};
use crate::text::vocabulary::Category;
use crate::truncation;
use crate::workload::WorkloadError;

/// An index and the documents that it is to hold.
struct Wanted<'a> {
    path: PathBuf,
    docs: Docs<'a>,
}

type Docs<'a> = Box<dyn Iterator<Item = Result<IndexDoc<'static>, WorkloadError>> + Send + 'a>;

impl Recipe<'_> {
    /// Builds what of a share is missing in `folder`. `progress` hears what is being built.
    ///
    /// # Errors
    /// When a text cannot be read or embedded, or a file cannot be written.
    pub fn prepare(
        &self,
        folder: &Path,
        share: Share,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), WorkloadError> {
        let missing = || -> Vec<PathBuf> {
            let paths = self.wanted(folder, share).map(|index| index.path);
            paths.filter(|path| Index::open(path).is_err()).collect()
        };
        if missing().is_empty()
            && self.inverted(folder, share).is_empty()
            && self.uncounted(folder, share).is_empty()
        {
            return Ok(());
        }
        // Before a corpus is read or a text embedded.
        make_room(folder)?;
        // Of the processes of a machine that need the same, the first builds it and the others wait.
        let _lock = lock(folder)?;
        let missing = missing();
        let wanted = || self.wanted(folder, share).filter(|index| missing.contains(&index.path));
        if !missing.is_empty() {
            let stored = self.stored(folder)?.map(Arc::new);
            let embedder = self.embedder(|| self.term_table(), stored.clone(), Ask::Once)?;
            if let Some(stored) = &stored {
                let texts = || {
                    let docs = wanted().flat_map(|index| index.docs);
                    docs.map(|doc| doc.map(|doc| prefixed(&self.params.document_prefix, doc.text)))
                };
                embed_all(texts, stored, &*embedder, self.params.embedding_batch_size, progress)?;
                if self.corpus.is_some() && share.has_the_rest() {
                    self.find_truncation(folder)?;
                }
            }
            let embedder = Prefixed::over(embedder, &self.params.document_prefix);
            let dim = self.params.embedding_dimension as usize;
            build_all(wanted().collect(), dim, &*embedder, progress)?;
        }
        self.count(folder, share, progress)?;
        self.invert(folder, share, progress)
    }

    /// Asks how much of the longest text that is searched the encoder reads, and keeps it.
    fn find_truncation(&self, folder: &Path) -> Result<(), WorkloadError> {
        let (mut counts, mut longest) = (HashMap::new(), (0, String::new()));
        let shards = (0..self.params.vdb_shards).flat_map(|shard| self.databases(shard));
        for doc in shards.flat_map(|(_, docs)| docs) {
            let text = prefixed(&self.params.document_prefix, doc?.text);
            let words = text.split_whitespace().count();
            counts.insert(key(&text), words);
            if words > longest.0 {
                longest = (words, text.into_owned());
            }
        }
        let counts: Vec<usize> = counts.into_values().collect();
        // What is asked here is no text of the corpus.
        let embedder = self.embedder(|| self.term_table(), None, Ask::Once)?;
        let found = truncation::find(&*embedder, &longest.1, &counts)?;
        let path = folder.to_owned();
        truncation::keep(folder, found)
            .map_err(|source| IndexError::Io { path, action: CANNOT_WRITE, source }.into())
    }

    /// Every index of a share of the prepared state.
    fn wanted<'a>(&'a self, folder: &'a Path, share: Share) -> impl Iterator<Item = Wanted<'a>> {
        let of = self.params.vdb_shards;
        let databases = share.shards(of).flat_map(move |shard| {
            let path = move |name: &str| shards::path(folder, name, shard, of);
            self.databases(shard).into_iter().map(move |(name, docs)| Wanted { path: path(name), docs })
        });
        let window = Wanted { path: folder.join("window.idx"), docs: self.window() };
        let rest = [window, Wanted { path: folder.join("nodes.idx"), docs: self.nodes() }];
        databases.chain(rest.into_iter().filter(move |_| share.has_the_rest()))
    }

    /// What is to be counted over whole databases and is not: file, name and stemming.
    fn uncounted(&self, folder: &Path, share: Share) -> Vec<(PathBuf, &'static str, Stemming)> {
        let stemmings = match self.params.stemmer {
            Stemming::None => vec![Stemming::None],
            stemmer => vec![Stemming::None, stemmer],
        };
        let wanted = share == Share::Common && self.params.asks_the_collection();
        let all = self.names().iter().filter(|_| wanted).flat_map(|name| {
            let path = move |stemming| (counts::path(folder, name, stemming), *name, stemming);
            stemmings.iter().copied().map(path)
        });
        all.filter(|(path, ..)| Counts::open(path).is_err()).collect()
    }

    fn count(
        &self,
        folder: &Path,
        share: Share,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), WorkloadError> {
        let params = Params { vdb_shards: 1, ..self.params.clone() };
        let whole = Recipe { params: &params, corpus: self.corpus.clone(), ..*self };
        for (path, name, stemming) in self.uncounted(folder, share) {
            progress(&path.file_name().unwrap_or_default().to_string_lossy());
            let docs = whole.databases(0).into_iter().filter(|(each, _)| *each == name);
            counts::build(&path, docs.flat_map(|(_, docs)| docs), stemming)?;
        }
        Ok(())
    }

    /// The inverted indexes that BM25 over the whole collection needs and that are missing, and what they are made of.
    fn inverted(&self, folder: &Path, share: Share) -> Vec<(PathBuf, PathBuf)> {
        let (of, stemming) = (self.params.vdb_shards, self.params.stemmer);
        let some = share.shards(of);
        let all = self
            .names()
            .iter()
            .flat_map(|name| some.clone().map(move |shard| shards::path(folder, name, shard, of)));
        let all = all.filter(|_| self.params.ranks_over_corpus());
        let all = all.map(|index| (postings::path(&index, stemming), index));
        all.filter(|(path, _)| Postings::open(path).is_err()).collect()
    }

    fn invert(
        &self,
        folder: &Path,
        share: Share,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), WorkloadError> {
        for (path, index) in self.inverted(folder, share) {
            progress(&path.file_name().unwrap_or_default().to_string_lossy());
            postings::build(&path, &Index::open(&index)?, self.params.stemmer)?;
        }
        Ok(())
    }

    /// One shard of each vector database.
    fn databases(&self, shard: u32) -> Vec<(&'static str, Docs<'_>)> {
        let p = self.params;
        let numbers = |len| shards::numbers(shard, p.vdb_shards, len);
        if let Some(corpus) = &self.corpus {
            let docs: Docs<'_> = match p.chunk_tokens {
                None => Box::new(numbers(corpus.docs.len() as u64).map(|number| corpus_doc(corpus, number))),
                Some(_) => Box::new(self.in_parts(corpus, shard)),
            };
            return vec![("vdb", docs)];
        }
        let (seed, first, categories) = (self.seed, u64::from(p.vdb1_corpus_size), p.categories());
        let one = numbers(first).map(move |number| {
            let doc = synthetic::doc(seed, synthetic::VDB1, number, &categories);
            Ok(IndexDoc { id: format!("v1_{number:06}").into(), text: doc.text.into(), meta: doc.meta })
        });
        let two = numbers(p.vdb2_corpus_size.into()).map(move |number| {
            let (doc, _) = synthetic::second_doc(seed, number, first, &categories);
            Ok(IndexDoc { id: format!("v2_{number:06}").into(), text: doc.text.into(), meta: doc.meta })
        });
        vec![("vdb1", Box::new(one)), ("vdb2", Box::new(two))]
    }

    /// One shard of the parts of a corpus: each is a row, under the id of its document.
    fn in_parts<'a>(
        &'a self,
        corpus: &'a Corpus,
        shard: u32,
    ) -> impl Iterator<Item = Result<IndexDoc<'static>, WorkloadError>> + Send + 'a {
        let parts = corpus.docs.iter().flat_map(|doc| {
            let doc = match doc {
                Ok(doc) => doc,
                Err(cause) => return vec![Err(cause.into())],
            };
            let meta = DocMeta::plain(Category::General, "corpus");
            let row =
                |part: &str| Ok(IndexDoc { text: part.to_owned().into(), id: doc.id.clone().into(), meta });
            self.parts(&doc.content()).into_iter().map(row).collect()
        });
        let of = u64::from(self.params.vdb_shards);
        parts.zip(0..).filter(move |(_, number)| number % of == u64::from(shard)).map(|(part, _)| part)
    }

    /// Documents of the stream that precede the first query.
    fn window(&self) -> Docs<'_> {
        let p = self.params;
        let texts = schedule::Texts::new(self.seed, p.types(), p.categories(), self.corpus.clone());
        let documents = p.documents();
        Box::new((0..documents.prefill).map(move |number| {
            let doc = texts.doc(number)?;
            let seconds = documents.time_ns(number) as f64 / 1e9;
            let meta = DocMeta { timestamp_s: Some(seconds), ..DocMeta::plain(doc.category, "stream") };
            Ok(IndexDoc { id: doc.id.into(), text: doc.text.into(), meta })
        }))
    }

    /// Nodes of the graph memory.
    fn nodes(&self) -> Docs<'_> {
        Box::new((0..u64::from(self.params.graph_nodes)).map(|number| {
            let (text, kind) = match &self.corpus {
                // The memory of a real corpus is made of its own documents.
                Some(corpus) => (corpus.docs.get(number as usize % corpus.docs.len())?.content(), "memory"),
                None => {
                    let node = synthetic::graph_node(self.seed, number);
                    (node.text, node.node_type.as_str())
                }
            };
            let meta = DocMeta::plain(Category::General, kind);
            Ok(IndexDoc { id: format!("node_{number}").into(), text: text.into(), meta })
        }))
    }
}

fn corpus_doc(corpus: &Corpus, number: u64) -> Result<IndexDoc<'static>, WorkloadError> {
    let doc = corpus.docs.get(number as usize)?;
    let meta = DocMeta::plain(Category::General, "corpus");
    Ok(IndexDoc { text: doc.content().into(), id: doc.id.into(), meta })
}

/// Requests for vectors that are under way at once while indexes are prepared.
const REQUESTS: u32 = 4;
/// Parts in which it is told how far the embedding is.
const PARTS: usize = 10;

/// Asks for the vector of each distinct text that is not kept yet, once, and keeps it. `progress` hears how far it is.
fn embed_all<'a, I>(
    texts: impl Fn() -> I,
    stored: &StoredVectors,
    embedder: &dyn Embedder,
    batch: u32,
    progress: &mut dyn FnMut(&str),
) -> Result<(), WorkloadError>
where
    I: Iterator<Item = Result<Cow<'a, str>, WorkloadError>>,
{
    let unreadable = |source| IndexError::Io { path: stored.path().to_owned(), action: CANNOT_WRITE, source };
    let mut unknown = HashSet::new();
    for text in texts() {
        let text = text?;
        if !text.trim().is_empty() && stored.get(&text).map_err(unreadable)?.is_none() {
            unknown.insert(key(&text));
        }
    }
    let (all, slots) = (unknown.len(), Slots::new(REQUESTS));
    let mut rest = texts();
    let mut said = None;
    while !unknown.is_empty() {
        let done = all - unknown.len();
        if said != Some(done * PARTS / all) {
            said = Some(done * PARTS / all);
            progress(&format!("the vectors of {all} texts ({done} there)"));
        }
        let mut now = Vec::new();
        while now.len() < (batch * REQUESTS) as usize {
            let Some(text) = rest.next().transpose()? else { break };
            if unknown.remove(&key(&text)) {
                now.push(text);
            }
        }
        let batches: Vec<Vec<&str>> =
            now.chunks(batch as usize).map(|part| part.iter().map(AsRef::as_ref).collect()).collect();
        // Those that succeed are kept, whatever becomes of the others.
        let asked = slots.each(batches.len(), |number| embedder.embed(&batches[number]).map(drop));
        asked.into_iter().collect::<Result<(), _>>()?;
        if now.is_empty() {
            break;
        }
    }
    Ok(())
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
    let label = embedder.name();
    let (begun, names) = mpsc::channel();
    let builder = |begun: mpsc::Sender<String>| {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(Wanted { path, docs }) = next else { return Ok(()) };
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // Nobody listens any more only when another builder has panicked.
            let _ = begun.send(name);
            try_build::<WorkloadError>(&path, dim, &label, docs, embedder)?;
        }
    };
    thread::scope(|scope| {
        let start = |_| {
            let begun = begun.clone();
            scope.spawn(|| builder(begun))
        };
        let builders: Vec<_> = (0..threads).map(start).collect();
        drop(begun);
        names.iter().for_each(|name| progress(&name));
        // All of them end before the first failure is told.
        let joined: Vec<_> = builders.into_iter().map(thread::ScopedJoinHandle::join).collect();
        joined.into_iter().try_for_each(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
