//! `bench pair`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::compare::{as_json, exit_of, show};
use super::output;
use super::plan::{DEFAULT_BACKEND, DEFAULT_PAIR, Defaults, Warmup};
use super::resume::{Root, means};
use super::runner::Terminal;
use super::screen;
use super::{Exit, RunArgs, Stopped};
use bench_campaign::drive::Ended;
use bench_campaign::drive::{Campaign as _, drive};
use bench_campaign::pair::equal_rate::EqualRate;
use bench_campaign::pair::{Pair, PairPlan, Step};
use bench_campaign::tree::Started;
use bench_isolate::text::shell_word;
use bench_judge::{Options, Summary};
use bench_measure::plan::Load;
use bench_record::quantity::{count, duration, share};
use bench_report::terminal;

/// Most pairs that are run until a verdict is known.
pub const MOST_PAIRS: u32 = 60;

const PAIR: Defaults = Defaults { num_tasks: 20, scheduler: "fifo", warmup: Warmup::Auto };

/// Flags of `bench pair`: those of `bench run`, for several backends.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// Backends to compare, separated by commas [default: sage,ray; with --aa sage]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    backends: Vec<String>,
    /// Run one backend against itself, as a control: any difference found is false
    #[arg(long)]
    aa: bool,
    /// Add pairs until every verdict on throughput is known: faster, slower or equivalent. Intervals and p-values then
    /// hold at every look, so that stopping early claims nothing that is not so
    #[arg(long, help_heading = "Repeats")]
    until_known: bool,
    /// Most pairs with --until-known [default: 60]
    #[arg(long, value_name = "N", value_parser = count::<u32>, allow_hyphen_values = true, help_heading = "Repeats")]
    max_repeat: Option<u32>,
    /// With --until-known, begin no pair after this time, such as 20m
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true, help_heading = "Repeats")]
    max_time: Option<Duration>,
    /// Give all pairs the same seed. Otherwise each has one of its own, so that a verdict is about more than one input
    #[arg(long, help_heading = "Repeats")]
    same_seed: bool,
    /// After the pairs, run each backend once more at one open rate for its latency: this share of what the slowest of
    /// them completed, such as 50%
    #[arg(long, value_name = "SHARE", value_parser = share, allow_hyphen_values = true, help_heading = "Repeats")]
    latency_at: Option<f64>,
    /// Folder of all pairs
    #[arg(
        long,
        value_name = "DIR",
        default_value = "artifacts/paired_backend_runs",
        help_heading = "Output"
    )]
    output_root: PathBuf,
    /// Continue the pair of this run id with the flags it was started with
    #[arg(long, value_name = "RUN_ID", help_heading = "Output")]
    resume: Option<String>,
    #[command(flatten)]
    pub run: RunArgs,
}

pub fn pair(args: &PairArgs) -> Result<Exit, Stopped> {
    let root = Root { folder: &args.output_root, resume: args.resume.as_deref(), run: &args.run };
    let (tree, plan) = root.open(|| begin(args))?;
    if args.run.dry_run {
        let order: Vec<_> = plan.steps().iter().map(|s| json!([s.backend, s.pair_index, s.arm])).collect();
        return root.dry_run(&plan, &json!({"folder": tree.folder(), "plan": plan, "order": order}));
    }
    args.run.idle_arrivals(plan.plan.load != Load::Closed).into_iter().for_each(screen::warning);
    let (mut runner, _lock) = root.ready(&tree, &plan)?;
    let seconds = plan.max_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let until = seconds.and_then(|time| Instant::now().checked_add(time));
    let pair = Pair { tree: &tree, plan: &plan, until };
    let ended = drive(&pair, &mut runner);
    let ended = at_one_rate(&pair, ended, &mut runner)?;
    let mut exit = ended.failures.first().map(|(_, failure)| failure.exit);
    let failed = ended.failures.into_iter().map(|(step, failure)| (step.backend, failure.message));
    let mut errors: BTreeMap<String, String> = failed.collect();
    pair.conclude()?;
    let report = tree.failure_report();
    if ended.interrupted {
        let resume = root.command(&plan);
        pair.fail(&errors, true, resume.clone())?;
        let text = format!("interrupted; finished runs are kept, see {}", report.display());
        return Err(Stopped::new(Exit::Interrupted, text, resume));
    }
    if args.run.verbose {
        screen::note("pair phase: compare");
    }
    if errors.is_empty() {
        match compared(&pair) {
            Ok(summary) => return finish(args, &pair, &summary),
            Err(error) => {
                exit = Some(error.exit);
                errors.insert("compare".into(), error.message);
            }
        }
    }
    pair.fail(&errors, false, root.command(&plan))?;
    let names: Vec<&str> = errors.keys().map(String::as_str).collect();
    let lost = names.iter().copied().collect();
    let alone = plan.until_known && plan.sides_without(&lost) < 2;
    let why = if alone { "so that nothing can be known any more; " } else { "" };
    let text = format!("failed: {}; {why}the others' records are kept", names.join(", "));
    Err(Stopped::new(exit.unwrap_or(Exit::RunFailed), text, format!("see {}", report.display())))
}

/// What follows the pairs, unless they failed or the user has stopped them.
fn at_one_rate(
    pair: &Pair<'_>,
    ended: Ended<Step, Stopped>,
    runner: &mut Terminal<'_>,
) -> Result<Ended<Step, Stopped>, Stopped> {
    if ended.interrupted || !ended.failures.is_empty() {
        return Ok(ended);
    }
    let Some(equal) = EqualRate::after(pair)? else { return Ok(ended) };
    screen::note(&format!("latency of all at {} items/s", equal.rate));
    Ok(drive(&equal, runner))
}

fn begin(args: &PairArgs) -> Result<PairPlan, Stopped> {
    let backends = match (args.backends.is_empty(), args.aa) {
        (false, _) => args.backends.clone(),
        (true, true) => vec![DEFAULT_BACKEND.to_owned()],
        (true, false) => DEFAULT_PAIR.map(str::to_owned).into(),
    };
    let distinct: std::collections::BTreeSet<_> = backends.iter().collect();
    if distinct.len() != backends.len() {
        return Err(Stopped::usage("--backends names one twice: use --aa to run one against itself"));
    }
    match (args.aa, backends.len()) {
        (true, 2..) => {
            return Err(Stopped::usage(format!("--aa takes one backend: --aa --backends {DEFAULT_BACKEND}")));
        }
        (false, 1) => return Err(Stopped::usage("--backends needs two at least, or --aa for a control")),
        _ => {}
    }
    if !args.until_known && (args.max_repeat.is_some() || args.max_time.is_some()) {
        return Err(Stopped::usage(
            "--max-repeat and --max-time end what --until-known began: give that too",
        ));
    }
    if args.until_known && args.run.repeat.is_some() {
        return Err(Stopped::usage(
            "--until-known finds the number of pairs: give --max-repeat instead of --repeat",
        ));
    }
    if args.latency_at.is_some_and(|share| share <= 0.0 || share >= 1.0) {
        return Err(Stopped::usage("--latency-at must be above 0 and below 1: 50% leaves everybody room"));
    }
    let mut plan = args.run.plan_with(PAIR)?;
    if args.latency_at.is_some() && plan.load != Load::Closed {
        return Err(Stopped::usage(
            "--latency-at follows pairs of a closed load: leave --load and --rate out",
        ));
    }
    if args.until_known {
        plan.repeat = args.max_repeat.unwrap_or(MOST_PAIRS);
        plan.validate().map_err(Stopped::usage)?;
    }
    let started = Started::now(args.run.run_id()?, plan.config_hash());
    Ok(PairPlan {
        started,
        backends,
        aa: args.aa,
        until_known: args.until_known,
        vary_seed: !args.same_seed,
        latency_at: args.latency_at,
        max_seconds: args.max_time.map(|time| time.as_secs_f64()),
        plan,
        means: means(&args.run)?,
    })
}

fn compared(pair: &Pair<'_>) -> Result<Summary, Stopped> {
    let tree = pair.tree;
    let options = Options { seed: pair.plan.plan.seed, ..Options::default() };
    let folder = tree.comparison();
    let (from, to) = (shell_word(&tree.backends()), shell_word(&folder));
    let command = format!("bench compare {from} --output-dir {to}");
    let result = bench_report::compare(&[tree.backends()], &folder, &options).map_err(Stopped::from);
    let (out, err, code) = match &result {
        Ok(summary) => (terminal::render(summary, None), String::new(), exit_of(summary) as u8),
        Err(error) => (String::new(), error.message.clone(), error.exit as u8),
    };
    tree.log("compare", &command, &out, &err, code)?;
    result
}

fn finish(args: &PairArgs, pair: &Pair<'_>, summary: &Summary) -> Result<Exit, Stopped> {
    let (manifest, comparison) = (pair.succeed()?, pair.tree.comparison());
    if args.run.json {
        let mut value: Value = manifest;
        value["comparison"] = as_json(summary, &comparison);
        output::json(&value)?;
    } else {
        show(summary, &comparison);
        screen::path(&pair.tree.manifest());
    }
    Ok(exit_of(summary))
}
