//! What is left of all records once they were read: sums, samples, and the details of some runs.
//!
//! Its size does not depend on the number of records. Moments are running sums, samples are
//! reservoirs, texts and details have limits, and whatever went beyond a limit is counted, so that
//! a report can say so.

use std::path::PathBuf;

use super::facts::{Metric, Metrics};
use super::mismatch::Mismatches;
use super::sources::Source;
use bench_record::Evidence;
use bench_stats::sample::Sample;

/// What was run, apart from who ran it. Only runs of one setting can be ranked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Setting {
    /// Name of the workload.
    pub workload: String,
    /// Worker nodes.
    pub nodes: u32,
    /// Parallelism of each operator.
    pub parallelism: u32,
    /// Seed of every random choice.
    pub seed: u64,
    /// Fingerprint of everything that changes the work.
    pub config_hash: Option<String>,
    /// Whether each pair has a seed of its own, drawn from that one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drawn: bool,
}

impl Setting {
    /// In a few words, for a heading.
    pub fn label(&self) -> String {
        let hash =
            self.config_hash.as_deref().map_or("none".to_owned(), |hash| hash.chars().take(12).collect());
        format!(
            "{}, {} {}, parallelism {}, {} {}, config {hash}",
            self.workload,
            self.nodes,
            if self.nodes == 1 { "node" } else { "nodes" },
            self.parallelism,
            if self.drawn { "seeds drawn from" } else { "seed" },
            self.seed
        )
    }
}

/// All runs of one backend, whatever the setting: a row of the guide's summary table.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Name of the backend.
    pub backend: String,
    /// Runs read.
    pub records: u64,
    /// Of every run, one sample per metric, in the order of [`Metric::ALL`]. Where nothing was answered, speed
    /// is not one of them.
    pub metrics: [Sample; Metric::ALL.len()],
}

/// An output digest that was seen, and a run that has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    /// The digest.
    pub text: String,
    /// The seed of the runs that had it: only answers to the same input can be the same.
    pub input: u64,
    /// How many runs had it.
    pub runs: u64,
    /// Where the answers of each item of one such run are.
    pub items_file: Option<PathBuf>,
}

/// The runs of one backend in one setting.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Index into [`Collected::settings`].
    pub setting: usize,
    /// Name of the backend.
    pub backend: String,
    /// Runs read.
    pub records: u64,
    /// Runs judged INVALID.
    pub invalid: u64,
    /// Runs that did not finish.
    pub partial: u64,
    /// Finished runs in which nothing was answered, whatever else was measured.
    pub unanswered: u64,
    /// Least number of timed items of a run, when known.
    pub items: Option<u64>,
    /// Of the runs that count, one sample per metric.
    pub metrics: [Sample; Metric::ALL.len()],
    /// Distinct digests, the first few.
    pub digests: Vec<Digest>,
    /// Finished runs with answers and without a digest.
    pub without_digest: u64,
}

impl Group {
    /// Whether there is nothing in it to compare, for want of answers.
    pub fn is_unanswered(&self) -> bool {
        self.unanswered > 0 && self.digests.is_empty() && self.without_digest == 0
    }

    /// The sample of a metric.
    pub fn sample(&self, metric: Metric) -> &Sample {
        &self.metrics[metric as usize]
    }
}

/// Log-ratios of pairs of runs, first backend over second.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// Index into [`Collected::settings`].
    pub setting: usize,
    /// The first backend of each pair.
    pub first: String,
    /// The second.
    pub second: String,
    /// One list per metric of [`Metric::ALL`].
    pub log_ratios: [Vec<f64>; Metric::ALL.len()],
    /// Pairs left out since one side was INVALID or did not finish.
    pub unusable: u64,
    /// Whether some of them were added until the verdict was known.
    pub until_known: bool,
}

/// One run in full.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the backend.
    pub backend: String,
    /// Identifies the execution.
    pub run_id: String,
    /// Index into [`Collected::settings`].
    pub setting: usize,
    /// When it ended, as text.
    pub timestamp: String,
    /// What was measured.
    pub metrics: Metrics,
    /// What it found out, without its configuration and what nobody knows.
    pub evidence: Evidence,
    /// The folder that paths in its evidence start from.
    pub folder: PathBuf,
    /// The file it was read from.
    pub source: PathBuf,
}

impl Run {
    /// Whether any item was answered.
    pub fn answered(&self) -> bool {
        self.metrics[Metric::SuccessRate as usize] > 0.0
    }

    /// A file that the record names, if it stays inside the record's folder. Names come from third
    /// parties and must not lead elsewhere.
    pub fn file(&self, name: Option<&str>) -> Option<PathBuf> {
        inside(&self.folder, name?)
    }
}

/// `name` under `folder`, unless it is absolute or climbs out.
pub(crate) fn inside(folder: &std::path::Path, name: &str) -> Option<PathBuf> {
    use std::path::Component;
    let path = std::path::Path::new(name);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    (is_plain && !name.is_empty() && !name.contains('\0')).then(|| folder.join(path))
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The files.
    pub sources: Vec<Source>,
    /// Runs read, copies not counted.
    pub records: u64,
    /// Copies left out.
    pub duplicates: u64,
    /// Runs under a closed load, whose latency follows from their throughput.
    pub closed: u64,
    /// Sorted by backend.
    pub totals: Vec<Totals>,
    /// Names of the workloads, sorted.
    pub workloads: Vec<String>,
    /// Sorted.
    pub settings: Vec<Setting>,
    /// Sorted by setting, then backend.
    pub groups: Vec<Group>,
    /// Groups beyond the limit.
    pub groups_left_out: u64,
    /// Sorted by setting and the two backends.
    pub pairs: Vec<Pairs>,
    /// In the order of `comparison.csv`.
    pub runs: Vec<Run>,
    /// Runs beyond the limit, which have no details.
    pub runs_left_out: u64,
    /// Configurations that differ.
    pub mismatches: Mismatches,
}

impl Collected {
    /// The groups of one setting.
    pub fn groups_of(&self, setting: usize) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(move |group| group.setting == setting)
    }

    /// The detailed runs of one backend in one setting.
    pub fn runs_of<'a>(&'a self, setting: usize, backend: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.setting == setting && run.backend == backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn files_of_a_record_stay_inside_its_folder() {
        let folder = Path::new("results/a");
        assert_eq!(inside(folder, "items/0.csv"), Some("results/a/items/0.csv".into()));
        for bad in ["/etc/passwd", "../b/items.csv", "x/../../y", "", "a\0b"] {
            assert_eq!(inside(folder, bad), None, "{bad}");
        }
    }
}
