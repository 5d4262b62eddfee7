//! `bench run`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::find::{ReadyBackend, go_on, ready_backend};
use super::output;
use super::screen::{self, RunProgress, Spinner};
use super::shipped::workload_library;
use super::signals::AtOnce;
use super::{Exit, RunArgs, STOP, Stopped, places, server};
use bench_isolate::ErrorKind;
use bench_isolate::isolate::{Cause, StopLevel};
use bench_isolate::room;
use bench_isolate::text::shell_word;
use bench_measure::plan::{Load, Plan};
use bench_measure::supervise::{Finished, Job, LOG_FILE, Place, RunError, Unwritten, claim_folder};
use bench_record::{atomic, folder, jsonl, lock};
use bench_workloads::index::{CANNOT_WRITE, IndexError};
use bench_workloads::workload::WorkloadError;

/// Runs the plan as often as wanted and shows the results.
pub fn run(args: &RunArgs) -> Result<Exit, Stopped> {
    let plan = args.plan()?;
    let name = args.backend();
    let output_dir = args.output_dir();
    let options = args.backend_options()?;
    if args.trace.is_some() && plan.repeat > 1 {
        return Err(Stopped::usage("--trace holds one run: leave --repeat out"));
    }
    let run_id = args.run_id()?;
    if args.dry_run {
        return dry_run(args, &plan);
    }
    args.idle_arrivals(plan.load != Load::Closed).into_iter().for_each(screen::warning);
    places::output(&output_dir, "--output-dir")?;
    check_folder(&output_dir)?;
    if let Some(trace) = &args.trace {
        let folder = trace.parent().filter(|folder| !folder.as_os_str().is_empty());
        places::output(folder.unwrap_or(Path::new(".")), "--trace")?;
        atomic::check(trace)?;
    }
    let ReadyBackend { plugin, description, options } = ready_backend(&args.plugins, &name, &options)?;
    prepare(&plan)?;
    let (mut finished, mut failure) = (Vec::new(), None);
    for repeat_index in 0..plan.repeat {
        let folder = claim_folder(&output_dir, &run_id, description.name.as_str(), repeat_index)?;
        let job = Job {
            plan: &plan,
            plugin: &plugin,
            description: &description,
            run_id: &run_id,
            repeat_index,
            output_dir: &output_dir,
            folder: &folder,
            library: workload_library(),
            memory_limit: Some(args.memory_bytes()),
            options: options.clone(),
            place: Default::default(),
            servers: server::declared(),
            answers: args.save_answers,
            loss: None,
            trace: args.trace.as_deref().map(|path| (path, args.trace_format.into())),
        };
        let label = if plan.repeat > 1 {
            format!("{name} {}/{}", repeat_index + 1, plan.repeat)
        } else {
            name.clone()
        };
        let mut progress = RunProgress::new(&label, plan.num_tasks.into(), args.verbose).with_top(args.top);
        let result = job.run(&mut progress, &STOP);
        drop(progress);
        match result {
            Ok(run) => {
                failure = answered(&run).err();
                finished.push(run);
            }
            Err(RunError::Unwritten(unwritten)) => {
                let rescued = kept_elsewhere(&unwritten, &output_dir);
                // Printed with the others.
                failure = Some(if args.json { Stopped { rescued: None, ..rescued } } else { rescued });
                finished.push(unwritten.finished);
            }
            Err(error) => failure = Some(stopped(error, &job)),
        }
        if failure.is_some() || STOP.level() > StopLevel::Go {
            break;
        }
    }
    if !finished.is_empty() {
        show(args, &finished, &output_dir)?;
    }
    for remark in finished.iter().flat_map(|run| &run.remarks) {
        screen::warning(&format!("backend `{name}`: {remark}"));
    }
    if let Some(trace) = args.trace.as_deref().filter(|_| !args.json && failure.is_none()) {
        screen::path(trace);
    }
    match failure {
        Some(failure) => Err(failure),
        _ if STOP.level() > StopLevel::Go => Ok(Exit::Interrupted),
        _ => Ok(Exit::Ok),
    }
}

/// Whether what a command comes to can be kept in `folder`: said before any work is done.
///
/// # Errors
/// What stands in the way.
pub fn check_folder(folder: &Path) -> Result<(), Stopped> {
    Ok(folder::check(folder, lock::DEFAULT_WAIT)?)
}

/// A run in which nothing was answered measured nothing, whoever is to blame. Its record is kept and says so. One
/// that was cut short may have had no time for an answer.
///
/// # Errors
/// For such a run.
pub fn answered(run: &Finished) -> Result<(), Stopped> {
    let Some((of, reason)) = run.measured.unanswered().filter(|_| !run.measured.partial) else {
        return Ok(());
    };
    let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
    let text = format!("backend '{}' answered none of {of} timed queries{reason}", run.record.backend);
    let log = run.folder.join(LOG_FILE);
    let look = format!("see extra.failure_reasons of its record, and {}", log.display());
    Err(Stopped::new(Exit::RunFailed, text, look))
}

fn show(args: &RunArgs, finished: &[Finished], output_dir: &Path) -> Result<(), Stopped> {
    if args.json {
        let records: Vec<_> = finished.iter().map(|run| &run.record).collect();
        output::json(&records)?;
    } else {
        screen::results(finished, output_dir);
    }
    Ok(())
}

/// Builds what the cache lacks, before any clock starts.
pub fn prepare(plan: &Plan) -> Result<(), Stopped> {
    prepare_in(plan, "--cache-dir or BENCH_CACHE_DIR")
}

/// As [`prepare`], where `by` names the cache.
pub fn prepare_in(plan: &Plan, by: &str) -> Result<(), Stopped> {
    let mut spinner = None;
    let at_once = AtOnce::begin();
    plan.workload
        .prepare(&plan.open_spec(), &mut |what| {
            let text = format!("preparing {what} in {}", plan.cache_dir.display());
            match &spinner {
                None => spinner = Some(Spinner::start(&text)),
                Some(spinner) => spinner.say(&text),
            }
        })
        .map_err(|error| match error {
            WorkloadError::Index(IndexError::Io { source, action: CANNOT_WRITE, .. }) => {
                let place = shell_word(&plan.cache_dir);
                let text = format!("prepared indexes cannot be written to {place}: {source}");
                let other = || format!("name a folder that you may write with {by}");
                Stopped::new(Exit::Output, text, room::limit(&source.to_string()).unwrap_or_else(other))
            }
            other => {
                let remedy = room::limit(&other.to_string()).unwrap_or_default();
                Stopped::new(Exit::Usage, other, remedy)
            }
        })?;
    drop(at_once);
    if let Some(found) = plan.workload.truncation(&plan.open_spec()).map_err(Stopped::usage)? {
        screen::warning(&found.to_string());
    }
    go_on()
}

/// Shows what would run, unless it could not be said so on the command line.
pub fn dry_run(args: &RunArgs, plan: &Plan) -> Result<Exit, Stopped> {
    args.run_id()?;
    let (hash, name) = (plan.config_hash(), args.backend());
    let ready = ready_backend(&args.plugins, &name, &args.backend_options()?);
    let state = match &ready {
        Ok(ready) => {
            json!({"name": name, "ready": true, "version": ready.description.availability.detail,
                   "options": ready.options.iter().cloned().collect::<BTreeMap<_, _>>()})
        }
        Err(stopped) if stopped.exit == Exit::Usage => return ready.map(|_| Exit::Ok),
        Err(stopped) => {
            json!({"name": name, "ready": false, "reason": stopped.message, "remedy": stopped.remedy})
        }
    };
    let config = json!({
        "backend": state,
        "config_hash": hash,
        "effective_config": plan.fingerprint(),
        "input_plan_digest": plan.input_plan()?.digest()?,
        "output_dir": args.output_dir(),
        "cache_dir": plan.cache_dir,
    });
    output::json(&config)?;
    ready.map(|_| Exit::Ok)
}

/// A run that went well and whose record, or some file, could not be written where it belongs.
fn kept_elsewhere(unwritten: &Unwritten, output_dir: &Path) -> Stopped {
    let text =
        format!("the run is over, but not all of it could be written: {}", unwritten.causes.join("; "));
    let results = output_dir.join(jsonl::FILE_NAME);
    let (place, remedy) = match &unwritten.place {
        Place::Results => return Stopped::new(Exit::Output, text, "mend that; the run's record is kept"),
        Place::Beside(path) => {
            let add = format!("cat {} >> {}", shell_word(path), shell_word(&results));
            (
                format!("its record is printed and kept in {}", path.display()),
                format!("mend that, then: {add}"),
            )
        }
        Place::Nowhere => {
            let add = format!("mend that, then add it as a line to {}", results.display());
            ("its record is only printed".to_owned(), add)
        }
    };
    let mut stopped = Stopped::new(Exit::Output, format!("{text}; {place}"), remedy);
    stopped.rescued = serde_json::to_string_pretty(&unwritten.finished.record).ok();
    stopped
}

/// The exit code and words for a run that failed.
pub fn stopped(error: RunError, job: &Job) -> Stopped {
    let log = format!("see {}", shell_word(&job.folder.join(LOG_FILE)));
    let completed = |remedy: String| job.plugin.address.completed(&remedy);
    match error {
        RunError::Child(failure) => {
            let exit = match &failure.cause {
                Cause::TimedOut(_) => Exit::TimedOut,
                Cause::Stopped => Exit::Interrupted,
                Cause::Plugin(error) => match error.kind {
                    ErrorKind::Unavailable => Exit::Unavailable,
                    ErrorKind::Unsupported | ErrorKind::Invalid => Exit::Usage,
                    ErrorKind::Cancelled => Exit::Interrupted,
                    ErrorKind::Incompatible => Exit::BadPlugin,
                    _ => Exit::RunFailed,
                },
                _ => Exit::RunFailed,
            };
            let message = format!("{} {}", failure.subject, failure.reason());
            let remedy = match completed(failure.remedy()) {
                // The words of a refusal are all there is to say: the log has no more.
                remedy if exit == Exit::Usage => remedy,
                remedy if remedy.is_empty() => log,
                remedy => format!("{remedy} ({log})"),
            };
            Stopped::new(exit, message, remedy)
        }
        RunError::Dishonest { ref backend, .. } => {
            let remedy = completed(format!("bench backends check {backend} ({log})"));
            Stopped::new(Exit::Dishonest, &error, remedy)
        }
        RunError::Unwritten(unwritten) => kept_elsewhere(&unwritten, job.output_dir),
        RunError::Results(error) => error.into(),
        RunError::Io { ref cause, .. } => {
            let remedy = room::for_temporary_files(cause);
            Stopped::new(Exit::Output, &error, remedy)
        }
    }
}
