//! What every workload has: queries and documents from the sources, batches on the way, answers for the sink.
//! Encoded with postcard.

use bench_dataflow::frame::{Frame, frames};
use serde::{Deserialize, Serialize};

use crate::parameters::{GOAL_TPOT, GOAL_TTFT, Values};
use crate::text::endpoint::MOST_PIECES;
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

/// How a language model was heard for one answer. It follows the answer in a record, and is no part of the
/// answer's digest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Call {
    /// From the question to the last byte, other attempts and pauses between them included, in microseconds.
    pub latency_us: u64,
    /// To the first token and to the last, where the answer came in pieces.
    pub first_us: Option<u64>,
    pub last_us: Option<u64>,
    /// Between one piece and the next.
    pub gaps_us: Vec<u32>,
    /// What the service counted, where it tells.
    pub prompt_tokens: Option<u32>,
    pub completion_tokens: Option<u32>,
}

impl Call {
    /// What follows an answer in its record, if a model was called.
    #[must_use]
    pub fn after(answer: &[u8]) -> Option<Self> {
        if answer.is_empty() {
            return None;
        }
        postcard::from_bytes(answer).ok().filter(|call: &Self| call.gaps_us.len() < MOST_PIECES)
    }

    /// Whether what is said of it can be: none of its times is longer than `waited_us`, and none comes before the one
    /// before.
    #[must_use]
    pub fn is_possible(&self, waited_us: u64) -> bool {
        let in_order = match (self.first_us, self.last_us) {
            (None, None) => self.gaps_us.is_empty(),
            (Some(first), Some(last)) => {
                let gaps = self.gaps_us.iter().fold(0_u64, |sum, gap| sum.saturating_add((*gap).into()));
                first <= last
                    && last <= self.latency_us
                    && gaps <= last.saturating_add(self.gaps_us.len() as u64)
            }
            _ => false,
        };
        in_order && self.latency_us <= waited_us
    }

    /// Time for each token after the first, in microseconds.
    #[must_use]
    pub fn per_token_us(&self) -> Option<u64> {
        let more = self.completion_tokens?.checked_sub(1).filter(|more| *more > 0)?;
        Some(self.last_us?.checked_sub(self.first_us?)? / u64::from(more))
    }
}

/// What is wanted of an answer of a language model, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Goals {
    /// To the first token.
    pub ttft_ms: Option<f64>,
    /// For each further one.
    pub tpot_ms: Option<f64>,
}

impl Goals {
    /// Those of a run with these parameters.
    #[must_use]
    pub fn of(params: &Values) -> Self {
        let goal = |name| params.get(name).and_then(serde_json::Value::as_f64);
        Self { ttft_ms: goal(GOAL_TTFT), tpot_ms: goal(GOAL_TPOT) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        let (first_us, last_us) = (Some(200), Some(900));
        let gaps_us = vec![300, 400];
        Call {
            latency_us: 1_000,
            first_us,
            last_us,
            gaps_us,
            prompt_tokens: Some(7),
            completion_tokens: Some(8),
        }
    }

    fn after(call: &Call) -> Option<Call> {
        Call::after(&postcard::to_stdvec(call).unwrap())
    }

    #[test]
    fn a_call_follows_its_answer_or_does_not() {
        assert_eq!(after(&call()), Some(call()));
        assert_eq!(Call::after(b""), None);
    }

    #[test]
    fn a_call_has_no_more_pieces_than_are_kept() {
        let of = |gaps| Call { gaps_us: vec![1; gaps], ..call() };
        assert!(after(&of(MOST_PIECES - 1)).is_some());
        assert_eq!(after(&of(MOST_PIECES)), None);
    }

    #[test]
    fn times_that_cannot_be_are_refused() {
        let wrong = [
            (call(), 999),
            (Call { first_us: Some(901), ..call() }, 1_000),
            (Call { last_us: Some(1_001), ..call() }, 5_000),
            (Call { last_us: None, ..call() }, 5_000),
            (Call { gaps_us: vec![800, 800], ..call() }, 5_000),
            (Call { first_us: None, last_us: None, ..call() }, 5_000),
        ];
        assert!(call().is_possible(1_000));
        for (call, waited) in wrong {
            assert!(!call.is_possible(waited), "{call:?}");
        }
    }

    #[test]
    fn the_time_of_a_token_is_that_of_those_after_the_first() {
        assert_eq!(call().per_token_us(), Some(100));
        for unknown in [Some(1), Some(0), None] {
            assert_eq!(Call { completion_tokens: unknown, ..call() }.per_token_us(), None);
        }
    }
}
