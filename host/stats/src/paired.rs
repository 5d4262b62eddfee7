//! Did one side of a pair differ from the other? The exact sign-flip test, and the interval.
//!
//! Two backends that run one after the other share the machine's mood of that minute. Comparing
//! inside each pair removes it. The unit is the logarithm of the ratio, because "twice as fast" and
//! "half as fast" are then equally far from "equal", and because errors of a run multiply.
//!
//! If the backends were equal, each log-ratio would be as likely with the other sign. Flipping all
//! signs in all ways gives the exact distribution of the mean (Fisher 1935; Pitman 1937): no shape
//! is assumed. With n pairs there are 2^n ways, so the least two-sided p is 2 / 2^n, and six pairs
//! are the fewest that can show p < 0.05.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::bootstrap::student;
use super::{Interval, mean, normal_cdf};

/// Up to this many pairs every flip is tried: a million sums at most.
pub const ENUMERATED: usize = 20;

/// Flips drawn beyond that.
const DRAWN: u64 = 50_000;

/// Beyond this many pairs the flipped sum is normal for all purposes, with the variance that the
/// flips give it: the sum of squares.
const NORMAL: usize = 500;

/// The two-sided p-value of the mean of `differences` being zero.
pub fn sign_flip(differences: &[f64], seed: u64) -> f64 {
    let observed: f64 = differences.iter().sum::<f64>().abs();
    // Sums in another order differ in the last digits. A tie must count as a tie.
    let scale: f64 = differences.iter().map(|d| d.abs()).sum();
    let reached = observed - 1e-12 * scale;
    if differences.is_empty() || scale == 0.0 {
        return 1.0;
    }
    match differences.len() {
        n if n <= ENUMERATED => enumerate(differences, reached),
        n if n <= NORMAL => draw(differences, reached, seed),
        _ => {
            let squares: f64 = differences.iter().map(|d| d * d).sum();
            (2.0 * normal_cdf(-observed / squares.sqrt())).min(1.0)
        }
    }
}

/// Every combination once, in Gray code order: each step flips a single sign.
fn enumerate(differences: &[f64], reached: f64) -> f64 {
    let mut signed = differences.to_vec();
    let mut sum: f64 = signed.iter().sum();
    let mut extreme = 0_u64;
    let ways = 1_u64 << differences.len();
    for step in 1..=ways {
        extreme += u64::from(sum.abs() >= reached);
        if let Some(value) = signed.get_mut(step.trailing_zeros() as usize) {
            sum -= 2.0 * *value;
            *value = -*value;
        }
        // A million small errors would add up.
        if step % 1024 == 0 {
            sum = signed.iter().sum();
        }
    }
    extreme as f64 / ways as f64
}

/// The observed arrangement counts as one of the draws, so that p is never zero (Phipson and Smyth
/// 2010).
fn draw(differences: &[f64], reached: f64, seed: u64) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut extreme = 0_u64;
    for _ in 0..DRAWN {
        let mut sum = 0.0;
        for chunk in differences.chunks(64) {
            let bits = rng.next_u64();
            for (place, value) in chunk.iter().enumerate() {
                sum += if bits >> place & 1 == 1 { *value } else { -*value };
            }
        }
        extreme += u64::from(sum.abs() >= reached);
    }
    (extreme + 1) as f64 / (DRAWN + 1) as f64
}

/// What pairs say about a difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// Mean difference.
    pub mean: f64,
    /// Interval at the confidence asked for. `None` below two values.
    pub interval: Option<Interval>,
    /// The narrower interval of the equivalence test, at 1 - 2 alpha.
    pub equivalence: Option<Interval>,
    /// Two-sided p-value.
    pub p: f64,
    /// Standard deviation of one difference. Zero below two values.
    pub deviation: f64,
}

/// Everything about paired differences: mean, Student intervals and the sign-flip p-value.
pub fn effect(differences: &[f64], alpha: f64, seed: u64) -> Option<Effect> {
    if differences.is_empty() {
        return None;
    }
    let several = differences.len() > 1;
    Some(Effect {
        mean: mean(differences),
        interval: several.then(|| student(differences, 1.0 - alpha)),
        equivalence: several.then(|| student(differences, 1.0 - 2.0 * alpha)),
        p: sign_flip(differences, seed),
        deviation: if several { super::variance(differences).sqrt() } else { 0.0 },
    })
}

/// The fewest pairs whose sign-flip test can reach `alpha` after Holm's correction for
/// `comparisons`.
pub fn fewest_pairs(alpha: f64, comparisons: usize) -> u64 {
    let tests = comparisons.max(1) as f64;
    (1..60).find(|n| tests * 2.0 / f64::from(*n).exp2() <= alpha).map_or(60, |n| n as u64)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::Value;

    /// Numbers that scipy gave once; the script that asked for them lies beside them.
    pub(crate) fn scipy() -> Value {
        serde_json::from_str(include_str!("../tests/data/scipy_vectors.json")).unwrap()
    }

    pub(crate) fn vector(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    #[test]
    fn the_sign_flip_test_agrees_with_scipys_permutation_test() {
        for case in scipy()["sign_flip"].as_array().unwrap() {
            let p = sign_flip(&vector(&case["differences"]), 1);
            assert!((p - case["p"].as_f64().unwrap()).abs() < 1e-12, "{p} {case}");
        }
    }

    #[test]
    fn drawing_agrees_with_enumerating() {
        let differences: Vec<f64> = (0..18).map(|i| f64::from(i * 37 % 23) - 8.0).collect();
        let exact = sign_flip(&differences, 1);
        let sum: f64 = differences.iter().sum::<f64>().abs();
        assert!((draw(&differences, sum - 1e-9, 3) - exact).abs() < 0.01);
    }

    #[test]
    fn many_pairs_give_what_drawing_gives() {
        let differences: Vec<f64> = (0..600).map(|i| f64::from(i * 37 % 101) - 48.0).collect();
        let observed = differences.iter().sum::<f64>().abs();
        let (normal, drawn) = (sign_flip(&differences, 1), draw(&differences, observed - 1e-9, 3));
        assert!((normal - drawn).abs() < 0.01, "{normal} {drawn}");
    }

    #[test]
    fn six_pairs_are_the_fewest_that_can_show_anything() {
        assert!(sign_flip(&[0.1; 5], 1) > 0.05);
        assert_eq!(sign_flip(&[0.1; 6], 1), 2.0 / 64.0);
        assert_eq!((fewest_pairs(0.05, 1), fewest_pairs(0.05, 3)), (6, 7));
    }

    #[test]
    fn no_difference_at_all_gives_one() {
        assert_eq!(sign_flip(&[0.0; 8], 1), 1.0);
        assert_eq!(sign_flip(&[], 1), 1.0);
        assert_eq!(effect(&[], 0.05, 1), None);
    }
}
