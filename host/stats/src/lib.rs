//! The statistics behind every verdict, as plain functions over slices.
//!
//! Nothing in here knows of records, backends or files, so each method can be checked on its own
//! against stored numbers from scipy and by simulation. Randomness comes from ChaCha8 with a seed
//! that the caller states: the same records always give the same report.
//!
//! What is computed, why, and from which source is written down in `docs/statistics.md`.

#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod holm;
pub mod outliers;
pub mod paired;
pub mod percentile;
pub mod sample;
pub mod sequential;
pub mod signed_rank;
pub mod steady;
pub mod support;
pub mod trend;
pub mod unpaired;
pub mod verdict;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Two ends of an interval, the lower one first.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside or on an end.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Whether the whole interval lies inside `other`.
    pub fn within(self, other: Interval) -> bool {
        other.low <= self.low && self.high <= other.high
    }

    /// Both ends through an increasing function.
    pub fn map(self, function: impl Fn(f64) -> f64) -> Interval {
        Interval { low: function(self.low), high: function(self.high) }
    }
}

/// The arithmetic mean. NaN when there is nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample variance, with n - 1. NaN below two values.
pub fn variance(values: &[f64]) -> f64 {
    let centre = mean(values);
    values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

/// The value with a share `probability` of Student's t below it.
pub fn t_quantile(probability: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |t| t.inverse_cdf(probability))
}

/// The value with a share `probability` of the standard normal distribution below it.
pub fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// The share of the standard normal distribution below `value`.
pub fn normal_cdf(value: f64) -> f64 {
    Normal::standard().cdf(value)
}

/// A uniform index below `count`, without bias worth speaking of: the product of 32 random bits and
/// `count` is cut to its upper half, which errs by less than `count` / 2^32.
pub(crate) fn index_below(rng: &mut ChaCha8Rng, count: usize) -> usize {
    ((u64::from(rng.next_u32()) * count as u64) >> 32) as usize
}

/// The `q`-quantile (0 to 1) of ascending values, by linear interpolation: numpy's default.
pub fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    percentile::percentile(sorted, (q * 100.0).clamp(0.0, 100.0)).unwrap_or(f64::NAN)
}
