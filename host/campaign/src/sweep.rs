//! The same work at several scales and rates: what a sweep is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::capacity::{self, Search, Trials};
use super::drive::Campaign;
use super::run::{Runner, Wanted};
use super::tree::{Kept, LARGEST, Means, Started, Tree};
use bench_judge::capacity::Report;
use bench_judge::scaling::{Point, Row, relate};
use bench_measure::plan::{Arrivals, Load, Plan};
use bench_measure::supervise::claim_folder;
use bench_measure::workloads::random::stream;
use bench_record::canonical_json::config_hash;
use bench_record::evidence::{Place, SweepPlace};
use bench_record::found::Found;
use bench_record::time::UtcTime;
use bench_record::{self as results, Record, atomic, bom, jsonl};

/// The artefact: every point and what it came to.
pub const FILE_NAME: &str = "sweep.json";

/// Everything a sweep is, in `plan.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepPlan {
    #[serde(flatten)]
    pub started: Started,
    pub points: Vec<Point>,
    /// The plan that all points share but for what a point says.
    pub plan: Plan,
    pub arrivals: Arrivals,
    pub search: Option<Search>,
    #[serde(flatten)]
    pub means: Means,
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
            stream(self.plan.seed, "sweep order", u64::from(repeat)).shuffle(&mut order);
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

impl Kept for SweepPlan {
    const NAME: &'static str = "sweep";

    fn started(&self) -> &Started {
        &self.started
    }

    fn means(&self) -> &Means {
        &self.means
    }

    fn hash(&self) -> String {
        Self::hash_of(&self.points, &self.plan, self.search.as_ref())
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn plans(&self) -> Vec<Plan> {
        self.points.iter().map(|point| self.plan_of(point)).collect()
    }

    fn backends(&self) -> Vec<&str> {
        self.points.iter().map(|point| point.backend.as_str()).collect()
    }

    fn folders(&self, tree: &Tree) -> Vec<PathBuf> {
        let of = |point: &Point| match self.search {
            Some(_) => search_folder(tree, point),
            None => tree.backend(&point.backend),
        };
        self.points.iter().map(of).collect()
    }
}

/// Where the search at a point keeps its trials.
#[must_use]
pub fn search_folder(tree: &Tree, point: &Point) -> PathBuf {
    tree.folder().join("capacity").join(point.slug())
}

/// A sweep and its folder.
#[derive(Debug)]
pub struct Sweep<'a> {
    pub tree: &'a Tree,
    pub plan: &'a SweepPlan,
}

/// What the points came to.
#[derive(Debug)]
pub struct Swept {
    pub rows: Vec<Row>,
    /// The artefact.
    pub value: Value,
    pub path: PathBuf,
}

impl Campaign for Sweep<'_> {
    /// A point, by its number, and which repeat of it.
    type Step = (usize, u32);
    type Found = Swept;

    fn steps(&self) -> Vec<(usize, u32)> {
        self.plan.steps()
    }

    fn is_finished(&self, &(point, repeat): &(usize, u32)) -> bool {
        let at = &self.plan.points[point];
        match &self.plan.search {
            Some(_) => search_folder(self.tree, at).join(capacity::FILE_NAME).is_file(),
            None => {
                let wanted = SweepPlan::place(point, repeat).sweep;
                self.tree.has_record(&at.backend, |place| place.sweep == wanted)
            }
        }
    }

    /// A scale that a backend refuses or fails at is a finding about it; the others go on.
    fn job<R: Runner>(&self, &(point, repeat): &(usize, u32), runner: &mut R) -> Result<(), R::Failure> {
        let (plan, at) = (self.plan, &self.plan.points[point]);
        let (own, run_id) = (plan.plan_of(at), &plan.started.run_id);
        if let Some(search) = &plan.search {
            let folder = search_folder(self.tree, at);
            runner.note(&format!("searching the capacity of {}", at.slug()));
            let trials = Trials {
                backend: &at.backend,
                plan: &own,
                run_id,
                output_dir: &folder,
                arrivals: plan.arrivals,
            };
            let report = trials.search(search, runner)?;
            return runner.keep(&folder, &report).map(drop);
        }
        let output_dir = self.tree.backend(&at.backend);
        let repeat_index = point as u32 * plan.plan.repeat + repeat;
        let folder = claim_folder(&output_dir, run_id, &at.backend, repeat_index)?;
        let wanted = Wanted {
            backend: &at.backend,
            plan: &own,
            run_id,
            repeat_index,
            output_dir: &output_dir,
            folder: &folder,
            place: SweepPlan::place(point, repeat),
            label: format!("{} {}/{}", at.slug(), repeat + 1, plan.plan.repeat),
            to_its_end: true,
            loss: None,
        };
        let run = runner.run(&wanted, &mut ())?;
        runner.answered(&run)
    }

    fn conclude(&self) -> results::Result<Swept> {
        let (rows, plan) = (self.rows()?, self.plan);
        let value = json!({
            "run_id": plan.started.run_id,
            "config_hash": plan.started.config_hash,
            "workload": plan.plan.workload,
            "started_at": plan.started.started_at,
            "finished_at": UtcTime::now(),
            "measure": if plan.search.is_some() { "capacity" } else { "throughput" },
            "goal": plan.search.as_ref().map(|search| &search.goal),
            "points": rows,
        });
        let path = self.tree.folder().join(FILE_NAME);
        atomic::write_json(&path, &value)?;
        Ok(Swept { rows, value, path })
    }
}

impl Sweep<'_> {
    fn rows(&self) -> results::Result<Vec<Row>> {
        let mut rows: Vec<Row> = Vec::new();
        let records = if self.plan.search.is_some() { Vec::new() } else { self.records()? };
        for (number, point) in self.plan.points.iter().enumerate() {
            if self.plan.search.is_some() {
                let path = search_folder(self.tree, point).join(capacity::FILE_NAME);
                let report = Found::NAMED
                    .at_most(LARGEST)
                    .read(&path)
                    .ok()
                    .and_then(|bytes| bom::json::<Report>(&bytes).ok());
                rows.extend(report.and_then(|report| Row::of_search(point, &report)));
                continue;
            }
            let own: Vec<&Record> =
                records.iter().filter(|(of, _)| *of == number).map(|(_, own)| own).collect();
            rows.extend(Row::of_records(point, &own));
        }
        relate(&mut rows);
        Ok(rows)
    }

    /// The records of all points, each with its point's number.
    fn records(&self) -> results::Result<Vec<(usize, Record)>> {
        let backends: BTreeSet<&str> = self.plan.backends().into_iter().collect();
        let files = backends.into_iter().map(|name| self.tree.backend(name).join(jsonl::FILE_NAME));
        let mut found = Vec::new();
        for path in files.filter(|path| path.is_file()) {
            for record in jsonl::read(&path)? {
                let record = record?;
                found.extend(point_of(&record).map(|point| (point, record)));
            }
        }
        Ok(found)
    }
}

/// The number of the point that a record counts for. A run that was cut short or had no answers is repeated on
/// `--resume`, and must not count beside its repetition.
fn point_of(record: &Record) -> Option<usize> {
    let evidence = record.evidence();
    let counts = !evidence.partial && record.has_answers();
    evidence.place.sweep.filter(|_| counts).map(|sweep| sweep.point)
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
            started: Started::now("r".into(), String::new()),
            points: points.clone(),
            plan: Plan { repeat: 3, ..plan() },
            arrivals: Arrivals::Fixed,
            search: None,
            means: Means::default(),
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

    #[test]
    fn a_run_that_was_cut_short_or_not_answered_is_no_part_of_its_point() {
        let record = |extra| -> Record {
            serde_json::from_value(json!({
                "backend": "local", "workload": "wl1", "run_id": "r", "seed": 42, "nodes": 1, "parallelism": 2,
                "throughput": 100.0, "latency_p50": null, "latency_p95": null, "latency_p99": null,
                "success_rate": 1.0, "duration_seconds": 1.0, "timestamp": "2026-01-01T00:00:00Z",
                "config_hash": null, "extra": extra,
            }))
            .unwrap()
        };
        let whole = record(json!({"sweep": {"point": 1, "repeat": 0}, "partial": false}));
        let cut = record(json!({"sweep": {"point": 1, "repeat": 0}, "partial": true}));
        let unanswered =
            Record { success_rate: bench_record::units::Fraction::new(0.0).unwrap(), ..whole.clone() };
        assert_eq!([&whole, &cut, &unanswered].map(point_of), [Some(1), None, None]);
    }
}
