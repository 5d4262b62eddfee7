//! `bench gate`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::again::AgainArgs;
use super::output::{self, say};
use super::pair::MOST_PAIRS;
use super::run::check_folder;
use super::{Exit, Stopped, places, screen};
use bench_campaign::gate::Watch;
use bench_judge::gate::{self, GateOptions, GateOutcome, GateReport};
use bench_judge::{self as compare, Collected, Error, Options};
use bench_record::quantity::{count, duration, share};
use bench_record::{self as results, atomic};
use bench_report::{junit, terminal};

#[derive(Debug, Args)]
pub struct GateArgs {
    /// Results to hold the current ones against.
    #[arg(long, value_name = "DIR")]
    baseline: PathBuf,
    /// The current results.
    #[arg(required = true, value_name = "CURRENT")]
    current: Vec<PathBuf>,
    /// Slowdown that is still allowed: 5% or 0.05.
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = below_one, allow_hyphen_values = true)]
    max_regression: f64,
    /// Write the checks as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run the baseline's work again, into CURRENT, until it is known. Its bounds then hold at every look, so that
    /// stopping early claims nothing that is not so
    #[arg(long, help_heading = "Runs")]
    pub until_known: bool,
    /// Most runs of each backend with --until-known [default: 60]
    #[arg(long, value_name = "N", value_parser = count::<u32>, allow_hyphen_values = true, help_heading = "Runs")]
    max_repeat: Option<u32>,
    /// With --until-known, begin no run after this time, such as 20m
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true, help_heading = "Runs")]
    max_time: Option<Duration>,
    #[command(flatten)]
    again: AgainArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A slowdown of everything would allow everything.
fn below_one(text: &str) -> Result<f64, String> {
    let share = share(text)?;
    if share < 1.0 { Ok(share) } else { Err(format!("'{text}' must be below 100%")) }
}

pub fn gate(args: &GateArgs) -> Result<Exit, Stopped> {
    if !args.until_known && (args.max_repeat.is_some() || args.max_time.is_some()) {
        return Err(Stopped::usage(
            "--max-repeat and --max-time end what --until-known began: give that too",
        ));
    }
    let options = Options::default();
    let baseline = compare::collect(std::slice::from_ref(&args.baseline), &options)?;
    let report = match args.until_known {
        true => until_known(args, &baseline)?,
        false => gate::judge(&baseline, &compare::collect(&args.current, &options)?, &args.limits()),
    };
    if let Some(path) = &args.junit {
        write_junit(path, &report)?;
    }
    if args.json {
        output::json(&report)?;
    } else {
        show_gate(&report);
    }
    Ok(match report.outcome {
        GateOutcome::Pass => Exit::Ok,
        GateOutcome::Regression => Exit::Regression,
        GateOutcome::Mismatch => Exit::Mismatch,
        GateOutcome::Invalid => Exit::Invalid,
        GateOutcome::Inconclusive => Exit::Inconclusive,
    })
}

impl GateArgs {
    fn limits(&self) -> GateOptions {
        let (max_regression, until_known) = (self.max_regression, self.until_known);
        GateOptions { max_regression, until_known, ..GateOptions::default() }
    }
}

/// Runs what the baseline ran until nothing is open.
fn until_known(args: &GateArgs, baseline: &Collected) -> Result<GateReport, Stopped> {
    let [current] = &args.current[..] else {
        return Err(Stopped::usage("--until-known adds runs to CURRENT: name one folder"));
    };
    if current.is_file() {
        return Err(Stopped::usage(format!(
            "--until-known adds runs to a folder: {} is a file",
            current.display()
        )));
    }
    let until = args.max_time.and_then(|time| Instant::now().checked_add(time));
    let most = args.max_repeat.unwrap_or(MOST_PAIRS);
    if most == 0 {
        return Err(Stopped::usage("--max-repeat must be at least 1"));
    }
    places::output(current, "another CURRENT")?;
    check_folder(current)?;
    if baseline.settings.iter().any(|setting| setting.drawn) {
        return Err(Stopped::new(
            Exit::Usage,
            "the pairs of the baseline have seeds of their own, and --until-known repeats one",
            "make the baseline anew with --same-seed, or leave --until-known out",
        ));
    }
    let mut subjects = args.again.subjects(&args.baseline, |_| true)?;
    let run_id = bench_record::schema::new_run_id();
    let watch = Watch { current, run_id: &run_id, most, until };
    let look = || {
        let now = match compare::collect(std::slice::from_ref(current), &Options::default()) {
            // The first run is yet to come.
            Err(Error::MissingPath(_) | Error::NothingFound(_)) => Collected::default(),
            now => now?,
        };
        Ok(gate::judge(baseline, &now, &args.limits()))
    };
    watch.until_known(&mut subjects, look)
}

fn write_junit(path: &Path, report: &GateReport) -> Result<(), Stopped> {
    let text = junit::render(report);
    let failed = |source| results::Error::Io { action: "write", path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    atomic::write_with(path, |file| std::io::Write::write_all(file, text.as_bytes()).map_err(failed))?;
    Ok(())
}

fn show_gate(report: &GateReport) {
    let mut table = screen::table(&["backend", "setting", "metric", "outcome", "why"]);
    for check in &report.checks {
        let metric = check.metric.map_or("comparability", |metric| metric.name());
        table.add_row([
            terminal::clean(&check.backend),
            terminal::clean(&check.setting),
            metric.to_owned(),
            word(check.outcome).to_owned(),
            terminal::clean(&check.explanation),
        ]);
    }
    say!("{table}\n{}", word(report.outcome));
}

fn word(outcome: GateOutcome) -> &'static str {
    match outcome {
        GateOutcome::Pass => "pass",
        GateOutcome::Inconclusive => "inconclusive",
        GateOutcome::Regression => "regression",
        GateOutcome::Invalid => "invalid",
        GateOutcome::Mismatch => "mismatch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_does_not_allow_everything() {
        assert_eq!(below_one("5%"), Ok(0.05));
        assert_eq!(below_one("1"), Err("'1' must be below 100%".to_owned()));
    }
}
