//! Brings the parts of a query together again: an inner join by query id, of one search to three.

use bench_dataflow::frame::{Frame, own_spans};

use crate::operator::{Operator, OperatorError, Output};
use crate::parts::Parts;
use crate::wl4::carried::{self, Carried};
use crate::wl4::records::{Counts, VdbHit, VdbResults};
use crate::wl4::views;

/// Input port of `vdb1`'s results, which carry the query.
pub const VDB1: u8 = 0;
/// Input port of `vdb2`'s results.
pub const VDB2: u8 = 1;
/// Input port of the graph memory's results, where that is a search of its own.
pub const GRAPH: u8 = 2;

/// How two hits of the same document are recognised: their document ids.
pub type SameDocument = Box<dyn Fn(&VdbHit, &Carried<'_>) -> String + Send>;

/// The merge operator.
pub struct Merge {
    of: usize,
    parts: Parts,
    top_k: usize,
    id: SameDocument,
}

impl Merge {
    /// A merge of `of` searches, `vdb1` among them.
    pub fn new(of: usize, top_k: usize, id: SameDocument) -> Self {
        Self { of, parts: Parts::new(of), top_k, id }
    }
}

/// `parts` are complete and in the order of their ports.
fn unite(
    parts: &[Frame<'_>],
    top_k: usize,
    id: &SameDocument,
    output: &mut Output<'_>,
) -> Result<(), OperatorError> {
    let first = parts[0];
    let seq = first.header.seq;
    let (has_source, rest) = views::taken::<bool>(seq, first.body)?;
    if !has_source {
        return Err(OperatorError("the first part lacks its query".into()));
    }
    let (source, rest) = views::enriched(seq, rest)?;
    let (mut hits, behind) = views::taken::<Vec<VdbHit>>(seq, rest)?;
    let mut along = Carried::read(seq, behind)?;
    let (mut graph, mut visited) = (source.graph(), source.visited);
    let mut counts = Counts { vdb1_results: hits.len() as u32, ..Counts::default() };
    for part in &parts[1..] {
        if part.header.port == GRAPH {
            let (recalled, _) = views::enriched(seq, part.body)?;
            (graph, visited) = (recalled.graph(), recalled.visited);
        } else {
            let (found, behind) = views::start::<VdbResults>(part)?;
            along.add(seq, behind)?;
            counts.vdb2_results = found.hits.len() as u32;
            hits.extend(found.hits);
        }
        output.adopt(part.header.seq, own_spans(first.spans, part.spans));
    }
    counts.join_matched_docs = source.matches as u32;
    counts.graph_nodes_visited = visited as u32;
    let mut hits = union(hits, &|hit| id(hit, &along));
    hits.truncate(top_k);
    let behind = along.of(hits.iter().map(|hit| hit.doc));
    // As `Candidates`.
    let body = views::append([source.joined(), graph].concat(), &(hits, counts))?;
    carried::emit(output, first, body, &behind)
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
        let (top_k, id) = (self.top_k, &self.id);
        inputs.iter().try_for_each(|input| {
            self.parts.take(*input, output, |parts, output| unite(parts, top_k, id, output))
        })
    }

    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), OperatorError> {
        self.parts.finish(output);
        Ok(())
    }

    fn sees_every_frame(&self) -> bool {
        self.of > 1
    }
}

#[cfg(test)]
mod tests {
    use bench_dataflow::frame::{Header, Kind};

    use super::*;
    use crate::testing::{Harness, header};
    use crate::text::vocabulary::{Category, QueryType};
    use crate::wl4::records::{Candidates, DocRef, Enriched, GraphHit, Joined, Query};

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
        Harness::new(Merge::new(2, 3, Box::new(|hit, _| hit.doc.row.to_string())))
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
    fn three_parts_meet_in_whatever_order_they_come() {
        let [one, two] = halves();
        let hits = vec![GraphHit { node: 7, depth: 0, relevance: 0.5, path: vec![7] }];
        let graph = (header(GRAPH, 0), Enriched { graph: hits.clone(), ..source() });
        let send = |merge: &mut Harness, part: usize| match part {
            0 => merge.send::<Candidates>(one.0, &one.1),
            1 => merge.send::<Candidates>(two.0, &two.1),
            _ => merge.send::<Candidates>(graph.0, &graph.1),
        };
        let mut seen = Vec::new();
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let mut merge = Harness::new(Merge::new(3, 3, Box::new(|hit, _| hit.doc.row.to_string())));
            assert!(send(&mut merge, order[0]).is_empty() && send(&mut merge, order[1]).is_empty());
            seen.extend(send(&mut merge, order[2]));
        }
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|merged| *merged == seen[0]));
        assert_eq!((&seen[0].enriched.graph, seen[0].counts.graph_nodes_visited), (&hits, 1));
    }

    #[test]
    fn a_half_that_stays_alone_fails_at_the_end() {
        let [one, _] = halves();
        let mut merge = merge();
        merge.send::<Candidates>(one.0, &one.1);
        assert_eq!(merge.finish()[0].header.kind, Kind::Failed);
    }
}
