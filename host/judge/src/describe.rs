//! What can be said of one backend alone: how fast, how steady, and which runs stand apart.
//!
//! None of this needs a second backend, so it is there even when nothing may be ranked.

use super::facts::Metric;
use super::model::{Collected, Group, Run};
use super::{Options, cause};
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
    /// What the validity check found in this run alone, if it explains the value.
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

/// Runs that stand apart in throughput or p95 latency: each run once, with the metric in which it does so
/// most. They are fewer than half of their group: without a majority there is nothing to stand apart from.
pub fn outliers(collected: &Collected) -> Vec<Outlier> {
    let mut found = Vec::new();
    for group in &collected.groups {
        let runs = collected.runs_of(group.setting, &group.backend).filter(|run| run.answered());
        let runs: Vec<&Run> = runs.collect();
        let mut apart: Vec<(usize, Apart)> = Vec::new();
        for (at, one) in
            [Metric::Throughput, Metric::LatencyP95].into_iter().flat_map(|m| standing_apart(&runs, m))
        {
            match apart.iter_mut().find(|(known, _)| *known == at) {
                Some((_, known)) if known.beyond < one.beyond => *known = one,
                Some(_) => {}
                None => apart.push((at, one)),
            }
        }
        if apart.len() * 2 >= runs.len() {
            continue;
        }
        let usual: Vec<&Run> = runs
            .iter()
            .enumerate()
            .filter(|(at, _)| apart.iter().all(|(other, _)| other != at))
            .map(|(_, run)| *run)
            .collect();
        found.extend(apart.into_iter().map(|(at, Apart { metric, median, score, .. })| {
            let run = runs[at];
            let value = run.metrics[metric as usize];
            let worse = (value < median) == metric.higher_is_better();
            Outlier {
                setting: group.setting,
                backend: group.backend.clone(),
                run_id: run.run_id.clone(),
                repeat: run.evidence.place.pair_index.or(run.evidence.repeat_index),
                metric,
                value,
                median,
                score,
                cause: cause::of(run, worse, &usual),
            }
        }));
    }
    found
}

/// How far a run is from its group.
struct Apart {
    metric: Metric,
    median: f64,
    score: f64,
    /// The score as a multiple of what is allowed.
    beyond: f64,
}

/// Those of some runs that stand apart in one metric, by their place.
fn standing_apart(runs: &[&Run], metric: Metric) -> Vec<(usize, Apart)> {
    let values = runs.iter().map(|run| run.metrics[metric as usize]).enumerate();
    let (places, values): (Vec<usize>, Vec<f64>) = values.filter(|(_, value)| !value.is_nan()).unzip();
    let (Some(list), Some(median)) = (scores::scores(&values), scores::median(&values)) else {
        return Vec::new();
    };
    let limit = scores::limit(values.len());
    let all = places
        .into_iter()
        .zip(list)
        .map(|(at, score)| (at, Apart { metric, median, score, beyond: score.abs() / limit }));
    all.filter(|(_, apart)| apart.beyond > 1.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{collected, paired};
    use serde_json::json;

    const STEADY: [f64; 8] = [100.0, 101.0, 99.0, 50.0, 98.0, 102.0, 100.0, 99.5];

    #[test]
    fn an_outlier_carries_its_known_cause() {
        let mut records = paired(&[("ray", &STEADY)]);
        records[3]["extra"]["validity"] = json!({"verdict": "INVALID", "findings": [
            {"code": "failed_items", "message": "12 of 400 items failed", "mend": ""}]});
        let outliers = outliers(&collected(&records));
        assert_eq!((outliers.len(), outliers[0].repeat), (1, Some(3)));
        assert_eq!(outliers[0].cause.as_deref(), Some("12 of 400 items failed"));
    }

    #[test]
    fn a_run_is_one_outlier_however_many_metrics_say_so() {
        let mut records = paired(&[("ray", &STEADY)]);
        for (record, p95) in records.iter_mut().zip([10.0, 10.1, 10.2, 900.0, 9.9, 10.3, 10.0, 9.8]) {
            record["latency_p95"] = json!(p95);
        }
        let outliers = outliers(&collected(&records));
        assert_eq!(outliers.len(), 1);
        assert_eq!(outliers[0].metric, Metric::LatencyP95, "it stands out most there: {outliers:?}");
    }

    #[test]
    fn half_of_the_runs_are_no_outliers() {
        // Two of six by throughput and two others by latency: whom would they stand apart from?
        let mut records = paired(&[("ray", &[100.0, 100.1, 100.2, 100.3, 20.0, 10.0])]);
        for (record, p95) in records.iter_mut().zip([900.0, 800.0, 10.0, 10.1, 10.2, 10.3]) {
            record["latency_p95"] = json!(p95);
        }
        assert_eq!(outliers(&collected(&records)), []);
    }
}
