//! The measured sink: stamps the time, counts, digests, and believes no backend.
//!
//! Time is stamped before anything is decoded. Every query must be answered exactly once; what is
//! wrong (duplicates, answers nobody asked for, silence) is counted here and fails the run later.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bench_dataflow::frame::{Frame, Kind, Malformed, Span, frames};
use bench_dataflow::graph::{Graph, Node};
use bench_workloads::instance::monotonic_ns;
use bench_workloads::judge::Judge;

use super::answered::{Answered, Room};
use super::answers::{self, Answers};
use super::attribution::{Attribution, Step};
use super::bounds::{Bounds, Tally};
use super::clocks::{Clocks, Process, Reading, Told};
use super::faraway::{self, Faraway};
use super::item::{Item, encode};
use super::ledger::{Ledger, Pending, Settled};
use super::outcome::{OperatorUse, SinkOutcome, StageUse};
use super::outside::Outsiders;
use super::processes::descends;
use super::proof::Proof;
use super::trace::Trace;

struct State {
    sunk: SinkOutcome,
    tally: Tally,
    outsiders: Outsiders,
    /// Queries that were worked on in other places, and where their time went as far as that is known by now.
    faraway: Faraway,
    meanwhile: Attribution,
    items: BufWriter<File>,
    /// Where answers are saved, if they are to be.
    answers: Option<Answers>,
    judge: Option<Judge>,
    failure: Option<io::Error>,
}

/// What was found out about where the spans of an answer are.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Some are of other places than the sink's.
    far: bool,
    /// It is known by this clock when all of them started.
    placed: bool,
}

impl State {
    /// Takes what operators did for an item into account, and puts those calls into `steps` that it is known of when
    /// they started. Spans that cannot be are taken from `spans`.
    fn account(&mut self, item: &Item, spans: &mut Vec<Span>, steps: &mut Vec<Step>, began_ns: u64) -> Found {
        let sunk = &mut self.sunk;
        steps.clear();
        // A fork stamps each of its copies: that is still one record worked on.
        for (usage, wrote) in sunk.operators.iter_mut().zip(&item.stages) {
            usage.records += u64::from(*wrote != 0);
        }
        let (mut found, mut alike) = (Found { far: false, placed: true }, None);
        spans.retain(|span| {
            let node = usize::from(span.node);
            let emitted_ns = sunk.attribution.is_on_path(node).then_some(item.emitted_ns);
            let start = sunk.clocks.start(span);
            if !sunk.doubts.admit(span, start, began_ns, emitted_ns, item.answered_ns) {
                return false;
            }
            if let Some(usage) = sunk.operators.get_mut(node) {
                usage.busy_ns = usage.busy_ns.saturating_add(span.busy_ns);
                sunk.instances[node] = sunk.instances[node].max(span.instance.saturating_add(1));
            }
            // Whose a thread of another place is may be told later.
            let process = match sunk.clocks.is_here(span) {
                true => sunk.attribution.process(&sunk.clocks, span),
                false => Process { place: span.place, number: span.worker },
            };
            found.far |= !sunk.clocks.is_here(span);
            if let Some(start) = start {
                steps.push(Step { node: span.node, start, busy_ns: span.busy_ns, process });
            } else {
                found.placed = false;
            }
            if let Some(trace) = &mut sunk.trace {
                trace.take(span, process);
            }
            // Most of a record's spans are of one process.
            match &mut alike {
                Some((of, spans)) if *of == process => *spans += 1,
                _ => {
                    let before = alike.replace((process, 1));
                    before.into_iter().for_each(|(of, spans)| sunk.came_from(of, spans));
                }
            }
            true
        });
        alike.into_iter().for_each(|(of, spans)| sunk.came_from(of, spans));
        found
    }

    /// Adds where the time of a timed item went.
    fn attribute(&mut self, item: &Item, spans: &[Span], steps: &mut Vec<Step>, found: Found) {
        let Self { sunk, faraway, meanwhile, .. } = self;
        let (own, emitted_ns, answered_ns) = (sunk.clocks.own(), item.emitted_ns, item.answered_ns);
        if found.far || !found.placed {
            if let Some(mut steps) = faraway::steps(spans, &mut sunk.clocks, meanwhile) {
                meanwhile.add(emitted_ns, answered_ns, own, &mut steps);
            }
        } else {
            sunk.attribution.add(emitted_ns, answered_ns, own, steps);
        }
        if found.far {
            faraway.keep(emitted_ns, answered_ns, spans);
        }
    }

    /// Scores an answer, where answers are judged. `key` is that of its query.
    fn judge(&mut self, answered: &Answered, key: u64) {
        let Some(judge) = &mut self.judge else { return };
        match &answered.answer {
            Ok(answer) => judge.score(&answered.item.query_id, &answer.retrieved, &answer.ranking),
            Err(_) => judge.fail(key),
        }
    }

    /// Keeps an item, and its answer where answers are saved.
    fn write(&mut self, item: io::Result<&[u8]>, saved: Option<Vec<u8>>) {
        if let (Some(answers), Some(saved)) = (&mut self.answers, saved) {
            answers.add(&saved);
        }
        if let Err(error) = item.and_then(|item| self.items.write_all(item)) {
            self.failure.get_or_insert(error);
        }
    }
}

/// What is needed for one answer, and again for the next of its batch.
struct Scratch {
    room: Room,
    steps: Vec<Step>,
    line: Vec<u8>,
}

/// Takes every result of a run. Any thread may use it.
pub struct Sink {
    ledger: Arc<Ledger>,
    nodes: usize,
    proof: Option<Proof>,
    /// No operator existed before.
    began_ns: u64,
    timed: AtomicU64,
    /// Where the judged rankings go.
    runs: Option<PathBuf>,
    saves_answers: bool,
    state: Mutex<State>,
}

impl Sink {
    /// A sink that keeps its items in `items`. `on_path` says by node id whether queries pass the node.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, on_path: Vec<bool>, items: File, judge: Option<Judge>) -> Self {
        let nodes = on_path.len();
        let sunk = SinkOutcome {
            operators: vec![OperatorUse::default(); nodes],
            instances: vec![0; nodes],
            attribution: Attribution::new(on_path.clone()),
            ..SinkOutcome::default()
        };
        let (faraway, meanwhile) = (Faraway::default(), Attribution::new(on_path));
        let (items, outsiders) = (BufWriter::new(items), Outsiders::default());
        let (tally, answers) = (Tally::default(), None);
        let state =
            State { sunk, tally, outsiders, faraway, meanwhile, items, answers, judge, failure: None };
        let (timed, state) = (AtomicU64::new(0), Mutex::new(state));
        let began_ns = monotonic_ns();
        Self { ledger, nodes, proof: None, began_ns, timed, runs: None, saves_answers: false, state }
    }

    /// Keeps the judged rankings in this folder, as [`bench_workloads::judge::RUN_FILES`].
    #[must_use]
    pub fn with_runs(self, folder: PathBuf) -> Self {
        Self { runs: Some(folder), ..self }
    }

    /// Saves every answer in `file`.
    #[must_use]
    pub fn with_answers(self, file: Option<File>) -> Self {
        let saves_answers = file.is_some();
        self.state().answers = file.map(Answers::new);
        Self { saves_answers, ..self }
    }

    /// Ends the stream as soon as one of these bounds is broken.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        self.state().tally = Tally::new(bounds);
        self
    }

    /// Keeps every operator call in `trace`.
    #[must_use]
    pub fn with_trace(self, trace: Option<Trace>) -> Self {
        self.state().sunk.trace = trace;
        self
    }

    /// Wants this proof of every answer. Without it spans and answers are taken as they come.
    #[must_use]
    pub fn wanting(self, proof: Proof) -> Self {
        Self { proof: Some(proof), ..self }
    }

    /// Tells apart whose clocks spans are by.
    #[must_use]
    pub fn with_clocks(self, clocks: Clocks) -> Self {
        self.state().sunk.clocks = clocks;
        self
    }

    /// Takes note of what the backend tells of its workers and their clocks. Returns those that are on this machine and
    /// were not started by bench.
    pub fn told(&self, told: Told) -> Vec<u32> {
        let here = self.state().sunk.clocks.here().cloned().unwrap_or_default();
        let outside = |reading: &&Reading| reading.place != here || !descends(reading.process, parent_id());
        // The kernel is asked before anybody has to wait for the lock.
        let readings: Vec<&Reading> = told.workers.iter().filter(outside).collect();
        let mut state = self.state();
        let State { sunk, outsiders, .. } = &mut *state;
        outsiders.take(readings.into_iter());
        sunk.clocks.take(told);
        outsiders.processes(&here).into_iter().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Timed queries that were answered, well or not.
    #[must_use]
    pub fn timed(&self) -> u64 {
        self.timed.load(Ordering::Relaxed)
    }

    /// Takes a batch of finished records.
    ///
    /// # Errors
    /// When the bytes are not a batch.
    pub fn take(&self, batch: &[u8]) -> Result<(), Malformed> {
        let now_ns = monotonic_ns();
        let mut scratch = Scratch { room: Room::of(self.nodes), steps: Vec::new(), line: Vec::new() };
        for frame in frames(batch) {
            let frame = frame?;
            if frame.header.kind == Kind::Heartbeat {
                continue;
            }
            match self.ledger.settle(frame.header.seq) {
                Settled::First(pending) => self.first(&frame, pending, now_ns, &mut scratch),
                Settled::Duplicate => self.state().sunk.duplicates += 1,
                Settled::Unexpected => self.state().sunk.unexpected += 1,
            }
        }
        Ok(())
    }

    fn first(&self, frame: &Frame<'_>, pending: Pending, now_ns: u64, scratch: &mut Scratch) {
        let Scratch { room, steps, line } = scratch;
        // What needs nothing but the frame is found out and written down before anybody has to wait.
        let answered = Answered::read(frame, &pending, now_ns, self.proof.as_ref(), room);
        let Answered { item, answer, .. } = &answered;
        let saved = self
            .saves_answers
            .then(|| answers::line(&item.query_id, answer.as_ref().map_err(String::as_str)));
        let line = encode(item, line);
        let mut state = self.state();
        let found = state.account(item, &mut room.spans, steps, self.began_ns);
        state.sunk.count(&answered);
        state.judge(&answered, pending.key);
        if item.timed {
            state.attribute(item, &room.spans, steps, found);
            self.timed.fetch_add(1, Ordering::Relaxed);
        }
        state.write(line, saved);
        let is_over = state.tally.take(item.timed, item.ok, item.response());
        drop(state);
        room.reuse(answered);
        if is_over {
            self.ledger.drain();
        }
    }

    /// How many items are finished, how many of them failed, and the sum of their response times.
    #[must_use]
    pub fn progress(&self) -> (u64, u64, u64) {
        let sunk = &self.state().sunk;
        (sunk.completed + sunk.failed, sunk.failed, sunk.response_ns)
    }

    /// What each operator of `graph` did so far.
    #[must_use]
    pub fn stages(&self, graph: &Graph) -> Vec<StageUse> {
        let state = self.state();
        let sunk = &state.sunk;
        let known = sunk.clocks.unknown().is_none();
        let of = |node: &Node| {
            let id = node.id as usize;
            let usage = sunk.operators.get(id)?;
            Some(StageUse {
                name: node.name.clone(),
                on_path: sunk.attribution.is_on_path(id),
                records: usage.records,
                busy_ns: usage.busy_ns,
                waited_ns: known
                    .then(|| sunk.attribution.waited_ns(id).saturating_add(state.meanwhile.waited_ns(id))),
                instances: sunk.instances[id],
            })
        };
        graph.operators().filter_map(of).collect()
    }

    /// The end: what was seen. The items are on disk afterwards.
    ///
    /// # Errors
    /// When the items could not be written, or the corpus could not be read again for the scores.
    pub fn close(&self) -> io::Result<SinkOutcome> {
        let mut state = self.state();
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        state.items.flush()?;
        let unsaved = state.answers.take().and_then(|answers| answers.finish().err());
        let judge = state.judge.take();
        if let (Some(judge), Some(folder)) = (&judge, &self.runs) {
            judge.write_runs(folder)?;
        }
        let scores = judge.map(|judge| judge.finish()).transpose().map_err(io::Error::other)?;
        let mut sunk = std::mem::take(&mut state.sunk);
        let own = sunk.clocks.own();
        sunk.clocks.forget_misses();
        let settled = std::mem::take(&mut state.faraway).settle(&mut sunk.clocks, own, &mut sunk.attribution);
        sunk.unattributed = settled.err().or_else(|| sunk.clocks.unknown());
        let here = sunk.clocks.here().cloned().unwrap_or_default();
        let told = state.outsiders.processes(&here);
        let silent = sunk.attribution.has_outsiders_but(&told)
            || state.meanwhile.has_outsiders_but(&told)
            || sunk.has_workers_elsewhere_but(&state.outsiders);
        sunk.outside = state.outsiders.outside(&here, silent);
        let threads = sunk.attribution.threads() + state.meanwhile.threads();
        let far = sunk.workers.keys().filter(|worker| worker.place != own).count() as u64;
        let busy_ns = sunk.operators.iter().fold(0_u64, |sum, usage| sum.saturating_add(usage.busy_ns));
        let instances = sunk.instances.iter().map(|seen| u64::from(*seen)).sum::<u64>();
        let time_ns = monotonic_ns().saturating_sub(self.began_ns);
        sunk.doubts.sum(busy_ns, threads + far + instances, time_ns);
        let unsaved = unsaved.map(|cause| cause.to_string());
        Ok(SinkOutcome { scores, unsaved, ..sunk })
    }
}

#[cfg(test)]
mod tests {
    use bench_dataflow::frame::{Header, push};
    use bench_workloads::operator::Tombstone;
    use bench_workloads::records::Answer;
    use bench_workloads::schedule::query_key;

    use super::super::item::read_items;
    use super::super::outcome::{LONGEST_REASON, MOST_WORKERS, REASONS_KEPT};
    use super::*;

    fn sink(queries: u64) -> (Sink, tempfile::NamedTempFile) {
        let ledger = Arc::new(Ledger::default());
        for seq in 0..queries {
            let key = query_key(&format!("q{seq}"));
            let pending = Pending { intended_ns: 0, emitted_ns: 0, event_time_ns: 0, key, timed: true };
            ledger.emit(&[(seq, pending)], 0);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        (Sink::new(ledger, vec![true; 3], file.reopen().unwrap(), None), file)
    }

    fn answer(seq: u64, response: &str) -> Vec<u8> {
        answer_to(&format!("q{seq}"), seq, response)
    }

    fn answer_to(query: &str, seq: u64, response: &str) -> Vec<u8> {
        let answer = Answer { query_id: query.into(), response: response.into(), ..Answer::default() };
        let mut batch = Vec::new();
        let header = Header { port: 0, kind: Kind::Data, seq, key: 0, event_time_ns: 0, watermark_ns: 0 };
        push(&mut batch, header, &postcard::to_stdvec(&answer).unwrap(), b"");
        batch
    }

    #[test]
    fn duplicates_and_strangers_are_counted_and_not_believed() {
        let (sink, _file) = sink(1);
        sink.take(&answer(0, "a")).unwrap();
        sink.take(&answer(0, "a")).unwrap();
        sink.take(&answer(9, "a")).unwrap();
        let sunk = sink.close().unwrap();
        assert_eq!((sunk.completed, sunk.duplicates, sunk.unexpected), (1, 1, 1));
    }

    #[test]
    fn an_answer_under_the_number_of_another_query_fails_both() {
        let (sink, _file) = sink(2);
        sink.take(&answer_to("q1", 0, "a")).unwrap();
        sink.take(&answer_to("q0", 1, "a")).unwrap();
        let sunk = sink.close().unwrap();
        assert_eq!((sunk.completed, sunk.failed), (0, 2));
        assert!(sunk.reasons[0].starts_with("query number 0 got the answer to \"q1\""), "{:?}", sunk.reasons);
    }

    #[test]
    fn the_output_digest_ignores_the_order_and_sees_every_answer() {
        use super::super::digest::output_digest;
        let run = |order: &[u64], text: &str| {
            let (sink, file) = sink(3);
            for seq in order {
                sink.take(&answer(*seq, text)).unwrap();
            }
            sink.close().unwrap();
            let pairs = read_items(file.reopen().unwrap()).map(|item| item.map(|i| (i.query_id, i.digest)));
            output_digest(pairs, &std::env::temp_dir()).unwrap()
        };
        assert_eq!(run(&[0, 1, 2], "x"), run(&[2, 0, 1], "x"));
        assert_ne!(run(&[0, 1, 2], "x"), run(&[0, 1, 2], "y"));
        assert_ne!(run(&[0, 1, 2], "x"), run(&[0, 1], "x"));
    }

    /// A batch in which query `seq` failed for `reason`, after calls of these workers.
    fn failed(seq: u64, reason: &str, workers: std::ops::Range<u32>) -> Vec<u8> {
        let header = Header { port: 0, kind: Kind::Failed, seq, key: 0, event_time_ns: 0, watermark_ns: 0 };
        let body = postcard::to_stdvec(&Tombstone { node: 2, reason: reason.into() }).unwrap();
        let span = |worker| Span {
            start_ns: 0,
            busy_ns: 1,
            digest: 1,
            worker,
            node: 1,
            instance: 0,
            place: 0,
            seal: 0,
        };
        let mut spans = Vec::new();
        workers.for_each(|worker| spans.extend_from_slice(&span(worker).to_bytes()));
        let mut batch = Vec::new();
        push(&mut batch, header, &body, &spans);
        batch
    }

    #[test]
    fn whatever_a_plugin_invents_is_kept_in_part_and_the_rest_is_counted() {
        let (sink, _file) = sink(20);
        for seq in 0..20 {
            let first = 1_000_000 + seq as u32 * 1_000;
            let reason = format!("{seq} {}", "x".repeat(1 << 20));
            sink.take(&failed(seq, &reason, first..first + 1_000)).unwrap();
        }
        let sunk = sink.close().unwrap();
        assert_eq!((sunk.workers.len(), sunk.workers_left_out), (MOST_WORKERS, 20_000 - MOST_WORKERS as u64));
        assert_eq!((sunk.reasons.len(), sunk.reasons_left_out), (REASONS_KEPT, 12));
        assert!(sunk.reasons.iter().all(|reason| reason.len() < LONGEST_REASON + 100));
        assert!(sunk.reasons[0].ends_with("bytes are left out here]"), "{}", sunk.reasons[0]);
    }

    #[test]
    fn a_tombstone_fails_its_item_with_the_reason() {
        let (sink, _file) = sink(1);
        let mut batch = Vec::new();
        let header =
            Header { port: 0, kind: Kind::Failed, seq: 0, key: 0, event_time_ns: 0, watermark_ns: 0 };
        let body = postcard::to_stdvec(&Tombstone { node: 2, reason: "no embedding".into() }).unwrap();
        push(&mut batch, header, &body, b"");
        sink.take(&batch).unwrap();
        let sunk = sink.close().unwrap();
        assert_eq!((sunk.failed, sunk.reasons), (1, vec!["node 2: no embedding".to_owned()]));
    }
}
