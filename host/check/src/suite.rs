//! The host's side: picks tests, runs each, and makes one line of whatever happened.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::case::{CaseRequest, Conform, DROP, NOT_AVAILABLE};
use super::tests::{LOADS, PRINTS_NOTHING};
use super::{Area, Run, Status, Surroundings, Test, Verdict};
use bench_isolate::discover::{Address, Candidate};
use bench_isolate::isolate::{
    Answer, Cause, Directive, Failure, Limits, Notice, Remark, Runner, Stop, StopLevel, short_scratch_path,
};
use bench_isolate::vet::{Refusal, Vetted, vet};
use bench_measure::guest::WorkloadLibrary;

/// The part of a test's time that destructors may take: five seconds, unless the user gives more.
const CLOSING: u32 = 6;

/// What to check, and how.
pub struct Suite<'a> {
    pub candidate: &'a Candidate,
    pub seed: u64,
    /// What a test of weight 1 may take.
    pub timeout: Duration,
    /// Bytes of private memory of each process.
    pub memory: Option<u64>,
    /// In this very process: for a debugger. The first crash ends everything.
    pub in_process: bool,
    pub cache_dir: PathBuf,
    pub library: Option<WorkloadLibrary>,
}

/// One test, done.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub name: &'static str,
    pub area: Area,
    pub why: &'static str,
    pub status: Status,
    /// Empty when all is well.
    pub message: String,
    /// What the plugin was last doing, when that is where it went wrong.
    pub phase: Option<String>,
    pub seconds: f64,
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub backend: String,
    pub path: PathBuf,
    pub sha256: Option<String>,
    pub seed: u64,
    /// What kept every further test from being tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
    pub tests: Vec<Outcome>,
}

/// How the account of a test begins that was not tried because of an [`Obstacle`].
pub const NOT_RUN: &str = "not run: ";

/// One cause for which no test that loads the plugin can be tried.
#[derive(Debug, Clone, Serialize)]
pub struct Obstacle {
    pub cause: String,
    pub remedy: String,
    /// Whether the plugin itself is what is wrong; otherwise the file is not to be loaded here, whatever is in it.
    pub of_plugin: bool,
}

impl Obstacle {
    fn of(refusal: &Refusal, address: &Address) -> Self {
        let of_plugin =
            matches!(refusal, Refusal::Image { .. } | Refusal::Size { .. } | Refusal::NotAFile { .. });
        Self { cause: refusal.cause(), remedy: address.completed(&refusal.remedy()), of_plugin }
    }
}

impl Report {
    /// How many tests ended with `status`.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.tests.iter().filter(|test| test.status == status).count()
    }

    /// Whether nothing was found to be wrong with the plugin.
    #[must_use]
    pub fn conforms(&self) -> bool {
        let broken = self.obstacle.as_ref().is_some_and(|obstacle| obstacle.of_plugin);
        !broken && !self.tests.iter().any(|test| test.status.is_bad())
    }

    /// Whether nothing was found to be wrong, once so many tests were tried: of what was never asked nobody knows.
    #[must_use]
    pub fn verdict(&self, wanted: usize) -> Option<bool> {
        let ended = self.tests.len() >= wanted;
        Some(self.conforms()).filter(|conforms| ended || !conforms)
    }

    /// Whether tests were not tried because the backend is not available here.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        let mut skipped = self.tests.iter().filter(|test| test.status == Status::Skipped);
        skipped.any(|test| test.message.starts_with(NOT_AVAILABLE))
    }
}

impl Suite<'_> {
    /// Runs `tests`, telling `watch` about each as it ends.
    pub fn run<'t>(
        &self,
        tests: impl Iterator<Item = &'t Test>,
        watch: &mut dyn FnMut(&Outcome),
        stop: &Stop,
    ) -> Report {
        let (vetted, address) = (vet(self.candidate), self.candidate.address());
        let obstacle = vetted.as_ref().err().map(|refusal| Obstacle::of(refusal, &address));
        let sha256 = vetted.as_ref().ok().map(|vetted| vetted.sha256.clone());
        let mut report = Report {
            backend: self.candidate.name.to_string(),
            path: self.candidate.path.clone(),
            sha256,
            seed: self.seed,
            obstacle,
            tests: Vec::new(),
        };
        // Every test in a process begins with what this one does.
        let mut loads = match &vetted {
            Ok(vetted) if !self.in_process => Some(self.child(loading(), vetted, stop)),
            _ => None,
        };
        if let Some(failed) = loads.as_ref().filter(|ended| ended.failed_to_load()) {
            let (cause, remedy) = (failed.message.clone(), address.completed(&failed.remedy));
            report.obstacle = Some(Obstacle { cause, remedy, of_plugin: true });
        }
        for test in tests {
            if stop.level() > StopLevel::Go {
                break;
            }
            let started = Instant::now();
            let ended = match (&test.run, &vetted) {
                (Run::Host(look), _) => plain(look(self.candidate)),
                (Run::Child(_), Ok(vetted)) => match loads.take_if(|_| test.name == LOADS) {
                    Some(ended) => ended,
                    None if report.obstacle.is_some() => report.not_run(),
                    None => self.child(test, vetted, stop),
                },
                (Run::Child(_), Err(_)) => report.not_run(),
            };
            let Ended { status, message, phase, .. } = ended.completed(&address);
            if stop.level() > StopLevel::Go {
                // What was cut short by the user says nothing about the plugin.
                break;
            }
            let seconds = started.elapsed().as_secs_f64();
            let (name, area, why) = (test.name, test.area, test.why);
            let outcome = Outcome { name, area, why, status, message, phase, seconds };
            watch(&outcome);
            report.tests.push(outcome);
        }
        report
    }

    fn child(&self, test: &Test, vetted: &Vetted, stop: &Stop) -> Ended {
        let scratch = short_scratch_path();
        let time = self.timeout * test.weight;
        let request = CaseRequest {
            test: test.name.to_owned(),
            plugin: if self.in_process { vetted.clone().by_path() } else { vetted.clone() },
            seed: self.seed,
            scratch: scratch.clone(),
            cache_dir: self.cache_dir.clone(),
            library: self.library.clone(),
            time,
        };
        if self.in_process {
            let answer = bench_isolate::isolate::in_process::<Conform>(request, &scratch);
            // Nothing may have been written there.
            let _ = std::fs::remove_dir_all(&scratch);
            return match answer {
                Ok(verdict) => plain(verdict),
                Err(error) => {
                    Ended { remedy: error.remedy.clone(), ..Ended::with(Status::Failed, error.to_string()) }
                }
            };
        }
        let limits =
            Limits { memory: self.memory, close_grace: self.timeout / CLOSING, ..Limits::within(time) };
        let mut runner = Runner::with(limits);
        runner.scratch.push(scratch.clone());
        if test.surroundings == Surroundings::Private {
            runner.variables.extend(private(&scratch));
        }
        match runner.call::<Conform>(request, &mut |_: Notice<_>| Directive::Continue, stop) {
            Ok(answer) => returned(test, answer),
            Err(failure) => ended_before_its_verdict(&failure),
        }
    }
}

/// What became of a test.
struct Ended {
    status: Status,
    message: String,
    phase: Option<String>,
    remedy: String,
}

impl Ended {
    fn with(status: Status, message: String) -> Self {
        Self { status, message, phase: None, remedy: String::new() }
    }

    /// Whether it did not come as far as closing the plugin again.
    fn failed_to_load(&self) -> bool {
        self.status.is_bad() && self.phase.as_deref() != Some(DROP)
    }

    /// With the flags that commands in it need.
    fn completed(self, address: &Address) -> Self {
        Self { message: address.completed(&self.message), ..self }
    }
}

impl Report {
    fn not_run(&self) -> Ended {
        let cause = self.obstacle.as_ref().map_or("", |obstacle| obstacle.cause.as_str());
        Ended::with(Status::Skipped, format!("{NOT_RUN}{cause}"))
    }
}

/// The test that only loads the plugin.
fn loading() -> &'static Test {
    super::all().find(|test| test.name == LOADS).expect("it is in the table")
}

fn plain(verdict: Verdict) -> Ended {
    match verdict {
        Verdict::Success => Ended::with(Status::Success, String::new()),
        Verdict::Warning(message) => Ended::with(Status::Warning, message),
        Verdict::Failed(message) => Ended::with(Status::Failed, message),
        Verdict::Skipped(message) => Ended::with(Status::Skipped, message),
    }
}

/// Home folders of their own, which the child makes. What `bench backends install` made is still found.
fn private(scratch: &std::path::Path) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let home = scratch.join("home");
    let names = ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"];
    let mut variables: Vec<_> = names.iter().map(|name| ((*name).into(), home.clone().into())).collect();
    if let Some(data) = bench_isolate::install::data_dir() {
        variables.push(("BENCH_DATA_DIR".into(), data.into()));
    }
    variables
}

/// The process answered: what it left behind and printed counts too.
fn returned(test: &Test, answer: Answer<Verdict>) -> Ended {
    let ended = plain(answer.reply);
    if ended.status.is_bad() {
        return ended;
    }
    if let Some(remark) = answer.remarks.first() {
        let status = match remark {
            Remark::LeftBehind(_) => Status::Failed,
            Remark::EndedBadly(_) => Status::Crashed,
            Remark::SlowToClose => Status::TimedOut,
        };
        return Ended { phase: Some(DROP.to_owned()), ..Ended::with(status, remark.to_string()) };
    }
    if test.name == PRINTS_NOTHING && ended.status == Status::Success && !answer.tail.trim().is_empty() {
        let first: String = answer.tail.trim().chars().take(80).collect();
        return Ended::with(Status::Warning, format!("it printed {} bytes: {first}", answer.tail.len()));
    }
    ended
}

fn ended_before_its_verdict(failure: &Failure) -> Ended {
    let status = match failure.cause {
        Cause::TimedOut(_) => Status::TimedOut,
        Cause::Plugin(_) => Status::Failed,
        Cause::Signalled(_) | Cause::OutOfMemory(_) | Cause::Exited(_) | Cause::Protocol(_) => {
            Status::Crashed
        }
        Cause::Stopped | Cause::Host(_) => Status::Skipped,
    };
    let (message, phase, remedy) = (failure.reason(), Some(failure.phase.clone()), failure.remedy());
    Ended { status, message, phase, remedy }
}
