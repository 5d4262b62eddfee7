//! From an effect to one of four words.
//!
//! The order of the questions is the method. A difference is claimed only by the exact test.
//! Failing that, equivalence is claimed only if the 1 - 2 alpha interval lies inside the margin
//! (two one-sided tests, Schuirmann 1987). Everything else is "inconclusive", which is not "equal",
//! and it says how many more pairs would settle it.

use super::paired::{Effect, fewest_pairs};
use super::{Interval, normal_quantile};

/// What the numbers allow to say of one backend against another. Ratios are of the metric, first
/// over second, so that 1.08 throughput is 8 % more.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The first is better by this share, such as 0.08.
    FasterBy {
        /// By how much, as a share of the second's time or rate.
        share: f64,
    },
    /// The first is worse by this share.
    SlowerBy {
        /// By how much, as a share of the second's time or rate.
        share: f64,
    },
    /// They differ by less than the margin, and that was shown, not merely not refuted.
    EquivalentWithin {
        /// The margin, such as 0.05.
        margin: f64,
    },
    /// Nothing was shown.
    Inconclusive {
        /// How many more pairs (or runs of each) would probably settle it.
        need_more_pairs: u64,
    },
}

/// What is asked of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Chance of a false claim that is accepted.
    pub alpha: f64,
    /// Differences below this share do not matter to anyone.
    pub margin: f64,
    /// How many comparisons Holm's correction covers.
    pub comparisons: usize,
    /// Whether more of the metric is better.
    pub higher_is_better: bool,
}

/// Judges log-ratios of `pairs` pairs. `adjusted_p` is the p-value after Holm's correction.
pub fn judge(effect: &Effect, adjusted_p: f64, pairs: u64, question: &Question) -> Verdict {
    let margin = Interval { low: -(question.margin.ln_1p()), high: question.margin.ln_1p() };
    let equivalent = effect.equivalence.is_some_and(|interval| interval.within(margin));
    // With two pairs an interval is a guess, and a lucky one must not prove anything.
    let enough = pairs >= fewest_pairs(question.alpha, 1);
    if equivalent && enough {
        return Verdict::EquivalentWithin { margin: question.margin };
    }
    // The interval must agree with the test, or the two lines of the report would contradict.
    let apart = effect.interval.is_some_and(|interval| !interval.contains(0.0));
    if adjusted_p < question.alpha && apart {
        let share = effect.mean.exp_m1().abs();
        let better = (effect.mean > 0.0) == question.higher_is_better;
        return if better { Verdict::FasterBy { share } } else { Verdict::SlowerBy { share } };
    }
    let needed = pairs_needed(effect.deviation, effect.mean, question);
    Verdict::Inconclusive { need_more_pairs: needed.saturating_sub(pairs).max(1) }
}

/// Pairs that find the observed difference, or one as large as the margin if that is smaller to
/// look for, with a power of 0.8: n = ((z(1 - alpha/2m) + z(0.8)) s / d)^2, and never fewer than
/// the exact test needs. Differences below the margin are looked for as equivalence, which needs
/// the interval's half-width to fit between the difference and the margin.
pub fn pairs_needed(deviation: f64, observed: f64, question: &Question) -> u64 {
    const POWER: f64 = 0.8;
    const MOST: f64 = 1e6;
    let tests = question.comparisons.max(1) as f64;
    let z = normal_quantile(1.0 - question.alpha / (2.0 * tests)) + normal_quantile(POWER);
    let margin = question.margin.ln_1p();
    let size =
        if observed.abs() >= margin { observed.abs() } else { (margin - observed.abs()).max(margin / 4.0) };
    // Two more than the formula: Student's t is wider than the normal at such numbers.
    let planned = if deviation > 0.0 { (z * deviation / size).powi(2).ceil() + 2.0 } else { 0.0 };
    (planned.min(MOST) as u64).max(fewest_pairs(question.alpha, question.comparisons))
}

#[cfg(test)]
mod tests {
    use super::super::paired;
    use super::*;
    use crate::normal_quantile;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    const QUESTION: Question = Question { alpha: 0.05, margin: 0.05, comparisons: 1, higher_is_better: true };

    fn verdict(log_ratios: &[f64]) -> Verdict {
        let effect = paired::effect(log_ratios, QUESTION.alpha, 1).unwrap();
        judge(&effect, effect.p, log_ratios.len() as u64, &QUESTION)
    }

    /// Normal noise from uniform bits, by the inverse of its distribution.
    fn noise(rng: &mut ChaCha8Rng) -> f64 {
        normal_quantile((rng.next_u32() as f64 + 0.5) / 4_294_967_296.0)
    }

    fn simulated(rng: &mut ChaCha8Rng, pairs: usize, shift: f64, deviation: f64) -> Vec<f64> {
        (0..pairs).map(|_| shift + deviation * noise(rng)).collect()
    }

    fn claims(pairs: usize, shift: f64, deviation: f64, trials: u64) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let claimed = (0..trials).filter(|_| {
            let found = verdict(&simulated(&mut rng, pairs, shift, deviation));
            matches!(found, Verdict::FasterBy { .. } | Verdict::SlowerBy { .. })
        });
        claimed.count() as f64 / trials as f64
    }

    #[test]
    fn a_clear_gain_is_faster_and_a_clear_loss_slower() {
        let gain = [0.10, 0.09, 0.11, 0.10, 0.12, 0.08];
        assert!(matches!(verdict(&gain), Verdict::FasterBy { share } if (share - 0.105).abs() < 0.01));
        assert!(
            matches!(verdict(&gain.map(|g| -g)), Verdict::SlowerBy { share } if (share - 0.095).abs() < 0.01)
        );
    }

    #[test]
    fn for_latencies_less_is_faster() {
        let effect = paired::effect(&[-0.10, -0.09, -0.11, -0.10, -0.12, -0.08], 0.05, 1).unwrap();
        let question = Question { higher_is_better: false, ..QUESTION };
        assert!(matches!(judge(&effect, effect.p, 6, &question), Verdict::FasterBy { .. }));
    }

    #[test]
    fn five_pairs_show_nothing_however_clear_and_ask_for_one_more() {
        assert_eq!(verdict(&[0.1, 0.101, 0.099, 0.1, 0.1]), Verdict::Inconclusive { need_more_pairs: 1 });
    }

    #[test]
    fn small_differences_are_equivalent_once_they_are_known_well() {
        let ratios = [0.004, -0.006, 0.002, 0.005, -0.003, 0.001, -0.002];
        assert_eq!(verdict(&ratios), Verdict::EquivalentWithin { margin: 0.05 });
    }

    #[test]
    fn noise_is_inconclusive_and_names_a_number() {
        let found = verdict(&[0.3, -0.2, 0.1, -0.3, 0.2, -0.1]);
        assert!(
            matches!(found, Verdict::Inconclusive { need_more_pairs } if need_more_pairs > 20),
            "{found:?}"
        );
    }

    #[test]
    fn runs_of_one_backend_against_itself_are_rarely_told_apart() {
        // 200 pairs in one comparison, many times; and the small numbers that people really use.
        for pairs in [6, 8, 12, 200] {
            let trials = if pairs > 20 { 40 } else { 2_000 };
            let rate = claims(pairs, 0.0, 0.05, trials);
            let noise = 3.0 * (0.05_f64 * 0.95 / trials as f64).sqrt();
            assert!(rate <= 0.05 + noise, "{pairs} pairs: {rate}");
        }
    }

    #[test]
    fn a_slowdown_of_a_tenth_is_found_with_the_documented_number_of_pairs() {
        // docs/statistics.md: noise of one log-ratio (standard deviation) and pairs that suffice.
        for (deviation, documented) in [(0.02, 6), (0.05, 6), (0.10, 12), (0.15, 24)] {
            let shift = -(1.1_f64.ln());
            let power = claims(documented, shift, deviation, 400);
            assert!(power >= 0.8, "{deviation}: {power}");
        }
    }
}
