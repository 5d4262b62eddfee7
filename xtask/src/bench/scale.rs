//! `cargo xtask bench-scale`.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::table::{Table, figure};
use super::{cache_dir, json as json_of, machine, verdict, write};
use crate::Done;
use crate::cargo::target;
use crate::stage::{Profile, stage};

/// Most that the cost of an item may change from 1e4 to 1e5 items.
const MOST_DRIFT: f64 = 0.10;
/// Most that memory may grow meanwhile: what a run keeps of each item is its digest.
const MOST_BYTES_PER_ITEM: f64 = 256.0;

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Numbers of queries.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    items: Vec<u64>,
    /// Numbers of documents in each vector database.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    corpus: Vec<u64>,
    /// Shards of the vector databases, at --sharded documents in each.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    shards: Vec<u64>,
    /// Documents in each vector database that is cut into shards.
    #[arg(long, default_value_t = 100_000)]
    sharded: u64,
    /// Queries for each size of the corpus.
    #[arg(long, default_value_t = 300)]
    corpus_queries: u64,
    #[arg(long, default_value = "wl4")]
    workload: String,
}

/// A run of `local`.
struct Outcome {
    throughput: f64,
    cpu_ms: f64,
    bytes: f64,
    /// Seconds of the whole command: with the index where it had to be built.
    seconds: f64,
    /// Time of one query in the search of `vdb1`, all shards together.
    search_ms: f64,
    digest: String,
}

/// What a run is made of, beside the flags.
#[derive(Clone, Copy)]
struct Size {
    items: u64,
    documents: u64,
    shards: u64,
}

/// Measures.
///
/// # Errors
/// When something does not build or run.
pub fn run(args: &Args) -> Done {
    let bench = stage(Profile::Release)?.join("bin/bench");
    let items = over_items(args, &bench)?;
    let corpus = over_corpus(args, &bench)?;
    let shards = over_shards(args, &bench)?;
    let path = target().join("bench-scale.json");
    write(&path, &json!({"machine": machine(), "items": items, "corpus": corpus, "shards": shards}))?;
    println!("\n{}", path.display());
    Ok(())
}

fn over_items(args: &Args, bench: &Path) -> Result<Value, String> {
    println!("\n{}, 1,000 documents in each database, over the number of queries:", args.workload);
    let mut table = Table::new(&["queries", "queries/s", "CPU ms/query", "peak MiB"]);
    let mut outcomes: Vec<(u64, Outcome)> = Vec::new();
    // The first run may have to build the index.
    let size = |items| Size { items, documents: 1_000, shards: 1 };
    local(args, bench, size(100))?;
    for &items in &args.items {
        let outcome = local(args, bench, size(items))?;
        table.row(row(items, &outcome));
        outcomes.push((items, outcome));
    }
    table.print();
    let at = |items: u64| outcomes.iter().find(|(n, _)| *n == items).map(|(_, outcome)| outcome);
    let mut met = Value::Null;
    if let (Some(few), Some(many)) = (at(10_000), at(100_000)) {
        let drift = many.cpu_ms / few.cpu_ms - 1.0;
        let per_item = (many.bytes - few.bytes) / 90_000.0;
        println!(
            "from 1e4 to 1e5: CPU per query {:+.1} % (at most {:.0} %): {}; memory {per_item:+.0} bytes a query (at most {MOST_BYTES_PER_ITEM:.0}): {}",
            drift * 100.0,
            MOST_DRIFT * 100.0,
            verdict(drift.abs() <= MOST_DRIFT),
            verdict(per_item <= MOST_BYTES_PER_ITEM)
        );
        met = json!({"cost_drift": drift, "bytes_per_item": per_item});
    }
    let rows: Vec<Value> = outcomes.iter().map(|(items, outcome)| outcome.json("items", *items)).collect();
    Ok(json!({"rows": rows, "from_1e4_to_1e5": met}))
}

fn over_corpus(args: &Args, bench: &Path) -> Result<Value, String> {
    println!("\n{}, {} queries, over the documents in each database:", args.workload, args.corpus_queries);
    let heads = ["documents", "queries/s", "CPU ms/query", "peak MiB", "first run s", "search ns/row"];
    let mut table = Table::new(&heads);
    let mut rows = Vec::new();
    for &documents in &args.corpus {
        let size = Size { items: args.corpus_queries, documents, shards: 1 };
        let first = local(args, bench, size)?;
        let outcome = local(args, bench, size)?;
        let per_row = outcome.search_ms * 1e6 / documents as f64;
        table.row(
            row(documents, &outcome).into_iter().chain([first.seconds, per_row].map(|it| figure(Some(it)))),
        );
        let mut value = outcome.json("documents", documents);
        value["first_run_seconds"] = first.seconds.into();
        value["search_ns_per_row"] = per_row.into();
        rows.push(value);
    }
    table.print();
    Ok(rows.into())
}

fn over_shards(args: &Args, bench: &Path) -> Result<Value, String> {
    println!(
        "\n{}, {} queries, {} documents in each database, over its shards:",
        args.workload, args.corpus_queries, args.sharded
    );
    let mut table = Table::new(&["shards", "queries/s", "CPU ms/query", "peak MiB", "digest"]);
    let mut rows = Vec::new();
    for &shards in &args.shards {
        let size = Size { items: args.corpus_queries, documents: args.sharded, shards };
        local(args, bench, size)?;
        let outcome = local(args, bench, size)?;
        table.row(row(shards, &outcome).into_iter().chain([outcome.digest[..12].to_owned()]));
        rows.push(outcome.json("shards", shards));
    }
    table.print();
    let equal = rows.iter().all(|row| row["output_digest"] == rows[0]["output_digest"]);
    println!("equal answers: {}", verdict(equal));
    Ok(rows.into())
}

fn row(size: u64, outcome: &Outcome) -> Vec<String> {
    let mib = outcome.bytes / f64::from(1 << 20);
    let figures = [outcome.throughput, outcome.cpu_ms, mib].map(|value| figure(Some(value)));
    [vec![size.to_string()], figures.to_vec()].concat()
}

impl Outcome {
    fn json(&self, name: &str, size: u64) -> Value {
        json!({
            name: size,
            "per_second": self.throughput,
            "cpu_ms_per_query": self.cpu_ms,
            "memory_peak_bytes": self.bytes,
            "search_ms_per_query": self.search_ms,
            "output_digest": self.digest,
        })
    }
}

fn local(args: &Args, bench: &Path, size: Size) -> Result<Outcome, String> {
    let Size { items, documents, shards } = size;
    let mut command = Command::new(bench);
    command.args(["run", "--json", "--no-user-plugins", "--backend", "local", "--workload", &args.workload]);
    command.args(["--num-tasks", &items.to_string(), "--corpus-size", &documents.to_string()]);
    command.args(["--corpus-shards", &shards.to_string()]);
    command.arg("--cache-dir").arg(cache_dir()).arg("--output-dir").arg(target().join("bench-scale"));
    let started = Instant::now();
    let answer = json_of(&mut command)?;
    let seconds = started.elapsed().as_secs_f64();
    let record = &answer[0];
    let number = |value: &Value| value.as_f64().ok_or_else(|| "a run without figures".to_owned());
    let operators = record["extra"]["operators"].as_object().into_iter().flatten();
    let searches = operators.filter(|(name, _)| name.starts_with("vdb1"));
    let search_seconds: f64 = searches.filter_map(|(_, usage)| usage["busy_seconds"].as_f64()).sum();
    Ok(Outcome {
        throughput: number(&record["throughput"])?,
        cpu_ms: number(&record["extra"]["cpu_seconds"])? * 1e3 / items as f64,
        bytes: number(&record["extra"]["memory_peak_bytes"])?,
        seconds,
        search_ms: search_seconds * 1e3 / items as f64,
        digest: record["extra"]["output_digest"].as_str().unwrap_or_default().to_owned(),
    })
}
