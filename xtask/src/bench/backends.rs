//! `cargo xtask bench-backends`: the real runtimes side by side on identical work.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::table::{Spread, Table, figure};
use super::{cache_dir, data_dir, json as json_of, machine, verdict, write};
use crate::Done;
use crate::cargo::target;
use crate::stage::{Profile, stage};

/// Ratio of Ray over the naive dispatch that is aimed at.
const AIM_OVER_NAIVE: f64 = 5.0;

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often to measure each configuration; they take turns.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Queries of each run.
    #[arg(long, default_value_t = 500)]
    num_tasks: u32,
    /// Operator parallelism of each run.
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
}

/// One labelled way of running a workload.
struct Configuration {
    label: &'static str,
    backend: &'static str,
    options: &'static [&'static str],
    batch: u32,
}

const CONFIGURATIONS: [Configuration; 11] = [
    Configuration { label: "local, batch 16", backend: "local", options: &[], batch: 16 },
    Configuration { label: "local, batch 1", backend: "local", options: &[], batch: 1 },
    Configuration { label: "sage, batch 16", backend: "sage", options: &[], batch: 16 },
    Configuration { label: "sage, batch 1", backend: "sage", options: &[], batch: 1 },
    Configuration {
        label: "sage flow engine, batch 16",
        backend: "sage",
        options: &["sage_engine=flow"],
        batch: 16,
    },
    Configuration { label: "ray, batch 16", backend: "ray", options: &[], batch: 16 },
    Configuration { label: "ray, batch 1", backend: "ray", options: &[], batch: 1 },
    Configuration {
        label: "ray, an actor per chain, batch 16",
        backend: "ray",
        options: &["ray_fusion=chains"],
        batch: 16,
    },
    Configuration { label: "ray naive, batch 16", backend: "ray", options: &["ray_mode=naive"], batch: 16 },
    Configuration { label: "ray naive, batch 1", backend: "ray", options: &["ray_mode=naive"], batch: 1 },
    Configuration {
        label: "ray compiled graph (experimental), batch 16",
        backend: "ray",
        options: &["ray_mode=compiled"],
        batch: 16,
    },
];

/// Runs every configuration on both workloads and prints one table for each.
///
/// # Errors
/// When something does not build, install or run, or two configurations gave different answers.
pub fn run(args: &Args) -> Done {
    let staged = stage(Profile::Release)?;
    let bench = staged.join("bin/bench");
    for runtime in ["sage", "ray"] {
        crate::ci::provide(&bench, &data_dir(), runtime)?;
    }
    let mut all = serde_json::Map::new();
    for workload in ["null", "wl4"] {
        all.insert(workload.to_owned(), side_by_side(&bench, workload, args)?);
    }
    let path = target().join("bench-backends.json");
    write(&path, &json!({"machine": machine(), "workloads": all}))?;
    println!("\n{}", path.display());
    Ok(())
}

fn side_by_side(bench: &Path, workload: &str, args: &Args) -> Result<Value, String> {
    let mut records: Vec<Vec<Value>> = CONFIGURATIONS.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.repeats {
        for (configuration, kept) in CONFIGURATIONS.iter().zip(&mut records) {
            kept.push(once(bench, workload, configuration, args)?);
        }
    }
    let digest = |record: &Value| record["extra"]["output_digest"].clone();
    if let Some(other) = records.iter().flatten().find(|record| digest(record) != digest(&records[0][0])) {
        return Err(format!("{workload}: {} gave other answers than local", other["backend"]));
    }
    println!(
        "\n{workload}, {} queries, parallelism {}, at most 128 in flight:",
        args.num_tasks, args.parallelism
    );
    let mut table = Table::new(&["", "items/s", "least .. most", "CPU ms/item", "peak MiB of the tree"]);
    let mut rows = serde_json::Map::new();
    for (configuration, runs) in CONFIGURATIONS.iter().zip(&records) {
        let of = |read: &dyn Fn(&Value) -> Option<f64>| Spread::of(runs.iter().filter_map(read));
        let rate = of(&|r| r["throughput"].as_f64());
        let cpu = of(&|r| Some(r["extra"]["cpu_seconds"].as_f64()? * 1e3 / f64::from(args.num_tasks)));
        let memory =
            of(&|r| r["extra"]["memory_peak_bytes"].as_f64().map(|bytes| bytes / f64::from(1 << 20)));
        let mut row = vec![configuration.label.to_owned()];
        row.extend(rate.show());
        row.extend([figure(Some(cpu.median)), figure(Some(memory.median))]);
        table.row(row);
        let value = json!({"items_per_second": rate.json(), "cpu_ms_per_item": cpu.json(), "peak_mib": memory.json()});
        rows.insert(configuration.label.to_owned(), value);
    }
    table.print();
    let rate = |label: &str| {
        let at = CONFIGURATIONS.iter().position(|c| c.label == label)?;
        Some(Spread::of(records[at].iter().filter_map(|r| r["throughput"].as_f64())).median)
    };
    // The Python version dispatched single records, so the last is the shape that it had.
    for (ours, naive) in [(16, 16), (1, 1), (16, 1)] {
        let ratio = rate(&format!("ray, batch {ours}"))
            .zip(rate(&format!("ray naive, batch {naive}")))
            .map(|(ray, naive)| ray / naive);
        let met = ratio.is_some_and(|ratio| ratio >= AIM_OVER_NAIVE);
        println!(
            "ray, batch {ours}, over the naive dispatch, batch {naive}: {}x, aim {AIM_OVER_NAIVE}: {}",
            figure(ratio),
            verdict(met)
        );
        rows.insert(format!("ray, batch {ours}, over naive, batch {naive}"), json!(ratio));
    }
    Ok(Value::Object(rows))
}

fn once(bench: &Path, workload: &str, configuration: &Configuration, args: &Args) -> Result<Value, String> {
    eprintln!("{workload}: {}", configuration.label);
    let output = target().join("bench-backends");
    let mut command = Command::new(bench);
    command
        .args(["run", "--json", "--no-user-plugins", "--timeout", "300", "--workload", workload])
        .args(["--backend", configuration.backend])
        .args(["--num-tasks", &args.num_tasks.to_string(), "--parallelism", &args.parallelism.to_string()])
        .args(["--parity-batch-size", &configuration.batch.to_string()])
        .arg("--output-dir")
        .arg(output)
        .env("BENCH_CACHE_DIR", cache_dir())
        .env("BENCH_DATA_DIR", data_dir());
    for option in configuration.options {
        command.args(["--backend-option", option]);
    }
    Ok(json_of(&mut command)?[0].take())
}
