//! `bench capacity`.

use std::time::Duration;

use clap::Args;

use super::output::{self, say};
use super::plan::Warmup;
use super::run::dry_run;
use super::runner::Alone;
use super::screen;
use super::{Exit, RunArgs, Stopped};
use bench_campaign::capacity::Search;
use bench_campaign::run::Runner as _;
use bench_judge::capacity::{Goal, Slo};
use bench_record::quantity::{duration_within, share};
use bench_report as report;

/// Lengths of a trial.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

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

    /// The search for what meets all of these; nothing where there are none.
    pub fn search(&self, slos: &[Slo]) -> Option<Search> {
        let (slo, and) = slos.split_first()?;
        let goal = Goal { slo: *slo, and: and.to_vec(), success: self.success };
        Some(Search { goal, precision: self.precision, trial_seconds: self.trial.as_secs_f64() })
    }
}

/// Flags of `bench capacity`: those of `bench run`, and the goal.
#[derive(Debug, Args)]
pub struct CapacityArgs {
    /// What the response time has to meet: p99=200ms, p95=1.5s; without a unit seconds. Of a language model ttft, tpot,
    /// between_tokens or answer: ttft_p95=500ms. Several have to be met together
    #[arg(long, value_name = "GOAL", value_delimiter = ',', help_heading = "Goal")]
    slo: Vec<Slo>,
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
    if args.run.warmup == Some(Warmup::Auto) {
        let text = "`bench capacity` lets each trial settle for its first fifth: leave --warmup out";
        return Err(Stopped::usage(text));
    }
    let Some(search) = args.goal.search(&args.slo) else {
        return Err(Stopped::usage("`bench capacity` needs a goal: --slo p99=200ms"));
    };
    args.run.refuse_views_of_one_run()?;
    let plan = args.run.plan()?;
    if args.run.dry_run {
        return dry_run(&args.run, &plan);
    }
    let (alone, mut runner) = Alone::ready(&args.run, plan)?;
    let report = alone.trials().search(&search, &mut runner)?;
    let files = runner.keep(&alone.output_dir, &report)?;
    if args.run.json {
        output::json(&report)?;
    } else {
        screen::grid(&report::capacity::grid(&report));
        report::capacity::words(&report).iter().for_each(|line| say!("{line}"));
        files.iter().for_each(|file| screen::path(file));
    }
    Ok(if report.found.capacity.is_some() { Exit::Ok } else { Exit::RunFailed })
}
