//! `bench soak`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::output;
use super::run::{answered, dry_run};
use super::runner::Alone;
use super::screen;
use super::{Exit, RunArgs, Stopped};
use bench_campaign::soak;
use bench_judge::soak::Verdict;
use bench_measure::plan::Load;
use bench_measure::validity::Finding;
use bench_record::folder::Numbering;
use bench_record::quantity::{LONGEST, duration_within};
use bench_record::{OutputLock, atomic, lock};
use bench_report as report;
use bench_report::html::{self, curves::Curves};

/// A shorter soak has nothing to show.
const SHORTEST: Duration = Duration::from_secs(1);
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
    args.run.idle_arrivals(base.load != Load::Closed).into_iter().for_each(screen::warning);
    let (alone, mut runner) = Alone::ready(&args.run, base)?;
    let seconds = args.duration.as_secs_f64();
    let (trials, output_dir) = (alone.trials(), &alone.output_dir);
    let soaked = soak::soak(&trials, seconds, &mut runner)?;
    let finished = &soaked.watched.finished;
    if !finished.findings.is_empty() {
        let why: Vec<String> = finished.findings.iter().map(Finding::message).collect();
        screen::warning(&format!("the run is INVALID: {}", why.join("; ")));
    }
    let value = soaked.value();
    // What was seen is not lost when it cannot be kept.
    let rescued = || serde_json::to_string_pretty(&value).ok();
    let unkept = |error: bench_record::Error| Stopped { rescued: rescued(), ..error.into() };
    let lock = OutputLock::acquire(output_dir, lock::DEFAULT_WAIT).map_err(unkept)?;
    let numbering = Numbering::free(&lock, &[FILES[0], FILES[1], html::FILE_NAME]);
    let names = FILES.map(|name| numbering.of(name));
    let mut files: Vec<PathBuf> = names.iter().map(|name| lock.path(name)).collect();
    let kept = atomic::write_json(&files[0], &value)
        .and_then(|()| atomic::write(&files[1], soaked.csv().as_bytes()));
    kept.map_err(unkept)?;
    let grid = report::soak::grid(&soaked.drifts);
    let page = Curves {
        title: &format!("Soak of {}", trials.backend),
        lead: &format!("{} items of {} in {seconds:.0} s", soaked.plan.num_tasks, soaked.plan.workload),
        notes: &[
            "A measure creeps when its trend is sure (p < 0.003) and 5 % over the run at least.".to_owned()
        ],
        charts: &report::soak::charts(trials.backend, &soaked.windows),
        grid: &grid,
        files: &names,
    };
    files.extend(report::write_curves(&page, output_dir, numbering)?);
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
    Ok(match soaked.verdict {
        Verdict::Worse => Exit::Regression,
        Verdict::Steady | Verdict::Unknown => Exit::Ok,
    })
}
