//! Percentiles of values in memory.

/// The `p`-th percentile (0 to 100) of values in ascending order, by linear interpolation at
/// position `(n - 1) * p / 100`. `None` if there are no values or `p` is out of range.
pub fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    if !(0.0..=100.0).contains(&p) {
        return None;
    }
    let position = sorted.len().checked_sub(1)? as f64 * p / 100.0;
    let below = position.floor() as usize;
    let low = *sorted.get(below)?;
    let high = *sorted.get(below + 1).unwrap_or(&low);
    Some(low + (high - low) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_between_its_neighbours() {
        let values = [10.0, 20.0, 30.0, 40.0];
        assert_eq!(percentile(&values, 0.0), Some(10.0));
        assert_eq!(percentile(&values, 50.0), Some(25.0));
        assert_eq!(percentile(&values, 75.0), Some(32.5));
        assert_eq!(percentile(&values, 100.0), Some(40.0));
    }

    #[test]
    fn one_value_is_every_percentile() {
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
    }

    #[test]
    fn no_values_or_an_impossible_percentile_give_none() {
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[1.0], 101.0), None);
        assert_eq!(percentile(&[1.0], f64::NAN), None);
    }
}
