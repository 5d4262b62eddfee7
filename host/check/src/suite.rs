//! The host's side: picks tests, runs each, and makes one line of whatever happened.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::case::{CaseRequest, Conform};
use super::tests::PRINTS_NOTHING;
use super::{Area, Run, Status, Surroundings, Test, Verdict};
use bench_isolate::discover::Candidate;
use bench_isolate::isolate::{
    Answer, Cause, Failure, Limits, Notice, Remark, Runner, Stop, StopLevel, Wish, scratch_path,
};
use bench_isolate::vet::{Vetted, vet};
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
    pub tests: Vec<Outcome>,
}

impl Report {
    /// How many tests ended with `status`.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.tests.iter().filter(|test| test.status == status).count()
    }

    /// Whether nothing went wrong.
    #[must_use]
    pub fn conforms(&self) -> bool {
        !self.tests.iter().any(|test| test.status.is_bad())
    }

    /// Why tests were not tried, when that is because the backend is not available here.
    #[must_use]
    pub fn unavailable(&self) -> Option<&str> {
        let mut skipped = self.tests.iter().filter(|test| test.status == Status::Skipped);
        skipped.find_map(|test| test.message.strip_prefix("not available: "))
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
        let vetted = vet(self.candidate);
        let sha256 = vetted.as_ref().ok().map(|vetted| vetted.sha256.clone());
        let mut report = Report {
            backend: self.candidate.name.to_string(),
            path: self.candidate.path.clone(),
            sha256,
            seed: self.seed,
            tests: Vec::new(),
        };
        for test in tests {
            if stop.level() > StopLevel::Go {
                break;
            }
            let started = Instant::now();
            let (status, message, phase) = match (&test.run, &vetted) {
                (Run::Host(look), _) => plain(look(self.candidate)),
                (Run::Child(_), Err(_)) => plain(Verdict::Skipped("the file was refused".into())),
                (Run::Child(_), Ok(vetted)) => self.child(test, vetted, stop),
            };
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
        let scratch = scratch_path();
        let time = self.timeout * test.weight;
        let request = CaseRequest {
            test: test.name.to_owned(),
            plugin: vetted.clone(),
            seed: self.seed,
            scratch: scratch.clone(),
            cache_dir: self.cache_dir.clone(),
            library: self.library.clone(),
            time,
        };
        if self.in_process {
            let answer = bench_isolate::isolate::in_process::<Conform>(request);
            // Nothing may have been written there.
            let _ = std::fs::remove_dir_all(&scratch);
            return match answer {
                Ok(verdict) => plain(verdict),
                Err(error) => (Status::Failed, error.to_string(), None),
            };
        }
        let limits =
            Limits { memory: self.memory, close_grace: self.timeout / CLOSING, ..Limits::within(time) };
        let mut runner = Runner::with(limits);
        runner.scratch = Some(scratch.clone());
        if test.surroundings == Surroundings::Private {
            runner.variables.extend(private(&scratch));
        }
        match runner.call::<Conform>(request, &mut |_: Notice<_>| Wish::Continue, stop) {
            Ok(answer) => lived(test, answer),
            Err(failure) => died(&failure),
        }
    }
}

/// Status, message, phase.
type Ended = (Status, String, Option<String>);

fn plain(verdict: Verdict) -> Ended {
    match verdict {
        Verdict::Success => (Status::Success, String::new(), None),
        Verdict::Warning(message) => (Status::Warning, message, None),
        Verdict::Failed(message) => (Status::Failed, message, None),
        Verdict::Skipped(message) => (Status::Skipped, message, None),
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
fn lived(test: &Test, answer: Answer<Verdict>) -> Ended {
    let (status, message, phase) = plain(answer.reply);
    if status.is_bad() {
        return (status, message, phase);
    }
    if let Some(remark) = answer.remarks.first() {
        let at_the_end = Some("drop".to_owned());
        let status = match remark {
            Remark::LeftBehind(_) => Status::Failed,
            Remark::EndedBadly(_) => Status::Crashed,
            Remark::SlowToClose => Status::TimedOut,
        };
        return (status, remark.to_string(), at_the_end);
    }
    if test.name == PRINTS_NOTHING && status == Status::Success && !answer.tail.trim().is_empty() {
        let first: String = answer.tail.trim().chars().take(80).collect();
        return (Status::Warning, format!("it printed {} bytes: {first}", answer.tail.len()), None);
    }
    (status, message, phase)
}

fn died(failure: &Failure) -> Ended {
    let status = match failure.cause {
        Cause::TimedOut(_) => Status::TimedOut,
        Cause::Plugin(_) => Status::Failed,
        Cause::Signalled(_) | Cause::OutOfMemory(_) | Cause::Exited(_) | Cause::Protocol(_) => {
            Status::Crashed
        }
        Cause::Stopped | Cause::Host(_) => Status::Skipped,
    };
    (status, failure.reason(), Some(failure.phase.clone()))
}
