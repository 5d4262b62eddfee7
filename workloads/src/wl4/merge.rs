//! Brings the two halves of a query together again: an inner join by query id.

use std::collections::HashMap;

use bench_dataflow::frame::{Frame, Kind, own_spans};

use crate::operator::{Kept, Operator, OperatorError, Output, decode};
use crate::wl4::records::{Candidates, Counts, VdbHit, VdbResults};

/// Input port of `vdb1`'s results.
pub const VDB1: u8 = 0;
/// Input port of `vdb2`'s results.
pub const VDB2: u8 = 1;

/// How two hits of the same document are recognised: their document ids.
pub type SameDocument = Box<dyn Fn(&VdbHit) -> String + Send>;

/// The merge operator.
pub struct Merge {
    top_k: usize,
    id: SameDocument,
    halves: HashMap<u64, Kept>,
}

impl Merge {
    pub fn new(top_k: usize, id: SameDocument) -> Self {
        Self { top_k, id, halves: HashMap::new() }
    }

    fn pair(
        &mut self,
        first: Frame<'_>,
        second: Frame<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), OperatorError> {
        // Failed or a heartbeat: one of the two stands for both.
        for half in [first, second] {
            if half.header.kind != Kind::Data {
                output.forward(half);
                return Ok(());
            }
        }
        let mut one: VdbResults = decode(&first)?;
        let two: VdbResults = decode(&second)?;
        let enriched = one.source.take().ok_or(OperatorError("the first half lacks its query".into()))?;
        let counts = Counts {
            join_matched_docs: enriched.joined.matches.len() as u32,
            graph_nodes_visited: enriched.graph.len() as u32,
            vdb1_results: one.hits.len() as u32,
            vdb2_results: two.hits.len() as u32,
            ..Counts::default()
        };
        let mut hits = union([one.hits, two.hits].concat(), &self.id);
        hits.truncate(self.top_k);
        output.adopt(own_spans(first.spans, second.spans));
        output.emit(first, 0, &Candidates { enriched, hits, counts })
    }
}

/// Union by document id, keeping the higher cosine, sorted by merged score; ties by document.
fn union(mut hits: Vec<VdbHit>, id: &dyn Fn(&VdbHit) -> String) -> Vec<VdbHit> {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.doc.cmp(&b.doc)));
    let mut seen = std::collections::HashSet::new();
    hits.retain(|hit| seen.insert(id(hit)));
    hits.sort_by(|a, b| b.merged_score().total_cmp(&a.merged_score()).then(a.doc.cmp(&b.doc)));
    hits
}

impl Operator for Merge {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            let seq = input.header.seq;
            match self.halves.remove(&seq) {
                None => {
                    self.halves.insert(seq, Kept::from(*input));
                }
                // The same half again, after a retry.
                Some(half) if half.header.port == input.header.port => {
                    self.halves.insert(seq, half);
                }
                Some(half) if input.header.port == VDB2 => self.pair(half.frame(), *input, output)?,
                Some(half) => self.pair(*input, half.frame(), output)?,
            }
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), OperatorError> {
        for (_, half) in self.halves.drain() {
            output.fail(half.frame(), "the other half never arrived");
        }
        Ok(())
    }

    fn sees_every_frame(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use bench_dataflow::frame::Header;

    use super::*;
    use crate::testing::{Harness, header};
    use crate::text::vocabulary::{Category, QueryType};
    use crate::wl4::records::{DocRef, Enriched, Joined, Query};

    fn source() -> Enriched {
        let query = Query {
            id: "q_000000".into(),
            text: String::new(),
            query_type: QueryType::Factual,
            category: Category::General,
            docs_before: 0,
            embedding: None,
        };
        Enriched { joined: Joined { query, matches: vec![], semantic_score: 0.0 }, graph: vec![] }
    }

    fn hit(vdb: u8, row: u32, score: f64, rerank: Option<f64>) -> VdbHit {
        VdbHit { doc: DocRef { vdb, row }, score, rerank, stage: 1 }
    }

    /// A merge where document ids are row numbers, so that both databases can hold one document.
    fn merge() -> Harness {
        Harness::new(Merge::new(3, Box::new(|hit| hit.doc.row.to_string())))
    }

    fn halves() -> [(Header, VdbResults); 2] {
        let one = VdbResults {
            source: Some(source()),
            hits: vec![hit(0, 1, 0.9, Some(0.5)), hit(0, 2, 0.8, None)],
        };
        let two = VdbResults {
            source: None,
            hits: vec![hit(1, 1, 0.7, Some(0.99)), hit(1, 3, 0.6, Some(0.7)), hit(1, 4, 0.5, Some(0.0))],
        };
        [(header(VDB1, 0), one), (header(VDB2, 0), two)]
    }

    #[test]
    fn whichever_half_comes_first_the_result_is_the_same() {
        let [one, two] = halves();
        let mut forward = merge();
        assert!(forward.send::<Candidates>(one.0, &one.1).is_empty());
        let a = forward.send::<Candidates>(two.0, &two.1);
        let mut backward = merge();
        assert!(backward.send::<Candidates>(two.0, &two.1).is_empty());
        assert_eq!(a, backward.send::<Candidates>(one.0, &one.1));
        assert_eq!(a.len(), 1);
    }

    #[test]
    fn a_document_in_both_keeps_its_higher_cosine_and_the_best_are_kept() {
        let [one, two] = halves();
        let mut merge = merge();
        merge.send::<Candidates>(one.0, &one.1);
        let merged = merge.send::<Candidates>(two.0, &two.1).remove(0);
        // Row 1 keeps vdb1's hit (cosine 0.9, rerank 0.5); row 4's rerank of 0 counts as unset.
        let order: Vec<_> = merged.hits.iter().map(|hit| (hit.doc.vdb, hit.doc.row)).collect();
        assert_eq!(order, [(0, 2), (1, 3), (0, 1)]);
        assert_eq!((merged.counts.vdb1_results, merged.counts.vdb2_results), (2, 3));
    }

    #[test]
    fn a_failed_half_fails_the_query_once() {
        let [one, _] = halves();
        let mut merge = merge();
        merge.send::<Candidates>(one.0, &one.1);
        let out = merge.send_bytes(Header { kind: Kind::Failed, ..header(VDB2, 0) }, b"");
        assert_eq!(out.iter().map(|frame| frame.header.kind).collect::<Vec<_>>(), [Kind::Failed]);
    }

    #[test]
    fn a_half_that_stays_alone_fails_at_the_end() {
        let [one, _] = halves();
        let mut merge = merge();
        merge.send::<Candidates>(one.0, &one.1);
        assert_eq!(merge.finish()[0].header.kind, Kind::Failed);
    }
}
