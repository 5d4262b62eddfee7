//! One test inside its process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Run, TestResult, Verdict};
use bench_isolate::isolate::{Channel, News, Operation};
use bench_isolate::load::{LoadedBackend, load};
use bench_isolate::vet::Vetted;
use bench_isolate::{Error, ErrorKind};
use bench_measure::guest::{RunEvent, WorkloadLibrary};

/// The phase in which a plugin is closed.
pub const DROP: &str = "drop";
/// How the account of a test begins that needs what is not installed here.
pub const NOT_AVAILABLE: &str = "not available: ";

/// What the process needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseRequest {
    pub test: String,
    pub plugin: Vetted,
    pub seed: u64,
    /// A folder of this test alone.
    pub scratch: PathBuf,
    pub cache_dir: PathBuf,
    pub library: Option<WorkloadLibrary>,
    /// When the process will be killed.
    pub time: Duration,
}

/// A test under way.
pub struct Case {
    pub request: CaseRequest,
    pub channel: Channel<RunEvent>,
}

impl Case {
    pub fn seed(&self) -> u64 {
        self.request.seed
    }

    pub fn scratch(&self) -> &Path {
        &self.request.scratch
    }

    /// Opens the plugin.
    pub fn load(&self) -> Result<Box<dyn LoadedBackend>, Error> {
        load(&self.request.plugin, &|phase| self.channel.phase(phase))
    }

    /// Opens the plugin and does `test` with it, unless it is not available here.
    pub fn with_ready(&self, test: impl FnOnce(&dyn LoadedBackend) -> TestResult) -> TestResult {
        let backend = self.load()?;
        self.channel.phase("is_available");
        let answer = backend.availability();
        if !answer.available {
            let remedy =
                if answer.remedy.is_empty() { String::new() } else { format!("; {}", answer.remedy) };
            return Ok(Verdict::Skipped(format!("{NOT_AVAILABLE}{}{remedy}", answer.detail)));
        }
        self.channel.phase("run");
        let verdict = test(&*backend);
        if verdict.is_ok() {
            self.channel.phase(DROP);
        }
        self.channel.drop_after_answer(backend);
        verdict
    }
}

/// The operation that runs one test.
pub struct Conform;

impl Operation for Conform {
    const NAME: &'static str = "conform";
    const DRAINS: bool = false;
    type Request = CaseRequest;
    type Reply = Verdict;
    type Event = RunEvent;

    fn subject(request: &CaseRequest) -> String {
        format!("backend `{}`", request.plugin.name)
    }

    fn news(event: &RunEvent) -> Option<News> {
        event.news()
    }

    fn execute(request: CaseRequest, channel: &Channel<RunEvent>) -> Result<Verdict, Error> {
        let test = super::all().find(|test| test.name == request.test);
        let Some(Run::Child(run)) = test.map(|test| &test.run) else {
            let message = format!("this binary has no test `{}` for a child process", request.test);
            return Err(Error::new(ErrorKind::Host, message, "do not replace bench while it runs"));
        };
        // The home of a plugin with private surroundings.
        let home = request.scratch.join("home");
        std::fs::create_dir_all(&home)
            .map_err(|cause| Error::new(ErrorKind::Host, format!("{}: {cause}", home.display()), ""))?;
        run(&Case { request, channel: channel.clone() })
    }
}
