//! Many values in little memory.
//!
//! A comparison may read a million runs. Their mean and spread need no list: Welford's running
//! update is exact enough and constant in size. Intervals and medians do need values, so a sample
//! keeps a uniform reservoir of at most [`KEPT`] (Vitter's algorithm R, seeded). Up to that many
//! runs, and every real comparison has far fewer, the reservoir *is* the data.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How many values a sample keeps.
pub const KEPT: usize = 2_000;

/// Values of one metric: exact moments and a bounded reservoir.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    count: u64,
    mean: f64,
    squares: f64,
    least: f64,
    most: f64,
    kept: Vec<f64>,
    rng: Option<Box<ChaCha8Rng>>,
}

impl Sample {
    /// Adds one value. A NaN stands for "not measured" and is not counted.
    pub fn push(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        if self.count == 0 {
            (self.least, self.most) = (value, value);
        }
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.least = self.least.min(value);
        self.most = self.most.max(value);
        if self.kept.len() < KEPT {
            self.kept.push(value);
            return;
        }
        let rng = self.rng.get_or_insert_with(|| Box::new(ChaCha8Rng::seed_from_u64(self.count)));
        let slot = ((u128::from(rng.next_u64()) * u128::from(self.count)) >> 64) as usize;
        if let Some(kept) = self.kept.get_mut(slot) {
            *kept = value;
        }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Their standard deviation, with n - 1.
    pub fn deviation(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / (self.count - 1) as f64).sqrt())
    }

    /// The least and the greatest.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.least, self.most))
    }

    /// The values kept: all of them up to [`KEPT`], else a uniform choice.
    pub fn values(&self) -> &[f64] {
        &self.kept
    }

    /// Whether [`Sample::values`] is everything.
    pub fn is_complete(&self) -> bool {
        self.count as usize == self.kept.len()
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let mut sample = Sample::default();
        values.into_iter().for_each(|value| sample.push(value));
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_equal_those_of_the_list() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        let sample: Sample = values.into_iter().collect();
        assert_eq!(sample.mean(), Some(5.0));
        assert!((sample.deviation().unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(sample.range(), Some((2.0, 9.0)));
        assert_eq!(sample.values(), values);
    }

    #[test]
    fn what_was_not_measured_is_not_counted() {
        let sample: Sample = [1.0, f64::NAN, 3.0].into_iter().collect();
        assert_eq!((sample.count(), sample.mean()), (2, Some(2.0)));
        assert_eq!(Sample::default().mean(), None);
    }

    #[test]
    fn a_long_sample_keeps_a_fair_choice() {
        let sample: Sample = (0..200_000).map(f64::from).collect();
        assert_eq!((sample.count(), sample.values().len()), (200_000, KEPT));
        assert!(!sample.is_complete());
        let kept_mean = super::super::mean(sample.values());
        // The standard error of the reservoir's mean is 200000 / sqrt(12 * 2000) = 1291.
        assert!((kept_mean - 99_999.5).abs() < 4.0 * 1291.0, "{kept_mean}");
    }
}
