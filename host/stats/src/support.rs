//! Whether a sample can say anything about a percentile.
//!
//! The p99 of twenty items is their maximum with a grand name. The rule here: a percentile is
//! printed when a distribution-free 95 % interval for it exists, that is when the true percentile
//! lies between the sample's least and greatest value with that confidence. The chance that it does
//! not is p^n + (1-p)^n (David and Nagaraja, Order Statistics, 7.1). So p50 needs 6 items, p95
//! needs 59, p99 needs 299 and p99.9 needs 2995.

/// The least number of items that supports percentile `p` (above 0, below 1) at `confidence`.
pub fn items_needed(p: f64, confidence: f64) -> u64 {
    let miss = |n: u64| p.powf(n as f64) + (1.0 - p).powf(n as f64);
    // The larger of the two terms alone gives a start that is at most a few items low.
    let start = ((1.0 - confidence).ln() / p.max(1.0 - p).ln()).floor().max(1.0) as u64;
    (start..).find(|n| miss(*n) <= 1.0 - confidence).unwrap_or(u64::MAX)
}

/// A percentile, or how many more items it would need.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub enum Supported {
    /// The sample supports it.
    Value(f64),
    /// It does not.
    NeedsMore(u64),
}

impl Supported {
    /// The value if `items` support percentile `p`. `None` if there is no value at all.
    pub fn judge(value: Option<f64>, items: u64, p: f64) -> Option<Supported> {
        let needed = items_needed(p, 0.95);
        value.map(|value| {
            if items >= needed { Supported::Value(value) } else { Supported::NeedsMore(needed - items) }
        })
    }

    /// The value, when there is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Supported::Value(value) => Some(value),
            Supported::NeedsMore(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_numbers_of_items_hold() {
        let needed = |p| items_needed(p, 0.95);
        assert_eq!(
            [needed(0.5), needed(0.9), needed(0.95), needed(0.99), needed(0.999)],
            [6, 29, 59, 299, 2995]
        );
    }

    #[test]
    fn an_unsupported_percentile_says_how_many_items_are_missing() {
        assert_eq!(Supported::judge(Some(7.0), 20, 0.99), Some(Supported::NeedsMore(279)));
        assert_eq!(Supported::judge(Some(7.0), 299, 0.99), Some(Supported::Value(7.0)));
        assert_eq!(Supported::judge(None, 299, 0.99), None);
    }
}
