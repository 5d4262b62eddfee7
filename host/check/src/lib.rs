//! `bench backends check`: what every backend must do, as tests that say what and why.
//!
//! A test is a row of a table: a name, a sentence for people, and a function. Tests of the file run
//! in the host and only read; every other one runs in a process of its own through
//! [`isolate`](bench_isolate::isolate), so that a plugin which crashes in one test is still tested by
//! the next, and what a crash or a hang came to is part of the result rather than the end of it.
//!
//! * `suite` picks tests, runs them and turns every way a process can end into a [`Status`].
//! * `case` is one test inside its process; `trial` a run of a workload in it, with a `probe`
//!   between plugin and host that sees every call and can disturb it.
//! * `growth` tells a leak from a runtime that is set up once; `workers` finds and ends a runtime's processes.
//! * `scaffold` makes projects for new backends, `pack` a plugin out of an engine in Python.
//! * `tests/` are the tests, by what they are about.

#![forbid(unsafe_code)]

mod case;
mod growth;
pub mod pack;
mod probe;
pub mod scaffold;
mod suite;
mod tests;
mod trial;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use case::Conform;
pub use suite::{NOT_RUN, Obstacle, Outcome, Report, Suite};

use bench_isolate::Error;
use bench_isolate::discover::Candidate;
use bench_measure::workloads::list;
use case::Case;

/// What a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// The file and its ELF image, before it is loaded.
    File,
    /// Names, versions and extensions.
    Descriptor,
    /// `is_available`.
    Availability,
    /// Items, answers and counts.
    Results,
    /// Errors, cancellation, concurrency and manners.
    Behaviour,
    /// Random specs.
    Fuzz,
}

/// One thing that every backend must do.
pub struct Test {
    /// Lower-case words with dashes, unique.
    pub name: &'static str,
    pub area: Area,
    /// What is expected, and why.
    pub why: &'static str,
    /// How many time-outs it may take: as many as it starts the runtime.
    pub weight: u32,
    surroundings: Surroundings,
    run: Run,
}

/// Where a test runs.
enum Run {
    Host(fn(&Candidate) -> Verdict),
    Child(fn(&Case) -> TestResult),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Surroundings {
    Usual,
    /// Home, cache and working directory are empty folders of the test.
    Private,
}

/// What a test function returns: an error is a failure too.
type TestResult = Result<Verdict, Error>;

/// What a test came to, when its process was there to say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", content = "message", rename_all = "snake_case")]
pub enum Verdict {
    Success,
    /// It works, but a user will trip over it.
    Warning(String),
    Failed(String),
    /// It could not be tried, and why.
    Skipped(String),
}

/// What a test came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Success,
    Warning,
    Failed,
    /// The process was ended by a signal, by itself, or broke the protocol.
    Crashed,
    TimedOut,
    Skipped,
}

impl Status {
    /// Whether a plugin with this status does not conform.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Crashed | Self::TimedOut)
    }
}

/// Every test, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Test> {
    tests::TABLES.iter().flat_map(|table| table.iter())
}

/// How long a test of weight 1 may take unless the user says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The run that tests compare with: its indexes have to be prepared before any test.
#[must_use]
pub fn reference_plan(cache_dir: &std::path::Path) -> bench_measure::plan::Plan {
    trial::small_plan(list::default(), 60, trial::INDEX_SEED, cache_dir)
}

/// Fails with `message` unless `fine`.
fn require(fine: bool, message: impl FnOnce() -> String) -> Result<(), Error> {
    if fine { Ok(()) } else { Err(Error::new(bench_isolate::ErrorKind::Invalid, message(), "")) }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn every_test_has_a_name_of_its_own_and_a_sentence() {
        let mut names: Vec<&str> = all().map(|test| test.name).collect();
        assert!(names.len() >= 30, "{}", names.len());
        for test in all() {
            assert!(test.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", test.name);
            assert!(test.why.len() > 40 && test.why.ends_with('.'), "{}: {}", test.name, test.why);
            assert!((1..=8).contains(&test.weight), "{}", test.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
    }
}
