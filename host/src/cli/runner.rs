//! Does a campaign's runs, shows them on the terminal, and stops when the user wants it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::find::{ReadyBackend, ready_backends};
use super::run::{answered, check_folder, prepare, stopped};
use super::screen::{self, RunProgress};
use super::shipped::workload_library;
use super::{Exit, PluginArgs, RunArgs, STOP, Stopped, places, server};
use bench_campaign::capacity::{self, Trials};
use bench_campaign::run::{Failure, Runner, Wanted};
use bench_isolate::isolate::{Stop, StopLevel};
use bench_isolate::options::Given;
use bench_judge::capacity::Report;
use bench_measure::guest::RunEvent;
use bench_measure::plan::{Arrivals, Plan};
use bench_measure::supervise::{Finished, Job, Watcher};
use bench_record::folder::Numbering;
use bench_record::{OutputLock, atomic, lock};
use bench_report as report;
use bench_report::html::{self, curves::Curves};

/// Runs on backends that were found ready.
pub struct Terminal<'a> {
    ready: BTreeMap<String, ReadyBackend>,
    stop: &'a Stop,
    memory_limit: Option<u64>,
    verbose: bool,
    save_answers: bool,
}

impl Terminal<'_> {
    /// # Errors
    /// When a backend is not ready, or none takes an option that was given.
    pub fn ready<'b>(
        plugins: &PluginArgs,
        backends: impl IntoIterator<Item = &'b str>,
        given: &Given,
        memory_limit: Option<u64>,
        verbose: bool,
    ) -> Result<Self, Stopped> {
        let ready = ready_backends(plugins, backends, given)?;
        Ok(Self { ready, stop: &STOP, memory_limit, verbose, save_answers: false })
    }

    /// Saves every answer of every run, if that is wanted.
    #[must_use]
    pub fn saving_answers(self, save_answers: bool) -> Self {
        Self { save_answers, ..self }
    }
}

/// One backend alone in a folder, for trials that nobody resumes.
pub struct Alone {
    backend: String,
    plan: Plan,
    run_id: String,
    pub output_dir: PathBuf,
    arrivals: Arrivals,
}

impl Alone {
    /// Makes sure that all of it can run.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn ready(run: &RunArgs, plan: Plan) -> Result<(Self, Terminal<'static>), Stopped> {
        let (backend, output_dir, run_id) = (run.backend(), run.output_dir(), run.run_id()?);
        let given = run.backend_options()?;
        places::output(&output_dir, "--output-dir")?;
        check_folder(&output_dir)?;
        let terminal =
            Terminal::ready(&run.plugins, [&*backend], &given, Some(run.memory_bytes()), run.verbose)?
                .saving_answers(run.save_answers);
        prepare(&plan)?;
        let arrivals = run.arrivals();
        Ok((Self { backend, plan, run_id, output_dir, arrivals }, terminal))
    }

    #[must_use]
    pub fn trials(&self) -> Trials<'_> {
        let Self { backend, plan, run_id, output_dir, arrivals } = self;
        Trials { backend, plan, run_id, output_dir, arrivals: *arrivals }
    }
}

impl Runner for Terminal<'_> {
    type Failure = Stopped;

    fn run(&mut self, wanted: &Wanted<'_>, watcher: &mut dyn Watcher) -> Result<Finished, Stopped> {
        let Some(ReadyBackend { plugin, description, options }) = self.ready.get(wanted.backend) else {
            return Err(Stopped::new(Exit::UnknownBackend, format!("'{}' is not ready", wanted.backend), ""));
        };
        let job = Job {
            plan: wanted.plan,
            plugin,
            description,
            run_id: wanted.run_id,
            repeat_index: wanted.repeat_index,
            output_dir: wanted.output_dir,
            folder: wanted.folder,
            library: workload_library(),
            memory_limit: self.memory_limit,
            options: options.clone(),
            place: wanted.place.clone(),
            servers: server::declared(),
            trace: None,
            answers: self.save_answers,
            loss: wanted.loss.cloned(),
        };
        let progress = RunProgress::new(&wanted.label, wanted.plan.num_tasks.into(), self.verbose);
        let mut both = Both(watcher, progress);
        let result = match wanted.to_its_end {
            true => while_not_killed(self.stop, |stop| job.run(&mut both, stop)),
            false => job.run(&mut both, self.stop),
        };
        drop(both);
        result.map_err(|error| stopped(error, &job))
    }

    fn prepare(&mut self, plan: &Plan) -> Result<(), Stopped> {
        prepare(plan)
    }

    fn answered(&self, run: &Finished) -> Result<(), Stopped> {
        answered(run)
    }

    fn stop(&self) -> &Stop {
        self.stop
    }

    fn note(&mut self, text: &str) {
        screen::note(text);
    }

    fn trouble(&mut self, failure: &Stopped) {
        screen::error(failure);
    }

    fn keep(&mut self, folder: &Path, found: &Report) -> Result<Vec<PathBuf>, Stopped> {
        let kept = keep(folder, found);
        kept.map_err(|error| Stopped { rescued: serde_json::to_string_pretty(found).ok(), ..error })
    }
}

impl Failure for Stopped {
    fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted; finished trials are kept", "")
    }

    fn is_interrupted(&self) -> bool {
        self.exit == Exit::Interrupted
    }

    fn broken(&self) -> Option<&str> {
        let broke = matches!(self.exit, Exit::RunFailed | Exit::TimedOut | Exit::Dishonest);
        broke.then_some(&self.message)
    }

    fn logged(&self) -> (u8, String) {
        (self.exit as u8, format!("{}\n{}\n", self.message, self.remedy))
    }
}

fn keep(folder: &Path, found: &Report) -> Result<Vec<PathBuf>, Stopped> {
    let lock = OutputLock::acquire(folder, lock::DEFAULT_WAIT)?;
    let numbering = Numbering::free(&lock, &[capacity::FILE_NAME, html::FILE_NAME]);
    let name = numbering.of(capacity::FILE_NAME);
    let path = lock.path(&name);
    atomic::write_json(&path, found)?;
    let page = Curves {
        title: &format!("Capacity of {}", found.backend),
        lead: &format!("{}, nodes {}, parallelism {}", found.workload, found.nodes, found.parallelism),
        notes: &report::capacity::words(found),
        charts: &report::capacity::charts(found),
        grid: &report::capacity::grid(found),
        files: &[name],
    };
    let mut files = vec![path];
    files.extend(report::write_curves(&page, folder, numbering)?);
    Ok(files)
}

/// The campaign's watcher and the user's.
struct Both<'a>(&'a mut dyn Watcher, RunProgress);

impl Watcher for Both<'_> {
    fn event(&mut self, event: &RunEvent) {
        self.0.event(event);
        self.1.event(event);
    }

    fn phase(&mut self, phase: &str) {
        self.0.phase(phase);
        self.1.phase(phase);
    }
}

/// The first Ctrl-C lets a run end; the second ends it.
fn while_not_killed<T>(wish: &Stop, run: impl FnOnce(&Stop) -> T) -> T {
    const PERIOD: Duration = Duration::from_millis(50);
    let (stop, over) = (Stop::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut told = false;
            while !over.load(Ordering::Relaxed) {
                if wish.level() == StopLevel::Kill {
                    stop.raise(StopLevel::Kill);
                } else if wish.level() == StopLevel::Drain && !told {
                    screen::note("stopping after this run; again to stop now");
                    told = true;
                }
                std::thread::park_timeout(PERIOD);
            }
        });
        let result = run(&stop);
        over.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_backend_that_breaks_is_an_answer() {
        let broken = |exit| Stopped::new(exit, "why", "").broken().map(str::to_owned);
        for exit in [Exit::RunFailed, Exit::TimedOut, Exit::Dishonest] {
            assert_eq!(broken(exit).as_deref(), Some("why"));
        }
        for exit in [Exit::Interrupted, Exit::Output, Exit::Unavailable, Exit::Usage] {
            assert_eq!(broken(exit), None);
        }
    }
}
