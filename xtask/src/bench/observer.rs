//! `cargo xtask bench-observer`: what measuring itself costs.
//!
//! The operators are called in a loop (`direct`), with the host's own source and sink, so that what is left out is
//! all that differs. Each round runs every variant once, beginning with another one each time.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::table::{Spread, Table, figure};
use super::{cache_dir, executable, executable_with, json as json_of, machine, write};
use crate::Done;
use crate::cargo::target;

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Queries of each run of Workload4.
    #[arg(long, default_value_t = 2_000)]
    num_tasks: u32,
    /// Queries of each run without work.
    #[arg(long, default_value_t = 100_000)]
    null_tasks: u32,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    parallelism: u32,
}

/// What is left out of a run.
struct Variant {
    name: &'static str,
    /// The program that has no spans at all.
    unobserved: bool,
    without: &'static [&'static str],
    /// The variant that has what this one lacks, and differs in nothing else.
    against: usize,
}

const VARIANTS: [Variant; 5] = [
    Variant { name: "everything", unobserved: false, without: &[], against: 0 },
    Variant { name: "sampling", unobserved: false, without: &["sampling"], against: 0 },
    Variant { name: "seals and their proof", unobserved: false, without: &["proof"], against: 0 },
    Variant { name: "spans", unobserved: true, without: &["proof"], against: 2 },
    Variant { name: "the sink's account", unobserved: true, without: &["proof", "sink"], against: 3 },
];

/// Measures on both workloads.
///
/// # Errors
/// When something does not build or run.
pub fn run(args: &Args) -> Done {
    let programs = [
        executable("bench-measure", "direct")?,
        executable_with("bench-measure", "direct", &["unobserved"])?,
    ];
    let mut figures = Map::from_iter([("machine".to_owned(), machine())]);
    for (workload, tasks) in [("null", args.null_tasks), ("wl4", args.num_tasks)] {
        figures.insert(workload.to_owned(), on(&programs, workload, tasks, args)?);
    }
    let path = target().join("bench-observer.json");
    write(&path, &Value::Object(figures))?;
    println!("\n{}", path.display());
    Ok(())
}

fn on(programs: &[PathBuf; 2], workload: &str, tasks: u32, args: &Args) -> Result<Value, String> {
    let mut rates: [Vec<f64>; VARIANTS.len()] = Default::default();
    for round in 0..args.rounds {
        eprintln!("{workload}: round {} of {}", round + 1, args.rounds);
        for turn in 0..VARIANTS.len() {
            let number = (round + turn) % VARIANTS.len();
            let program = &programs[usize::from(VARIANTS[number].unobserved)];
            rates[number].push(rate(program, workload, tasks, args.parallelism, &VARIANTS[number])?);
        }
    }
    println!("\n{workload}, {tasks} queries, {} threads, {} rounds:", args.parallelism, args.rounds);
    let mut table =
        Table::new(&["without", "items/s", "least .. most", "costs %", "least .. most", "us/item"]);
    let mut rows = Map::new();
    for (variant, own) in VARIANTS.iter().zip(&rates) {
        let pairs = || own.iter().zip(&rates[variant.against]);
        let cost = Spread::of(pairs().map(|(without, with)| (1.0 - with / without) * 100.0));
        let time = Spread::of(pairs().map(|(without, with)| (1.0 / with - 1.0 / without) * 1e6));
        let own = Spread::of(own.iter().copied());
        let mut row = vec![if variant.without.is_empty() { "nothing" } else { variant.name }.to_owned()];
        row.extend(own.show());
        row.extend(match variant.without {
            [] => [(); 3].map(|()| String::new()),
            _ => {
                let [middle, range] = cost.show();
                [middle, range, figure(Some(time.median))]
            }
        });
        table.row(row);
        let value =
            json!({"items_per_second": own.json(), "cost_percent": cost.json(), "us_per_item": time.json()});
        rows.insert(variant.name.to_owned(), value);
    }
    table.print();
    Ok(Value::Object(rows))
}

fn rate(
    program: &Path,
    workload: &str,
    tasks: u32,
    parallelism: u32,
    variant: &Variant,
) -> Result<f64, String> {
    let mut command = Command::new(program);
    command
        .args(["run", "--workload", workload, "--num-tasks", &tasks.to_string()])
        .args(["--parallelism", &parallelism.to_string()])
        .arg("--cache-dir")
        .arg(cache_dir());
    for what in variant.without {
        command.args(["--without", what]);
    }
    json_of(&mut command)?["throughput"].as_f64().ok_or_else(|| "no throughput".to_owned())
}
