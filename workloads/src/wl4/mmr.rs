//! Maximal marginal relevance: relevance against similarity to what was chosen already.
//!
//! Greedy. The similarity of each candidate to the chosen set is kept up to date as documents are
//! chosen, so a choice of k among n costs n·k inner products at most.

use bench_dataflow::frame::Frame;

use crate::operator::{Operator, OperatorError, Output, decode};
use crate::vector;
use crate::wl4::dedup::Vectors;
use crate::wl4::records::Ranked;

/// Indexes of the chosen candidates, in order of choice. `similarity(i, j)` is their cosine.
pub fn select(
    relevance: &[f64],
    lambda: f64,
    k: usize,
    mut similarity: impl FnMut(usize, usize) -> f64,
) -> Vec<usize> {
    let n = relevance.len();
    if n <= k {
        return (0..n).collect();
    }
    // max(0, max cos): starting from 0 gives the clamp for free.
    let mut closest = vec![0.0f64; n];
    let mut left: Vec<usize> = (0..n).collect();
    let mut chosen = Vec::with_capacity(k);
    while chosen.len() < k {
        let value = |i: usize| lambda * relevance[i] - (1.0 - lambda) * closest[i];
        let mut best = 0;
        for at in 1..left.len() {
            if value(left[at]) > value(left[best]) {
                best = at;
            }
        }
        let pick = left.remove(best);
        chosen.push(pick);
        if chosen.len() < k {
            for &other in &left {
                closest[other] = closest[other].max(similarity(pick, other));
            }
        }
    }
    chosen
}

/// The MMR operator.
pub struct Mmr<V> {
    lambda: f64,
    final_k: usize,
    vectors: V,
}

impl<V: Vectors> Mmr<V> {
    pub fn new(lambda: f64, final_k: usize, vectors: V) -> Self {
        Self { lambda, final_k, vectors }
    }

    /// Diversifies one ranking.
    pub fn apply(&self, mut ranked: Ranked) -> Ranked {
        let relevance: Vec<f64> = ranked.ranked.iter().map(|doc| doc.breakdown.semantic).collect();
        let points: Vec<(&[i8], u32)> = ranked.ranked.iter().map(|doc| self.vectors.doc(doc.doc)).collect();
        let order = select(&relevance, self.lambda, self.final_k, |i, j| {
            let ((a, norm_a), (b, norm_b)) = (points[i], points[j]);
            vector::cosine(vector::dot(a, b), norm_a, norm_b)
        });
        ranked.ranked = order.into_iter().map(|i| ranked.ranked[i].clone()).collect();
        ranked.counts.final_top_k = ranked.ranked.len() as u32;
        ranked
    }
}

impl<V: Vectors> Operator for Mmr<V> {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            output.emit(*input, 0, &self.apply(decode(input)?))?;
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: [f64; 3], b: [f64; 3]) -> f64 {
        let dot = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    #[test]
    fn the_golden_skips_the_near_copy() {
        let vectors = [[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let chosen = select(&[0.9, 0.8, 0.7, 0.6], 0.7, 3, |i, j| cosine(vectors[i], vectors[j]));
        assert_eq!(chosen, [0, 2, 3]);
    }

    #[test]
    fn as_many_as_wanted_stay_unchanged() {
        assert_eq!(select(&[0.1, 0.9], 0.7, 2, |_, _| 1.0), [0, 1]);
    }

    #[test]
    fn the_first_wins_a_tie_and_negative_similarity_does_not_help() {
        assert_eq!(select(&[0.5, 0.5, 0.5], 0.5, 2, |_, _| -1.0), [0, 1]);
    }
}
