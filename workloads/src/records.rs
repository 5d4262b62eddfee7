//! What every workload has: queries and documents from the sources, batches on the way, answers for the sink.
//! Encoded with postcard.

use bench_dataflow::frame::{Frame, frames};
use serde::{Deserialize, Serialize};

use crate::text::vocabulary::{Category, QueryType};
use crate::vector::Quantised;

/// A question. `embedding` is empty until it is embedded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    pub id: String,
    pub text: String,
    pub query_type: QueryType,
    pub category: Category,
    /// Documents of the stream with an event time not after the query's, prefill included: a
    /// join waits for exactly these.
    pub docs_before: u64,
    pub embedding: Option<Quantised>,
}

/// A document of the stream. `embedding` is empty until it is embedded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doc {
    pub id: String,
    pub text: String,
    pub category: Category,
    pub embedding: Option<Quantised>,
}

/// Records that travel as one, on the edges that a workload says carry batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The operator that closed it, and its number there.
    pub id: String,
    /// Absent where the batch is over all of them.
    pub category: Option<Category>,
    /// Event time at which the batch closed, in nanoseconds.
    pub closed_ns: i64,
    /// Frames, spans included.
    #[serde(with = "bytes")]
    pub items: Vec<u8>,
    /// Number of those frames.
    pub size: u32,
}

impl Batch {
    /// The batch that a record on an edge of batches is, whole: each of its members has to be answered for.
    #[must_use]
    pub fn of(record: &Frame<'_>) -> Option<Self> {
        let (batch, rest) = postcard::take_from_bytes::<Self>(record.body).ok()?;
        let whole = || frames(&batch.items).filter(Result::is_ok).count() == batch.size as usize;
        (rest.is_empty() && whole()).then_some(batch)
    }
}

/// What each stage did for one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub join_matched_docs: u32,
    pub vdb1_results: u32,
    pub vdb2_results: u32,
    pub graph_nodes_visited: u32,
    pub clusters_found: u32,
    pub duplicates_removed: u32,
    pub final_top_k: u32,
}

/// A source that the answer cites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub doc_id: String,
    pub source: String,
    /// At most 200 characters.
    pub snippet: String,
}

/// One finished query, as the sink receives it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Answer {
    pub query_id: String,
    pub response: String,
    pub references: Vec<Reference>,
    /// Share of the query's terms that the response covers, 0 to 1.
    pub quality_score: f64,
    pub prompt_tokens: u32,
    pub completion_tokens: u32,
    pub semantic_join_score: f64,
    /// Best final score; 0 without results.
    pub final_rerank_score: f64,
    /// Mean diversity of the final ranking.
    pub diversity_score: f64,
    /// Ids of the final ranking, best first.
    pub ranking: Vec<String>,
    /// Ids of the retrieval stage, best first; filled only when there are judgements to score it.
    pub retrieved: Vec<String>,
    pub counts: Counts,
    /// Documents of the stream that had been seen for this query.
    pub docs_seen: u64,
}

impl Answer {
    /// Whether its query met a document of the stream.
    #[must_use]
    pub fn met_documents(&self) -> bool {
        self.counts.join_matched_docs > 0
    }
}

/// Byte strings encode as one slice instead of element by element.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(from).map(<[u8]>::to_vec)
    }
}
