//! The same work at several scales and rates: what a sweep is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use bench_judge::capacity::Goal;
use bench_judge::scaling::Point;
use bench_measure::plan::{Arrivals, Load, Plan};
use bench_record::canonical_json::config_hash;
use bench_record::evidence::{Place, SweepPlace};
use bench_record::time::UtcTime;

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
    #[must_use]
    pub fn hash_of(points: &[Point], plan: &Plan, search: Option<&Search>) -> String {
        config_hash(&json!({"points": points, "plan": plan.fingerprint(), "search": search}))
    }

    /// Every run, in an order that is random and the same for the same seed: a machine that slows down
    /// must not slow the last points most. Each repeat visits all points.
    #[must_use]
    pub fn steps(&self) -> Vec<(usize, u32)> {
        let repeats = if self.search.is_some() { 1 } else { self.plan.repeat };
        let of_repeat = |repeat| {
            let mut order: Vec<usize> = (0..self.points.len()).collect();
            let mut random =
                bench_measure::workloads::random::stream(self.plan.seed, "sweep order", u64::from(repeat));
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last as u32 + 1) as usize);
            }
            order.into_iter().map(move |point| (point, repeat))
        };
        (0..repeats).flat_map(of_repeat).collect()
    }

    /// What a record says about its place in the sweep.
    #[must_use]
    pub fn place(point: usize, repeat: u32) -> Place {
        Place { sweep: Some(SweepPlace { point, repeat }), ..Place::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_measure::plan::example as plan;

    fn point(nodes: u32, parallelism: u32, rate: Option<f64>) -> Point {
        Point { backend: "local".into(), nodes, parallelism, rate }
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
