//! Holm's step-down correction: several comparisons, one error rate.
//!
//! With three backends there are three comparisons, and one of them is "significant" by chance
//! three times as often. Holm (1979) keeps the chance of any false claim at the nominal level,
//! assumes nothing about how the tests depend on each other, and is never weaker than Bonferroni.

/// Adjusted p-values, in the order given. Compare each with the nominal level.
pub fn adjust(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut highest = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        highest = highest.max((factor * p_values[index]).min(1.0));
        adjusted[index] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_example_holds() {
        // statsmodels.stats.multitest.multipletests([0.01, 0.04, 0.03, 0.005], method="holm")
        let expected = [0.03, 0.06, 0.06, 0.02];
        for (ours, theirs) in adjust(&[0.01, 0.04, 0.03, 0.005]).iter().zip(expected) {
            assert!((ours - theirs).abs() < 1e-12);
        }
    }

    #[test]
    fn one_comparison_is_left_alone_and_none_is_no_trouble() {
        assert_eq!(adjust(&[0.031]), [0.031]);
        assert!(adjust(&[]).is_empty());
    }

    #[test]
    fn no_p_value_exceeds_one() {
        assert_eq!(adjust(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
