//! `bench backends check`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use regex_lite::Regex;
use serde_json::json;

use super::find::{survey, unknown_backend};
use super::output::{self, say};
use super::plan::mebibytes;
use super::run::prepare_in;
use super::shipped::workload_library;
use super::{Exit, PluginArgs, STOP, Stopped, pack};
use bench_check::pack::is_engine;
use bench_check::{DEFAULT_TIMEOUT, NOT_RUN, Outcome, Report, Status, Suite, Test, all, reference_plan};
use bench_isolate::discover::Candidate;
use bench_isolate::isolate::StopLevel;
use bench_isolate::text::shell_word;
use bench_measure::machine::default_memory_limit;
use bench_measure::plan::default_cache_dir;
use bench_record::quantity::{count, duration, shown};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The plugin's file, libbackend_NAME.so; the folder of an engine in Python; or the name of one that
    /// `bench backends list` shows
    #[arg(required_unless_present = "list")]
    path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only tests whose name matches this regular expression
    #[arg(long, value_name = "RE")]
    only: Option<String>,
    /// List the tests and what each is for; run nothing
    #[arg(long)]
    pub(super) list: bool,
    /// Run the tests in this very process, for a debugger: the first crash ends everything
    #[arg(long)]
    in_process: bool,
    /// Seed of the random tests; it is printed, and repeats them [default: random]
    #[arg(long, value_name = "SEED", value_parser = count::<u64>, allow_hyphen_values = true)]
    seed: Option<u64>,
    /// Time that a test may take which starts the runtime once, such as 30 or 1m30s; others may take a multiple
    #[arg(long, value_name = "TIME", default_value = shown(DEFAULT_TIMEOUT), value_parser = duration, allow_hyphen_values = true)]
    timeout: Duration,
    /// Most private memory of each process, in MiB [default: three quarters of the machine's]
    #[arg(long, value_name = "MIB", value_parser = mebibytes, allow_hyphen_values = true)]
    memory_limit: Option<u64>,
    #[command(flatten)]
    plugins: PluginArgs,
}

/// Runs the suite and says how it went.
pub fn check(args: &CheckArgs) -> Result<Exit, Stopped> {
    let only = args.only.as_deref().map(Regex::new).transpose();
    let only = only.map_err(|cause| Stopped::usage(format!("--only: {cause}")))?;
    let wanted = |test: &&Test| only.as_ref().is_none_or(|only| only.is_match(test.name));
    let tests: Vec<&Test> = all().filter(wanted).collect();
    if tests.is_empty() {
        let only = args.only.as_deref().unwrap_or_default();
        return Err(Stopped::new(
            Exit::Usage,
            format!("no test matches --only {only}"),
            "bench backends check --list",
        ));
    }
    if args.list {
        return list(&tests, args.json);
    }
    let candidate = candidate(args)?;
    let named = std::env::var_os("BENCH_CACHE_DIR").filter(|dir| !dir.is_empty());
    let cache_dir = named.map_or_else(default_cache_dir, PathBuf::from);
    let cache_dir = std::path::absolute(cache_dir)
        .map_err(|cause| Stopped::usage(format!("BENCH_CACHE_DIR: {cause}")))?;
    prepare_in(&reference_plan(&cache_dir), "BENCH_CACHE_DIR")?;
    let suite = Suite {
        candidate: &candidate,
        seed: args.seed.unwrap_or_else(seed),
        timeout: args.timeout,
        memory: Some(args.memory_limit.map_or_else(default_memory_limit, |mib| mib << 20)),
        in_process: args.in_process,
        cache_dir,
        library: workload_library(),
    };
    if !args.json {
        say!("checking {} with seed {}", candidate.path.display(), suite.seed);
    }
    let mut lines = Lines::default();
    let mut show = |outcome: &Outcome| {
        if !args.json {
            lines.show(outcome);
        }
    };
    let wanted = tests.len();
    let report = suite.run(tests.into_iter(), &mut show, &STOP);
    if args.json {
        output::json(&json!({"report": report, "conforms": report.verdict(wanted)}))?;
    } else {
        lines.show_skipped();
        summary(&report, wanted);
    }
    Ok(if STOP.level() > StopLevel::Go {
        Exit::Interrupted
    } else if !report.conforms() {
        Exit::NotConformant
    } else if report.obstacle.is_some() {
        Exit::BadPlugin
    } else if report.is_unavailable() {
        Exit::Unavailable
    } else {
        Exit::Ok
    })
}

/// A file or an engine's folder where there is one; otherwise a name on the search path.
fn candidate(args: &CheckArgs) -> Result<Candidate, Stopped> {
    let path = args.path.as_deref().unwrap_or(Path::new(""));
    if path.is_dir() && (is_engine(path) || path.components().count() > 1) {
        return pack::candidate(path);
    }
    // A folder may well be called as a backend is.
    if !path.is_dir() && path.symlink_metadata().is_ok() {
        return Candidate::at(path).map_err(|why| {
            let message = format!("{} is not named like a plugin: {why}", shell_word(path));
            Stopped::new(Exit::Usage, message, "name the file libbackend_<name>.so")
        });
    }
    let name = path.to_string_lossy();
    let survey = survey(&args.plugins)?;
    survey.find(&name).cloned().map_err(|unknown| {
        let stopped = unknown_backend(&args.plugins, unknown);
        let message = format!("there is no file {}, and {}", shell_word(path), stopped.message);
        Stopped { message, ..stopped }
    })
}

/// From the keys that the standard library draws for each hash map.
fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish() >> 32
}

fn list(tests: &[&Test], as_json: bool) -> Result<Exit, Stopped> {
    if as_json {
        let row = |test: &&Test| json!({"name": test.name, "area": test.area, "why": test.why});
        output::json(&tests.iter().map(row).collect::<Vec<_>>())?;
        return Ok(Exit::Ok);
    }
    for test in tests {
        say!("{}\n    {}", test.name, test.why);
    }
    say!("{} tests", tests.len());
    Ok(Exit::Ok)
}

fn style(status: Status) -> (Style, &'static str) {
    let colour = |colour: AnsiColor| colour.on_default();
    match status {
        Status::Success => (colour(AnsiColor::Green), "ok"),
        Status::Warning => (colour(AnsiColor::Yellow), "warning"),
        Status::Failed => (colour(AnsiColor::Red), "FAILED"),
        Status::Crashed => (colour(AnsiColor::Red), "CRASHED"),
        Status::TimedOut => (colour(AnsiColor::Red), "TIMED OUT"),
        Status::Skipped => (Style::new().dimmed(), "skipped"),
    }
}

/// What was shown so far: one cause is said once.
#[derive(Default)]
struct Lines {
    /// Each message of a test that did not succeed, with the first test that had it.
    said: HashMap<String, &'static str>,
    /// Why tests were skipped, and which.
    skipped: Vec<(String, Vec<&'static str>)>,
}

impl Lines {
    fn show(&mut self, outcome: &Outcome) {
        if outcome.status == Status::Skipped {
            match self.skipped.iter_mut().find(|(reason, _)| *reason == outcome.message) {
                Some((_, names)) => names.push(outcome.name),
                None => self.skipped.push((outcome.message.clone(), vec![outcome.name])),
            }
            return;
        }
        let (style, word) = style(outcome.status);
        say!("{style}{word:>9}{style:#}  {} ({:.1} s)", outcome.name, outcome.seconds);
        if !outcome.message.is_empty() {
            match self.said.get(&outcome.message) {
                Some(first) => say!("           as in {first}"),
                None => say!("           {}", outcome.message),
            }
            self.said.entry(outcome.message.clone()).or_insert(outcome.name);
        }
        if outcome.status.is_bad() {
            say!("           why it matters: {}", outcome.why);
        }
    }

    fn show_skipped(&self) {
        let (style, word) = style(Status::Skipped);
        for (reason, names) in &self.skipped {
            let which = match names.as_slice() {
                [one] => (*one).to_owned(),
                many => format!("{} tests", many.len()),
            };
            let known = reason.strip_prefix(NOT_RUN).and_then(|cause| self.said.get(cause));
            let reason = known.map_or_else(|| reason.clone(), |first| format!("{NOT_RUN}see {first}"));
            say!("{style}{word:>9}{style:#}  {which}\n           {reason}");
        }
    }
}

fn summary(report: &Report, wanted: usize) {
    let parts: Vec<String> = [
        Status::Success,
        Status::Warning,
        Status::Failed,
        Status::Crashed,
        Status::TimedOut,
        Status::Skipped,
    ]
    .into_iter()
    .map(|status| (report.count(status), style(status).1.to_lowercase()))
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    let unfinished = format!("was not checked to the end, {} of {wanted} tests", report.tests.len());
    let verdict = match &report.obstacle {
        _ if !report.conforms() => "does not conform",
        _ if report.verdict(wanted).is_none() => &unfinished,
        Some(_) => "could not be checked: its file must not be loaded",
        None if report.is_unavailable() => "could not be checked whole: it is not available here",
        None => "conforms",
    };
    say!("backend '{}' {verdict}: {}", report.backend, parts.join(", "));
    if let Some(obstacle) = report.obstacle.as_ref().filter(|obstacle| !obstacle.remedy.is_empty()) {
        say!("  try: {}", obstacle.remedy);
    }
}
