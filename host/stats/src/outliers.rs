//! Which runs stand apart, by the modified z-score.
//!
//! A mean and a standard deviation are pulled by the very value they should expose. Median and
//! median absolute deviation are not. The score 0.6745 (x - median) / MAD and the limit 3.5 are
//! those of Iglewicz and Hoaglin (1993). Outliers are shown, never removed: a run that stalled is
//! a fact about the backend until a cause says otherwise.

/// Scores beyond this are outliers.
pub const LIMIT: f64 = 3.5;

/// Makes the median absolute deviation estimate a normal distribution's standard deviation.
const CONSISTENCY: f64 = 0.6745;

/// The median of some values. `None` when there are none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    crate::percentile::percentile(&sorted, 50.0)
}

/// The modified z-score of each value. `None` below four values or when more than half of them are
/// equal, since then nothing tells how far is far.
pub fn scores(values: &[f64]) -> Option<Vec<f64>> {
    const LEAST: usize = 4;
    let centre = median(values)?;
    let away: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    let spread = median(&away)?;
    (values.len() >= LEAST && spread > 0.0)
        .then(|| values.iter().map(|value| CONSISTENCY * (value - centre) / spread).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_run_stands_apart_and_the_others_do_not() {
        let scores = scores(&[100.0, 101.0, 99.0, 102.0, 98.0, 60.0]).unwrap();
        assert_eq!(scores.iter().filter(|score| score.abs() > LIMIT).count(), 1);
        // By hand: median 99.5, deviations 0.5 0.5 1.5 1.5 2.5 39.5, MAD 1.5.
        assert!((scores[5] + 0.6745 * 39.5 / 1.5).abs() < 1e-12);
    }

    #[test]
    fn equal_or_few_values_have_no_outliers() {
        assert_eq!(scores(&[5.0, 5.0, 5.0, 9.0]), None);
        assert_eq!(scores(&[1.0, 2.0, 9.0]), None);
        assert_eq!(scores(&[]), None);
    }
}
