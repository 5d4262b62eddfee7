//! `bench gate --baseline DIR --max-regression 5%`: may this change be merged?
//!
//! A gate that cries wolf is switched off, and one that never barks is useless. So it has five
//! answers instead of two. Regression needs both: a slowdown beyond the limit, and a 95 % one-sided
//! bound that says it is one. Pass needs the opposite bound to lie below the limit. Between them is
//! "inconclusive", with the number of runs that would settle it. Wrong answers and invalid runs come
//! before any number.

use super::facts::Metric;
use super::model::{Collected, Group};
use bench_stats::support::items_needed;
use bench_stats::verdict::{Question, pairs_needed};
use bench_stats::{Interval, unpaired};

/// What the gate is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateOptions {
    /// The slowdown that is still allowed, such as 0.05.
    pub max_regression: f64,
    /// Chance of a wrong regression that is accepted, per check.
    pub alpha: f64,
    /// Seed of drawn permutations.
    pub seed: u64,
}

impl Default for GateOptions {
    fn default() -> Self {
        GateOptions { max_regression: 0.05, alpha: 0.05, seed: 42 }
    }
}

/// The answer, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateOutcome {
    /// Not slower than allowed, and that was shown.
    Pass,
    /// Neither was shown.
    Inconclusive,
    /// Slower than allowed, and that was shown.
    Regression,
    /// The measurements cannot be trusted.
    Invalid,
    /// The work or its answers are not those of the baseline.
    Mismatch,
}

/// One backend and metric in one setting.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Check {
    /// The setting, in words.
    pub setting: String,
    /// Name of the backend.
    pub backend: String,
    /// The metric, or `None` when something came before it.
    pub metric: Option<Metric>,
    /// The answer.
    pub outcome: GateOutcome,
    /// Why.
    pub explanation: String,
    /// Slowdown as a share: 0.1 is a tenth slower, -0.1 a tenth faster.
    pub slowdown: Option<f64>,
    /// Its 95 % one-sided bounds.
    pub bounds: Option<Interval>,
}

/// All checks, and the worst of them.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct GateReport {
    /// The worst answer.
    pub outcome: GateOutcome,
    /// What led to it.
    pub checks: Vec<Check>,
}

/// Holds `current` against `baseline`.
pub fn judge(baseline: &Collected, current: &Collected, options: &GateOptions) -> GateReport {
    let mut checks: Vec<Check> = Vec::new();
    for old in &baseline.groups {
        let setting = &baseline.settings[old.setting];
        let same = |new: &&Group| new.backend == old.backend && current.settings[new.setting] == *setting;
        let label = setting.label();
        match current.groups.iter().find(same) {
            Some(new) => checks.extend(judge_group(old, new, &label, options)),
            None => checks.push(missing(current, old, setting, label)),
        }
    }
    if checks.is_empty() {
        let text = "the baseline has no runs to compare with";
        checks.push(check("", "", GateOutcome::Mismatch, text.into()));
    }
    let outcome = checks.iter().map(|check| check.outcome).max().unwrap_or(GateOutcome::Mismatch);
    GateReport { outcome, checks }
}

fn missing(current: &Collected, old: &Group, setting: &super::model::Setting, label: String) -> Check {
    let ran = current.groups.iter().filter(|new| new.backend == old.backend);
    let other: Vec<String> = ran
        .map(|new| &current.settings[new.setting])
        .filter(|s| s.workload == setting.workload)
        .map(|s| s.label())
        .collect();
    let text = if other.is_empty() {
        format!("{} was not run on {} this time", old.backend, setting.workload)
    } else {
        format!("the baseline ran ({label}), this time it was ({})", other.join("; "))
    };
    check(&label, &old.backend, GateOutcome::Mismatch, text)
}

fn check(setting: &str, backend: &str, outcome: GateOutcome, explanation: String) -> Check {
    let (setting, backend) = (setting.to_owned(), backend.to_owned());
    Check { setting, backend, metric: None, outcome, explanation, slowdown: None, bounds: None }
}

fn judge_group(old: &Group, new: &Group, label: &str, options: &GateOptions) -> Vec<Check> {
    let known = |digest: &super::model::Digest| old.digests.iter().any(|other| other.text == digest.text);
    if let (Some(was), Some(is)) = (old.digests.first(), new.digests.iter().find(|digest| !known(digest))) {
        let text = format!("answers changed: output_digest was {}, is {}", was.text, is.text);
        return vec![check(label, &new.backend, GateOutcome::Mismatch, text)];
    }
    for (group, whose) in [(old, "baseline"), (new, "current")] {
        if group.sample(Metric::Throughput).count() == 0 {
            let text = format!(
                "none of the {} {whose} runs counts: {} INVALID, {} did not finish, {} without answers",
                group.records, group.invalid, group.partial, group.unanswered
            );
            return vec![check(label, &new.backend, GateOutcome::Invalid, text)];
        }
    }
    let supported = |metric: Metric| {
        let needed = metric.percentile().map_or(0, |p| items_needed(p, 0.95));
        [old, new]
            .iter()
            .all(|group| group.sample(metric).count() > 0 && group.items.is_none_or(|items| items >= needed))
    };
    let metrics = [Metric::Throughput, Metric::LatencyP95].into_iter().filter(|metric| supported(*metric));
    metrics.map(|metric| judge_metric(old, new, metric, label, options)).collect()
}

fn judge_metric(old: &Group, new: &Group, metric: Metric, label: &str, options: &GateOptions) -> Check {
    let logs = |group: &Group| {
        let values = group.sample(metric).values().iter().filter(|value| **value > 0.0);
        values.map(|value| value.ln()).collect::<Vec<f64>>()
    };
    // Positive is slower, for rates and for times.
    let (before, after) = (logs(old), logs(new));
    let (first, second) = if metric.higher_is_better() { (&before, &after) } else { (&after, &before) };
    let mut result = check(label, &new.backend, GateOutcome::Inconclusive, String::new());
    result.metric = Some(metric);
    let Some(effect) = unpaired::effect(first, second, options.alpha, options.seed) else {
        result.explanation = format!("{} is zero in all runs of one side", metric.name());
        return result;
    };
    let limit = options.max_regression.ln_1p();
    result.slowdown = Some(effect.mean.exp_m1());
    result.bounds = effect.equivalence.map(|interval| interval.map(f64::exp_m1));
    let change = format!("{} changed by {:+.1} %", metric.name(), change(metric, effect.mean) * 100.0);
    (result.outcome, result.explanation) = match effect.equivalence {
        Some(bounds) if bounds.high <= limit => {
            (GateOutcome::Pass, format!("{change}; {}", allowed("within", options)))
        }
        Some(bounds) if bounds.low > 0.0 && effect.mean > limit => {
            (GateOutcome::Regression, format!("{change}; {}", allowed("worse than", options)))
        }
        _ => {
            let question = Question {
                alpha: options.alpha,
                margin: options.max_regression.max(0.001),
                comparisons: 1,
                higher_is_better: metric.higher_is_better(),
            };
            let needed = pairs_needed(effect.deviation, effect.mean, &question);
            let have = before.len().min(after.len()) as u64;
            let more = needed.saturating_sub(have).max(1);
            (
                GateOutcome::Inconclusive,
                format!("{change}, which proves nothing yet; about {more} more runs would"),
            )
        }
    };
    result
}

/// The change of the metric itself, from the logarithm of the slowdown.
fn change(metric: Metric, slower: f64) -> f64 {
    if metric.higher_is_better() { (-slower).exp_m1() } else { slower.exp_m1() }
}

fn allowed(how: &str, options: &GateOptions) -> String {
    format!("{how} the allowed slowdown of {} %", (options.max_regression * 1e4).round() / 1e2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{collected, paired};
    use serde_json::json;

    const BEFORE: [f64; 8] = [100.0, 101.0, 99.0, 100.5, 98.5, 101.5, 100.0, 99.5];

    fn gate(after: &[f64]) -> GateReport {
        let (old, new) = (paired(&[("sage", &BEFORE)]), paired(&[("sage", after)]));
        judge(&collected(&old), &collected(&new), &GateOptions::default())
    }

    fn throughput(report: &GateReport) -> &Check {
        report.checks.iter().find(|check| check.metric == Some(Metric::Throughput)).unwrap()
    }

    #[test]
    fn the_same_speed_passes_and_so_does_a_faster_one() {
        assert_eq!(throughput(&gate(&BEFORE)).outcome, GateOutcome::Pass);
        assert_eq!(throughput(&gate(&BEFORE.map(|v| v * 1.3))).outcome, GateOutcome::Pass);
    }

    #[test]
    fn a_tenth_slower_is_a_regression_with_its_size() {
        let report = gate(&BEFORE.map(|v| v * 0.9));
        assert_eq!(report.outcome, GateOutcome::Regression);
        let check = throughput(&report);
        assert!((check.slowdown.unwrap() - 0.111).abs() < 0.001);
        assert_eq!(
            check.explanation,
            "throughput changed by -10.0 %; worse than the allowed slowdown of 5 %"
        );
    }

    #[test]
    fn one_run_or_much_noise_is_inconclusive() {
        assert_eq!(throughput(&gate(&[90.0])).outcome, GateOutcome::Inconclusive);
        let noisy = gate(&[60.0, 140.0, 80.0, 120.0, 90.0, 70.0]);
        assert!(throughput(&noisy).explanation.contains("more runs would"), "{noisy:?}");
    }

    #[test]
    fn other_answers_or_another_setting_are_a_mismatch() {
        let old = collected(&paired(&[("sage", &BEFORE)]));
        let mut records = paired(&[("sage", &BEFORE)]);
        records.iter_mut().for_each(|r| r["extra"]["output_digest"] = json!("d2"));
        let report = judge(&old, &collected(&records), &GateOptions::default());
        assert_eq!(report.outcome, GateOutcome::Mismatch);
        records.iter_mut().for_each(|r| r["parallelism"] = json!(8));
        let report = judge(&old, &collected(&records), &GateOptions::default());
        assert!(report.checks[0].explanation.contains("parallelism 8"), "{report:?}");
    }

    #[test]
    fn only_invalid_runs_are_invalid() {
        let old = collected(&paired(&[("sage", &BEFORE)]));
        let mut records = paired(&[("sage", &BEFORE)]);
        records.iter_mut().for_each(|r| r["extra"]["validity"] = json!({"verdict": "INVALID"}));
        let report = judge(&old, &collected(&records), &GateOptions::default());
        assert_eq!(report.outcome, GateOutcome::Invalid);
        assert!(report.checks[0].explanation.contains("8 INVALID"), "{report:?}");
    }

    #[test]
    fn runs_without_answers_are_invalid_on_either_side() {
        let answered = collected(&paired(&[("sage", &BEFORE)]));
        let mut records = paired(&[("sage", &BEFORE)]);
        records.iter_mut().for_each(|record| record["success_rate"] = json!(0.0));
        let unanswered = collected(&records);
        for (old, new) in [(&answered, &unanswered), (&unanswered, &answered), (&unanswered, &unanswered)] {
            let report = judge(old, new, &GateOptions::default());
            assert_eq!(report.outcome, GateOutcome::Invalid);
            assert!(report.checks[0].explanation.contains("8 without answers"), "{report:?}");
        }
    }
}
