//! A search for capacity as curves and numbers: what completes, and how long it takes, over what is asked.

use super::Grid;
use super::charts::Chart;
use super::charts::curves::scaling;
use super::sweep::line;
use crate::run::capacity::{Report, Trial};

/// The curves.
#[must_use]
pub fn charts(report: &Report) -> Vec<Chart> {
    let percentile = percentile(report);
    let steps = || report.found.steps.iter().map(|step| &step.trial);
    let points = |of: fn(&Trial) -> Option<f64>| {
        steps().filter_map(|trial| Some((trial.offered, of(trial)?))).collect::<Vec<_>>()
    };
    let axis = "arrivals per second";
    let offered = line("arrivals".into(), points(|trial| Some(trial.offered)));
    let completed = line(report.backend.clone(), points(|trial| Some(trial.completed)));
    let title = format!("{percentile} of the response time over demand");
    let latency = line(report.backend.clone(), points(|trial| trial.latency_ms));
    // The goal reaches over the same range.
    let limit = line("goal".into(), steps().map(|trial| (trial.offered, report.goal.slo.limit_ms)).collect());
    let demand = scaling("Completions over demand", axis, "items per second", &[completed, offered]);
    let latency = scaling(&title, axis, "ms", &[latency, limit]);
    [("completions_over_rate", demand), ("latency_over_rate", latency)]
        .map(|(id, canvas)| Chart { id, canvas, as_png: false })
        .into()
}

fn percentile(report: &Report) -> String {
    format!("p{}", (report.goal.slo.quantile * 1e4).round() / 100.0)
}

/// The numbers.
#[must_use]
pub fn grid(report: &Report) -> Grid {
    let rows = report.found.steps.iter().map(|step| {
        let trial = &step.trial;
        vec![
            step.phase.name().to_owned(),
            format!("{:.1}", trial.rate),
            format!("{:.1}", trial.completed),
            trial.latency_ms.map_or("n/a".into(), |ms| format!("{ms:.1}")),
            format!("{:.4}", trial.success_rate),
            step.limit.map_or("sustained".into(), |limit| format!("{limit:?}").to_lowercase()),
        ]
    });
    Grid {
        caption: format!("The trials; the latency is {} of the response time", percentile(report)),
        columns: &["phase", "rate/s#", "completed/s#", "latency ms#", "success#", "verdict"],
        rows: rows.collect(),
    }
}

/// What the search came to.
#[must_use]
pub fn words(report: &Report) -> [String; 2] {
    let closed = report.closed_loop_throughput;
    let found = match report.found.capacity {
        Some(capacity) => format!(
            "capacity of {} for {}: {capacity:.1} items/s ({:+.1} % of the closed-loop throughput, {closed:.1}/s)",
            report.backend,
            report.goal.slo,
            (capacity / closed - 1.0) * 100.0
        ),
        None => format!("no capacity of {} for {}", report.backend, report.goal.slo),
    };
    [found, format!("stopped: {}", report.found.stopped)]
}
