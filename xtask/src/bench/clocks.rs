//! `cargo xtask bench-clocks`: is a run on several hosts attributed alike, whatever their clocks say?

use std::process::Stdio;

use serde_json::{Value, json};

use super::table::{Spread, Table, figure};
use super::{data_dir, machine, verdict, write};
use crate::Done;
use crate::cargo::{cargo, target};
use crate::stage::{Profile, stage};

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to run on three hosts.
    #[arg(long, value_delimiter = ',', default_value = "dask,ray")]
    backends: Vec<String>,
    /// Runs of each backend with one clock, and as many with several.
    #[arg(long, default_value_t = 8)]
    rounds: u32,
    /// Queries of each run.
    #[arg(long, default_value_t = 600)]
    num_tasks: u32,
}

const PARTS: [&str; 4] = ["operator", "queueing", "transfer", "overhead"];
/// How far the attribution may be from that of the same run with one clock.
const AIM: f64 = 0.10;

/// Runs in turns, and compares where the time went.
///
/// # Errors
/// When something does not build, install or run.
pub fn run(args: &Args) -> Done {
    let staged = stage(Profile::Release)?;
    for runtime in &args.backends {
        crate::ci::provide(&staged.join("bin/bench"), &data_dir(), runtime)?;
    }
    let mut bench = cargo(["bench", "--profile", "dev", "--workspace", "--bench", "clocks"]);
    bench.env("BENCH_STAGED", &staged).env("BENCH_DATA_DIR", data_dir());
    bench.env("BENCH_BACKENDS", args.backends.join(",")).env("BENCH_ROUNDS", args.rounds.to_string());
    bench.env("BENCH_TASKS", args.num_tasks.to_string());
    let output = bench.stderr(Stdio::inherit()).output().map_err(|cause| format!("cargo bench: {cause}"))?;
    if !output.status.success() {
        return Err(format!("cargo bench --bench clocks: {}", output.status));
    }
    let found: Value =
        serde_json::from_slice(&output.stdout).map_err(|cause| format!("its output: {cause}"))?;
    let mut table = Table::new(&[
        "hosts' clocks days apart",
        "share of the time %",
        "s, one clock",
        "s, several",
        "ratio",
        "least .. most",
    ]);
    let mut far = Vec::new();
    for backend in &args.backends {
        let rounds = found[backend].as_array().map(Vec::as_slice).unwrap_or_default();
        for part in PARTS {
            let [one, several] = [0, 1].map(|number| Spread::of(seconds(rounds, number, part)));
            let all: f64 = PARTS.iter().map(|part| Spread::of(seconds(rounds, 0, part)).median).sum();
            let ratio =
                Spread::of(seconds(rounds, 1, part).zip(seconds(rounds, 0, part)).map(|(b, a)| b / a));
            let share = 100.0 * one.median / all;
            let [middle, range] = ratio.show();
            let figures = [share, one.median, several.median].map(|value| figure(Some(value)));
            table.row([vec![format!("{backend}: {part}")], figures.to_vec(), vec![middle, range]].concat());
            far.push(
                json!({"backend": backend, "part": part, "share_percent": share, "ratio": ratio.json()}),
            );
        }
    }
    table.print();
    let off = |row: &Value| (row["ratio"]["median"].as_f64().unwrap_or(f64::NAN) - 1.0).abs();
    let worst =
        far.iter().map(off).fold(0.0, |worst: f64, off| if off.is_nan() { off } else { worst.max(off) });
    println!(
        "the median ratio of any part is at most {:.1} % from 1, aim 10: {}",
        worst * 100.0,
        verdict(worst <= AIM)
    );
    let path = target().join("bench-clocks.json");
    write(&path, &json!({"machine": machine(), "parts": far, "rounds": found}))?;
    println!("\n{}", path.display());
    Ok(())
}

/// Seconds of a part in each round, with one clock (0) or several (1).
fn seconds<'r>(rounds: &'r [Value], number: usize, part: &'r str) -> impl Iterator<Item = f64> + 'r {
    rounds.iter().map(move |pair| pair[number][format!("{part}_seconds")].as_f64().unwrap_or(f64::NAN))
}
