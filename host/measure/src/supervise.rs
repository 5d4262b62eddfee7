//! One run from the outside: start the runner process, watch it, check its answer, keep the results.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::answers;
use super::artefacts::{self, Artefacts};
use super::course::Cut;
use super::guest::{RunEvent, WRONG_CLOCK, WorkloadLibrary};
use super::item::read_items;
use super::loss::{Kill, Loss};
use super::monitor::{Course, Seen, TreeMonitor};
use super::nodes;
use super::operation::{ANSWERS, Account, ITEMS_FILE, Measured, Run, RunReply, RunRequest};
use super::outcome::{MOST_WORKERS, REASONS_KEPT};
use super::plan::Plan;
use super::received::Received;
use super::runtime_logs;
use super::trace::Format;
use super::validity::Finding;
use super::watched::Watched;
use bench_isolate::describe::Description;
use bench_isolate::discover::BackendName;
use bench_isolate::isolate::{
    Answer, Cause, Directive, Failure, Limits, Notice, Remark, Runner, SPOKE_ON, Stop, scratch_path,
    short_scratch_path, temp_dir,
};
use bench_isolate::text::bounded;
use bench_isolate::vet::Vetted;
use bench_record::evidence::{self, Evidence, Killed};
use bench_record::found::Found;
use bench_record::time::UtcTime;
use bench_record::units::{Fraction, ItemsPerSecond, Seconds};
use bench_record::{
    self as results, OutputLock, Record, ReproManifest, atomic, csv, folder, histogram, json_style, jsonl,
    manifest, vectors,
};
use bench_workloads::records::Goals;

/// What a run needs besides its plan.
pub struct Job<'a> {
    pub plan: &'a Plan,
    pub plugin: &'a Vetted,
    pub description: &'a Description,
    pub run_id: &'a str,
    pub repeat_index: u32,
    pub output_dir: &'a Path,
    /// The run's own folder; see [`claim_folder`].
    pub folder: &'a Path,
    pub library: Option<WorkloadLibrary>,
    pub memory_limit: Option<u64>,
    /// The backend's own settings: no part of the plan, because another backend knows nothing of them.
    pub options: Vec<(String, String)>,
    /// Where in a campaign the run belongs.
    pub place: evidence::Place,
    /// Servers on this machine that the run asks: what they use is neither the run's nor others'.
    pub servers: Vec<evidence::Server>,
    /// Where a trace of every operator call goes.
    pub trace: Option<(&'a Path, Format)>,
    /// Whether every answer is saved.
    pub answers: bool,
    /// What is killed on the way. Whatever becomes of the run, its folder has every answer that came, as
    /// [`super::completions::FILE_NAME`].
    pub loss: Option<Loss>,
}

/// What a user sees of a run while it goes on.
pub trait Watcher {
    fn event(&mut self, event: &RunEvent);
    fn phase(&mut self, phase: &str);
}

/// Nobody watches.
impl Watcher for () {
    fn event(&mut self, _event: &RunEvent) {}

    fn phase(&mut self, _phase: &str) {}
}

/// A run that ended with a record.
#[derive(Debug)]
pub struct Finished {
    pub record: Record,
    pub measured: Measured,
    pub findings: Vec<Finding>,
    /// What was not as it should be, and cost nothing.
    pub remarks: Vec<Remark>,
    /// Folder with the run's items, histogram and log.
    pub folder: PathBuf,
    /// Memory of the process tree over time, in bytes.
    pub memory: Course,
}

/// A run whose record is there and which is not where all of it should be.
#[derive(Debug)]
pub struct Unwritten {
    pub finished: Finished,
    /// Where the record is.
    pub place: Place,
    /// What could not be written, each with its cause.
    pub causes: Vec<String>,
}

/// Where a record is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the others.
    Results,
    /// In a file of its own, one line long, as the results would have it.
    Beside(PathBuf),
    /// In this process only.
    Nowhere,
}

/// Name of the log in a run's folder.
pub const LOG_FILE: &str = "run.log";
/// Name of the file beside a run's log for a record that the results could not take.
const RECORD_FILE: &str = "record.json";

/// Why it is not known what others used.
const HIDDEN: &str = "workers of the run are on this machine under process ids that mean nothing here";

/// What makes the environment of a run longer, so that its stack begins elsewhere (Mytkowicz et al., ASPLOS 2009).
const LAYOUT_VARIABLE: &str = "BENCH_LAYOUT";

/// Bytes of what is said against a backend: it may quote the backend.
const LONGEST_WRONG: usize = 2 << 10;
/// Bytes of a reply at most. The runner's own, which caps all that is in one, comes to no tenth of it; what a plugin
/// says in its place would be in the record.
const LARGEST_REPLY: usize = 16 << 20;

/// Makes the folder of one run, which no other has: two commands may share a run id.
///
/// # Errors
/// When it cannot be made.
pub fn claim_folder(
    output_dir: &Path,
    run_id: &str,
    backend: &str,
    repeat_index: u32,
) -> results::Result<PathBuf> {
    folder::claim(output_dir, &format!("{run_id}-{backend}-{repeat_index}"))
}

/// A run that ended without a record, or with one that is not in its place.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{}", sentence(.0))]
    Child(Box<Failure>),
    #[error("backend `{backend}` did not answer in `run` as it must: {}", .wrongs.join("; "))]
    Dishonest { backend: BackendName, wrongs: Vec<String>, measured: Box<Measured> },
    #[error("the run is over, but not all of it could be written: {}", .0.causes.join("; "))]
    Unwritten(Box<Unwritten>),
    #[error(transparent)]
    Results(#[from] results::Error),
    #[error("{what}: {cause}")]
    Io { what: String, cause: io::Error },
}

/// A call that was answered, and what was seen of it.
struct Called {
    answer: Answer<RunReply>,
    seen: Seen,
    watched: Watched,
    killed: Option<Killed>,
}

fn sentence(failure: &Failure) -> String {
    let mut text = format!("{} {}", failure.subject, failure.reason());
    let remedy = failure.remedy();
    if !remedy.is_empty() {
        text.push_str("\n  ");
        text.push_str(&remedy);
    }
    text
}

impl Job<'_> {
    /// Runs, measures and writes the artefacts.
    ///
    /// # Errors
    /// When there is no result, or it cannot be believed, or not all of it could be written.
    pub fn run(&self, watcher: &mut dyn Watcher, stop: &Stop) -> Result<Finished, RunError> {
        let folder = self.folder;
        // The directory is made by the child; whether there is room for it is better said here.
        let no_room = |cause| RunError::Io { what: "a temporary directory".to_owned(), cause };
        tempfile::tempfile_in(temp_dir())
            .and_then(|mut file| file.write_all(&[0; 1 << 16]))
            .map_err(no_room)?;
        let scratch = scratch_path();
        let Called { mut answer, mut seen, watched, killed } = self.call(folder, &scratch, watcher, stop)?;
        let untold = self.keep_completions(&scratch).err();
        let (received, digest) = self.received(&answer.reply.measured, &scratch)?;
        let RunReply { backend, measured } = &mut answer.reply;
        measured.broken = received.broken().filter(|_| measured.partial);
        let watched = Watched { stopped: watched.stopped || measured.broken.is_some(), ..watched };
        self.check(measured, backend, &received, &watched)?;
        watcher.phase("write");
        let mut unwritten = measured.unwritten.clone();
        unwritten.extend(untold.map(|cause| format!("the completions: {cause}")));
        // Nothing is not an answer.
        if received.timed_completed > 0 {
            let digest = digest.map_err(|cause| unwritten.push(format!("the output digest: {cause}")));
            measured.output_digest = digest.ok();
        }
        let differ = watched.difference(&received, measured);
        let (received, cut) = self.timed(received, measured, &scratch)?;
        let RunReply { measured, .. } = &answer.reply;
        if measured.outside.hidden_here {
            seen.disturbance.forget_others(HIDDEN);
        }
        let mut findings = Finding::of(self.plan, measured, &seen.disturbance);
        findings.extend(differ.map(|(said, seen)| Finding::Clocks { said, seen }));
        findings.extend(killed.as_ref().map(|killed| Finding::Killed { what: killed.what }));
        findings.extend(watched.absence().map(|(absent, of)| Finding::NotWatched { absent, of }));
        let mut left = Artefacts::of(&scratch, folder, unwritten);
        let items = left.items(self.plan, cut);
        let latency_histogram = left.latencies(&received, measured.wall_seconds);
        if let Some((path, _)) = self.trace {
            left.trace(path);
        }
        let untold = !measured.unwritten.iter().any(|cause| cause.starts_with(ANSWERS));
        let answers = if self.answers && untold { left.answers() } else { None };
        left.rankings();
        let vectors = left.vectors(self.plan);
        let mut unwritten = left.unwritten;
        let beside = |name| self.folder.strip_prefix(self.output_dir).unwrap_or(self.folder).join(name);
        let named =
            |name, sha256: &Option<String>| sha256.as_ref().map(|_| beside(name).display().to_string());
        let evidence = Evidence {
            items_file: named(artefacts::ITEMS, &items),
            items_sha256: items,
            latency_histogram: named(histogram::FILE_NAME, &latency_histogram),
            latency_histogram_sha256: latency_histogram,
            answers_file: named(answers::FILE_NAME, &answers),
            answers_sha256: answers,
            vectors_file: named(vectors::FILE_NAME, &vectors),
            vectors_sha256: vectors,
            servers: self.servers.clone(),
            generation: received.calls.evidence(received.window()),
            unwritten: unwritten.clone(),
            killed,
            ..self.evidence(&answer, &seen, &findings)
        };
        let record = self.record(measured, evidence)?;
        let place = self.write(&record, &mut unwritten);
        let Answer { reply, remarks, .. } = answer;
        let folder = folder.to_owned();
        let memory = seen.memory;
        let finished = Finished { record, measured: reply.measured, findings, remarks, folder, memory };
        if unwritten.is_empty() {
            return Ok(finished);
        }
        Err(RunError::Unwritten(Box::new(Unwritten { finished, place, causes: unwritten })))
    }

    /// Where a record goes that the results cannot take.
    fn write_beside(&self, record: &Record) -> Place {
        let path = self.folder.join(RECORD_FILE);
        let line = json_style::to_line(record).map(|line| line + "\n");
        let written = line.and_then(|line| {
            let fill =
                |file: &mut File| file.write_all(line.as_bytes()).map_err(results::Error::io("write", &path));
            atomic::write_own_with(&path, fill)
        });
        written.map_or(Place::Nowhere, |()| Place::Beside(path))
    }

    fn call(
        &self,
        folder: &Path,
        scratch: &Path,
        watcher: &mut dyn Watcher,
        stop: &Stop,
    ) -> Result<Called, RunError> {
        let limits = Limits {
            timeout: self.plan.timeout,
            memory: self.memory_limit,
            cancel_grace: Duration::from_secs(5),
            ..Limits::default()
        };
        let log_path = folder.join(LOG_FILE);
        let (log, temp_dir) = (Some(log_path.clone()), short_scratch_path());
        let scratch_dirs = vec![scratch.to_owned(), temp_dir.clone()];
        let padding = self.place.layout.map(|layout| "-".repeat(layout.environment_bytes as usize));
        let variables = padding.map(|text| (LAYOUT_VARIABLE.into(), text.into())).into_iter().collect();
        let runner = Runner { limits, log, scratch: scratch_dirs, variables, ..Runner::default() };
        let request = RunRequest {
            plugin: self.plugin.clone(),
            plan: self.plan.clone(),
            run_id: self.run_id.to_owned(),
            library: self.library.clone(),
            scratch: scratch.to_owned(),
            temp_dir,
            extra: self.options.clone(),
            trace: self.trace.map(|(_, format)| format),
            answers: self.answers,
            loss: self.loss.clone(),
        };
        let (mut monitor, mut log_files, mut killed) = (None, Vec::new(), None);
        let servers: Vec<i32> = self.servers.iter().map(|server| server.pid as i32).collect();
        let mut watched = Watched::new();
        let answer = runner.call::<Run>(
            request,
            &mut |notice| {
                let mut directive = Directive::Continue;
                match notice {
                    Notice::Started(pid) => monitor = Some(TreeMonitor::start(pid, servers.clone())),
                    Notice::Phase(phase) => {
                        watched.phase(&phase);
                        watcher.phase(&phase);
                    }
                    Notice::Event(RunEvent::LogFiles(files)) => log_files = files,
                    Notice::Event(RunEvent::Workers(workers)) => {
                        monitor.iter_mut().for_each(|monitor: &mut TreeMonitor| monitor.also(&workers));
                    }
                    Notice::Event(event) => {
                        match &event {
                            RunEvent::Timed(edge) => {
                                watched.edge(*edge);
                                monitor.iter_mut().for_each(|monitor: &mut TreeMonitor| monitor.edge(*edge));
                            }
                            RunEvent::Kill(Kill::Done(done)) => killed = Some(done.clone()),
                            // Where nobody was killed there is nothing to see.
                            RunEvent::Kill(Kill::Spared(_)) => directive = Directive::Drain,
                            _ => {}
                        }
                        watcher.event(&event);
                    }
                    // The log is a convenience: a full disk must not hide why the run failed.
                    Notice::Failed(failure) => {
                        drop(self.keep_completions(scratch));
                        drop(complete(&log_path, failure, &log_files));
                    }
                }
                directive
            },
            stop,
        );
        let adopted = answer.as_ref().ok().and_then(|answer| answer.cpu.as_ref());
        let adopted = adopted.map_or(&[][..], |cpu| &cpu.adopted);
        let seen = monitor.map(|monitor| monitor.finish(adopted));
        let answer = answer.map_err(|failure| self.no_answer(failure))?;
        // There is no answer from a process that was never started.
        watched.started = answer.started;
        (watched.answered, watched.deaf, watched.stopped) = (answer.answered, answer.deaf, answer.stopped);
        Ok(Called { answer, seen: seen.unwrap_or_else(Seen::nothing), watched, killed })
    }

    fn keep_completions(&self, scratch: &Path) -> io::Result<()> {
        self.loss.as_ref().map_or(Ok(()), |_| artefacts::completions(scratch, self.folder))
    }

    /// Who speaks on behind the reply was not the one who made it.
    fn no_answer(&self, failure: Box<Failure>) -> RunError {
        if failure.cause == Cause::Protocol(SPOKE_ON.to_owned()) {
            return self.dishonest(vec![SPOKE_ON.to_owned()], &Measured::default());
        }
        RunError::Child(failure)
    }

    /// What the sink took, counted here, and its digest.
    fn received(
        &self,
        measured: &Measured,
        scratch: &Path,
    ) -> Result<(Received, io::Result<String>), RunError> {
        let items = Found::LEFT.open(&scratch.join(ITEMS_FILE)).map(read_items);
        let empty = Received::within(Goals::of(&self.plan.params), self.plan.bounds.clone());
        let received = items.and_then(|items| empty.count(items, scratch));
        received.map_err(|cause| {
            self.dishonest(vec![format!("the items that it replies about cannot be read: {cause}")], measured)
        })
    }

    /// With `--warmup auto`, what is timed follows the warm-up. Where that ends is decided here, from the items and not
    /// from the reply, and only now that the reply has been held against all of them.
    fn timed(
        &self,
        received: Received,
        measured: &mut Measured,
        scratch: &Path,
    ) -> Result<(Received, Option<Cut>), RunError> {
        measured.warmup = self.plan.warmup_items.into();
        let Some((steady, cut)) = received.settling(self.plan.max_in_flight) else {
            return Ok((received, None));
        };
        measured.steady = Some(steady);
        let Some(cut) = cut.filter(|_| self.plan.warmup_auto) else { return Ok((received, None)) };
        let items = Found::LEFT.open(&scratch.join(ITEMS_FILE)).map(read_items);
        let rest = items.and_then(|items| received.after(cut, items));
        let rest = rest.map_err(|cause| RunError::Io { what: "the items of the run".to_owned(), cause })?;
        rest.restate(measured);
        measured.warmup = cut.items;
        Ok((rest, Some(cut)))
    }

    fn dishonest(&self, wrongs: Vec<String>, measured: &Measured) -> RunError {
        let backend = self.description.name.clone();
        RunError::Dishonest { backend, wrongs, measured: Box::new(measured.clone()) }
    }

    /// Items in must equal items out plus failed items, each once, nodes are those asked for, and the reply is what
    /// was received and seen.
    fn check(
        &self,
        measured: &Measured,
        account: &Account,
        received: &Received,
        watched: &Watched,
    ) -> Result<(), RunError> {
        let mut wrongs = Vec::new();
        let mut count = |n: u64, what: &str| {
            if n > 0 {
                wrongs.push(format!("{n} {what}"));
            }
        };
        count(measured.missing, "queries were never answered");
        count(measured.duplicates, "answers were duplicates");
        count(measured.unexpected, "answers were to queries that were never asked");
        if !measured.partial {
            count(
                u64::from(self.plan.num_tasks).saturating_sub(measured.emitted),
                "queries were never read from the source",
            );
        }
        let answered = measured.completed.saturating_add(measured.failed);
        if wrongs.is_empty() && account.items_processed != answered {
            wrongs.push(format!(
                "it counted {} results where the sink got {answered}",
                account.items_processed
            ));
        }
        // A stream that was cut short may not have reached every node.
        if !measured.partial {
            let verified = nodes::verify(self.plan.nodes, &account.metrics, &measured.workers);
            wrongs.extend(verified.err().map(|wrong| bounded(&wrong, LONGEST_WRONG)));
        }
        // The runner keeps less of each than this.
        if measured.workers.len() > MOST_WORKERS || measured.reasons.len() > REASONS_KEPT {
            wrongs.push("its reply holds more than one of bench's does".to_owned());
        }
        if serde_json::to_vec(&(account, measured)).map_or(true, |reply| reply.len() > LARGEST_REPLY) {
            wrongs.push(format!("its reply is larger than {} MiB", LARGEST_REPLY >> 20));
        }
        wrongs.extend(measured.unproven.said());
        if measured.wrong_clock > 0 {
            wrongs.push(WRONG_CLOCK.to_owned());
        }
        wrongs.extend(watched.contradictions(received, measured));
        wrongs.extend(received.contradictions(measured));
        if wrongs.is_empty() { Ok(()) } else { Err(self.dishonest(wrongs, measured)) }
    }

    fn record(&self, measured: &Measured, evidence: Evidence) -> Result<Record, RunError> {
        let succeeded = measured.timed_completed;
        let record = Record {
            backend: self.description.name.to_string(),
            workload: self.plan.workload.name().to_owned(),
            run_id: self.run_id.to_owned(),
            seed: self.plan.seed,
            nodes: self.plan.nodes,
            parallelism: self.plan.parallelism,
            throughput: ItemsPerSecond::new(measured.throughput)?,
            latency_p50: measured.latency_p50,
            latency_p95: measured.latency_p95,
            latency_p99: measured.latency_p99,
            success_rate: Fraction::of(succeeded, measured.timed).unwrap_or(Fraction::new(0.0)?),
            duration_seconds: Seconds::new(measured.wall_seconds)?,
            timestamp: UtcTime::now(),
            config_hash: Some(self.plan.config_hash()),
            extra: evidence.into_extra(),
        };
        record.validate()?;
        Ok(record)
    }

    /// Adds the record to the results, or else keeps it beside the run's log. What fails goes to `causes`.
    fn write(&self, record: &Record, causes: &mut Vec<String>) -> Place {
        let add = |lock: OutputLock| jsonl::append(&lock, std::slice::from_ref(record)).map(|()| lock);
        match OutputLock::acquire(self.output_dir, results::lock::DEFAULT_WAIT).and_then(add) {
            Ok(lock) => {
                let derived = [csv::regenerate(&lock).map(drop), self.write_manifest(&lock)];
                causes.extend(derived.into_iter().filter_map(|done| Some(done.err()?.to_string())));
                Place::Results
            }
            Err(cause) => {
                causes.push(cause.to_string());
                self.write_beside(record)
            }
        }
    }

    fn write_manifest(&self, lock: &OutputLock) -> results::Result<()> {
        let plan = self.plan.input_plan()?;
        manifest::write(
            lock,
            &ReproManifest {
                seed: self.plan.seed,
                config_hash: self.plan.config_hash(),
                warmup_items: self.plan.warmup_items.into(),
                parity_batch_size: self.plan.parity_batch_size.into(),
                deterministic_shuffle_version: bench_workloads::shuffle::SHUFFLE_VERSION.into(),
                sampling_strategy: Some("deterministic_shuffle_v1".into()),
                input_plan: Some(manifest::InputPlanSummary {
                    digest: plan.digest()?,
                    items: self.plan.num_tasks.into(),
                    batches: plan.batches.len() as u64,
                }),
            },
        )
    }
}

/// Adds to the log what the runtime wrote elsewhere and how the run ended.
fn complete(log: &Path, failure: &Failure, files: &[String]) -> io::Result<()> {
    let mut log = Found::SHARED.open_with(File::options().append(true).create(true), log)?;
    if failure.cause != Cause::Stopped {
        runtime_logs::keep(files, &mut log)?;
    }
    writeln!(log, "[bench: {} {}]", failure.subject, failure.reason())
}
