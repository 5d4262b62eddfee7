//! Does the generator of an open load keep to its schedule?

use serde_json::{Value, json};

use super::super::table::{Table, figure};
use super::super::verdict;
use super::{Bench, percent};

/// Most that the actual rate may differ from the schedule's.
const MOST_DEVIATION: f64 = 0.02;
/// Length of a run, unless its few items take longer.
const SECONDS: f64 = 10.0;
const FEWEST_ITEMS: f64 = 40.0;

pub fn measure(bench: &Bench, rates: &[f64]) -> Result<Value, String> {
    let mut table = Table::new(&[
        "arrivals",
        "asked/s",
        "schedule/s",
        "actual/s",
        "deviation",
        "p50 ms",
        "p99 ms",
        "max ms",
        "late",
        "backpressured",
        "aim 2 %",
    ]);
    let mut rows = Vec::new();
    for arrivals in ["fixed", "poisson"] {
        for &rate in rates {
            let row = once(bench, rate, arrivals)?;
            let shown = |key: &str| figure(row[key].as_f64());
            let count = |key: &str| row[key].to_string();
            table.row([
                arrivals.to_owned(),
                shown("asked"),
                shown("schedule"),
                shown("actual"),
                percent(row["deviation"].as_f64()),
                shown("lateness_p50_ms"),
                shown("lateness_p99_ms"),
                shown("lateness_max_ms"),
                count("late"),
                count("backpressured"),
                verdict(row["met"] == true).to_owned(),
            ]);
            rows.push(row);
        }
    }
    println!("\nThe generator of an open load, `local` on the null workload; ms: how late arrivals were:");
    table.print();
    Ok(rows.into())
}

fn once(bench: &Bench, rate: f64, arrivals: &str) -> Result<Value, String> {
    let items = (rate * SECONDS).max(FEWEST_ITEMS).ceil().to_string();
    let load = ["--load", "open", "--rate", &rate.to_string(), "--arrivals", arrivals];
    let record = bench.run("local", &[&["--workload", "null", "--num-tasks", &items], &load[..]].concat())?;
    let extra = &record["extra"];
    let number = |key: &str| {
        let value = extra["generator"][key].as_f64();
        value.ok_or_else(|| format!("extra.generator of the record has no {key}"))
    };
    let (schedule, actual) = (number("offered_rate")?, number("achieved_rate")?);
    let deviation = actual / schedule - 1.0;
    Ok(json!({
        "arrivals": arrivals,
        "items": extra["items"]["emitted"],
        // With random gaps a sample's own rate differs from the one asked for; the generator answers for
        // the sample's.
        "asked": rate,
        "schedule": schedule,
        "actual": actual,
        "deviation": deviation,
        "lateness_p50_ms": number("lateness_p50_ms")?,
        "lateness_p99_ms": number("lateness_p99_ms")?,
        "lateness_max_ms": number("lateness_max_ms")?,
        "late": extra["late_arrivals"],
        "backpressured": extra["generator"]["backpressured"],
        "met": deviation.abs() <= MOST_DEVIATION,
    }))
}
