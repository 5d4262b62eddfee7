//! Times every operator of Workload4 on one thread, and writes down what it worked on.
//!
//! `operators --data DIR [--cache-dir DIR] [--quick]` puts the inputs and the results into `DIR` (raw
//! little-endian arrays and `meta.json`), so that another implementation can do the same work and be
//! checked, and prints the timings as JSON. `cargo xtask bench-operators` runs it beside the numpy version.

mod clock;
mod export;
mod flow;
mod limits;
mod rows;
mod search;

use std::path::PathBuf;
use std::process::ExitCode;

use bench_workloads::list;
use bench_workloads::open::{OpenWorkload, prepare};
use bench_workloads::wl4;
use bench_workloads::workload::OpenSpec;
use serde_json::json;

/// Queries of the captured flow: a multiple of the batch size.
const QUERIES: u32 = 192;

type Failure = Box<dyn std::error::Error>;

struct Args {
    data: PathBuf,
    cache_dir: PathBuf,
    quick: bool,
}

fn args() -> Result<Args, Failure> {
    let scratch = std::env::temp_dir().join("bench-operators");
    let mut args = Args { data: scratch.clone(), cache_dir: scratch.join("cache"), quick: false };
    let mut given = std::env::args_os().skip(1);
    while let Some(flag) = given.next() {
        let mut folder = || given.next().map(PathBuf::from).ok_or("a folder is missing");
        match flag.to_str() {
            Some("--data") => args.data = folder()?,
            Some("--cache-dir") => args.cache_dir = folder()?,
            Some("--quick") => args.quick = true,
            // What `cargo bench` adds.
            Some("--bench") => {}
            _ => return Err(format!("{} is not --data, --cache-dir or --quick", flag.display()).into()),
        }
    }
    Ok(args)
}

fn run() -> Result<(), Failure> {
    let args = args()?;
    let spec = OpenSpec {
        workload: list::default().name().into(),
        seed: 42,
        num_tasks: QUERIES,
        params: list::default().parameters().defaults(),
        corpus_digest: None,
        served: None,
        key: None,
        placed: false,
        cache_dir: args.cache_dir.clone(),
    };
    prepare(&spec, &mut |what| eprintln!("preparing {what}"))?;
    let shared = wl4::open_shared(&spec)?;
    let workload = OpenWorkload::new(spec)?;
    let clock = clock::Clock::new(args.quick);
    let flow = flow::capture(&workload)?;
    let mut export = export::Export::new(&args.data)?;
    let rows = rows::all(&workload, &shared, &flow, clock, &mut export)?;
    export.finish()?;
    let operators = flow::replay(&workload, &flow, clock)?;
    let limits = limits::Limits::probe();
    println!(
        "{}",
        json!({
            "simd": bench_workloads::vector::kernel_name(),
            "queries": QUERIES,
            "limits": limits.json(),
            "rows": rows.iter().map(|row| row.json(&limits)).collect::<Vec<_>>(),
            "operators": operators,
        })
    );
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("operators: {why}");
            ExitCode::FAILURE
        }
    }
}
