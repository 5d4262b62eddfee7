//! Applies the statistics to what was read.
//!
//! Throughput is the main metric: its comparisons of one setting share one error rate by Holm's
//! correction. Each latency percentile is a family of its own. A comparison is only ranked if
//! nothing stands in its way, and what does stand in its way is the answer then.

use super::Options;
use super::describe::needs_items;
use super::equality::Equality;
use super::facts::Metric;
use super::model::{Collected, Group, Pairs};
use bench_stats::paired::{self, Effect};
use bench_stats::verdict::{self, Question, Verdict};
use bench_stats::{Interval, holm, sequential, signed_rank, unpaired};

/// Two backends and one metric in one setting.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// Index into [`Collected::settings`].
    pub setting: usize,
    /// Which metric.
    pub metric: Metric,
    /// The backend that the verdict is about.
    pub first: String,
    /// The one it is compared with.
    pub second: String,
    /// Whether runs were compared in pairs.
    pub paired: bool,
    /// Pairs, or runs of the smaller group.
    pub pairs: u64,
    /// Geometric mean of first over second.
    pub ratio: Option<f64>,
    /// Interval of the ratio.
    pub ratio_interval: Option<Interval>,
    /// Whether pairs were added until the verdict was known: interval and p-values then hold at every look.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub until_known: bool,
    /// Two-sided p-value of the exact test.
    pub p: Option<f64>,
    /// The same after Holm's correction.
    pub adjusted_p: Option<f64>,
    /// Wilcoxon's signed-rank p-value, for pairs.
    pub wilcoxon_p: Option<f64>,
    /// What may be said.
    pub ranking: Ranking,
}

/// A verdict, or why there is none.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// The numbers speak.
    Verdict(Verdict),
    /// The backends gave different answers.
    AnswersDiffer,
    /// No setting was run on both.
    NoCommonSetting,
    /// All runs of a side are INVALID or did not finish.
    NoValidRuns,
    /// One of them has no such measurement.
    NotMeasured,
    /// Runs are too short for this percentile.
    NeedsItems(u64),
}

/// Every pair of backends, metric and setting.
pub fn comparisons(collected: &Collected, equality: &[Equality], options: &Options) -> Vec<Comparison> {
    let mut all = Vec::new();
    for setting in 0..collected.settings.len() {
        let groups: Vec<&Group> = collected.groups_of(setting).collect();
        let equality = equality.iter().find(|equality| equality.setting == setting);
        for metric in Metric::JUDGED {
            let mut family = Vec::new();
            for (place, first) in groups.iter().enumerate() {
                for second in &groups[place + 1..] {
                    let pairs = find_pairs(collected, first, second);
                    family.push(compare(first, second, pairs, metric, equality, options));
                }
            }
            correct(&mut family, options);
            all.extend(family.into_iter().map(|(comparison, _)| comparison));
        }
    }
    all.extend(without_common_setting(collected));
    all
}

fn find_pairs<'a>(collected: &'a Collected, first: &Group, second: &Group) -> Option<&'a Pairs> {
    let is_theirs =
        |p: &&Pairs| p.setting == first.setting && p.first == first.backend && p.second == second.backend;
    collected.pairs.iter().find(is_theirs)
}

type Judged = (Comparison, Option<Effect>);

fn compare(
    first: &Group,
    second: &Group,
    pairs: Option<&Pairs>,
    metric: Metric,
    equality: Option<&Equality>,
    options: &Options,
) -> Judged {
    let (a, b) = (first.sample(metric), second.sample(metric));
    let log_ratios = pairs.map(|pairs| &pairs.log_ratios[metric as usize]).filter(|list| !list.is_empty());
    let logs = |values: &[f64]| values.iter().filter(|v| **v > 0.0).map(|v| v.ln()).collect::<Vec<f64>>();
    let until_known = pairs.is_some_and(|pairs| pairs.until_known);
    let effect = match log_ratios {
        Some(list) if until_known => sequential::effect(list, options.alpha),
        Some(list) => paired::effect(list, options.alpha, options.seed),
        None => unpaired::effect(&logs(a.values()), &logs(b.values()), options.alpha, options.seed),
    };
    let obstacle = if equality.is_some_and(|e| !e.allows(&first.backend, &second.backend)) {
        Some(Ranking::AnswersDiffer)
    } else if a.count() == 0 || b.count() == 0 {
        let unusable = [first, second].iter().any(|g| g.sample(Metric::Throughput).count() == 0);
        Some(if unusable { Ranking::NoValidRuns } else { Ranking::NotMeasured })
    } else if effect.is_none() {
        Some(Ranking::NotMeasured)
    } else {
        needs_items(&[first, second], metric).map(Ranking::NeedsItems)
    };
    let comparison = Comparison {
        setting: first.setting,
        metric,
        first: first.backend.clone(),
        second: second.backend.clone(),
        paired: log_ratios.is_some(),
        pairs: log_ratios.map_or(a.count().min(b.count()), |list| list.len() as u64),
        ratio: effect.map(|effect| effect.mean.exp()),
        ratio_interval: effect.and_then(|effect| effect.interval).map(|i| i.map(f64::exp)),
        until_known,
        p: effect.map(|effect| effect.p),
        adjusted_p: None,
        wilcoxon_p: log_ratios.and_then(|list| signed_rank::p_value(list)),
        ranking: obstacle.unwrap_or(Ranking::NotMeasured),
    };
    let ranked = !is_obstructed(&comparison, &effect);
    (comparison, effect.filter(|_| ranked))
}

/// [`compare`] leaves `NotMeasured` where the correction has yet to give the verdict.
fn is_obstructed(comparison: &Comparison, effect: &Option<Effect>) -> bool {
    effect.is_none() || comparison.ranking != Ranking::NotMeasured
}

/// Holm's correction over those of a family that can be ranked, and then the verdicts.
fn correct(family: &mut [Judged], options: &Options) {
    let p_values: Vec<f64> = family.iter().filter_map(|(_, effect)| effect.map(|effect| effect.p)).collect();
    let comparisons = p_values.len();
    let mut adjusted = holm::adjust(&p_values).into_iter();
    for (comparison, effect) in family {
        let Some(effect) = effect else { continue };
        let Some(adjusted_p) = adjusted.next() else { continue };
        let question = Question {
            alpha: options.alpha,
            margin: options.margin,
            comparisons,
            higher_is_better: comparison.metric.higher_is_better(),
        };
        comparison.adjusted_p = Some(adjusted_p);
        comparison.ranking =
            Ranking::Verdict(verdict::judge(effect, adjusted_p, comparison.pairs, &question));
    }
}

/// Workloads that several backends ran, though never in the same setting.
fn without_common_setting(collected: &Collected) -> Vec<Comparison> {
    let mut found = Vec::new();
    for workload in &collected.workloads {
        let here = |group: &&Group| collected.settings[group.setting].workload == *workload;
        let groups: Vec<&Group> = collected.groups.iter().filter(here).collect();
        let shared = |g: &&Group| collected.groups_of(g.setting).count() > 1;
        let Some(first) = groups.first().filter(|_| !groups.iter().any(shared)) else { continue };
        if let Some(second) = groups.iter().find(|group| group.backend != first.backend) {
            found.push(Comparison {
                setting: first.setting,
                metric: Metric::Throughput,
                first: first.backend.clone(),
                second: second.backend.clone(),
                paired: false,
                pairs: 0,
                ratio: None,
                ratio_interval: None,
                until_known: false,
                p: None,
                adjusted_p: None,
                wilcoxon_p: None,
                ranking: Ranking::NoCommonSetting,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{collected, paired, record};
    use crate::{Summary, summarize};
    use serde_json::{Value, json};

    fn summary(records: &[Value]) -> Summary {
        summarize(collected(records), &Options::default())
    }

    fn throughput(summary: &Summary) -> Vec<&Comparison> {
        summary.comparisons.iter().filter(|c| c.metric == Metric::Throughput).collect()
    }

    const SLOW: [f64; 8] = [100.0, 101.0, 99.0, 100.5, 98.0, 102.0, 100.0, 99.5];
    const FAST: [f64; 8] = [120.0, 122.0, 118.0, 121.0, 119.0, 120.5, 121.5, 118.5];

    #[test]
    fn a_faster_backend_is_named_with_its_gain_and_interval() {
        let summary = summary(&paired(&[("ray", &SLOW), ("sage", &FAST)]));
        let comparison = throughput(&summary)[0];
        assert!(comparison.paired && comparison.pairs == 8);
        assert_eq!(comparison.p, Some(2.0 / 256.0));
        let interval = comparison.ratio_interval.unwrap();
        assert!(interval.contains(comparison.ratio.unwrap()) && !interval.contains(1.0));
        let Ranking::Verdict(Verdict::SlowerBy { share }) = comparison.ranking else {
            panic!("{comparison:?}")
        };
        assert!((share - 0.168).abs() < 0.01, "{share}");
    }

    #[test]
    fn pairs_that_went_on_until_it_was_known_are_judged_by_what_holds_at_every_look() {
        let mut records = paired(&[("ray", &SLOW), ("sage", &FAST)]);
        let fixed = throughput(&summary(&records))[0].clone();
        records.iter_mut().for_each(|record| record["extra"]["until_known"] = json!(true));
        let summary = summary(&records);
        let watched = throughput(&summary)[0];
        assert!(watched.until_known && !fixed.until_known);
        assert!(watched.p > fixed.p && watched.p < Some(0.05), "{watched:?}");
        assert!(matches!(watched.ranking, Ranking::Verdict(Verdict::SlowerBy { .. })), "{watched:?}");
        let (fixed, watched) = (fixed.ratio_interval.unwrap(), watched.ratio_interval.unwrap());
        assert!(fixed.within(watched), "{watched:?}");
    }

    #[test]
    fn cpu_time_and_energy_of_a_million_items_have_verdicts_of_their_own() {
        let mut records = paired(&[("ray", &SLOW), ("sage", &SLOW)]);
        for (record, throughput) in records.iter_mut().zip(SLOW.iter().chain(&SLOW)) {
            let sage = record["backend"] == "sage";
            record["extra"]["cpu_seconds"] = json!(if sage { 100.0 } else { 150.0 } / throughput);
            record["extra"]["energy_joules"] = json!(if sage { 900.0 } else { 600.0 } / throughput);
            record["extra"]["items"] = json!({"timed": 400, "completed": 500});
        }
        let summary = summary(&records);
        let cpu = summary.comparisons.iter().find(|c| c.metric == Metric::CpuPerMillion).unwrap();
        assert!((cpu.ratio.unwrap() - 1.5).abs() < 1e-9 && cpu.pairs == 8, "{cpu:?}");
        let Ranking::Verdict(Verdict::SlowerBy { share }) = cpu.ranking else { panic!("{cpu:?}") };
        assert!((share - 0.5).abs() < 1e-9, "ray takes half as much again: {share}");
        let mean = |metric: Metric| summary.collected.totals[1].metrics[metric as usize].mean().unwrap();
        assert!((mean(Metric::CpuPerMillion) - 2000.0).abs() < 30.0, "of those that were completed");
        let energy = summary.comparisons.iter().find(|c| c.metric == Metric::EnergyPerMillion).unwrap();
        assert!(matches!(energy.ranking, Ranking::Verdict(Verdict::FasterBy { .. })), "{energy:?}");
        assert!((mean(Metric::EnergyPerMillion) - 22_500.0).abs() < 400.0, "of those that were timed");
        assert!(!matches!(throughput(&summary)[0].ranking, Ranking::Verdict(Verdict::SlowerBy { .. })));
    }

    #[test]
    fn several_comparisons_are_corrected() {
        let summary = summary(&paired(&[("a", &SLOW), ("b", &FAST), ("c", &SLOW.map(|v| v * 1.1))]));
        let all = throughput(&summary);
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|c| c.adjusted_p.unwrap() >= c.p.unwrap()));
        assert!(all.iter().any(|c| c.adjusted_p.unwrap() > c.p.unwrap()));
    }

    #[test]
    fn backends_with_other_answers_are_not_ranked() {
        let mut records = paired(&[("ray", &SLOW), ("sage", &FAST)]);
        records.iter_mut().take(8).for_each(|r| r["extra"]["output_digest"] = json!("other"));
        assert!(summary(&records).comparisons.iter().all(|c| c.ranking == Ranking::AnswersDiffer));
    }

    #[test]
    fn a_percentile_of_too_few_items_is_not_ranked() {
        let mut records = paired(&[("ray", &SLOW), ("sage", &FAST)]);
        records.iter_mut().for_each(|r| r["latency_p99"] = json!(9.0));
        records[3]["extra"]["items"]["timed"] = json!(100);
        let summary = summary(&records);
        let p99 = summary.comparisons.iter().find(|c| c.metric == Metric::LatencyP99).unwrap();
        assert_eq!(p99.ranking, Ranking::NeedsItems(199));
    }

    #[test]
    fn separate_runs_are_compared_without_pairs() {
        let mut records = paired(&[("ray", &SLOW), ("sage", &FAST)]);
        for record in &mut records {
            record["run_id"] = record["backend"].clone();
        }
        let summary = summary(&records);
        let comparison = throughput(&summary)[0];
        assert!(!comparison.paired);
        assert!(matches!(comparison.ranking, Ranking::Verdict(Verdict::SlowerBy { .. })), "{comparison:?}");
    }

    #[test]
    fn backends_without_a_common_setting_are_not_ranked() {
        let mut other = record("sage", "2", 1);
        other["config_hash"] = json!("ffff");
        let summary = summary(&[record("ray", "1", 0), other]);
        assert_eq!(summary.comparisons[0].ranking, Ranking::NoCommonSetting);
    }

    #[test]
    fn only_invalid_runs_decide_nothing() {
        let mut records = paired(&[("ray", &SLOW), ("sage", &FAST)]);
        records.iter_mut().take(8).for_each(|r| r["extra"]["validity"] = json!({"verdict": "INVALID"}));
        assert_eq!(throughput(&summary(&records))[0].ranking, Ranking::NoValidRuns);
    }
}
