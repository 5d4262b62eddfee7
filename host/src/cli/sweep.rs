//! `bench sweep`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::capacity::{self, GoalArgs, Trials};
use super::find::{ReadyBackend, check_options, ready_backends, workload_library};
use super::output;
use super::pair::{command_line, while_not_killed};
use super::plan::{DEFAULT_BACKEND, Defaults, LoadModel, OneOrMore};
use super::run::{answered, prepare, stopped};
use super::screen::{self, RunProgress};
use super::{Exit, PluginArgs, RunArgs, STOP, Stopped, places};
use bench_campaign::pair::Tree;
use bench_campaign::sweep::{Search, SweepPlan};
use bench_isolate::isolate::StopLevel;
use bench_judge::Options;
use bench_judge::capacity::{Goal, Report, Slo};
use bench_judge::scaling::{Point, Row, relate};
use bench_measure::supervise::{Job, claim_folder};
use bench_record::folder::Numbering;
use bench_record::time::UtcTime;
use bench_record::{Record, atomic, bom, jsonl};
use bench_report as report;
use bench_report::html::curves::Curves;

const SWEEP: Defaults = Defaults { num_tasks: 200, scheduler: "default" };
/// The artefact: every point and what it came to.
const FILE_NAME: &str = "sweep.json";

/// Flags of `bench sweep`: those of `bench run`, of which --parallelism, --nodes and --rate take several
/// values, separated by commas.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Backends, separated by commas [default: sage]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    backends: Vec<String>,
    /// Search for the capacity at each scale instead of running it: p99=200ms; without a unit seconds
    #[arg(long, value_name = "GOAL", help_heading = "Goal")]
    slo: Option<Slo>,
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

type Ready = BTreeMap<String, ReadyBackend>;

pub fn sweep(args: &SweepArgs) -> Result<Exit, Stopped> {
    let (tree, plan) = match &args.resume {
        Some(id) => find(args, id)?,
        None => begin(args)?,
    };
    let plugins = PluginArgs {
        plugins_dir: plan.plugins_dir.clone(),
        no_user_plugins: plan.no_user_plugins,
        // Whoever resumes may be stricter than the plan, never laxer.
        only_trusted: plan.only_trusted || args.run.plugins.only_trusted,
    };
    let backends = || plan.points.iter().map(|point| &point.backend);
    if args.run.dry_run {
        check_options(&plugins, backends(), &plan.backend_options)?;
        output::json(&json!({"folder": tree.folder(), "plan": plan}))?;
        return Ok(Exit::Ok);
    }
    places::output(&args.output_root, "--output-root")?;
    let resume = format!("bench sweep --resume {} --output-root {}", plan.run_id, args.output_root.display());
    if args.resume.is_none() && tree.has_plan() {
        let text = format!("there is a sweep with the run id {} already", plan.run_id);
        return Err(Stopped::new(Exit::Usage, text, resume));
    }
    tree.check(plan.points.iter().map(|point| match plan.search {
        Some(_) => search_folder(&tree, point),
        None => tree.backend(&point.backend),
    }))?;
    let ready = ready_backends(&plugins, backends(), &plan.backend_options)?;
    prepare(&plan.plan)?;
    tree.begin(&plan)?;
    let _lock = tree.lock()?;
    let mut failure: Option<Stopped> = None;
    for (point, repeat) in plan.steps() {
        let interrupted =
            || Stopped::new(Exit::Interrupted, "interrupted; finished points are kept", &resume);
        if STOP.level() > StopLevel::Go {
            return Err(interrupted());
        }
        if is_finished(&tree, &plan, point, repeat) {
            continue;
        }
        if let Err(error) = one(&tree, &plan, point, repeat, &ready, args.run.verbose) {
            if error.exit == Exit::Interrupted || STOP.level() > StopLevel::Go {
                return Err(interrupted());
            }
            // A scale that a backend refuses or fails at is a finding about it; the others go on.
            screen::error(&error);
            failure.get_or_insert(error);
        }
    }
    finish(&tree, &plan, args.run.json)?;
    match failure {
        None => Ok(Exit::Ok),
        Some(failure) => {
            let text = format!("some points failed; the first: {}", failure.message);
            Err(Stopped::new(failure.exit, text, resume))
        }
    }
}

fn begin(args: &SweepArgs) -> Result<(Tree, SweepPlan), Stopped> {
    args.goal.check()?;
    let refused = |flag, other| Err(Stopped::usage(format!("`bench sweep` has no {flag}: use {other}")));
    if args.run.backend.is_some() {
        return refused("--backend", "--backends");
    }
    if args.run.output_dir.is_some() {
        return refused("--output-dir", "--output-root");
    }
    args.run.refuse_views_of_one_run()?;
    let wrong = |text| Err(Stopped::usage(text));
    match (args.run.load, args.run.rate.is_some()) {
        (Some(_), _) | (_, true) if args.slo.is_some() => {
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
    let plan = run.plan_with(SWEEP)?;
    let search = args.slo.map(|slo| Search {
        goal: Goal { slo, success: args.goal.success },
        precision: args.goal.precision,
        trial_seconds: args.goal.trial.as_secs_f64(),
    });
    let config_hash = SweepPlan::hash_of(&points, &plan, search.as_ref());
    let run_id = args.run.run_id()?;
    let tree = Tree::new(&args.output_root, &run_id, &config_hash);
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let plan = SweepPlan {
        run_id,
        config_hash,
        started_at: UtcTime::now(),
        points,
        plan,
        arrivals: args.run.arrivals(),
        search,
        memory_limit: Some(args.run.memory_bytes()),
        backend_options: args.run.backend_options()?,
        plugins_dir: args.run.plugins.plugins_dir.iter().map(absolute).collect(),
        no_user_plugins: args.run.plugins.no_user_plugins,
        only_trusted: args.run.plugins.only_trusted,
        command: command_line(),
    };
    for point in &plan.points {
        plan.plan_of(point).validate().map_err(Stopped::usage)?;
    }
    Ok((tree, plan))
}

fn find(args: &SweepArgs, id: &str) -> Result<(Tree, SweepPlan), Stopped> {
    // The id becomes part of a path.
    RunArgs { run_id: Some(id.to_owned()), ..args.run.clone() }.run_id()?;
    let missing = || {
        let text = format!("there is no sweep with the run id {id} in {}", args.output_root.display());
        Stopped::new(Exit::Usage, text, "name the folder of the sweep with --output-root")
    };
    let tree = Tree::find(&args.output_root, id)?.ok_or_else(missing)?;
    let plan: SweepPlan = tree.plan()?;
    let hash = SweepPlan::hash_of(&plan.points, &plan.plan, plan.search.as_ref());
    if plan.run_id != id || hash != plan.config_hash {
        let text = "plan.json does not match its own config_hash: it was changed, or another version of bench wrote it";
        return Err(Stopped::new(Exit::Usage, text, "start a new sweep"));
    }
    for point in &plan.points {
        plan.plan_of(point).validate().map_err(Stopped::usage)?;
    }
    Ok((tree, plan))
}

/// Where the search at a point keeps its trials.
fn search_folder(tree: &Tree, point: &Point) -> PathBuf {
    tree.folder().join("capacity").join(point.slug())
}

fn is_finished(tree: &Tree, plan: &SweepPlan, point: usize, repeat: u32) -> bool {
    let at = &plan.points[point];
    match plan.search {
        Some(_) => search_folder(tree, at).join(capacity::FILE_NAME).is_file(),
        None => {
            let wanted = SweepPlan::place(point, repeat).sweep;
            tree.has_record(&at.backend, |place| place.sweep == wanted)
        }
    }
}

fn one(
    tree: &Tree,
    plan: &SweepPlan,
    point: usize,
    repeat: u32,
    ready: &Ready,
    verbose: bool,
) -> Result<(), Stopped> {
    let at = &plan.points[point];
    let Some(ReadyBackend { plugin, description, options }) = ready.get(&at.backend) else {
        return Err(Stopped::new(Exit::UnknownBackend, format!("'{}' is not ready", at.backend), ""));
    };
    let own = plan.plan_of(at);
    if let Some(search) = plan.search {
        let folder = search_folder(tree, at);
        screen::note(&format!("searching the capacity of {}", at.slug()));
        let trials = Trials {
            plan: &own,
            plugin,
            description,
            run_id: plan.run_id.clone(),
            output_dir: folder.clone(),
            memory_limit: plan.memory_limit,
            options: options.clone(),
            arrivals: plan.arrivals,
            verbose,
        };
        let args = GoalArgs {
            success: search.goal.success,
            precision: search.precision,
            trial: Duration::try_from_secs_f64(search.trial_seconds).map_err(Stopped::usage)?,
        };
        let report = trials.search(search.goal.slo, &args)?;
        capacity::keep(&folder, &report)?;
        return Ok(());
    }
    let output_dir = tree.backend(&at.backend);
    let index = point as u32 * plan.plan.repeat + repeat;
    let folder = claim_folder(&output_dir, &plan.run_id, &description.name, index)?;
    let job = Job {
        plan: &own,
        plugin,
        description,
        run_id: &plan.run_id,
        repeat_index: index,
        output_dir: &output_dir,
        folder: &folder,
        library: workload_library(),
        memory_limit: plan.memory_limit,
        options: options.clone(),
        place: SweepPlan::place(point, repeat),
        trace: None,
    };
    let label = format!("{} {}/{}", at.slug(), repeat + 1, plan.plan.repeat);
    let mut progress = RunProgress::new(&label, own.num_tasks.into(), verbose);
    let result = while_not_killed(|stop| job.run(&mut progress, stop));
    drop(progress);
    answered(&result.map_err(|error| stopped(error, &job))?)
}

fn rows(tree: &Tree, plan: &SweepPlan) -> Result<Vec<Row>, Stopped> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, point) in plan.points.iter().enumerate() {
        if plan.search.is_some() {
            let path = search_folder(tree, point).join(capacity::FILE_NAME);
            let report = fs::read(&path).ok().and_then(|bytes| bom::json::<Report>(&bytes).ok());
            rows.extend(report.and_then(|report| Row::of_search(point, &report)));
            continue;
        }
        let path = tree.backend(&point.backend).join(jsonl::FILE_NAME);
        if !path.is_file() {
            continue;
        }
        let records = jsonl::read(&path)?.collect::<Result<Vec<Record>, _>>()?;
        let own: Vec<&Record> = records.iter().filter(|record| is_of(record, number)).collect();
        rows.extend(Row::of_records(point, &own));
    }
    relate(&mut rows);
    Ok(rows)
}

/// Whether a record is one of a point's. A run that was cut short or had no answers is repeated on `--resume`,
/// and must not count beside its repetition.
fn is_of(record: &Record, point: usize) -> bool {
    let evidence = record.evidence();
    evidence.place.sweep.is_some_and(|sweep| sweep.point == point)
        && !evidence.partial
        && record.has_answers()
}

fn finish(tree: &Tree, plan: &SweepPlan, json: bool) -> Result<(), Stopped> {
    let rows = rows(tree, plan)?;
    let searched = plan.search.is_some();
    let value = json!({
        "run_id": plan.run_id,
        "config_hash": plan.config_hash,
        "workload": plan.plan.workload,
        "started_at": plan.started_at,
        "finished_at": UtcTime::now(),
        "measure": if searched { "capacity" } else { "throughput" },
        "goal": plan.search.map(|search| search.goal),
        "points": rows,
    });
    let path = tree.folder().join(FILE_NAME);
    atomic::write_json(&path, &value)?;
    let mut beside = vec![FILE_NAME.to_owned()];
    let worth = report::sweep::note(&rows, searched);
    let mut notes = vec![format!("Run as: {}", plan.command)];
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
    let (charts, grid) = (report::sweep::charts(&rows, searched), report::sweep::grid(&rows, searched));
    let goal = plan.search.map_or(String::new(), |search| format!(", capacity for {}", search.goal.slo));
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
        return output::json(&value);
    }
    screen::grid(&grid);
    worth.into_iter().for_each(screen::note);
    screen::path(&path);
    files.iter().for_each(|file| screen::path(file));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_cut_short_or_not_answered_is_no_part_of_its_point() {
        let record = |extra| -> Record {
            serde_json::from_value(json!({
                "backend": "local", "workload": "wl1", "run_id": "r", "seed": 42, "nodes": 1, "parallelism": 2,
                "throughput": 100.0, "latency_p50": null, "latency_p95": null, "latency_p99": null,
                "success_rate": 1.0, "duration_seconds": 1.0, "timestamp": "2026-01-01T00:00:00Z",
                "config_hash": null, "extra": extra,
            }))
            .unwrap()
        };
        let whole = record(json!({"sweep": {"point": 1, "repeat": 0}, "partial": false}));
        let cut = record(json!({"sweep": {"point": 1, "repeat": 0}, "partial": true}));
        let unanswered =
            Record { success_rate: bench_record::units::Fraction::new(0.0).unwrap(), ..whole.clone() };
        assert!(is_of(&whole, 1) && !is_of(&whole, 0) && !is_of(&cut, 1) && !is_of(&unanswered, 1));
    }
}
