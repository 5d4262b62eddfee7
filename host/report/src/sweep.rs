//! A sweep as curves and numbers: throughput or capacity, and latency, along each axis that varies.

use std::collections::BTreeMap;

use super::Grid;
use super::charts::Chart;
use super::charts::curves::{Series, scaling};
use super::text;
use bench_judge::scaling::{Point, Row};

/// What a row is measured by, and what it is called.
struct Measure {
    name: &'static str,
    unit: &'static str,
    of: fn(&Row) -> Option<f64>,
}

type Along = fn(&Point) -> f64;

/// The curves. `searched` says that rows hold capacities and not throughputs.
#[must_use]
pub fn charts(rows: &[Row], searched: bool) -> Vec<Chart> {
    let name = if searched { "capacity" } else { "throughput" };
    let rate = Measure { name, unit: "items per second", of: |row| Some(row.throughput) };
    let latency = Measure { name: "p99 of the response time", unit: "ms", of: |row| row.latency_p99 };
    let [over_parallelism, over_nodes] = if searched {
        ["capacity_over_parallelism", "capacity_over_nodes"]
    } else {
        ["throughput_over_parallelism", "throughput_over_nodes"]
    };
    let parallelism: Along = |point| f64::from(point.parallelism);
    let nodes: Along = |point| f64::from(point.nodes);
    let demand: Along = |point| point.rate.unwrap_or(0.0);
    let charts = [
        chart(rows, over_parallelism, &rate, "parallelism", parallelism),
        chart(rows, over_nodes, &rate, "nodes", nodes),
        chart(rows, "throughput_over_rate", &rate, "rate", demand),
        chart(rows, "latency_over_rate", &latency, "rate", demand),
    ];
    charts.into_iter().flatten().collect()
}

/// What varies along one axis: one line for all points that are equal otherwise.
fn chart(rows: &[Row], id: &'static str, measure: &Measure, axis: &str, along: Along) -> Option<Chart> {
    let mut lines: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows {
        let point = &row.point;
        let mut words = vec![point.backend.clone()];
        let varies = |of: fn(&Point) -> String| rows.iter().any(|other| of(&other.point) != of(point));
        let mut say = |name: &str, of: fn(&Point) -> String| {
            if name != axis && varies(of) {
                words.push(of(point));
            }
        };
        say("nodes", |p| format!("{} nodes", p.nodes));
        say("parallelism", |p| format!("par. {}", p.parallelism));
        say("rate", |p| p.rate.map_or("closed".to_owned(), |rate| format!("{rate}/s")));
        let line = lines.entry(words.join(", ")).or_default();
        line.extend((measure.of)(row).map(|value| (along(point), value)));
    }
    lines.retain(|_, points| points.iter().any(|point| point.0 != points[0].0));
    let series: Vec<Series> = lines.into_iter().map(|(name, points)| line(name, points)).collect();
    let mut title = format!("{} over {axis}", measure.name);
    title[..1].make_ascii_uppercase();
    let canvas = (!series.is_empty()).then(|| scaling(&title, axis, measure.unit, &series))?;
    Some(Chart { id, canvas, as_png: false })
}

/// Points from left to right.
pub(super) fn line(name: String, mut points: Vec<(f64, f64)>) -> Series {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Series { name, intervals: vec![None; points.len()], points }
}

/// What the latencies are worth, where some points had a closed load. A capacity is that of an open one.
#[must_use]
pub fn note(rows: &[Row], searched: bool) -> Option<&'static str> {
    let closed = !searched && rows.iter().any(|row| row.point.rate.is_none());
    closed.then_some(text::CLOSED_LOAD)
}

/// The numbers.
#[must_use]
pub fn grid(rows: &[Row], searched: bool) -> Grid {
    let or = |value: Option<f64>, digits: usize| value.map_or("n/a".to_owned(), |v| format!("{v:.digits$}"));
    let cells = |row: &Row| {
        vec![
            row.point.backend.clone(),
            row.point.nodes.to_string(),
            row.point.parallelism.to_string(),
            if searched {
                "searched".to_owned()
            } else {
                row.point.rate.map_or("closed".to_owned(), |rate| format!("{rate}"))
            },
            format!("{:.1}", row.throughput),
            or(row.latency_p50, 1),
            or(row.latency_p99, 1),
            or(row.success_rate, 4),
            or(row.speed_up, 2),
            or(row.efficiency, 2),
            format!("{} of {}", row.invalid, row.runs),
        ]
    };
    let columns: &[&str] = if searched {
        &[
            "backend",
            "nodes#",
            "par.#",
            "rate/s#",
            "capacity/s#",
            "p50 ms#",
            "p99 ms#",
            "success#",
            "speed-up#",
            "efficiency#",
            "INVALID#",
        ]
    } else {
        &[
            "backend",
            "nodes#",
            "par.#",
            "rate/s#",
            "items/s#",
            "p50 ms#",
            "p99 ms#",
            "success#",
            "speed-up#",
            "efficiency#",
            "INVALID#",
        ]
    };
    Grid {
        caption: "Means over the runs of each point".into(),
        columns,
        rows: rows.iter().map(cells).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(parallelism: u32, rate: Option<f64>, throughput: f64) -> Row {
        Row {
            point: Point { backend: "local".into(), nodes: 1, parallelism, rate },
            runs: 1,
            invalid: 0,
            throughput,
            latency_p50: None,
            latency_p95: None,
            latency_p99: rate.map(|rate| rate * 2.0),
            success_rate: None,
            speed_up: None,
            efficiency: None,
            stopped: None,
        }
    }

    fn ids(rows: &[Row], searched: bool) -> Vec<&'static str> {
        charts(rows, searched).iter().map(|chart| chart.id).collect()
    }

    #[test]
    fn latencies_of_closed_points_are_said_to_follow_from_the_throughput() {
        assert_eq!(note(&[row(1, None, 100.0)], false), Some(text::CLOSED_LOAD));
        assert_eq!(note(&[row(1, Some(10.0), 10.0)], false), None);
        assert_eq!(note(&[row(1, None, 100.0)], true), None);
    }

    #[test]
    fn there_is_a_curve_for_each_axis_that_varies() {
        let scales = [row(2, None, 180.0), row(1, None, 100.0)];
        assert_eq!(ids(&scales, false), ["throughput_over_parallelism"]);
        assert_eq!(ids(&scales, true), ["capacity_over_parallelism"]);
        let description = charts(&scales, false).remove(0).canvas.description;
        assert_eq!(description, "local: 100.0 at 1, 180.0 at 2.");
        let rates = [row(1, Some(10.0), 10.0), row(1, Some(20.0), 20.0)];
        assert_eq!(ids(&rates, false), ["throughput_over_rate", "latency_over_rate"]);
        assert_eq!(ids(&rates[..1], false), Vec::<&str>::new());
    }

    #[test]
    fn points_that_differ_otherwise_are_on_lines_of_their_own() {
        let rows = [1, 2].map(|p| [10.0, 20.0].map(|rate| row(p, Some(rate), rate))).concat();
        let chart = charts(&rows, false).remove(0);
        assert!(chart.canvas.description.contains("local, 10/s: "), "{}", chart.canvas.description);
    }
}
