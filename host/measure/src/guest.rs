//! The host object: what a plugin talks to during a run, inside the runner process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString, RVec};
use bench_isolate::plugin_api::v1;
use bench_workloads::instance::{Instance, monotonic_ns};
use bench_workloads::open::OpenWorkload;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::clocks::{self, Told};
use super::emitter::Emitter;
use super::ledger::Ledger;
use super::outcome::StageUse;
use super::runtime_logs;
use super::sink::Sink;
use bench_isolate::isolate::{Channel, Clocks, News};
use bench_isolate::text::bounded;

/// What the runner tells the host while a run goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEvent {
    /// How far the run is; `response_ns` is the sum over all finished items.
    Progress { emitted: u64, finished: u64, failed: u64, in_flight: u64, response_ns: u64 },
    /// What each stage did so far.
    Stages(Vec<StageUse>),
    /// A phase began, by the backend's account, at this monotonic time.
    Phase { name: String, detail: String, at_ns: u64 },
    /// A log line of the plugin.
    Log { level: u8, target: String, message: String },
    /// Where the runtime writes logs of its own, as patterns.
    LogFiles(Vec<String>),
    /// Processes of this machine that work for the run and that bench did not start.
    Workers(Vec<u32>),
    /// Queries begin or cease to be timed.
    Timed(Edge),
}

impl RunEvent {
    /// How far the run is by this event.
    #[must_use]
    pub fn news(&self) -> Option<News> {
        match self {
            Self::Phase { name, detail, .. } => {
                Some(News::Step { name: name.clone(), waits: detail.clone() })
            }
            Self::Progress { emitted, finished, .. } => {
                Some(News::Count { begun: *emitted, ended: *finished })
            }
            Self::Stages(_) | Self::Log { .. } | Self::LogFiles(_) | Self::Workers(_) | Self::Timed(_) => {
                None
            }
        }
    }

    /// What belongs into the log of the run.
    #[must_use]
    pub fn log_line(&self) -> Option<String> {
        match self {
            Self::Phase { name, detail, .. } if detail.is_empty() => Some(format!("PHASE {name}")),
            Self::Phase { name, detail, .. } => Some(format!("PHASE {name}: {detail}")),
            Self::Log { level, target, message } => {
                Some(format!("{} {target}: {message}", level_name(*level)))
            }
            Self::Progress { .. }
            | Self::Stages(_)
            | Self::LogFiles(_)
            | Self::Workers(_)
            | Self::Timed(_) => None,
        }
    }
}

fn level_name(level: u8) -> &'static str {
    match level {
        1 => "ERROR",
        2 => "WARN",
        3 => "INFO",
        4 => "DEBUG",
        _ => "TRACE",
    }
}

/// One of the two ends of the time in which queries are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// The first timed query was handed out.
    Began,
    /// The last was answered, or none will be any more.
    Ended,
}

/// The workload library, for engines whose workers are other processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadLibrary {
    pub path: PathBuf,
    pub sha256: String,
}

/// Shared by the plugin's host object and the runner's own threads.
pub struct Guest {
    pub workload: OpenWorkload,
    pub emitter: Emitter,
    pub sink: Sink,
    pub ledger: Arc<Ledger>,
    pub library: Option<WorkloadLibrary>,
    pub channel: Channel<RunEvent>,
    pub timed: Timed,
    /// Whether the clock of this process is the kernel's.
    pub clocks: Clocks,
}

/// What is said against a backend whose process has another clock than the kernel.
pub const WRONG_CLOCK: &str = "the clock of its process is not the kernel's: something has replaced it";

/// How far the timed queries are: each edge is told once, and in order.
#[derive(Debug)]
pub struct Timed {
    queries: u64,
    told: AtomicU8,
}

impl Timed {
    /// Of so many queries that are to be timed.
    #[must_use]
    pub fn of(queries: u64) -> Self {
        Self { queries, told: AtomicU8::new(0) }
    }

    /// The edge that is reached with this, if there is one: whether a timed query was handed out, and how
    /// many were answered.
    fn reached(&self, begun: bool, answered: u64) -> Option<Edge> {
        let (before, edge) = match self.told.load(Ordering::Relaxed) {
            0 if begun => (0, Edge::Began),
            1 if answered >= self.queries => (1, Edge::Ended),
            _ => return None,
        };
        let told = self.told.compare_exchange(before, before + 1, Ordering::Relaxed, Ordering::Relaxed);
        told.is_ok().then_some(edge)
    }
}

impl Guest {
    /// Tells the host when the timed queries begin and when they are over.
    fn tell_edges(&self) {
        if let Some(edge) = self.timed.reached(self.emitter.is_timing(), self.sink.timed()) {
            self.clocks.compare(monotonic_ns);
            self.channel.event(RunEvent::Timed(edge));
        }
    }

    /// No query will be answered any more.
    pub fn end(&self) {
        if let Some(edge) = self.timed.reached(false, u64::MAX) {
            self.channel.event(RunEvent::Timed(edge));
        }
    }

    /// The object to hand to a plugin.
    #[must_use]
    pub fn host_box(self: &Arc<Self>) -> v1::HostBox {
        v1::Host_TO::from_value(HostObject(Arc::clone(self)), TD_Opaque)
    }
}

/// Bytes of what a plugin says on the way: of a name, of what it waits for, and of a message to the log. A message to
/// the host has an end, and so has what it is told through.
const NAME: usize = 256;
const WORDS: usize = 4 << 10;
const MESSAGE: usize = 64 << 10;

struct HostObject(Arc<Guest>);

fn error(kind: u32, message: impl Into<RString>) -> v1::BackendError {
    v1::BackendError { kind, message: message.into(), remedy: RString::new() }
}

impl v1::Host for HostObject {
    fn graph(&self) -> RString {
        serde_json::to_string(self.0.workload.graph()).expect("a graph is plain data").into()
    }

    fn operator(&self, node: u32, instance: u32, of: u32) -> RResult<v1::OperatorBox, v1::BackendError> {
        match self.0.workload.operator(node, instance, of) {
            Ok(instance) => {
                RResult::ROk(v1::Operator_TO::from_value(OperatorObject::new(instance), TD_Opaque))
            }
            Err(cause) => RResult::RErr(error(v1::ERROR_INVALID, cause.to_string())),
        }
    }

    fn next_events(&self, max_items: u32) -> RResult<ROption<RVec<u8>>, v1::BackendError> {
        if self.is_cancelled() {
            return RResult::RErr(error(v1::ERROR_CANCELLED, "the user cancelled the run"));
        }
        if self.0.channel.is_draining() {
            self.0.ledger.drain();
        }
        self.0.clocks.compare_sometimes(monotonic_ns);
        let batch = self.0.emitter.next(max_items);
        self.0.tell_edges();
        match batch {
            Ok(batch) => RResult::ROk(batch.map(RVec::from).into()),
            Err(cause) => RResult::RErr(error(v1::ERROR_RUNTIME, cause.to_string())),
        }
    }

    fn emit(&self, batch: RSlice<'_, u8>) -> RResult<(), v1::BackendError> {
        self.0.clocks.compare_sometimes(monotonic_ns);
        let taken = self.0.sink.take(batch.as_slice());
        self.0.tell_edges();
        match taken {
            Ok(()) => RResult::ROk(()),
            Err(cause) => RResult::RErr(error(v1::ERROR_RUNTIME, cause.to_string())),
        }
    }

    fn progress(&self, phase: RStr<'_>, detail: RStr<'_>) {
        let (name, detail) = (bounded(&phase, NAME), bounded(&detail, WORDS));
        self.0.channel.event(RunEvent::Phase { name, detail, at_ns: monotonic_ns() });
    }

    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>) {
        let (target, message) = (bounded(&target, NAME), bounded(&message, MESSAGE));
        self.0.channel.event(RunEvent::Log { level, target, message });
    }

    fn is_cancelled(&self) -> bool {
        self.0.channel.is_cancelled()
    }

    /// `bench.workloads/1`: where the workload library is and how workers open it.
    /// `bench.draining/1`: `true` once the first Ctrl-C came.
    /// `bench.logs/1`: takes note of where the runtime writes logs of its own.
    /// `bench.clocks/1`: takes note of where workers are, what their clocks show and what they have used.
    fn extension(&self, id: RStr<'_>, request: RStr<'_>) -> ROption<RString> {
        let answer = match id.as_str() {
            "bench.workloads/1" => self.0.library.as_ref().map(|library| {
                json!({
                    "library": library.path,
                    "sha256": library.sha256,
                    "abi": bench_workloads::ffi::ABI,
                    "open": self.0.workload.spec(),
                })
                .to_string()
            }),
            "bench.draining/1" => Some(self.0.channel.is_draining().to_string()),
            runtime_logs::EXTENSION => {
                let request = serde_json::from_str::<runtime_logs::Request>(request.as_str()).ok();
                request.map(|request| {
                    let (files, left_out) = request.taken();
                    if left_out > 0 {
                        self.log(2, "bench".into(), (&*runtime_logs::left_out(left_out)).into());
                    }
                    self.0.channel.event(RunEvent::LogFiles(files));
                    "{}".to_owned()
                })
            }
            clocks::EXTENSION => {
                let told = serde_json::from_str::<Told>(request.as_str());
                if let Err(cause) = &told {
                    let message =
                        format!("what the backend says of its workers' clocks is not understood: {cause}");
                    self.log(2, "bench".into(), (&*message).into());
                }
                told.ok().map(|told| {
                    self.0.channel.event(RunEvent::Workers(self.0.sink.told(told)));
                    "{}".to_owned()
                })
            }
            _ => None,
        };
        answer.map(RString::from).into()
    }
}

struct OperatorObject {
    instance: Instance,
    /// Length of the last output: the next one is probably about as long.
    usual: usize,
}

impl OperatorObject {
    fn new(instance: Instance) -> Self {
        Self { instance, usual: 0 }
    }
}

impl v1::Operator for OperatorObject {
    fn process(&mut self, batch: RSlice<'_, u8>) -> RResult<RVec<u8>, v1::BackendError> {
        let mut output = Vec::with_capacity(self.usual);
        match self.instance.process(batch.as_slice(), &mut output) {
            Ok(()) => {
                self.usual = output.len();
                RResult::ROk(output.into())
            }
            Err(cause) => RResult::RErr(error(v1::ERROR_RUNTIME, cause.to_string())),
        }
    }

    fn finish(&mut self) -> RResult<RVec<u8>, v1::BackendError> {
        let mut output = Vec::new();
        match self.instance.finish(&mut output) {
            Ok(()) => RResult::ROk(output.into()),
            Err(cause) => RResult::RErr(error(v1::ERROR_RUNTIME, cause.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_edge_is_told_once_and_the_end_never_first() {
        let timed = Timed::of(2);
        assert_eq!(timed.reached(false, u64::MAX), None);
        assert_eq!(timed.reached(true, 0), Some(Edge::Began));
        assert_eq!(timed.reached(true, 1), None);
        assert_eq!(timed.reached(true, 2), Some(Edge::Ended));
        assert_eq!(timed.reached(true, 2), None);
        assert_eq!(timed.reached(false, u64::MAX), None);
    }

    #[test]
    fn a_run_that_ends_early_ends_its_timed_queries() {
        let timed = Timed::of(100);
        timed.reached(true, 0);
        assert_eq!(timed.reached(false, u64::MAX), Some(Edge::Ended));
    }
}
