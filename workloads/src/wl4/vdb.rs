//! One vector database: an exact search in four stages, each over the survivors of the one before.
//!
//! A stage keeps the best of its survivors above a rising score cut and, in the first three, reranks
//! them by a blend of cosine and BM25. What leaves is the union of the stages: every document that
//! survived the first, with the rerank score of the last stage that scored it.

use std::sync::Arc;

use bench_dataflow::frame::Frame;

use crate::index::Index;
use crate::operator::{Operator, OperatorError, Output, decode_start};
use crate::text::bm25::{self, Bm25};
use crate::text::tokens::token_hashes;
use crate::vector::{self, Hit};
use crate::wl4::records::{DocRef, Query, VdbHit, VdbResults};

/// Rows that are searched before their best are kept and the rest forgotten.
const BLOCK: usize = 1 << 16;

/// Parameters of the cascade.
#[derive(Debug, Clone)]
pub struct CascadeConfig {
    pub stage_top_k: [u32; 4],
    pub stage_keep: [u32; 3],
    /// Cut of stage 1; each further stage but the last adds `cut_step`.
    pub cut: f64,
    pub cut_step: f64,
    /// Most documents that leave.
    pub top_k: usize,
    pub bm25: Bm25,
    /// Share of BM25 in the blend.
    pub bm25_weight: f64,
    /// Whether idf comes from the whole index rather than from the candidates.
    pub corpus_idf: bool,
}

/// One of the two vector databases.
pub struct Vdb {
    /// 0 or 1.
    which: u8,
    index: Arc<Index>,
    config: CascadeConfig,
    /// As [`BLOCK`].
    block: usize,
    dots: Vec<i32>,
}

impl Vdb {
    pub fn new(which: u8, index: Arc<Index>, config: CascadeConfig) -> Self {
        Self { which, index, config, block: BLOCK, dots: Vec::new() }
    }

    /// The best rows of the whole index for each vector: all of them pass over a block of rows while it is
    /// in the cache, and what a block leaves behind is its best, so that memory does not grow with the index.
    fn search(&mut self, vectors: &[(&[i8], u32)]) -> Vec<Vec<Hit>> {
        let dim = self.index.dim();
        let queries: Vec<&[i8]> = vectors.iter().map(|(dims, _)| *dims).collect();
        let mut found: Vec<Vec<Hit>> = vec![Vec::new(); vectors.len()];
        let blocks = self.index.rows().chunks(self.block * dim).zip(self.index.norms().chunks(self.block));
        for (start, (rows, norms)) in (0u32..).step_by(self.block).zip(blocks) {
            vector::dots_batch(rows, dim, &queries, &mut self.dots);
            for ((dots, (_, norm2)), hits) in self.dots.chunks(norms.len()).zip(vectors).zip(&mut found) {
                let best = vector::best_cosines(dots, norms, *norm2, self.config.stage_top_k[0] as usize);
                hits.extend(best.into_iter().map(|hit| Hit { row: start + hit.row, ..hit }));
            }
        }
        found
    }

    fn cascade(&self, query: &Query, first: Vec<Hit>) -> Vec<VdbHit> {
        let terms: Vec<u64> = token_hashes(&query.text);
        let mut all: Vec<VdbHit> = Vec::new();
        let mut survivors = first;
        for stage in 0..4u8 {
            let config = &self.config;
            survivors.sort_by(Hit::best_first);
            survivors.truncate(config.stage_top_k[usize::from(stage)] as usize);
            let mut hits: Vec<VdbHit> = survivors.iter().map(|hit| self.hit(*hit, stage + 1)).collect();
            if let Some(&keep) = config.stage_keep.get(usize::from(stage)) {
                let cut = config.cut + config.cut_step * f64::from(stage);
                hits.retain(|hit| hit.score >= cut);
                self.rerank(&terms, &mut hits);
                hits.truncate(keep as usize);
            }
            survivors = hits.iter().map(|hit| Hit { row: hit.doc.row, score: hit.score }).collect();
            for hit in hits {
                match all.iter_mut().find(|known| known.doc == hit.doc) {
                    Some(known) => {
                        known.stage = hit.stage;
                        known.rerank = hit.rerank.or(known.rerank);
                    }
                    None => all.push(hit),
                }
            }
        }
        all.sort_by(|a, b| b.merged_score().total_cmp(&a.merged_score()).then(a.doc.cmp(&b.doc)));
        all.truncate(self.config.top_k);
        all
    }

    fn hit(&self, hit: Hit, stage: u8) -> VdbHit {
        let doc = DocRef { vdb: self.which, row: hit.row };
        VdbHit { doc, score: hit.score, rerank: None, stage }
    }

    /// Sorts by the blend of cosine and BM25; a query without terms leaves the order by cosine.
    fn rerank(&self, terms: &[u64], hits: &mut [VdbHit]) {
        if terms.is_empty() {
            return;
        }
        let docs: Vec<_> = hits.iter().map(|hit| self.index.doc_terms(hit.doc.row as usize)).collect();
        let mut keywords = if self.config.corpus_idf {
            self.config.bm25.over_corpus(terms, &docs, &*self.index)
        } else {
            self.config.bm25.among_candidates(terms, &docs)
        };
        bm25::normalise(&mut keywords);
        for (hit, keyword) in hits.iter_mut().zip(keywords) {
            hit.rerank = Some(bm25::blend(hit.score, keyword, self.config.bm25_weight));
        }
        hits.sort_by(|a, b| {
            let score = |hit: &VdbHit| hit.rerank.unwrap_or(hit.score);
            score(b).total_cmp(&score(a)).then(a.doc.cmp(&b.doc))
        });
    }
}

impl Operator for Vdb {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        // An enriched query begins with the query itself.
        let queries = inputs.iter().map(decode_start).collect::<Result<Vec<Query>, _>>()?;
        let mut vectors: Vec<(&[i8], u32)> = Vec::with_capacity(queries.len());
        for query in &queries {
            let vector = query.embedding.as_ref();
            let vector = vector.ok_or(OperatorError("the query has no embedding".into()))?;
            vectors.push((&vector.dims[..], vector.norm2));
        }
        let found = self.search(&vectors);
        for ((input, query), first) in inputs.iter().zip(&queries).zip(found) {
            let hits = self.cascade(query, first);
            let source = if self.which == 0 { Some(input.body) } else { None };
            output.emit_bytes(*input, 0, &VdbResults::encode(source, &hits)?, None)?;
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{IndexDoc, build};
    use crate::text::embed::{Embedder, TopicEmbedder};
    use crate::text::synthetic::{CATEGORY_WEIGHTS, VDB1, doc};
    use crate::text::vocabulary::{Category, QueryType};

    #[test]
    fn what_is_found_does_not_depend_on_the_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.index");
        let embedder = TopicEmbedder::new(128, 1.0, 0);
        let docs = (0..500u64).map(|i| {
            // Every text twice, so that ties between blocks have to be broken.
            let doc = doc(42, VDB1, i / 2, &CATEGORY_WEIGHTS);
            IndexDoc { id: format!("d_{i:06}").into(), text: doc.text.into(), meta: doc.meta }
        });
        build(&path, 128, "", docs, &embedder).unwrap();
        let index = Arc::new(Index::open(&path).unwrap());
        let config = CascadeConfig {
            stage_top_k: [40, 30, 20, 10],
            stage_keep: [30, 20, 10],
            cut: 0.0,
            cut_step: 0.0,
            top_k: 25,
            bm25: Bm25::default(),
            bm25_weight: 0.3,
            corpus_idf: false,
        };
        let texts: Vec<String> = (0..4).map(|i| doc(7, VDB1, i, &CATEGORY_WEIGHTS).text).collect();
        let found = |block: usize| -> Vec<Vec<VdbHit>> {
            let mut vdb = Vdb { block, ..Vdb::new(0, Arc::clone(&index), config.clone()) };
            let vectors: Vec<_> =
                texts.iter().map(|text| embedder.embed(&[text]).unwrap().remove(0)).collect();
            let pairs: Vec<(&[i8], u32)> = vectors.iter().map(|v| (&v.dims[..], v.norm2)).collect();
            let first = vdb.search(&pairs);
            let hits = first.into_iter().zip(&texts).map(|(first, text)| {
                let query = Query {
                    id: String::new(),
                    text: text.clone(),
                    query_type: QueryType::Factual,
                    category: Category::General,
                    docs_before: 0,
                    embedding: None,
                };
                vdb.cascade(&query, first)
            });
            hits.collect()
        };
        let whole = found(BLOCK);
        assert!(whole.iter().all(|hits| hits.len() >= 10));
        for block in [1, 7, 250, 499, 500] {
            assert_eq!(found(block), whole, "blocks of {block}");
        }
    }
}
