//! One backend at one rate after another: how much it can take.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::run::{Failure, Runner, Wanted};
use bench_isolate::isolate::StopLevel;
use bench_judge::capacity::{self, Ended, Figure, Goal, Phase, Report, Slo, Trial};
use bench_measure::bounds::{Bound, Bounds, Broken};
use bench_measure::emitter::Due;
use bench_measure::operation::Measured;
use bench_measure::plan::{Arrivals, Load, Plan};
use bench_measure::series::{Pace, Recorder, pace};
use bench_measure::supervise::{Finished, claim_folder};
use bench_measure::validity::Finding;
use bench_record::evidence::{Place, TrialPlace};
use bench_record::histogram;
use bench_record::series::Sample;
use bench_record::time::UtcTime;
use bench_stats::support::items_needed;

/// Name of the artefact in the output folder.
pub const FILE_NAME: &str = "capacity.json";

/// Share of a trial's items that only settle the backend.
const SETTLE: f64 = 0.2;
/// Items of the first look at a backend.
const FIRST_LOOK: u32 = 200;

/// What is searched for, and how closely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Search {
    pub goal: Goal,
    pub precision: f64,
    pub trial_seconds: f64,
}

/// A run and its course. Times are seconds since its first arrival.
#[derive(Debug)]
pub struct Watched {
    pub finished: Finished,
    pub samples: Vec<Sample>,
    /// In bytes.
    pub memory: Vec<(f64, f64)>,
}

/// Runs one backend at one rate after another.
#[derive(Debug)]
pub struct Trials<'a> {
    pub backend: &'a str,
    pub plan: &'a Plan,
    pub run_id: &'a str,
    pub output_dir: &'a Path,
    pub arrivals: Arrivals,
}

impl Trials<'_> {
    /// Looks how fast the backend is, then searches from there.
    ///
    /// # Errors
    /// When a run fails for another reason than that the backend cannot take more.
    pub fn search<R: Runner>(&self, search: &Search, runner: &mut R) -> Result<Report, R::Failure> {
        let Search { goal, precision, trial_seconds } = search;
        let (precision, trial_seconds) = (*precision, *trial_seconds);
        let mut index = 0;
        let mut closed = |items: u32, runner: &mut R| {
            let plan = self.plan_of(items, Load::Closed);
            let finished = self.whole(&plan, index, "closed", runner)?.finished;
            runner.answered(&finished)?;
            index += 1;
            Ok::<f64, R::Failure>(finished.measured.throughput)
        };
        let first = closed(FIRST_LOOK, runner)?;
        let throughput = closed(items(first, trial_seconds, 0), runner)?;
        runner.note(&format!("closed load: {throughput:.1} items/s"));
        let least = goal.slos().map(|slo| items_needed(slo.quantile, 0.95)).max().unwrap_or(0);
        let found = capacity::search(goal, throughput, precision, |phase, rate| {
            let seconds = if phase == Phase::Confirm { 2.0 * trial_seconds } else { trial_seconds };
            let load = Load::Open { rate, arrivals: self.arrivals };
            let plan = self.plan_of(items(rate, seconds, least), load);
            let plan = Plan { bounds: bounds(goal, &plan), ..plan };
            let watched = unless_it_broke(self.whole(&plan, index, phase.name(), runner))?;
            index += 1;
            let trial = match watched {
                Ok(watched) => trial_of(&watched, &plan, rate, goal)?,
                Err(why) => Trial::failed(rate, why),
            };
            let verdict =
                goal.limit(&trial).map_or("sustained".to_owned(), |limit| goal.words(&trial, limit));
            runner.note(&format!("{:8} {rate:8.1}/s  {verdict}", phase.name()));
            Ok::<Trial, R::Failure>(trial)
        })?;
        let plan = self.plan_of(items(throughput, 2.0 * trial_seconds, 0), Load::Closed);
        let after = unless_it_broke(self.whole(&plan, index, "closed", runner))?.ok();
        Ok(Report {
            backend: self.backend.to_owned(),
            workload: self.plan.workload.name().to_owned(),
            nodes: self.plan.nodes,
            parallelism: self.plan.parallelism,
            run_id: self.run_id.to_owned(),
            timestamp: UtcTime::now(),
            config_hash: Plan { load: Load::Closed, ..self.plan.clone() }.config_hash(),
            goal: goal.clone(),
            precision,
            trial_seconds,
            closed_loop_throughput: throughput,
            closed_loop_throughput_after: after
                .filter(|watched| watched.finished.measured.unanswered().is_none())
                .map(|watched| watched.finished.measured.throughput),
            found,
        })
    }

    fn plan_of(&self, items: u32, load: Load) -> Plan {
        let settle = (f64::from(items) * SETTLE) as u32;
        Plan {
            num_tasks: items,
            warmup_items: settle,
            warmup_auto: false,
            repeat: 1,
            load,
            ..self.plan.clone()
        }
    }

    /// One run that nobody cut short.
    ///
    /// # Errors
    /// When it fails, or somebody did.
    pub fn whole<R: Runner>(
        &self,
        plan: &Plan,
        index: u32,
        what: &str,
        runner: &mut R,
    ) -> Result<Watched, R::Failure> {
        let watched = self.watched(plan, index, what, runner)?;
        let Measured { partial, broken, .. } = watched.finished.measured;
        if partial && broken.is_none() { Err(Failure::interrupted()) } else { Ok(watched) }
    }

    /// One run, with its record in the output folder.
    ///
    /// # Errors
    /// When it fails, or the user wants no more.
    pub fn watched<R: Runner>(
        &self,
        plan: &Plan,
        index: u32,
        what: &str,
        runner: &mut R,
    ) -> Result<Watched, R::Failure> {
        if runner.stop().level() > StopLevel::Go {
            return Err(Failure::interrupted());
        }
        let folder = claim_folder(self.output_dir, self.run_id, self.backend, index)?;
        let rate = match plan.load {
            Load::Open { rate, .. } => format!(" {rate:.1}/s"),
            Load::Closed => String::new(),
        };
        let trial = TrialPlace { phase: what.to_owned(), index };
        let wanted = Wanted {
            backend: self.backend,
            plan,
            run_id: self.run_id,
            repeat_index: index,
            output_dir: self.output_dir,
            folder: &folder,
            place: Place { trial: Some(trial), ..Place::default() },
            label: format!("{} {what}{rate}", self.backend),
            to_its_end: false,
        };
        let mut recorder = Recorder::default();
        let finished = runner.run(&wanted, &mut recorder)?;
        let (samples, started) = recorder.into_samples();
        let since = |at: Instant| started.and_then(|start| at.checked_duration_since(start));
        let memory = finished.memory.iter();
        let memory = memory.filter_map(|(at, bytes)| Some((since(*at)?.as_secs_f64(), *bytes as f64)));
        let memory = memory.collect();
        Ok(Watched { finished, samples, memory })
    }
}

/// A run that the backend did not survive is an answer to the question how much it can take; anything
/// else that goes wrong ends the search.
fn unless_it_broke<T, F: Failure>(run: Result<T, F>) -> Result<Result<T, String>, F> {
    run.map(Ok).or_else(|failure| match failure.broken() {
        Some(why) => Ok(Err(why.to_owned())),
        None => Err(failure),
    })
}

/// Enough items for the length, and for the percentile.
fn items(rate: f64, seconds: f64, least_timed: u64) -> u32 {
    let least = (least_timed as f64 / (1.0 - SETTLE)).ceil();
    (rate * seconds).ceil().max(least).clamp(f64::from(FIRST_LOOK), 5e7) as u32
}

/// What makes a trial a failed one whatever is still to come.
fn bounds(goal: &Goal, plan: &Plan) -> Bounds {
    let items = u64::from(plan.num_tasks - plan.warmup_items);
    let of = |slo: &Slo| Bound::of(slo.quantile, Duration::from_nanos((slo.limit_ms * 1e6) as u64), items);
    // The sink knows when an item is answered, and not what a model took for it.
    let latencies = goal.slos().filter(|slo| slo.figure == Figure::Response).map(of).collect();
    Bounds { latencies, failures: Some(((1.0 - goal.success) * items as f64 + 1e-9) as u64) }
}

/// The bound that a run broke as the goal that it is of.
fn ended(goal: &Goal, broken: Broken) -> Ended {
    let of_response = goal.slos().enumerate().filter(|(_, slo)| slo.figure == Figure::Response);
    let numbers: Vec<usize> = of_response.map(|(number, _)| number).collect();
    let Broken { latency, allowed, after } = broken;
    Ended { goal: latency.and_then(|latency| numbers.get(latency).copied()), allowed, after }
}

fn trial_of(watched: &Watched, plan: &Plan, rate: f64, goal: &Goal) -> bench_record::Result<Trial> {
    let Watched { finished, samples, .. } = watched;
    let measured = &finished.measured;
    let intervals = histogram::load(&finished.folder.join(histogram::FILE_NAME))?;
    let latency = |slo: &Slo| {
        let latencies = match slo.figure {
            Figure::Response => histogram::whole_items(&intervals)?,
            figure => histogram::tagged(&intervals, Some(figure.tag()))?,
        };
        Ok(latencies.and_then(|all| all.quantile(slo.quantile)).map(|ms| ms.get()))
    };
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
        latency_ms: latency(&goal.slo)?,
        and_ms: goal.and.iter().map(latency).collect::<bench_record::Result<_>>()?,
        ended: measured.broken.map(|broken| ended(goal, broken)),
        success_rate: measured.timed_completed as f64 / measured.timed.max(1) as f64,
        items: measured.timed,
        late: measured.late as f64 / measured.emitted.max(1) as f64,
        lateness_ms: measured.generator.map_or(0.0, |generator| generator.lateness_p99_ms),
        doubts: doubts.map(Finding::code).map(str::to_owned).collect(),
        error: None,
    })
}
