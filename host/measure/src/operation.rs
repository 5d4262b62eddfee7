//! The run itself, inside the runner process: load the plugin, give it a host object, measure.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use abi_stable::std_types::RVec;
use bench_dataflow::graph::{Graph, Node, Role};
use bench_isolate::plugin_api::v1;
use bench_workloads::corpus::Facts;
use bench_workloads::instance::monotonic_ns;
use bench_workloads::judge::Scores;
use bench_workloads::open::OpenWorkload;
use bench_workloads::parameters::ATTEMPTS;
use bench_workloads::schedule::QUERY_SOURCE;
use bench_workloads::seal::Key;
use bench_workloads::workload::OpenSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answers;
use super::attribution::Parts;
use super::bounds::Broken;
use super::clocks::{Clocks as WorkerClocks, WorkerUse};
use super::doubts::Doubts;
use super::emitter::Emitter;
use super::guest::{Guest, RunEvent, Timed, WorkloadLibrary};
use super::ledger::Ledger;
use super::monitor;
use super::outcome::{OperatorUse, SinkOutcome};
use super::outside::Outside;
use super::plan::Plan;
use super::proof::{Proof, Unproven};
use super::sink::Sink;
use super::trace::{self, Trace};
use bench_isolate::isolate::{self, Channel, Clocks, News, Operation};
use bench_isolate::load::load;
use bench_isolate::text::one_line;
use bench_isolate::vet::Vetted;
use bench_isolate::{Error, ErrorKind};
pub use bench_record::evidence::Account;
use bench_record::evidence::{self, Generator, Steady};
use bench_record::units::Millis;

/// File names inside the scratch directory of a run.
pub const ITEMS_FILE: &str = "items.bin";
/// The phase in which the host's own code measures what was run.
pub const MEASURE: &str = "measure";
/// What answers are called that could not be saved.
pub const ANSWERS: &str = "the answers";
/// As [`ITEMS_FILE`]; written when a trace is wanted.
pub const TRACE_FILE: &str = "trace.json";

/// One run of one plan through one plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRequest {
    pub plugin: Vetted,
    pub plan: Plan,
    pub run_id: String,
    pub library: Option<WorkloadLibrary>,
    /// A directory of this run for the results of the runner.
    pub scratch: PathBuf,
    /// A directory of this run for temporary files of the plugin.
    pub temp_dir: PathBuf,
    /// Further `extra` entries of the spec.
    pub extra: Vec<(String, String)>,
    /// Whether to keep every operator call, and how.
    pub trace: Option<trace::Format>,
    /// Whether to save every answer.
    #[serde(default)]
    pub answers: bool,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunReply {
    pub backend: Account,
    pub measured: Measured,
}

/// Bytes of all metrics together: facts about a run, not its data.
const METRICS: usize = 1 << 20;

/// Metrics, whatever they hold.
const MOST_METRICS: usize = 10_000;
/// How deeply the value of one may be nested: a record nests it some more, and whoever reads that has a limit as well.
const DEEPEST_METRIC: usize = 64;

/// Whether a value has no more than so many levels.
fn is_flat(value: &Value, levels: usize) -> bool {
    let below = |value: &Value| levels > 0 && is_flat(value, levels - 1);
    match value {
        Value::Array(list) => list.iter().all(below),
        Value::Object(map) => map.values().all(below),
        _ => true,
    }
}

/// Reads what a backend returned of its run.
///
/// # Errors
/// When it is not an account: a time that is no time, metrics that are not JSON or have no end.
pub fn account(result: v1::RunResult) -> Result<Account, Error> {
    let wrong = |what: String| {
        Err(Error::new(
            ErrorKind::Runtime,
            format!("its result {what}"),
            "report this to the plugin's author",
        ))
    };
    let elapsed_seconds = result.elapsed_seconds;
    if !elapsed_seconds.is_finite() || elapsed_seconds < 0.0 {
        return wrong(format!("states elapsed_seconds = {elapsed_seconds}, which is not a time"));
    }
    let bytes: usize = result.metrics.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
    if bytes > METRICS {
        return wrong(format!("has {bytes} bytes of metrics, more than {METRICS}"));
    }
    if result.metrics.len() > MOST_METRICS {
        return wrong(format!("has {} metrics, more than {MOST_METRICS}", result.metrics.len()));
    }
    let mut metrics = Map::new();
    for pair in result.metrics {
        match serde_json::from_str(&pair.value) {
            Ok(value) if !is_flat(&value, DEEPEST_METRIC) => {
                return wrong(format!(
                    "nests the metric `{}` deeper than {DEEPEST_METRIC}",
                    one_line(&pair.key)
                ));
            }
            Ok(value) => drop(metrics.insert(pair.key.into_string(), value)),
            Err(_) => {
                let shown: String = pair.value.chars().take(40).collect();
                let name = one_line(&pair.key);
                return wrong(format!("states the metric `{name}` as {shown}, which is not JSON"));
            }
        }
    }
    Ok(Account { elapsed_seconds, items_processed: result.items_processed, metrics })
}

/// What the host measured. Times are monotonic nanoseconds or seconds as named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    pub wall_seconds: f64,
    pub emitted: u64,
    pub completed: u64,
    pub failed: u64,
    /// Emitted and never answered.
    pub missing: u64,
    pub timed: u64,
    pub timed_completed: u64,
    pub duplicates: u64,
    pub unexpected: u64,
    pub join_empty: u64,
    /// Completed timed items per second, from the first timed emission to the last answer.
    pub throughput: f64,
    pub latency_p50: Option<Millis>,
    pub latency_p95: Option<Millis>,
    pub latency_p99: Option<Millis>,
    pub service_p50: Option<Millis>,
    pub service_p99: Option<Millis>,
    /// Null when no timed query was answered: nothing is not an answer. The supervisor's own.
    #[serde(skip)]
    pub output_digest: Option<String>,
    /// From when on the run was steady, and how many of its items are warm-up. The supervisor's own as well.
    #[serde(skip)]
    pub steady: Option<Steady>,
    #[serde(skip)]
    pub warmup: u64,
    /// The bound that it broke, and was ended for. As well.
    #[serde(skip)]
    pub broken: Option<Broken>,
    pub operators: Vec<(String, OperatorUse)>,
    pub workers: Vec<WorkerUse>,
    /// Operator calls of workers that are not listed.
    pub workers_left_out: u64,
    /// Where the time of timed queries went, by operator, and the sink.
    pub attribution: Vec<(String, Parts)>,
    /// Why that is not known, where it is not.
    pub unattributed: Option<String>,
    /// The clocks of other machines.
    pub clocks: Vec<evidence::Clock>,
    /// What workers used that bench did not start.
    pub outside: Outside,
    /// Answers that are not the work of the run's operators.
    pub unproven: Unproven,
    /// What spans say that cannot be: then the two above are not the whole of it.
    pub doubts: Doubts,
    pub late: u64,
    pub worst_lateness_seconds: f64,
    /// How well an open load kept to its schedule.
    pub generator: Option<Generator>,
    pub reasons: Vec<String>,
    /// Failed items whose reason is not listed.
    pub reasons_left_out: u64,
    pub scores: Option<Scores>,
    /// What is to be told about the corpus.
    pub corpus: Option<Facts>,
    /// How often the clock of the runner's process was found to be another than the kernel's.
    pub wrong_clock: u64,
    /// The stream was cut short by the user.
    pub partial: bool,
    /// What could not be written down, and why. The figures do not suffer.
    pub unwritten: Vec<String>,
    pub peak_rss_bytes: u64,
    pub simd: String,
}

impl Measured {
    /// How many timed queries there were, and the first reason, when not one of them was answered. Whatever
    /// else such a run measured says nothing about the backend.
    #[must_use]
    pub fn unanswered(&self) -> Option<(u64, Option<String>)> {
        (self.timed_completed == 0).then(|| (self.timed, self.reasons.first().cloned()))
    }
}

/// The operation that runs a plan.
pub struct Run;

impl Operation for Run {
    const NAME: &'static str = "run";
    type Request = RunRequest;
    type Reply = RunReply;
    type Event = RunEvent;

    fn subject(request: &RunRequest) -> String {
        format!("backend `{}`", request.plugin.name)
    }

    fn news(event: &RunEvent) -> Option<News> {
        event.news()
    }

    fn log_line(event: &RunEvent) -> Option<String> {
        event.log_line()
    }

    fn execute(request: RunRequest, channel: &Channel<RunEvent>) -> Result<RunReply, Error> {
        let backend = load(&request.plugin, &|phase| channel.phase(phase))?;
        channel.phase("is_available");
        let answer = backend.availability();
        if !answer.available {
            return Err(Error::new(ErrorKind::Unavailable, answer.detail, answer.remedy));
        }
        channel.phase("open workload");
        let guest = Arc::new(guest(&request, channel).map_err(host_error)?);
        let reporting = Reporting::start(Arc::clone(&guest));
        channel.phase(isolate::RUN);
        let started_ns = monotonic_ns();
        let result = backend.run(spec(&request), guest.host_box());
        let wall_seconds = (monotonic_ns() - started_ns) as f64 / 1e9;
        guest.end();
        drop(reporting);
        channel.drop_after_answer(backend);
        let result = result?;
        channel.phase(MEASURE);
        let measured = measure(&request, &guest, wall_seconds).map_err(host_error)?;
        Ok(RunReply { backend: account(result)?, measured })
    }
}

/// Makes a file that is not there yet: a plugin could have put a link there.
fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).open(path).map_err(about(path))
}

/// The same error, with the name of the file.
fn about(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |cause| io::Error::new(cause.kind(), format!("{}: {cause}", path.display()))
}

fn host_error(cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Host, cause.to_string(), "")
}

pub fn guest(request: &RunRequest, channel: &Channel<RunEvent>) -> Result<Guest, Box<dyn std::error::Error>> {
    let plan = &request.plan;
    let key = Key::random();
    let workload = OpenWorkload::with_texts(OpenSpec { key: Some(key), ..plan.open_spec() })?;
    let ledger = Arc::new(Ledger::default());
    let graph = workload.graph();
    let on_path = graph.nodes.iter().map(|node| on_path(graph, node)).collect();
    // The plugin is loaded: nothing that it may have put there is written into.
    let items = create(&request.scratch.join(ITEMS_FILE))?;
    Ok(Guest {
        emitter: Emitter::new(plan, workload.schedule()?, Arc::clone(&ledger)),
        sink: Sink::new(Arc::clone(&ledger), on_path, items, workload.judge())
            .with_runs(request.scratch.clone())
            .within(plan.bounds.clone())
            .wanting(Proof::of(graph, key))
            .with_clocks(WorkerClocks::new(key))
            .with_answers(
                request.answers.then(|| create(&request.scratch.join(answers::FILE_NAME))).transpose()?,
            )
            .with_trace(request.trace.map(|_| Trace::default())),
        workload,
        ledger,
        library: request.library.clone(),
        channel: channel.clone(),
        timed: Timed::of(u64::from(plan.num_tasks.saturating_sub(plan.warmup_items))),
        clocks: Clocks::default(),
    })
}

pub fn spec(request: &RunRequest) -> v1::WorkloadSpec {
    let plan = &request.plan;
    let pair = |key: &str, value: String| v1::Pair { key: key.into(), value: value.into() };
    let mut extra = RVec::from(vec![
        pair("nodes", plan.nodes.to_string()),
        pair("parity_batch_size", plan.parity_batch_size.to_string()),
        pair("max_in_flight", plan.max_in_flight.to_string()),
        pair("seed", plan.seed.to_string()),
        pair("run_id", request.run_id.clone()),
        pair("temp_dir", request.temp_dir.display().to_string()),
        pair(ATTEMPTS, plan.params.attempts().to_string()),
    ]);
    extra.extend(request.extra.iter().map(|(key, value)| pair(key, value.clone())));
    v1::WorkloadSpec {
        name: plan.workload.name().into(),
        total_items: u64::from(plan.num_tasks),
        parallelism: plan.parallelism,
        scheduler_name: plan.scheduler.as_str().into(),
        extra,
    }
}

fn measure(
    request: &RunRequest,
    guest: &Guest,
    wall_seconds: f64,
) -> Result<Measured, Box<dyn std::error::Error>> {
    let emitted = guest.emitter.emitted();
    let sunk = guest.sink.close()?;
    let unanswered = guest.ledger.unanswered();
    let trace = sunk.trace.as_ref().map(|trace| save_trace(request, guest, trace, &sunk.clocks));
    // What was measured is worth more than any of the files about it.
    let unwritten = trace.and_then(Result::err).map(|cause| format!("the trace: {cause}"));
    let unsaved = sunk.unsaved.as_ref().map(|cause| format!("{ANSWERS}: {cause}"));
    let (_, peak_rss_bytes) = monitor::own_usage();
    Ok(Measured {
        wall_seconds,
        emitted: emitted.queries,
        completed: sunk.completed,
        failed: sunk.failed,
        missing: unanswered.len() as u64,
        timed: sunk.timed_completed
            + sunk.timed_failed
            + unanswered.iter().filter(|(_, p)| p.timed).count() as u64,
        timed_completed: sunk.timed_completed,
        duplicates: sunk.duplicates,
        unexpected: sunk.unexpected,
        join_empty: guest.workload.source().documents.map_or(0, |_| sunk.join_empty),
        throughput: throughput(sunk.timed_completed, emitted.first_timed_ns, sunk.last_ns),
        latency_p50: sunk.response.quantile(0.50),
        latency_p95: sunk.response.quantile(0.95),
        latency_p99: sunk.response.quantile(0.99),
        service_p50: sunk.service.quantile(0.50),
        service_p99: sunk.service.quantile(0.99),
        output_digest: None,
        steady: None,
        warmup: 0,
        broken: None,
        operators: operators(guest, &sunk),
        workers_left_out: sunk.workers_left_out,
        reasons_left_out: sunk.reasons_left_out,
        workers: sunk.workers(),
        attribution: attribution(guest, &sunk),
        clocks: sunk.clocks.evidence(),
        outside: sunk.outside,
        unattributed: sunk.unattributed,
        unproven: sunk.unproven,
        doubts: sunk.doubts,
        late: emitted.late,
        generator: guest.emitter.generator(),
        worst_lateness_seconds: emitted.worst_lateness_ns as f64 / 1e9,
        reasons: sunk.reasons,
        scores: sunk.scores,
        corpus: guest.workload.corpus().map(|corpus| corpus.facts().clone()),
        wrong_clock: guest.clocks.wrong(),
        partial: emitted.cut_short,
        unwritten: unwritten.into_iter().chain(unsaved).collect(),
        peak_rss_bytes,
        simd: bench_workloads::vector::kernel_name().to_owned(),
    })
}

fn save_trace(
    request: &RunRequest,
    guest: &Guest,
    trace: &Trace,
    clocks: &WorkerClocks,
) -> std::io::Result<()> {
    let mut file = BufWriter::new(create(&request.scratch.join(TRACE_FILE))?);
    let graph = guest.workload.graph();
    match request.trace {
        Some(trace::Format::Otlp) => {
            trace.write_otlp(graph, &request.run_id, (clocks, epoch_ns()), &mut file)?;
        }
        _ => trace.write(graph, clocks, &mut file)?,
    }
    file.flush()
}

/// Completed timed items per second, from the first timed emission to the last answer.
#[must_use]
pub fn throughput(timed_completed: u64, first_ns: Option<u64>, last_ns: Option<u64>) -> f64 {
    match (first_ns, last_ns) {
        (Some(first), Some(last)) if last > first => timed_completed as f64 * 1e9 / (last - first) as f64,
        _ => 0.0,
    }
}

/// Whether queries pass a node: some only see documents, which end where they meet the queries.
fn on_path(graph: &Graph, node: &Node) -> bool {
    let is_of_documents =
        |node: u32| node != u32::from(QUERY_SOURCE) && graph.nodes[node as usize].role == Role::Source;
    graph.inputs(node.id).any(|edge| !is_of_documents(edge.from))
}

fn attribution(guest: &Guest, sunk: &SinkOutcome) -> Vec<(String, Parts)> {
    let nodes = guest.workload.graph().nodes.iter().zip(sunk.attribution.parts());
    let places = nodes.filter(|(node, _)| node.role != Role::Source);
    places.map(|(node, parts)| (node.name.clone(), parts)).collect()
}

/// What the monotonic clock has to be moved by to count from 1970.
fn epoch_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64).saturating_sub(monotonic_ns())
}

/// Records and time per operator. Documents end where they meet the queries, so their spans ride on whichever query
/// comes next: how many there were is known exactly only from what the queries had to wait for.
fn operators(guest: &Guest, sunk: &SinkOutcome) -> Vec<(String, OperatorUse)> {
    let graph = guest.workload.graph();
    let documents = guest.workload.source().documents;
    let documents = sunk.docs_seen.saturating_sub(documents.map_or(0, |documents| documents.prefill));
    graph
        .operators()
        .map(|node| {
            let mut usage = sunk.operators[node.id as usize];
            if !on_path(graph, node) {
                usage.records = documents;
            }
            (node.name.clone(), usage)
        })
        .collect()
}

/// How often stages are reported.
const STAGES_PERIOD: Duration = Duration::from_secs(1);

/// Tells the host how far the run is, at its start, ten times a second and at its end, and passes a drain on.
struct Reporting {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reporting {
    fn start(guest: Arc<Guest>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut last: Option<Instant> = None;
            loop {
                // Read before the counts, so that the last report is a whole one.
                let ends = stop.load(Ordering::Relaxed);
                guest.clocks.compare(monotonic_ns);
                let (finished, failed, response_ns) = guest.sink.progress();
                let in_flight = guest.ledger.in_flight() as u64;
                guest.channel.event(RunEvent::Progress {
                    emitted: finished + in_flight,
                    finished,
                    failed,
                    in_flight,
                    response_ns,
                });
                if ends || last.is_none_or(|last| last.elapsed() >= STAGES_PERIOD) {
                    last = Some(Instant::now());
                    guest.channel.event(RunEvent::Stages(guest.sink.stages(guest.workload.graph())));
                }
                if guest.channel.is_draining() {
                    guest.ledger.drain();
                }
                if ends {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        Self { done, thread: Some(thread) }
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A reporter that panicked has nothing more to report.
            let _ = thread.join();
        }
    }
}
