//! Do all backends give the same answers to every workload?

use serde_json::{Map, Value, json};

use super::super::table::Table;
use super::Bench;

const WORKLOADS: [&str; 4] = ["wl1", "wl2", "wl3", "wl4"];

pub fn measure(bench: &Bench, backends: &[String]) -> Result<Value, String> {
    bench.provide(backends)?;
    let backends = || std::iter::once("local").chain(backends.iter().map(String::as_str));
    let head: Vec<&str> = ["workload"].into_iter().chain(backends()).chain(["equal"]).collect();
    let mut table = Table::new(&head);
    let mut rows = Map::new();
    for workload in WORKLOADS {
        let mut digests = Map::new();
        for backend in backends() {
            let mut record = bench.run(backend, &["--workload", workload, "--num-tasks", "200"])?;
            digests.insert(backend.to_owned(), record["extra"]["output_digest"].take());
        }
        let first = &digests["local"];
        let equal = first.is_string() && digests.values().all(|digest| digest == first);
        let short = |digest: &Value| digest.as_str().and_then(|hex| hex.get(..12)).unwrap_or("-").to_owned();
        let cells = backends().map(|backend| short(&digests[backend]));
        let said = if equal { "yes" } else { "NO" };
        table.row([workload.to_owned()].into_iter().chain(cells).chain([said.to_owned()]));
        rows.insert(workload.to_owned(), json!({"digests": digests, "equal": equal}));
    }
    println!("\nDigests of the answers to 200 queries (first 12 of 64 digits):");
    table.print();
    Ok(rows.into())
}
