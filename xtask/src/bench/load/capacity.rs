//! With a generous goal, the highest rate that an open load sustains is what a closed loop completes.

use serde_json::{Value, json};

use super::super::table::{Table, figure};
use super::super::verdict;
use super::{Bench, output, percent};

/// Most that a capacity may differ from the closed loop right after the search.
const MOST_DEVIATION: f64 = 0.05;

pub fn measure(bench: &Bench, repeats: u32) -> Result<Value, String> {
    let mut table =
        Table::new(&["search", "closed before/s", "capacity/s", "closed after/s", "deviation", "aim 5 %"]);
    let mut rows = Vec::new();
    for repeat in 1..=repeats {
        let folder = output("capacity").join(repeat.to_string());
        let report = bench.ask(&["capacity", "--backend", "local", "--slo", "p99=10s"], &folder)?;
        let row = compare(&report);
        let shown = |key: &str| figure(row[key].as_f64());
        table.row([
            repeat.to_string(),
            shown("closed_before"),
            shown("capacity"),
            shown("closed_after"),
            percent(row["deviation"].as_f64()),
            verdict(row["met"] == true).to_owned(),
        ]);
        rows.push(row);
    }
    println!("\nCapacity of `local` on wl4 for p99=10s, and its closed loop; deviation from the one after:");
    table.print();
    rows.iter().for_each(|row| println!("stopped: {}", row["stopped"].as_str().unwrap_or("-")));
    Ok(rows.into())
}

/// The closed loop after the search ran right after the confirming trial: machines drift meanwhile.
pub fn compare(report: &Value) -> Value {
    let capacity = report["capacity"].as_f64();
    let after = report["closed_loop_throughput_after"].as_f64();
    let deviation = capacity.zip(after).map(|(capacity, after)| capacity / after - 1.0);
    json!({
        "capacity": capacity,
        "closed_before": report["closed_loop_throughput"],
        "closed_after": after,
        "deviation": deviation,
        "met": deviation.is_some_and(|deviation| deviation.abs() <= MOST_DEVIATION),
        "stopped": report["stopped"],
    })
}
