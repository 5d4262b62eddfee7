//! A steady open load, a worker that is killed on the way, and what it comes to.

mod course;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::capacity::Trials;
use super::run::{Failure, Runner};
use bench_judge::recovery::{Course, Report, Window, judge};
use bench_measure::dataflow::graph::{Role, State};
use bench_measure::emitter::record_at;
use bench_measure::guest::RunEvent;
use bench_measure::loss::{Kill, Loss};
use bench_measure::operation::on_path;
use bench_measure::plan::{Load, Plan};
use bench_measure::supervise::{Finished, Watcher};
use bench_measure::validity::{Finding, KILLED};
use bench_measure::workloads::open::OpenWorkload;
use bench_measure::workloads::parameters::FAULT;
use bench_record::evidence::{Killed, Victim};
use bench_record::time::UtcTime;

/// Share of the arrivals that only settle the backend.
pub const SETTLE: f64 = 0.2;
/// Seconds that a run may take beside twice its length, unless the user says otherwise.
const PATIENCE: f64 = 300.0;
/// Fewer arrivals show no curve.
pub const FEWEST_ARRIVALS: u32 = 120;

/// What is killed, and under which load.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Of the run with the kill, about.
    pub seconds: f64,
    /// Arrivals a second as a share of what the backend does under a closed load; else the plan has a rate.
    pub share: f64,
    pub what: Victim,
    /// After which share of the arrivals.
    pub at: f64,
    /// The process that the user named, and when it started.
    pub named: Option<(u32, u64)>,
    /// The operator that panics; by default the first that has no state.
    pub operator: Option<String>,
}

/// How it ended.
#[derive(Debug)]
pub enum Ended {
    Told(Box<Recovered>),
    /// Nothing was killed, and why.
    Spared(String),
    /// It cannot be done so: why, and what can be.
    Refused {
        why: String,
        remedy: &'static str,
    },
}

/// What was seen of a kill.
#[derive(Debug)]
pub struct Recovered {
    pub report: Report,
    /// The run, where it ended with a result.
    pub finished: Option<Finished>,
    /// Its folder.
    pub folder: PathBuf,
}

impl Recovered {
    /// The windows, one a line.
    #[must_use]
    pub fn csv(&self) -> String {
        csv(&self.report.judgement.windows)
    }
}

/// Runs, kills, and reads off what that came to.
///
/// # Errors
/// When a run fails before anything was killed.
pub fn recover<R: Runner>(trials: &Trials<'_>, wish: &Wish, runner: &mut R) -> Result<Ended, R::Failure> {
    let base = trials.plan;
    let (rate, closed) = match base.load {
        Load::Open { rate, .. } => (rate, None),
        Load::Closed => {
            let closed = trials.closed_rate(runner)?;
            runner.note(&format!("closed load: {closed:.1} items/s"));
            (closed * wish.share, Some(closed))
        }
    };
    let arrivals = (rate * wish.seconds).ceil().clamp(1.0, f64::from(u32::MAX / 4)) as u32;
    if arrivals < FEWEST_ARRIVALS {
        let why = format!(
            "{:.0} s at {rate:.2}/s are {arrivals} arrivals, and fewer than {FEWEST_ARRIVALS} show no curve",
            wish.seconds
        );
        return Ok(Ended::Refused { why, remedy: "lengthen --duration, or give a higher --rate" });
    }
    let plan = Plan {
        num_tasks: arrivals,
        warmup_items: (f64::from(arrivals) * SETTLE) as u32,
        warmup_auto: false,
        repeat: 1,
        // A backend that never answers again never ends by itself either.
        timeout: base.timeout.or_else(|| Duration::try_from_secs_f64(wish.seconds * 2.0 + PATIENCE).ok()),
        load: Load::Open { rate, arrivals: trials.arrivals },
        ..base.clone()
    };
    let after = (f64::from(arrivals) * wish.at) as u64;
    let (plan, operator) = match wish.what {
        Victim::Operator => match crashing(&plan, after, wish.operator.as_deref()) {
            Ok((plan, operator)) => (plan, Some(operator)),
            Err(why) => return Ok(Ended::Refused { why, remedy: "" }),
        },
        _ => (plan, None),
    };
    runner.note(&format!(
        "{arrivals} arrivals, about {:.0} s at {rate:.1}/s; {} after {after}",
        wish.seconds,
        if operator.is_some() { "an operator panics" } else { "a process is killed" }
    ));
    let loss = Loss { what: wish.what, after, named: wish.named };
    let mut seen = Seen::default();
    let (ended, folder) = trials.run((&plan, Some(&loss)), (2, "recover"), &mut seen, runner);
    let killed = operator.map(|operator| panicked(operator, after)).or_else(|| seen.killed.take());
    let (finished, broke) = match ended {
        Ok(finished) => (Some(finished), None),
        Err(failure) => match failure.broken().map(str::to_owned) {
            Some(why) if killed.is_some() => (None, Some(why)),
            _ if seen.spared.is_some() => (None, None),
            _ => return Err(failure),
        },
    };
    let Some((killed, folder)) = killed.zip(folder) else {
        return match seen.spared {
            Some(why) => Ok(Ended::Spared(why)),
            None => Err(Failure::interrupted()),
        };
    };
    if finished.as_ref().is_some_and(|run| run.measured.partial) {
        return Err(Failure::interrupted());
    }
    let course = course::read(&plan, &folder, seen.taken, &killed, broke)?;
    let report = report(trials, &plan, (rate, closed), killed, (&course, finished.as_ref()));
    Ok(Ended::Told(Box::new(Recovered { report, finished, folder })))
}

fn report(
    trials: &Trials<'_>,
    plan: &Plan,
    (rate, closed): (f64, Option<f64>),
    killed: Killed,
    (course, finished): (&Course, Option<&Finished>),
) -> Report {
    let doubts = finished.iter().flat_map(|run| &run.findings).map(Finding::code);
    let doubts = doubts.filter(|code| *code != KILLED).map(str::to_owned);
    Report {
        backend: trials.backend.to_owned(),
        workload: plan.workload.name().to_owned(),
        nodes: plan.nodes,
        parallelism: plan.parallelism,
        run_id: trials.run_id.to_owned(),
        timestamp: UtcTime::now(),
        config_hash: plan.config_hash(),
        rate,
        share: closed.map(|closed| rate / closed),
        closed_loop_throughput: closed,
        arrivals: plan.num_tasks.into(),
        duration_seconds: course.last_due(),
        killed,
        killed_after_seconds: course.killed_at,
        run_failed: course.broke.clone(),
        doubts: doubts.collect(),
        judgement: judge(course),
    }
}

/// The plan with an operator that panics once, at the query of that place.
fn crashing(plan: &Plan, position: u64, wanted: Option<&str>) -> Result<(Plan, String), String> {
    if plan.params.get(FAULT).is_some_and(|fault| !fault.is_null()) {
        return Err(format!("--kill operator is a fault by itself: leave --set {FAULT} out"));
    }
    let graph = plan.graph().map_err(|cause| cause.to_string())?;
    let may = |node: &&_| {
        let node: &bench_measure::dataflow::graph::Node = node;
        node.role == Role::Operator && node.state == State::None && on_path(&graph, node)
    };
    let names = || graph.nodes.iter().filter(may).map(|node| node.name.as_str());
    let operator = match wanted {
        Some(wanted) => names().find(|name| *name == wanted),
        None => names().next(),
    };
    let operator = operator.ok_or_else(|| {
        let all = names().collect::<Vec<_>>().join(", ");
        let wanted = wanted.unwrap_or("any");
        format!("{} has no operator without state that is called '{wanted}'; it has {all}", plan.workload)
    })?;
    let schedule = || {
        let workload = OpenWorkload::with_texts(plan.open_spec()).map_err(|cause| cause.to_string())?;
        let schedule = workload.schedule().map_err(|cause| cause.to_string())?;
        record_at(plan, schedule, position).map_err(|cause| cause.to_string())
    };
    let record = schedule()?.unwrap_or(position);
    let mut crashing = plan.clone();
    let fault = json!(format!("panic:{operator}:{record}:1"));
    let set = plan.workload.parameters().set(&mut crashing.params, FAULT, fault);
    set.map_err(|cause| cause.to_string())?;
    Ok((crashing, operator.to_owned()))
}

fn panicked(operator: String, position: u64) -> Killed {
    Killed {
        what: Victim::Operator,
        after: position,
        at: None,
        monotonic_ns: None,
        processes: Vec::new(),
        calls: None,
        in_flight: None,
        operator: Some(operator),
    }
}

/// What the run tells on its way.
#[derive(Debug, Default)]
struct Seen {
    taken: u64,
    killed: Option<Killed>,
    spared: Option<String>,
}

impl Watcher for Seen {
    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Progress { emitted, .. } => self.taken = *emitted,
            RunEvent::Kill(Kill::Done(killed)) => self.killed = Some(killed.clone()),
            RunEvent::Kill(Kill::Spared(why)) => self.spared = Some(why.clone()),
            _ => {}
        }
    }

    fn phase(&mut self, _phase: &str) {}
}

fn csv(windows: &[Window]) -> String {
    let mut text = "at_seconds,arrivals,throughput,p99_ms,backlog,failed,unanswered\n".to_owned();
    for Window { at, arrivals, throughput, p99_ms, backlog, failed, unanswered } in windows {
        let p99_ms = p99_ms.map_or(String::new(), |ms| format!("{ms:.3}"));
        let _ = writeln!(text, "{at:.3},{arrivals},{throughput:.3},{p99_ms},{backlog},{failed},{unanswered}");
    }
    text
}
