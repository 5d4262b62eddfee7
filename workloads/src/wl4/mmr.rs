//! Maximal marginal relevance: relevance against similarity to what was chosen already.
//!
//! Greedy and lazy. The similarity of a candidate to the chosen set only grows, so its value only falls,
//! and an old value is an upper bound: similarities are only made for a candidate that would win by its
//! old value. That chooses what comparing all would, with n·k inner products at most and usually fewer.

use bench_dataflow::frame::Frame;

use crate::operator::{Operator, OperatorError, Output};
use crate::vector;
use crate::wl4::carried::{self, Carried};
use crate::wl4::dedup::Vectors;
use crate::wl4::params::RerankBy;
use crate::wl4::records::{Counts, DocRef, RankedDoc};
use crate::wl4::views;

/// One that may still be chosen.
struct Candidate {
    index: usize,
    /// Its value, or what that was before the latest choices.
    value: f64,
    /// `max(0, max cos)`: starting from 0 gives the clamp for free.
    closest: f64,
    /// How many of the chosen it was compared with.
    compared: usize,
}

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
    let value = |i: usize, closest: f64| lambda * relevance[i] - (1.0 - lambda) * closest;
    let mut left: Vec<Candidate> = (0..n)
        .map(|index| Candidate { index, value: value(index, 0.0), closest: 0.0, compared: 0 })
        .collect();
    let mut chosen: Vec<usize> = Vec::with_capacity(k);
    while chosen.len() < k {
        let mut best = 0;
        for at in 1..left.len() {
            if left[at].value > left[best].value {
                best = at;
            }
        }
        let candidate = &mut left[best];
        if candidate.compared == chosen.len() {
            chosen.push(left.remove(best).index);
            continue;
        }
        for &earlier in &chosen[candidate.compared..] {
            candidate.closest = candidate.closest.max(similarity(earlier, candidate.index));
        }
        candidate.compared = chosen.len();
        candidate.value = value(candidate.index, candidate.closest);
    }
    chosen
}

/// The MMR operator.
pub struct Mmr<V> {
    /// Absent where relevance alone decides.
    lambda: Option<f64>,
    relevance: RerankBy,
    final_k: usize,
    vectors: V,
}

impl<V: Vectors> Mmr<V> {
    pub fn new(lambda: f64, final_k: usize, vectors: V) -> Self {
        Self { lambda: Some(lambda), relevance: RerankBy::Dimensions, final_k, vectors }
    }

    /// Takes as relevance what the reranker sorted by: the fused score, or of the dimensions the cosine.
    #[must_use]
    pub fn of(self, relevance: RerankBy) -> Self {
        Self { relevance, ..self }
    }

    /// Keeps the first of the ranking as they are.
    #[must_use]
    pub fn off(self) -> Self {
        Self { lambda: None, ..self }
    }

    /// Diversifies one ranking.
    #[must_use]
    pub fn choose(&self, ranked: &[RankedDoc], carried: &Carried<'_>) -> Vec<RankedDoc> {
        let Some(lambda) = self.lambda else { return ranked.iter().take(self.final_k).cloned().collect() };
        let relevance: Vec<f64> = ranked
            .iter()
            .map(|doc| match self.relevance {
                RerankBy::Dimensions => doc.breakdown.semantic,
                RerankBy::Fused => doc.score,
            })
            .collect();
        let points: Vec<(&[i8], u32)> = ranked.iter().map(|doc| self.vectors.doc(doc.doc, carried)).collect();
        let order = select(&relevance, lambda, self.final_k, |i, j| {
            let ((a, norm_a), (b, norm_b)) = (points[i], points[j]);
            vector::cosine(vector::dot(a, b), norm_a, norm_b)
        });
        order.into_iter().map(|i| ranked[i].clone()).collect()
    }

    /// From an encoded [`Ranked`](super::records::Ranked) to another, and what stands behind.
    fn apply<'a>(&self, input: &Frame<'a>) -> Result<(Vec<u8>, &'a [u8]), OperatorError> {
        let seq = input.header.seq;
        let (source, rest) = views::enriched(seq, input.body)?;
        let (ranked, rest) = views::taken::<Vec<RankedDoc>>(seq, rest)?;
        let (retrieved, rest) = views::taken::<Vec<DocRef>>(seq, rest)?;
        let (counts, behind) = views::taken::<Counts>(seq, rest)?;
        let ranked = self.choose(&ranked, &Carried::read(seq, behind)?);
        let counts = Counts { final_top_k: ranked.len() as u32, ..counts };
        let record = views::append([source.joined(), source.graph()].concat(), &(ranked, retrieved, counts))?;
        Ok((record, behind))
    }
}

impl<V: Vectors> Operator for Mmr<V> {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            let (record, behind) = self.apply(input)?;
            carried::emit(output, *input, record, behind)?;
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

    /// Compares all with all at every choice: slow and obviously right.
    fn eager(
        relevance: &[f64],
        lambda: f64,
        k: usize,
        similarity: impl Fn(usize, usize) -> f64,
    ) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::new();
        while chosen.len() < k {
            let value = |i: usize| {
                let closest = chosen.iter().map(|&j| similarity(j, i)).fold(0.0, f64::max);
                lambda * relevance[i] - (1.0 - lambda) * closest
            };
            let left = (0..relevance.len()).filter(|i| !chosen.contains(i));
            let best = left.reduce(|a, b| if value(b) > value(a) { b } else { a });
            chosen.extend(best);
        }
        chosen
    }

    #[test]
    fn the_lazy_choice_is_the_eager_one_with_ties_and_without() {
        for round in 0..300 {
            let mut random = crate::random::stream(7, "mmr", round);
            let n = 12 + random.below(8) as usize;
            // Few different values, so that ties are common.
            let mut draw = |steps: u32| f64::from(random.below(steps)) / f64::from(steps);
            let steps = if round % 2 == 0 { 4 } else { 1 << 20 };
            let relevance: Vec<f64> = (0..n).map(|_| draw(steps)).collect();
            let table: Vec<f64> = (0..n * n).map(|_| draw(steps) - 0.25).collect();
            let similarity = |i: usize, j: usize| table[i.min(j) * n + i.max(j)];
            assert_eq!(select(&relevance, 0.7, 10, similarity), eager(&relevance, 0.7, 10, similarity));
        }
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
