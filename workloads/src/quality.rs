//! How good a ranking is, by judgements.
//!
//! The measures are those of trec_eval, as BEIR reports them: nDCG with linear gains and a logarithm of
//! base 2, averages over the judged queries that were asked, also those for which no document is relevant.
//! A query that failed found nothing and counts 0, as a query without results does with `trec_eval -c`.
//! Exponential gains would give other values: BM25 on Cranfield has nDCG@10 0.357 with linear gains and 0.346
//! with exponential ones. Quality judges the workload's answers, never a runtime: every runtime must give the
//! same ones.

use serde::{Deserialize, Serialize};

use crate::corpus::Judgement;

/// The depth of MRR and nDCG.
pub const DEPTH: usize = 10;

/// Averages over the judged queries. Of no query there is none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Quality {
    pub recall_at_k: Option<f64>,
    pub k: usize,
    pub mrr_at_10: Option<f64>,
    pub ndcg_at_10: Option<f64>,
    /// Queries that went into the averages.
    pub judged_queries: u64,
}

impl Quality {
    /// Rates rankings (rows, best first), each with its query's judgements. The order of the queries is
    /// the order of summing, so keep it the same wherever values are to be equal.
    pub fn of<'a>(rankings: impl IntoIterator<Item = (&'a [u32], &'a [Judgement])>, k: usize) -> Self {
        let (mut sums, mut count) = ([0.0; 3], 0_u64);
        for (ranking, judgements) in rankings.into_iter().filter(|(_, judgements)| !judgements.is_empty()) {
            sums[0] += recall(ranking, judgements, k);
            sums[1] += mrr(ranking, judgements, DEPTH);
            sums[2] += ndcg(ranking, judgements, DEPTH);
            count += 1;
        }
        let [recall_at_k, mrr_at_10, ndcg_at_10] = sums.map(|sum| (count > 0).then(|| sum / count as f64));
        Self { recall_at_k, k, mrr_at_10, ndcg_at_10, judged_queries: count }
    }

    /// The same with nothing said.
    #[must_use]
    pub fn unsaid(self) -> Self {
        Self { recall_at_k: None, mrr_at_10: None, ndcg_at_10: None, ..self }
    }
}

/// The gains of the first `k` different rows.
fn gains<'a>(
    ranking: &'a [u32],
    judgements: &'a [Judgement],
    k: usize,
) -> impl Iterator<Item = i32> + use<'a> {
    let first_time = |(at, row): &(usize, &u32)| !ranking[..*at].contains(row);
    let gain = |row: u32| judgements.iter().find(|j| j.row == Some(row)).map_or(0, |j| j.gain.max(0));
    ranking.iter().enumerate().filter(first_time).take(k).map(move |(_, &row)| gain(row))
}

/// The share of the relevant documents among the first `k`; 0 when none is relevant.
pub fn recall(ranking: &[u32], judgements: &[Judgement], k: usize) -> f64 {
    let relevant = judgements.iter().filter(|j| j.gain > 0).count();
    let found = gains(ranking, judgements, k).filter(|gain| *gain > 0).count();
    if relevant == 0 { 0.0 } else { found as f64 / relevant as f64 }
}

/// One by the rank of the first relevant document; 0 when none is among the first `k`.
pub fn mrr(ranking: &[u32], judgements: &[Judgement], k: usize) -> f64 {
    gains(ranking, judgements, k).position(|gain| gain > 0).map_or(0.0, |at| 1.0 / (at + 1) as f64)
}

/// Discounted gains of the first `k`, by those of the best ranking; 0 when none is relevant.
pub fn ndcg(ranking: &[u32], judgements: &[Judgement], k: usize) -> f64 {
    let mut best: Vec<i32> = judgements.iter().map(|j| j.gain.max(0)).collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let ideal = discounted(best.into_iter().take(k));
    if ideal == 0.0 { 0.0 } else { discounted(gains(ranking, judgements, k)) / ideal }
}

fn discounted(gains: impl Iterator<Item = i32>) -> f64 {
    gains.enumerate().map(|(at, gain)| f64::from(gain) / libm::log2((at + 2) as f64)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(u32, i32)]) -> Vec<Judgement> {
        pairs.iter().map(|&(row, gain)| Judgement { row: Some(row), gain }).collect()
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn recall_counts_relevant_documents_only() {
        let judgements = judged(&[(1, 2), (2, 1), (3, 0), (4, 1)]);
        close(recall(&[3, 1, 9, 2, 4], &judgements, 4), 2.0 / 3.0);
        close(recall(&[1, 2, 4], &judgements, 10), 1.0);
    }

    #[test]
    fn mrr_looks_at_the_first_relevant_document() {
        let judgements = judged(&[(1, 1), (2, 3)]);
        close(mrr(&[9, 8, 2, 1], &judgements, 10), 1.0 / 3.0);
        close(mrr(&[9, 8, 2, 1], &judgements, 2), 0.0);
    }

    #[test]
    fn ndcg_is_that_of_a_calculation_by_hand() {
        // Gains 0, 3, 1 by log2 of 2, 3, 4; best 3, 2, 1.
        let judgements = judged(&[(1, 3), (2, 2), (3, 1)]);
        let dcg = 3.0 / 1.584962500721156 + 1.0 / 2.0;
        let ideal = 3.0 + 2.0 / 1.584962500721156 + 1.0 / 2.0;
        close(ndcg(&[9, 1, 3], &judgements, 10), dcg / ideal);
    }

    #[test]
    fn the_best_ranking_has_ndcg_one() {
        let judgements = judged(&[(1, 3), (2, 2), (3, -1), (4, 0)]);
        close(ndcg(&[1, 2], &judgements, 10), 1.0);
    }

    #[test]
    fn the_ideal_is_cut_at_the_same_depth() {
        let many: Vec<(u32, i32)> = (0..30).map(|row| (row, 1)).collect();
        let ranking: Vec<u32> = (0..10).collect();
        close(ndcg(&ranking, &judged(&many), 10), 1.0);
    }

    #[test]
    fn a_document_that_the_corpus_lacks_is_relevant_and_never_found() {
        let judgements = [judged(&[(1, 1)]), vec![Judgement { row: None, gain: 1 }]].concat();
        close(recall(&[1], &judgements, 10), 0.5);
        close(ndcg(&[1], &judgements, 10), 1.0 / (1.0 + 1.0 / 1.584962500721156));
    }

    #[test]
    fn a_repeated_row_counts_once() {
        let judgements = judged(&[(1, 1), (2, 1)]);
        close(recall(&[1, 1, 1], &judgements, 3), 0.5);
        assert!(ndcg(&[1, 1, 1], &judgements, 3) < 0.7);
    }

    #[test]
    fn averages_are_over_judged_queries_whether_anything_is_relevant_or_not() {
        let (a, b, none) = (judged(&[(1, 1)]), judged(&[(2, 1)]), judged(&[(3, 0)]));
        let rankings: [(&[u32], &[Judgement]); 5] =
            [(&[1], &a), (&[1], &b), (&[3], &none), (&[1], &[]), (&[2], &b)];
        let half = Some(0.5);
        let quality =
            Quality { recall_at_k: half, k: 100, mrr_at_10: half, ndcg_at_10: half, judged_queries: 4 };
        assert_eq!(Quality::of(rankings, 100), quality);
    }

    #[test]
    fn of_no_judged_query_nothing_is_said() {
        assert_eq!(Quality::of([], 5), Quality { k: 5, ..Quality::default() });
    }

    /// A case of `tests/data/trec_eval.json`, which `tests/data/trec_eval.py` makes with pytrec_eval.
    #[derive(Deserialize)]
    struct Case {
        name: String,
        /// Documents of the corpus, in their order.
        corpus: Vec<String>,
        qrels: std::collections::BTreeMap<String, std::collections::BTreeMap<String, i32>>,
        /// Best first. A query that failed has none.
        run: std::collections::BTreeMap<String, Vec<String>>,
        expected: std::collections::BTreeMap<String, f64>,
    }

    #[test]
    fn the_figures_are_those_of_trec_eval() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../data/trec_eval.json")).unwrap();
        assert!(cases.len() >= 8);
        for Case { name, corpus, qrels, run, expected } in cases {
            let row = |doc: &String| corpus.iter().position(|known| known == doc).map(|row| row as u32);
            let judgements = |query| {
                let judged = qrels.get(query).into_iter().flatten();
                judged.map(|(doc, &gain)| Judgement { row: row(doc), gain }).collect::<Vec<_>>()
            };
            let rankings: Vec<(Vec<u32>, Vec<Judgement>)> = run
                .iter()
                .map(|(query, docs)| (docs.iter().filter_map(row).collect(), judgements(query)))
                .collect();
            let pairs = rankings.iter().map(|(ranking, judged)| (ranking.as_slice(), judged.as_slice()));
            let quality = Quality::of(pairs, 100);
            let found = [quality.recall_at_k, quality.mrr_at_10, quality.ndcg_at_10].map(Option::unwrap);
            for (found, measure) in found.into_iter().zip(["recall_100", "recip_rank", "ndcg_cut_10"]) {
                assert!((found - expected[measure]).abs() < 5e-5, "{name} {measure}: {found}");
            }
            assert_eq!(quality.judged_queries as f64, expected["num_q"], "{name}");
        }
    }
}
