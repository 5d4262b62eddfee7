//! What a pair is, and what each of its runs does.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::tree::{Kept, Means, Started, Tree};
use bench_measure::machine::random_addresses;
use bench_measure::plan::Plan;
use bench_measure::workloads::random::stream;
use bench_record::evidence::{DrawnFrom, Layout, Place};
use bench_record::pair::PairConfig;

/// Most bytes that are added to the environment of a run: a page, after which the stack lies in its page as before.
const MOST_ENVIRONMENT: u32 = 4096;

/// Everything a pair is, in `plan.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PairPlan {
    #[serde(flatten)]
    pub started: Started,
    pub backends: Vec<String>,
    /// One backend against itself.
    pub aa: bool,
    /// It ends as soon as every verdict on throughput is known; `plan.repeat` is the most pairs.
    #[serde(default)]
    pub until_known: bool,
    /// Each pair has a seed of its own; the first has that of `plan`.
    #[serde(default)]
    pub vary_seed: bool,
    /// After the pairs, latency is measured at one rate, this share of what the slowest took.
    #[serde(default)]
    pub latency_at: Option<f64>,
    /// After so many seconds no pair is begun any more.
    #[serde(default)]
    pub max_seconds: Option<f64>,
    pub plan: Plan,
    #[serde(flatten)]
    pub means: Means,
}

/// One run of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub backend: String,
    pub pair_index: u32,
    /// `a` or `b` of a backend against itself.
    pub arm: Option<char>,
    pub until_known: bool,
    /// Which run of its pair it is.
    pub turn: u32,
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
        let (pair_index, until_known) = (Some(self.pair_index.into()), self.until_known);
        Place { pair_index, arm, until_known, ..Place::default() }
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
            stream(self.plan.seed, "pair order", u64::from(pair_index)).shuffle(&mut order);
            let until_known = self.until_known;
            order.into_iter().zip(0..).map(move |((name, arm), turn)| Step {
                backend: name.clone(),
                pair_index,
                arm,
                until_known,
                turn,
            })
        };
        (0..self.plan.repeat).flat_map(of_pair).collect()
    }

    /// What the runs of a pair do. Both sides of a pair do the same; another pair may have another seed.
    #[must_use]
    pub fn plan_of(&self, pair_index: u32) -> Plan {
        let seed = match pair_index {
            0 => self.plan.seed,
            _ if !self.vary_seed => self.plan.seed,
            _ => stream(self.plan.seed, "seed of a pair", pair_index.into()).next_u32().into(),
        };
        Plan { seed, ..self.plan.clone() }
    }

    /// Whether there is more than one seed.
    #[must_use]
    pub fn has_several_seeds(&self) -> bool {
        self.vary_seed && self.plan.repeat > 1
    }

    /// Where a run belongs, what its seed was drawn from, and what is arranged otherwise for it.
    pub(super) fn place_of(&self, step: &Step) -> Place {
        let from = || DrawnFrom { seed: self.plan.seed, config_hash: self.plan.config_hash() };
        let number = u64::from(step.repeat_index()) << 8 | u64::from(step.turn & 0xff);
        let environment_bytes = stream(self.plan.seed, "environment", number).below(MOST_ENVIRONMENT);
        let layout = Layout { environment_bytes, turn: step.turn, random_addresses: random_addresses() };
        let drawn_from = self.has_several_seeds().then(from);
        Place { drawn_from, layout: Some(layout), ..step.place() }
    }

    /// How many sides are left to compare without the backends that were `lost`.
    #[must_use]
    pub fn sides_without(&self, lost: &BTreeSet<&str>) -> usize {
        let left = self.backends.iter().filter(|name| !lost.contains(name.as_str())).count();
        if self.aa { 2 * left } else { left }
    }

    /// What the guide calls the configuration.
    pub(super) fn config(&self) -> PairConfig {
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

impl Kept for PairPlan {
    const NAME: &'static str = "pair";

    fn started(&self) -> &Started {
        &self.started
    }

    fn means(&self) -> &Means {
        &self.means
    }

    fn hash(&self) -> String {
        self.plan.config_hash()
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn plans(&self) -> Vec<Plan> {
        vec![self.plan.clone()]
    }

    fn backends(&self) -> Vec<&str> {
        self.backends.iter().map(String::as_str).collect()
    }

    fn folders(&self, tree: &Tree) -> Vec<PathBuf> {
        self.backends.iter().map(|name| tree.backend(name)).collect()
    }
}

/// A pair, for tests.
#[cfg(test)]
pub(super) fn example(backends: &[&str], aa: bool, repeat: u32) -> PairPlan {
    PairPlan {
        started: Started::now("r".into(), "0123456789abcdef".into()),
        backends: backends.iter().map(|name| (*name).to_owned()).collect(),
        aa,
        until_known: false,
        vary_seed: true,
        latency_at: None,
        max_seconds: None,
        plan: Plan { repeat, ..bench_measure::plan::example() },
        means: Means::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn every_pair_has_each_backend_once_and_the_order_varies_with_the_seed_only() {
        let pair = example(&["sage", "ray"], false, 40);
        let steps = pair.steps();
        assert_eq!(steps, pair.steps());
        let firsts = steps.chunks(2).filter(|both| both[0].backend == "ray").count();
        assert!((8..=32).contains(&firsts), "{firsts}");
        assert!(steps.chunks(2).all(|both| both[0].backend != both[1].backend));
        assert!(steps.chunks(2).zip(0..).all(|(both, n)| both.iter().all(|step| step.pair_index == n)));
    }

    #[test]
    fn pairs_have_seeds_of_their_own_and_both_sides_of_one_the_same() {
        let varied = example(&["sage", "ray"], false, 40);
        let seeds: BTreeSet<u64> = (0..40).map(|pair| varied.plan_of(pair).seed).collect();
        assert_eq!((seeds.len(), varied.plan_of(0).seed), (40, varied.plan.seed));
        let steps = varied.steps();
        let places: Vec<Place> = steps.iter().map(|step| varied.place_of(step)).collect();
        let hash = varied.plan.config_hash();
        assert!(
            places.iter().all(|place| place.drawn_from.as_ref().is_some_and(|from| from.config_hash == hash))
        );
        let layouts: Vec<Layout> = places.iter().filter_map(|place| place.layout).collect();
        assert!(layouts.chunks(2).all(|both| (both[0].turn, both[1].turn) == (0, 1)));
        let sizes: BTreeSet<u32> = layouts.iter().map(|layout| layout.environment_bytes).collect();
        assert!(sizes.len() > 70 && sizes.iter().all(|bytes| *bytes < MOST_ENVIRONMENT), "{sizes:?}");
    }

    #[test]
    fn with_one_seed_all_pairs_are_the_same_work() {
        let same = PairPlan { vary_seed: false, ..example(&["sage", "ray"], false, 9) };
        assert!((0..9).all(|pair| same.plan_of(pair).config_hash() == same.plan.config_hash()));
        assert!(same.steps().iter().all(|step| same.place_of(step).drawn_from.is_none()));
        let one = example(&["sage", "ray"], false, 1);
        assert_eq!(
            one.place_of(&one.steps()[0]).drawn_from,
            None,
            "a single pair has the seed that was given"
        );
    }

    #[test]
    fn one_backend_against_itself_has_two_arms_and_a_folder_for_each_run() {
        let steps = example(&["sage"], true, 5).steps();
        let indexes: BTreeSet<u32> = steps.iter().map(Step::repeat_index).collect();
        assert_eq!((steps.len(), indexes.len()), (10, 10));
    }
}
