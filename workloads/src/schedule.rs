//! The one schedule of events that every backend gets.
//!
//! Queries and documents in event-time order, with sequence numbers, a function of the seed and the
//! configuration alone. Query `i` has event time `i / query_qps`; document `k` has
//! `(k - prefill) / doc_qps`, so that the window is full when the first query comes: the first
//! `prefill` documents are part of the prepared state and are not emitted. Which question stands at
//! position `i` is decided by `deterministic_shuffle_v1`.
//!
//! Where consecutive queries lie further apart than a batch may stay open, heartbeats take places in
//! the query sequence, so that operators' timers fire on time.
//!
//! Under an open load queries arrive at times of their own ([`Schedule::arriving`]). What a query is answered with
//! goes by event time all the same, so that answers do not depend on the rate. How long a batch stays open does not
//! touch any answer, and goes by arrival: where arrivals fall behind event time, heartbeats carry the time of arrival.

use std::sync::Arc;

use bench_dataflow::frame::{Header, Kind};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::corpus::{Corpus, CorpusError};
use crate::records::{Doc, Query};
use crate::shuffle::deterministic_shuffle_v1;
use crate::text::synthetic;
use crate::text::vocabulary::{Category, QueryType};

/// Node id of the query source in every workload's graph.
pub const QUERY_SOURCE: u8 = 0;
/// Node id of the document source.
pub const DOC_SOURCE: u8 = 1;

/// An event, due in event-time order. The emitter fills in the watermark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Port is the id of the source node.
    pub header: Header,
    /// Encoded [`Query`] or [`Doc`]; empty for a heartbeat.
    pub body: Vec<u8>,
    /// Position among the queries; `None` for documents and heartbeats.
    pub position: Option<u64>,
    /// When it is to be emitted under an open load, in nanoseconds after the first query.
    pub due_ns: Option<u64>,
}

/// What to schedule.
pub struct ScheduleConfig {
    pub queries: u32,
    /// Queries a second of event time.
    pub query_qps: f64,
    /// The stream of documents beside the queries, where there is one.
    pub documents: Option<Documents>,
    /// Queries further apart than this have heartbeats between them.
    pub heartbeat_ns: i64,
    pub texts: Texts,
}

/// How the queries differ from those that seed and number stand for. Backends are not told: whoever remembers queries
/// is to be found out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Variation {
    /// The seed of their order alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// So many say something new; the others say again, under ids of their own, what one of those says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u32>,
}

/// A stream of documents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Documents {
    /// Documents a second of event time.
    pub qps: f64,
    /// Those that precede the first query: they are part of the prepared state and are not emitted.
    pub prefill: u64,
}

/// Arrivals that lie less behind event time are on time: no timer is that fine.
const ON_TIME_NS: i64 = 1_000_000;

/// When each query arrives, in nanoseconds after the first.
type Arrivals = std::iter::Peekable<Box<dyn Iterator<Item = u64> + Send>>;

/// Iterates over the events. An error is a document that could not be read.
pub struct Schedule {
    texts: Texts,
    order: Vec<u32>,
    documents: Option<Documents>,
    query_qps: f64,
    heartbeat_ns: i64,
    next_position: u64,
    next_seq: u64,
    next_doc: u64,
    /// Time of the last query or heartbeat.
    last_ns: Option<i64>,
    /// Of an open load.
    arrivals: Option<Arrivals>,
}

/// Partition key of the query with this id, which its answer keeps.
#[must_use]
pub fn query_key(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

impl Documents {
    /// Event time of document `doc`, in nanoseconds.
    #[must_use]
    pub fn time_ns(&self, doc: u64) -> i64 {
        ((doc as f64 - self.prefill as f64) / self.qps * 1e9).round() as i64
    }

    /// Documents with event times not after `now_ns`, prefill included.
    fn before(&self, now_ns: i64) -> u64 {
        let mut doc = self.prefill + (now_ns as f64 / 1e9 * self.qps).floor() as u64;
        // The estimate may be off by one where rounding meets equality.
        while self.time_ns(doc) <= now_ns {
            doc += 1;
        }
        while doc > 0 && self.time_ns(doc - 1) > now_ns {
            doc -= 1;
        }
        doc
    }
}

impl Schedule {
    /// The schedule for `config`.
    #[must_use]
    pub fn new(config: ScheduleConfig) -> Self {
        let ScheduleConfig { queries, query_qps, documents, heartbeat_ns, texts } = config;
        Self {
            order: deterministic_shuffle_v1(queries, texts.seed),
            documents,
            query_qps,
            heartbeat_ns,
            next_position: 0,
            next_seq: 0,
            next_doc: documents.map_or(0, |documents| documents.prefill),
            last_ns: None,
            arrivals: None,
            texts,
        }
    }

    /// The schedule of an open load, with the arrival of each query in nanoseconds after the first.
    #[must_use]
    pub fn arriving(self, arrivals: impl Iterator<Item = u64> + Send + 'static) -> Self {
        let arrivals: Box<dyn Iterator<Item = u64> + Send> = Box::new(arrivals);
        Self { arrivals: Some(arrivals.peekable()), ..self }
    }

    /// The same with other queries, or in another order.
    #[must_use]
    pub fn varied(mut self, variation: Variation) -> Self {
        if let Some(seed) = variation.order {
            self.order = deterministic_shuffle_v1(self.order.len() as u32, seed);
        }
        self.texts.distinct = variation.distinct.map(|distinct| distinct.max(1));
        self
    }

    fn query_time_ns(&self, position: u64) -> i64 {
        (position as f64 / self.query_qps * 1e9).round() as i64
    }

    fn doc_event(&mut self, event_time_ns: i64, due_ns: Option<u64>) -> Result<Event, CorpusError> {
        let seq = self.next_doc;
        self.next_doc += 1;
        let header = Header {
            port: DOC_SOURCE,
            kind: Kind::Data,
            seq,
            key: seq,
            event_time_ns,
            watermark_ns: i64::MIN,
        };
        let doc = self.texts.doc(seq)?;
        let body = postcard::to_stdvec(&doc).expect("a document is plain data");
        Ok(Event { header, body, position: None, due_ns })
    }

    /// The next query. `now_ns` is its event time, or when it arrives if that is later.
    fn query_event(&mut self, event_time_ns: i64, now_ns: i64) -> Event {
        let due_ns = self.arrivals.as_mut().and_then(Iterator::next);
        let position = self.next_position;
        self.next_position += 1;
        let mut query = self.texts.query(self.order[position as usize]);
        query.docs_before = self.documents.map_or(0, |documents| documents.before(event_time_ns));
        let header = self.in_query_sequence(Kind::Data, query_key(&query.id), event_time_ns);
        self.last_ns = Some(now_ns);
        let body = postcard::to_stdvec(&query).expect("a query is plain data");
        Event { header, body, position: Some(position), due_ns }
    }

    /// A heartbeat at `now_ns`, which may be later than the event time of the next query.
    fn heartbeat(&mut self, now_ns: i64, query_ns: i64, due_ns: Option<u64>) -> Event {
        let header = self.in_query_sequence(Kind::Heartbeat, self.next_seq, now_ns);
        // No watermark may pass a query that is still to come.
        let header = Header { watermark_ns: now_ns.min(query_ns), ..header };
        self.last_ns = Some(now_ns);
        Event { header, body: Vec::new(), position: None, due_ns }
    }

    fn in_query_sequence(&mut self, kind: Kind, key: u64, event_time_ns: i64) -> Header {
        let seq = self.next_seq;
        self.next_seq += 1;
        Header { port: QUERY_SOURCE, kind, seq, key, event_time_ns, watermark_ns: i64::MIN }
    }
}

impl Iterator for Schedule {
    type Item = Result<Event, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next_position >= self.order.len() as u64 {
            return None;
        }
        let query_ns = self.query_time_ns(self.next_position);
        let arrival = self.arrivals.as_mut().and_then(|arrivals| arrivals.peek().copied());
        let behind =
            arrival.and_then(|arrival| i64::try_from(arrival).ok()).filter(|at| *at > query_ns + ON_TIME_NS);
        let now_ns = behind.unwrap_or(query_ns);
        let beat_ns = self.last_ns.and_then(|last| {
            let step = Some(last + self.heartbeat_ns).filter(|beat| *beat < now_ns);
            // The last one says when the query arrives, which its own event time does not.
            step.or(behind.filter(|at| *at > last))
        });
        let next_ns = beat_ns.unwrap_or(query_ns);
        let due_ns = arrival.map(|arrival| beat_ns.map_or(arrival, |beat| arrival.min(beat.max(0) as u64)));
        let doc_ns = self.documents.map(|documents| documents.time_ns(self.next_doc));
        if let Some(doc_ns) = doc_ns.filter(|doc_ns| *doc_ns <= next_ns.min(query_ns)) {
            return Some(self.doc_event(doc_ns, due_ns));
        }
        Some(Ok(match beat_ns {
            Some(beat) => self.heartbeat(beat, query_ns, due_ns),
            None => self.query_event(query_ns, now_ns),
        }))
    }
}

/// Where texts come from.
pub struct Texts {
    seed: u64,
    types: [f64; 3],
    categories: [f64; 4],
    corpus: Option<(Arc<Corpus>, Vec<u32>)>,
    /// After so many, what they say comes again.
    distinct: Option<u32>,
}

impl Texts {
    /// Synthetic texts, with these weights of query types and categories, or those of a corpus in a seeded order.
    #[must_use]
    pub fn new(seed: u64, types: [f64; 3], categories: [f64; 4], corpus: Option<Arc<Corpus>>) -> Self {
        Self {
            seed,
            types,
            categories,
            distinct: None,
            corpus: corpus.map(|corpus| {
                let order = deterministic_shuffle_v1(corpus.docs.len() as u32, seed);
                (corpus, order)
            }),
        }
    }

    /// Document `number` of the stream. A corpus repeats when it is used up.
    ///
    /// # Errors
    /// When the corpus is no longer what was loaded.
    pub fn doc(&self, number: u64) -> Result<Doc, CorpusError> {
        if let Some((corpus, order)) = &self.corpus {
            let doc = corpus.docs.get(order[(number % order.len() as u64) as usize] as usize)?;
            let text = doc.content();
            return Ok(Doc { id: doc.id, text, category: Category::General, embedding: None });
        }
        let doc = synthetic::doc(self.seed, synthetic::WINDOW, number, &self.categories);
        Ok(Doc { id: format!("d_{number:06}"), text: doc.text, category: doc.category, embedding: None })
    }

    /// Question `item`. A corpus repeats when it is used up, with a suffix that keeps ids distinct.
    fn query(&self, item: u32) -> Query {
        let says = self.distinct.map_or(item, |distinct| item % distinct);
        let (id, text, query_type, category) = if let Some((corpus, _)) = &self.corpus {
            let query = |item: u32| &corpus.queries[item as usize % corpus.queries.len()];
            let round = item as usize / corpus.queries.len();
            let id = &query(item).id;
            let id = if round == 0 { id.clone() } else { format!("{id}#{}", round + 1) };
            (id, query(says).text.clone(), QueryType::Factual, Category::General)
        } else {
            let query = synthetic::query(self.seed, u64::from(says), &self.types, &self.categories);
            (format!("q_{item:06}"), query.text, query.query_type, query.category)
        };
        Query { id, text, query_type, category, docs_before: 0, embedding: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(queries: u32, seed: u64, query_qps: f64) -> Schedule {
        Schedule::new(ScheduleConfig {
            queries,
            query_qps,
            documents: Some(Documents { qps: 25.0, prefill: 1_500 }),
            heartbeat_ns: 100_000_000,
            texts: Texts::new(seed, [0.40, 0.35, 0.25], [0.25; 4], None),
        })
    }

    fn schedule(queries: u32, seed: u64) -> Vec<Event> {
        of(queries, seed, 40.0).collect::<Result<_, _>>().unwrap()
    }

    fn query(event: &Event) -> Query {
        postcard::from_bytes(&event.body).unwrap()
    }

    #[test]
    fn events_come_in_event_time_order_with_dense_sequences() {
        let events = schedule(200, 42);
        assert!(events.windows(2).all(|pair| pair[0].header.event_time_ns <= pair[1].header.event_time_ns));
        for (port, first) in [(QUERY_SOURCE, 0), (DOC_SOURCE, 1_500)] {
            let seqs: Vec<u64> =
                events.iter().filter(|e| e.header.port == port).map(|e| e.header.seq).collect();
            assert_eq!(seqs, (first..first + seqs.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_query_knows_how_many_documents_precede_it() {
        let mut docs = 1_500;
        for event in schedule(300, 42) {
            match event.header.port {
                DOC_SOURCE => docs += 1,
                _ => assert_eq!(query(&event).docs_before, docs),
            }
        }
    }

    #[test]
    fn every_question_is_asked_once_in_a_seeded_order() {
        let ids = |seed| -> Vec<String> {
            let events = schedule(50, seed);
            events.iter().filter(|e| e.position.is_some()).map(|e| query(e).id).collect()
        };
        let mut sorted = ids(42);
        assert_ne!(sorted, ids(43));
        sorted.sort();
        assert_eq!(sorted, (0..50).map(|i| format!("q_{i:06}")).collect::<Vec<_>>());
        assert_eq!(ids(42), ids(42));
    }

    #[test]
    fn queries_may_come_in_another_order_or_say_the_same_again() {
        let said = |variation| -> Vec<(String, String)> {
            let events = of(64, 42, 40.0).varied(variation).map(Result::unwrap);
            let queries = events.filter(|event| event.position.is_some()).map(|event| query(&event));
            queries.map(|query| (query.id, query.text)).collect()
        };
        let plain = said(Variation::default());
        let sorted = |mut said: Vec<(String, String)>| {
            said.sort();
            said
        };
        let ordered = said(Variation { order: Some(7), distinct: None });
        assert_ne!(ordered, plain);
        assert_eq!(sorted(ordered), sorted(plain.clone()), "the same queries");
        let again = sorted(said(Variation { order: None, distinct: Some(8) }));
        let first: Vec<&str> = again[..8].iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(first, sorted(plain)[..8].iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>());
        assert!(
            again
                .iter()
                .enumerate()
                .all(|(at, (id, text))| *id == format!("q_{at:06}") && text == first[at % 8])
        );
    }

    /// As `schedule`, with a query each `gap_ms`.
    fn arriving(queries: u32, gap_ms: u64) -> Vec<Event> {
        let arrivals = (0..).map(move |position| position * gap_ms * 1_000_000);
        of(queries, 42, 40.0).arriving(arrivals).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn arrivals_change_no_query_and_no_document() {
        let work = |events: Vec<Event>| -> Vec<_> {
            let data = events.into_iter().filter(|event| event.header.kind == Kind::Data);
            data.map(|event| (event.header.port, event.header.key, event.header.event_time_ns, event.body))
                .collect()
        };
        let closed = work(schedule(50, 42));
        for gap_ms in [500, 60, 25, 1] {
            assert_eq!(work(arriving(50, gap_ms)), closed, "a query each {gap_ms} ms");
        }
    }

    #[test]
    fn heartbeats_tell_the_time_of_arrival_where_it_is_behind_event_time() {
        let events = arriving(20, 500);
        let ms = |ns: i64| ns / 1_000_000;
        let mut now = 0;
        for (event, next) in events.iter().zip(&events[1..]) {
            assert!(event.due_ns <= next.due_ns, "events are due in order");
            match event.header.kind {
                Kind::Heartbeat => {
                    assert!(
                        ms(event.header.event_time_ns) - now <= 100,
                        "at most a third of the time-out apart"
                    );
                    now = ms(event.header.event_time_ns);
                    assert_eq!(event.due_ns, Some(event.header.event_time_ns as u64));
                }
                _ if event.position.is_some() => {
                    assert_eq!(
                        ms(event.due_ns.unwrap() as i64),
                        now,
                        "the last heartbeat told when it arrives"
                    );
                }
                _ => {}
            }
        }
        let seqs: Vec<u64> =
            events.iter().filter(|e| e.header.port == QUERY_SOURCE).map(|e| e.header.seq).collect();
        assert_eq!(seqs, (0..seqs.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn no_heartbeat_promises_more_than_the_next_query_keeps() {
        let events = arriving(20, 500);
        let mut watermark = i64::MIN;
        for event in &events {
            match event.header.kind {
                Kind::Heartbeat => watermark = watermark.max(event.header.watermark_ns),
                _ => assert!(event.header.event_time_ns >= watermark || event.header.port == DOC_SOURCE),
            }
        }
        assert!(watermark > i64::MIN);
    }

    #[test]
    fn arrivals_on_time_or_before_need_no_heartbeats() {
        for gap_ms in [25, 5] {
            assert!(arriving(40, gap_ms).iter().all(|event| event.header.kind == Kind::Data), "{gap_ms} ms");
        }
    }

    #[test]
    fn slow_streams_carry_heartbeats_and_fast_ones_do_not() {
        let beats =
            |qps| of(3, 42, qps).filter(|e| e.as_ref().unwrap().header.kind == Kind::Heartbeat).count();
        assert_eq!((beats(40.0), beats(2.0)), (0, 8));
    }
}
