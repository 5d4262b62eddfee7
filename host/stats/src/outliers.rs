//! Which runs stand apart, by the modified z-score.
//!
//! A mean and a standard deviation are pulled by the very value they should expose. Median and
//! median absolute deviation are not: they hold as long as fewer than half of the values are wild. The
//! score 0.6745 (x - median) / MAD is that of Iglewicz and Hoaglin (1993). Their limit of 3.5 is for large
//! samples: of six normal values, 15 % of the samples have one beyond it, because the MAD of six is itself
//! uncertain. So the limit depends on the number of values, as with Davies and Gather (1993): a sample
//! without outliers has one beyond it in 1 % of the cases. Outliers are shown, never removed: a run that
//! stalled is a fact about the backend until a cause says otherwise.

/// Makes the median absolute deviation estimate a normal distribution's standard deviation.
const CONSISTENCY: f64 = 0.6745;

/// Fewest values of which one can stand apart.
const LEAST: usize = 4;

/// From so many values on, the largest score of a normal sample exceeds this in at most 1 % of the cases, by a
/// million samples each (200,000 and fewer above 30), rounded up. An odd number of values has a higher limit than the
/// even ones beside it, because its median is one of them.
const LIMITS: [(usize, f64); 25] = [
    (4, 15.9),
    (5, 18.8),
    (6, 10.1),
    (7, 10.7),
    (8, 8.0),
    (9, 8.3),
    (10, 6.9),
    (11, 7.1),
    (12, 6.3),
    (13, 6.4),
    (14, 5.9),
    (15, 6.0),
    (16, 5.7),
    (17, 5.7),
    (18, 5.4),
    (19, 5.5),
    (20, 5.3),
    (21, 5.3),
    (22, 5.2),
    (24, 5.1),
    (26, 5.0),
    (30, 4.8),
    (40, 4.6),
    (60, 4.4),
    (200, 4.5),
];

/// The median of some values. `None` when there are none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    crate::percentile::percentile(&sorted, 50.0)
}

/// The score beyond which one of so many values stands apart.
pub fn limit(values: usize) -> f64 {
    let of = LIMITS.iter().rev().find(|(from, _)| *from <= values);
    of.map_or(f64::INFINITY, |(_, limit)| *limit)
}

/// The modified z-score of each value. `None` below four values or when half of them or more are
/// equal, since then nothing tells how far is far.
pub fn scores(values: &[f64]) -> Option<Vec<f64>> {
    let centre = median(values)?;
    let away: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    let spread = median(&away)?;
    (values.len() >= LEAST && spread > 0.0)
        .then(|| values.iter().map(|value| CONSISTENCY * (value - centre) / spread).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    fn apart(values: &[f64]) -> usize {
        let limit = limit(values.len());
        scores(values).map_or(0, |scores| scores.iter().filter(|score| score.abs() > limit).count())
    }

    #[test]
    fn a_stalled_run_stands_apart_and_the_others_do_not() {
        let values = [100.0, 101.0, 99.0, 102.0, 98.0, 60.0];
        assert_eq!(apart(&values), 1);
        // By hand: median 99.5, deviations 0.5 0.5 1.5 1.5 2.5 39.5, MAD 1.5.
        assert!((scores(&values).unwrap()[5] + 0.6745 * 39.5 / 1.5).abs() < 1e-12);
    }

    #[test]
    fn equal_or_few_values_have_no_outliers() {
        assert_eq!(scores(&[5.0, 5.0, 5.0, 9.0]), None);
        assert_eq!(scores(&[1.0, 2.0, 9.0]), None);
        assert_eq!(scores(&[]), None);
        assert_eq!(limit(3), f64::INFINITY);
    }

    #[test]
    fn runs_that_differ_by_chance_rarely_have_one() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut unit = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        // The sum of twelve is near enough to normal, with shorter tails.
        let mut value = || (0..12).map(|_| unit()).sum::<f64>();
        for count in [4, 5, 6, 7, 10, 23, 100] {
            let samples: Vec<Vec<f64>> = (0..3_000).map(|_| (0..count).map(|_| value()).collect()).collect();
            let found = samples.iter().filter(|values| apart(values) > 0).count();
            assert!(found <= 60, "{count} values: {found} of 3000");
        }
    }

    #[test]
    fn never_half_of_the_values_stand_apart() {
        // As wild as three of six can be: the deviation of the wild ones is part of the median deviation.
        assert_eq!(apart(&[10.0, 10.1, 10.2, 500.0, 900.0, 1_000.0]), 0);
        assert_eq!(apart(&[10.0, 10.1, 10.2, 10.3, 900.0, 1_000.0]), 2);
    }
}
