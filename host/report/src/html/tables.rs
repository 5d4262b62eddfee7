//! The tables of the page, as data.
//!
//! All look alike to the template: a caption, columns, and rows of cells. A cell may carry a number
//! to sort by, since "n/a" and "< 0.0001" do not sort as they read.

use serde::Serialize;

use crate::{Grid, text};
use bench_judge::stats::support::Supported;
use bench_judge::{Metric, Summary};

/// A table.
#[derive(Serialize)]
pub struct Table {
    id: &'static str,
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Serialize)]
struct Column {
    name: &'static str,
    numeric: bool,
}

#[derive(Serialize)]
struct Cell {
    text: String,
    sort: Option<f64>,
    kind: Option<&'static str>,
}

/// With one setting only, it goes from the first column of every row into the caption.
fn without_setting(mut table: Table, summary: &Summary) -> Table {
    if let [setting] = summary.collected.settings.as_slice() {
        table.columns.remove(0);
        table.rows.iter_mut().for_each(|row| drop(row.remove(0)));
        table.caption += &format!(" ({})", setting.label());
    }
    table
}

/// Columns whose names end in `#` hold numbers.
fn table(id: &'static str, caption: &str, columns: &[&'static str], rows: Vec<Vec<Cell>>) -> Table {
    let column =
        |name: &&'static str| Column { name: name.trim_end_matches('#'), numeric: name.ends_with('#') };
    Table { id, caption: caption.to_owned(), columns: columns.iter().map(column).collect(), rows }
}

fn words(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), sort: None, kind: None }
}

fn number(text: String, sort: Option<f64>) -> Cell {
    Cell { text, sort: sort.filter(|value| value.is_finite()), kind: None }
}

fn count(value: u64) -> Cell {
    number(value.to_string(), Some(value as f64))
}

/// A table whose cells read as they sort.
pub fn plain(grid: &Grid) -> Table {
    let cells = |row: &Vec<String>| row.iter().map(|text| number(text.clone(), text.parse().ok())).collect();
    table("t-numbers", &grid.caption, grid.columns, grid.rows.iter().map(cells).collect())
}

/// The guide's table.
pub fn summary(summary: &Summary) -> Table {
    let rows = summary.collected.totals.iter().map(|totals| {
        let metrics = [Metric::Throughput, Metric::LatencyP95, Metric::LatencyP99, Metric::SuccessRate];
        let mean = |metric: Metric| totals.metrics[metric as usize].mean();
        let mut cells = vec![words(&totals.backend), count(totals.records)];
        cells.extend(metrics.map(|metric| number(text::three(mean(metric)), mean(metric))));
        cells
    });
    table(
        "t-summary",
        "Mean of every metric over all records of a backend, of its speed over those with answers",
        &[
            "Backend",
            "Records#",
            "Throughput (items/s)#",
            "p95 latency (ms)#",
            "p99 latency (ms)#",
            "Success rate#",
        ],
        rows.collect(),
    )
}

/// What differs.
pub fn mismatches(summary: &Summary) -> Table {
    let rows = summary.collected.mismatches.rows.iter().map(|found| {
        vec![
            words(&found.workload),
            words(&found.run_id),
            count(found.backend_count as u64),
            words(found.differing.join(", ")),
            words(&found.detail),
        ]
    });
    let columns = ["Workload", "Run", "Backends#", "Differs", "Values"];
    table("t-mismatches", "Runs whose configurations differ", &columns, rows.collect())
}

/// Every comparison.
pub fn verdicts(summary: &Summary) -> Table {
    let rows = summary.comparisons.iter().map(|comparison| {
        let verdict =
            Cell { text: text::verdict(comparison), sort: None, kind: Some(text::verdict_kind(comparison)) };
        let pairs = if comparison.paired { "" } else { " (unpaired)" };
        vec![
            words(summary.collected.settings[comparison.setting].label()),
            words(text::metric(comparison.metric)),
            words(format!("{} / {}", comparison.first, comparison.second)),
            verdict,
            number(text::three(comparison.ratio), comparison.ratio),
            number(text::interval(comparison.ratio_interval), comparison.ratio_interval.map(|i| i.low)),
            number(format!("{}{pairs}", comparison.pairs), Some(comparison.pairs as f64)),
            number(text::p_value(comparison.p), comparison.p),
            number(text::p_value(comparison.adjusted_p), comparison.adjusted_p),
            number(text::p_value(comparison.wilcoxon_p), comparison.wilcoxon_p),
        ]
    });
    let columns = [
        "Setting",
        "Metric",
        "Backends",
        "Verdict",
        "Ratio#",
        "95 % interval#",
        "Pairs#",
        "p#",
        "p (Holm)#",
        "p (Wilcoxon)#",
    ];
    without_setting(table("t-verdicts", "Comparison of each two backends", &columns, rows.collect()), summary)
}

/// Means, spreads and intervals.
pub fn metrics(summary: &Summary) -> Table {
    let rows = summary.estimates.iter().map(|estimate| {
        let interval = estimate.interval.filter(|_| estimate.needs_items.is_none());
        vec![
            words(summary.collected.settings[estimate.setting].label()),
            words(&estimate.backend),
            words(text::metric(estimate.metric)),
            count(estimate.runs),
            number(text::mean(estimate), Some(estimate.mean).filter(|_| estimate.needs_items.is_none())),
            number(estimate.deviation.map_or(text::NONE.into(), text::short), estimate.deviation),
            number(text::interval(interval), interval.map(|i| i.low)),
        ]
    });
    let columns = [
        "Setting",
        "Backend",
        "Metric",
        "Runs#",
        "Mean#",
        "Standard deviation#",
        "95 % interval of the mean#",
    ];
    without_setting(
        table("t-metrics", "Mean and spread over the runs that count", &columns, rows.collect()),
        summary,
    )
}

/// Percentiles of all items.
pub fn percentiles(summary: &Summary) -> Table {
    let rows = summary.latencies.iter().map(|latencies| {
        let mut cells = vec![
            words(summary.collected.settings[latencies.setting].label()),
            words(&latencies.backend),
            count(latencies.items),
        ];
        cells.extend(latencies.percentiles.map(|p| number(text::supported(p), p.and_then(Supported::value))));
        cells
    });
    let columns =
        ["Setting", "Backend", "Items#", "p50 (ms)#", "p90 (ms)#", "p95 (ms)#", "p99 (ms)#", "p99.9 (ms)#"];
    without_setting(
        table("t-percentiles", "Latency over the items of all repeats together", &columns, rows.collect()),
        summary,
    )
}

/// Which runs count, and why others do not.
pub fn validity(summary: &Summary) -> Table {
    let rows = text::validity(summary).into_iter().map(|validity| {
        let [runs, invalid, partial] = validity.counts;
        let reasons = validity.reasons.iter().map(text::reason);
        let mut invalid_cell = count(invalid);
        invalid_cell.kind = (invalid > 0).then_some("bad");
        vec![
            words(summary.collected.settings[validity.setting].label()),
            words(&validity.backend),
            count(runs),
            invalid_cell,
            count(partial),
            words(reasons.collect::<Vec<_>>().join("; ")),
        ]
    });
    let columns = ["Setting", "Backend", "Runs#", "INVALID#", "Not finished#", "Reasons and mends"];
    without_setting(
        table("t-validity", "Runs that were judged INVALID or did not finish", &columns, rows.collect()),
        summary,
    )
}
