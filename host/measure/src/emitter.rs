//! The timed source: hands out the schedule's events, in batches, at the load model's pace.
//!
//! Closed: as soon as the in-flight limit has room for a whole batch. Open: not before its own intended time either,
//! and while none is due, heartbeats at theirs, so that no batch waits for the next query. What finds no room waits
//! here, as it would in a broker's queue, so that a backend that falls behind gets whole batches; neither that nor a
//! late generator ever shifts the schedule, so latency from the intended time knows no coordinated omission.

use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bench_dataflow::frame::{self, Header, Kind};
use bench_workloads::corpus::CorpusError;
use bench_workloads::instance::monotonic_ns;
use bench_workloads::random;
use bench_workloads::schedule::{Event, Schedule};

use super::ledger::{Ledger, Pending};
use super::plan::{Arrivals, Load, Plan};
use bench_record::evidence::Generator;
use bench_record::histogram::LatencyHistogram;

/// A query emitted later than this after it could have been was late.
const LATE_NS: u64 = 5_000_000;

/// What the emitter goes by.
pub trait Clock: Send + Sync {
    /// Monotonic.
    fn now_ns(&self) -> u64;
    /// Sleeps unless `ledger` starts draining. False when it does.
    fn sleep(&self, ledger: &Ledger, duration: Duration) -> bool;
}

/// The machine's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Monotonic;

impl Clock for Monotonic {
    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn sleep(&self, ledger: &Ledger, duration: Duration) -> bool {
        ledger.sleep(duration)
    }
}

/// What the emitter did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Emitted {
    pub queries: u64,
    /// Emission of the first timed query.
    pub first_timed_ns: Option<u64>,
    /// Queries emitted more than 5 ms after their intended time though the backend had asked (open load only).
    pub late: u64,
    /// Queries that the backend asked for, or had room for, more than 5 ms after their intended time (open load
    /// only).
    pub backpressured: u64,
    /// Largest lateness that is the generator's.
    pub worst_lateness_ns: u64,
    /// True when the stream was cut short by a drain or by a document that could not be read.
    pub cut_short: bool,
}

struct State {
    schedule: Peekable<Schedule>,
    emitted: Emitted,
    /// First and last: intended, and real.
    spans: Option<[(u64, u64); 2]>,
    lateness: LatencyHistogram,
    /// Monotonic time of position 0 of an open load.
    start_ns: Option<u64>,
}

/// When each query of an open load is due, in nanoseconds after the first: a function of seed and load.
#[derive(Debug, Clone)]
pub struct Due {
    arrivals: Arrivals,
    mean_ns: f64,
    gaps: random::Stream,
    position: u64,
    next_ns: u64,
}

impl Due {
    /// `None` for a closed load.
    #[must_use]
    pub fn of(plan: &Plan) -> Option<Self> {
        let Load::Open { rate, arrivals } = plan.load else { return None };
        let gaps = random::stream(plan.seed, "arrivals", 0);
        Some(Self { arrivals, mean_ns: 1e9 / rate, gaps, position: 0, next_ns: 0 })
    }
}

impl Iterator for Due {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let now = self.next_ns;
        self.position += 1;
        self.next_ns = match self.arrivals {
            // From the position, so that rounding does not add up.
            Arrivals::Fixed => (self.position as f64 * self.mean_ns) as u64,
            Arrivals::Poisson => now + (-libm::log(1.0 - self.gaps.unit()) * self.mean_ns) as u64,
        };
        Some(now)
    }
}

/// The schedule as a plan has it.
fn planned(plan: &Plan, schedule: Schedule) -> Schedule {
    let schedule = match Due::of(plan) {
        Some(due) => schedule.arriving(due),
        None => schedule,
    };
    schedule.varied(plan.variation)
}

/// The number that records of a query bear, by its place among the queries.
///
/// # Errors
/// When a document of the corpus cannot be read.
pub fn record_at(plan: &Plan, schedule: Schedule, position: u64) -> Result<Option<u64>, CorpusError> {
    for event in planned(plan, schedule) {
        let event = event?;
        if event.position == Some(position) {
            return Ok(Some(event.header.seq));
        }
    }
    Ok(None)
}

/// The source of a run. Any thread may ask for events; batches are handed out one at a time.
pub struct Emitter<C = Monotonic> {
    clock: C,
    state: Mutex<State>,
    ledger: Arc<Ledger>,
    warmup: u64,
    queries: u64,
    max_in_flight: usize,
    timing: AtomicBool,
}

impl Emitter {
    /// An emitter for `plan` over `schedule`.
    #[must_use]
    pub fn new(plan: &Plan, schedule: Schedule, ledger: Arc<Ledger>) -> Self {
        Self::with_clock(plan, schedule, ledger, Monotonic)
    }
}

impl<C: Clock> Emitter<C> {
    fn with_clock(plan: &Plan, schedule: Schedule, ledger: Arc<Ledger>, clock: C) -> Self {
        let state = State {
            schedule: planned(plan, schedule).peekable(),
            emitted: Emitted::default(),
            spans: None,
            lateness: LatencyHistogram::new(),
            start_ns: None,
        };
        Self {
            clock,
            state: Mutex::new(state),
            ledger,
            warmup: u64::from(plan.warmup_items),
            queries: u64::from(plan.num_tasks),
            max_in_flight: plan.max_in_flight as usize,
            timing: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was emitted so far.
    #[must_use]
    pub fn emitted(&self) -> Emitted {
        self.state().emitted
    }

    /// Whether a timed query was handed out. Unlike [`Emitter::emitted`] it waits for nobody.
    #[must_use]
    pub fn is_timing(&self) -> bool {
        self.timing.load(Ordering::Relaxed)
    }

    /// How well an open load kept to its schedule; `None` for a closed one, or below two arrivals.
    #[must_use]
    pub fn generator(&self) -> Option<Generator> {
        let state = self.state();
        let [first, last] = state.spans?;
        let gaps = state.emitted.queries.saturating_sub(1) as f64 * 1e9;
        let rate = |first: u64, last: u64| (last > first).then(|| gaps / (last - first) as f64);
        let ms = |quantile| state.lateness.quantile(quantile).map_or(0.0, |ms| ms.get());
        Some(Generator {
            offered_rate: rate(first.0, last.0)?,
            achieved_rate: rate(first.1, last.1)?,
            backpressured: state.emitted.backpressured,
            lateness_p50_ms: ms(0.50),
            lateness_p99_ms: ms(0.99),
            lateness_max_ms: state.emitted.worst_lateness_ns as f64 / 1e6,
        })
    }

    /// The next batch: up to `max_queries` queries with the documents and heartbeats that precede
    /// each, or heartbeats alone when no query is due. `None` at the end.
    ///
    /// # Errors
    /// When a document of the corpus cannot be read.
    pub fn next(&self, max_queries: u32) -> Result<Option<Vec<u8>>, CorpusError> {
        let asked_ns = self.clock.now_ns();
        let mut state = self.state();
        let left = self.queries - state.emitted.queries;
        let wanted = u64::from(max_queries.max(1)).min(left);
        let crowded = self.ledger.in_flight() + wanted as usize > self.max_in_flight;
        let room = wanted > 0 && self.ledger.wait_for_room(wanted as usize, self.max_in_flight);
        // Until there is room the backend has not asked in earnest.
        let asked_ns = if crowded { self.clock.now_ns() } else { asked_ns };
        if !room || !self.wait_until_due(&mut state) {
            state.emitted.cut_short |= left > 0;
            return Ok(None);
        }
        let mut events: Vec<(Event, Option<Pending>)> = Vec::new();
        let mut taken = 0;
        while taken < wanted {
            if !events.is_empty() && self.due_ns(&mut state).is_some_and(|due| due > self.clock.now_ns()) {
                break;
            }
            let Some(event) = state.schedule.next() else { break };
            let event = event.inspect_err(|_| state.emitted.cut_short = true)?;
            let pending = event.position.map(|position| self.stamp(&mut state, &event, position, asked_ns));
            taken += u64::from(pending.is_some());
            events.push((event, pending));
        }
        Ok(Some(self.encode(&events)))
    }

    /// When the next event of an open load is due, in monotonic time.
    fn due_ns(&self, state: &mut State) -> Option<u64> {
        let due_ns = state.schedule.peek()?.as_ref().ok()?.due_ns?;
        Some(*state.start_ns.get_or_insert_with(|| self.clock.now_ns()) + due_ns)
    }

    /// Waits for the intended time of the next event of an open load. False when draining.
    fn wait_until_due(&self, state: &mut State) -> bool {
        let Some(due) = self.due_ns(state) else { return true };
        loop {
            let now = self.clock.now_ns();
            if now >= due {
                return !self.ledger.is_draining();
            }
            if !self.clock.sleep(&self.ledger, Duration::from_nanos(due - now)) {
                return false;
            }
        }
    }

    fn stamp(&self, state: &mut State, event: &Event, position: u64, asked_ns: u64) -> Pending {
        let emitted_ns = self.clock.now_ns();
        let intended_ns = event.due_ns.zip(state.start_ns).map_or(emitted_ns, |(due, start)| start + due);
        // What the backend did not ask for in time is its own doing; the response time knows.
        let lateness = emitted_ns.saturating_sub(intended_ns.max(asked_ns));
        state.emitted.backpressured += u64::from(asked_ns.saturating_sub(intended_ns) > LATE_NS);
        state.emitted.late += u64::from(lateness > LATE_NS);
        state.emitted.worst_lateness_ns = state.emitted.worst_lateness_ns.max(lateness);
        state.emitted.queries += 1;
        if state.start_ns.is_some() {
            let now = (intended_ns, emitted_ns);
            state.spans.get_or_insert([now, now])[1] = now;
            state.lateness.record(Duration::from_nanos(lateness));
        }
        let timed = position >= self.warmup;
        if timed {
            state.emitted.first_timed_ns.get_or_insert(emitted_ns);
            self.timing.store(true, Ordering::Relaxed);
        }
        let Header { event_time_ns, key, .. } = event.header;
        Pending { intended_ns, emitted_ns, event_time_ns, key, timed }
    }

    fn encode(&self, events: &[(Event, Option<Pending>)]) -> Vec<u8> {
        let queries: Vec<(u64, Pending)> =
            (events.iter()).filter_map(|(event, pending)| Some((event.header.seq, (*pending)?))).collect();
        let now_event_ns = events.first().map_or(i64::MIN, |(event, _)| match event.header.kind {
            Kind::Heartbeat => event.header.watermark_ns,
            _ => event.header.event_time_ns,
        });
        let watermark_ns = self.ledger.emit(&queries, now_event_ns);
        let mut batch = Vec::new();
        for (event, _) in events {
            frame::push(&mut batch, Header { watermark_ns, ..event.header }, &event.body, b"");
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU64, Ordering};

    use bench_dataflow::frame::frames;
    use bench_workloads::corpus::{Choice, Corpus};
    use bench_workloads::schedule::QUERY_SOURCE;

    use super::*;
    use crate::plan::example as plan;

    /// A clock that goes when it is told to, and when somebody sleeps.
    #[derive(Default)]
    struct ByHand(AtomicU64);

    impl ByHand {
        fn forward(&self, ms: u64) {
            self.0.fetch_add(ms * 1_000_000, Ordering::SeqCst);
        }
    }

    impl Clock for ByHand {
        fn now_ns(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }

        fn sleep(&self, ledger: &Ledger, duration: Duration) -> bool {
            self.0.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
            !ledger.is_draining()
        }
    }

    fn emitter(plan: &Plan) -> (Emitter<ByHand>, Arc<Ledger>) {
        emitter_over(plan, None)
    }

    fn emitter_over(plan: &Plan, corpus: Option<Arc<Corpus>>) -> (Emitter<ByHand>, Arc<Ledger>) {
        let ledger = Arc::new(Ledger::default());
        let schedule = plan.workload.schedule(&plan.open_spec(), corpus).unwrap();
        (Emitter::with_clock(plan, schedule, Arc::clone(&ledger), ByHand::default()), ledger)
    }

    /// A corpus of one document, in a folder.
    fn corpus() -> (tempfile::TempDir, Arc<Corpus>) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, id: &str| {
            fs::write(folder.path().join(name), format!("{{\"_id\": \"{id}\", \"text\": \"wings\"}}"))
                .unwrap();
        };
        write("corpus.jsonl", "d");
        write("queries.jsonl", "q");
        let corpus = Corpus::load(folder.path(), Choice::default(), folder.path()).unwrap();
        (folder, Arc::new(corpus))
    }

    fn queries(batch: &[u8]) -> Vec<u64> {
        let all = frames(batch).map(|frame| frame.unwrap().header);
        let asked = all.filter(|header| header.port == QUERY_SOURCE && header.kind == Kind::Data);
        asked.map(|header| header.seq).collect()
    }

    #[test]
    fn batches_hold_the_wanted_queries_and_the_stream_ends() {
        let (emitter, ledger) = emitter(&Plan { num_tasks: 40, ..plan() });
        let mut sizes = Vec::new();
        while let Some(batch) = emitter.next(16).unwrap() {
            let seqs = queries(&batch);
            sizes.push(seqs.len());
            seqs.into_iter().for_each(|seq| {
                assert!(matches!(ledger.settle(seq), super::super::ledger::Settled::First(_)))
            });
        }
        assert_eq!(sizes, [16, 16, 8]);
        assert!(!emitter.emitted().cut_short);
    }

    #[test]
    fn warm_up_queries_are_not_timed() {
        let (emitter, ledger) = emitter(&Plan { num_tasks: 16, warmup_items: 5, ..plan() });
        emitter.next(16).unwrap();
        let timed = ledger.unanswered().iter().filter(|(_, pending)| pending.timed).count();
        assert_eq!(timed, 11);
    }

    #[test]
    fn an_open_load_keeps_its_intended_times() {
        let load = Load::Open { rate: 1_000.0, arrivals: Arrivals::Fixed };
        let (emitter, ledger) = emitter(&Plan { num_tasks: 20, load, ..plan() });
        while emitter.next(4).unwrap().is_some() {}
        let pending = ledger.unanswered();
        let intended: Vec<u64> =
            pending.iter().map(|(_, p)| p.intended_ns - pending[0].1.intended_ns).collect();
        assert_eq!(intended, (0..20).map(|i| i * 1_000_000).collect::<Vec<u64>>());
        assert!(pending.iter().all(|(_, p)| p.emitted_ns == p.intended_ns));
        let generator = emitter.generator().unwrap();
        assert_eq!((generator.offered_rate, generator.achieved_rate), (1_000.0, 1_000.0));
        assert_eq!((generator.backpressured, generator.lateness_max_ms), (0, 0.0));
    }

    #[test]
    fn while_no_query_is_due_heartbeats_come_at_their_time_and_nobody_waits_for_the_next_query() {
        let load = Load::Open { rate: 2.0, arrivals: Arrivals::Fixed };
        let (emitter, ledger) = emitter(&Plan { num_tasks: 3, load, ..plan() });
        let mut told = Vec::new();
        while let Some(batch) = emitter.next(16).unwrap() {
            let now_ms = emitter.clock.now_ns() / 1_000_000;
            told.push((now_ms, queries(&batch).len()));
            // Nothing is under way any more, so only the heartbeats' own promise is the watermark.
            let watermark = frames(&batch).map(|frame| frame.unwrap().header.watermark_ns).max().unwrap();
            for (seq, _) in ledger.unanswered() {
                ledger.settle(seq);
            }
            assert!(watermark <= 3 * 25_000_000, "{watermark} is later than any query");
        }
        let expected = [
            (0, 1),
            (100, 0),
            (200, 0),
            (300, 0),
            (400, 0),
            (500, 1),
            (600, 0),
            (700, 0),
            (800, 0),
            (900, 0),
            (1_000, 1),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_comes_due_while_the_backend_does_not_ask_is_the_backends_lateness() {
        let load = Load::Open { rate: 100.0, arrivals: Arrivals::Fixed };
        let (emitter, _) = emitter(&Plan { num_tasks: 300, max_in_flight: 300, load, ..plan() });
        for _ in 0..100 {
            emitter.next(16).unwrap();
        }
        // The hundredth is in its hands; a hundred more come due before it asks again.
        emitter.clock.forward(1_000);
        while emitter.next(16).unwrap().is_some() {}
        let Emitted { queries, backpressured, late, worst_lateness_ns, .. } = emitter.emitted();
        // The last of the hundred is due at this very moment.
        assert_eq!((queries, backpressured, late, worst_lateness_ns), (300, 99, 0, 0));
    }

    #[test]
    fn an_open_load_waits_for_room_which_is_the_backends_lateness() {
        let load = Load::Open { rate: 1e9, arrivals: Arrivals::Fixed };
        let (emitter, ledger) = emitter(&Plan { num_tasks: 33, max_in_flight: 20, load, ..plan() });
        // The first one starts the schedule; a millisecond later everything is due.
        emitter.next(1).unwrap();
        emitter.clock.forward(1);
        let first = queries(&emitter.next(16).unwrap().unwrap());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| queries(&emitter.next(16).unwrap().unwrap()));
            while ledger.waiters() == 0 {
                std::thread::yield_now();
            }
            assert_eq!(ledger.in_flight(), 17);
            emitter.clock.forward(200);
            for seq in first {
                ledger.settle(seq);
            }
            assert_eq!(second.join().unwrap().len(), 16);
        });
        let Emitted { backpressured, late, worst_lateness_ns, .. } = emitter.emitted();
        assert_eq!((backpressured, late, worst_lateness_ns), (16, 0, 0));
    }

    #[test]
    fn poisson_arrivals_are_seeded_and_keep_the_mean() {
        let load = Load::Open { rate: 1e6, arrivals: Arrivals::Poisson };
        let intended = || {
            let (emitter, ledger) = emitter(&Plan { num_tasks: 2_000, max_in_flight: 2_000, load, ..plan() });
            while emitter.next(64).unwrap().is_some() {}
            let all = ledger.unanswered();
            all.iter().map(|(_, p)| p.intended_ns - all[0].1.intended_ns).collect::<Vec<_>>()
        };
        let one = intended();
        assert_eq!(one, intended());
        let mean = one[1_999] as f64 / 1_999.0;
        assert!((900.0..1_100.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_drain_ends_the_stream_and_says_so() {
        let (emitter, ledger) = emitter(&plan());
        emitter.next(16).unwrap();
        ledger.drain();
        assert!(emitter.next(16).unwrap().is_none() && emitter.emitted().cut_short);
    }

    #[test]
    fn a_corpus_that_changes_during_a_run_ends_the_stream_with_an_error() {
        let (folder, corpus) = corpus();
        let (emitter, _) = emitter_over(&plan(), Some(corpus));
        fs::write(folder.path().join("corpus.jsonl"), "").unwrap();
        let error = emitter.next(16).unwrap_err().to_string();
        assert!(error.ends_with("corpus.jsonl: it was changed while it was in use"), "{error}");
        assert!(emitter.emitted().cut_short);
    }
}
