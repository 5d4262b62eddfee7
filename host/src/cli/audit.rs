//! `bench audit`.

use std::path::PathBuf;

use bench_campaign::audit::Audit;
use bench_campaign::run::Runner as _;
use bench_isolate::isolate::{Temporary, temp_dir};
use bench_judge::audit::{Outcome, ROUNDS, Report};
use bench_record::canonical_json::sha256_hex;
use bench_record::folder::Numbering;
use bench_record::quantity::count;
use bench_record::schema::new_run_id;
use bench_record::{OutputLock, atomic, lock};
use bench_report::terminal;
use clap::Args;
use serde_json::json;

use super::again::AgainArgs;
use super::output::{self, say};
use super::run::check_folder;
use super::shipped::workload_library;
use super::{Exit, Stopped, places, screen};

/// The artefact.
const FILE_NAME: &str = "audit.json";
/// Fewer could be a coincidence, more find nothing else.
const FEWEST_ROUNDS: u32 = 4;
const MOST_ROUNDS: u32 = 20;

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Folder of results: of each backend and configuration its last run is audited.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Audit this backend only.
    #[arg(short, long, value_name = "NAME")]
    backend: Option<String>,
    /// Rounds in each of which a shortcut has to show.
    #[arg(long, value_name = "N", default_value_t = ROUNDS, value_parser = count::<u32>, allow_hyphen_values = true)]
    rounds: u32,
    /// Where the other seeds and orders come from [default: a random one, which is recorded].
    #[arg(long, value_name = "SEED", value_parser = count::<u64>, allow_hyphen_values = true)]
    seed: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    again: AgainArgs,
}

pub fn audit(args: &AuditArgs) -> Result<Exit, Stopped> {
    if !(FEWEST_ROUNDS..=MOST_ROUNDS).contains(&args.rounds) {
        let text = format!("--rounds must be from {FEWEST_ROUNDS} to {MOST_ROUNDS}, not {}", args.rounds);
        return Err(Stopped::usage(text));
    }
    if !args.folder.is_dir() {
        let text = format!("{} is no folder of results", args.folder.display());
        return Err(Stopped::usage(text));
    }
    places::output(&args.folder, "a copy of it in another DIR")?;
    check_folder(&args.folder)?;
    let wanted = |backend: &str| args.backend.as_ref().is_none_or(|name| name == backend);
    let subjects = args.again.subjects(&args.folder, |record| wanted(&record.backend))?;
    if subjects.is_empty() {
        let name = args.backend.as_deref().unwrap_or_default();
        return Err(Stopped::usage(format!("there are no runs of '{name}' in {}", args.folder.display())));
    }
    let library = workload_library().map(|library| library.sha256);
    let seed = args.seed.unwrap_or_else(random_seed);
    let mut reports = Vec::new();
    for (subject, mut runner) in subjects {
        let scratch = Temporary::new()
            .map_err(|cause| Stopped::new(Exit::Output, format!("a temporary folder: {cause}"), ""))?;
        let folder = scratch.path();
        let audit = Audit {
            subject: &subject,
            folder,
            seed,
            rounds: args.rounds,
            workloads_sha256: library.as_deref(),
        };
        let report = match audit.run(&mut runner) {
            Ok(report) => report,
            Err(stopped) => return Err(with_its_log(stopped, scratch)),
        };
        runner.note(&format!("{}: {}", report.backend, word(report.outcome)));
        reports.push(report);
    }
    let outcome = reports.iter().map(|report| report.outcome).max().unwrap_or(Outcome::Unknown);
    let value = json!({"outcome": outcome, "audits": reports});
    let path = keep(args, &value)?;
    if args.json {
        output::json(&value)?;
    } else {
        reports.iter().for_each(show);
        say!("{}", word(outcome));
        screen::path(&path);
    }
    Ok(match outcome {
        Outcome::Honest => Exit::Ok,
        Outcome::Unknown => Exit::Inconclusive,
        Outcome::Shortcut => Exit::Shortcut,
    })
}

/// An error may send to a log among the temporary files: it stays there. Who stops an audit looks for no log.
fn with_its_log(stopped: Stopped, scratch: Temporary) -> Stopped {
    let here = scratch.path().to_string_lossy().into_owned();
    let names_it = stopped.remedy.contains(&here);
    if stopped.exit == Exit::Interrupted {
        let remedy = if names_it { "run it again".to_owned() } else { stopped.remedy };
        return Stopped { remedy, ..stopped };
    }
    if names_it {
        // Indexes are large, and tell nothing.
        let _ = std::fs::remove_dir_all(scratch.path().join("cache"));
        // Under its own name the next command would remove it.
        let kept = temp_dir().join(format!("bench-audit-{}", new_run_id()));
        if scratch.rename(&kept).is_ok() {
            return Stopped { remedy: stopped.remedy.replace(&here, &kept.to_string_lossy()), ..stopped };
        }
    }
    stopped
}

fn keep(args: &AuditArgs, value: &serde_json::Value) -> Result<PathBuf, Stopped> {
    // What was found is not lost when it cannot be kept.
    let rescued = || serde_json::to_string_pretty(value).ok();
    let unkept = |error: bench_record::Error| Stopped { rescued: rescued(), ..error.into() };
    let lock = OutputLock::acquire(&args.folder, lock::DEFAULT_WAIT).map_err(unkept)?;
    let path = lock.path(&Numbering::free(&lock, &[FILE_NAME]).of(FILE_NAME));
    atomic::write_json(&path, value).map_err(unkept)?;
    Ok(path)
}

/// One that nobody can have known before.
fn random_seed() -> u64 {
    // So many digits are whole in any JSON.
    const DIGITS: usize = 13;
    let digest = sha256_hex(new_run_id().as_bytes());
    u64::from_str_radix(&digest[..DIGITS], 16).unwrap_or_default()
}

fn show(report: &Report) {
    let mut table = screen::table(&["backend", "question", "outcome", "why"]);
    for answer in &report.answers {
        table.add_row([
            terminal::clean(&report.backend),
            answer.question.to_owned(),
            word(answer.outcome).to_owned(),
            terminal::clean(&answer.why),
        ]);
    }
    say!("{table}");
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Honest => "no shortcut found",
        Outcome::Unknown => "not known",
        Outcome::Shortcut => "takes a shortcut",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_log_that_an_error_names_stays_and_nothing_else_does() {
        for (exit, names_it, stays) in
            [(Exit::RunFailed, true, true), (Exit::RunFailed, false, false), (Exit::Interrupted, true, false)]
        {
            let scratch = Temporary::new().unwrap();
            let (place, log) = (scratch.path().to_owned(), scratch.path().join("results/run.log"));
            ["results", "cache"].iter().for_each(|name| std::fs::create_dir(place.join(name)).unwrap());
            std::fs::write(&log, "why").unwrap();
            let remedy =
                if names_it { format!("run it again (see {})", log.display()) } else { "wait".to_owned() };
            let told = with_its_log(Stopped::new(exit, "no", remedy.clone()), scratch).remedy;
            assert!(!place.exists(), "{exit:?} {names_it}");
            let kept = told.strip_prefix("run it again (see ").and_then(|rest| rest.strip_suffix(')'));
            assert_eq!(kept.is_some_and(|log| Path::new(log).exists()), stays, "{told}");
            match kept {
                None => assert_eq!(told, if exit == Exit::Interrupted { "run it again" } else { &remedy }),
                Some(log) => {
                    let folder = Path::new(log).ancestors().nth(2).unwrap();
                    assert!(!folder.join("cache").exists());
                    std::fs::remove_dir_all(folder).unwrap();
                }
            }
        }
    }
}
