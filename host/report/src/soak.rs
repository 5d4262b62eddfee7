//! A soak as curves and numbers: each measure over time, and whether it creeps.

use super::Grid;
use super::charts::Chart;
use super::charts::curves::over_time;
use bench_judge::soak::{Drift, Measure, Window};

/// The curves.
#[must_use]
pub fn charts(backend: &str, windows: &[Window]) -> Vec<Chart> {
    let chart = |measure: Measure| {
        let points: Vec<(f64, f64)> =
            windows.iter().filter_map(|window| Some((window.at, measure.of(window)?))).collect();
        let id = match measure {
            Measure::Throughput => "soak_throughput",
            Measure::Latency => "soak_latency",
            Measure::Memory => "soak_memory",
        };
        let title = format!("{backend}: {} over time", measure.name());
        (points.len() > 1).then(|| Chart {
            id,
            canvas: over_time(&title, measure.name(), &points),
            as_png: false,
        })
    };
    Measure::ALL.into_iter().filter_map(chart).collect()
}

/// The numbers.
#[must_use]
pub fn grid(drifts: &[Drift]) -> Grid {
    let or = |text: Option<String>| text.unwrap_or_else(|| "n/a".to_owned());
    let row = |drift: &Drift| {
        vec![
            drift.measure.name().to_owned(),
            or(drift.trend.map(|_| format!("{:+.1}", drift.change * 100.0))),
            or(drift.trend.map(|trend| format!("{:+.3}", trend.slope * 3600.0))),
            or(drift.trend.map(|trend| format!("{:.4}", trend.p_value))),
            format!("{:?}", drift.verdict).to_lowercase(),
        ]
    };
    Grid {
        caption: "Trends over the run".into(),
        columns: &["measure", "change %#", "per hour#", "p-value#", "verdict"],
        rows: drifts.iter().map(row).collect(),
    }
}
