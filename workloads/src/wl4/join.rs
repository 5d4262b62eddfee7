//! Semantic join: each query with the documents of its event-time window that resemble it.
//!
//! Left-outer and by event time: a document matches iff `q.ts - window <= d.ts <= q.ts` and its
//! cosine reaches the threshold, so the answer does not depend on what arrived first. A query waits
//! until the documents it may see are complete; how many that is, the schedule wrote into it. The
//! window is a ring of quantised rows: appending a document costs one copy, expiring one is free.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bench_dataflow::frame::{Frame, Kind};

use crate::operator::{Kept, Operator, OperatorError, Output, decode};
use crate::vector::{self, Quantised};
use crate::wl4::records::Doc;
use crate::wl4::views::{self, QueryView};

/// Input port of queries.
pub const QUERIES: u8 = 0;
/// Input port of documents.
pub const DOCS: u8 = 1;

/// Parameters of the join.
#[derive(Debug, Clone, Copy)]
pub struct JoinConfig {
    pub window_ns: i64,
    pub threshold: f64,
    pub max_matches: usize,
    pub dim: usize,
}

/// The documents of the stream so far, in order of their sequence numbers.
struct Window {
    dim: usize,
    /// Sequence number of the oldest document held.
    first: u64,
    docs: VecDeque<Held>,
    /// Sequence number of the latest document with each id.
    latest: HashMap<String, u64>,
    /// Row of `docs[i]` starts at `(offset + i) * dim`; compacted when half of it is stale.
    rows: Vec<i8>,
    offset: usize,
}

struct Held {
    id: String,
    event_time_ns: i64,
    norm2: u32,
    /// Sequence number of the next document with the same id, which replaces this one.
    replaced_by: Option<u64>,
}

impl Window {
    fn next_seq(&self) -> u64 {
        self.first + self.docs.len() as u64
    }

    fn append(&mut self, id: String, event_time_ns: i64, vector: Option<&Quantised>) {
        match vector {
            Some(vector) => self.rows.extend_from_slice(&vector.dims),
            // A document that failed keeps its place; a zero vector joins nothing.
            None => self.rows.resize(self.rows.len() + self.dim, 0),
        }
        self.register(id, event_time_ns, vector.map_or(0, |vector| vector.norm2));
    }

    fn register(&mut self, id: String, event_time_ns: i64, norm2: u32) {
        let seq = self.next_seq();
        if let Some(earlier) = self.latest.insert(id.clone(), seq).and_then(|seq| seq.checked_sub(self.first))
        {
            self.docs[earlier as usize].replaced_by = Some(seq);
        }
        self.docs.push_back(Held { id, event_time_ns, norm2, replaced_by: None });
    }

    fn expire(&mut self, before_ns: i64) {
        while self.docs.front().is_some_and(|doc| doc.event_time_ns < before_ns) {
            if let Some(gone) = self.docs.pop_front()
                && gone.replaced_by.is_none()
            {
                self.latest.remove(&gone.id);
            }
            self.first += 1;
            self.offset += 1;
        }
        if self.offset > self.docs.len() {
            self.rows.drain(..self.offset * self.dim);
            self.offset = 0;
        }
    }

    /// Documents with sequence numbers below `until` and event times in `from_ns..=to_ns`.
    fn range(&self, from_ns: i64, to_ns: i64, until: u64) -> std::ops::Range<usize> {
        let end =
            usize::try_from(until.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.docs.len());
        let start = self.docs.partition_point(|doc| doc.event_time_ns < from_ns);
        let end = end.min(self.docs.partition_point(|doc| doc.event_time_ns <= to_ns));
        start.min(end)..end
    }
}

/// The join operator.
pub struct SemanticJoin {
    config: JoinConfig,
    window: Window,
    /// Documents that arrived before one that precedes them.
    early: BTreeMap<u64, Kept>,
    /// Queries that wait, by the number of documents they wait for.
    waiting: BTreeMap<(u64, u64), Kept>,
    /// One instance lets the documents' spans ride on, or each would be counted once an instance.
    keeps_doc_spans: bool,
    dots: Vec<i32>,
}

impl SemanticJoin {
    /// A join whose window holds `prefill` already: (id, event time, vector), oldest first.
    pub fn new<'a>(
        config: JoinConfig,
        prefill: impl IntoIterator<Item = (&'a str, i64, &'a [i8], u32)>,
        keeps_doc_spans: bool,
    ) -> Self {
        let mut window = Window {
            dim: config.dim,
            first: 0,
            docs: VecDeque::new(),
            latest: HashMap::new(),
            rows: Vec::new(),
            offset: 0,
        };
        for (id, event_time_ns, row, norm2) in prefill {
            window.rows.extend_from_slice(row);
            window.register(id.to_owned(), event_time_ns, norm2);
        }
        Self {
            config,
            window,
            early: BTreeMap::new(),
            waiting: BTreeMap::new(),
            keeps_doc_spans,
            dots: Vec::new(),
        }
    }

    fn take_doc(&mut self, input: Frame<'_>, output: &mut Output<'_>) -> Result<(), OperatorError> {
        if input.header.seq < self.window.next_seq() {
            return Ok(()); // Sent again after a retry.
        }
        if input.header.seq > self.window.next_seq() {
            self.early.insert(input.header.seq, Kept::from(input));
            return Ok(());
        }
        self.append(input, output)?;
        while let Some(kept) = self.early.remove(&self.window.next_seq()) {
            self.append(kept.frame(), output)?;
        }
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > self.window.next_seq() {
                break;
            }
            let kept = entry.remove();
            // One bad query must not hold back the others that this document releases.
            if let Err(error) = self.answer(kept.frame(), output) {
                output.fail(kept.frame(), error);
            }
        }
        self.window.expire(input.header.watermark_ns.saturating_sub(self.config.window_ns));
        Ok(())
    }

    fn append(&mut self, input: Frame<'_>, output: &mut Output<'_>) -> Result<(), OperatorError> {
        if self.keeps_doc_spans {
            output.adopt(input.header.seq, input.spans);
        }
        let doc: Option<Doc> = if input.header.kind == Kind::Data { decode(&input).ok() } else { None };
        let event_time_ns = input.header.event_time_ns;
        match doc {
            Some(Doc { id, embedding, .. }) => {
                let fits = embedding.filter(|vector| vector.dims.len() == self.config.dim);
                self.window.append(id, event_time_ns, fits.as_ref());
            }
            None => self.window.append(String::new(), event_time_ns, None),
        }
        Ok(())
    }

    fn take_query(&mut self, input: Frame<'_>, output: &mut Output<'_>) -> Result<(), OperatorError> {
        if input.header.kind != Kind::Data {
            output.forward(input);
            return Ok(());
        }
        let query = views::query(&input)?;
        if query.docs_before > self.window.next_seq() {
            self.waiting.insert((query.docs_before, input.header.seq), Kept::from(input));
            return Ok(());
        }
        self.join(query, input, output)
    }

    fn answer(&mut self, input: Frame<'_>, output: &mut Output<'_>) -> Result<(), OperatorError> {
        self.join(views::query(&input)?, input, output)
    }

    fn join(
        &mut self,
        query: QueryView<'_>,
        input: Frame<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), OperatorError> {
        let now = input.header.event_time_ns;
        let (dims, norm2) = query.vector()?;
        let range = self.window.range(now - self.config.window_ns, now, query.docs_before);
        self.dots.clear();
        if !range.is_empty() {
            let start = (self.window.offset + range.start) * self.window.dim;
            let rows = &self.window.rows[start..start + range.len() * self.window.dim];
            vector::dots(rows, self.window.dim, dims, &mut self.dots);
        }
        let mut matches: Vec<(f64, usize)> = Vec::new();
        let sieve = vector::Sieve::new(self.config.threshold, norm2);
        let start = range.start;
        for ((offset, doc), &dot) in self.window.docs.range(range).enumerate().zip(&self.dots) {
            if !sieve.lets_through(dot, doc.norm2) {
                continue;
            }
            let index = start + offset;
            let similarity = vector::cosine(dot, norm2, doc.norm2);
            let replaced = doc.replaced_by.is_some_and(|later| later < query.docs_before);
            // A zero vector is no match for anything, whatever the threshold.
            if similarity >= self.config.threshold && doc.norm2 > 0 && norm2 > 0 && !replaced {
                matches.push((similarity, index));
            }
        }
        matches.sort_by(|a, b| {
            let by_id = || self.window.docs[a.1].id.cmp(&self.window.docs[b.1].id);
            b.0.total_cmp(&a.0).then_with(by_id)
        });
        matches.truncate(self.config.max_matches);
        let sum: f64 = matches.iter().map(|(similarity, _)| similarity).sum();
        let semantic_score = if matches.is_empty() { 0.0 } else { sum / matches.len() as f64 };
        // The query passes on as it came: a joined one is the query and what follows here.
        let mut body = views::append(input.body.to_vec(), &matches.len())?;
        for (similarity, index) in matches {
            body = views::append(body, &(self.window.docs[index].id.as_str(), similarity))?;
        }
        output.emit_bytes(input, 0, &views::append(body, &semantic_score)?, None)
    }
}

impl Operator for SemanticJoin {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            match input.header.port {
                DOCS => self.take_doc(*input, output)?,
                _ => self.take_query(*input, output)?,
            }
        }
        Ok(())
    }

    /// Queries still waiting at the end miss documents that never came: they fail, because an answer
    /// over half a window would be a wrong one.
    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), OperatorError> {
        for kept in std::mem::take(&mut self.waiting).into_values() {
            output.fail(kept.frame(), "the stream ended before the documents of its window had arrived");
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
    use crate::vector::quantise;
    use crate::wl4::records::{Joined, Query};

    const SECOND: i64 = 1_000_000_000;

    fn config(max_matches: usize) -> JoinConfig {
        JoinConfig { window_ns: 60 * SECOND, threshold: 0.6, max_matches, dim: 8 }
    }

    fn unit(axis: usize) -> Quantised {
        let mut vector = vec![0.0; 8];
        vector[axis] = 1.0;
        quantise(&vector)
    }

    fn doc(seq: u64, at: i64, embedding: Quantised) -> (Header, Doc) {
        let header = Header { event_time_ns: at, ..header(DOCS, seq) };
        let id = format!("d_{seq:06}");
        (header, Doc { id, text: String::new(), category: Category::General, embedding: Some(embedding) })
    }

    fn query(seq: u64, at: i64, docs_before: u64) -> (Header, Query) {
        let header = Header { event_time_ns: at, ..header(QUERIES, seq) };
        let query = Query {
            id: format!("q_{seq:06}"),
            text: String::new(),
            query_type: QueryType::Factual,
            category: Category::General,
            docs_before,
            embedding: Some(unit(0)),
        };
        (header, query)
    }

    fn join(max_matches: usize) -> Harness {
        Harness::new(SemanticJoin::new(config(max_matches), [], true))
    }

    fn ids(joined: &Joined) -> Vec<&str> {
        joined.matches.iter().map(|hit| hit.doc_id.as_str()).collect()
    }

    #[test]
    fn expiry_is_strict_and_the_future_is_not_seen() {
        let mut join = join(8);
        for (seq, at) in [(0, -1), (1, 0), (2, 60 * SECOND), (3, 60 * SECOND + 1)] {
            let (header, body) = doc(seq, at, unit(0));
            assert!(join.send::<Joined>(header, &body).is_empty());
        }
        let (header, body) = query(0, 60 * SECOND, 3);
        assert_eq!(ids(&join.send::<Joined>(header, &body)[0]), ["d_000001", "d_000002"]);
    }

    #[test]
    fn a_query_waits_for_its_documents_in_whatever_order_they_come() {
        let mut join = join(8);
        let (header, body) = query(0, 5 * SECOND, 3);
        assert!(join.send::<Joined>(header, &body).is_empty());
        for seq in [2, 1] {
            let (header, body) = doc(seq, seq as i64 * SECOND, unit(0));
            assert!(join.send::<Joined>(header, &body).is_empty());
        }
        let (header, body) = doc(0, 0, unit(0));
        assert_eq!(ids(&join.send::<Joined>(header, &body)[0]), ["d_000000", "d_000001", "d_000002"]);
    }

    #[test]
    fn the_threshold_is_inclusive_and_the_matches_are_cut() {
        let mut join = join(2);
        // cos = 0.6 exactly: (3, 4) against (1, 0), scaled to integers that are exact.
        let edge = Quantised { dims: vec![3, 4, 0, 0, 0, 0, 0, 0], norm2: 25 };
        for (seq, vector) in [(0, edge), (1, unit(0)), (2, unit(1)), (3, unit(0))] {
            let (header, body) = doc(seq, 0, vector);
            join.send::<Joined>(header, &body);
        }
        let (header, body) = query(0, 0, 1);
        let joined = join.send::<Joined>(header, &body).remove(0);
        assert_eq!((ids(&joined), joined.semantic_score), (vec!["d_000000"], 0.6));
        let (header, body) = query(1, 0, 4);
        assert_eq!(ids(&join.send::<Joined>(header, &body)[0]), ["d_000001", "d_000003"]);
    }

    #[test]
    fn a_query_without_a_match_goes_on_empty() {
        let (header, body) = query(0, 0, 0);
        let joined = join(8).send::<Joined>(header, &body).remove(0);
        assert!(joined.matches.is_empty() && joined.semantic_score == 0.0);
    }

    #[test]
    fn a_zero_vector_joins_nothing_even_at_threshold_zero() {
        let mut join = Harness::new(SemanticJoin::new(JoinConfig { threshold: 0.0, ..config(8) }, [], true));
        let (header, body) = doc(0, 0, Quantised { dims: vec![0; 8], norm2: 0 });
        join.send::<Joined>(header, &body);
        let (header, body) = query(0, 0, 1);
        assert!(join.send::<Joined>(header, &body)[0].matches.is_empty());
    }

    #[test]
    fn a_document_sent_twice_counts_once() {
        let mut join = join(8);
        for _ in 0..2 {
            let (header, body) = doc(0, 0, unit(0));
            join.send::<Joined>(header, &body);
        }
        let (header, body) = query(0, 0, 1);
        assert_eq!(ids(&join.send::<Joined>(header, &body)[0]), ["d_000000"]);
    }

    #[test]
    fn a_later_document_with_the_same_id_replaces_the_earlier_for_later_queries() {
        let mut join = join(8);
        for (seq, vector) in [(0, unit(0)), (1, unit(1))] {
            let (header, body) = doc(seq, 0, vector);
            join.send::<Joined>(header, &Doc { id: "same".into(), ..body });
        }
        let (header, body) = query(0, 0, 1);
        assert_eq!(ids(&join.send::<Joined>(header, &body)[0]), ["same"]);
        let (header, body) = query(1, 0, 2);
        assert!(join.send::<Joined>(header, &body)[0].matches.is_empty());
    }

    #[test]
    fn a_failed_document_keeps_its_place() {
        let mut join = join(8);
        let header = Header { kind: Kind::Failed, ..header(DOCS, 0) };
        assert!(join.send_bytes(header, b"").is_empty());
        let (header, body) = query(0, 0, 1);
        assert!(join.send::<Joined>(header, &body)[0].matches.is_empty());
    }

    #[test]
    fn the_window_forgets_what_no_outstanding_query_can_see() {
        let mut join = SemanticJoin::new(config(8), [], true);
        for seq in 0..1_000 {
            let (header, body) = doc(seq, seq as i64 * SECOND, unit(0));
            let header = Header { watermark_ns: seq as i64 * SECOND, ..header };
            Harness::feed(&mut join, header, &postcard::to_stdvec(&body).unwrap());
        }
        assert_eq!(join.window.docs.len(), 61);
        assert!(join.window.rows.len() <= 2 * 62 * 8);
    }
}
