//! Several backends on the same work, in turns.
//!
//! Repeats alternate between backends in a seeded random order, so that a machine that slows down
//! slows all of them.

pub mod equal_rate;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::drive::Campaign;
use super::run::{Failure, Runner, Wanted};
use super::tree::{Started, Tree, excerpt};
use bench_judge::judge::{Comparison, Ranking};
use bench_judge::stats::verdict::Verdict;
use bench_judge::{Metric, Options};
use bench_measure::plan::{Load, Plan};
use bench_measure::supervise::{LOG_FILE, claim_folder};
use bench_record::evidence::Place;
use bench_record::pair::{FailureReport, PairManifest};
use bench_record::time::UtcTime;
use bench_record::{self as results, OutputLock, atomic, csv, jsonl};
pub use plan::{PairPlan, Step};

/// A pair and its folder.
#[derive(Debug)]
pub struct Pair<'a> {
    pub tree: &'a Tree,
    pub plan: &'a PairPlan,
    /// From when on no pair is begun any more.
    pub until: Option<Instant>,
}

impl Campaign for Pair<'_> {
    type Step = Step;
    type Found = ();

    fn steps(&self) -> Vec<Step> {
        self.plan.steps()
    }

    fn is_finished(&self, step: &Step) -> bool {
        self.has_record(step, false)
    }

    /// Looked at before each pair, after all earlier ones; and as soon as what failed leaves nothing to compare.
    fn is_settled(&self, next: &Step, failed: &[&Step]) -> bool {
        if !self.plan.until_known {
            return false;
        }
        let lost: BTreeSet<&str> = failed.iter().map(|step| step.backend.as_str()).collect();
        if !lost.is_empty() && self.plan.sides_without(&lost) < 2 {
            return true;
        }
        let late = || self.until.is_some_and(|until| Instant::now() >= until);
        let steps = self.steps();
        let (earlier, this): (Vec<&Step>, Vec<&Step>) = steps
            .iter()
            .filter(|step| step.pair_index <= next.pair_index)
            .partition(|step| step.pair_index < next.pair_index);
        let begins = !this.iter().any(|step| self.is_finished(step));
        let whole = || {
            let mut left = earlier.iter().filter(|step| !lost.contains(step.backend.as_str()));
            left.all(|step| self.is_finished(step))
        };
        next.pair_index > 0 && begins && (late() || (self.is_known(&lost) && whole()))
    }

    /// A backend that failed once fails again.
    fn is_hopeless(&self, step: &Step, failed: &Step) -> bool {
        step.backend == failed.backend
    }

    fn job<R: Runner>(&self, step: &Step, runner: &mut R) -> Result<(), R::Failure> {
        let place = self.plan.place_of(step);
        self.run(step, &self.plan.plan_of(step.pair_index), place, step.repeat_index(), runner)
    }

    /// Makes each CSV anew: a pair that was killed may have left one behind its JSONL.
    fn conclude(&self) -> results::Result<()> {
        let folders = self.plan.backends.iter().map(|name| self.tree.backend(name));
        for folder in folders.filter(|folder| folder.join(jsonl::FILE_NAME).is_file()) {
            let lock = OutputLock::acquire(&folder, results::lock::DEFAULT_WAIT)?;
            csv::regenerate(&lock)?;
        }
        Ok(())
    }
}

impl Pair<'_> {
    /// Whether a step has its record, among those at one rate or among the others.
    fn has_record(&self, step: &Step, equal_rate: bool) -> bool {
        let wanted = Place { equal_rate, ..step.place() };
        self.tree.has_record(&step.backend, |place| {
            let key = |place: &Place| (place.pair_index, place.arm.clone(), place.equal_rate);
            key(place) == key(&wanted)
        })
    }

    /// One run, with its section in the log.
    fn run<R: Runner>(
        &self,
        step: &Step,
        plan: &Plan,
        place: Place,
        repeat_index: u32,
        runner: &mut R,
    ) -> Result<(), R::Failure> {
        let Started { run_id, .. } = &self.plan.started;
        let output_dir = self.tree.backend(&step.backend);
        let folder = claim_folder(&output_dir, run_id, &step.backend, repeat_index)?;
        let arm = step.arm.map_or(String::new(), |arm| format!(" [{arm}]"));
        let rate = match plan.load {
            Load::Open { rate, .. } if place.equal_rate => format!(" at {rate}/s"),
            _ => String::new(),
        };
        // Another seed may need other indexes.
        runner.prepare(plan)?;
        let wanted = Wanted {
            backend: &step.backend,
            plan,
            run_id,
            repeat_index,
            output_dir: &output_dir,
            folder: &folder,
            place,
            label: format!("{}{arm}{rate} {}/{}", step.backend, step.pair_index + 1, self.plan.plan.repeat),
            to_its_end: true,
            loss: None,
        };
        let result = runner.run(&wanted, &mut ()).and_then(|run| runner.answered(&run).map(|()| run));
        let (code, stderr) = match &result {
            Err(failure) => failure.logged(),
            Ok(run) => (0, run.findings.iter().map(|f| format!("INVALID: {}\n", f.message())).collect()),
        };
        self.log(step, &folder.join(LOG_FILE), &stderr, code)?;
        result.map(drop)
    }

    /// Whether nothing is open that more pairs could decide: every verdict on throughput is known, or cannot be had
    /// because of what was `lost`.
    fn is_known(&self, lost: &BTreeSet<&str>) -> bool {
        let options = Options { seed: self.plan.plan.seed, ..Options::default() };
        let Ok(collected) = bench_judge::collect(&[self.tree.backends()], &options) else { return false };
        let summary = bench_judge::summarize(collected, &options);
        // Runs at one rate all come to that rate.
        let hash = self.plan.plan.config_hash();
        let is_its =
            |c: &Comparison| summary.collected.settings[c.setting].config_hash.as_ref() == Some(&hash);
        let is_open = |c: &&Comparison| {
            let sides = [c.first.as_str(), c.second.as_str()];
            c.metric == Metric::Throughput && is_its(c) && !sides.iter().any(|side| lost.contains(side))
        };
        let mut throughput = summary.comparisons.iter().filter(is_open).peekable();
        throughput.peek().is_some()
            && throughput.all(|comparison| match comparison.ranking {
                Ranking::Verdict(Verdict::Inconclusive { .. }) | Ranking::NoValidRuns => false,
                Ranking::Verdict(_) | Ranking::AnswersDiffer | Ranking::NoCommonSetting => true,
                Ranking::NotMeasured | Ranking::NeedsItems(_) => false,
            })
    }

    /// Adds a run to its backend's log.
    fn log(&self, step: &Step, run_log: &Path, stderr: &str, code: u8) -> results::Result<()> {
        let arm = step.arm.map_or(String::new(), |arm| format!(", arm {arm}"));
        let place = format!("{} {}/{}{arm}", step.backend, step.pair_index + 1, self.plan.plan.repeat);
        let text = excerpt(run_log).unwrap_or_default();
        let command = format!("{}  # {place}", self.plan.means.command);
        self.tree.log(&step.backend, &command, &text, stderr, code)
    }

    /// Writes `manifest.json`, and takes away the report of an earlier failure.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn succeed(&self) -> results::Result<Value> {
        let shown = |path: PathBuf| path.display().to_string();
        let mut paths = BTreeMap::from([
            ("summary".to_owned(), shown(self.tree.comparison().join("summary.md"))),
            ("comparison_csv".to_owned(), shown(self.tree.comparison().join("comparison.csv"))),
            ("compare_log".to_owned(), shown(self.tree.logs().join("compare.log"))),
        ]);
        for name in &self.plan.backends {
            for (ending, file) in [("csv", csv::FILE_NAME), ("jsonl", jsonl::FILE_NAME)] {
                paths.insert(format!("{name}_{ending}"), shown(self.tree.backend(name).join(file)));
            }
        }
        let manifest = PairManifest {
            status: "success",
            started_at: self.plan.started.started_at,
            finished_at: UtcTime::now(),
            run_id: self.plan.started.run_id.clone(),
            config_hash: self.plan.started.config_hash.clone(),
            config: self.plan.config(),
            paths,
        };
        atomic::write_json(&self.tree.manifest(), &manifest)?;
        remove(&self.tree.failure_report())?;
        Ok(serde_json::to_value(manifest)?)
    }

    /// Writes `failure_report.json` instead: what each backend in `errors` failed of, or, without any,
    /// that the user stopped the pair. `resume` is the command that continues it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn fail(
        &self,
        errors: &BTreeMap<String, String>,
        interrupted: bool,
        resume: String,
    ) -> results::Result<()> {
        let mut error: Vec<String> = errors.iter().map(|(who, error)| format!("{who}: {error}")).collect();
        if interrupted {
            let steps = self.steps();
            let finished = steps.iter().filter(|step| self.is_finished(step)).count();
            error.push(format!("interrupted after {finished} of {} runs", steps.len()));
        }
        let report = FailureReport {
            status: if interrupted { "interrupted" } else { "failed" },
            started_at: self.plan.started.started_at,
            failed_at: UtcTime::now(),
            run_id: self.plan.started.run_id.clone(),
            config_hash: self.plan.started.config_hash.clone(),
            config: self.plan.config(),
            error: error.join("\n"),
            failed: errors.keys().cloned().collect(),
            logs_dir: self.tree.logs().display().to_string(),
            resume,
        };
        remove(&self.tree.manifest())?;
        atomic::write_json(&self.tree.failure_report(), &report)
    }
}

fn remove(path: &Path) -> results::Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(results::Error::io("remove", path)(cause))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::plan::example as pair;
    use super::*;
    use bench_judge::testing::{paired, write};

    /// A pair that may end early, of which so many pairs were run, the first backend with these speeds to the other's 100.
    fn watched(dir: &Path, speeds: &[f64]) -> (Tree, PairPlan) {
        let tree = Tree::new(dir, "r", "0123456789abcdef");
        let plan = PairPlan { until_known: true, ..pair(&["ray", "sage"], false, 60) };
        tree.begin(&plan).unwrap();
        let mut records = paired(&[("ray", speeds), ("sage", &vec![100.0; speeds.len()])]);
        let hash = plan.plan.config_hash();
        records.iter_mut().for_each(|record| record["config_hash"] = serde_json::json!(hash));
        for (backend, records) in ["ray", "sage"].into_iter().zip(records.chunks(speeds.len())) {
            write(&tree.backend(backend), records);
        }
        (tree, plan)
    }

    fn is_settled(dir: &Path, speeds: &[f64], next: u32, until: Option<Instant>) -> bool {
        let (tree, plan) = watched(dir, speeds);
        let steps = plan.steps();
        let next = steps.iter().find(|step| step.pair_index == next).unwrap();
        Pair { tree: &tree, plan: &plan, until }.is_settled(next, &[])
    }

    #[test]
    fn a_pair_ends_as_soon_as_its_verdict_is_known_and_no_sooner() {
        let dir = tempfile::tempdir().unwrap();
        let fast = [150.0, 151.0, 149.0, 150.5, 149.5, 150.0, 151.5, 148.0];
        assert!(is_settled(dir.path(), &fast, 8, None));
        assert!(!is_settled(dir.path(), &fast[..4], 4, None), "four pairs show nothing");
        assert!(!is_settled(dir.path(), &fast[..7], 8, None), "an earlier pair is not finished");
        let unclear = [150.0, 70.0, 130.0, 80.0, 60.0, 140.0, 120.0, 75.0];
        assert!(!is_settled(dir.path(), &unclear, 8, None));
        assert!(is_settled(dir.path(), &unclear, 8, Some(Instant::now())), "its time is over");
        let equal = [100.1, 99.9, 100.2, 99.8, 100.0, 100.1, 99.9, 100.0, 99.9, 100.1];
        assert!(is_settled(dir.path(), &equal, 10, None), "equivalence is a verdict too");
    }

    #[test]
    fn a_pair_of_a_fixed_number_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, plan) = watched(dir.path(), &[150.0; 8]);
        let plan = PairPlan { until_known: false, ..plan };
        let steps = plan.steps();
        let next = steps.iter().find(|step| step.pair_index == 8).unwrap();
        assert!(!Pair { tree: &tree, plan: &plan, until: None }.is_settled(next, &[]));
    }

    #[test]
    fn without_a_backend_that_failed_the_others_are_judged_and_one_alone_is_not_run_on() {
        let dir = tempfile::tempdir().unwrap();
        let fast = [150.0, 151.0, 149.0, 150.5, 149.5, 150.0, 151.5, 148.0];
        let (tree, plan) = watched(dir.path(), &fast);
        let settled = |backends: &[&str], next_pair, failed: &str| {
            let backends = backends.iter().map(|name| (*name).to_owned()).collect();
            let plan = PairPlan { backends, ..plan.clone() };
            let steps = plan.steps();
            let of_pair = |pair: u32| steps.iter().filter(move |step| step.pair_index == pair);
            let failed: Vec<&Step> = of_pair(0).filter(|step| step.backend == failed).collect();
            let next = of_pair(next_pair).find(|step| step.backend == "ray").unwrap();
            Pair { tree: &tree, plan: &plan, until: None }.is_settled(next, &failed)
        };
        assert!(settled(&["ray", "sage"], 3, "sage"), "there is nothing to compare with");
        assert!(settled(&["ray", "sage", "dask"], 8, "dask"), "the verdict on the other two is known");
        assert!(!settled(&["ray", "sage", "dask"], 8, ""), "dask has yet to run");
        assert!(!settled(&["ray", "sage", "dask"], 9, "dask"), "the ninth pair is not finished");
    }

    #[test]
    fn a_plan_survives_the_disk_and_neither_a_partial_nor_an_unanswered_record_finishes_anything() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, pair) = (Tree::new(dir.path(), "r", "0123456789abcdef"), pair(&["sage"], true, 1));
        tree.begin(&pair).unwrap();
        let found = Tree::find(dir.path(), "r").unwrap().unwrap();
        assert_eq!(found.plan::<PairPlan>().unwrap().plan.config_hash(), pair.plan.config_hash());
        fs::create_dir_all(tree.backend("sage")).unwrap();
        let mut records = paired(&[("sage", &[1.0; 3])]);
        records[0]["extra"] = serde_json::json!({"pair_index": 0, "arm": "a", "partial": true});
        records[1]["extra"] = serde_json::json!({"pair_index": 0, "arm": "a"});
        records[1]["success_rate"] = 0.0.into();
        records[2]["extra"] = serde_json::json!({"pair_index": 0, "arm": "b"});
        let torn = "{\"extra\":{\"pair_in";
        let lines: String =
            records.iter().map(|record| format!("{record}\n")).chain([torn.to_owned()]).collect();
        fs::write(tree.backend("sage").join(jsonl::FILE_NAME), lines).unwrap();
        let all = Pair { tree: &tree, plan: &pair, until: None };
        let finished: Vec<_> = pair.steps().iter().map(|step| (step.arm, all.is_finished(step))).collect();
        assert!(finished.contains(&(Some('a'), false)) && finished.contains(&(Some('b'), true)));
        assert!(Tree::find(dir.path(), "other").unwrap().is_none());
    }
}
