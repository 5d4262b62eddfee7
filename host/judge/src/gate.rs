//! `bench gate --baseline DIR --max-regression 5%`: may this change be merged?
//!
//! A gate that cries wolf is switched off, and one that never barks is useless. So it has five
//! answers instead of two. Regression needs both: a slowdown beyond the limit, and a 95 % one-sided
//! bound that says it is one. Pass needs the opposite bound to lie below the limit. Between them is
//! "inconclusive", with the number of runs that would settle it. Wrong answers and invalid runs come
//! before any number.
//!
//! Whoever adds runs until the gate opens has looked more than once, and needs a test that allows it: the runs of both
//! sides are then taken in pairs, in the order in which they were made, and judged by what holds at every look.

use super::equality::parted;
use super::facts::Metric;
use super::model::{Collected, Group, Run};
use bench_stats::support::items_needed;
use bench_stats::verdict::{Question, pairs_needed};
use bench_stats::{Interval, sequential, unpaired};

/// What the gate is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateOptions {
    /// The slowdown that is still allowed, such as 0.05.
    pub max_regression: f64,
    /// Chance of a wrong regression that is accepted, per check.
    pub alpha: f64,
    /// Seed of drawn permutations.
    pub seed: u64,
    /// Whether runs are added until it is known. Runs that say so of themselves are judged so in any case.
    pub until_known: bool,
}

impl Default for GateOptions {
    fn default() -> Self {
        GateOptions { max_regression: 0.05, alpha: 0.05, seed: 42, until_known: false }
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
    /// Whether the bounds hold at every look.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub until_known: bool,
    /// Whether more runs of now can decide it.
    #[serde(skip)]
    pub is_open: bool,
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
            Some(new) => {
                let sides = Sides { old: (old, in_order(baseline, old)), new: (new, in_order(current, new)) };
                checks.extend(sides.judge(&label, options));
            }
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
    Check { is_open: true, ..check(&label, &old.backend, GateOutcome::Mismatch, text) }
}

fn check(setting: &str, backend: &str, outcome: GateOutcome, explanation: String) -> Check {
    let (setting, backend) = (setting.to_owned(), backend.to_owned());
    Check {
        setting,
        backend,
        metric: None,
        outcome,
        explanation,
        slowdown: None,
        bounds: None,
        until_known: false,
        is_open: false,
    }
}

/// The runs of a group that count, in the order in which they were made.
fn in_order<'a>(collected: &'a Collected, group: &'a Group) -> Vec<&'a Run> {
    let runs = collected.runs_of(group.setting, &group.backend);
    let counts = |run: &&Run| !run.evidence.is_invalid() && !run.evidence.partial && run.answered();
    let mut runs: Vec<&Run> = runs.filter(counts).collect();
    runs.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
    runs
}

/// One backend in one setting, then and now.
struct Sides<'a> {
    old: (&'a Group, Vec<&'a Run>),
    new: (&'a Group, Vec<&'a Run>),
}

impl Sides<'_> {
    fn judge(&self, label: &str, options: &GateOptions) -> Vec<Check> {
        let watched = self.new.1.iter().any(|run| run.evidence.place.until_known);
        let options = GateOptions { until_known: options.until_known || watched, ..*options };
        judge_group(self, label, &options)
    }

    /// The slowdowns of the runs of now, each to one of then.
    fn slowdowns(&self, metric: Metric) -> Vec<f64> {
        let pairs = self.old.1.iter().zip(&self.new.1);
        let values = pairs.map(|(old, new)| (old.metrics[metric as usize], new.metrics[metric as usize]));
        let positive = values.filter(|(old, new)| *old > 0.0 && *new > 0.0);
        let direction = if metric.higher_is_better() { 1.0 } else { -1.0 };
        positive.map(|(old, new)| direction * (old / new).ln()).collect()
    }
}

fn judge_group(sides: &Sides<'_>, label: &str, options: &GateOptions) -> Vec<Check> {
    let (old, new) = (sides.old.0, sides.new.0);
    if let Some((is, was)) = parted(&new.digests, &old.digests) {
        let text = format!("answers changed: output_digest was {}, is {}", was.text, is.text);
        return vec![check(label, &new.backend, GateOutcome::Mismatch, text)];
    }
    for (group, whose) in [(old, "baseline"), (new, "current")] {
        if group.sample(Metric::Throughput).count() == 0 {
            let text = format!(
                "none of the {} {whose} runs counts: {} INVALID, {} did not finish, {} without answers",
                group.records, group.invalid, group.partial, group.unanswered
            );
            let invalid = check(label, &new.backend, GateOutcome::Invalid, text);
            return vec![Check { is_open: whose == "current", ..invalid }];
        }
    }
    let supported = |metric: Metric| {
        let needed = metric.percentile().map_or(0, |p| items_needed(p, 0.95));
        [old, new]
            .iter()
            .all(|group| group.sample(metric).count() > 0 && group.items.is_none_or(|items| items >= needed))
    };
    let metrics = [Metric::Throughput, Metric::LatencyP95].into_iter().filter(|metric| supported(*metric));
    metrics.map(|metric| judge_metric(sides, metric, label, options)).collect()
}

fn judge_metric(sides: &Sides<'_>, metric: Metric, label: &str, options: &GateOptions) -> Check {
    let (old, new) = (sides.old.0, sides.new.0);
    let logs = |group: &Group| {
        let values = group.sample(metric).values().iter().filter(|value| **value > 0.0);
        values.map(|value| value.ln()).collect::<Vec<f64>>()
    };
    // Positive is slower, for rates and for times.
    let (before, after) = (logs(old), logs(new));
    let (first, second) = if metric.higher_is_better() { (&before, &after) } else { (&after, &before) };
    let mut result = check(label, &new.backend, GateOutcome::Inconclusive, String::new());
    result.metric = Some(metric);
    result.until_known = options.until_known;
    let slowdowns = if options.until_known { sides.slowdowns(metric) } else { Vec::new() };
    let effect = match options.until_known {
        true => sequential::effect(&slowdowns, options.alpha),
        false => unpaired::effect(first, second, options.alpha, options.seed),
    };
    let Some(effect) = effect else {
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
            // Each run of now needs one of then to be compared with.
            result.is_open = after.len() < before.len();
            let more = match options.until_known && !result.is_open {
                true => format!("the {have} runs of the baseline are used up, and about {more} more would"),
                false => format!("about {more} more runs would"),
            };
            (GateOutcome::Inconclusive, format!("{change}, which proves nothing yet; {more}"))
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
    use crate::testing::{collected, drawn, paired};
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
    fn answers_to_other_seeds_are_no_change_and_other_answers_to_one_are() {
        let (old, mut new) = (drawn(&[("sage", &BEFORE)]), drawn(&[("sage", &BEFORE)]));
        let outcome = |new: &[serde_json::Value]| {
            judge(&collected(&old), &collected(new), &GateOptions::default()).outcome
        };
        assert_eq!(outcome(&new), GateOutcome::Pass);
        new[5]["extra"]["output_digest"] = json!("d1");
        assert_eq!(outcome(&new), GateOutcome::Mismatch);
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

    /// The gate after each run of now, and the first answer that is one.
    fn watched(before: &[f64], after: &[f64]) -> Option<(usize, GateOutcome)> {
        let old = collected(&paired(&[("sage", before)]));
        let options = GateOptions { until_known: true, ..GateOptions::default() };
        (1..=after.len()).find_map(|runs| {
            let report = judge(&old, &collected(&paired(&[("sage", &after[..runs])])), &options);
            let outcome = throughput(&report).outcome;
            (outcome != GateOutcome::Inconclusive).then_some((runs, outcome))
        })
    }

    #[test]
    fn a_gate_that_is_watched_opens_or_closes_as_soon_as_it_is_known() {
        let before: Vec<f64> = BEFORE.iter().cycle().take(24).copied().collect();
        let now = |factor: f64| before.iter().rev().map(|v| v * factor).collect::<Vec<f64>>();
        let slow = watched(&before, &now(0.8));
        assert!(matches!(slow, Some((5..=10, GateOutcome::Regression))), "{slow:?}");
        let same = watched(&before, &now(1.0));
        assert!(matches!(same, Some((5..=14, GateOutcome::Pass))), "{same:?}");
    }

    #[test]
    fn a_watched_gate_says_when_the_baseline_is_used_up() {
        let old = collected(&paired(&[("sage", &BEFORE[..3])]));
        let mut records = paired(&[("sage", &BEFORE.map(|v| v * 0.9))]);
        // Records that say so of themselves are enough.
        records.iter_mut().for_each(|record| record["extra"]["until_known"] = json!(true));
        let report = judge(&old, &collected(&records), &GateOptions::default());
        let check = throughput(&report);
        assert!(check.until_known && !check.is_open && check.outcome == GateOutcome::Inconclusive);
        assert!(check.explanation.contains("the 3 runs of the baseline are used up"), "{check:?}");
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
