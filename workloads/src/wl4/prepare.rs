//! Builds the indexes of the prepared state, in a stream and on all cores.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use super::shared::Recipe;
use crate::corpus::Corpus;
use crate::index::postings::{self, Postings};
use crate::index::{Index, IndexDoc, lock, make_room, shards, try_build};
use crate::schedule;
use crate::text::embed::Embedder;
use crate::text::synthetic::{self, DocMeta};
use crate::text::vocabulary::Category;
use crate::workload::WorkloadError;

/// An index and the documents that it is to hold.
struct Wanted<'a> {
    path: PathBuf,
    docs: Docs<'a>,
}

type Docs<'a> = Box<dyn Iterator<Item = Result<IndexDoc<'static>, WorkloadError>> + Send + 'a>;

impl Recipe<'_> {
    /// Builds what is missing in `folder`. `progress` hears what is being built.
    ///
    /// # Errors
    /// When a text cannot be read or embedded, or a file cannot be written.
    pub fn prepare(&self, folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), WorkloadError> {
        let of = self.params.vdb_shards;
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for shard in 0..of {
            for (name, docs) in self.databases(shard) {
                wanted.push(Wanted { path: shards::path(folder, name, shard, of), docs });
            }
        }
        wanted.push(Wanted { path: folder.join("window.idx"), docs: self.window() });
        wanted.push(Wanted { path: folder.join("nodes.idx"), docs: self.nodes() });
        let is_missing = |index: &Wanted<'_>| Index::open(&index.path).is_err();
        wanted.retain(is_missing);
        if wanted.is_empty() && self.inverted(folder).is_empty() {
            return Ok(());
        }
        // Before a corpus is read or a text embedded.
        make_room(folder)?;
        // Of the processes of a machine that need the same, the first builds it and the others wait.
        let _lock = lock(folder)?;
        wanted.retain(is_missing);
        if !wanted.is_empty() {
            let embedder = self.embedder(|| self.term_table())?;
            build_all(wanted, self.params.embedding_dimension as usize, &*embedder, progress)?;
        }
        self.invert(folder, progress)
    }

    /// The inverted indexes that BM25 over the whole collection needs and that are missing, and what they are made of.
    fn inverted(&self, folder: &Path) -> Vec<(PathBuf, PathBuf)> {
        let (of, stemming) = (self.params.vdb_shards, self.params.stemmer);
        let names: &[&str] = if self.corpus_digest.is_some() { &["vdb"] } else { &["vdb1", "vdb2"] };
        let all =
            names.iter().flat_map(|name| (0..of).map(move |shard| shards::path(folder, name, shard, of)));
        let all = all.filter(|_| self.params.ranks_over_corpus());
        let all = all.map(|index| (postings::path(&index, stemming), index));
        all.filter(|(path, _)| Postings::open(path).is_err()).collect()
    }

    fn invert(&self, folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), WorkloadError> {
        for (path, index) in self.inverted(folder) {
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
            let docs = numbers(corpus.docs.len() as u64).map(|number| corpus_doc(corpus, number));
            return vec![("vdb", Box::new(docs))];
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
