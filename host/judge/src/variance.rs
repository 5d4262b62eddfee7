//! Where the variance of throughput arises, and what to repeat more (Kalibera and Jones, ISMM 2013).
//!
//! Both sides of a pair have the same seed, and the same machine within a few seconds: what they have in common is
//! the covariance of their logarithms over pairs. It cancels in their ratio. What is left is half the variance of the
//! log-ratio on each side: it is the run's own, and a part of it would be there in any run that is made of so many
//! items, which each run measures in itself by the spread between groups of its items.

use super::facts::Metric;
use super::judge::Comparison;
use super::model::{Collected, Run};
use bench_stats::{mean, variance};

/// Fewer pairs say little of a variance.
const FEWEST: usize = 6;
/// From this share on of what is left in a pair, it is the items that are too few.
const ITEMS_RULE: f64 = 0.5;

/// Variances of the logarithm of one run's throughput, on average over both sides.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Variance {
    /// Index into [`Collected::settings`].
    pub setting: usize,
    /// One backend.
    pub first: String,
    /// The other.
    pub second: String,
    /// Pairs that count.
    pub pairs: usize,
    /// Common to both runs of a pair: of the seed, where each pair has its own, and of the machine at that time.
    pub shared: f64,
    /// Of the run itself. Its items are in it where runs do not say how much theirs is.
    pub run: f64,
    /// Of its items.
    pub item: Option<f64>,
    /// What to have more of to narrow the interval of the ratio.
    pub more: More,
}

/// What to have more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum More {
    /// Pairs.
    Pairs,
    /// Items in each run.
    Items,
}

impl Variance {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.shared + self.run + self.item.unwrap_or(0.0)
    }
}

/// Of each comparison of throughput in pairs that are enough.
#[must_use]
pub fn split(collected: &Collected, comparisons: &[Comparison], include_invalid: bool) -> Vec<Variance> {
    let of_pairs = comparisons.iter().filter(|c| c.metric == Metric::Throughput && c.paired);
    of_pairs.filter_map(|comparison| of(collected, comparison, include_invalid)).collect()
}

fn of(collected: &Collected, comparison: &Comparison, include_invalid: bool) -> Option<Variance> {
    let counts = |run: &&Run| {
        let evidence = &run.evidence;
        let valid = include_invalid || !evidence.is_invalid();
        valid && !evidence.partial && run.answered() && evidence.place.pair_index.is_some()
    };
    let runs = |backend| collected.runs_of(comparison.setting, backend).filter(counts);
    let place = |run: &Run| (run.run_id.clone(), run.evidence.place.pair_index);
    let second: std::collections::BTreeMap<_, &Run> =
        runs(&comparison.second).map(|run| (place(run), run)).collect();
    let pairs: Vec<[&Run; 2]> =
        runs(&comparison.first).filter_map(|run| Some([run, *second.get(&place(run))?])).collect();
    if pairs.len() < FEWEST {
        return None;
    }
    let side = |at: usize| pairs.iter().map(|pair| log(pair[at])).collect::<Vec<f64>>();
    let (a, b) = (side(0), side(1));
    let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
    let own = variance(&differences) / 2.0;
    let shared = ((variance(&a) + variance(&b)) / 2.0 - own).max(0.0);
    let errors = pairs.iter().flatten().map(|run| run.evidence.steady?.item_error);
    let item = errors.map(|error| Some(error? * error?)).collect::<Option<Vec<f64>>>();
    // Chance may make less of the whole than of a part.
    let item = item.map(|squares| mean(&squares).min(own));
    if !own.is_finite() || own <= 0.0 {
        return None;
    }
    let few_items = item.is_some_and(|item| item > ITEMS_RULE * own);
    Some(Variance {
        setting: comparison.setting,
        first: comparison.first.clone(),
        second: comparison.second.clone(),
        pairs: pairs.len(),
        shared,
        run: own - item.unwrap_or(0.0),
        item,
        more: if few_items { More::Items } else { More::Pairs },
    })
}

fn log(run: &Run) -> f64 {
    run.metrics[Metric::Throughput as usize].ln()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{collected, paired};
    use crate::{Options, summarize};

    /// Two backends whose runs of pair i are as fast as `shared` of i says times what `own` says.
    fn records(pairs: usize, shared: impl Fn(usize) -> f64, own: impl Fn(usize) -> f64) -> Vec<Value> {
        let speeds =
            |sign: i32| -> Vec<f64> { (0..pairs).map(|i| 100.0 * shared(i) * own(i).powi(sign)).collect() };
        paired(&[("ray", &speeds(1)), ("sage", &speeds(-1))])
    }

    fn found(records: &[Value]) -> Vec<Variance> {
        let summary = summarize(collected(records), &Options::default());
        split(&summary.collected, &summary.comparisons, false)
    }

    fn alternating(size: f64) -> impl Fn(usize) -> f64 {
        move |i| if i % 2 == 0 { size } else { 1.0 / size }
    }

    #[test]
    fn what_both_runs_of_a_pair_have_in_common_is_told_from_what_is_their_own() {
        let seeds = |i: usize| if i % 4 < 2 { 1.2 } else { 1.0 / 1.2 };
        let split = &found(&records(16, seeds, alternating(1.02)))[0];
        let (shared, own) = (1.2_f64.ln().powi(2) * 16.0 / 15.0, 1.02_f64.ln().powi(2) * 2.0 * 16.0 / 15.0);
        assert!((split.shared - (shared + own / 2.0 - own)).abs() < 1e-9, "{split:?}");
        assert!((split.run - own).abs() < 1e-9 && split.item.is_none(), "{split:?}");
        assert_eq!((split.pairs, split.more), (16, More::Pairs));
    }

    #[test]
    fn where_items_explain_most_of_a_run_more_of_them_are_wanted() {
        let mut records = records(8, |_| 1.0, alternating(1.02));
        let say = |records: &mut [Value], error: f64| {
            for record in records {
                record["extra"]["steady"] = json!({"verdict": "steady", "item_error": error});
            }
        };
        say(&mut records, 0.028);
        let split = &found(&records)[0];
        assert_eq!((split.more, split.shared), (More::Items, 0.0), "{split:?}");
        assert!(split.item.is_some_and(|item| (item - 0.028_f64.powi(2)).abs() < 1e-9), "{split:?}");
        say(&mut records, 0.002);
        assert_eq!(found(&records)[0].more, More::Pairs);
        // Who does not say what its items do has no share of them.
        records[3]["extra"]["steady"] = json!({"verdict": "too_short"});
        assert_eq!(found(&records)[0].item, None);
    }

    #[test]
    fn a_few_pairs_say_nothing() {
        assert_eq!(found(&records(5, |_| 1.0, alternating(1.02))), []);
    }
}
