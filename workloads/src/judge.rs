//! Scores of a run's rankings against the judgements of its corpus, beside those of plain BM25.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, CorpusError, IdHash};
use crate::quality::Quality;
use crate::text::bm25::{Bm25, DocTerms, TermStatistics, corpus_idfs};
use crate::text::tokens::{count_terms, token_hashes};
use crate::vector::{Hit, TopK};

/// Scores of the rankings against a corpus's judgements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// What the vector databases found, merged.
    pub retrieval: Quality,
    /// The final ranking, after deduplication, rerank and MMR.
    pub ranking: Quality,
    /// Plain BM25 over the corpus: same tokeniser, same queries.
    pub bm25: Quality,
}

/// Depth of recall.
const RECALL_DEPTH: usize = 100;

/// Collects rankings and scores them.
pub struct Judge {
    corpus: Arc<Corpus>,
    /// Per query of the corpus: retrieval and final ranking.
    rankings: Vec<Option<[Vec<u32>; 2]>>,
    queries: HashMap<String, usize>,
}

impl Judge {
    pub(crate) fn new(corpus: Arc<Corpus>) -> Self {
        let queries = corpus.queries.iter().enumerate().map(|(i, query)| (query.id.clone(), i)).collect();
        Self { rankings: vec![None; corpus.queries.len()], queries, corpus }
    }

    /// Takes one query's rankings, as document ids. Repetitions of a query are not judged again.
    pub fn score(&mut self, query_id: &str, retrieved: &[String], ranking: &[String]) {
        let Some(&query) = self.queries.get(query_id) else { return };
        let rows =
            |ids: &[String]| ids.iter().filter_map(|id| self.corpus.docs.row(IdHash::of(id))).collect();
        self.rankings[query] = Some([rows(retrieved), rows(ranking)]);
    }

    /// Scores what was collected, beside BM25 for the same queries.
    ///
    /// # Errors
    /// When the corpus is no longer what was loaded.
    pub fn finish(&self) -> Result<Scores, CorpusError> {
        let judged = |which: usize| {
            let pairs = self.rankings.iter().zip(&self.corpus.qrels);
            Quality::of(
                pairs
                    .filter_map(|(ranks, qrels)| Some((ranks.as_ref()?[which].as_slice(), qrels.as_slice()))),
                RECALL_DEPTH,
            )
        };
        let keyword = self.bm25_rankings()?;
        let bm25 = Quality::of(
            keyword.iter().map(|(query, rows)| (rows.as_slice(), self.corpus.qrels[*query].as_slice())),
            RECALL_DEPTH,
        );
        Ok(Scores { retrieval: judged(0), ranking: judged(1), bm25 })
    }

    /// What BM25 ranks for each answered query. The documents pass once, and each is scored for the queries
    /// that share a word with it: for all others its score is 0.
    fn bm25_rankings(&self) -> Result<Vec<(usize, Vec<u32>)>, CorpusError> {
        let table = self.corpus.term_table()?;
        let answered = self.rankings.iter().enumerate().filter(|(_, ranks)| ranks.is_some());
        let mut asked: Vec<Asked> = answered
            .map(|(query, _)| {
                let terms = token_hashes(&self.corpus.queries[query].text);
                Asked { query, idfs: corpus_idfs(&terms, &table), terms, best: TopK::new(RECALL_DEPTH) }
            })
            .collect();
        let mut with_term: HashMap<u64, BTreeSet<usize>> = HashMap::new();
        for (at, asked) in asked.iter().enumerate() {
            asked.terms.iter().for_each(|&term| _ = with_term.entry(term).or_default().insert(at));
        }
        for (row, doc) in (0..).zip(self.corpus.docs.iter()) {
            let terms = count_terms(token_hashes(&doc?.content()));
            let doc = DocTerms::of(&terms);
            let sharing: BTreeSet<usize> =
                terms.iter().filter_map(|term| with_term.get(&term.hash)).flatten().copied().collect();
            for at in sharing {
                let Asked { terms, idfs, best, .. } = &mut asked[at];
                let score = Bm25::default().score(terms, idfs, doc, table.avg_tokens());
                if score > 0.0 {
                    best.offer(Hit { row, score });
                }
            }
        }
        let rows = |best: TopK| best.into_sorted().into_iter().map(|hit| hit.row).collect();
        Ok(asked.into_iter().map(|asked| (asked.query, rows(asked.best))).collect())
    }
}

/// An answered query.
struct Asked {
    query: usize,
    terms: Vec<u64>,
    idfs: Vec<f64>,
    best: TopK,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::corpus::CorpusDoc;

    const DOCS: &str = concat!(
        "{\"_id\": \"wing\", \"text\": \"the lift of a wing in a slipstream\"}\n",
        "{\"_id\": \"plate\", \"title\": \"Plates\", \"text\": \"boundary layer on a flat plate\"}\n",
        "{\"_id\": \"none\"}\n",
        "{\"_id\": \"both\", \"text\": \"wing and flat plate, a wing in a boundary layer\"}\n",
    );
    const QUERIES: &str = concat!(
        "{\"_id\": \"1\", \"text\": \"a wing with lift, a wing\"}\n",
        "{\"_id\": \"2\", \"text\": \"flat boundary wing\"}\n",
        "{\"_id\": \"3\", \"text\": \"nobody answers this wing\"}\n",
        "{\"_id\": \"4\", \"text\": \"unheard\"}\n",
    );

    fn judge() -> (tempfile::TempDir, Judge) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("qrels")).unwrap();
        let qrels = "1\twing\t1\n2\tboth\t1\n";
        for (name, text) in [("corpus.jsonl", DOCS), ("queries.jsonl", QUERIES), ("qrels/test.tsv", qrels)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let corpus = Corpus::load(folder.path()).unwrap();
        (folder, Judge::new(Arc::new(corpus)))
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn bm25_in_one_pass_ranks_as_over_all_documents_at_once() {
        let (_folder, mut judge) = judge();
        ["1", "2", "4"].iter().for_each(|query| judge.score(query, &[], &[]));
        let docs: Vec<CorpusDoc> = judge.corpus.docs.iter().map(Result::unwrap).collect();
        let counted: Vec<_> = docs.iter().map(|doc| count_terms(token_hashes(&doc.content()))).collect();
        let counted: Vec<_> = counted.iter().map(|terms| DocTerms::of(terms)).collect();
        let table = judge.corpus.term_table().unwrap();
        let ranked = |query: usize| {
            let terms = token_hashes(&judge.corpus.queries[query].text);
            let scores = Bm25::default().over_corpus(&terms, &counted, &table);
            let hits = (0..).zip(scores).map(|(row, score)| Hit { row, score });
            let mut hits: Vec<Hit> = hits.filter(|hit| hit.score > 0.0).collect();
            hits.sort_by(Hit::best_first);
            (query, hits.iter().map(|hit| hit.row).collect::<Vec<u32>>())
        };
        assert_eq!(judge.bm25_rankings().unwrap(), [ranked(0), ranked(1), ranked(3)]);
        assert_eq!(ranked(0), (0, vec![0, 3]));
    }

    #[test]
    fn rankings_are_judged_by_their_documents_ids() {
        let (_folder, mut judge) = judge();
        judge.score("1", &ids(&["plate", "wing"]), &ids(&["wing", "nowhere"]));
        judge.score("nobody", &ids(&["wing"]), &[]);
        let scores = judge.finish().unwrap();
        assert_eq!((scores.retrieval.mrr_at_10, scores.ranking.mrr_at_10), (0.5, 1.0));
        assert_eq!(scores.ranking.judged_queries, 1);
    }

    #[test]
    fn a_corpus_that_changed_gives_no_scores() {
        let (folder, mut judge) = judge();
        judge.score("1", &[], &[]);
        fs::write(folder.path().join("corpus.jsonl"), DOCS.replace("lift", "drag")).unwrap();
        assert!(judge.finish().is_err());
    }
}
