//! Are these backends comparable, did they give the same answers, and which was faster?
//!
//! In that order, because each question only makes sense after the one before. [`load`] hands over
//! every run once and in order; [`collect`] keeps what fits in memory whatever the number of runs;
//! [`mismatch`] and [`equality`] say what stands in the way; [`describe`] and [`judge`] say what the numbers allow
//! to claim, by the methods in [`bench_stats`]. The result is one [`Summary`] that every report prints.
//!
//! `bench verify` ([`verify`]) and `bench gate` ([`gate`]) ask the same questions of two results.

#![forbid(unsafe_code)]

pub mod audit;
pub mod capacity;
mod cause;
mod cells;
pub mod checklist;
mod collect;
pub mod describe;
pub mod equality;
mod error;
pub mod facts;
pub mod gate;
pub mod judge;
pub mod kept;
mod key;
pub mod latency;
pub mod load;
pub mod mismatch;
pub mod model;
pub mod recovery;
mod row;
pub mod scaling;
pub mod soak;
mod sort;
pub mod sources;
#[doc(hidden)]
pub mod testing;
pub mod variance;
pub mod verify;

use std::path::{Path, PathBuf};

/// The methods, for whoever shows what they came to.
pub use bench_stats as stats;
pub use error::{Error, Result};
pub use facts::Metric;
pub use model::Collected;

use bench_record as record;

/// What a comparison may be asked to do differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Accepted chance of a false claim, over all comparisons of one metric in one setting.
    pub alpha: f64,
    /// Differences below this share count as none.
    pub margin: f64,
    /// Lets runs that were judged INVALID take part.
    pub include_invalid: bool,
    /// Seed of the bootstrap and of drawn permutations.
    pub seed: u64,
    /// What an hour of a core costs, in whatever currency.
    pub price: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Options { alpha: 0.05, margin: 0.05, include_invalid: false, seed: 42, price: None }
    }
}

/// Everything a report has to say.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What was read.
    pub collected: Collected,
    /// What was asked.
    pub options: Options,
    /// Per setting, whether the backends gave the same answers.
    pub equality: Vec<equality::Equality>,
    /// Mean, spread and interval of every group's metrics.
    pub estimates: Vec<describe::Estimate>,
    /// Which backend was faster, as far as that can be said.
    pub comparisons: Vec<judge::Comparison>,
    /// Where the variance of throughput arises.
    pub variances: Vec<variance::Variance>,
    /// Runs that stand apart.
    pub outliers: Vec<describe::Outlier>,
    /// Pooled latencies of each group, with percentiles that they support.
    pub latencies: Vec<latency::Latencies>,
    /// Files beside the records that are no longer what the runs wrote.
    pub altered: Vec<kept::Altered>,
    /// The files that were written, relative to the output directory.
    pub artifacts: Vec<String>,
}

/// Reads one line of a results file as a comparison does; for fuzzing.
///
/// # Errors
/// When it holds no record.
#[doc(hidden)]
pub fn try_line(line: &[u8]) -> record::Result<()> {
    let place = row::Place { source: 0, name: "", is_csv: false, offset: 0 };
    row::Parsed::default().read(line, place).map(drop)
}

impl Summary {
    /// Whether anything was found that makes some comparison impossible.
    pub fn is_clean(&self) -> bool {
        self.altered.is_empty()
            && self.collected.mismatches.is_empty()
            && self.equality.iter().all(|e| !e.differs())
    }
}

/// Reads all results under `paths` and hands over the finished rows of `comparison.csv`, in order.
/// `scratch` is a folder for what does not fit in memory.
///
/// # Errors
/// When there are no results, one cannot be read, or a row is not taken.
pub fn collect_rows(
    paths: &[PathBuf],
    scratch: &Path,
    options: &Options,
    mut row: impl FnMut(&[u8]) -> record::Result<()>,
) -> Result<Collected> {
    let sources = sources::find(paths)?;
    let mut collector = collect::Collector::new(&sources, options);
    let counts = load::for_each(&sources, scratch, |entry| {
        row(entry.row)?;
        collector.take(entry)
    })?;
    complete(collector, counts, paths)
}

/// Reads all results under `paths` and writes nothing.
pub fn collect(paths: &[PathBuf], options: &Options) -> Result<Collected> {
    collect_rows(paths, &std::env::temp_dir(), options, |_| Ok(()))
}

/// Judges what was read.
pub fn summarize(collected: Collected, options: &Options) -> Summary {
    let equality = equality::check(&collected);
    let estimates = describe::estimates(&collected, options);
    let comparisons = judge::comparisons(&collected, &equality, options);
    let variances = variance::split(&collected, &comparisons, options.include_invalid);
    let outliers = describe::outliers(&collected);
    let altered = kept::altered(&collected);
    let latencies = latency::pooled(&collected, &altered);
    let options = options.clone();
    Summary {
        collected,
        options,
        equality,
        estimates,
        comparisons,
        variances,
        outliers,
        latencies,
        altered,
        artifacts: Vec::new(),
    }
}

fn complete(collector: collect::Collector, counts: load::Counts, paths: &[PathBuf]) -> Result<Collected> {
    let mut collected = collector.finish();
    (collected.records, collected.duplicates) = (counts.records, counts.duplicates);
    if collected.records == 0 { Err(Error::NoRecords(paths.to_vec())) } else { Ok(collected) }
}

#[cfg(test)]
mod tests {
    use super::testing::{collected, drawn, paired, record, write};
    use super::*;
    use serde_json::json;

    #[test]
    fn totals_count_every_run_of_a_backend() {
        let records = paired(&[("sage", &[10.0, 20.0]), ("ray", &[5.0])]);
        let collected = collected(&records);
        let totals: Vec<_> = collected.totals.iter().map(|t| (t.backend.as_str(), t.records)).collect();
        assert_eq!(totals, [("ray", 1), ("sage", 2)]);
        assert_eq!(collected.totals[1].metrics[0].mean(), Some(15.0));
        assert_eq!((collected.records, collected.workloads.len(), collected.settings.len()), (3, 1, 1));
    }

    #[test]
    fn pairs_come_from_their_number_or_from_a_shared_run_id() {
        let numbered = collected(&paired(&[("sage", &[20.0, 30.0]), ("ray", &[10.0, 10.0])]));
        assert_eq!(numbered.pairs[0].log_ratios[0].len(), 2);
        assert_eq!(numbered.pairs[0].first, "ray");
        assert!((numbered.pairs[0].log_ratios[0][0] - 0.5_f64.ln()).abs() < 1e-12);
        let shared =
            [record("sage", "a", 0), record("ray", "a", 1), record("sage", "b", 2), record("ray", "b", 3)];
        assert_eq!(collected(&shared).pairs[0].log_ratios[0].len(), 2);
    }

    #[test]
    fn pairs_with_seeds_of_their_own_are_one_setting_and_their_answers_are_equal_seed_by_seed() {
        let speeds: [(&str, &[f64]); 2] = [("sage", &[20.0, 30.0, 40.0]), ("ray", &[10.0, 10.0, 10.0])];
        let found = summarize(collected(&drawn(&speeds)), &Options::default());
        assert_eq!(found.collected.settings.len(), 1);
        let label = found.collected.settings[0].label();
        assert!(label.contains("seeds drawn from 42") && label.ends_with("config c0"), "{label}");
        assert_eq!(found.collected.pairs[0].log_ratios[0].len(), 3);
        assert!(found.is_clean(), "{:?}", found.collected.mismatches);
        assert_eq!(found.equality[0].outcome, equality::Outcome::Equal);
        let changed = |change: fn(&mut serde_json::Value)| {
            let mut records = drawn(&speeds);
            change(&mut records[1]);
            summarize(collected(&records), &Options::default())
        };
        // The answer to another seed is another one, and to this seed it is wrong.
        let wrong = changed(|record| record["extra"]["output_digest"] = json!("d2"));
        assert!(wrong.equality[0].differs(), "{:?}", wrong.equality);
        // Two seeds are no pair.
        let other = changed(|record| record["seed"] = json!(7));
        assert_eq!((other.collected.pairs[0].unusable, other.collected.pairs[0].log_ratios[0].len()), (1, 2));
    }

    #[test]
    fn invalid_and_partial_runs_decide_nothing() {
        let mut records = paired(&[("sage", &[20.0, 30.0]), ("ray", &[10.0, 10.0])]);
        records[0]["extra"]["validity"] = json!({"verdict": "INVALID", "findings": []});
        records[3]["extra"]["partial"] = json!(true);
        let collected = collected(&records);
        assert_eq!((collected.pairs[0].unusable, collected.pairs[0].log_ratios[0].len()), (2, 0));
        assert_eq!(collected.groups.iter().map(|g| g.sample(Metric::Throughput).count()).sum::<u64>(), 2);
    }

    #[test]
    fn runs_without_answers_are_counted_and_decide_nothing() {
        let mut records = paired(&[("sage", &[20.0, 30.0]), ("ray", &[900.0, 900.0])]);
        records.iter_mut().skip(2).for_each(|record| record["success_rate"] = json!(0.0));
        let options = Options { include_invalid: true, ..Options::default() };
        let summary = summarize(collected(&records), &options);
        let ray = summary.collected.groups.iter().find(|group| group.backend == "ray").unwrap();
        assert_eq!(
            (ray.unanswered, ray.is_unanswered(), ray.sample(Metric::Throughput).count()),
            (2, true, 0)
        );
        assert_eq!(summary.collected.totals[0].metrics[Metric::Throughput as usize].mean(), None);
        assert_eq!(summary.collected.totals[0].metrics[Metric::SuccessRate as usize].mean(), Some(0.0));
        let ranked =
            |c: &judge::Comparison| matches!(c.ranking, judge::Ranking::Verdict(_)) || c.ratio.is_some();
        assert!(!summary.comparisons.iter().any(ranked), "{:?}", summary.comparisons);
        assert_eq!(summary.equality[0].outcome, equality::Outcome::Unanswered);
        assert_eq!(summary.equality[0].backends[0], ("ray".to_owned(), Vec::new()));
    }

    #[test]
    fn one_backend_against_itself_has_two_names() {
        let mut records = paired(&[("sage", &[20.0]), ("sage", &[10.0])]);
        records[0]["extra"]["arm"] = json!("a");
        records[1]["extra"]["arm"] = json!("b");
        let pairs = collected(&records).pairs;
        assert_eq!((pairs[0].first.as_str(), pairs[0].second.as_str()), ("sage [a]", "sage [b]"));
    }

    #[test]
    fn without_records_there_is_nothing_to_compare() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[]);
        let error = collect(&[dir.path().into()], &Options::default()).unwrap_err();
        assert!(matches!(error, Error::NoRecords(_)), "{error}");
    }
}
