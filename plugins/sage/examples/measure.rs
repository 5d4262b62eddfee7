//! Items per second, latency and CPU time of SAGE in both arrangements.
//!
//! `measure WORKLOAD QUERIES ENGINE PARALLELISM BATCH [IN_FLIGHT]`, with the managed environment installed.

#[path = "../../python/tests/support/mod.rs"]
mod support;

use backend_sage::Sage;
use bench_plugin_api::sdk::Backend;
use support::{Bench, open_spec, spec};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: u32| args.get(i).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (workload, queries, engine) = (args[0].as_str(), number(1, 500), args[2].as_str());
    let (parallelism, batch) = (number(3, 2), number(4, 16));
    let cache = std::env::temp_dir().join("bench-measure-cache");
    let bench = Bench::new(open_spec(workload, queries, &cache), number(5, 64) as usize);
    let temp = tempfile::tempdir().expect("a temporary directory");
    let mut spec = spec(&bench, parallelism, batch, temp.path());
    spec.extra.push(("sage_engine".into(), engine.into()));
    let result = Sage.run(&spec, &bench.host());
    let children = children_cpu();
    let seen = bench.seen();
    let mut latencies = seen.latencies_ns.clone();
    latencies.sort_unstable();
    let at = |q: f64| latencies.get((latencies.len() as f64 * q) as usize).map_or(0.0, |ns| *ns as f64 / 1e6);
    let seconds = (seen.last_ns - seen.first_ns) as f64 / 1e9;
    println!(
        "{workload:5} {engine:12} p={parallelism} batch={batch:2}  {:7.0} items/s  p50 {:7.1} ms  p99 {:7.1} ms  cpu/item {:6.3} ms  {} of {} {}",
        seen.outcomes.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        children * 1e3 / f64::from(queries),
        seen.outcomes.len(),
        seen.emitted,
        result.err().map(|error| error.to_string()).unwrap_or_default(),
    );
}

/// CPU seconds of children that were waited for, from `/proc/self/stat`.
fn children_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / 100.0
}
