//! The measured sink: stamps the time, counts, digests, and believes no backend.
//!
//! Time is stamped before anything is decoded. Every query must be answered exactly once; what is
//! wrong (duplicates, answers nobody asked for, silence) is counted here and fails the run later.

use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bench_dataflow::frame::{Frame, Kind, Malformed, Span, frames, spans};
use bench_dataflow::graph::{Graph, Node};
use bench_workloads::instance::monotonic_ns;
use bench_workloads::judge::{Judge, Scores};
use bench_workloads::operator::Tombstone;
use bench_workloads::records::{Answer, Call};
use bench_workloads::schedule::query_key;
use bench_workloads::seal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::answers::{self, Answers};
use super::attribution::{Attribution, Step};
use super::clocks::{Clocks, Process, Reading, Told, WorkerUse};
use super::doubts::Doubts;
use super::faraway::{self, Faraway};
use super::item::{Item, encode};
use super::ledger::{Ledger, Pending, Settled};
use super::outside::{Outside, Outsiders};
use super::processes::descends;
use super::proof::{Proof, Unproven};
use super::trace::Trace;
use bench_isolate::text::bounded;
use bench_record::histogram::LatencyHistogram;

/// Reasons of failed items that are kept word for word.
pub const REASONS_KEPT: usize = 8;
/// Bytes of one: it is a plugin's, or a service's.
const LONGEST_REASON: usize = 2 << 10;
/// Worker processes that are told apart. A record carries the number of its worker, and may say any.
pub const MOST_WORKERS: usize = 4096;

/// Records and time of one operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorUse {
    /// Records it worked on.
    pub records: u64,
    /// Time inside it, over all its instances.
    pub busy_ns: u64,
}

/// A stage while the run goes on. Counts are totals since the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageUse {
    pub name: String,
    /// Whether queries pass it.
    pub on_path: bool,
    pub records: u64,
    pub busy_ns: u64,
    /// Time that timed queries waited for it: hops to it, in all. Not known where clocks are not.
    pub waited_ns: Option<u64>,
    /// Instances that were seen to work.
    pub instances: u16,
}

/// Everything the sink knows at the end.
#[derive(Debug, Default)]
pub struct SinkOutcome {
    pub completed: u64,
    pub failed: u64,
    pub timed_completed: u64,
    pub timed_failed: u64,
    pub duplicates: u64,
    pub unexpected: u64,
    pub join_empty: u64,
    pub docs_seen: u64,
    pub last_ns: Option<u64>,
    /// Sum of the response times of all items, warm-up included.
    pub response_ns: u64,
    /// By node id.
    pub operators: Vec<OperatorUse>,
    /// By node id: how many instances were seen to work.
    pub instances: Vec<u16>,
    /// Records per worker process.
    pub workers: std::collections::BTreeMap<Process, u64>,
    /// Records of the processes that found no room there.
    pub workers_left_out: u64,
    /// Latency from the intended arrival, and from the emission, of timed queries.
    pub response: LatencyHistogram,
    pub service: LatencyHistogram,
    pub reasons: Vec<String>,
    /// Failed items whose reason found no room there.
    pub reasons_left_out: u64,
    /// Where the time of timed queries went.
    pub attribution: Attribution,
    /// Why that is not known, where it is not.
    pub unattributed: Option<String>,
    /// Whose clocks spans are by.
    pub clocks: Clocks,
    /// What workers used that bench did not start.
    pub outside: Outside,
    /// Answers that are not the work of the run's operators.
    pub unproven: Unproven,
    /// What spans say that cannot be. They are in no figure of time.
    pub doubts: Doubts,
    pub scores: Option<Scores>,
    /// Why answers could not be saved that were to be.
    pub unsaved: Option<String>,
    /// Every operator call, where that is wanted.
    pub trace: Option<Trace>,
}

struct State {
    sunk: SinkOutcome,
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

/// What is needed for one answer, and again for the next of its batch.
#[derive(Default)]
struct Scratch {
    spans: Vec<Span>,
    steps: Vec<Step>,
    item: Vec<u8>,
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
        let answers = None;
        let state = State { sunk, outsiders, faraway, meanwhile, items, answers, judge, failure: None };
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
        let mut scratch = Scratch::default();
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
        let mut after: &[u8] = &[];
        let answer = match frame.header.kind {
            Kind::Data => postcard::take_from_bytes::<Answer>(frame.body)
                .map_err(|cause| format!("the answer is unreadable: {cause}"))
                .and_then(|(answer, rest)| {
                    after = rest;
                    of_its_query(answer, frame.header.seq, &pending)
                }),
            _ => Err(reason(frame)),
        };
        let mut item = Item {
            query_id: answer
                .as_ref()
                .map_or_else(|_| format!("#{}", frame.header.seq), |a| a.query_id.clone()),
            ok: answer.is_ok(),
            digest: answer.as_ref().map_or([0; 32], digest),
            intended_ns: pending.intended_ns,
            emitted_ns: pending.emitted_ns,
            answered_ns: now_ns,
            timed: pending.timed,
            stages: vec![0; self.nodes],
            call: Call::after(after).filter(|_| answer.is_ok()),
            wordless: answer.as_ref().is_ok_and(|answer| answer.response.trim().is_empty()),
        };
        // What needs nothing but the frame is found out and written down before anybody has to wait.
        let saved = self
            .saves_answers
            .then(|| answers::line(&item.query_id, answer.as_ref().map_err(String::as_str)));
        let Scratch { spans, steps, item: line } = scratch;
        let unproven = self.read(frame, &answer, &mut item.stages, spans);
        if !after.is_empty() {
            // Times are no part of what was answered, by which stages are compared with those of other runs.
            let (whole, said) = (frame.body, &frame.body[..frame.body.len() - after.len()]);
            let whole = seal::digest(whole);
            item.stages
                .iter_mut()
                .filter(|wrote| **wrote == whole)
                .for_each(|wrote| *wrote = seal::digest(said));
        }
        let line = encode(&item, line);
        steps.clear();
        let mut state = self.state();
        let State { sunk, judge, faraway, meanwhile, items, failure, answers, .. } = &mut *state;
        if let (Some(answers), Some(saved)) = (answers, saved) {
            answers.add(&saved);
        }
        // A fork stamps each of its copies: that is still one record worked on.
        for (usage, wrote) in sunk.operators.iter_mut().zip(&item.stages) {
            usage.records += u64::from(*wrote != 0);
        }
        let (mut far, mut placed, mut alike) = (false, true, None);
        spans.retain(|span| {
            let node = usize::from(span.node);
            let emitted_ns = sunk.attribution.is_on_path(node).then_some(pending.emitted_ns);
            let start = sunk.clocks.start(span);
            if !sunk.doubts.admit(span, start, self.began_ns, emitted_ns, now_ns) {
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
            far |= !sunk.clocks.is_here(span);
            if let Some(start) = start {
                steps.push(Step { node: span.node, start, busy_ns: span.busy_ns, process });
            } else {
                placed = false;
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
        if let Some(why) = unproven {
            sunk.unproven.add(&item.query_id, why);
        }
        sunk.response_ns = sunk.response_ns.saturating_add(item.response().as_nanos() as u64);
        match &answer {
            Ok(answer) => {
                sunk.completed += 1;
                sunk.join_empty += u64::from(!answer.met_documents());
                sunk.docs_seen = sunk.docs_seen.max(answer.docs_seen);
                if let Some(judge) = judge {
                    judge.score(&answer.query_id, &answer.retrieved, &answer.ranking);
                }
            }
            Err(reason) => {
                sunk.failed += 1;
                if let Some(judge) = judge {
                    judge.fail(pending.key);
                }
                let reason = bounded(reason, LONGEST_REASON);
                match sunk.reasons.contains(&reason) {
                    true => {}
                    false if sunk.reasons.len() < REASONS_KEPT => sunk.reasons.push(reason),
                    false => sunk.reasons_left_out += 1,
                }
            }
        }
        if pending.timed {
            sunk.timed_completed += u64::from(item.ok);
            sunk.timed_failed += u64::from(!item.ok);
            // Who comes first into the lock need not have come first to the clock.
            sunk.last_ns = sunk.last_ns.max(Some(now_ns));
            self.timed.fetch_add(1, Ordering::Relaxed);
            if item.ok {
                // A latency beyond what the histogram can hold (hours) would be a broken clock.
                sunk.response.record(item.response());
                sunk.service.record(item.service());
            }
            let own = sunk.clocks.own();
            if far || !placed {
                if let Some(mut steps) = faraway::steps(spans, &mut sunk.clocks, meanwhile) {
                    meanwhile.add(pending.emitted_ns, now_ns, own, &mut steps);
                }
            } else {
                sunk.attribution.add(pending.emitted_ns, now_ns, own, steps);
            }
            if far {
                faraway.keep(pending.emitted_ns, now_ns, spans);
            }
        }
        if let Err(error) = line.and_then(|line| items.write_all(line)) {
            failure.get_or_insert(error);
        }
    }

    /// Reads the spans that operators of this run left on an answer, and what each node wrote. Returns what is wrong
    /// with the answer where it is not their work.
    fn read(
        &self,
        frame: &Frame<'_>,
        answer: &Result<Answer, String>,
        stages: &mut [u64],
        own: &mut Vec<Span>,
    ) -> Option<String> {
        let (seq, all) = (frame.header.seq, spans(frame.spans));
        let proof = self.proof.as_ref();
        own.clear();
        own.extend(
            all.iter().filter(|span| proof.is_none_or(|proof| proof.admits(seq, span))).map(Span::read),
        );
        for span in &*own {
            if let Some(stage) = stages.get_mut(usize::from(span.node)) {
                *stage = span.digest;
            }
        }
        match (all.len() - own.len(), answer) {
            (0, Ok(_)) => proof?.lacking(frame, stages),
            (0, Err(_)) => None,
            // One under the number of another query bears that one's seals.
            (_, Err(reason)) if frame.header.kind == Kind::Data => Some(reason.clone()),
            (foreign, _) => Some(format!("it bears {foreign} spans that no operator of this run left on it")),
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

impl SinkOutcome {
    /// Takes note of so many spans of a process.
    fn came_from(&mut self, worker: Process, spans: u64) {
        let room = self.workers.len() < MOST_WORKERS;
        match self.workers.entry(worker) {
            Entry::Occupied(mut known) => *known.get_mut() += spans,
            Entry::Vacant(new) if room => drop(new.insert(spans)),
            Entry::Vacant(_) => self.workers_left_out += spans,
        }
    }

    /// Whether results came from processes of other places that nobody told of.
    fn has_workers_elsewhere_but(&self, told: &Outsiders) -> bool {
        let mut elsewhere = self.workers.keys().filter(|worker| worker.place != self.clocks.own());
        elsewhere.any(|worker| {
            let process = self.clocks.process(worker.place, worker.number).number;
            !self.clocks.place(worker.place).is_some_and(|place| told.know(place, process))
        })
    }

    /// The processes that results came from, as far as it is known whose their threads are.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerUse> {
        let mut processes: std::collections::BTreeMap<Process, u64> = std::collections::BTreeMap::new();
        for (worker, spans) in &self.workers {
            *processes.entry(self.clocks.process(worker.place, worker.number)).or_default() += spans;
        }
        let worker = |(process, spans): (Process, u64)| WorkerUse {
            host: self.clocks.host(process.place).map(str::to_owned),
            process: process.number,
            spans,
        };
        processes.into_iter().map(worker).collect()
    }
}

/// An answer under the number of another query would lend that query its time.
fn of_its_query(answer: Answer, seq: u64, pending: &Pending) -> Result<Answer, String> {
    if query_key(&answer.query_id) == pending.key {
        return Ok(answer);
    }
    Err(format!(
        "query number {seq} got the answer to {:?}: a runtime may reorder records, not renumber them",
        answer.query_id
    ))
}

fn reason(frame: &Frame<'_>) -> String {
    match postcard::from_bytes::<Tombstone>(frame.body) {
        Ok(tombstone) => format!("node {}: {}", tombstone.node, tombstone.reason),
        Err(_) => "failed without a reason".to_owned(),
    }
}

/// SHA-256 over what an answer says: its text and its final ranking.
fn digest(answer: &Answer) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(answer.response.as_bytes());
    for id in &answer.ranking {
        hasher.update([0]);
        hasher.update(id.as_bytes());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use bench_dataflow::frame::{Header, Span, push};

    use super::super::item::read_items;
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
