//! Two groups without pairs: Welch's interval and a permutation test.
//!
//! Results of two separate runs, or of a baseline from last week, have no pairs. Then the groups'
//! mean logarithms are compared. If the groups were the same, any split of all values into groups
//! of these sizes would be as likely, which gives the test (Pitman 1937); it is exact while the
//! splits can be listed. The interval is Welch's (1947), which does not ask for equal spread.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::paired::Effect;
use super::{Interval, index_below, mean, normal_cdf, t_quantile, variance};

/// Splits up to this number are all tried.
const LISTED: u64 = 200_000;

/// Splits drawn beyond that.
const DRAWN: u64 = 20_000;

/// Beyond this many values the sum of a random split is normal for all purposes, with the variance
/// of drawing without replacement.
const NORMAL: usize = 500;

/// The difference of the means `first - second`, with intervals and a permutation p-value.
pub fn effect(first: &[f64], second: &[f64], alpha: f64, seed: u64) -> Option<Effect> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let difference = mean(first) - mean(second);
    let interval = |confidence| welch(first, second, confidence);
    Some(Effect {
        mean: difference,
        interval: interval(1.0 - alpha),
        equivalence: interval(1.0 - 2.0 * alpha),
        p: permutation(first, second, seed),
        deviation: pooled_deviation(first, second),
    })
}

/// Welch's interval for the difference of means. `None` when a group has fewer than two values.
pub fn welch(first: &[f64], second: &[f64], confidence: f64) -> Option<Interval> {
    if first.len() < 2 || second.len() < 2 {
        return None;
    }
    let centre = mean(first) - mean(second);
    let (a, b) = (variance(first) / first.len() as f64, variance(second) / second.len() as f64);
    if a + b == 0.0 {
        return Some(Interval { low: centre, high: centre });
    }
    let freedom =
        (a + b).powi(2) / (a.powi(2) / (first.len() as f64 - 1.0) + b.powi(2) / (second.len() as f64 - 1.0));
    let half = t_quantile(0.5 + confidence / 2.0, freedom) * (a + b).sqrt();
    Some(Interval { low: centre - half, high: centre + half })
}

/// Two-sided p-value of the difference of means: twice the smaller tail, as scipy takes it, since
/// groups of different sizes do not make the distribution symmetric.
pub fn permutation(first: &[f64], second: &[f64], seed: u64) -> f64 {
    let mut all: Vec<f64> = first.iter().chain(second).copied().collect();
    let observed: f64 = first.iter().sum();
    if all.len() > NORMAL {
        let (n, m) = (first.len() as f64, second.len() as f64);
        let deviation = (variance(&all) * n * m / (n + m)).sqrt();
        let z = (observed - mean(&all) * n).abs() / deviation.max(f64::MIN_POSITIVE);
        return (2.0 * normal_cdf(-z)).min(1.0);
    }
    // Sums in another order differ in the last digits. A tie must count as a tie.
    let slack = 1e-12 * all.iter().map(|value| value.abs()).sum::<f64>();
    let (mut below, mut above) = (0_u64, 0_u64);
    let mut count = |sum: f64| {
        below += u64::from(sum <= observed + slack);
        above += u64::from(sum >= observed - slack);
    };
    let (extra, tried) = match splits(all.len() as u64, first.len() as u64) {
        Some(listed) if listed <= LISTED => {
            each_split(&all, first.len(), 0.0, &mut count);
            (0, listed)
        }
        _ => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for _ in 0..DRAWN {
                for place in 0..first.len() {
                    let other = place + index_below(&mut rng, all.len() - place);
                    all.swap(place, other);
                }
                count(all[..first.len()].iter().sum());
            }
            // The observed split counts as one of those drawn.
            (1, DRAWN)
        }
    };
    let tail = (below.min(above) + extra) as f64 / (tried + extra) as f64;
    (2.0 * tail).min(1.0)
}

/// Calls `found` with the sum of every choice of `count` values.
fn each_split(values: &[f64], count: usize, sum: f64, found: &mut impl FnMut(f64)) {
    if count == 0 {
        return found(sum);
    }
    for (index, value) in values.iter().enumerate() {
        if values.len() - index < count {
            break;
        }
        each_split(&values[index + 1..], count - 1, sum + value, found);
    }
}

/// Binomial coefficient, or `None` when it exceeds what would be listed by far.
fn splits(all: u64, chosen: u64) -> Option<u64> {
    let chosen = chosen.min(all - chosen);
    (1..=chosen).try_fold(1_u64, |product, step| {
        let next = product.checked_mul(all - chosen + step)? / step;
        (next <= LISTED * 1_000).then_some(next)
    })
}

fn pooled_deviation(first: &[f64], second: &[f64]) -> f64 {
    let part = |values: &[f64]| if values.len() > 1 { variance(values) } else { 0.0 };
    // The spread of the difference of one value from each side, to plan like pairs.
    (part(first) + part(second)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired::tests::{scipy, vector};

    #[test]
    fn welch_and_permutation_agree_with_scipy() {
        for case in scipy()["unpaired"].as_array().unwrap() {
            let (a, b) = (vector(&case["first"]), vector(&case["second"]));
            let interval = welch(&a, &b, 0.95).unwrap();
            assert!((interval.low - case["welch_low"].as_f64().unwrap()).abs() < 1e-8, "{interval:?} {case}");
            assert!((interval.high - case["welch_high"].as_f64().unwrap()).abs() < 1e-8);
            let p = permutation(&a, &b, 1);
            assert!((p - case["permutation_p"].as_f64().unwrap()).abs() < 1e-10, "{p} {case}");
        }
    }

    #[test]
    fn drawn_splits_come_close_to_the_t_test_for_large_groups() {
        let first: Vec<f64> = (0..40).map(|i| f64::from(i * 37 % 41)).collect();
        let second: Vec<f64> = (0..40).map(|i| f64::from(i * 29 % 43) + 6.0).collect();
        let p = permutation(&first, &second, 1);
        assert!((0.01..0.06).contains(&p), "{p}");
    }

    #[test]
    fn single_runs_have_a_difference_but_no_interval() {
        let effect = effect(&[2.0], &[1.0], 0.05, 1).unwrap();
        assert_eq!((effect.mean, effect.interval, effect.p), (1.0, None, 1.0));
    }
}
