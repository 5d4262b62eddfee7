//! `bench capacity`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::find::{ReadyBackend, ready_backend, workload_library};
use super::output::{self, say};
use super::run::{answered, check_folder, dry_run, prepare, stopped};
use super::screen::{self, RunProgress};
use super::{Exit, RunArgs, STOP, Stopped, places};
use bench_isolate::describe::Description;
use bench_isolate::isolate::StopLevel;
use bench_isolate::vet::Vetted;
use bench_judge::capacity::{self, Goal, Phase, Report, Slo, Trial};
use bench_measure::emitter::Due;
use bench_measure::plan::{Arrivals, Load, Plan};
use bench_measure::series::{Pace, Recorder, pace};
use bench_measure::supervise::{Finished, Job, claim_folder};
use bench_measure::validity::Finding;
use bench_record::evidence::{Place, TrialPlace};
use bench_record::folder::Numbering;
use bench_record::histogram;
use bench_record::quantity::{duration_within, share};
use bench_record::series::Sample;
use bench_record::time::UtcTime;
use bench_record::{OutputLock, atomic, lock};
use bench_report as report;
use bench_report::html::{self, curves::Curves};
use bench_stats::support::items_needed;

/// Name of the artefact in the output folder.
pub const FILE_NAME: &str = "capacity.json";

/// Lengths of a trial.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);
/// Share of a trial's items that only settle the backend.
const SETTLE: f64 = 0.2;
/// Items of the first look at a backend.
const FIRST_LOOK: u32 = 200;

/// What is wanted, and how closely to look.
#[derive(Debug, Clone, Args)]
pub struct GoalArgs {
    /// Least share of items that succeed
    #[arg(long, value_name = "SHARE", default_value = "0.999", value_parser = share, allow_hyphen_values = true, help_heading = "Goal")]
    pub success: f64,
    /// Stop when the sustained and the refused rate are this close
    #[arg(long, value_name = "SHARE", default_value = "0.02", value_parser = share, allow_hyphen_values = true, help_heading = "Goal")]
    pub precision: f64,
    /// Length of a trial, such as 10 or 1m30s; the confirming one is twice as long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration_within(SHORTEST, LONGEST), allow_hyphen_values = true, help_heading = "Goal")]
    pub trial: Duration,
}

impl GoalArgs {
    pub fn check(&self) -> Result<(), Stopped> {
        let fine = |fine: bool, text: &str| if fine { Ok(()) } else { Err(Stopped::usage(text)) };
        fine(self.success > 0.0 && self.success <= 1.0, "--success must be above 0 and at most 1")?;
        fine((0.002..=0.5).contains(&self.precision), "--precision must be from 0.002 to 0.5")
    }
}

/// Flags of `bench capacity`: those of `bench run`, and the goal.
#[derive(Debug, Args)]
pub struct CapacityArgs {
    /// What the response time has to meet: p99=200ms, p95=1.5s; without a unit seconds
    #[arg(long, value_name = "GOAL", help_heading = "Goal")]
    slo: Slo,
    #[command(flatten)]
    goal: GoalArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

pub fn capacity(args: &CapacityArgs) -> Result<Exit, Stopped> {
    args.goal.check()?;
    if args.run.load.is_some() || args.run.rate.is_some() {
        return Err(Stopped::usage("`bench capacity` chooses the rates itself: leave --load and --rate out"));
    }
    args.run.refuse_views_of_one_run()?;
    let plan = args.run.plan()?;
    if args.run.dry_run {
        return dry_run(&args.run, &plan);
    }
    let name = args.run.backend();
    let given = args.run.backend_options()?;
    let output_dir = args.run.output_dir();
    places::output(&output_dir, "--output-dir")?;
    check_folder(&output_dir)?;
    let ReadyBackend { plugin, description, options } = ready_backend(&args.run.plugins, &name, &given)?;
    prepare(&plan)?;
    let trials = Trials {
        plan: &plan,
        plugin: &plugin,
        description: &description,
        run_id: args.run.run_id()?,
        output_dir: output_dir.clone(),
        memory_limit: Some(args.run.memory_bytes()),
        options,
        arrivals: args.run.arrivals(),
        verbose: args.run.verbose,
    };
    let report = trials.search(args.slo, &args.goal)?;
    let files = keep(&output_dir, &report)?;
    if args.run.json {
        output::json(&report)?;
    } else {
        screen::grid(&report::capacity::grid(&report));
        report::capacity::words(&report).iter().for_each(|line| say!("{line}"));
        files.iter().for_each(|file| screen::path(file));
    }
    Ok(if report.found.capacity.is_some() { Exit::Ok } else { Exit::RunFailed })
}

/// Writes the artefacts beside those of earlier commands. What a search found is not lost when that fails.
pub fn keep(folder: &Path, report: &Report) -> Result<Vec<PathBuf>, Stopped> {
    let rescued = || serde_json::to_string_pretty(report).ok();
    write(folder, report).map_err(|stopped| Stopped { rescued: rescued(), ..stopped })
}

fn write(folder: &Path, report: &Report) -> Result<Vec<PathBuf>, Stopped> {
    let lock = OutputLock::acquire(folder, lock::DEFAULT_WAIT)?;
    let numbering = Numbering::free(&lock, &[FILE_NAME, html::FILE_NAME]);
    let name = numbering.of(FILE_NAME);
    let path = lock.path(&name);
    atomic::write_json(&path, report)?;
    let page = Curves {
        title: &format!("Capacity of {}", report.backend),
        lead: &format!("{}, nodes {}, parallelism {}", report.workload, report.nodes, report.parallelism),
        notes: &report::capacity::words(report),
        charts: &report::capacity::charts(report),
        grid: &report::capacity::grid(report),
        files: &[name],
    };
    let mut files = vec![path];
    files.extend(report::write_curves(&page, folder, numbering)?);
    Ok(files)
}

/// A run and its course. Times are seconds since its first arrival.
pub struct Watched {
    pub finished: Finished,
    pub samples: Vec<Sample>,
    /// In bytes.
    pub memory: Vec<(f64, f64)>,
}

/// Runs one backend at one rate after another.
pub struct Trials<'a> {
    pub plan: &'a Plan,
    pub plugin: &'a Vetted,
    pub description: &'a Description,
    pub run_id: String,
    pub output_dir: PathBuf,
    pub memory_limit: Option<u64>,
    pub options: Vec<(String, String)>,
    pub arrivals: Arrivals,
    pub verbose: bool,
}

impl Trials<'_> {
    /// Looks how fast the backend is, then searches from there.
    pub fn search(&self, slo: Slo, args: &GoalArgs) -> Result<Report, Stopped> {
        let goal = Goal { slo, success: args.success };
        let mut index = 0;
        let mut closed = |items: u32| {
            let plan = self.plan_of(items, Load::Closed);
            let finished = self.whole(&plan, index, "closed")?.finished;
            answered(&finished)?;
            index += 1;
            Ok::<f64, Stopped>(finished.measured.throughput)
        };
        let first = closed(FIRST_LOOK)?;
        let trial = args.trial.as_secs_f64();
        let throughput = closed(items(first, trial, 0))?;
        screen::note(&format!("closed load: {throughput:.1} items/s"));
        let least = items_needed(slo.quantile, 0.95);
        let found = capacity::search(&goal, throughput, args.precision, |phase, rate| {
            let seconds = if phase == Phase::Confirm { 2.0 * trial } else { trial };
            let load = Load::Open { rate, arrivals: self.arrivals };
            let plan = self.plan_of(items(rate, seconds, least), load);
            let watched = unless_it_broke(self.whole(&plan, index, phase.name()))?;
            index += 1;
            let trial = match watched {
                Ok(watched) => trial_of(&watched, &plan, rate, slo)?,
                Err(why) => Trial::failed(rate, why),
            };
            let verdict =
                goal.limit(&trial).map_or("sustained".to_owned(), |limit| goal.words(&trial, limit));
            screen::note(&format!("{:8} {rate:8.1}/s  {verdict}", phase.name()));
            Ok::<Trial, Stopped>(trial)
        })?;
        let plan = self.plan_of(items(throughput, 2.0 * trial, 0), Load::Closed);
        let after = unless_it_broke(self.whole(&plan, index, "closed"))?.ok();
        Ok(Report {
            backend: self.description.name.to_string(),
            workload: self.plan.workload.name().to_owned(),
            nodes: self.plan.nodes,
            parallelism: self.plan.parallelism,
            run_id: self.run_id.clone(),
            timestamp: UtcTime::now(),
            config_hash: Plan { load: Load::Closed, ..self.plan.clone() }.config_hash(),
            goal,
            precision: args.precision,
            trial_seconds: trial,
            closed_loop_throughput: throughput,
            closed_loop_throughput_after: after
                .filter(|watched| watched.finished.measured.unanswered().is_none())
                .map(|watched| watched.finished.measured.throughput),
            found,
        })
    }

    fn plan_of(&self, items: u32, load: Load) -> Plan {
        let settle = (f64::from(items) * SETTLE) as u32;
        Plan { num_tasks: items, warmup_items: settle, repeat: 1, load, ..self.plan.clone() }
    }

    /// One run that nobody cut short.
    pub fn whole(&self, plan: &Plan, index: u32, what: &str) -> Result<Watched, Stopped> {
        let watched = self.watched(plan, index, what)?;
        if watched.finished.measured.partial { Err(interrupted()) } else { Ok(watched) }
    }

    /// One run, with its record in the output folder.
    pub fn watched(&self, plan: &Plan, index: u32, what: &str) -> Result<Watched, Stopped> {
        if STOP.level() > StopLevel::Go {
            return Err(interrupted());
        }
        let trial = TrialPlace { phase: what.to_owned(), index };
        let folder = claim_folder(&self.output_dir, &self.run_id, &self.description.name, index)?;
        let job = Job {
            plan,
            plugin: self.plugin,
            description: self.description,
            run_id: &self.run_id,
            repeat_index: index,
            output_dir: &self.output_dir,
            folder: &folder,
            library: workload_library(),
            memory_limit: self.memory_limit,
            options: self.options.clone(),
            place: Place { trial: Some(trial), ..Place::default() },
            trace: None,
        };
        let rate = match plan.load {
            Load::Open { rate, .. } => format!(" {rate:.1}/s"),
            Load::Closed => String::new(),
        };
        let label = format!("{} {what}{rate}", self.description.name);
        let mut watcher = Recorder::new(RunProgress::new(&label, plan.num_tasks.into(), self.verbose));
        let finished = job.run(&mut watcher, &STOP);
        let (samples, started) = watcher.into_samples();
        let finished = finished.map_err(|error| stopped(error, &job))?;
        let since = |at: Instant| started.and_then(|start| at.checked_duration_since(start));
        let memory = finished.memory.iter();
        let memory = memory.filter_map(|(at, bytes)| Some((since(*at)?.as_secs_f64(), *bytes as f64)));
        let memory = memory.collect();
        Ok(Watched { finished, samples, memory })
    }
}

fn interrupted() -> Stopped {
    Stopped::new(Exit::Interrupted, "interrupted; finished trials are kept", "")
}

/// A run that the backend did not survive is an answer to the question how much it can take; anything
/// else that goes wrong ends the search.
fn unless_it_broke<T>(run: Result<T, Stopped>) -> Result<Result<T, String>, Stopped> {
    match run {
        Ok(run) => Ok(Ok(run)),
        Err(stopped) if matches!(stopped.exit, Exit::RunFailed | Exit::TimedOut | Exit::Dishonest) => {
            Ok(Err(stopped.message))
        }
        Err(stopped) => Err(stopped),
    }
}

/// Enough items for the length, and for the percentile.
fn items(rate: f64, seconds: f64, least_timed: u64) -> u32 {
    let least = (least_timed as f64 / (1.0 - SETTLE)).ceil();
    (rate * seconds).ceil().max(least).clamp(f64::from(FIRST_LOOK), 5e7) as u32
}

fn trial_of(watched: &Watched, plan: &Plan, rate: f64, slo: Slo) -> Result<Trial, Stopped> {
    let Watched { finished, samples, .. } = watched;
    let measured = &finished.measured;
    let intervals = histogram::load(&finished.folder.join(histogram::FILE_NAME))?;
    let latency = histogram::whole_items(&intervals)?.and_then(|all| all.quantile(slo.quantile));
    let due = Due::of(plan).into_iter().flatten().take(plan.num_tasks as usize);
    let Pace { offered, completed } = pace(samples, plan.warmup_items.into(), due).unwrap_or_else(|| {
        let offered = measured.generator.map_or(rate, |generator| generator.offered_rate);
        Pace { offered, completed: measured.throughput }
    });
    let doubts = finished.findings.iter().filter(|finding| finding.is_of_the_machine());
    Ok(Trial {
        rate,
        offered,
        completed,
        latency_ms: latency.map(|ms| ms.get()),
        success_rate: measured.timed_completed as f64 / measured.timed.max(1) as f64,
        items: measured.timed,
        late: measured.late as f64 / measured.emitted.max(1) as f64,
        lateness_ms: measured.generator.map_or(0.0, |generator| generator.lateness_p99_ms),
        doubts: doubts.map(Finding::code).map(str::to_owned).collect(),
        error: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_backend_that_breaks_is_an_answer() {
        let run = |exit| unless_it_broke::<()>(Err(Stopped::new(exit, "why", "")));
        for exit in [Exit::RunFailed, Exit::TimedOut, Exit::Dishonest] {
            assert_eq!(run(exit).unwrap(), Err("why".to_owned()));
        }
        for exit in [Exit::Interrupted, Exit::Output, Exit::Unavailable, Exit::Usage] {
            assert_eq!(run(exit).unwrap_err().exit, exit);
        }
    }
}
