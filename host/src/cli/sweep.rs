//! `bench sweep`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::capacity::GoalArgs;
use super::output;
use super::plan::{DEFAULT_BACKEND, Defaults, LoadModel, OneOrMore, Warmup};
use super::resume::{Root, means};
use super::screen;
use super::{Exit, RunArgs, Stopped};
use bench_campaign::drive::{Campaign as _, drive};
use bench_campaign::sweep::{FILE_NAME, Sweep, SweepPlan, Swept, search_folder};
use bench_campaign::tree::{Kept as _, Started};
use bench_judge::Options;
use bench_judge::capacity::Slo;
use bench_judge::scaling::{Point, Row};
use bench_record::folder::Numbering;
use bench_report as report;
use bench_report::html::curves::Curves;

const SWEEP: Defaults = Defaults { num_tasks: 200, scheduler: "default", warmup: Warmup::Auto };

/// Flags of `bench sweep`: those of `bench run`, of which --parallelism, --nodes and --rate take several
/// values, separated by commas.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Backends, separated by commas [default: sage]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    backends: Vec<String>,
    /// Search for the capacity at each scale instead of running it: p99=200ms; without a unit seconds. Several have to
    /// be met together
    #[arg(long, value_name = "GOAL", value_delimiter = ',', help_heading = "Goal")]
    slo: Vec<Slo>,
    #[command(flatten)]
    goal: GoalArgs,
    /// Folder of all sweeps
    #[arg(long, value_name = "DIR", default_value = "artifacts/sweeps", help_heading = "Output")]
    output_root: PathBuf,
    /// Continue the sweep of this run id with the flags it was started with
    #[arg(long, value_name = "RUN_ID", help_heading = "Output")]
    resume: Option<String>,
    #[command(flatten)]
    pub run: RunArgs,
}

pub fn sweep(args: &SweepArgs) -> Result<Exit, Stopped> {
    let root = Root { folder: &args.output_root, resume: args.resume.as_deref(), run: &args.run };
    let (tree, plan) = root.open(|| begin(args))?;
    if args.run.dry_run {
        return root.dry_run(&plan, &json!({"folder": tree.folder(), "plan": plan}));
    }
    let is_open = plan.search.is_some() || plan.points.iter().any(|point| point.rate.is_some());
    args.run.idle_arrivals(is_open).into_iter().for_each(screen::warning);
    let (mut runner, _lock) = root.ready(&tree, &plan)?;
    let sweep = Sweep { tree: &tree, plan: &plan };
    let ended = drive(&sweep, &mut runner);
    if ended.interrupted {
        let text = "interrupted; finished points are kept";
        return Err(Stopped::new(Exit::Interrupted, text, root.command(&plan)));
    }
    show(&sweep, &sweep.conclude()?, args.run.json)?;
    match ended.failures.into_iter().next() {
        None => Ok(Exit::Ok),
        Some((_, failure)) => {
            let text = format!("some points failed; the first: {}", failure.message);
            Err(Stopped::new(failure.exit, text, root.command(&plan)))
        }
    }
}

fn begin(args: &SweepArgs) -> Result<SweepPlan, Stopped> {
    args.goal.check()?;
    let wrong = |text| Err(Stopped::usage(text));
    match (args.run.load, args.run.rate.is_some()) {
        (Some(_), _) | (_, true) if !args.slo.is_empty() => {
            return wrong("--slo searches for the rate itself: leave --load and --rate out");
        }
        (Some(LoadModel::Open), false) => return wrong("--load open needs a --rate"),
        (Some(LoadModel::Closed), true) => {
            return wrong("--rate belongs to an open load: add --load open, or leave --rate out");
        }
        (Some(LoadModel::Nominal), _) => {
            return wrong("`bench sweep` has no --load nominal: name the rates with --rate");
        }
        _ => {}
    }
    let backends =
        if args.backends.is_empty() { vec![DEFAULT_BACKEND.to_owned()] } else { args.backends.clone() };
    let all =
        |values: &Option<OneOrMore<u32>>, default| values.as_ref().map_or(vec![default], |v| v.0.clone());
    let rates: Vec<Option<f64>> =
        args.run.rate.as_ref().map_or(vec![None], |rates| rates.0.iter().copied().map(Some).collect());
    let mut points: Vec<Point> = Vec::new();
    for backend in &backends {
        for &nodes in &all(&args.run.nodes, 1) {
            for &parallelism in &all(&args.run.parallelism, 2) {
                for &rate in &rates {
                    let point = Point { backend: backend.clone(), nodes, parallelism, rate };
                    if points.contains(&point) {
                        return Err(Stopped::usage(format!("{} is in the sweep twice", point.slug())));
                    }
                    points.push(point);
                }
            }
        }
    }
    // Every point's plan is checked before anything runs.
    let run = RunArgs { parallelism: None, nodes: None, rate: None, load: None, ..args.run.clone() };
    let mut plan = run.plan_with(SWEEP)?;
    let search = args.goal.search(&args.slo);
    // Trials of a search settle for their first fifth.
    plan.warmup_auto &= search.is_none();
    let config_hash = SweepPlan::hash_of(&points, &plan, search.as_ref());
    let started = Started::now(args.run.run_id()?, config_hash);
    let arrivals = args.run.arrivals();
    let plan = SweepPlan { started, points, plan, arrivals, search, means: means(&args.run)? };
    plan.plans().iter().try_for_each(|plan| plan.validate().map_err(Stopped::usage))?;
    Ok(plan)
}

fn show(sweep: &Sweep<'_>, swept: &Swept, json: bool) -> Result<(), Stopped> {
    let (Sweep { tree, plan }, Swept { rows, value, path }) = (sweep, swept);
    let searched = plan.search.is_some();
    let mut beside = vec![FILE_NAME.to_owned()];
    let worth = report::sweep::note(rows, searched);
    let mut notes = vec![format!("Run as: {}", plan.means.command)];
    notes.extend(worth.map(str::to_owned));
    if searched {
        let found = |row: &Row| Some(format!("{}: {}", row.point.slug(), row.stopped.as_deref()?));
        notes.extend(rows.iter().filter_map(found));
        let pages = plan.points.iter().map(|point| search_folder(tree, point).join("report.html"));
        let relative = |page: PathBuf| Some(page.strip_prefix(tree.folder()).ok()?.to_str()?.to_owned());
        beside.extend(pages.filter(|page| page.is_file()).filter_map(relative));
    } else if !rows.is_empty() {
        let options = Options { seed: plan.plan.seed, ..Options::default() };
        bench_report::compare(&[tree.backends()], &tree.comparison(), &options)?;
        beside.push("comparison/report.html".to_owned());
    }
    let (charts, grid) = (report::sweep::charts(rows, searched), report::sweep::grid(rows, searched));
    let goal = plan.search.as_ref().map_or(String::new(), |search| format!(", capacity for {}", search.goal));
    let page = Curves {
        title: "Sweep",
        lead: &format!("{} points on {}{goal}", rows.len(), plan.plan.workload),
        notes: &notes,
        charts: &charts,
        grid: &grid,
        files: &beside,
    };
    let files = report::write_curves(&page, tree.folder(), Numbering::NONE)?;
    if json {
        return output::json(value);
    }
    screen::grid(&grid);
    worth.into_iter().for_each(screen::note);
    screen::path(path);
    files.iter().for_each(|file| screen::path(file));
    Ok(())
}
