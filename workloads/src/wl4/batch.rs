//! Category and global batches: by count or by event time, whichever comes first.
//!
//! Which queries share a batch is a function of the schedule alone. Both operators put their input
//! in order first (by sequence number), and read the time off the records themselves: a batch whose
//! time-out lies before the time of the next record closes before that record is looked at.
//! Heartbeats in the sequence move the time on when no query is due. Under an open load slower than event time they
//! carry the time of arrival, so the time never goes back to the event time of what follows. The end of the stream
//! flushes what is left.

use bench_dataflow::frame::{self, Frame, Header, Kind, Span};
use xxhash_rust::xxh3::xxh3_64;

use crate::operator::{Kept, Lineage, Operator, OperatorError, Output, decode};
use crate::text::vocabulary::Category;
use crate::wl4::order::InOrder;
use crate::wl4::records::Batch;

/// When a batch closes.
#[derive(Debug, Clone, Copy)]
pub struct Trigger {
    /// At this many items.
    pub size: usize,
    /// This long after its first item.
    pub timeout_ns: i64,
}

/// Items that wait for their batch to close.
#[derive(Default)]
struct Buffer {
    items: Vec<Kept>,
    first_arrival_ns: i64,
}

impl Buffer {
    fn push(&mut self, item: Kept, now_ns: i64) {
        if self.items.is_empty() {
            self.first_arrival_ns = now_ns;
        }
        self.items.push(item);
    }

    /// When the timer of the open batch fires; `None` without one.
    fn deadline(&self, trigger: Trigger) -> Option<i64> {
        (!self.items.is_empty()).then(|| self.first_arrival_ns + trigger.timeout_ns)
    }
}

/// Batches per category. Keyed by category in one instance: its timers need the whole sequence.
///
/// Its output is numbered anew, densely, in the frames' keys, for the global batch to order by.
pub struct CategoryBatch {
    trigger: Trigger,
    order: InOrder<(Kept, Category)>,
    buffers: [Buffer; Category::ALL.len()],
    /// The latest time that a record told.
    now_ns: i64,
    batches: u64,
    emitted: u64,
    /// Reads the category out of a record.
    category: fn(&Frame<'_>) -> Result<Category, OperatorError>,
}

impl CategoryBatch {
    pub fn new(trigger: Trigger, category: fn(&Frame<'_>) -> Result<Category, OperatorError>) -> Self {
        Self {
            trigger,
            order: InOrder::default(),
            buffers: Default::default(),
            now_ns: i64::MIN,
            batches: 0,
            emitted: 0,
            category,
        }
    }

    fn handle(
        &mut self,
        item: Kept,
        category: Category,
        output: &mut Output<'_>,
    ) -> Result<(), OperatorError> {
        self.now_ns = self.now_ns.max(item.header.event_time_ns);
        let now = self.now_ns;
        self.advance(now, output)?;
        if item.header.kind != Kind::Data {
            let header = self.number(item.header);
            output.forward(Frame { header, ..item.frame() });
            return Ok(());
        }
        let category = category as usize;
        self.buffers[category].push(item, now);
        if self.buffers[category].items.len() >= self.trigger.size {
            self.close(category, now, output)?;
        }
        Ok(())
    }

    /// Fires the timers that are due at `now`, earliest first.
    fn advance(&mut self, now: i64, output: &mut Output<'_>) -> Result<(), OperatorError> {
        loop {
            let due = (0..Category::ALL.len())
                .filter_map(|category| Some((self.buffers[category].deadline(self.trigger)?, category)))
                .min();
            match due {
                Some((at, category)) if at <= now => self.close(category, at, output)?,
                _ => return Ok(()),
            }
        }
    }

    fn close(&mut self, category: usize, at: i64, output: &mut Output<'_>) -> Result<(), OperatorError> {
        let items = std::mem::take(&mut self.buffers[category].items);
        let id = format!("category_batch_{}_{}", self.batches, Category::ALL[category].as_str());
        self.batches += 1;
        let header = self.number(Header { event_time_ns: at, ..items[0].header });
        emit_batch(id, Some(Category::ALL[category]), at, &items, header, output)
    }

    fn number(&mut self, header: Header) -> Header {
        let key = self.emitted;
        self.emitted += 1;
        Header { key, ..header }
    }
}

impl Operator for CategoryBatch {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            let data = input.header.kind == Kind::Data;
            let category = if data { (self.category)(input)? } else { Category::General };
            self.order.take(input.header.seq, (Kept::from(*input), category));
        }
        while let Some((item, category)) = self.order.pop() {
            self.handle(item, category, output)?;
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), OperatorError> {
        for (item, category) in self.order.drain().collect::<Vec<_>>() {
            self.handle(item, category, output)?;
        }
        self.advance(i64::MAX, output)
    }

    fn sees_every_frame(&self) -> bool {
        true
    }
}

/// Gathers category batches into batches of exactly the wanted size, or fewer on time-out.
pub struct GlobalBatch {
    trigger: Trigger,
    order: InOrder<Kept>,
    buffer: Buffer,
    /// The latest time that a record told.
    now_ns: i64,
    batches: u64,
}

impl GlobalBatch {
    pub fn new(trigger: Trigger) -> Self {
        Self { trigger, order: InOrder::default(), buffer: Buffer::default(), now_ns: i64::MIN, batches: 0 }
    }

    fn handle(&mut self, input: Kept, output: &mut Output<'_>) -> Result<(), OperatorError> {
        self.now_ns = self.now_ns.max(input.header.event_time_ns);
        let now = self.now_ns;
        self.advance(now, output)?;
        if input.header.kind != Kind::Data {
            output.forward(input.frame());
            return Ok(());
        }
        let batch: Batch = decode(&input.frame())?;
        let shares = SharedSpans::of(&input.frame(), &batch);
        for item in frame::frames(&batch.items) {
            let mut kept = Kept::from(item.map_err(OperatorError::new)?);
            shares.append(kept.header.seq, output, &mut kept.spans);
            self.buffer.push(kept, now);
        }
        while self.buffer.items.len() >= self.trigger.size {
            self.close(now, output)?;
        }
        Ok(())
    }

    fn advance(&mut self, now: i64, output: &mut Output<'_>) -> Result<(), OperatorError> {
        while let Some(at) = self.buffer.deadline(self.trigger).filter(|at| *at <= now) {
            self.close(at, output)?;
        }
        Ok(())
    }

    /// Emits the first items, at most the batch size. Leftovers keep their timer.
    fn close(&mut self, at: i64, output: &mut Output<'_>) -> Result<(), OperatorError> {
        let size = self.trigger.size.min(self.buffer.items.len());
        let items: Vec<Kept> = self.buffer.items.drain(..size).collect();
        let id = format!("global_batch_{}", self.batches);
        self.batches += 1;
        let header = Header { event_time_ns: at, ..items[0].header };
        emit_batch(id, None, at, &items, header, output)
    }
}

impl Operator for GlobalBatch {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            self.order.take(input.header.key, Kept::from(*input));
        }
        while let Some(input) = self.order.pop() {
            self.handle(input, output)?;
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in self.order.drain().collect::<Vec<_>>() {
            self.handle(input, output)?;
        }
        self.advance(i64::MAX, output)
    }

    fn sees_every_frame(&self) -> bool {
        true
    }
}

/// The spans that a batch collected, for its items to share: the same instants, the busy time divided.
pub struct SharedSpans {
    spans: Vec<Span>,
    seq: u64,
    size: u32,
}

impl SharedSpans {
    /// Of a batch and the frame that it came in.
    #[must_use]
    pub fn of(frame: &Frame<'_>, batch: &Batch) -> Self {
        // A batch frame starts with the spans it inherited from its first item; these are not its own.
        let first = frame::frames(&batch.items).next().and_then(Result::ok);
        let inherited = first.map_or(0, |first| first.spans().count());
        Self { spans: frame.spans().skip(inherited).collect(), seq: frame.header.seq, size: batch.size }
    }

    /// Appends the shares of item `seq`.
    pub fn append(&self, seq: u64, output: &Output<'_>, spans: &mut Vec<u8>) {
        for span in &self.spans {
            spans.extend_from_slice(&output.share(*span, self.seq, seq, self.size).to_bytes());
        }
    }
}

fn emit_batch(
    id: String,
    category: Option<Category>,
    at: i64,
    items: &[Kept],
    header: Header,
    output: &mut Output<'_>,
) -> Result<(), OperatorError> {
    let mut frames = Vec::new();
    let mut meaning = id.clone().into_bytes();
    for item in items {
        frame::push(&mut frames, item.header, &item.body, &item.spans);
        meaning.extend_from_slice(&item.header.seq.to_le_bytes());
    }
    let batch = Batch { id, category, closed_ns: at, items: frames, size: items.len() as u32 };
    let body = postcard::to_stdvec(&batch).map_err(OperatorError::new)?;
    let parent = Lineage { header, spans: &items[0].spans };
    output.emit_bytes(parent, 0, &body, Some(xxh3_64(&meaning)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Emitted, Harness, header};

    const MS: i64 = 1_000_000;

    fn category() -> Harness {
        let trigger = Trigger { size: 5, timeout_ns: 300 * MS };
        Harness::new(CategoryBatch::new(trigger, |frame| Ok(Category::ALL[usize::from(frame.body[0])])))
    }

    fn global() -> Harness {
        Harness::new(GlobalBatch::new(Trigger { size: 12, timeout_ns: 800 * MS }))
    }

    fn at(seq: u64, ms: i64) -> Header {
        Header { event_time_ns: ms * MS, ..header(0, seq) }
    }

    fn batches(emitted: &[Emitted]) -> Vec<(String, Vec<u64>)> {
        let data = emitted.iter().filter(|frame| frame.header.kind == Kind::Data);
        data.map(|frame| {
            let batch: Batch = frame.decode();
            let seqs = frame::frames(&batch.items).map(|item| item.unwrap().header.seq).collect();
            (batch.id, seqs)
        })
        .collect()
    }

    #[test]
    fn a_batch_closes_at_its_size() {
        let mut operator = category();
        for seq in 0..4 {
            assert!(operator.send_bytes(at(seq, 0), &[0]).is_empty());
        }
        let out = operator.send_bytes(at(4, 1), &[0]);
        assert_eq!(batches(&out), [("category_batch_0_finance".to_owned(), vec![0, 1, 2, 3, 4])]);
    }

    #[test]
    fn the_time_does_not_go_back_to_the_event_time_of_a_query_that_arrived_late() {
        let mut operator = category();
        let beat = |seq, ms| Header { kind: Kind::Heartbeat, ..at(seq, ms) };
        operator.send_bytes(beat(0, 500), &[]);
        operator.send_bytes(at(1, 25), &[0]);
        assert!(batches(&operator.send_bytes(beat(2, 799), &[])).is_empty());
        assert_eq!(batches(&operator.send_bytes(beat(3, 800), &[]))[0].1, [1]);
    }

    /// How long each query waits for its batches, in milliseconds of the schedule, when one arrives each `gap_ms`.
    fn waits(gap_ms: u64) -> Vec<u64> {
        use crate::schedule::{QUERY_SOURCE, Schedule, ScheduleConfig, Texts};
        let texts = Texts::new(42, [0.40, 0.35, 0.25], [0.25; 4], None);
        let heartbeat_ns = 100_000_000;
        let config = ScheduleConfig { queries: 60, query_qps: 40.0, documents: None, heartbeat_ns, texts };
        let schedule =
            Schedule::new(config).arriving((0..).map(move |position| position * gap_ms * 1_000_000));
        let (mut category, mut global) = (category(), global());
        let mut arrived = std::collections::BTreeMap::new();
        let mut waits = Vec::new();
        for event in schedule.map(Result::unwrap).filter(|event| event.header.port == QUERY_SOURCE) {
            let now = event.due_ns.unwrap() / 1_000_000;
            if event.position.is_some() {
                arrived.insert(event.header.seq, now);
            }
            let kind = [(event.header.key % 4) as u8];
            for batch in category.send_bytes(event.header, &kind) {
                let closed = global.send_bytes(batch.header, &batch.body);
                let seqs = batches(&closed).into_iter().flat_map(|(_, seqs)| seqs);
                waits.extend(seqs.map(|seq| now - arrived[&seq]));
            }
        }
        waits
    }

    #[test]
    fn however_few_queries_arrive_one_waits_for_its_batches_only() {
        for gap_ms in [2_000, 500, 100, 50, 25] {
            let waits = waits(gap_ms);
            // Both time-outs, and a third of the first one between heartbeats, twice.
            assert!(waits.iter().all(|wait| *wait <= 300 + 800 + 200), "a query each {gap_ms} ms: {waits:?}");
            assert!(waits.len() > 30, "the last ones go with the end of the stream");
        }
    }

    #[test]
    fn a_heartbeat_fires_the_timer_when_nothing_else_arrives() {
        let mut operator = category();
        operator.send_bytes(at(0, 0), &[1]);
        let early = operator.send_bytes(Header { kind: Kind::Heartbeat, ..at(1, 299) }, &[]);
        assert!(batches(&early).is_empty());
        let out = operator.send_bytes(Header { kind: Kind::Heartbeat, ..at(2, 300) }, &[]);
        assert_eq!(batches(&out), [("category_batch_0_healthcare".to_owned(), vec![0])]);
        assert_eq!(out.last().unwrap().header.kind, Kind::Heartbeat);
    }

    #[test]
    fn what_shares_a_batch_does_not_depend_on_the_order_of_arrival() {
        let items: Vec<(Header, [u8; 1])> =
            (0..40).map(|seq| (at(seq, seq as i64 * 25), [(seq % 3) as u8])).collect();
        let run = |order: &[usize]| {
            let mut operator = category();
            let mut out = Vec::new();
            for &index in order {
                out.extend(operator.send_bytes(items[index].0, &items[index].1));
            }
            out.extend(operator.finish());
            batches(&out)
        };
        let forward: Vec<usize> = (0..40).collect();
        let scrambled: Vec<usize> = (0..40).map(|i| (i * 7) % 40).collect();
        assert_eq!(run(&forward), run(&scrambled));
        let mut seqs: Vec<u64> = run(&forward).into_iter().flat_map(|batch| batch.1).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn a_tombstone_holds_no_one_up() {
        let mut operator = category();
        operator.send_bytes(at(1, 0), &[0]);
        let out = operator.send_bytes(Header { kind: Kind::Failed, ..at(0, 0) }, &[]);
        assert_eq!(out.len(), 1);
        assert_eq!(batches(&operator.finish()), [("category_batch_0_finance".to_owned(), vec![1])]);
    }

    #[test]
    fn a_global_batch_never_exceeds_its_size_and_nothing_is_lost() {
        let (mut first, mut second) = (category(), global());
        let mut out = Vec::new();
        for seq in 0..103 {
            for batch in first.send_bytes(at(seq, seq as i64 * 25), &[(seq % 4) as u8]) {
                out.extend(second.send_bytes(batch.header, &batch.body));
            }
        }
        for batch in first.finish() {
            out.extend(second.send_bytes(batch.header, &batch.body));
        }
        out.extend(second.finish());
        let batches = batches(&out);
        assert!(batches.iter().all(|(_, seqs)| seqs.len() <= 12));
        let mut seqs: Vec<u64> = batches.into_iter().flat_map(|batch| batch.1).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (0..103).collect::<Vec<_>>());
    }

    #[test]
    fn the_global_timer_counts_from_the_first_category_batch() {
        let (mut first, mut second) = (category(), global());
        let mut send = |header, body: &[u8]| {
            let mut out = Vec::new();
            for batch in first.send_bytes(header, body) {
                out.extend(second.send_bytes(batch.header, &batch.body));
            }
            batches(&out)
        };
        let beat = |seq, ms| Header { kind: Kind::Heartbeat, ..at(seq, ms) };
        assert!(send(at(0, 0), &[0]).is_empty());
        assert!(send(beat(1, 1_000), &[]).is_empty(), "category closed at 300, global is due at 1,100");
        assert_eq!(send(beat(2, 1_100), &[]), [("global_batch_0".to_owned(), vec![0])]);
    }
}
