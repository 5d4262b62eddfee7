//! What the real runtimes sustain: capacity, latency over demand, and throughput over parallelism.

use serde_json::{Map, Value, json};

use super::super::table::{Table, figure};
use super::{Bench, capacity, output, percent};

/// What the response time has to meet.
const SLO: &str = "p99=2s";
/// Sustained and refused rate this close are close enough: a runtime starts anew for every trial.
const PRECISION: &str = "0.05";
/// Shares of the capacity at which latency is measured.
const DEMANDS: [f64; 3] = [0.25, 0.5, 0.75];
const PARALLELISM: &str = "1,2,4";

pub fn measure(bench: &Bench, backends: &[String], trial: f64) -> Result<Value, String> {
    bench.provide(backends)?;
    let mut all = Map::new();
    for backend in backends {
        all.insert(backend.clone(), one(bench, backend, trial)?);
    }
    Ok(all.into())
}

fn one(bench: &Bench, backend: &str, trial: f64) -> Result<Value, String> {
    let folder = output("runtimes").join(backend);
    let seconds = trial.to_string();
    let search = ["capacity", "--backend", backend, "--slo", SLO, "--trial", &seconds];
    let report = bench.ask(&[&search[..], &["--precision", PRECISION]].concat(), &folder.join("capacity"))?;
    let found = capacity::compare(&report);
    let shown = |key: &str| figure(found[key].as_f64());
    println!(
        "\n{backend} on wl4: capacity for {SLO} {}/s, {} from the closed loop ({}/s before, {}/s after)",
        shown("capacity"),
        percent(found["deviation"].as_f64()),
        shown("closed_before"),
        shown("closed_after"),
    );
    println!("stopped: {}", found["stopped"].as_str().unwrap_or("-"));
    println!("{}", folder.join("capacity/report.html").display());
    let (closed, capacity) = (report["closed_loop_throughput"].as_f64(), report["capacity"].as_f64());
    let items = |rate: Option<f64>| (rate.unwrap_or(0.0) * trial).clamp(200.0, 1e6).ceil() as u64;
    let demand = match capacity {
        Some(capacity) => {
            let rates = DEMANDS.map(|share| figure(Some(share * capacity))).join(",");
            let what = ["--rate", &rates];
            sweep(bench, backend, "demand", items(Some(capacity / 2.0)), &what)?
        }
        None => Value::Null,
    };
    let scale = sweep(bench, backend, "parallelism", items(closed), &["--parallelism", PARALLELISM])?;
    Ok(json!({"capacity": found, "demand": demand, "parallelism": scale}))
}

fn sweep(bench: &Bench, backend: &str, name: &str, items: u64, what: &[&str]) -> Result<Value, String> {
    let (items, warmup) = (items.to_string(), (items / 5).to_string());
    let id = format!("{backend}-{name}");
    let fixed = ["sweep", "--backends", backend, "--run-id", &id, "--timeout", "300"];
    let work = ["--num-tasks", &items, "--warmup-items", &warmup];
    let root = output("runtimes").join("sweeps");
    let done = bench.ask(&[&fixed[..], &work, what].concat(), &root)?;
    let mut table = Table::new(&["parallelism", "rate/s", "items/s", "p50 ms", "p99 ms", "speed-up"]);
    for point in done["points"].as_array().into_iter().flatten() {
        let shown = |key: &str| figure(point[key].as_f64());
        let rate = point["rate"].as_f64().map_or("closed".to_owned(), |rate| figure(Some(rate)));
        let speed_up = if name == "parallelism" { shown("speed_up") } else { String::new() };
        let cells = [shown("throughput"), shown("latency_p50"), shown("latency_p99"), speed_up];
        table.row([point["parallelism"].to_string(), rate].into_iter().chain(cells));
    }
    println!("\n{backend} over {name}, {items} queries a point:");
    table.print();
    let hash = done["config_hash"].as_str().unwrap_or_default();
    let tree = root.join(format!("run_id={id}")).join(format!("config_hash={}", &hash[..hash.len().min(12)]));
    println!("{}", tree.join("report.html").display());
    Ok(done["points"].clone())
}
