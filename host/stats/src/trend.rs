//! Is there a trend, and how steep is it? Mann–Kendall and Theil–Sen.
//!
//! Both look at pairs of points only, so neither cares how values are distributed, and a few wild
//! ones change little. See Mann (1945), Kendall (1975), Sen (1968).

use super::normal_cdf;
use super::outliers::median;

/// More points than this say nothing more; callers thin their series first.
pub const MOST_POINTS: usize = 500;

/// A monotone trend in a series.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Trend {
    /// Median slope over all pairs, per unit of x.
    pub slope: f64,
    /// Two-sided p-value of no trend (Mann–Kendall, corrected for ties and serial correlation).
    pub p_value: f64,
    /// Share of rising minus falling pairs, from -1 to 1.
    pub tau: f64,
}

/// The trend of `points`, by rising x. `None` below eight points or without two different x.
///
/// Windows of one run resemble their neighbours, which would make chance look like a trend: the
/// variance is enlarged for the autocorrelation of the ranks at lag one (Hamed and Rao, 1998).
pub fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    if points.len() < 8 {
        return None;
    }
    let slope = slope(points)?;
    let values: Vec<f64> = points.iter().map(|point| point.1).collect();
    let n = values.len() as f64;
    let pairs = n * (n - 1.0) / 2.0;
    let mut score = 0.0;
    for (i, earlier) in values.iter().enumerate() {
        score += values[i + 1..].iter().map(|later| sign(later - earlier)).sum::<f64>();
    }
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted
        .chunk_by(|a, b| a == b)
        .map(|tied| {
            let t = tied.len() as f64;
            t * (t - 1.0) * (2.0 * t + 5.0)
        })
        .sum();
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - ties) / 18.0;
    let p_value = if variance > 0.0 {
        let z = (score - sign(score)) / (variance * inflation(points, slope)).sqrt();
        2.0 * (1.0 - normal_cdf(z.abs()))
    } else {
        1.0
    };
    Some(Trend { slope, p_value: p_value.clamp(0.0, 1.0), tau: score / pairs })
}

/// Theil–Sen: the median slope over all pairs. `None` without two different x.
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::new();
    for (i, (x, y)) in points.iter().enumerate() {
        slopes.extend(
            points[i + 1..].iter().filter(|later| later.0 > *x).map(|later| (later.1 - y) / (later.0 - x)),
        );
    }
    median(&slopes)
}

/// How much serial correlation enlarges the variance: `(1 + r) / (1 - r)` with the correlation at lag one
/// of what is left once the slope is taken out.
fn inflation(points: &[(f64, f64)], slope: f64) -> f64 {
    let rest: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    let mean = super::mean(&rest);
    let deviation: Vec<f64> = rest.iter().map(|value| value - mean).collect();
    let whole: f64 = deviation.iter().map(|d| d * d).sum();
    if whole <= 0.0 {
        return 1.0;
    }
    let lagged: f64 = deviation.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let r = (lagged / whole).clamp(0.0, 0.9);
    (1.0 + r) / (1.0 - r)
}

fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    fn series(n: usize, value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..n).map(|i| (i as f64, value(i as f64))).collect()
    }

    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut stream = ChaCha8Rng::seed_from_u64(seed);
        move || f64::from(stream.next_u32()) / f64::from(u32::MAX) - 0.5
    }

    #[test]
    fn a_line_is_its_own_slope_and_outliers_do_not_bend_it() {
        let mut line = series(50, |x| 3.0 * x + 1.0);
        line[10].1 = 1e6;
        line[40].1 = -1e6;
        let found = trend(&line).unwrap();
        assert!((found.slope - 3.0).abs() < 1e-9 && found.p_value < 1e-9, "{found:?}");
    }

    #[test]
    fn noise_without_a_trend_is_called_one_as_often_as_promised() {
        let mut false_alarms = 0;
        for seed in 0..1_000 {
            let mut noise = noise(seed);
            let points: Vec<(f64, f64)> = (0..60).map(|i| (f64::from(i), noise())).collect();
            false_alarms += u32::from(trend(&points).unwrap().p_value < 0.05);
        }
        assert!((10..=75).contains(&false_alarms), "{false_alarms} of 1000");
    }

    #[test]
    fn a_small_drift_under_noise_is_found() {
        let mut noise = noise(7);
        let points: Vec<(f64, f64)> =
            (0..60).map(|i| (f64::from(i), 100.0 + 0.2 * f64::from(i) + 4.0 * noise())).collect();
        let found = trend(&points).unwrap();
        assert!(found.p_value < 1e-6 && (found.slope - 0.2).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn equal_values_have_no_trend_and_few_points_no_answer() {
        let flat = trend(&series(20, |_| 5.0)).unwrap();
        assert_eq!((flat.slope, flat.p_value, flat.tau), (0.0, 1.0, 0.0));
        assert!(trend(&series(7, |x| x)).is_none());
        assert!(trend(&[(1.0, 2.0); 10]).is_none());
    }

    #[test]
    fn the_score_agrees_with_one_counted_by_hand() {
        // 28 pairs; 25 rise and 3 fall: tau = 22 / 28.
        let values = [1.0, 3.0, 2.0, 4.0, 6.0, 5.0, 8.0, 7.0];
        let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, v)| (i as f64, *v)).collect();
        assert!((trend(&points).unwrap().tau - 22.0 / 28.0).abs() < 1e-12);
    }
}
