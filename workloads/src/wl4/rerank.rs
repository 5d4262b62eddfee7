//! Five-dimensional rerank: semantic, freshness, diversity, authority, coverage.
//!
//! Each dimension lies in 0..=1 except semantic, which is the raw cosine. Graph results bypass it. Real text keeps
//! the fused order instead, in which freshness and the like have no say.

use bench_dataflow::frame::Frame;

use crate::operator::{Operator, OperatorError, Output};
use crate::text::tokens::token_hashes;
use crate::wl4::carried::{self, Carried};
use crate::wl4::params::{RerankBy, RerankWeights};
use crate::wl4::records::{Breakdown, Counts, DocRef, RankedDoc, VdbHit};
use crate::wl4::views;

/// What the reranker needs to know about a document.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DocFacts<'a> {
    /// Seconds relative to the start of the schedule.
    pub timestamp_s: Option<f64>,
    pub citations: u32,
    pub centrality: f64,
    pub source: &'a str,
}

/// Looks up a document.
pub trait Documents: Send {
    fn facts<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> DocFacts<'a>;
    /// How many of `terms` (hashes, each once, in ascending order) occur in the document.
    fn terms_present(&self, doc: DocRef, terms: &[u64], carried: &Carried<'_>) -> usize;
}

/// Halves every 24 hours: `2^(-age/24)`, clamped to 0..=1. Without a timestamp, 1.
#[must_use]
pub fn freshness(age_hours: Option<f64>) -> f64 {
    age_hours.map_or(1.0, |age| libm::exp2(-age / 24.0).clamp(0.0, 1.0))
}

/// Citations and centrality where there are any; otherwise what the source claims of itself.
#[must_use]
pub fn authority(citations: u32, centrality: f64, source: &str) -> f64 {
    if citations > 0 || centrality > 0.0 {
        return 0.5 * (f64::from(citations) / 100.0).min(1.0) + 0.5 * centrality.min(1.0);
    }
    let source = source.to_lowercase();
    if source.contains("authoritative") || source.contains("verified") { 0.9 } else { 0.5 }
}

/// Share of the query's distinct terms found in the document; 0.5 for a query without terms.
#[must_use]
pub fn coverage(present: usize, terms: usize) -> f64 {
    if terms == 0 { 0.5 } else { present as f64 / terms as f64 }
}

/// A document that stands for a cluster is less diverse than one that stands alone.
#[must_use]
pub fn diversity(clustered: Option<bool>) -> f64 {
    match clustered {
        None => 0.5,
        Some(true) => 0.6,
        Some(false) => 0.8,
    }
}

/// The weighted sum.
#[must_use]
pub fn final_score(weights: &RerankWeights, dims: &Breakdown) -> f64 {
    weights.semantic * dims.semantic
        + weights.freshness * dims.freshness
        + weights.diversity * dims.diversity
        + weights.authority * dims.authority
        + weights.coverage * dims.coverage
}

/// The rerank operator.
pub struct Rerank<D> {
    weights: RerankWeights,
    by: RerankBy,
    top_k: usize,
    documents: D,
}

impl<D: Documents> Rerank<D> {
    pub fn new(weights: RerankWeights, top_k: usize, documents: D) -> Self {
        Self { weights, by: RerankBy::Dimensions, top_k, documents }
    }

    /// Sorts by something else than the dimensions.
    #[must_use]
    pub fn by(self, by: RerankBy) -> Self {
        Self { by, ..self }
    }

    /// Ranks documents for a question asked at `now_ns`; `clustered[i]` tells whether document `i` stands for others.
    #[must_use]
    pub fn rank(
        &self,
        question: &str,
        hits: &[VdbHit],
        clustered: &[bool],
        now_ns: i64,
        carried: &Carried<'_>,
    ) -> Vec<RankedDoc> {
        let mut terms = token_hashes(question);
        terms.sort_unstable();
        terms.dedup();
        let now_s = now_ns as f64 / 1e9;
        let mut ranked: Vec<RankedDoc> = Vec::with_capacity(hits.len());
        for (i, hit) in hits.iter().enumerate() {
            let facts = self.documents.facts(hit.doc, carried);
            let age_hours = facts.timestamp_s.map(|then| (now_s - then) / 3600.0);
            let breakdown = Breakdown {
                semantic: hit.score,
                freshness: freshness(age_hours),
                diversity: diversity(clustered.get(i).copied()),
                authority: authority(facts.citations, facts.centrality, facts.source),
                coverage: coverage(self.documents.terms_present(hit.doc, &terms, carried), terms.len()),
            };
            let score = match self.by {
                RerankBy::Dimensions => final_score(&self.weights, &breakdown),
                RerankBy::Fused => hit.merged_score(),
            };
            ranked.push(RankedDoc { doc: hit.doc, score, breakdown });
        }
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.doc.cmp(&b.doc)));
        ranked.truncate(self.top_k);
        ranked
    }

    /// From an encoded [`Deduped`](super::records::Deduped) to an encoded [`Ranked`](super::records::Ranked), and what
    /// stands behind.
    fn apply<'a>(&self, input: &Frame<'a>) -> Result<(Vec<u8>, &'a [u8]), OperatorError> {
        let seq = input.header.seq;
        let (source, rest) = views::enriched(seq, input.body)?;
        let (hits, rest) = views::taken::<Vec<VdbHit>>(seq, rest)?;
        let (clustered, rest) = views::taken::<Vec<bool>>(seq, rest)?;
        let (retrieved, rest) = views::taken::<Vec<DocRef>>(seq, rest)?;
        let (counts, behind) = views::taken::<Counts>(seq, rest)?;
        let (now_ns, carried) = (input.header.event_time_ns, Carried::read(seq, behind)?);
        let ranked = self.rank(source.query.text, &hits, &clustered, now_ns, &carried);
        let counts = Counts { final_top_k: ranked.len() as u32, ..counts };
        let record = views::append([source.joined(), source.graph()].concat(), &(ranked, retrieved, counts))?;
        Ok((record, behind))
    }
}

impl<D: Documents> Operator for Rerank<D> {
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
    use std::collections::HashSet;

    use super::*;
    use crate::text::tokens::tokens;

    #[test]
    fn twelve_hours_halve_by_the_root_of_two() {
        assert!((freshness(Some(12.0)) - std::f64::consts::FRAC_1_SQRT_2).abs() < 1e-8);
        assert_eq!((freshness(None), freshness(Some(-5.0)), freshness(Some(1e9))), (1.0, 1.0, 0.0));
    }

    #[test]
    fn authority_prefers_citations_to_claims() {
        assert!((authority(30, 0.4, "verified") - 0.35).abs() < 1e-12);
        assert_eq!(authority(0, 0.0, "A Verified source"), 0.9);
        assert_eq!(authority(0, 0.0, "AUTHORITATIVE"), 0.9);
        assert_eq!(authority(0, 0.0, "synthetic"), 0.5);
        assert_eq!(authority(1_000, 7.0, ""), 1.0);
    }

    #[test]
    fn coverage_of_the_golden_query() {
        // "What is the current stock price of Apple?" has the terms current, stock, price, apple
        // under the BM25 tokeniser; document a holds three of them.
        let query: HashSet<String> =
            tokens("What is the current stock price of Apple?").into_iter().collect();
        let doc: HashSet<String> = tokens("Apple stock price rises on revenue growth").into_iter().collect();
        assert_eq!(coverage(query.intersection(&doc).count(), query.len()), 0.75);
        assert_eq!(coverage(0, 0), 0.5);
    }

    #[test]
    fn diversity_depends_on_the_cluster() {
        assert_eq!((diversity(None), diversity(Some(true)), diversity(Some(false))), (0.5, 0.6, 0.8));
    }

    #[test]
    fn the_weights_are_applied_to_their_dimensions() {
        let weights =
            RerankWeights { semantic: 0.3, freshness: 0.2, diversity: 0.2, authority: 0.15, coverage: 0.15 };
        let dims =
            Breakdown { semantic: 0.9, freshness: 0.5, diversity: 0.8, authority: 0.35, coverage: 0.75 };
        assert!((final_score(&weights, &dims) - 0.695).abs() < 1e-12);
    }
}
