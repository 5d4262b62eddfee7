//! Records as operators read them: borrowed from their frame, and no further than is of interest.
//!
//! Fields stand one after the other in an encoded record, so what an operator does not change passes on as the bytes
//! it came in. Of a query's 5 KB most are the walk through the graph memory, which nobody after it takes apart.

use std::fmt;
use std::marker::PhantomData;

use bench_dataflow::frame::Frame;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::operator::OperatorError;
use crate::text::vocabulary::{Category, QueryType};
use crate::vector::{self, MAX_DIMENSION};

/// A [`Query`](super::records::Query).
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct QueryView<'a> {
    pub id: &'a str,
    pub text: &'a str,
    pub query_type: QueryType,
    pub category: Category,
    pub docs_before: u64,
    embedding: Option<&'a [u8]>,
}

impl<'a> QueryView<'a> {
    /// The query's vector and the square of its length.
    ///
    /// # Errors
    /// When it has none, or one that is too long to be true.
    pub fn vector(&self) -> Result<(&'a [i8], u32), OperatorError> {
        let bytes = self.embedding.ok_or(OperatorError("the query has no embedding".into()))?;
        if bytes.len() > MAX_DIMENSION {
            return Err(OperatorError(format!("the query's embedding has {} dimensions", bytes.len())));
        }
        let dims: &[i8] = bytemuck::cast_slice(bytes);
        Ok((dims, vector::norm2(dims)))
    }
}

/// An [`Enriched`](super::records::Enriched) query: what is read of it, and the bytes it came in.
#[derive(Debug, Clone, Copy)]
pub struct EnrichedView<'a> {
    pub query: QueryView<'a>,
    pub semantic_score: f64,
    /// How many documents of the window matched.
    pub matches: usize,
    /// How many nodes of the graph memory were visited.
    pub visited: usize,
    joined: &'a [u8],
    graph: &'a [u8],
}

impl<'a> EnrichedView<'a> {
    /// The joined query, encoded.
    #[must_use]
    pub fn joined(&self) -> &'a [u8] {
        self.joined
    }

    /// What the graph memory recalled, encoded.
    #[must_use]
    pub fn graph(&self) -> &'a [u8] {
        self.graph
    }

    /// The nodes that were visited, in order.
    pub fn hits(&self) -> impl Iterator<Item = GraphHitView<'a>> {
        let mut rest = postcard::take_from_bytes::<usize>(self.graph).map_or(&[][..], |(_, rest)| rest);
        // Whole, because it was taken apart once to find its end.
        (0..self.visited).map_while(move |_| {
            let (mut hit, left) = postcard::take_from_bytes::<GraphHitView<'a>>(rest).ok()?;
            hit.bytes = &rest[..rest.len() - left.len()];
            rest = left;
            Some(hit)
        })
    }
}

/// A [`GraphHit`](super::records::GraphHit).
#[derive(Debug, Clone, Copy, Deserialize)]
#[expect(dead_code, reason = "some fields are read to find where they end")]
pub struct GraphHitView<'a> {
    pub node: u32,
    depth: u32,
    pub relevance: f64,
    path: Passed<u32>,
    /// Its encoding.
    #[serde(skip)]
    pub bytes: &'a [u8],
}

#[derive(Deserialize)]
struct JoinedView<'a> {
    #[serde(borrow)]
    query: QueryView<'a>,
    matches: Passed<MatchView<'a>>,
    semantic_score: f64,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read to find where it ends")]
struct MatchView<'a> {
    doc_id: &'a str,
    similarity: f64,
}

/// A sequence that is only passed over: how long it is.
#[derive(Debug, Clone, Copy)]
struct Passed<T>(usize, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Passed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Over<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Over<T> {
            type Value = usize;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<usize, A::Error> {
                let mut length = 0;
                while seq.next_element::<T>()?.is_some() {
                    length += 1;
                }
                Ok(length)
            }
        }
        from.deserialize_seq(Over(PhantomData::<T>)).map(|length| Self(length, PhantomData))
    }
}

/// What the body of a frame begins with, and what follows. Whoever reads the rest finds out whether it is right.
///
/// # Errors
/// When it begins with something else: the record went to the wrong port.
pub fn start<'a, T: Deserialize<'a>>(frame: &Frame<'a>) -> Result<(T, &'a [u8]), OperatorError> {
    taken(frame.header.seq, frame.body)
}

/// The query that every record until the batches begins with.
///
/// # Errors
/// As [`start`].
pub fn query<'a>(frame: &Frame<'a>) -> Result<QueryView<'a>, OperatorError> {
    start(frame).map(|(query, _)| query)
}

/// The encoded joined query that the body of a frame begins with.
///
/// # Errors
/// As [`start`].
pub fn joined<'a>(frame: &Frame<'a>) -> Result<(QueryView<'a>, &'a [u8]), OperatorError> {
    let (joined, rest) = start::<JoinedView<'a>>(frame)?;
    Ok((joined.query, &frame.body[..frame.body.len() - rest.len()]))
}

/// The enriched query at the beginning of `body`, which is in record `seq`, and what follows.
///
/// # Errors
/// As [`start`].
pub fn enriched(seq: u64, body: &[u8]) -> Result<(EnrichedView<'_>, &[u8]), OperatorError> {
    let (joined, graph) = taken::<JoinedView<'_>>(seq, body)?;
    let (visited, rest) = taken::<Passed<GraphHitView<'_>>>(seq, graph)?;
    let view = EnrichedView {
        query: joined.query,
        semantic_score: joined.semantic_score,
        matches: joined.matches.0,
        visited: visited.0,
        joined: &body[..body.len() - graph.len()],
        graph: &graph[..graph.len() - rest.len()],
    };
    Ok((view, rest))
}

/// A value at the beginning of what is left of record `seq`, and what follows.
///
/// # Errors
/// As [`start`].
pub fn taken<'a, T: Deserialize<'a>>(seq: u64, body: &'a [u8]) -> Result<(T, &'a [u8]), OperatorError> {
    postcard::take_from_bytes(body)
        .map_err(|cause| OperatorError(format!("record {seq} cannot be decoded: {cause}")))
}

/// Appends a value to an encoded record.
///
/// # Errors
/// When it cannot be encoded.
pub fn append(body: Vec<u8>, value: &impl Serialize) -> Result<Vec<u8>, OperatorError> {
    postcard::to_extend(value, body).map_err(OperatorError::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::quantise;
    use crate::wl4::records::{Enriched, GraphHit, Joined, Match, Query};

    fn record(dim: usize, visited: u32) -> Enriched {
        let query = Query {
            id: "q_000001".into(),
            text: "where is größe".into(),
            query_type: QueryType::Factual,
            category: Category::General,
            docs_before: 300,
            embedding: (dim > 0).then(|| quantise(&vec![0.5; dim])),
        };
        let matches = vec![Match { doc_id: "d_7".into(), similarity: 0.75 }; 3];
        let hit = |node| GraphHit {
            node,
            depth: node % 4,
            relevance: f64::from(node) / 7.0,
            path: (0..=node % 4).map(|step| step * 1000).collect(),
        };
        Enriched {
            joined: Joined { query, matches, semantic_score: 0.5 },
            graph: (0..visited).map(hit).collect(),
        }
    }

    #[test]
    fn a_view_says_what_the_record_says_and_where_it_ends() {
        for (dim, visited) in [(0, 0), (8, 1), (1024, 200)] {
            let record = record(dim, visited);
            let mut body = postcard::to_stdvec(&record).unwrap();
            let length = body.len();
            body.extend_from_slice(b"more");
            let (view, rest) = enriched(1, &body).unwrap();
            assert_eq!(rest, b"more");
            assert_eq!([view.joined(), view.graph()].concat(), body[..length]);
            assert_eq!(
                (view.query.text, view.matches, view.visited),
                ("where is größe", 3, visited as usize)
            );
            assert_eq!(view.joined(), postcard::to_stdvec(&record.joined).unwrap());
            for (hit, expected) in view.hits().zip(&record.graph) {
                assert_eq!((hit.node, hit.relevance), (expected.node, expected.relevance));
                assert_eq!(hit.bytes, postcard::to_stdvec(expected).unwrap());
            }
            assert_eq!(view.hits().count(), visited as usize);
            match record.joined.query.embedding {
                Some(vector) => assert_eq!(view.query.vector().unwrap(), (&vector.dims[..], vector.norm2)),
                None => assert!(view.query.vector().is_err()),
            }
        }
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_an_error() {
        let body = postcard::to_stdvec(&record(8, 3)).unwrap();
        for length in 0..body.len() {
            assert!(enriched(1, &body[..length]).is_err(), "{length}");
        }
    }
}
