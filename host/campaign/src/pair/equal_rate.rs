//! Latency of all backends at one rate.
//!
//! Under a closed load latency is the queries in flight divided by the throughput, and says nothing that throughput
//! does not. So, after the pairs, each runs once more under an open load whose rate is the same for all: a stated
//! share of what the slowest completed in the pairs. That is read from their records, so that whoever resumes comes
//! to the same rate.

use super::{Pair, Step};
use crate::drive::Campaign;
use crate::run::Runner;
use bench_judge::{Metric, Options};
use bench_measure::plan::{Arrivals, Load, Plan};
use bench_record as results;
use bench_record::evidence::{DrawnFrom, Place};

/// The runs at that rate.
#[derive(Debug)]
pub struct EqualRate<'a> {
    pair: &'a Pair<'a>,
    pub rate: f64,
    /// As many as there are pairs with throughput.
    pairs: u32,
}

impl<'a> EqualRate<'a> {
    /// What follows the pairs, if latency is wanted. None of them must be left to run.
    ///
    /// # Errors
    /// When their records cannot be read.
    pub fn after(pair: &'a Pair<'a>) -> bench_judge::Result<Option<Self>> {
        let Some(share) = pair.plan.latency_at else { return Ok(None) };
        // A rate is no verdict: what was disturbed has some.
        let options = Options { include_invalid: true, ..Options::default() };
        let collected = bench_judge::collect(&[pair.tree.backends()], &options)?;
        let hash = pair.plan.plan.config_hash();
        let is_theirs = |setting: usize| collected.settings[setting].config_hash.as_ref() == Some(&hash);
        let groups = collected.groups.iter().filter(|group| is_theirs(group.setting));
        let sides = groups.map(|group| group.sample(Metric::Throughput));
        let slowest = sides.clone().filter_map(|sample| sample.mean()).fold(f64::INFINITY, f64::min);
        let pairs = sides.map(|sample| sample.count()).min().unwrap_or(0);
        let rate = three_digits(slowest * share);
        let pairs = u32::try_from(pairs).unwrap_or(u32::MAX).min(pair.plan.plan.repeat);
        Ok((rate.is_finite() && rate > 0.0).then_some(Self { pair, rate, pairs }))
    }

    fn at_the_rate(&self, plan: Plan) -> Plan {
        Plan { load: Load::Open { rate: self.rate, arrivals: Arrivals::Poisson }, ..plan }
    }

    fn place_of(&self, step: &Step) -> Place {
        let place = self.pair.plan.place_of(step);
        let base = self.at_the_rate(self.pair.plan.plan.clone());
        let from = |from: DrawnFrom| DrawnFrom { config_hash: base.config_hash(), ..from };
        // Their number was not chosen by looking at latencies.
        Place { equal_rate: true, until_known: false, drawn_from: place.drawn_from.map(from), ..place }
    }
}

/// A rate that people can read.
fn three_digits(rate: f64) -> f64 {
    format!("{rate:.2e}").parse().unwrap_or(rate)
}

impl Campaign for EqualRate<'_> {
    type Step = Step;
    type Found = ();

    fn steps(&self) -> Vec<Step> {
        self.pair.plan.steps().into_iter().filter(|step| step.pair_index < self.pairs).collect()
    }

    fn is_finished(&self, step: &Step) -> bool {
        self.pair.has_record(step, true)
    }

    fn is_hopeless(&self, step: &Step, failed: &Step) -> bool {
        self.pair.is_hopeless(step, failed)
    }

    fn job<R: Runner>(&self, step: &Step, runner: &mut R) -> Result<(), R::Failure> {
        let plan = self.at_the_rate(self.pair.plan.plan_of(step.pair_index));
        // No two runs of a backend have the same number.
        let number = step.repeat_index() + 2 * self.pair.plan.plan.repeat;
        self.pair.run(step, &plan, self.place_of(step), number, runner)
    }

    fn conclude(&self) -> results::Result<()> {
        self.pair.conclude()
    }
}

#[cfg(test)]
mod tests {
    use super::super::PairPlan;
    use super::super::plan::example as pair;
    use super::*;
    use crate::tree::Tree;
    use bench_judge::testing::{paired, write};
    use serde_json::json;

    /// Two pairs whose records have these throughputs.
    fn done(plan: &PairPlan, speeds: &[(&str, &[f64])]) -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path(), "r", "0123456789abcdef");
        tree.begin(plan).unwrap();
        for side in speeds {
            let mut records = paired(&[*side]);
            records.iter_mut().for_each(|record| record["config_hash"] = json!(plan.plan.config_hash()));
            write(&tree.backend(side.0), &records);
        }
        (dir, tree)
    }

    #[test]
    fn the_rate_is_a_share_of_what_the_slowest_completes_and_the_same_for_all() {
        let plan = PairPlan { latency_at: Some(0.5), ..pair(&["ray", "sage"], false, 2) };
        let (_dir, tree) = done(&plan, &[("ray", &[100.0, 102.4]), ("sage", &[300.0, 310.0])]);
        let all = Pair { tree: &tree, plan: &plan, until: None };
        let equal = EqualRate::after(&all).unwrap().unwrap();
        assert_eq!(equal.rate, 50.6, "half of 101.2");
        let steps = equal.steps();
        assert_eq!((steps.len(), steps.iter().filter(|step| equal.is_finished(step)).count()), (4, 0));
        assert!(steps.iter().all(|step| all.is_finished(step)), "the pairs are done");
        let places: Vec<Place> = steps.iter().map(|step| equal.place_of(step)).collect();
        let base = equal.at_the_rate(plan.plan.clone()).config_hash();
        assert!(
            places
                .iter()
                .all(|place| place.equal_rate && place.drawn_from.as_ref().unwrap().config_hash == base)
        );
    }

    #[test]
    fn without_a_wish_or_throughput_there_are_none() {
        let plan = pair(&["ray", "sage"], false, 1);
        let (_dir, tree) = done(&plan, &[("ray", &[100.0]), ("sage", &[300.0])]);
        assert!(EqualRate::after(&Pair { tree: &tree, plan: &plan, until: None }).unwrap().is_none());
        let plan = PairPlan { latency_at: Some(0.5), ..plan };
        write(&tree.backend("sage"), &[]);
        let other = PairPlan { plan: Plan { parallelism: 7, ..plan.plan.clone() }, ..plan };
        assert!(EqualRate::after(&Pair { tree: &tree, plan: &other, until: None }).unwrap().is_none());
    }
}
