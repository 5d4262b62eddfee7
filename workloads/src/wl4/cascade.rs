//! The four stages of a vector database, each over the survivors of the one before.
//!
//! A stage keeps the best of its survivors above a rising score cut and, in the first three, reranks
//! them by a blend of cosine and BM25. What leaves is the union of the stages: every document that
//! survived the first, with the rerank score of the last stage that scored it.

use std::sync::Arc;

use crate::index::{Keywords, Shards};
use crate::text::bm25::{self, Bm25, DocTerms};
use crate::text::tokens::{Term, token_hashes};
use crate::vector::Hit;
use crate::wl4::carried::Carried;
use crate::wl4::records::{DocRef, VdbHit};

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
    /// Whether idf comes from the whole collection rather than from the candidates.
    pub corpus_idf: bool,
}

/// The cascade over one vector database.
pub struct Cascade {
    /// 0 or 1.
    which: u8,
    documents: Arc<Shards>,
    /// Where BM25 stems words: over the whole collection.
    keywords: Option<Arc<Keywords>>,
    config: CascadeConfig,
}

impl Cascade {
    pub fn new(which: u8, documents: Arc<Shards>, config: CascadeConfig) -> Self {
        Self { which, documents, keywords: None, config }
    }

    /// Takes BM25 from an inverted index.
    #[must_use]
    pub fn with_keywords(self, keywords: Option<Arc<Keywords>>) -> Self {
        Self { keywords, ..self }
    }

    /// How many of the nearest documents it starts from.
    #[must_use]
    pub fn breadth(&self) -> usize {
        self.config.stage_top_k[0] as usize
    }

    /// What leaves, of the nearest documents to a query with this text.
    #[must_use]
    pub fn run(&self, text: &str, nearest: Vec<Hit>, carried: &Carried<'_>) -> Vec<VdbHit> {
        let terms: Vec<u64> = token_hashes(text);
        let mut all: Vec<VdbHit> = Vec::new();
        let mut survivors = nearest;
        for stage in 0..4u8 {
            let config = &self.config;
            survivors.sort_by(Hit::best_first);
            survivors.truncate(config.stage_top_k[usize::from(stage)] as usize);
            let mut hits: Vec<VdbHit> = survivors.iter().map(|hit| self.hit(*hit, stage + 1)).collect();
            if let Some(&keep) = config.stage_keep.get(usize::from(stage)) {
                let cut = config.cut + config.cut_step * f64::from(stage);
                hits.retain(|hit| hit.score >= cut);
                self.rerank(text, &terms, &mut hits, carried);
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
    fn rerank(&self, text: &str, terms: &[u64], hits: &mut [VdbHit], carried: &Carried<'_>) {
        if terms.is_empty() {
            return;
        }
        let mut keywords = if let Some(keywords) = &self.keywords {
            let query = keywords.query(text);
            let score = |doc: DocRef| match carried.get(doc) {
                Some(document) => document.keyword,
                None => keywords.score(&query, doc.row),
            };
            hits.iter().map(|hit| score(hit.doc)).collect()
        } else {
            // All of them came along, or none did.
            let along: Vec<Vec<Term>> =
                hits.iter().filter_map(|hit| Some(carried.get(hit.doc)?.terms())).collect();
            let here = hits.iter().map(|hit| self.documents.find(hit.doc.row));
            let docs: Vec<DocTerms<'_>> = match along.is_empty() {
                true => here.map(|(index, row)| index.doc_terms(row)).collect(),
                false => along.iter().map(|terms| DocTerms::of(terms)).collect(),
            };
            match self.config.corpus_idf {
                true => self.config.bm25.over_corpus(terms, &docs, &*self.documents),
                false => self.config.bm25.among_candidates(terms, &docs),
            }
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
