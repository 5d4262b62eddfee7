//! When a run cannot meet any more what is wanted of it.
//!
//! A percentile q of n answers is above a limit exactly when more than n - ceil(q n) of them are. So once that many were,
//! nothing that is still to come can mend it, and the rest of the run would tell nothing new. Failed items are no answers:
//! with them n is smaller, and fewer suffice; the bound counts with the largest n, and is never wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is wanted of the timed items of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    pub latencies: Vec<Bound>,
    /// Most items that may fail.
    pub failures: Option<u64>,
}

/// How many items may take how long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    pub limit: Duration,
    pub allowed: u64,
}

impl Bound {
    /// That a percentile of `items` is within a limit.
    #[must_use]
    pub fn of(quantile: f64, limit: Duration, items: u64) -> Self {
        Self { limit, allowed: items.saturating_sub((quantile * items as f64).ceil() as u64) }
    }
}

impl Bounds {
    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.latencies.is_empty() && self.failures.is_none()
    }
}

/// The bound that was broken, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// Which of the latencies; none of them where too many items failed.
    pub latency: Option<usize>,
    /// Most items that were allowed to be beyond.
    pub allowed: u64,
    /// Timed items until then.
    pub after: u64,
}

/// Holds items against bounds while they come.
#[derive(Debug, Default)]
pub struct Tally {
    bounds: Bounds,
    beyond: Vec<u64>,
    failed: u64,
    timed: u64,
    broken: Option<Broken>,
}

impl Tally {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { beyond: vec![0; bounds.latencies.len()], bounds, ..Self::default() }
    }

    /// Takes an item; whether it is the one that breaks a bound, the first time.
    pub fn take(&mut self, timed: bool, ok: bool, response: Duration) -> bool {
        if !timed || self.broken.is_some() {
            return false;
        }
        self.timed += 1;
        self.failed += u64::from(!ok);
        let after = self.timed;
        let mut broken = self.bounds.failures.filter(|allowed| self.failed > *allowed);
        let mut latency = None;
        for (number, (bound, beyond)) in self.bounds.latencies.iter().zip(&mut self.beyond).enumerate() {
            *beyond += u64::from(ok && response > bound.limit);
            if broken.is_none() && *beyond > bound.allowed {
                (broken, latency) = (Some(bound.allowed), Some(number));
            }
        }
        self.broken = broken.map(|allowed| Broken { latency, allowed, after });
        self.broken.is_some()
    }

    /// What was broken.
    #[must_use]
    pub fn broken(&self) -> Option<Broken> {
        self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_record::histogram::LatencyHistogram;

    fn tally(quantile: f64, items: u64) -> Tally {
        let latencies = vec![Bound::of(quantile, Duration::from_millis(10), items)];
        Tally::new(Bounds { latencies, failures: Some(2) })
    }

    #[test]
    fn a_bound_breaks_with_the_first_item_after_which_nothing_can_mend_the_percentile() {
        for (quantile, items) in [(0.99, 400_u64), (0.5, 401), (0.95, 60), (0.999, 1_000)] {
            let allowed = items - (quantile * items as f64).ceil() as u64;
            for slow in [allowed, allowed + 1] {
                let mut tally = tally(quantile, items);
                let mut all = LatencyHistogram::new();
                for number in 0..items {
                    let response = Duration::from_millis(if number < slow { 20 } else { 5 });
                    tally.take(true, true, response);
                    all.record(response);
                }
                let beyond = all.quantile(quantile).unwrap().get() > 10.0;
                assert_eq!(tally.broken().is_some(), beyond, "p{quantile} of {items}, {slow} slow");
                let at = tally.broken().map(|broken| (broken.latency, broken.after));
                assert_eq!(at, beyond.then_some((Some(0), slow)), "at once");
            }
        }
    }

    #[test]
    fn too_many_failures_break_it_and_warm_up_does_not_count() {
        let mut tally = tally(0.5, 100);
        let quick = Duration::from_millis(1);
        assert!((0..9).all(|_| !tally.take(false, false, quick)));
        assert_eq!([(); 4].map(|()| tally.take(true, false, quick)), [false, false, true, false]);
        assert_eq!(tally.broken(), Some(Broken { latency: None, allowed: 2, after: 3 }));
    }
}
