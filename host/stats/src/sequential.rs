//! Paired differences that may be looked at after every pair.
//!
//! Whoever looks at a p-value again and again, and stops when it is small, finds a difference sooner or later where
//! there is none. A bet does not have that fault. If two backends are equal, and the order within a pair is drawn, the
//! sign of each difference is a fair coin whatever its size, whatever came before, however the machine drifts. Somebody
//! who stakes a share of the wealth on the next sign, chosen without knowing it, can then expect to win nothing, and
//! has 20 times the first wealth at *any* moment with a chance of 1 in 20 at most (Ville 1939). The wealth is an
//! e-process, and 1 over the most that it ever was is a p-value that holds at every look.
//!
//! The stake is tanh(c |d| / r), with r the root mean square of the differences so far: large differences are worth
//! more, and no single one decides. The best c is not known beforehand, so the wealth is shared among several, and
//! between the two signs.

use super::paired::Effect;
use super::{Interval, mean, variance};

/// Stakes among which the wealth is shared: from differences that are half as large as their spread up to those that
/// are the same each time.
const STAKES: [f64; 4] = [0.5, 1.0, 2.0, 4.0];
/// No stake is everything: whoever lost it could never win again.
const MOST: f64 = 1.0 - 1e-9;
/// How far from the mean, in steps that grow, an end of an interval is looked for, and how often it is halved then.
const STEPS: usize = 200;
const HALVINGS: usize = 60;

/// On which sign somebody bets.
#[derive(Clone, Copy)]
enum Side {
    Above,
    Below,
}

/// The most that bets on differences from `centre` being on one `side` of it ever made of a wealth of 1.
fn most(differences: &[f64], centre: f64, side: Side) -> f64 {
    course(differences, centre, side).fold(1.0, f64::max)
}

/// The wealth after each difference.
fn course(differences: &[f64], centre: f64, side: Side) -> impl Iterator<Item = f64> {
    let mut squares = 0.0;
    let mut shares = [1.0_f64; STAKES.len()];
    differences.iter().enumerate().map(move |(index, value)| {
        let off = match side {
            Side::Above => value - centre,
            Side::Below => centre - value,
        };
        squares += off * off;
        let size = (squares / (index + 1) as f64).sqrt();
        if size > 0.0 {
            for (share, stake) in shares.iter_mut().zip(STAKES) {
                *share *= 1.0 + (stake * off / size).tanh().clamp(-MOST, MOST);
            }
        }
        shares.iter().sum::<f64>() / shares.len() as f64
    })
}

/// A two-sided p-value of the differences being symmetric about 0, which holds at whatever moment it is looked at.
#[must_use]
pub fn p_value(differences: &[f64]) -> f64 {
    let both = course(differences, 0.0, Side::Above).zip(course(differences, 0.0, Side::Below));
    let most = both.map(|(above, below)| (above + below) / 2.0).fold(1.0, f64::max);
    1.0 / most
}

/// Where the centre of the differences is, with a chance of error of at most `tail` at each end over all looks. `None`
/// where there are too few to exclude anything.
#[must_use]
pub fn interval(differences: &[f64], tail: f64) -> Option<Interval> {
    if differences.len() < 2 {
        return None;
    }
    let low = end(differences, tail, Side::Above)?;
    let high = end(differences, tail, Side::Below)?;
    Some(Interval { low, high })
}

/// The nearest centre on one side of the mean that bets have refuted.
fn end(differences: &[f64], tail: f64, side: Side) -> Option<f64> {
    let away = match side {
        Side::Above => -1.0,
        Side::Below => 1.0,
    };
    let middle = mean(differences);
    let refuted = |distance: f64| most(differences, middle + away * distance, side) >= 1.0 / tail;
    let mut near = 0.0;
    let mut far = (variance(differences).sqrt() / 8.0).max(middle.abs() * 1e-9).max(1e-12);
    let mut steps = 0;
    while !refuted(far) {
        steps += 1;
        if steps > STEPS || !far.is_finite() {
            return None;
        }
        near = far;
        far *= 1.25;
    }
    for _ in 0..HALVINGS {
        let half = f64::midpoint(near, far);
        if refuted(half) { far = half } else { near = half }
    }
    Some(middle + away * far)
}

/// What pairs say about a difference, at whatever moment it is asked.
#[must_use]
pub fn effect(differences: &[f64], alpha: f64) -> Option<Effect> {
    if differences.is_empty() {
        return None;
    }
    Some(Effect {
        mean: mean(differences),
        interval: interval(differences, alpha / 2.0),
        equivalence: interval(differences, alpha),
        p: p_value(differences),
        deviation: if differences.len() > 1 { variance(differences).sqrt() } else { 0.0 },
    })
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    use serde_json::Value;

    use super::super::verdict::{Question, Verdict, judge};
    use super::super::{normal_quantile, paired};
    use super::*;

    const QUESTION: Question = Question { alpha: 0.05, margin: 0.05, comparisons: 1, higher_is_better: true };
    const LONGEST: usize = 60;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../tests/data/sequential_vectors.json")).unwrap()
    }

    fn uniform(rng: &mut ChaCha8Rng) -> f64 {
        (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0
    }

    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        normal_quantile(uniform(rng))
    }

    /// Student's t with two degrees of freedom, which has no variance, by the inverse of its distribution.
    fn heavy(rng: &mut ChaCha8Rng) -> f64 {
        let u = 2.0 * uniform(rng) - 1.0;
        u * (2.0 / (1.0 - u * u)).sqrt()
    }

    /// Log-ratios of a campaign of two equal backends on a machine whose mood lasts, drifts and has fits, in turns
    /// whose order is drawn.
    fn moody(rng: &mut ChaCha8Rng) -> Vec<f64> {
        let drift = 0.02 * normal(rng);
        let mut mood = 0.0;
        let mut run = |rng: &mut ChaCha8Rng| {
            mood = 0.8 * mood + 0.05 * heavy(rng) + drift;
            mood
        };
        let mut pair = || {
            let (first, second) = (run(rng), run(rng));
            let in_order = rng.next_u32() & 1 == 0;
            if in_order { first - second } else { second - first }
        };
        (0..LONGEST).map(|_| pair()).collect()
    }

    /// The first verdict that is one, and after how many pairs.
    fn watched(differences: &[f64]) -> Option<(usize, Verdict)> {
        (2..=differences.len()).find_map(|pairs| {
            let effect = effect(&differences[..pairs], QUESTION.alpha)?;
            let verdict = judge(&effect, effect.p, pairs as u64, &QUESTION);
            (!matches!(verdict, Verdict::Inconclusive { .. })).then_some((pairs, verdict))
        })
    }

    fn claims_difference(found: &Option<(usize, Verdict)>) -> bool {
        matches!(found, Some((_, Verdict::FasterBy { .. } | Verdict::SlowerBy { .. })))
    }

    #[test]
    fn it_agrees_with_numbers_that_were_computed_elsewhere() {
        for case in vectors().as_array().unwrap() {
            let differences = paired::tests::vector(&case["differences"]);
            let close = |found: f64, name: &str| {
                let wanted = case[name].as_f64().unwrap();
                assert!(
                    (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
                    "{name}: {found}, not {wanted}"
                );
            };
            close(p_value(&differences), "p");
            let found = interval(&differences, 0.025).unwrap();
            close(found.low, "low");
            close(found.high, "high");
        }
    }

    #[test]
    fn of_ten_thousand_campaigns_of_equals_looked_at_after_every_pair_one_in_twenty_errs_at_most() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let campaigns = 10_000;
        let wrong = (0..campaigns).filter(|_| p_value(&moody(&mut rng)) <= 0.05).count();
        assert!(wrong <= campaigns / 20, "{wrong}");
        // It is no bet that never pays either.
        assert!(wrong >= campaigns / 200, "{wrong}");
    }

    #[test]
    fn a_difference_as_large_as_the_margin_is_rarely_called_none() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let trials = 300;
        let equal = (0..trials).filter(|_| {
            let differences: Vec<f64> = (0..30).map(|_| 0.05_f64.ln_1p() + 0.03 * normal(&mut rng)).collect();
            matches!(watched(&differences), Some((_, Verdict::EquivalentWithin { .. })))
        });
        assert!(equal.count() <= trials / 20 + 11);
    }

    #[test]
    fn a_large_difference_ends_it_with_the_sixth_or_seventh_pair_and_equals_end_it_too() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for _ in 0..20 {
            let differences: Vec<f64> = (0..LONGEST).map(|_| 0.18 + 0.02 * normal(&mut rng)).collect();
            let found = watched(&differences);
            assert!(claims_difference(&found) && found.is_some_and(|(pairs, _)| pairs <= 8), "{found:?}");
            let differences: Vec<f64> = (0..LONGEST).map(|_| 0.01 * normal(&mut rng)).collect();
            let found = watched(&differences);
            assert!(matches!(found, Some((_, Verdict::EquivalentWithin { .. }))), "{found:?}");
        }
    }

    #[test]
    fn five_pairs_show_nothing_however_clear() {
        assert!(p_value(&[0.1; 5]) > 0.05);
        assert_eq!(interval(&[0.1; 1], 0.025), None);
        assert_eq!(effect(&[], 0.05), None);
        assert_eq!(p_value(&[0.0; 30]), 1.0);
    }

    #[test]
    fn looking_again_never_takes_a_finding_back() {
        let mut differences = vec![0.2; 8];
        let before = p_value(&differences);
        differences.extend([-0.2; 20]);
        assert_eq!(p_value(&differences), before);
    }
}
