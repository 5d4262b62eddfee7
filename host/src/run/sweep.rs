//! The same work at several scales and rates: what a sweep is, and what its records add up to.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::canonical_json::config_hash_of;
use super::capacity::{Goal, Report, Step};
use super::plan::{Arrivals, Load, Plan};
use crate::results::Record;
use crate::results::time::UtcTime;

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

/// Search for the capacity at each point instead of running it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Search {
    pub goal: Goal,
    pub precision: f64,
    pub trial_seconds: f64,
}

/// Everything a sweep is, in `plan.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepPlan {
    pub run_id: String,
    pub config_hash: String,
    pub started_at: UtcTime,
    pub points: Vec<Point>,
    /// The plan that all points share but for what a point says.
    pub plan: Plan,
    pub arrivals: Arrivals,
    pub search: Option<Search>,
    /// In bytes.
    pub memory_limit: Option<u64>,
    pub backend_options: Vec<(String, String)>,
    pub plugins_dir: Vec<PathBuf>,
    pub no_user_plugins: bool,
    #[serde(default)]
    pub only_trusted: bool,
    /// The command, for the logs.
    pub command: String,
}

impl SweepPlan {
    /// The plan of one point.
    #[must_use]
    pub fn plan_of(&self, point: &Point) -> Plan {
        let load = point.rate.map_or(Load::Closed, |rate| Load::Open { rate, arrivals: self.arrivals });
        Plan { nodes: point.nodes, parallelism: point.parallelism, load, ..self.plan.clone() }
    }

    /// Fingerprint of all points together.
    ///
    /// # Errors
    /// When a parameter is not a finite number.
    pub fn hash_of(points: &[Point], plan: &Plan, search: Option<&Search>) -> crate::results::Result<String> {
        config_hash_of(&json!({"points": points, "plan": plan.fingerprint(), "search": search}))
    }

    /// Every run, in an order that is random and the same for the same seed: a machine that slows down
    /// must not slow the last points most. Each repeat visits all points.
    #[must_use]
    pub fn steps(&self) -> Vec<(usize, u32)> {
        let repeats = if self.search.is_some() { 1 } else { self.plan.repeat };
        let of_repeat = |repeat| {
            let mut order: Vec<usize> = (0..self.points.len()).collect();
            let mut random =
                bench_workloads::random::stream(self.plan.seed, "sweep order", u64::from(repeat));
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last as u32 + 1) as usize);
            }
            order.into_iter().map(move |point| (point, repeat))
        };
        (0..repeats).flat_map(of_repeat).collect()
    }

    /// What a record says about its place in the sweep.
    #[must_use]
    pub fn extra(point: usize, repeat: u32) -> Map<String, Value> {
        let mut extra = Map::new();
        extra.insert("sweep".into(), json!({"point": point, "repeat": repeat}));
        extra
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
        let mean = |values: Vec<f64>| (!values.is_empty()).then(|| crate::compare::stats::mean(&values));
        let latency = |of: fn(&Record) -> Option<crate::results::units::Millis>| {
            mean(records.iter().filter_map(|record| of(record)).map(|ms| ms.get()).collect())
        };
        Some(Self {
            point: point.clone(),
            runs: records.len() as u32,
            invalid: records.iter().filter(|record| is_invalid(record)).count() as u32,
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
            latency_p99: last.filter(|_| report.goal.slo.quantile == 0.99).and_then(|trial| trial.latency_ms),
            success_rate: last.map(|trial| trial.success_rate),
            speed_up: None,
            efficiency: None,
            stopped: Some(report.found.stopped.clone()),
        })
    }
}

fn is_invalid(record: &Record) -> bool {
    record.extra.get("validity").is_some_and(|validity| validity["verdict"] == "INVALID")
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
    use crate::run::plan::tests::plan;

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

    #[test]
    fn each_repeat_visits_every_point_in_a_seeded_order() {
        let points: Vec<Point> = (1..=6).map(|p| point(1, p, None)).collect();
        let sweep = SweepPlan {
            run_id: "r".into(),
            config_hash: String::new(),
            started_at: UtcTime::now(),
            points: points.clone(),
            plan: Plan { repeat: 3, ..plan() },
            arrivals: Arrivals::Fixed,
            search: None,
            memory_limit: None,
            backend_options: Vec::new(),
            plugins_dir: Vec::new(),
            no_user_plugins: true,
            only_trusted: false,
            command: String::new(),
        };
        let steps = sweep.steps();
        assert_eq!(steps, sweep.steps());
        for (repeat, visited) in steps.chunks(6).zip(0..).map(|(chunk, n)| (n, chunk)) {
            let mut seen: Vec<usize> = visited.iter().map(|step| step.0).collect();
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
            assert!(visited.iter().all(|step| step.1 == repeat));
        }
        assert_ne!(steps.iter().map(|step| step.0).collect::<Vec<_>>(), [[0, 1, 2, 3, 4, 5]; 3].concat());
        let at = sweep.plan_of(&point(2, 8, Some(40.0)));
        assert_eq!((at.nodes, at.parallelism), (2, 8));
        assert_eq!(at.load, Load::Open { rate: 40.0, arrivals: Arrivals::Fixed });
    }
}
