//! Sends each query to every search.
//!
//! The copy for `vdb1` carries everything found so far; the others only what their search reads, because
//! the parts meet again in the merge and one copy is enough.

use bench_dataflow::frame::Frame;

use crate::operator::{Operator, OperatorError, Output};
use crate::wl4::merge;
use crate::wl4::records::{GraphHit, Match};
use crate::wl4::views::{self, QueryView};

/// What arrives: an enriched query, or one that has yet to be given an empty context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arriving {
    /// A query as its embedder leaves it.
    Query,
    /// A query from the window join.
    Joined,
    /// A query from the graph memory.
    Enriched,
}

/// The fork operator. Its ports are the searches', as in [`merge`].
pub struct Fork {
    ports: Vec<u8>,
    /// What turns the arriving body into a joined query, encoded; then what makes that an enriched one.
    missing: [Vec<u8>; 2],
}

impl Fork {
    pub fn new(arriving: Arriving, ports: Vec<u8>) -> Self {
        let no_matches: (Vec<Match>, f64) = (Vec::new(), 0.0);
        let no_graph: Vec<GraphHit> = Vec::new();
        let join = postcard::to_stdvec(&no_matches).expect("plain data");
        let graph = postcard::to_stdvec(&no_graph).expect("plain data");
        let missing = match arriving {
            Arriving::Query => [join, graph],
            Arriving::Joined => [Vec::new(), graph],
            Arriving::Enriched => [Vec::new(), Vec::new()],
        };
        Self { ports, missing }
    }
}

impl Operator for Fork {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        let [join, graph] = &self.missing;
        for input in inputs {
            for &port in &self.ports {
                match port {
                    merge::VDB1 => {
                        output.emit_bytes(*input, port, &[input.body, join, graph].concat(), None)?;
                    }
                    merge::GRAPH => output.emit_bytes(*input, port, &[input.body, join].concat(), None)?,
                    // Whatever arrives begins with the query itself.
                    _ => {
                        let (_, rest) = views::start::<QueryView<'_>>(input)?;
                        let query = &input.body[..input.body.len() - rest.len()];
                        output.emit_bytes(*input, port, query, None)?;
                    }
                }
            }
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
    use crate::testing::{Harness, header};
    use crate::text::vocabulary::{Category, QueryType};
    use crate::wl4::records::{Enriched, Joined, Query};

    fn query() -> Query {
        Query {
            id: "q_000000".into(),
            text: "why".into(),
            query_type: QueryType::Factual,
            category: Category::General,
            docs_before: 0,
            embedding: None,
        }
    }

    #[test]
    fn a_bare_query_gets_an_empty_context() {
        let joined = Joined { query: query(), matches: vec![], semantic_score: 0.0 };
        let enriched = Enriched { joined: joined.clone(), graph: vec![] };
        let mut fork = Harness::new(Fork::new(Arriving::Query, vec![merge::VDB1]));
        assert_eq!(fork.send::<Enriched>(header(0, 0), &query()), std::slice::from_ref(&enriched));
        let mut fork = Harness::new(Fork::new(Arriving::Query, vec![merge::GRAPH]));
        assert_eq!(fork.send::<Joined>(header(0, 0), &query()), std::slice::from_ref(&joined));
        let mut fork = Harness::new(Fork::new(Arriving::Joined, vec![merge::VDB1]));
        assert_eq!(fork.send::<Enriched>(header(0, 0), &joined), [enriched]);
    }
}
