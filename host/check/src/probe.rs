//! A host object that sees every call of a plugin, and can disturb it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString, RVec};
use bench_isolate::plugin_api::v1;
use bench_measure::dataflow::frame::{Frame, frames, push_to_port};
use bench_measure::workloads::random::{self, Stream};
use bench_measure::workloads::schedule::DOC_SOURCE;

use bench_measure::guest::Guest;
use bench_measure::workers::{Ended, kill_worker};

/// What a probe does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Twist {
    #[default]
    None,
    /// Frames of a batch come in a random order.
    Shuffle,
    /// Documents come one batch late.
    LateDocuments,
    /// `graph` answers with something that is no graph.
    NoGraph,
    /// `operator` fails.
    NoOperators,
    /// The nth `next_events` fails.
    NoEvents(u64),
    /// The nth `emit` fails, and the events end.
    NoEmit(u64),
    /// The run is cancelled at the nth `next_events`.
    Cancel(u64),
    /// No more events after the nth batch, as after a first Ctrl-C.
    Drain(u64),
    /// At some of the first results a process is killed that worked on them.
    LoseWorkers,
}

/// The message of every error that a probe makes up.
pub const MADE_UP: &str = "an error that the check made up";

/// At which calls of `emit` with answers a worker is killed, and how far along the path of its records that worker is.
const LOSSES: [(u64, f64); 3] = [(2, 0.0), (8, 1.0), (16, 0.5)];

/// What a plugin did.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Arguments of `next_events`.
    pub asked: Vec<u32>,
    pub operators: u64,
    pub emits: u64,
    pub logs: Vec<(u8, String, String)>,
    pub phases: Vec<String>,
    /// When the run was cancelled.
    pub cancelled: Option<Instant>,
    /// Whether the twist came to bear.
    pub disturbed: bool,
    /// Workers that were killed, or why they were not.
    pub lost: Vec<Ended>,
}

/// The plugin's side is a [`v1::HostBox`]; this is ours.
pub struct Probe {
    guest: Arc<Guest>,
    inner: v1::HostBox,
    twist: Twist,
    seen: Mutex<Seen>,
    cancelled: AtomicBool,
    ended: AtomicBool,
    calls: AtomicU64,
    /// Calls of `emit` with answers.
    answered: AtomicU64,
    late: Mutex<Vec<u8>>,
    random: Mutex<Stream>,
}

impl Probe {
    pub fn new(guest: Arc<Guest>, twist: Twist, seed: u64) -> Arc<Self> {
        let inner = guest.host_box();
        Arc::new(Self {
            guest,
            inner,
            twist,
            seen: Mutex::default(),
            cancelled: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            late: Mutex::default(),
            random: Mutex::new(random::stream(seed, "probe", 0)),
        })
    }

    pub fn host_box(self: &Arc<Self>) -> v1::HostBox {
        v1::Host_TO::from_value(HostObject(Arc::clone(self)), TD_Opaque)
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.see().clone()
    }

    fn see(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self) {
        if !self.cancelled.swap(true, Ordering::Relaxed) {
            self.see().cancelled = Some(Instant::now());
        }
    }

    fn disturb<T>(&self) -> RResult<T, v1::BackendError> {
        self.see().disturbed = true;
        self.ended.store(true, Ordering::Relaxed);
        // Whoever waits for room would wait for ever: what failed is not answered any more.
        self.guest.ledger.drain();
        error(v1::ERROR_RUNTIME, MADE_UP)
    }

    /// Kills a process that worked on `batch`, if it is one of those at which one is to be lost.
    fn lose_worker(&self, batch: &[u8]) {
        let spans = frames(batch).filter_map(Result::ok).flat_map(|frame| frame.spans().collect::<Vec<_>>());
        let threads: Vec<u32> = spans.map(|span| span.worker).collect();
        if threads.is_empty() {
            return;
        }
        let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        let Some((_, place)) = LOSSES.iter().find(|(at, _)| *at == answered) else { return };
        let at = ((threads.len() - 1) as f64 * place) as usize;
        self.see().lost.push(kill_worker(threads[at]));
    }

    fn arrange(&self, batch: &[u8]) -> Vec<u8> {
        let all: Vec<Frame<'_>> = frames(batch).filter_map(Result::ok).collect();
        let mut out = Vec::with_capacity(batch.len());
        let mut put = |frame: &Frame<'_>| push_to_port(&mut out, *frame, frame.header.port);
        match self.twist {
            Twist::Shuffle => {
                let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
                let order = random.choose_distinct(all.len() as u32, all.len());
                order.into_iter().for_each(|at| put(&all[at as usize]));
            }
            Twist::LateDocuments => {
                let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
                let mut next = Vec::new();
                for frame in &all {
                    match frame.header.port {
                        DOC_SOURCE => push_to_port(&mut next, *frame, DOC_SOURCE),
                        _ => put(frame),
                    }
                }
                out.extend(std::mem::replace(&mut *late, next));
            }
            _ => out.extend_from_slice(batch),
        }
        out
    }
}

/// Behind the box that the plugin gets.
struct HostObject(Arc<Probe>);

fn error<T>(kind: u32, message: &str) -> RResult<T, v1::BackendError> {
    RResult::RErr(v1::BackendError { kind, message: message.into(), remedy: RString::new() })
}

impl v1::Host for HostObject {
    fn graph(&self) -> RString {
        if self.0.twist == Twist::NoGraph {
            self.0.see().disturbed = true;
            return "{\"nodes\": 7".into();
        }
        self.0.inner.graph()
    }

    fn operator(&self, node: u32, instance: u32, of: u32) -> RResult<v1::OperatorBox, v1::BackendError> {
        self.0.see().operators += 1;
        if self.0.twist == Twist::NoOperators {
            return self.0.disturb();
        }
        self.0.inner.operator(node, instance, of)
    }

    fn next_events(&self, max_items: u32) -> RResult<ROption<RVec<u8>>, v1::BackendError> {
        let probe = &self.0;
        probe.see().asked.push(max_items);
        let call = probe.calls.fetch_add(1, Ordering::Relaxed) + 1;
        match probe.twist {
            Twist::NoEvents(n) if call == n => return probe.disturb(),
            Twist::Cancel(n) if call >= n => probe.cancel(),
            Twist::Drain(n) if call > n => probe.guest.ledger.drain(),
            _ => {}
        }
        if probe.cancelled.load(Ordering::Relaxed) {
            // A source that goes on for a moment, as a real one does that is waited for.
            std::thread::sleep(Duration::from_millis(20));
            return error(v1::ERROR_CANCELLED, "the user cancelled the run");
        }
        if probe.ended.load(Ordering::Relaxed) {
            return RResult::ROk(ROption::RNone);
        }
        match probe.inner.next_events(max_items) {
            RResult::ROk(ROption::RSome(batch)) => RResult::ROk(ROption::RSome(probe.arrange(&batch).into())),
            RResult::ROk(ROption::RNone) => {
                let late = std::mem::take(&mut *probe.late.lock().unwrap_or_else(PoisonError::into_inner));
                RResult::ROk(if late.is_empty() { ROption::RNone } else { ROption::RSome(late.into()) })
            }
            failed @ RResult::RErr(_) => failed,
        }
    }

    fn emit(&self, batch: RSlice<'_, u8>) -> RResult<(), v1::BackendError> {
        let emits = {
            let mut seen = self.0.see();
            seen.emits += 1;
            seen.emits
        };
        match self.0.twist {
            Twist::NoEmit(n) if emits >= n => self.0.disturb(),
            Twist::LoseWorkers => {
                self.0.lose_worker(&batch);
                self.0.inner.emit(batch)
            }
            _ => self.0.inner.emit(batch),
        }
    }

    fn progress(&self, phase: RStr<'_>, detail: RStr<'_>) {
        self.0.see().phases.push(phase.into());
        self.0.inner.progress(phase, detail);
    }

    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>) {
        self.0.see().logs.push((level, target.into(), message.into()));
        self.0.inner.log(level, target, message);
    }

    fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed) || self.0.inner.is_cancelled()
    }

    fn extension(&self, id: RStr<'_>, request: RStr<'_>) -> ROption<RString> {
        self.0.inner.extension(id, request)
    }
}
