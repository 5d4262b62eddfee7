//! What travels along the edges of Workload4, encoded with postcard.
//!
//! Documents of the two vector databases and nodes of the graph memory travel as references into
//! the memory-mapped indexes that every worker shares, not as copies of text and vectors.

use serde::{Deserialize, Serialize};

use crate::operator::OperatorError;

pub use crate::records::{Answer, Batch, Call, Counts, Doc, Query, Reference};

/// A document of the window that matched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Match {
    pub doc_id: String,
    pub similarity: f64,
}

/// A query with its matches, best first. No match is a result too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    pub query: Query,
    pub matches: Vec<Match>,
    /// Mean similarity of the matches; 0 without any.
    pub semantic_score: f64,
}

/// A node that the walk through the graph memory visited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GraphHit {
    pub node: u32,
    pub depth: u32,
    pub relevance: f64,
    /// Nodes from the start of the walk to this one.
    pub path: Vec<u32>,
}

/// A joined query with what the graph memory recalled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enriched {
    pub joined: Joined,
    pub graph: Vec<GraphHit>,
}

/// A document of one of the vector databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DocRef {
    /// 0 for `vdb1`, 1 for `vdb2`.
    pub vdb: u8,
    /// Its number in the database, whatever shard it is in.
    pub row: u32,
}

/// A document that a vector database returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VdbHit {
    pub doc: DocRef,
    /// Cosine with the query.
    pub score: f64,
    /// Blend of cosine and BM25, from the last stage that reranked the document.
    pub rerank: Option<f64>,
    /// Last stage that the document reached, 1 to 4.
    pub stage: u8,
}

impl VdbHit {
    /// What hits are sorted by when stages and databases are merged.
    #[must_use]
    pub fn merged_score(&self) -> f64 {
        self.rerank.filter(|score| *score != 0.0).unwrap_or(self.score)
    }
}

/// What one vector database found. The enriched query rides with `vdb1`'s half only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VdbResults {
    pub source: Option<Enriched>,
    pub hits: Vec<VdbHit>,
}

impl VdbResults {
    /// The encoded record, around a query that is encoded already: nothing of it has to be looked at.
    ///
    /// # Errors
    /// When the hits cannot be encoded.
    pub fn encode(source: Option<&[u8]>, hits: &[VdbHit]) -> Result<Vec<u8>, OperatorError> {
        let mut body = Vec::with_capacity(source.map_or(0, <[u8]>::len) + 32 * hits.len() + 8);
        body.push(u8::from(source.is_some()));
        body.extend_from_slice(source.unwrap_or_default());
        postcard::to_extend(hits, body).map_err(OperatorError::new)
    }
}

/// Both halves, merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    pub enriched: Enriched,
    /// Union by document id, best first.
    pub hits: Vec<VdbHit>,
    pub counts: Counts,
}

/// Candidates after deduplication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deduped {
    pub enriched: Enriched,
    pub hits: Vec<VdbHit>,
    /// Whether `hits[i]` stands for a cluster, or is noise.
    pub clustered: Vec<bool>,
    /// Merged ranking before deduplication: what the retrieval stage is judged by.
    pub retrieved: Vec<DocRef>,
    pub counts: Counts,
}

/// The five dimensions of the reranker.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Breakdown {
    pub semantic: f64,
    pub freshness: f64,
    pub diversity: f64,
    pub authority: f64,
    pub coverage: f64,
}

/// A document in the final ranking; its rank is its position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedDoc {
    pub doc: DocRef,
    pub score: f64,
    pub breakdown: Breakdown,
}

/// A query with its final ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    pub enriched: Enriched,
    pub ranked: Vec<RankedDoc>,
    pub retrieved: Vec<DocRef>,
    pub counts: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::vocabulary::{Category, QueryType};

    #[test]
    fn results_around_an_encoded_query_are_the_record() {
        let query = Query {
            id: "q_000001".into(),
            text: "where".into(),
            query_type: QueryType::Factual,
            category: Category::General,
            docs_before: 300,
            embedding: None,
        };
        let joined = Joined { query, matches: Vec::new(), semantic_score: 0.0 };
        let graph = vec![GraphHit { node: 3, depth: 1, relevance: 0.5, path: vec![2, 3] }];
        let source = Enriched { joined, graph };
        let hit = VdbHit { doc: DocRef { vdb: 1, row: 700 }, score: 0.25, rerank: Some(0.5), stage: 3 };
        let inner = postcard::to_stdvec(&source).unwrap();
        for (source, inner) in [(Some(source), Some(inner.as_slice())), (None, None)] {
            let whole = VdbResults { source, hits: vec![hit.clone(), hit.clone()] };
            let bytes = VdbResults::encode(inner, &whole.hits).unwrap();
            assert_eq!(bytes, postcard::to_stdvec(&whole).unwrap());
        }
    }
}
