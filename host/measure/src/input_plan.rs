//! Which items are warm-up and how the rest forms batches.

use bench_workloads::shuffle::deterministic_shuffle_v1;
use serde::{Deserialize, Serialize};

use bench_record::canonical_json::config_hash;
use bench_record::{Error, Result};

/// Which items a run processes, in which order and in which batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPlan {
    /// Items processed before timing begins.
    pub warmup: Vec<u32>,
    /// The timed items, in batches of the parity batch size. The last may be shorter.
    pub batches: Vec<Vec<u32>>,
}

impl InputPlan {
    /// Shuffles `n` items. The first `warmup` of them, or all if there are fewer, are the warm-up.
    pub fn new(n: usize, seed: u64, warmup: usize, parity_batch_size: usize) -> Result<InputPlan> {
        if parity_batch_size == 0 {
            return Err(Error::ZeroBatch);
        }
        if n == 0 {
            return Err(Error::NoItems);
        }
        let order = deterministic_shuffle_v1(u32::try_from(n).map_err(|_| Error::TooManyItems(n))?, seed);
        let (warmup, timed) = order.split_at(warmup.min(n));
        let batches = timed.chunks(parity_batch_size).map(<[u32]>::to_vec).collect();
        Ok(InputPlan { warmup: warmup.to_vec(), batches })
    }

    /// The timed items in order.
    pub fn timed(&self) -> impl Iterator<Item = u32> {
        self.batches.iter().flatten().copied()
    }

    /// SHA-256 of the plan's canonical JSON: `{"batches":[[…]],"warmup":[…]}`.
    pub fn digest(&self) -> Result<String> {
        Ok(config_hash(&serde_json::to_value(self)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_splits_warm_up_and_batches_in_order() {
        let plan = InputPlan::new(10, 7, 3, 4).unwrap();
        assert_eq!(plan.warmup, [2, 5, 6]);
        assert_eq!(plan.batches, [vec![3, 4, 8, 9], vec![1, 0, 7]]);
        assert_eq!(plan.timed().collect::<Vec<_>>(), [3, 4, 8, 9, 1, 0, 7]);
    }

    #[test]
    fn a_plans_digest_equals_the_second_implementations() {
        let digest =
            |n, seed, warmup, batch| InputPlan::new(n, seed, warmup, batch).unwrap().digest().unwrap();
        assert_eq!(digest(10, 7, 3, 4), "4f92d083c394f795db04cc32e12bb3105e524c0fefe347d48f72593db428a929");
        assert_eq!(
            digest(100, 42, 5, 16),
            "87ed5308d6d3c8a24ff415703ed5dbfc97352d8743060bb9465f3ee94133ef74"
        );
    }

    #[test]
    fn warm_up_is_capped_at_the_number_of_items() {
        let plan = InputPlan::new(5, 1, 9, 2).unwrap();
        assert_eq!((plan.warmup.len(), plan.batches.len()), (5, 0));
    }

    #[test]
    fn a_last_batch_may_be_short_and_a_full_one_is_not_followed_by_an_empty_one() {
        let sizes = |n| InputPlan::new(n, 1, 0, 4).unwrap().batches.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(9), [4, 4, 1]);
        assert_eq!(sizes(8), [4, 4]);
    }

    #[test]
    fn nothing_to_plan_is_an_error() {
        assert!(matches!(InputPlan::new(0, 1, 0, 4), Err(Error::NoItems)));
        assert!(matches!(InputPlan::new(4, 1, 0, 0), Err(Error::ZeroBatch)));
        assert!(matches!(InputPlan::new(usize::MAX, 1, 0, 4), Err(Error::TooManyItems(_))));
    }
}
