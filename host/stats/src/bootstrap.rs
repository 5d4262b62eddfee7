//! Interval of a mean by the bias-corrected and accelerated bootstrap (BCa).
//!
//! Run times have long right tails and there are few of them. BCa corrects the plain percentile
//! interval for both, and needs no assumption about the shape (Efron 1987). For a mean the
//! jackknife that gives the acceleration has a closed form, so it costs one pass.
//!
//! Above [`LARGE`] values the central limit theorem has long taken over, and Student's interval,
//! which BCa converges to, saves the work.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{
    Interval, index_below, mean, normal_cdf, normal_quantile, quantile_of_sorted, t_quantile, variance,
};

/// Resamples drawn unless the caller knows better.
pub const RESAMPLES: usize = 4_000;

/// From here on Student's interval is used.
pub const LARGE: usize = 500;

/// Interval of the mean of `values` at `confidence` (0.95). `None` below three values or when they
/// cannot vary: a resample of two knows nothing that the two do not say themselves.
pub fn mean_interval(values: &[f64], confidence: f64, resamples: usize, seed: u64) -> Option<Interval> {
    if values.len() < 3 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    if values.iter().all(|value| *value == values[0]) {
        return Some(Interval { low: values[0], high: values[0] });
    }
    if values.len() > LARGE {
        return Some(student(values, confidence));
    }
    let means = resampled_means(values, resamples, seed);
    let shares = bca_shares(values, &means, confidence);
    Some(Interval {
        low: quantile_of_sorted(&means, shares.low),
        high: quantile_of_sorted(&means, shares.high),
    })
}

/// Interval of a mean by Student's t.
pub fn student(values: &[f64], confidence: f64) -> Interval {
    let count = values.len() as f64;
    let half = t_quantile(0.5 + confidence / 2.0, count - 1.0) * (variance(values) / count).sqrt();
    let centre = mean(values);
    Interval { low: centre - half, high: centre + half }
}

fn resampled_means(values: &[f64], resamples: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..resamples.max(1))
        .map(|_| {
            let drawn = (0..values.len()).map(|_| values[index_below(&mut rng, values.len())]);
            drawn.sum::<f64>() / values.len() as f64
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    means
}

/// Which quantiles of the resampled means are the ends.
fn bca_shares(values: &[f64], sorted_means: &[f64], confidence: f64) -> Interval {
    let observed = mean(values);
    // Ties count half, as scipy does: with few values many resamples equal the observed mean.
    let below = sorted_means.partition_point(|m| *m < observed);
    let up_to = sorted_means.partition_point(|m| *m <= observed);
    let share = (below + up_to) as f64 / (2 * sorted_means.len()) as f64;
    let edge = 0.5 / sorted_means.len() as f64;
    let bias = normal_quantile(share.clamp(edge, 1.0 - edge));
    let acceleration = acceleration(values, observed);
    let moved = |tail: f64| {
        let z = bias + normal_quantile(tail);
        normal_cdf(bias + z / (1.0 - acceleration * z))
    };
    let tail = (1.0 - confidence) / 2.0;
    Interval { low: moved(tail), high: moved(1.0 - tail) }
}

/// The jackknife's skewness. Leaving out value i moves the mean by (mean - value) / (n - 1), and
/// the common factor cancels.
fn acceleration(values: &[f64], observed: f64) -> f64 {
    let (squares, cubes) = values.iter().fold((0.0, 0.0), |(squares, cubes), value| {
        let away = value - observed;
        (squares + away.powi(2), cubes + away.powi(3))
    });
    if squares == 0.0 { 0.0 } else { cubes / (6.0 * f64::powf(squares, 1.5)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired::tests::{scipy, vector};

    #[test]
    fn the_interval_agrees_with_scipys_bca() {
        for case in scipy()["bca"].as_array().unwrap() {
            let values = vector(&case["values"]);
            let ours = mean_interval(&values, 0.95, 40_000, 7).unwrap();
            let (low, high) = (case["low"].as_f64().unwrap(), case["high"].as_f64().unwrap());
            // Both sides carry the noise of their own resamples.
            let allowed = 0.02 * (high - low);
            assert!(
                (ours.low - low).abs() < allowed && (ours.high - high).abs() < allowed,
                "{ours:?} {case}"
            );
        }
    }

    #[test]
    fn students_interval_agrees_with_scipy() {
        for case in scipy()["bca"].as_array().unwrap() {
            let ours = student(&vector(&case["values"]), 0.95);
            assert!((ours.low - case["t_low"].as_f64().unwrap()).abs() < 1e-8);
            assert!((ours.high - case["t_high"].as_f64().unwrap()).abs() < 1e-8);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let values = [1.0, 2.0, 4.0, 8.0, 9.0];
        let interval = |seed| mean_interval(&values, 0.95, 500, seed);
        assert_eq!(interval(1), interval(1));
        assert_ne!(interval(1), interval(2));
    }

    #[test]
    fn too_little_data_gives_no_interval_and_equal_values_a_point() {
        assert_eq!(mean_interval(&[1.0, 2.0], 0.95, 100, 1), None);
        assert_eq!(mean_interval(&[3.0; 4], 0.95, 100, 1), Some(Interval { low: 3.0, high: 3.0 }));
    }

    #[test]
    fn large_samples_take_students_interval() {
        let values: Vec<f64> = (0..600).map(f64::from).collect();
        assert_eq!(mean_interval(&values, 0.95, 100, 1), Some(student(&values, 0.95)));
    }
}
