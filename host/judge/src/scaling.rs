//! The same work at several scales and rates: what its records add up to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capacity::{Report, Step};
use bench_record::Record;

/// One place of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    pub backend: String,
    pub nodes: u32,
    pub parallelism: u32,
    /// Arrivals a second; absent for a closed load.
    pub rate: Option<f64>,
}

impl Point {
    /// Part of a file name.
    #[must_use]
    pub fn slug(&self) -> String {
        let rate = self.rate.map_or(String::new(), |rate| format!("-r{rate}"));
        format!("{}-n{}-p{}{rate}", self.backend, self.nodes, self.parallelism)
    }

    /// Operators' instances over all nodes, by which efficiency is reckoned.
    fn workers(&self) -> f64 {
        f64::from(self.nodes) * f64::from(self.parallelism)
    }
}

/// What a point came to: means over its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    #[serde(flatten)]
    pub point: Point,
    pub runs: u32,
    /// How many of them are INVALID; of a search, how many trials that were refused are.
    pub invalid: u32,
    /// Items a second: completed, or with a goal the capacity.
    pub throughput: f64,
    pub latency_p50: Option<f64>,
    pub latency_p95: Option<f64>,
    pub latency_p99: Option<f64>,
    pub success_rate: Option<f64>,
    /// Against the smallest scale of the same backend and rate.
    pub speed_up: Option<f64>,
    /// Speed-up over the growth in workers.
    pub efficiency: Option<f64>,
    /// Why a capacity ends where it does.
    pub stopped: Option<String>,
}

impl Row {
    /// Of a point's records; `None` without any.
    #[must_use]
    pub fn of_records(point: &Point, records: &[&Record]) -> Option<Self> {
        let mean = |values: Vec<f64>| (!values.is_empty()).then(|| bench_stats::mean(&values));
        let latency = |of: fn(&Record) -> Option<bench_record::units::Millis>| {
            mean(records.iter().filter_map(|record| of(record)).map(|ms| ms.get()).collect())
        };
        Some(Self {
            point: point.clone(),
            runs: records.len() as u32,
            invalid: records.iter().filter(|record| record.evidence().is_invalid()).count() as u32,
            throughput: mean(records.iter().map(|record| record.throughput.get()).collect())?,
            latency_p50: latency(|record| record.latency_p50),
            latency_p95: latency(|record| record.latency_p95),
            latency_p99: latency(|record| record.latency_p99),
            success_rate: mean(records.iter().map(|record| record.success_rate.get()).collect()),
            speed_up: None,
            efficiency: None,
            stopped: None,
        })
    }

    /// Of a search; `None` when it found no capacity.
    #[must_use]
    pub fn of_search(point: &Point, report: &Report) -> Option<Self> {
        let last = report.found.steps.last().map(|step| &step.trial);
        Some(Self {
            point: point.clone(),
            runs: report.found.steps.len() as u32,
            invalid: report.found.steps.iter().filter(|step| is_doubtful(step)).count() as u32,
            throughput: report.found.capacity?,
            latency_p50: None,
            latency_p95: None,
            latency_p99: last.and_then(|trial| {
                let times = std::iter::once(trial.latency_ms).chain(trial.and_ms.iter().copied());
                report.goal.slos().zip(times).find(|(slo, _)| slo.percentile() == "p99")?.1
            }),
            success_rate: last.map(|trial| trial.success_rate),
            speed_up: None,
            efficiency: None,
            stopped: Some(report.found.stopped.clone()),
        })
    }
}

/// What held in spite of a disturbance holds.
fn is_doubtful(step: &Step) -> bool {
    step.limit.is_some() && !step.trial.doubts.is_empty()
}

/// Fills in speed-up and efficiency.
pub fn relate(rows: &mut [Row]) {
    let bases: Vec<Option<(f64, f64)>> = rows
        .iter()
        .map(|row| {
            let alike =
                |other: &&Row| other.point.backend == row.point.backend && other.point.rate == row.point.rate;
            let smallest =
                rows.iter().filter(alike).min_by(|a, b| a.point.workers().total_cmp(&b.point.workers()));
            smallest.map(|base| (base.throughput, base.point.workers()))
        })
        .collect();
    for (row, base) in rows.iter_mut().zip(bases) {
        let Some((throughput, workers)) = base.filter(|(throughput, _)| *throughput > 0.0) else { continue };
        let speed_up = row.throughput / throughput;
        row.speed_up = Some(speed_up);
        row.efficiency = Some(speed_up * workers / row.point.workers());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(nodes: u32, parallelism: u32, rate: Option<f64>) -> Point {
        Point { backend: "local".into(), nodes, parallelism, rate }
    }

    fn row(point: Point, throughput: f64) -> Row {
        Row {
            point,
            runs: 1,
            invalid: 0,
            throughput,
            latency_p50: None,
            latency_p95: None,
            latency_p99: None,
            success_rate: None,
            speed_up: None,
            efficiency: None,
            stopped: None,
        }
    }

    #[test]
    fn speed_up_is_against_the_smallest_scale_of_the_same_rate() {
        let mut rows = vec![
            row(point(1, 2, None), 150.0),
            row(point(1, 1, None), 100.0),
            row(point(2, 2, None), 200.0),
            row(point(1, 1, Some(5.0)), 5.0),
        ];
        relate(&mut rows);
        let related: Vec<_> =
            rows.iter().map(|row| (row.speed_up.unwrap(), row.efficiency.unwrap())).collect();
        assert_eq!(related, [(1.5, 0.75), (1.0, 1.0), (2.0, 0.5), (1.0, 1.0)]);
    }
}
