//! `bench compare` and `bench verify`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::output::{self, say};
use super::{Exit, Stopped, places, screen};
use bench_judge::checklist::principles;
use bench_judge::verify::{Agreement, Differing, Verification, verify as compare_two};
use bench_judge::{self as compare, Error, Options, Summary};
use bench_record::quantity::number;
use bench_report::{terminal, text};

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Results files, or folders that are searched for them.
    #[arg(required = true, value_name = "DIR")]
    paths: Vec<PathBuf>,
    /// Folder for the report.
    #[arg(short, long, value_name = "DIR", default_value = "artifacts/backend_comparison")]
    output_dir: PathBuf,
    /// Let runs that were judged INVALID take part.
    #[arg(long)]
    include_invalid: bool,
    /// What an hour of a core costs, to say what a million items do.
    #[arg(long, value_name = "PRICE", value_parser = price, allow_hyphen_values = true)]
    price_per_core_hour: Option<f64>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

fn price(text: &str) -> Result<f64, String> {
    let price = number(text)?;
    if price >= 0.0 { Ok(price) } else { Err(format!("'{text}' is below zero")) }
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// One result: a folder or a results file.
    a: PathBuf,
    /// The other.
    b: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::MissingPath(_) | Error::NothingFound(_) | Error::NoRecords(_) | Error::NoneWhole(_) => {
                Exit::Usage
            }
            _ => Exit::Output,
        };
        Self::new(exit, &error, error.help())
    }
}

impl From<bench_report::Error> for Stopped {
    fn from(error: bench_report::Error) -> Self {
        match error {
            bench_report::Error::Judge(error) => error.into(),
            error => Self::new(Exit::Output, &error, error.help()),
        }
    }
}

/// Mismatch when backends that did the same work gave different answers; invalid when files are no longer what the runs
/// wrote; inconclusive when a backend gave no answers.
pub fn exit_of(summary: &Summary) -> Exit {
    if summary.equality.iter().any(|equality| equality.differs()) {
        Exit::Mismatch
    } else if !summary.altered.is_empty() {
        Exit::Invalid
    } else if summary.collected.groups.iter().any(|group| group.is_unanswered()) {
        Exit::Inconclusive
    } else {
        Exit::Ok
    }
}

pub fn compare(args: &CompareArgs) -> Result<Exit, Stopped> {
    let options = Options {
        include_invalid: args.include_invalid,
        price: args.price_per_core_hour,
        ..Options::default()
    };
    places::output(&args.output_dir, "--output-dir")?;
    let summary = bench_report::compare(&args.paths, &args.output_dir, &options)?;
    if args.json {
        output::json(&as_json(&summary, &args.output_dir))?;
    } else {
        show(&summary, &args.output_dir);
    }
    Ok(exit_of(&summary))
}

/// A comparison for programs.
pub fn as_json(summary: &Summary, folder: &Path) -> serde_json::Value {
    let files: Vec<PathBuf> = summary.artifacts.iter().map(|name| folder.join(name)).collect();
    json!({
        "records": summary.collected.records,
        "duplicates": summary.collected.duplicates,
        "workloads": summary.collected.workloads,
        "backends": summary.collected.totals.iter().map(|totals| &totals.backend).collect::<Vec<_>>(),
        "clean": summary.is_clean(),
        "equality": summary.equality,
        "unanswered": text::unanswered(summary),
        "altered": summary.altered,
        "comparisons": summary.comparisons,
        "about": text::about(summary),
        "variances": summary.variances,
        "cost": text::cost(summary),
        "principles": principles(summary),
        "verdicts": summary.comparisons.iter().map(text::verdict).collect::<Vec<_>>(),
        "artifacts": files,
    })
}

/// A comparison for people.
pub fn show(summary: &Summary, folder: &Path) {
    output::out(format_args!("{}", terminal::render(summary, Some(screen::width()))));
    for name in &summary.artifacts {
        screen::path(&folder.join(name));
    }
}

pub fn verify(args: &VerifyArgs) -> Result<Exit, Stopped> {
    let options = Options::default();
    let side = |path: &PathBuf| compare::collect(std::slice::from_ref(path), &options);
    let verification = compare_two(&side(&args.a)?, &side(&args.b)?);
    if args.json {
        output::json(&verification)?;
    } else {
        show_verification(&verification);
    }
    Ok(match verification.verdict {
        Agreement::Equal => Exit::Ok,
        Agreement::Different => Exit::Mismatch,
        Agreement::Unproven | Agreement::NotComparable => Exit::Inconclusive,
    })
}

fn show_verification(verification: &Verification) {
    let line = match verification.verdict {
        Agreement::Equal => "equal: the same work with the same answers",
        Agreement::Different => "different: the same work with other answers",
        Agreement::Unproven if !verification.altered.is_empty() => {
            "unproven: the same work, but files beside the records are not what the runs wrote"
        }
        Agreement::Unproven => {
            "unproven: the same work, but not every run has answers and recorded their digest"
        }
        Agreement::NotComparable if verification.has_answers() => "not comparable: not the same work",
        Agreement::NotComparable => "not comparable: without answers there is nothing to compare",
    };
    say!("{line}");
    let list = |label: &str, found: &[Differing]| {
        for Differing { what, a, b } in found {
            say!("  {label} {what}: A has {}, B has {}", terminal::clean(a), terminal::clean(b));
        }
    };
    list("obstacle", &verification.obstacles);
    list("remark", &verification.remarks);
    for altered in &verification.altered {
        say!("  altered: {}", terminal::clean(&text::altered(altered)));
    }
    for line in verification.differences.iter().flat_map(text::difference) {
        say!("  {}", terminal::clean(&line));
    }
}
