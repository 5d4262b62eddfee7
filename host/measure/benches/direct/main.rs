//! The operators called directly, without a plugin: what a run through the boundary is compared with.
//!
//! `direct run --workload W --num-tasks N --parallelism P` does the work of `bench run` in P threads that
//! call the operators in a loop, and prints throughput and digest as JSON. Source and sink are the host's
//! own, with the same batches and the same in-flight limit. `--without` leaves out some of what only measures.
//! `direct sink` times the sink alone.

mod direct;
mod sink;

use std::path::PathBuf;
use std::process::ExitCode;

use bench_measure::plan::{Load, Plan};
use bench_workloads::list;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn run() -> Result<(), Failure> {
    let mut plan = Plan {
        workload: list::default(),
        seed: 42,
        nodes: 1,
        parallelism: 2,
        num_tasks: 2_000,
        warmup_items: 0,
        warmup_auto: false,
        bounds: Default::default(),
        parity_batch_size: 16,
        repeat: 1,
        quick: false,
        scheduler: "default".into(),
        max_in_flight: 128,
        load: Load::Closed,
        params: list::default().parameters().defaults(),
        variation: Default::default(),
        corpus_digest: None,
        served: None,
        cache_dir: std::env::temp_dir().join("bench-direct"),
        timeout: None,
    };
    let mut observed = direct::Observed::default();
    let mut given = std::env::args().skip(1).filter(|flag| flag != "--bench");
    let what = given.next().unwrap_or_else(|| "run".into());
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--workload" => plan.workload = list::find(&value)?,
            "--num-tasks" => plan.num_tasks = value.parse()?,
            "--parallelism" => plan.parallelism = value.parse()?,
            "--without" => observed = observed.without(&value)?,
            "--cache-dir" => plan.cache_dir = PathBuf::from(value),
            _ => return Err(format!("there is no {flag}").into()),
        }
    }
    plan.validate()?;
    bench_workloads::open::prepare(&plan.open_spec(), &mut |what| eprintln!("preparing {what}"))?;
    let answer = match what.as_str() {
        "run" => direct::run(&plan, observed)?,
        "sink" => sink::time(&plan)?,
        other => return Err(format!("{other} is neither run nor sink").into()),
    };
    println!("{answer}");
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("direct: {why}");
            ExitCode::FAILURE
        }
    }
}
