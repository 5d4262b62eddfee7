//! What can be said of one backend alone: how fast, how steady, and which runs stand apart.
//!
//! None of this needs a second backend, so it is there even when nothing may be ranked.

use super::Options;
use super::facts::Metric;
use super::model::{Collected, Group, Run};
use bench_stats::bootstrap::{self, RESAMPLES};
use bench_stats::support::items_needed;
use bench_stats::{self as stats, Interval, outliers as scores};

/// Mean, spread and interval of one metric of one group.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// Index into [`Collected::settings`].
    pub setting: usize,
    /// Name of the backend.
    pub backend: String,
    /// Which metric.
    pub metric: Metric,
    /// Runs that count.
    pub runs: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: Option<f64>,
    /// 95 % interval of the mean.
    pub interval: Option<Interval>,
    /// More timed items per run that this percentile needs.
    pub needs_items: Option<u64>,
}

/// A run that stands apart from the others of its group.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Outlier {
    /// Index into [`Collected::settings`].
    pub setting: usize,
    /// Name of the backend.
    pub backend: String,
    /// Identifies the execution.
    pub run_id: String,
    /// Which repeat, when known.
    pub repeat: Option<u64>,
    /// Which metric.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
    /// The group's median.
    pub median: f64,
    /// The modified z-score.
    pub score: f64,
    /// What the validity check found in this run, if anything.
    pub cause: Option<String>,
}

/// Estimates of every group and metric that was measured.
pub fn estimates(collected: &Collected, options: &Options) -> Vec<Estimate> {
    // Many groups share what one would have: precision gives way to waiting.
    const SAMPLES: usize = 300;
    let samples = (collected.groups.len() * Metric::ALL.len()).max(1);
    let resamples = (RESAMPLES * SAMPLES / samples).clamp(RESAMPLES / 8, RESAMPLES);
    let all = collected.groups.iter().flat_map(|group| Metric::ALL.map(|metric| (group, metric)));
    all.filter_map(|(group, metric)| {
        let sample = group.sample(metric);
        Some(Estimate {
            setting: group.setting,
            backend: group.backend.clone(),
            metric,
            runs: sample.count(),
            mean: sample.mean()?,
            deviation: sample.deviation(),
            interval: bootstrap::mean_interval(sample.values(), 0.95, resamples, options.seed)
                .map(|interval| around(interval, group, metric)),
            needs_items: needs_items(&[group], metric),
        })
    })
    .collect()
}

/// An interval from a reservoir is as wide as that of the reservoir; with all runs it is narrower.
fn around(interval: Interval, group: &Group, metric: Metric) -> Interval {
    let sample = group.sample(metric);
    if sample.is_complete() {
        return interval;
    }
    let narrower = (sample.values().len() as f64 / sample.count() as f64).sqrt();
    let (kept, all) = (stats::mean(sample.values()), sample.mean().unwrap_or(f64::NAN));
    interval.map(|end| all + (end - kept) * narrower)
}

/// How many more items per run the percentile needs. `None` when it is supported, is no percentile,
/// or the number of items is unknown.
pub(super) fn needs_items(groups: &[&Group], metric: Metric) -> Option<u64> {
    let needed = items_needed(metric.percentile()?, 0.95);
    let least = groups.iter().filter_map(|group| group.items).min()?;
    needed.checked_sub(least).filter(|more| *more > 0)
}

/// Runs that stand apart in throughput or p95 latency.
pub fn outliers(collected: &Collected) -> Vec<Outlier> {
    let mut found = Vec::new();
    for group in &collected.groups {
        for metric in [Metric::Throughput, Metric::LatencyP95] {
            let value = |run: &Run| run.metrics[metric as usize];
            let runs = collected.runs_of(group.setting, &group.backend);
            let runs = runs.filter(|run| run.answered() && !value(run).is_nan());
            let runs: Vec<&Run> = runs.collect();
            let values: Vec<f64> = runs.iter().map(|run| value(run)).collect();
            let (Some(list), Some(median)) = (scores::scores(&values), scores::median(&values)) else {
                continue;
            };
            let apart = runs.iter().zip(list).filter(|(_, score)| score.abs() > scores::LIMIT);
            found.extend(apart.map(|(run, score)| Outlier {
                setting: group.setting,
                backend: group.backend.clone(),
                run_id: run.run_id.clone(),
                repeat: run.extra.pair_index.or(run.extra.repeat_index),
                metric,
                value: value(run),
                median,
                score,
                cause: (!run.extra.findings.is_empty()).then(|| {
                    run.extra.findings.iter().map(|f| f.message.as_str()).collect::<Vec<_>>().join("; ")
                }),
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{collected, paired};
    use serde_json::json;

    #[test]
    fn an_outlier_carries_its_known_cause() {
        let mut values = [100.0, 101.0, 99.0, 100.5, 98.0, 102.0, 100.0, 99.5];
        values[3] = 50.0;
        let mut records = paired(&[("ray", &values)]);
        records[3]["extra"]["validity"] = json!({"verdict": "INVALID", "findings": [{"code": "steal", "message": "12 % CPU steal", "mend": ""}]});
        let outliers = outliers(&collected(&records));
        assert_eq!((outliers.len(), outliers[0].repeat), (1, Some(3)));
        assert_eq!(outliers[0].cause.as_deref(), Some("12 % CPU steal"));
    }
}
