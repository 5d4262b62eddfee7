//! Several backends on the same work, in turns.
//!
//! Repeats alternate between backends in a seeded random order, so that a machine that slows down
//! slows all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::drive::Campaign;
use super::run::{Failure, Runner, Wanted};
use super::tree::{Kept, Means, Started, Tree, excerpt};
use bench_judge::judge::{Comparison, Ranking};
use bench_judge::stats::verdict::Verdict;
use bench_judge::{Metric, Options};
use bench_measure::machine::random_addresses;
use bench_measure::plan::Plan;
use bench_measure::supervise::{LOG_FILE, claim_folder};
use bench_measure::workloads::random::stream;
use bench_record::evidence::{DrawnFrom, Layout, Place};
use bench_record::pair::{FailureReport, PairConfig, PairManifest};
use bench_record::time::UtcTime;
use bench_record::{self as results, OutputLock, atomic, csv, jsonl};

/// Most bytes that are added to the environment of a run: a page, after which the stack lies in its page as before.
const MOST_ENVIRONMENT: u32 = 4096;

/// Everything a pair is, in `plan.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PairPlan {
    #[serde(flatten)]
    pub started: Started,
    pub backends: Vec<String>,
    /// One backend against itself.
    pub aa: bool,
    /// It ends as soon as every verdict on throughput is known; `plan.repeat` is the most pairs.
    #[serde(default)]
    pub until_known: bool,
    /// Each pair has a seed of its own; the first has that of `plan`.
    #[serde(default)]
    pub vary_seed: bool,
    /// After so many seconds no pair is begun any more.
    #[serde(default)]
    pub max_seconds: Option<f64>,
    pub plan: Plan,
    #[serde(flatten)]
    pub means: Means,
}

/// One run of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub backend: String,
    pub pair_index: u32,
    /// `a` or `b` of a backend against itself.
    pub arm: Option<char>,
    pub until_known: bool,
    /// Which run of its pair it is.
    pub turn: u32,
}

impl Step {
    /// Different for every run of a backend.
    #[must_use]
    pub fn repeat_index(&self) -> u32 {
        match self.arm {
            None => self.pair_index,
            Some(arm) => 2 * self.pair_index + u32::from(arm == 'b'),
        }
    }

    /// What the record says about its place in the pair.
    #[must_use]
    pub fn place(&self) -> Place {
        let arm = self.arm.map(String::from);
        let (pair_index, until_known) = (Some(self.pair_index.into()), self.until_known);
        Place { pair_index, arm, until_known, ..Place::default() }
    }
}

impl PairPlan {
    /// All runs, in order. The same for the same seed.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let arms: Vec<(&String, Option<char>)> = if self.aa {
            self.backends.iter().flat_map(|name| [(name, Some('a')), (name, Some('b'))]).collect()
        } else {
            self.backends.iter().map(|name| (name, None)).collect()
        };
        let of_pair = |pair_index| {
            let mut order = arms.clone();
            stream(self.plan.seed, "pair order", u64::from(pair_index)).shuffle(&mut order);
            let until_known = self.until_known;
            order.into_iter().zip(0..).map(move |((name, arm), turn)| Step {
                backend: name.clone(),
                pair_index,
                arm,
                until_known,
                turn,
            })
        };
        (0..self.plan.repeat).flat_map(of_pair).collect()
    }

    /// What the runs of a pair do. Both sides of a pair do the same; another pair may have another seed.
    #[must_use]
    pub fn plan_of(&self, pair_index: u32) -> Plan {
        let seed = match pair_index {
            0 => self.plan.seed,
            _ if !self.vary_seed => self.plan.seed,
            _ => stream(self.plan.seed, "seed of a pair", pair_index.into()).next_u32().into(),
        };
        Plan { seed, ..self.plan.clone() }
    }

    /// Whether there is more than one seed.
    #[must_use]
    pub fn has_several_seeds(&self) -> bool {
        self.vary_seed && self.plan.repeat > 1
    }

    /// Where a run belongs, what its seed was drawn from, and what is arranged otherwise for it.
    fn place_of(&self, step: &Step) -> Place {
        let from = || DrawnFrom { seed: self.plan.seed, config_hash: self.plan.config_hash() };
        let number = u64::from(step.repeat_index()) << 8 | u64::from(step.turn & 0xff);
        let environment_bytes = stream(self.plan.seed, "environment", number).below(MOST_ENVIRONMENT);
        let layout = Layout { environment_bytes, turn: step.turn, random_addresses: random_addresses() };
        let drawn_from = self.has_several_seeds().then(from);
        Place { drawn_from, layout: Some(layout), ..step.place() }
    }

    /// How many sides are left to compare without the backends that were `lost`.
    #[must_use]
    pub fn sides_without(&self, lost: &BTreeSet<&str>) -> usize {
        let left = self.backends.iter().filter(|name| !lost.contains(name.as_str())).count();
        if self.aa { 2 * left } else { left }
    }

    /// What the guide calls the configuration.
    fn config(&self) -> PairConfig {
        PairConfig {
            scheduler: self.plan.scheduler.clone(),
            items: self.plan.num_tasks,
            parallelism: self.plan.parallelism,
            nodes: self.plan.nodes,
            seed: self.plan.seed,
            repeat: self.plan.repeat,
            workload: self.plan.workload.name().to_owned(),
            backends: self.backends.clone(),
            aa: self.aa,
        }
    }
}

impl Kept for PairPlan {
    const NAME: &'static str = "pair";

    fn started(&self) -> &Started {
        &self.started
    }

    fn means(&self) -> &Means {
        &self.means
    }

    fn hash(&self) -> String {
        self.plan.config_hash()
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn plans(&self) -> Vec<Plan> {
        vec![self.plan.clone()]
    }

    fn backends(&self) -> Vec<&str> {
        self.backends.iter().map(String::as_str).collect()
    }

    fn folders(&self, tree: &Tree) -> Vec<PathBuf> {
        self.backends.iter().map(|name| tree.backend(name)).collect()
    }
}

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
        let wanted = step.place();
        self.tree.has_record(&step.backend, |place| {
            (place.pair_index, &place.arm) == (wanted.pair_index, &wanted.arm)
        })
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

    /// One run, with its section in the log.
    fn job<R: Runner>(&self, step: &Step, runner: &mut R) -> Result<(), R::Failure> {
        let Started { run_id, .. } = &self.plan.started;
        let output_dir = self.tree.backend(&step.backend);
        let folder = claim_folder(&output_dir, run_id, &step.backend, step.repeat_index())?;
        let arm = step.arm.map_or(String::new(), |arm| format!(" [{arm}]"));
        let plan = self.plan.plan_of(step.pair_index);
        // Another seed may need other indexes.
        runner.prepare(&plan)?;
        let wanted = Wanted {
            backend: &step.backend,
            plan: &plan,
            run_id,
            repeat_index: step.repeat_index(),
            output_dir: &output_dir,
            folder: &folder,
            place: self.plan.place_of(step),
            label: format!("{}{arm} {}/{}", step.backend, step.pair_index + 1, self.plan.plan.repeat),
            to_its_end: true,
        };
        let result = runner.run(&wanted, &mut ()).and_then(|run| runner.answered(&run).map(|()| run));
        let (code, stderr) = match &result {
            Err(failure) => failure.logged(),
            Ok(run) => (0, run.findings.iter().map(|f| format!("INVALID: {}\n", f.message())).collect()),
        };
        self.log(step, &folder.join(LOG_FILE), &stderr, code)?;
        result.map(drop)
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
    /// Whether nothing is open that more pairs could decide: every verdict on throughput is known, or cannot be had
    /// because of what was `lost`.
    fn is_known(&self, lost: &BTreeSet<&str>) -> bool {
        let options = Options { seed: self.plan.plan.seed, ..Options::default() };
        let Ok(collected) = bench_judge::collect(&[self.tree.backends()], &options) else { return false };
        let summary = bench_judge::summarize(collected, &options);
        let is_open = |c: &&Comparison| {
            let sides = [c.first.as_str(), c.second.as_str()];
            c.metric == Metric::Throughput && !sides.iter().any(|side| lost.contains(side))
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
    use super::*;
    use bench_judge::testing::{paired, write};
    use bench_measure::plan::example as plan;

    fn pair(backends: &[&str], aa: bool, repeat: u32) -> PairPlan {
        PairPlan {
            started: Started::now("r".into(), "0123456789abcdef".into()),
            backends: backends.iter().map(|name| (*name).to_owned()).collect(),
            aa,
            until_known: false,
            vary_seed: true,
            max_seconds: None,
            plan: Plan { repeat, ..plan() },
            means: Means::default(),
        }
    }

    #[test]
    fn every_pair_has_each_backend_once_and_the_order_varies_with_the_seed_only() {
        let pair = pair(&["sage", "ray"], false, 40);
        let steps = pair.steps();
        assert_eq!(steps, pair.steps());
        let firsts = steps.chunks(2).filter(|both| both[0].backend == "ray").count();
        assert!((8..=32).contains(&firsts), "{firsts}");
        assert!(steps.chunks(2).all(|both| both[0].backend != both[1].backend));
        assert!(steps.chunks(2).zip(0..).all(|(both, n)| both.iter().all(|step| step.pair_index == n)));
    }

    #[test]
    fn pairs_have_seeds_of_their_own_and_both_sides_of_one_the_same() {
        let varied = pair(&["sage", "ray"], false, 40);
        let seeds: BTreeSet<u64> = (0..40).map(|pair| varied.plan_of(pair).seed).collect();
        assert_eq!((seeds.len(), varied.plan_of(0).seed), (40, varied.plan.seed));
        let steps = varied.steps();
        let places: Vec<Place> = steps.iter().map(|step| varied.place_of(step)).collect();
        let hash = varied.plan.config_hash();
        assert!(
            places.iter().all(|place| place.drawn_from.as_ref().is_some_and(|from| from.config_hash == hash))
        );
        let layouts: Vec<Layout> = places.iter().filter_map(|place| place.layout).collect();
        assert!(layouts.chunks(2).all(|both| (both[0].turn, both[1].turn) == (0, 1)));
        let sizes: BTreeSet<u32> = layouts.iter().map(|layout| layout.environment_bytes).collect();
        assert!(sizes.len() > 70 && sizes.iter().all(|bytes| *bytes < MOST_ENVIRONMENT), "{sizes:?}");
    }

    #[test]
    fn with_one_seed_all_pairs_are_the_same_work() {
        let same = PairPlan { vary_seed: false, ..pair(&["sage", "ray"], false, 9) };
        assert!((0..9).all(|pair| same.plan_of(pair).config_hash() == same.plan.config_hash()));
        assert!(same.steps().iter().all(|step| same.place_of(step).drawn_from.is_none()));
        let one = pair(&["sage", "ray"], false, 1);
        assert_eq!(
            one.place_of(&one.steps()[0]).drawn_from,
            None,
            "a single pair has the seed that was given"
        );
    }

    #[test]
    fn one_backend_against_itself_has_two_arms_and_a_folder_for_each_run() {
        let steps = pair(&["sage"], true, 5).steps();
        let indexes: BTreeSet<u32> = steps.iter().map(Step::repeat_index).collect();
        assert_eq!((steps.len(), indexes.len()), (10, 10));
    }

    /// A pair that may end early, of which so many pairs were run, the first backend with these speeds to the other's 100.
    fn watched(dir: &Path, speeds: &[f64]) -> (Tree, PairPlan) {
        let tree = Tree::new(dir, "r", "0123456789abcdef");
        let plan = PairPlan { until_known: true, ..pair(&["ray", "sage"], false, 60) };
        tree.begin(&plan).unwrap();
        let records = paired(&[("ray", speeds), ("sage", &vec![100.0; speeds.len()])]);
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
        let lines = concat!(
            "{\"extra\":{\"pair_index\":0,\"arm\":\"a\",\"partial\":true}}\n",
            "{\"success_rate\":0.0,\"extra\":{\"pair_index\":0,\"arm\":\"a\"}}\n",
            "{\"extra\":{\"pair_index\":0,\"arm\":\"b\"}}\n{\"extra\":{\"pair_in",
        );
        fs::write(tree.backend("sage").join(jsonl::FILE_NAME), lines).unwrap();
        let all = Pair { tree: &tree, plan: &pair, until: None };
        let finished: Vec<_> = pair.steps().iter().map(|step| (step.arm, all.is_finished(step))).collect();
        assert!(finished.contains(&(Some('a'), false)) && finished.contains(&(Some('b'), true)));
        assert!(Tree::find(dir.path(), "other").unwrap().is_none());
    }
}
