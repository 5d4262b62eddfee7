//! The vector databases: exact search, then the [cascade](super::cascade), or the [fusion](super::fusion) of what
//! vectors and keywords found.
//!
//! A database in one piece is one operator, [`Vdb`]. One in shards is an operator a shard, [`Shard`], whose
//! nearest documents meet in a [`Gather`]: the nearest of the whole are among the nearest of the parts. Where each is on
//! a machine of its own, what is asked of the documents [comes along](super::carried).

use std::sync::Arc;

use bench_dataflow::frame::{Frame, own_spans};

use crate::index::postings::Sums;
use crate::index::{Index, Keywords, Shards};
use crate::operator::{Operator, OperatorError, Output};
use crate::parts::Parts;
use crate::vector::{self, Hit};
use crate::wl4::carried::{self, Carried, Sender};
use crate::wl4::cascade::Cascade;
use crate::wl4::fusion::{Found, Fusion};
use crate::wl4::records::{VdbHit, VdbResults};
use crate::wl4::views::{self, QueryView};

/// Rows that are searched before their best are kept and the rest forgotten.
const BLOCK: usize = 1 << 16;
/// Queries that are searched together.
const BATCH: usize = 16;

/// Exact search of one shard.
pub struct Search {
    shard: u32,
    of: u32,
    index: Arc<Index>,
    /// Documents that are kept.
    breadth: usize,
    /// As [`BLOCK`].
    block: usize,
    dots: Vec<i32>,
    /// Where keywords retrieve too.
    keywords: Option<Arc<Keywords>>,
    sums: Sums,
}

impl Search {
    pub fn new(documents: &Shards, shard: u32, breadth: usize) -> Self {
        let (of, index) = (documents.count(), Arc::clone(documents.shard(shard)));
        let (dots, sums) = (Vec::new(), Sums::default());
        Self { shard, of, index, breadth, block: BLOCK, dots, keywords: None, sums }
    }

    /// Searches by keywords too.
    #[must_use]
    pub fn with_keywords(self, keywords: Arc<Keywords>) -> Self {
        Self { keywords: Some(keywords), ..self }
    }

    /// What each query finds: the nearest documents, and the best by keywords where those retrieve too.
    fn found(&mut self, queries: &[QueryView<'_>]) -> Result<Vec<Found>, OperatorError> {
        let nearest = self.nearest(queries)?;
        let (shard, most) = (self.shard, self.breadth);
        let mut by_keywords = |query: &QueryView<'_>| match &self.keywords {
            Some(keywords) => keywords.best(shard, &keywords.query(query.text), most, &mut self.sums),
            None => Vec::new(),
        };
        let found = queries.iter().zip(nearest);
        Ok(found.map(|(query, nearest)| Found { nearest, by_keywords: by_keywords(query) }).collect())
    }

    /// The nearest documents of each query, by their numbers in the collection: all queries pass over a block
    /// of rows while it is in the cache, and what a block leaves behind is its best, so that memory does not
    /// grow with the index.
    fn nearest(&mut self, queries: &[QueryView<'_>]) -> Result<Vec<Vec<Hit>>, OperatorError> {
        let mut dims: Vec<&[i8]> = Vec::with_capacity(queries.len());
        let mut norms2: Vec<u32> = Vec::with_capacity(queries.len());
        for query in queries {
            let (vector, norm2) = query.vector()?;
            dims.push(vector);
            norms2.push(norm2);
        }
        let dim = self.index.dim();
        let mut found: Vec<Vec<Hit>> = vec![Vec::new(); queries.len()];
        let blocks = self.index.rows().chunks(self.block * dim).zip(self.index.norms().chunks(self.block));
        for (start, (rows, norms)) in (0u32..).step_by(self.block).zip(blocks) {
            vector::dots_batch(rows, dim, &dims, &mut self.dots);
            for ((dots, norm2), hits) in self.dots.chunks(norms.len()).zip(&norms2).zip(&mut found) {
                let best = vector::best_cosines(dots, norms, *norm2, self.breadth);
                let number = |row| (start + row) * self.of + self.shard;
                hits.extend(best.into_iter().map(|hit| Hit { row: number(hit.row), ..hit }));
            }
        }
        for hits in &mut found {
            hits.sort_by(Hit::best_first);
            hits.truncate(self.breadth);
        }
        Ok(found)
    }
}

/// An enriched query begins with the query itself, so this reads either.
fn queries<'a>(inputs: &[Frame<'a>]) -> Result<Vec<QueryView<'a>>, OperatorError> {
    inputs.iter().map(views::query).collect()
}

/// What is made of what was found.
pub enum Stages {
    /// The nearest documents in four stages.
    Dense(Cascade),
    /// The nearest documents and those found by keywords, fused.
    Hybrid(Fusion),
}

impl Stages {
    fn run(
        &self,
        query: &QueryView<'_>,
        found: Found,
        carried: &Carried<'_>,
    ) -> Result<Vec<VdbHit>, OperatorError> {
        match self {
            Self::Dense(cascade) => Ok(cascade.run(query.text, found.nearest, carried)),
            Self::Hybrid(fusion) => fusion.run(query, found, carried),
        }
    }
}

/// A database in one piece.
pub struct Vdb {
    search: Search,
    stages: Stages,
    /// Whether the query rides on: it does with one of the databases.
    carries: bool,
}

impl Vdb {
    pub fn new(search: Search, stages: Stages, carries: bool) -> Self {
        Self { search, stages, carries }
    }
}

impl Operator for Vdb {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        let queries = queries(inputs)?;
        let found = self.search.found(&queries)?;
        for ((input, query), found) in inputs.iter().zip(&queries).zip(found) {
            let hits = self.stages.run(query, found, &Carried::nothing())?;
            let source = self.carries.then_some(input.body);
            output.emit_bytes(*input, 0, &VdbResults::encode(source, &hits)?, None)?;
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        BATCH
    }
}

/// The search of one shard.
pub struct Shard {
    search: Search,
    /// Where no other machine has its documents.
    sender: Option<Sender>,
}

impl Shard {
    pub fn new(search: Search) -> Self {
        Self { search, sender: None }
    }

    /// Sends along what is known of the documents.
    #[must_use]
    pub fn with(self, sender: Sender) -> Self {
        Self { sender: Some(sender), ..self }
    }
}

impl Operator for Shard {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        let queries = queries(inputs)?;
        let found = self.search.found(&queries)?;
        for ((input, query), found) in inputs.iter().zip(&queries).zip(found) {
            // What keywords found stands behind the nearest, and only where keywords retrieve.
            let retrieve = self.search.keywords.is_some();
            match &self.sender {
                None if retrieve => output.emit(*input, 0, &found)?,
                None => output.emit(*input, 0, &found.nearest)?,
                Some(sender) => {
                    let record = if retrieve {
                        views::append(Vec::new(), &found)?
                    } else {
                        views::append(Vec::new(), &found.nearest)?
                    };
                    carried::emit(output, *input, record, &sender.along(query.text, found.numbers())?)?;
                }
            }
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        BATCH
    }
}

/// Where the shards of a database meet, and the query that they searched for: it is the last part.
pub struct Gather {
    parts: Parts,
    stages: Stages,
    /// As in [`Vdb`].
    carries: bool,
}

impl Gather {
    pub fn new(shards: usize, stages: Stages, carries: bool) -> Self {
        Self { parts: Parts::new(shards + 1), stages, carries }
    }
}

impl Operator for Gather {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        let (stages, carries) = (&self.stages, self.carries);
        let unite = |parts: &[Frame<'_>], output: &mut Output<'_>| {
            let Some((query, shards)) = parts.split_last() else { return Ok(()) };
            let (mut found, mut along) = (Found::default(), Carried::nothing());
            for shard in shards {
                let behind = match stages {
                    Stages::Dense(_) => {
                        let (nearest, behind) = views::start::<Vec<Hit>>(shard)?;
                        found.nearest.extend(nearest);
                        behind
                    }
                    Stages::Hybrid(_) => {
                        let (part, behind) = views::start(shard)?;
                        found.extend(part);
                        behind
                    }
                };
                along.add(shard.header.seq, behind)?;
                output.adopt(shard.header.seq, own_spans(query.spans, shard.spans));
            }
            let hits = stages.run(&views::query(query)?, found, &along)?;
            let record = VdbResults::encode(carries.then_some(query.body), &hits)?;
            carried::emit(output, *query, record, &along.of(hits.iter().map(|hit| hit.doc)))
        };
        inputs.iter().try_for_each(|input| self.parts.take(*input, output, unite))
    }

    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), OperatorError> {
        self.parts.finish(output);
        Ok(())
    }

    fn sees_every_frame(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{IndexDoc, build, postings, shards};
    use crate::testing::{Harness, header};
    use crate::text::bm25::Bm25;
    use crate::text::embed::{Embedder, TopicEmbedder};
    use crate::text::stemming::Stemming;
    use crate::text::synthetic::{CATEGORY_WEIGHTS, VDB1, doc};
    use crate::text::vocabulary::{Category, QueryType};
    use crate::wl4::cascade::CascadeConfig;
    use crate::wl4::fusion::FusionConfig;
    use crate::wl4::records::{Enriched, Joined, Query};

    const DIM: usize = 128;
    const DOCUMENTS: u64 = 500;

    /// A database of `of` shards in `folder`. Every text twice, so that ties have to be broken.
    fn documents(folder: &std::path::Path, of: u32) -> Arc<Shards> {
        for shard in 0..of {
            let docs = shards::numbers(shard, of, DOCUMENTS).map(|i| {
                let doc = doc(42, VDB1, i / 2, &CATEGORY_WEIGHTS);
                IndexDoc { id: format!("d_{i:06}").into(), text: doc.text.into(), meta: doc.meta }
            });
            let path = shards::path(folder, "a", shard, of);
            build(&path, DIM, "", docs, &TopicEmbedder::new(DIM, 1.0, 0)).unwrap();
            let inverted = postings::path(&path, Stemming::English);
            postings::build(&inverted, &Index::open(&path).unwrap(), Stemming::English).unwrap();
        }
        Arc::new(Shards::open(folder, "a", of).unwrap())
    }

    fn cascade(documents: &Arc<Shards>) -> Stages {
        let config = CascadeConfig {
            stage_top_k: [40, 30, 20, 10],
            stage_keep: [30, 20, 10],
            cut: 0.0,
            cut_step: 0.0,
            top_k: 25,
            bm25: Bm25::default(),
            bm25_weight: 0.3,
            corpus_idf: true,
        };
        Stages::Dense(Cascade::new(0, Arc::clone(documents), config))
    }

    fn search(documents: &Shards, shard: u32) -> Search {
        Search::new(documents, shard, 40)
    }

    fn keywords(folder: &std::path::Path, of: u32) -> Arc<Keywords> {
        let paths = (0..of).map(|shard| shards::path(folder, "a", shard, of));
        Arc::new(Keywords::open(paths, Stemming::English, Bm25::default()).unwrap())
    }

    fn fusion(documents: &Arc<Shards>, keywords: &Arc<Keywords>) -> Stages {
        let config = FusionConfig { breadth: 40, cut: 0.0, top_k: 25, keyword_share: 0.5, in_parts: false };
        Stages::Hybrid(Fusion::new(0, Arc::clone(documents), Arc::clone(keywords), config))
    }

    fn query(number: u64) -> Query {
        let text = doc(7, VDB1, number, &CATEGORY_WEIGHTS).text;
        let embedding = TopicEmbedder::new(DIM, 1.0, 0).embed(&[&text]).unwrap().pop();
        Query {
            id: format!("q_{number}"),
            text,
            query_type: QueryType::Factual,
            category: Category::General,
            docs_before: 0,
            embedding,
        }
    }

    fn enriched(number: u64) -> Enriched {
        let joined = Joined { query: query(number), matches: vec![], semantic_score: 0.0 };
        Enriched { joined, graph: vec![] }
    }

    /// What a database in one piece finds.
    fn whole(folder: &std::path::Path, numbers: std::ops::Range<u64>) -> Vec<VdbResults> {
        let documents = documents(folder, 1);
        let mut vdb = Harness::new(Vdb::new(search(&documents, 0), cascade(&documents), true));
        numbers.flat_map(|number| vdb.send(header(0, number), &enriched(number))).collect()
    }

    #[test]
    fn what_is_near_does_not_depend_on_the_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let documents = documents(folder.path(), 1);
        let encoded: Vec<Vec<u8>> =
            (0..4).map(|number| postcard::to_stdvec(&query(number)).unwrap()).collect();
        let queries: Vec<QueryView<'_>> =
            encoded.iter().map(|query| postcard::from_bytes(query).unwrap()).collect();
        let nearest = |block| Search { block, ..search(&documents, 0) }.nearest(&queries).unwrap();
        let expected = nearest(BLOCK);
        assert!(expected.iter().all(|hits| hits.len() == 40));
        for block in [1, 7, 250, 499, 500] {
            assert_eq!(nearest(block), expected, "blocks of {block}");
        }
    }

    #[test]
    fn what_is_found_does_not_depend_on_the_shards() {
        let folder = tempfile::tempdir().unwrap();
        let expected = whole(folder.path(), 0..4);
        assert!(expected.iter().all(|found| found.hits.len() >= 10));
        for of in [2, 3, 7] {
            let documents = documents(folder.path(), of);
            let mut gather = Harness::new(Gather::new(of as usize, cascade(&documents), true));
            let mut shards: Vec<Harness> =
                (0..of).map(|shard| Harness::new(Shard::new(search(&documents, shard)))).collect();
            let mut found: Vec<VdbResults> = Vec::new();
            for number in 0..4 {
                // The query itself is there first, and the last shard before the others.
                found.extend(gather.send::<VdbResults>(header(of as u8, number), &enriched(number)));
                for (port, shard) in shards.iter_mut().enumerate().rev() {
                    let nearest: Vec<Vec<Hit>> = shard.send(header(0, number), &query(number));
                    found.extend(gather.send::<VdbResults>(header(port as u8, number), &nearest[0]));
                }
            }
            assert_eq!(found, expected, "{of} shards");
        }
    }

    #[test]
    fn what_vectors_and_keywords_find_together_does_not_depend_on_the_shards() {
        let outcome = |of: u32| {
            let folder = tempfile::tempdir().unwrap();
            let documents = documents(folder.path(), of);
            let keywords = keywords(folder.path(), of);
            let mut gather = Harness::new(Gather::new(of as usize, fusion(&documents, &keywords), true));
            let shard = |shard| search(&documents, shard).with_keywords(Arc::clone(&keywords));
            let mut shards: Vec<Harness> =
                (0..of).map(|number| Harness::new(Shard::new(shard(number)))).collect();
            let mut found: Vec<VdbResults> = Vec::new();
            for number in 0..4 {
                for (port, shard) in shards.iter_mut().enumerate() {
                    let part: Vec<Found> = shard.send(header(0, number), &query(number));
                    found.extend(gather.send::<VdbResults>(header(port as u8, number), &part[0]));
                }
                found.extend(gather.send::<VdbResults>(header(of as u8, number), &enriched(number)));
            }
            let mut vdb = Harness::new(Vdb::new(shard(0), fusion(&documents, &keywords), true));
            let whole = (0..4).flat_map(|number| vdb.send(header(0, number), &enriched(number))).collect();
            (found, if of == 1 { whole } else { Vec::new() })
        };
        let (expected, whole) = outcome(1);
        assert!(expected.len() == 4 && expected.iter().all(|found| found.hits.len() == 25));
        assert_eq!(expected, whole, "in one piece");
        for of in [2, 3, 7] {
            assert_eq!(outcome(of).0, expected, "{of} shards");
        }
    }

    #[test]
    fn shards_may_be_more_than_documents() {
        let folder = tempfile::tempdir().unwrap();
        let empty: [IndexDoc<'_>; 0] = [];
        build(&folder.path().join("a.idx"), DIM, "", empty, &TopicEmbedder::new(DIM, 1.0, 0)).unwrap();
        let documents = Shards::open(folder.path(), "a", 1).unwrap();
        let query = postcard::to_stdvec(&query(0)).unwrap();
        let query: QueryView<'_> = postcard::from_bytes(&query).unwrap();
        assert_eq!(search(&documents, 0).nearest(&[query]).unwrap(), [vec![]]);
    }
}
