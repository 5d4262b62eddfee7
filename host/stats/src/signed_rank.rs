//! Wilcoxon's signed-rank test, exact, as a second opinion.
//!
//! It looks at ranks where the sign-flip test looks at values, so one wild pair cannot carry it.
//! The report prints both; the verdict rests on the sign-flip test, which was chosen beforehand.
//! Ties get mid-ranks and zeros are dropped (Wilcoxon 1945). Doubling the ranks makes them whole,
//! and then counting subset sums gives the exact distribution with ties and all.

/// Beyond this many pairs the counts are taken as ratios anyway, and the p-value is not computed.
const MOST: usize = 500;

/// The two-sided exact p-value. `None` when there are too many pairs.
pub fn p_value(differences: &[f64]) -> Option<f64> {
    let differences: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if differences.is_empty() {
        return Some(1.0);
    }
    if differences.len() > MOST {
        return None;
    }
    let ranks = doubled_ranks(&differences);
    let positive: usize =
        ranks.iter().zip(&differences).filter(|(_, d)| **d > 0.0).map(|(rank, _)| rank).sum();
    let total: usize = ranks.iter().sum();
    let shares = sum_shares(&ranks, total);
    let low = positive.min(total - positive);
    let tail: f64 = shares[..=low].iter().sum();
    Some((2.0 * tail).min(1.0))
}

/// Twice the rank of each absolute difference; equal ones share the mean of their ranks.
fn doubled_ranks(differences: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..differences.len()).collect();
    order.sort_by(|a, b| differences[*a].abs().total_cmp(&differences[*b].abs()));
    let mut ranks = vec![0; differences.len()];
    let mut from = 0;
    while from < order.len() {
        let size = differences[order[from]].abs();
        let to = from + order[from..].iter().take_while(|i| differences[**i].abs() == size).count();
        // Ranks from + 1 ..= to have the mean (from + 1 + to) / 2.
        order[from..to].iter().for_each(|i| ranks[*i] = from + 1 + to);
        from = to;
    }
    ranks
}

/// The share of sign assignments that gives each sum of positive ranks. Shares rather than counts:
/// they never overflow, and halving is exact.
fn sum_shares(ranks: &[usize], total: usize) -> Vec<f64> {
    let mut shares = vec![0.0; total + 1];
    shares[0] = 1.0;
    let mut reach = 0;
    for rank in ranks {
        reach += rank;
        for sum in (0..=reach).rev() {
            let with = if sum >= *rank { shares[sum - rank] } else { 0.0 };
            shares[sum] = (shares[sum] + with) / 2.0;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired::tests::{scipy, vector};

    #[test]
    fn the_p_value_agrees_with_scipys_exact_wilcoxon() {
        for case in scipy()["sign_flip"].as_array().unwrap() {
            let p = p_value(&vector(&case["differences"])).unwrap();
            assert!((p - case["wilcoxon_p"].as_f64().unwrap()).abs() < 1e-10, "{p} {case}");
        }
    }

    #[test]
    fn ties_share_their_ranks_and_zeros_are_dropped() {
        assert_eq!(doubled_ranks(&[0.1, -0.1, 0.3]), [3, 3, 6]);
        assert_eq!(p_value(&[0.0, 0.1, 0.1, 0.1]), Some(0.25));
        assert_eq!(p_value(&[0.0, 0.0]), Some(1.0));
    }
}
