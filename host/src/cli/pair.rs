//! `bench pair`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::compare::{as_json, exit_of, show};
use super::find::{ReadyBackend, check_options, ready_backends, workload_library};
use super::output;
use super::plan::{DEFAULT_BACKEND, DEFAULT_PAIR, Defaults};
use super::run::{answered, prepare, stopped};
use super::screen::{self, RunProgress};
use super::{Exit, PluginArgs, RunArgs, STOP, Stopped, places};
use bench_campaign::pair::{Outcome, PairPlan, Step, Tree};
use bench_isolate::isolate::{Stop, StopLevel};
use bench_judge::{Options, Summary};
use bench_measure::supervise::{Job, claim_folder};
use bench_record::time::UtcTime;
use bench_report::terminal;

const PAIR: Defaults = Defaults { num_tasks: 20, scheduler: "fifo" };

/// Flags of `bench pair`: those of `bench run`, for several backends.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// Backends to compare, separated by commas [default: sage,ray; with --aa sage]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    backends: Vec<String>,
    /// Run one backend against itself, as a control: any difference found is false
    #[arg(long)]
    aa: bool,
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

type Ready = BTreeMap<String, ReadyBackend>;

pub fn pair(args: &PairArgs) -> Result<Exit, Stopped> {
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
    if args.run.dry_run {
        check_options(&plugins, plan.backends.iter(), &plan.backend_options)?;
        let order: Vec<_> = plan.steps().iter().map(|s| json!([s.backend, s.pair_index, s.arm])).collect();
        output::json(&json!({"folder": tree.folder(), "plan": plan, "order": order}))?;
        return Ok(Exit::Ok);
    }
    places::output(&args.output_root, "--output-root")?;
    if args.resume.is_none() && tree.has_plan() {
        let text = format!("there is a pair with the run id {} already", plan.run_id);
        return Err(Stopped::new(Exit::Usage, text, resume_command(args, &plan.run_id)));
    }
    tree.check(plan.backends.iter().map(|name| tree.backend(name)))?;
    let ready = ready_backends(&plugins, plan.backends.iter(), &plan.backend_options)?;
    prepare(&plan.plan)?;
    tree.begin(&plan)?;
    let _lock = tree.lock()?;
    let mut errors = BTreeMap::new();
    let mut exit = None;
    for step in plan.steps() {
        if STOP.level() > StopLevel::Go {
            return Err(interrupted(args, &tree, &plan, &errors));
        }
        if errors.contains_key(&step.backend) || tree.is_finished(&step) {
            continue;
        }
        if let Err(error) = one(&tree, &plan, &step, &ready, args.run.verbose) {
            if error.exit == Exit::Interrupted || STOP.level() > StopLevel::Drain {
                return Err(interrupted(args, &tree, &plan, &errors));
            }
            screen::error(&error);
            exit.get_or_insert(error.exit);
            errors.insert(step.backend, error.message);
        }
    }
    tree.mend(&plan)?;
    if args.run.verbose {
        screen::note("pair phase: compare");
    }
    let comparison = if errors.is_empty() { compared(&tree, &plan) } else { Ok(None) };
    match comparison {
        Ok(Some(summary)) => finish(args, &tree, &plan, &summary),
        Ok(None) => failed(args, &tree, &plan, &errors, exit.unwrap_or(Exit::RunFailed)),
        Err(error) => {
            errors.insert("compare".into(), error.message);
            failed(args, &tree, &plan, &errors, error.exit)
        }
    }
}

fn begin(args: &PairArgs) -> Result<(Tree, PairPlan), Stopped> {
    let refused = |flag, other| Err(Stopped::usage(format!("`bench pair` has no {flag}: use {other}")));
    if args.run.backend.is_some() {
        return refused("--backend", "--backends");
    }
    if args.run.output_dir.is_some() {
        return refused("--output-dir", "--output-root");
    }
    args.run.refuse_views_of_one_run()?;
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
    let plan = args.run.plan_with(PAIR)?;
    let config_hash = plan.config_hash();
    let run_id = args.run.run_id()?;
    let tree = Tree::new(&args.output_root, &run_id, &config_hash);
    let plugins_dir = args.run.plugins.plugins_dir.iter();
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let plan = PairPlan {
        run_id,
        config_hash,
        started_at: UtcTime::now(),
        backends,
        aa: args.aa,
        plan,
        memory_limit: Some(args.run.memory_bytes()),
        backend_options: args.run.backend_options()?,
        plugins_dir: plugins_dir.map(absolute).collect(),
        no_user_plugins: args.run.plugins.no_user_plugins,
        only_trusted: args.run.plugins.only_trusted,
        command: command_line(),
    };
    Ok((tree, plan))
}

/// How this process was called, for a log.
pub fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("bench".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:%+".contains(c);
    match word.chars().all(plain) && !word.is_empty() {
        true => word,
        false => format!("'{}'", terminal::clean(&word).replace('\'', "'\\''")),
    }
}

fn find(args: &PairArgs, id: &str) -> Result<(Tree, PairPlan), Stopped> {
    // The id becomes part of a path.
    RunArgs { run_id: Some(id.to_owned()), ..args.run.clone() }.run_id()?;
    let missing = || {
        let text = format!("there is no pair with the run id {id} in {}", args.output_root.display());
        Stopped::new(Exit::Usage, text, "name the folder of the pair with --output-root")
    };
    let tree = Tree::find(&args.output_root, id)?.ok_or_else(missing)?;
    let plan: PairPlan = tree.plan()?;
    if plan.run_id != id || plan.plan.config_hash() != plan.config_hash {
        let text = "plan.json does not match its own config_hash: it was changed, or another version of bench wrote it";
        return Err(Stopped::new(Exit::Usage, text, "start a new pair"));
    }
    plan.plan.validate().map_err(Stopped::usage)?;
    Ok((tree, plan))
}

fn resume_command(args: &PairArgs, id: &str) -> String {
    let root = args.output_root.to_string_lossy().into_owned();
    format!("bench pair --resume {} --output-root {}", quoted(id.to_owned()), quoted(root))
}

/// Ends a pair that the user stopped: the finished runs are left in order, with a report of how far it came.
fn interrupted(args: &PairArgs, tree: &Tree, plan: &PairPlan, errors: &BTreeMap<String, String>) -> Stopped {
    let resume = resume_command(args, &plan.run_id);
    let kept = tree.mend(plan).and_then(|()| tree.fail(plan, errors, true, resume.clone()));
    if let Err(error) = kept {
        return error.into();
    }
    let text = format!("interrupted; finished runs are kept, see {}", tree.failure_report().display());
    Stopped::new(Exit::Interrupted, text, resume)
}

/// One run, with its section in the log.
fn one(tree: &Tree, plan: &PairPlan, step: &Step, ready: &Ready, verbose: bool) -> Result<(), Stopped> {
    let Some(ReadyBackend { plugin, description, options }) = ready.get(&step.backend) else {
        return Err(Stopped::new(Exit::UnknownBackend, format!("'{}' is not ready", step.backend), ""));
    };
    let output_dir = tree.backend(&step.backend);
    let folder = claim_folder(&output_dir, &plan.run_id, &description.name, step.repeat_index())?;
    let job = Job {
        plan: &plan.plan,
        plugin,
        description,
        run_id: &plan.run_id,
        repeat_index: step.repeat_index(),
        output_dir: &output_dir,
        folder: &folder,
        library: workload_library(),
        memory_limit: plan.memory_limit,
        options: options.clone(),
        place: step.place(),
        trace: None,
    };
    let arm = step.arm.map_or(String::new(), |arm| format!(" [{arm}]"));
    let label = format!("{}{arm} {}/{}", step.backend, step.pair_index + 1, plan.plan.repeat);
    let mut progress = RunProgress::new(&label, plan.plan.num_tasks.into(), verbose);
    let result = while_not_killed(|stop| job.run(&mut progress, stop));
    drop(progress);
    let result = result.map_err(|error| stopped(error, &job));
    let result = result.and_then(|run| answered(&run).map(|()| run));
    let (code, stderr) = result.as_ref().map_or_else(
        |error| (error.exit as u8, format!("{}\n{}\n", error.message, error.remedy)),
        |finished| (0, finished.findings.iter().map(|f| format!("INVALID: {}\n", f.message())).collect()),
    );
    let run_log = folder.join("run.log");
    tree.log_step(plan, step, &Outcome { run_log: &run_log, stderr: &stderr, code })?;
    result.map(drop)
}

/// The first Ctrl-C lets a run end, because one that is cut short is worth nothing here; the second ends it.
pub fn while_not_killed<T>(run: impl FnOnce(&Stop) -> T) -> T {
    const PERIOD: Duration = Duration::from_millis(50);
    let (stop, over) = (Stop::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut told = false;
            while !over.load(Ordering::Relaxed) {
                if STOP.level() == StopLevel::Kill {
                    stop.raise(StopLevel::Kill);
                } else if STOP.level() == StopLevel::Drain && !told {
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

fn compared(tree: &Tree, plan: &PairPlan) -> Result<Option<Summary>, Stopped> {
    let options = Options { seed: plan.plan.seed, ..Options::default() };
    let folder = tree.comparison();
    let command = format!("bench compare {} --output-dir {}", tree.backends().display(), folder.display());
    let result = bench_report::compare(&[tree.backends()], &folder, &options).map_err(Stopped::from);
    let (out, err, code) = match &result {
        Ok(summary) => (terminal::render(summary, None), String::new(), exit_of(summary) as u8),
        Err(error) => (String::new(), error.message.clone(), error.exit as u8),
    };
    tree.log("compare", &command, &out, &err, code)?;
    result.map(Some)
}

fn finish(args: &PairArgs, tree: &Tree, plan: &PairPlan, summary: &Summary) -> Result<Exit, Stopped> {
    let manifest = tree.succeed(plan)?;
    if args.run.json {
        let mut value: Value = manifest;
        value["comparison"] = as_json(summary, &tree.comparison());
        output::json(&value)?;
    } else {
        show(summary, &tree.comparison());
        screen::path(&tree.manifest());
    }
    Ok(exit_of(summary))
}

fn failed(
    args: &PairArgs,
    tree: &Tree,
    plan: &PairPlan,
    errors: &BTreeMap<String, String>,
    exit: Exit,
) -> Result<Exit, Stopped> {
    tree.fail(plan, errors, false, resume_command(args, &plan.run_id))?;
    let names: Vec<&str> = errors.keys().map(String::as_str).collect();
    let text = format!("failed: {}; the others' records are kept", names.join(", "));
    Err(Stopped::new(exit, text, format!("see {}", tree.failure_report().display())))
}
