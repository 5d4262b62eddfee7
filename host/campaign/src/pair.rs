//! Several backends on the same work, in turns.
//!
//! Repeats alternate between backends in a seeded random order, so that a machine that slows down
//! slows all of them. `plan.json` is written first and holds everything that a resumed pair needs;
//! a run is finished when its backend's results hold its record, so nothing else has to be kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use bench_measure::plan::Plan;
use bench_record::canonical_json::short;
use bench_record::evidence::{Evidence, Place};
use bench_record::pair::{FAILURE_NAME, FailureReport, MANIFEST_NAME, PairConfig, PairManifest};
use bench_record::time::UtcTime;
use bench_record::{self as results, OutputLock, atomic, bom, csv, folder, jsonl};

/// Everything a pair is, in `plan.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PairPlan {
    pub run_id: String,
    pub config_hash: String,
    pub started_at: UtcTime,
    pub backends: Vec<String>,
    /// One backend against itself.
    pub aa: bool,
    pub plan: Plan,
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

/// One run of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub backend: String,
    pub pair_index: u32,
    /// `a` or `b` of a backend against itself.
    pub arm: Option<char>,
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
        Place { pair_index: Some(self.pair_index.into()), arm, ..Place::default() }
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
            let mut random =
                bench_measure::workloads::random::stream(self.plan.seed, "pair order", u64::from(pair_index));
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last as u32 + 1) as usize);
            }
            order.into_iter().map(move |(name, arm)| Step { backend: name.clone(), pair_index, arm })
        };
        (0..self.plan.repeat).flat_map(of_pair).collect()
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

/// The folder of a pair.
#[derive(Debug, Clone)]
pub struct Tree(PathBuf);

/// What a step came to, for its log.
#[derive(Debug)]
pub struct Outcome<'a> {
    pub run_log: &'a Path,
    /// The error, or nothing.
    pub stderr: &'a str,
    pub code: u8,
}

impl Tree {
    /// `run_id=…/config_hash=…` below `root`.
    #[must_use]
    pub fn new(root: &Path, run_id: &str, config_hash: &str) -> Self {
        let hash = format!("config_hash={}", short(config_hash));
        Self(root.join(format!("run_id={run_id}")).join(hash))
    }

    /// The folder of an earlier pair: the only one of its id that has a `plan.json`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn find(root: &Path, run_id: &str) -> results::Result<Option<Self>> {
        let folder = root.join(format!("run_id={run_id}"));
        let entries = match fs::read_dir(&folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(results::Error::io("list", &folder))?,
        };
        let mut trees: Vec<Self> = entries.flatten().map(|entry| Self(entry.path())).collect();
        trees.retain(|tree| tree.plan_file().is_file());
        trees.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(if trees.len() == 1 { trees.pop() } else { None })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    fn plan_file(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// Whether a pair was begun here.
    #[must_use]
    pub fn has_plan(&self) -> bool {
        self.plan_file().is_file()
    }

    /// All results.
    #[must_use]
    pub fn backends(&self) -> PathBuf {
        self.0.join("backends")
    }

    /// One backend's results.
    #[must_use]
    pub fn backend(&self, name: &str) -> PathBuf {
        self.backends().join(name)
    }

    #[must_use]
    pub fn comparison(&self) -> PathBuf {
        self.0.join("comparison")
    }

    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.0.join(MANIFEST_NAME)
    }

    #[must_use]
    pub fn failure_report(&self) -> PathBuf {
        self.0.join(FAILURE_NAME)
    }

    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// Whether nobody else is at work here and results can be added to `folders`; see [`folder::check`]. A tree
    /// that is not there is not made.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check(&self, mut folders: impl Iterator<Item = PathBuf>) -> results::Result<()> {
        folder::check(&self.0, std::time::Duration::ZERO)?;
        folders.try_for_each(|folder| folder::check(&folder, results::lock::DEFAULT_WAIT))
    }

    /// Makes the folders and keeps the plan.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn begin(&self, plan: &impl Serialize) -> results::Result<()> {
        for folder in [self.backends(), self.logs()] {
            fs::create_dir_all(&folder).map_err(results::Error::io("create", &folder))?;
        }
        atomic::write_json(&self.plan_file(), plan)
    }

    /// The plan that was kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn plan<P: DeserializeOwned>(&self) -> results::Result<P> {
        read_json(&self.plan_file())
    }

    /// Keeps other pairs out of the folder until it is dropped, and clears what a killed one left half
    /// written. Results folders have locks of their own, which do the same.
    ///
    /// # Errors
    /// When another holds it.
    pub fn lock(&self) -> results::Result<OutputLock> {
        let lock = OutputLock::acquire(&self.0, std::time::Duration::ZERO)?;
        clear(&self.0);
        Ok(lock)
    }

    /// Whether a step's record is there. One that was cut short does not count.
    #[must_use]
    pub fn is_finished(&self, step: &Step) -> bool {
        let expected = step.place();
        self.has_record(&step.backend, |place| {
            (place.pair_index, &place.arm) == (expected.pair_index, &expected.arm)
        })
    }

    /// Whether a backend has a whole record, with answers, at the place that is wanted.
    pub fn has_record(&self, backend: &str, wanted: impl Fn(&Place) -> bool) -> bool {
        let text = fs::read(self.backend(backend).join(jsonl::FILE_NAME)).unwrap_or_default();
        let answered = |record: &Value| record["success_rate"].as_f64() != Some(0.0);
        let is_it = |record: Value| {
            let evidence = record["extra"].as_object().map(Evidence::of).unwrap_or_default();
            wanted(&evidence.place) && !evidence.partial && answered(&record)
        };
        text.split(|byte| *byte == b'\n').filter_map(|line| bom::json(line).ok()).any(is_it)
    }

    /// Adds a section to the log of `name`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn log(
        &self,
        name: &str,
        command: &str,
        stdout: &str,
        stderr: &str,
        code: u8,
    ) -> results::Result<()> {
        let path = self.logs().join(format!("{name}.log"));
        let end = |text: &str| if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let (out, err) = (end(stdout), end(stderr));
        let section = format!(
            "$ {command}\n\n[stdout]\n{stdout}{out}\n[stderr]\n{stderr}{err}\n[returncode] {code}\n\n"
        );
        let file = File::options().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(section.as_bytes()))
            .map_err(results::Error::io("write", &path))
    }

    /// Adds a run to its backend's log.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn log_step(&self, plan: &PairPlan, step: &Step, outcome: &Outcome) -> results::Result<()> {
        let arm = step.arm.map_or(String::new(), |arm| format!(", arm {arm}"));
        let place = format!("{} {}/{}{arm}", step.backend, step.pair_index + 1, plan.plan.repeat);
        let text = fs::read(outcome.run_log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let command = format!("{}  # {place}", plan.command);
        self.log(&step.backend, &command, &text, outcome.stderr, outcome.code)
    }

    /// Makes each CSV anew: a pair that was killed may have left one behind its JSONL.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn mend(&self, plan: &PairPlan) -> results::Result<()> {
        let folders = plan.backends.iter().map(|name| self.backend(name));
        for folder in folders.filter(|folder| folder.join(jsonl::FILE_NAME).is_file()) {
            let lock = OutputLock::acquire(&folder, results::lock::DEFAULT_WAIT)?;
            csv::regenerate(&lock)?;
        }
        Ok(())
    }

    /// Writes `manifest.json`, and takes away the report of an earlier failure.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn succeed(&self, plan: &PairPlan) -> results::Result<Value> {
        let shown = |path: PathBuf| path.display().to_string();
        let mut paths = BTreeMap::from([
            ("summary".to_owned(), shown(self.comparison().join("summary.md"))),
            ("comparison_csv".to_owned(), shown(self.comparison().join("comparison.csv"))),
            ("compare_log".to_owned(), shown(self.logs().join("compare.log"))),
        ]);
        for name in &plan.backends {
            for (ending, file) in [("csv", csv::FILE_NAME), ("jsonl", jsonl::FILE_NAME)] {
                paths.insert(format!("{name}_{ending}"), shown(self.backend(name).join(file)));
            }
        }
        let manifest = PairManifest {
            status: "success",
            started_at: plan.started_at,
            finished_at: UtcTime::now(),
            run_id: plan.run_id.clone(),
            config_hash: plan.config_hash.clone(),
            config: plan.config(),
            paths,
        };
        atomic::write_json(&self.manifest(), &manifest)?;
        remove(&self.failure_report())?;
        Ok(serde_json::to_value(manifest)?)
    }

    /// Writes `failure_report.json` instead: what each backend in `errors` failed of, or, without any,
    /// that the user stopped the pair. `resume` is the command that continues it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn fail(
        &self,
        plan: &PairPlan,
        errors: &BTreeMap<String, String>,
        interrupted: bool,
        resume: String,
    ) -> results::Result<()> {
        let mut error: Vec<String> = errors.iter().map(|(who, error)| format!("{who}: {error}")).collect();
        if interrupted {
            let steps = plan.steps();
            let finished = steps.iter().filter(|step| self.is_finished(step)).count();
            error.push(format!("interrupted after {finished} of {} runs", steps.len()));
        }
        let report = FailureReport {
            status: if interrupted { "interrupted" } else { "failed" },
            started_at: plan.started_at,
            failed_at: UtcTime::now(),
            run_id: plan.run_id.clone(),
            config_hash: plan.config_hash.clone(),
            config: plan.config(),
            error: error.join("\n"),
            failed: errors.keys().cloned().collect(),
            logs_dir: self.logs().display().to_string(),
            resume,
        };
        remove(&self.manifest())?;
        atomic::write_json(&self.failure_report(), &report)
    }
}

/// Removes what was half written, in all folders. What a killed or failed run left whole stays: its log says why.
fn clear(folder: &Path) {
    atomic::remove_leftovers(folder, |_| true);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path());
        }
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

fn read_json<T: DeserializeOwned>(path: &Path) -> results::Result<T> {
    let bytes = fs::read(path).map_err(results::Error::io("read", path))?;
    Ok(bom::json(&bytes)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use bench_measure::plan::example as plan;

    fn pair(backends: &[&str], aa: bool, repeat: u32) -> PairPlan {
        PairPlan {
            run_id: "r".into(),
            config_hash: "0123456789abcdef".into(),
            started_at: UtcTime::now(),
            backends: backends.iter().map(|name| (*name).to_owned()).collect(),
            aa,
            plan: Plan { repeat, ..plan() },
            memory_limit: None,
            backend_options: Vec::new(),
            plugins_dir: Vec::new(),
            no_user_plugins: true,
            only_trusted: false,
            command: "bench pair".into(),
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
    fn one_backend_against_itself_has_two_arms_and_a_folder_for_each_run() {
        let steps = pair(&["sage"], true, 5).steps();
        let indexes: BTreeSet<u32> = steps.iter().map(Step::repeat_index).collect();
        assert_eq!((steps.len(), indexes.len()), (10, 10));
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
        let finished: Vec<_> = pair.steps().iter().map(|step| (step.arm, tree.is_finished(step))).collect();
        assert!(finished.contains(&(Some('a'), false)) && finished.contains(&(Some('b'), true)));
        assert!(Tree::find(dir.path(), "other").unwrap().is_none());
    }
}
