//! What vectors found and what keywords found, as one ranking.
//!
//! Both retrieve: the candidates are the documents nearest to the query and the best by BM25 over the whole
//! collection. Every candidate has both scores, whoever found it, and they are added up:
//!
//! `score = (1 - w) (cos - least) / (greatest - least) + w BM25 / greatest BM25`
//!
//! over the candidates. BM25 has a natural 0; the cosines of an encoder have none, so theirs is that of the worst
//! candidate. Adding scores keeps what ranks throw away, by how much one document is better than the next, and its
//! one weight says how far an encoder is to be trusted (Bruch, Gai and Ingber, "An Analysis of Fusion Functions for
//! Hybrid Retrieval", 2023). Reciprocal ranks know no such weight: with the hash embedder, which sees the same words
//! as BM25 and less well, half of the say would be the worse half's.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::index::{Keywords, Shards};
use crate::operator::OperatorError;
use crate::text::bm25;
use crate::vector::{self, Hit};
use crate::wl4::carried::Carried;
use crate::wl4::records::{DocRef, VdbHit};
use crate::wl4::views::QueryView;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Found {
    /// By cosine.
    pub nearest: Vec<Hit>,
    /// By BM25.
    pub by_keywords: Vec<Hit>,
}

impl Found {
    /// The numbers of all documents in it, each once.
    #[must_use]
    pub fn numbers(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.nearest.iter().chain(&self.by_keywords).map(|hit| hit.row).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Adds what another shard found.
    pub fn extend(&mut self, other: Self) {
        self.nearest.extend(other.nearest);
        self.by_keywords.extend(other.by_keywords);
    }
}

/// Parameters of the fusion.
#[derive(Debug, Clone, Copy)]
pub struct FusionConfig {
    /// Most documents that each of the two brings.
    pub breadth: usize,
    /// Least cosine of a document that keywords did not find.
    pub cut: f64,
    /// Most documents that leave.
    pub top_k: usize,
    /// Weight of BM25, 0 to 1.
    pub keyword_share: f64,
    /// Whether a document may be there in parts: its best part stands for it then.
    pub in_parts: bool,
}

/// The fusion over one vector database.
pub struct Fusion {
    /// 0 or 1.
    which: u8,
    documents: Arc<Shards>,
    keywords: Arc<Keywords>,
    config: FusionConfig,
}

impl Fusion {
    pub fn new(which: u8, documents: Arc<Shards>, keywords: Arc<Keywords>, config: FusionConfig) -> Self {
        Self { which, documents, keywords, config }
    }

    /// What leaves, best first.
    ///
    /// # Errors
    /// When the query has no vector.
    pub fn run(
        &self,
        query: &QueryView<'_>,
        found: Found,
        carried: &Carried<'_>,
    ) -> Result<Vec<VdbHit>, OperatorError> {
        let (dims, norm2) = query.vector()?;
        let candidates = self.candidates(found, carried);
        let cosine = |&number: &u32| {
            let (other, other_norm2) = match carried.get(self.doc(number)) {
                Some(document) => document.vector(),
                None => {
                    let (index, row) = self.documents.find(number);
                    (index.row(row), index.norm2(row))
                }
            };
            vector::cosine(vector::dot(dims, other), norm2, other_norm2)
        };
        let cosines: Vec<f64> = candidates.iter().map(cosine).collect();
        let asked = self.keywords.query(query.text);
        let keyword = |&number: &u32| match carried.get(self.doc(number)) {
            Some(document) => document.keyword,
            None => self.keywords.score(&asked, number),
        };
        let mut keywords: Vec<f64> = candidates.iter().map(keyword).collect();
        bm25::normalise(&mut keywords);
        let fused = stretched(&cosines).into_iter().zip(keywords).map(|(cosine, keyword)| {
            // 0 counts as unset where hits are merged, and the worst candidate may have it.
            bm25::blend(cosine, keyword, self.config.keyword_share).max(f64::MIN_POSITIVE)
        });
        let hit = |((number, score), fused): ((u32, f64), f64)| VdbHit {
            doc: self.doc(number),
            score,
            rerank: Some(fused),
            stage: 1,
        };
        let mut hits: Vec<VdbHit> = candidates.into_iter().zip(cosines).zip(fused).map(hit).collect();
        hits.sort_by(|a, b| b.merged_score().total_cmp(&a.merged_score()).then(a.doc.cmp(&b.doc)));
        self.keep_the_first_of_each(&mut hits, |hit| hit.doc.row, carried);
        hits.truncate(self.config.top_k);
        Ok(hits)
    }

    fn doc(&self, number: u32) -> DocRef {
        DocRef { vdb: self.which, row: number }
    }

    /// Of the parts of a document the first.
    fn keep_the_first_of_each<T>(
        &self,
        hits: &mut Vec<T>,
        number: impl Fn(&T) -> u32,
        carried: &Carried<'_>,
    ) {
        if !self.config.in_parts {
            return;
        }
        let mut seen: HashSet<&str> = HashSet::new();
        hits.retain(|hit| {
            seen.insert(match carried.get(self.doc(number(hit))) {
                Some(document) => document.id,
                None => {
                    let (index, row) = self.documents.find(number(hit));
                    index.id(row)
                }
            })
        });
    }

    /// Every document that either found, once. Of what several shards found only the best of all count, so that
    /// the candidates do not depend on the shards.
    fn candidates(&self, found: Found, carried: &Carried<'_>) -> Vec<u32> {
        let best = |mut hits: Vec<Hit>| {
            hits.sort_by(Hit::best_first);
            self.keep_the_first_of_each(&mut hits, |hit| hit.row, carried);
            hits.truncate(self.config.breadth);
            hits
        };
        let nearest = best(found.nearest).into_iter().filter(|hit| hit.score >= self.config.cut);
        let mut all: Vec<u32> = nearest.chain(best(found.by_keywords)).map(|hit| hit.row).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Stretched so that the least is 0 and the greatest 1; all 0 where they are equal.
fn stretched(scores: &[f64]) -> Vec<f64> {
    let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = greatest - least;
    scores.iter().map(|score| if width > 0.0 { (score - least) / width } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Index, IndexDoc, build, postings};
    use crate::text::bm25::Bm25;
    use crate::text::embed::{Embedder, TopicEmbedder};
    use crate::text::stemming::Stemming;
    use crate::text::synthetic::DocMeta;
    use crate::text::vocabulary::{Category, QueryType};
    use crate::wl4::records::Query;

    const TEXTS: [&str; 4] = ["lift of heated wings", "flow past flat plates", "plates and wings", "music"];

    /// The rows of what is found for a question whose vector is that of the second text, and their fused scores.
    fn found(question: &str, breadth: usize, keyword_share: f64) -> Vec<(u32, f64)> {
        let folder = tempfile::tempdir().unwrap();
        let (path, embedder) = (folder.path().join("a.idx"), TopicEmbedder::new(64, 1.0, 0));
        let docs = TEXTS.iter().map(|text| IndexDoc {
            id: (*text).into(),
            text: (*text).into(),
            meta: DocMeta::plain(Category::General, "corpus"),
        });
        build(&path, 64, "", docs, &embedder).unwrap();
        let inverted = postings::path(&path, Stemming::English);
        postings::build(&inverted, &Index::open(&path).unwrap(), Stemming::English).unwrap();
        let documents = Arc::new(Shards::open(folder.path(), "a", 1).unwrap());
        let keywords = Arc::new(Keywords::open([path], Stemming::English, Bm25::default()).unwrap());
        let query = postcard::to_stdvec(&Query {
            id: "q".into(),
            text: question.into(),
            query_type: QueryType::Factual,
            category: Category::General,
            docs_before: 0,
            embedding: embedder.embed(&[TEXTS[1]]).unwrap().pop(),
        })
        .unwrap();
        let query: QueryView<'_> = postcard::from_bytes(&query).unwrap();
        let (dims, norm2) = query.vector().unwrap();
        let index = documents.shard(0);
        let cosine = |row: u32| {
            let row = row as usize;
            vector::cosine(vector::dot(dims, index.row(row)), norm2, index.norm2(row))
        };
        let mut nearest: Vec<Hit> = (0..4).map(|row| Hit { row, score: cosine(row) }).collect();
        nearest.sort_by(Hit::best_first);
        let asked = keywords.query(question);
        let by_keywords = keywords.best(0, &asked, breadth, &mut postings::Sums::default());
        let config = FusionConfig { breadth, cut: 0.0, top_k: 4, keyword_share, in_parts: false };
        let fusion = Fusion::new(0, documents, keywords, config);
        let hits = fusion.run(&query, Found { nearest, by_keywords }, &Carried::nothing()).unwrap();
        hits.iter().map(|hit| (hit.doc.row, hit.merged_score())).collect()
    }

    #[test]
    fn what_only_keywords_find_is_found_and_their_share_decides() {
        let rows = |share| found("heating a wing", 1, share).iter().map(|hit| hit.0).collect::<Vec<_>>();
        assert_eq!(rows(0.9), [0, 1]);
        assert_eq!(rows(0.1), [1, 0]);
    }

    #[test]
    fn a_question_without_known_words_keeps_the_order_by_cosine() {
        let found = found("zymurgy", 3, 0.9);
        assert_eq!(found[0].0, 1);
        assert!(found.iter().all(|hit| hit.1 > 0.0), "{found:?}");
        assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{found:?}");
    }

    #[test]
    fn scores_are_stretched_to_their_range() {
        assert_eq!(stretched(&[0.5, 0.25, 0.75]), [0.5, 0.0, 1.0]);
        assert_eq!(stretched(&[0.5, 0.5]), [0.0, 0.0]);
        assert!(stretched(&[]).is_empty());
    }
}
