//! `bench soak`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::capacity::Trials;
use super::find::{ReadyBackend, ready_backend};
use super::output;
use super::run::{answered, check_folder, dry_run, prepare};
use super::screen;
use super::{Exit, RunArgs, Stopped, places};
use bench_judge::soak::{Drift, Verdict, WINDOWS, Window, judge, windows};
use bench_measure::plan::{Load, Plan};
use bench_measure::validity::Finding;
use bench_record::folder::Numbering;
use bench_record::quantity::{LONGEST, duration_within};
use bench_record::{OutputLock, atomic, lock};
use bench_report as report;
use bench_report::html::{self, curves::Curves};

/// A shorter soak has nothing to show.
const SHORTEST: Duration = Duration::from_secs(1);
/// Seconds of the closed run that says how many items fill the wanted time.
const LOOK: f64 = 5.0;

/// The artefacts beside the page.
const FILES: [&str; 2] = ["soak.json", "soak.csv"];

/// Flags of `bench soak`: those of `bench run`, and for how long.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// How long to run, about: seconds, or with units as in 90s, 1h30m, 8h
    #[arg(long, value_name = "TIME", value_parser = duration_within(SHORTEST, LONGEST), allow_hyphen_values = true)]
    duration: Duration,
    #[command(flatten)]
    pub run: RunArgs,
}

pub fn soak(args: &SoakArgs) -> Result<Exit, Stopped> {
    if args.run.num_tasks.is_some() {
        return Err(Stopped::usage("`bench soak` has no --num-tasks: use --duration"));
    }
    args.run.refuse_views_of_one_run()?;
    let base = args.run.plan()?;
    if args.run.dry_run {
        return dry_run(&args.run, &base);
    }
    let name = args.run.backend();
    let given = args.run.backend_options()?;
    let output_dir = args.run.output_dir();
    places::output(&output_dir, "--output-dir")?;
    check_folder(&output_dir)?;
    let ReadyBackend { plugin, description, options } = ready_backend(&args.run.plugins, &name, &given)?;
    prepare(&base)?;
    let seconds = args.duration.as_secs_f64();
    let trials = Trials {
        plan: &base,
        plugin: &plugin,
        description: &description,
        run_id: args.run.run_id()?,
        output_dir: output_dir.clone(),
        memory_limit: Some(args.run.memory_bytes()),
        options,
        arrivals: args.run.arrivals(),
        verbose: args.run.verbose,
    };
    let rate = match base.load {
        Load::Open { rate, .. } => rate,
        Load::Closed => closed_rate(&trials, &base)?,
    };
    let items = (rate * seconds).ceil().clamp(1.0, f64::from(u32::MAX / 4)) as u32;
    let plan = Plan { num_tasks: items.max(base.num_tasks), repeat: 1, ..base.clone() };
    screen::note(&format!("{} items, about {seconds:.0} s at {rate:.1}/s", plan.num_tasks));
    let watched = trials.watched(&plan, 2, "soak")?;
    let windows = windows(&watched.samples, &watched.memory, WINDOWS);
    // Failures have a throughput and a latency too, and they say nothing of how the backend works.
    let answers = watched.finished.measured.unanswered().is_none();
    let drifts = judge(if answers { &windows } else { &[] });
    let verdict = overall(&drifts);
    let finished = &watched.finished;
    if !finished.findings.is_empty() {
        let why: Vec<String> = finished.findings.iter().map(Finding::message).collect();
        screen::warning(&format!("the run is INVALID: {}", why.join("; ")));
    }
    let value = json!({
        "backend": name,
        "workload": plan.workload,
        "run_id": trials.run_id,
        "config_hash": plan.config_hash(),
        "duration_seconds": finished.measured.wall_seconds,
        "items": finished.measured.emitted,
        "failed": finished.measured.failed,
        "partial": finished.measured.partial,
        "validity": finished.record.evidence().validity,
        "verdict": verdict,
        "measures": drifts,
        "windows": windows,
    });
    // What was seen is not lost when it cannot be kept.
    let rescued = || serde_json::to_string_pretty(&value).ok();
    let unkept = |error: bench_record::Error| Stopped { rescued: rescued(), ..error.into() };
    let lock = OutputLock::acquire(&output_dir, lock::DEFAULT_WAIT).map_err(unkept)?;
    let numbering = Numbering::free(&lock, &[FILES[0], FILES[1], html::FILE_NAME]);
    let names = FILES.map(|name| numbering.of(name));
    let mut files: Vec<PathBuf> = names.iter().map(|name| lock.path(name)).collect();
    let kept = atomic::write_json(&files[0], &value)
        .and_then(|()| atomic::write(&files[1], csv(&windows).as_bytes()));
    kept.map_err(unkept)?;
    let grid = report::soak::grid(&drifts);
    let page = Curves {
        title: &format!("Soak of {name}"),
        lead: &format!("{} items of {} in {seconds:.0} s", plan.num_tasks, plan.workload),
        notes: &[
            "A measure creeps when its trend is sure (p < 0.003) and 5 % over the run at least.".to_owned()
        ],
        charts: &report::soak::charts(&name, &windows),
        grid: &grid,
        files: &names,
    };
    files.extend(report::write_curves(&page, &output_dir, numbering)?);
    if args.run.json {
        output::json(&value)?;
    } else {
        screen::grid(&grid);
        files.iter().for_each(|file| screen::path(file));
    }
    // What was seen until then is kept, and judged.
    if finished.measured.partial {
        return Ok(Exit::Interrupted);
    }
    answered(finished)?;
    Ok(match verdict {
        Verdict::Worse => Exit::Regression,
        Verdict::Steady | Verdict::Unknown => Exit::Ok,
    })
}

/// The worst that is known; steady only when every measure is.
fn overall(drifts: &[Drift]) -> Verdict {
    let any = |wanted| drifts.iter().any(|drift| drift.verdict == wanted);
    let worst = [Verdict::Worse, Verdict::Unknown].into_iter().find(|verdict| any(*verdict));
    worst.unwrap_or(Verdict::Steady)
}

/// Two closed runs: a look, and one of some seconds.
fn closed_rate(trials: &Trials<'_>, base: &Plan) -> Result<f64, Stopped> {
    let mut rate = f64::from(base.num_tasks.max(200)) / LOOK;
    for index in 0..2 {
        let num_tasks = (rate * LOOK).ceil().clamp(200.0, 1e7) as u32;
        let plan = Plan { num_tasks, warmup_items: num_tasks / 5, repeat: 1, ..base.clone() };
        let finished = trials.whole(&plan, index, "look")?.finished;
        answered(&finished)?;
        rate = finished.measured.throughput;
    }
    Ok(rate)
}

fn csv(windows: &[Window]) -> String {
    let mut text = "at_seconds,throughput,latency_ms,memory_mib,failed\n".to_owned();
    let or = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
    for window in windows {
        let (latency, memory) = (or(window.latency_ms), or(window.memory_mib));
        let _ =
            writeln!(text, "{:.3},{:.3},{latency},{memory},{}", window.at, window.throughput, window.failed);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::soak::Measure;

    #[test]
    fn a_soak_is_steady_only_when_every_measure_is_known_to_be() {
        let drift = |verdict| Drift { measure: Measure::Memory, trend: None, change: 0.0, verdict };
        let overall = |verdicts: &[Verdict]| {
            overall(&verdicts.iter().map(|verdict| drift(*verdict)).collect::<Vec<_>>())
        };
        use Verdict::{Steady, Unknown, Worse};
        assert_eq!(overall(&[Steady, Steady, Steady]), Steady);
        assert_eq!(overall(&[Steady, Unknown, Steady]), Unknown);
        assert_eq!(overall(&[Unknown, Worse, Steady]), Worse);
    }
}
