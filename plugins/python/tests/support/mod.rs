//! A host with a real workload, its real schedule and a closed load: enough of `bench` to run an
//! engine and to tell whether its answers are right.

#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString, RVec};
use bench_plugin_api::dataflow::frame::{self, Header, Kind, frames};
use bench_plugin_api::sdk::{Host, InlinePipeline, Spec};
use bench_plugin_api::v1;
use bench_workloads::instance::{Instance, monotonic_ns};
use bench_workloads::list;
use bench_workloads::open::{OpenWorkload, prepare};
use bench_workloads::parameters::Values;
use bench_workloads::records::Answer;
use bench_workloads::schedule::Schedule;
use bench_workloads::wl4::params::Params;
use bench_workloads::workload::OpenSpec;

/// What became of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Query id, answer, ranking.
    Answer(String, String, Vec<String>),
    /// It is a tombstone.
    Failed,
}

/// Everything a test can see of a run.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub outcomes: BTreeMap<u64, Outcome>,
    pub duplicates: u64,
    pub emitted: u64,
    pub phases: Vec<String>,
    pub log: Vec<String>,
    pub latencies_ns: Vec<u64>,
    pub first_ns: u64,
    pub last_ns: u64,
    pub workers: Vec<u32>,
}

struct State {
    schedule: std::iter::Peekable<Schedule>,
    /// Event time and emission of queries under way.
    pending: BTreeMap<u64, (i64, u64)>,
    seen: Seen,
}

/// The host of a run, and what it saw.
pub struct Bench {
    pub open: OpenSpec,
    workload: OpenWorkload,
    library: Option<PathBuf>,
    max_in_flight: usize,
    state: Mutex<State>,
    changed: Condvar,
    pub cancelled: AtomicBool,
}

/// Where cargo left the workload library: beside the test's own dependencies.
pub fn library() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let mut dirs = own.ancestors().skip(1).take(3);
    let name = "libbench_workloads.so";
    let places = |dir: &Path| [dir.join(name), dir.join("deps").join(name)];
    dirs.find_map(|dir| places(dir).into_iter().find(|place| place.is_file()))
        .expect("libbench_workloads.so lies beside the test's dependencies")
}

/// Small enough for a test, with everything wl4 has.
pub fn open_spec(workload: &str, queries: u32, cache_dir: &Path) -> OpenSpec {
    let params = Params { vdb1_corpus_size: 1_000, vdb2_corpus_size: 1_000, ..Params::default() };
    let (params, cache_dir) = (Values::of(&params), cache_dir.to_owned());
    OpenSpec {
        workload: workload.into(),
        seed: 42,
        num_tasks: queries,
        params,
        corpus_digest: None,
        served: None,
        key: None,
        placed: false,
        cache_dir,
    }
}

/// The same with a parameter set.
pub fn set(mut open: OpenSpec, name: &str, value: &str) -> OpenSpec {
    let workload = list::find(&open.workload).expect("the workload is listed");
    workload.parameters().set_text(&mut open.params, name, value).expect("the parameter can be set");
    open
}

impl Bench {
    pub fn new(open: OpenSpec, max_in_flight: usize) -> Arc<Self> {
        prepare(&open, &mut |_| ()).expect("the workload can be prepared");
        let workload = OpenWorkload::with_texts(open.clone()).expect("the workload opens");
        let state = State {
            schedule: workload.schedule().expect("the parameters are its own").peekable(),
            pending: BTreeMap::new(),
            seen: Seen::default(),
        };
        let held = workload.graph().min_in_flight as usize;
        Arc::new(Self {
            open,
            workload,
            library: Some(library()),
            max_in_flight: max_in_flight.max(2 * held),
            state: Mutex::new(state),
            changed: Condvar::new(),
            cancelled: AtomicBool::new(false),
        })
    }

    pub fn host(self: &Arc<Self>) -> Host {
        Host::new(v1::Host_TO::from_value(HostObject(Arc::clone(self)), TD_Opaque))
    }

    pub fn seen(&self) -> Seen {
        self.state().seen.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A spec for `bench`.
pub fn spec(bench: &Bench, parallelism: u32, batch: u32, temp_dir: &Path) -> Spec {
    let pair = |key: &str, value: String| (key.to_owned(), value);
    Spec {
        name: bench.open.workload.clone(),
        total_items: bench.open.num_tasks.into(),
        parallelism,
        scheduler_name: "default".into(),
        extra: vec![
            pair("parity_batch_size", batch.to_string()),
            pair("max_in_flight", bench.max_in_flight.to_string()),
            pair("temp_dir", temp_dir.display().to_string()),
        ],
    }
}

/// What the answers must be, by the one-thread pipeline.
pub fn oracle(open: &OpenSpec) -> BTreeMap<u64, Outcome> {
    let bench = Bench::new(open.clone(), 64);
    let host = bench.host();
    let mut pipeline = InlinePipeline::new(&host).expect("operators can be made");
    while let Some(events) = host.next_events(16).expect("events") {
        host.emit(&pipeline.process(&events).expect("a batch")).expect("results");
    }
    host.emit(&pipeline.finish().expect("once")).expect("results");
    let seen = bench.seen();
    assert_eq!((seen.emitted, seen.duplicates), (open.num_tasks.into(), 0));
    seen.outcomes
}

struct HostObject(Arc<Bench>);

fn invalid(message: impl ToString) -> v1::BackendError {
    let message = message.to_string().into();
    v1::BackendError { kind: v1::ERROR_INVALID, message, remedy: RString::new() }
}

impl v1::Host for HostObject {
    fn graph(&self) -> RString {
        serde_json::to_string(self.0.workload.graph()).expect("a graph is plain data").into()
    }

    fn operator(&self, node: u32, instance: u32, of: u32) -> RResult<v1::OperatorBox, v1::BackendError> {
        match self.0.workload.operator(node, instance, of) {
            Ok(made) => RResult::ROk(v1::Operator_TO::from_value(OperatorObject(made), TD_Opaque)),
            Err(cause) => RResult::RErr(invalid(cause)),
        }
    }

    fn next_events(&self, max_items: u32) -> RResult<ROption<RVec<u8>>, v1::BackendError> {
        let full = |state: &mut State| state.pending.len() + max_items as usize > self.0.max_in_flight;
        let mut state =
            self.0.changed.wait_while(self.0.state(), full).unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        for _ in 0..max_items {
            while let Some(event) = state.schedule.next() {
                let event = event.expect("texts are synthetic");
                let now = monotonic_ns();
                if event.position.is_some() {
                    state.pending.insert(event.header.seq, (event.header.event_time_ns, now));
                    state.seen.emitted += 1;
                    if state.seen.first_ns == 0 {
                        state.seen.first_ns = now;
                    }
                }
                let oldest = state.pending.first_key_value().map(|(_, (event_time, _))| *event_time);
                let watermark_ns = oldest.unwrap_or(event.header.event_time_ns);
                frame::push(&mut batch, Header { watermark_ns, ..event.header }, &event.body, b"");
                if event.position.is_some() {
                    break;
                }
            }
        }
        RResult::ROk(if batch.is_empty() { ROption::RNone } else { ROption::RSome(batch.into()) })
    }

    fn emit(&self, batch: RSlice<'_, u8>) -> RResult<(), v1::BackendError> {
        let now = monotonic_ns();
        let mut state = self.0.state();
        for record in frames(batch.as_slice()) {
            let record = match record {
                Ok(record) if record.header.kind == Kind::Heartbeat => continue,
                Ok(record) => record,
                Err(cause) => return RResult::RErr(invalid(cause)),
            };
            let outcome = match bench_workloads::operator::decode::<Answer>(&record) {
                Ok(answer) if record.header.kind == Kind::Data => {
                    Outcome::Answer(answer.query_id, answer.response, answer.ranking)
                }
                _ => Outcome::Failed,
            };
            match state.pending.remove(&record.header.seq) {
                Some((_, emitted)) => state.seen.latencies_ns.push(now - emitted),
                None => state.seen.duplicates += 1,
            }
            state.seen.workers.extend(record.spans().map(|span| span.worker));
            state.seen.outcomes.insert(record.header.seq, outcome);
            state.seen.last_ns = now;
        }
        state.seen.workers.sort_unstable();
        state.seen.workers.dedup();
        self.0.changed.notify_all();
        RResult::ROk(())
    }

    fn progress(&self, phase: RStr<'_>, _: RStr<'_>) {
        let phases = &mut self.0.state().seen.phases;
        phases.push(phase.into());
        phases.dedup(); // Within a phase it may wait for one thing after another.
    }

    fn log(&self, _: u8, _: RStr<'_>, message: RStr<'_>) {
        self.0.state().seen.log.push(message.into());
    }

    fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    fn extension(&self, id: RStr<'_>, _: RStr<'_>) -> ROption<RString> {
        let library = self.0.library.as_ref().filter(|_| id.as_str() == "bench.workloads/1");
        let answer = library.map(|path| {
            let open = &self.0.open;
            serde_json::json!({"library": path, "sha256": "", "abi": 1, "open": open}).to_string().into()
        });
        answer.into()
    }
}

struct OperatorObject(Instance);

impl v1::Operator for OperatorObject {
    fn process(&mut self, batch: RSlice<'_, u8>) -> RResult<RVec<u8>, v1::BackendError> {
        let mut output = Vec::new();
        let done = self.0.process(batch.as_slice(), &mut output).map_err(invalid);
        done.map(|()| output.into()).into()
    }

    fn finish(&mut self) -> RResult<RVec<u8>, v1::BackendError> {
        let mut output = Vec::new();
        let done = self.0.finish(&mut output).map_err(invalid);
        done.map(|()| output.into()).into()
    }
}
