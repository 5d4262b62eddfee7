//! Scores of a run's rankings against the judgements of its corpus, beside those of plain BM25.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, CorpusError, IdHash};
use crate::quality::Quality;
use crate::schedule::query_key;
use crate::text::bm25::{Bm25, DocTerms, TermStatistics, TermTable, corpus_idfs};
use crate::text::stemming::Stemming;
use crate::text::tokens::count_terms;
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
    /// The same over stemmed words, where the retrieval stems them too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bm25_stemmed: Option<Quality>,
    /// Judged queries that failed: they are in the averages and count 0.
    pub failed_queries: u64,
    /// Why nothing is said, where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The run files of the two rankings, in the form of TREC: the final one and that of the retrieval stage.
pub const RUN_FILES: [&str; 2] = ["run.trec", "retrieval.trec"];

/// Depth of recall.
const RECALL_DEPTH: usize = 100;

/// What became of a query of the corpus.
#[derive(Debug, Clone)]
enum Outcome {
    /// Nobody asked it yet.
    Open,
    Failed,
    /// Retrieval and final ranking.
    Ranked([Vec<u32>; 2]),
}

/// Collects rankings and scores them.
pub struct Judge {
    corpus: Arc<Corpus>,
    /// Per query of the corpus.
    outcomes: Vec<Outcome>,
    /// By their key: of a query that failed nothing else is known.
    queries: HashMap<u64, usize>,
    stemming: Stemming,
}

impl Judge {
    pub(crate) fn new(corpus: Arc<Corpus>, stemming: Stemming) -> Self {
        let queries = corpus.queries.iter().enumerate().map(|(i, query)| (query_key(&query.id), i)).collect();
        Self { outcomes: vec![Outcome::Open; corpus.queries.len()], queries, stemming, corpus }
    }

    /// Takes one query's rankings, as document ids. Repetitions of a query are not judged again.
    pub fn score(&mut self, query_id: &str, retrieved: &[String], ranking: &[String]) {
        let Some(&query) = self.queries.get(&query_key(query_id)) else { return };
        let rows =
            |ids: &[String]| ids.iter().filter_map(|id| self.corpus.docs.row(IdHash::of(id))).collect();
        self.outcomes[query] = Outcome::Ranked([rows(retrieved), rows(ranking)]);
    }

    /// Takes note that the query with this key failed.
    pub fn fail(&mut self, key: u64) {
        if let Some(&query) = self.queries.get(&key) {
            self.outcomes[query] = Outcome::Failed;
        }
    }

    /// Scores what was collected, beside BM25 for the same queries.
    ///
    /// # Errors
    /// When the corpus is no longer what was loaded.
    pub fn finish(&self) -> Result<Scores, CorpusError> {
        let qrels = |query: usize| self.corpus.qrels[query].as_slice();
        let judged = |which: usize| {
            let rankings = self.outcomes.iter().enumerate().filter_map(|(query, outcome)| match outcome {
                Outcome::Open => None,
                Outcome::Failed => Some((&[][..], qrels(query))),
                Outcome::Ranked(rankings) => Some((rankings[which].as_slice(), qrels(query))),
            });
            Quality::of(rankings, RECALL_DEPTH)
        };
        let keyword = |stemming| -> Result<Quality, CorpusError> {
            let rankings = self.bm25_rankings(stemming)?;
            let judged = rankings.iter().map(|(query, rows)| (rows.as_slice(), qrels(*query)));
            Ok(Quality::of(judged, RECALL_DEPTH))
        };
        let stemmed = (self.stemming != Stemming::None).then(|| keyword(self.stemming)).transpose()?;
        let is_failed = |(query, outcome): &(usize, &Outcome)| {
            matches!(outcome, Outcome::Failed) && !qrels(*query).is_empty()
        };
        let scores = Scores {
            retrieval: judged(0),
            ranking: judged(1),
            bm25: keyword(Stemming::None)?,
            bm25_stemmed: stemmed,
            failed_queries: self.outcomes.iter().enumerate().filter(is_failed).count() as u64,
            reason: None,
        };
        let reason = self.nothing_to_say(&scores);
        Ok(match reason {
            None => scores,
            Some(_) => Scores {
                retrieval: scores.retrieval.unsaid(),
                ranking: scores.ranking.unsaid(),
                bm25: scores.bm25.unsaid(),
                bm25_stemmed: scores.bm25_stemmed.map(Quality::unsaid),
                reason,
                ..scores
            },
        })
    }

    /// Writes [`RUN_FILES`] into `folder`: what trec_eval needs to compute the scores anew. The score of a line only
    /// keeps the order, which trec_eval takes from it. A query that failed has no line.
    ///
    /// # Errors
    /// When a file cannot be written, or the corpus is no longer what was loaded.
    pub fn write_runs(&self, folder: &Path) -> io::Result<()> {
        for (name, which) in RUN_FILES.into_iter().zip([1, 0]) {
            // What a plugin may have put there is not written into.
            let mut file = BufWriter::new(File::create_new(folder.join(name))?);
            for (query, outcome) in self.corpus.queries.iter().zip(&self.outcomes) {
                let Outcome::Ranked(rankings) = outcome else { continue };
                let ranking = &rankings[which];
                for (at, row) in ranking.iter().enumerate() {
                    let doc = self.corpus.docs.get(*row as usize).map_err(io::Error::other)?;
                    let (query, doc) = (field(&query.id), field(&doc.id));
                    writeln!(file, "{query} Q0 {doc} {} {} bench", at + 1, ranking.len() - at)?;
                }
            }
            file.flush()?;
        }
        Ok(())
    }

    /// Why the averages mean nothing, if so.
    fn nothing_to_say(&self, scores: &Scores) -> Option<String> {
        let asked = self.outcomes.iter().filter(|outcome| !matches!(outcome, Outcome::Open)).count();
        let judged = scores.retrieval.judged_queries;
        if judged == 0 {
            return Some(match self.corpus.facts().judged_queries {
                0 => "no query of the corpus is judged: are the judgements of another one?".to_owned(),
                all => format!(
                    "none of the {asked} queries that ran is judged; {all} are: --corpus-queries judged runs those alone"
                ),
            });
        }
        if scores.failed_queries == judged {
            return Some(format!("all {judged} judged queries that ran failed"));
        }
        let is_there = self.corpus.qrels.iter().flatten().any(|judgement| judgement.row.is_some());
        (!is_there)
            .then(|| "no judged document is in the corpus: are the judgements of another one?".to_owned())
    }

    /// What BM25 ranks for each query that was asked. The documents pass once, and each is scored for the queries
    /// that share a word with it: for all others its score is 0.
    fn bm25_rankings(&self, stemming: Stemming) -> Result<Vec<(usize, Vec<u32>)>, CorpusError> {
        let mut table = TermTable::default();
        for doc in self.corpus.docs.iter() {
            table.add(&count_terms(stemming.term_hashes(&doc?.content())));
        }
        let answered =
            self.outcomes.iter().enumerate().filter(|(_, outcome)| !matches!(outcome, Outcome::Open));
        let mut asked: Vec<Asked> = answered
            .map(|(query, _)| {
                let terms = stemming.term_hashes(&self.corpus.queries[query].text);
                Asked { query, idfs: corpus_idfs(&terms, &table), terms, best: TopK::new(RECALL_DEPTH) }
            })
            .collect();
        let mut with_term: HashMap<u64, BTreeSet<usize>> = HashMap::new();
        for (at, asked) in asked.iter().enumerate() {
            asked.terms.iter().for_each(|&term| _ = with_term.entry(term).or_default().insert(at));
        }
        for (row, doc) in (0..).zip(self.corpus.docs.iter()) {
            let terms = count_terms(stemming.term_hashes(&doc?.content()));
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

/// A query that was asked.
struct Asked {
    query: usize,
    terms: Vec<u64>,
    idfs: Vec<f64>,
    best: TopK,
}

/// An id as a field of a run file, in which blanks part the fields.
fn field(id: &str) -> String {
    id.chars().map(|c| if c.is_whitespace() { "%20".to_owned() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::corpus::{Choice, CorpusDoc};
    use crate::text::tokens::token_hashes;

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
        judge_by("1\twing\t1\n2\tboth\t1\n")
    }

    fn judge_by(qrels: &str) -> (tempfile::TempDir, Judge) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("qrels")).unwrap();
        for (name, text) in [("corpus.jsonl", DOCS), ("queries.jsonl", QUERIES), ("qrels/test.tsv", qrels)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let corpus = Corpus::load(folder.path(), Choice::default(), folder.path()).unwrap();
        (folder, Judge::new(Arc::new(corpus), Stemming::English))
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
        let table = judge.corpus.term_table(|text| vec![text]).unwrap();
        let ranked = |query: usize| {
            let terms = token_hashes(&judge.corpus.queries[query].text);
            let scores = Bm25::default().over_corpus(&terms, &counted, &table);
            let hits = (0..).zip(scores).map(|(row, score)| Hit { row, score });
            let mut hits: Vec<Hit> = hits.filter(|hit| hit.score > 0.0).collect();
            hits.sort_by(Hit::best_first);
            (query, hits.iter().map(|hit| hit.row).collect::<Vec<u32>>())
        };
        assert_eq!(judge.bm25_rankings(Stemming::None).unwrap(), [ranked(0), ranked(1), ranked(3)]);
        assert_eq!(ranked(0), (0, vec![0, 3]));
    }

    #[test]
    fn rankings_are_judged_by_their_documents_ids() {
        let (_folder, mut judge) = judge();
        judge.score("1", &ids(&["plate", "wing"]), &ids(&["wing", "nowhere"]));
        judge.score("nobody", &ids(&["wing"]), &[]);
        let scores = judge.finish().unwrap();
        assert_eq!((scores.retrieval.mrr_at_10, scores.ranking.mrr_at_10), (Some(0.5), Some(1.0)));
        assert_eq!((scores.ranking.judged_queries, scores.failed_queries), (1, 0));
    }

    #[test]
    fn run_files_have_both_rankings_in_order_and_no_line_for_what_failed() {
        let (folder, mut judge) = judge();
        judge.score("2", &ids(&["plate", "wing"]), &ids(&["wing"]));
        judge.score("1", &ids(&["both"]), &[]);
        judge.fail(query_key("3"));
        judge.write_runs(folder.path()).unwrap();
        let [run, retrieval] = RUN_FILES.map(|name| fs::read_to_string(folder.path().join(name)).unwrap());
        assert_eq!(run, "2 Q0 wing 1 1 bench\n");
        assert_eq!(retrieval, "1 Q0 both 1 1 bench\n2 Q0 plate 1 2 bench\n2 Q0 wing 2 1 bench\n");
        assert_eq!(field("a b\u{a0}c"), "a%20b%20c");
    }

    #[test]
    fn a_judged_query_that_failed_counts_as_nothing_found_and_bm25_answers_it_too() {
        let (_folder, mut judge) = judge();
        judge.score("1", &ids(&["wing"]), &ids(&["wing"]));
        ["2", "4", "nobody"].iter().for_each(|query| judge.fail(query_key(query)));
        let scores = judge.finish().unwrap();
        assert_eq!((scores.retrieval.ndcg_at_10, scores.retrieval.judged_queries), (Some(0.5), 2));
        assert_eq!((scores.failed_queries, scores.bm25.judged_queries, scores.reason), (1, 2, None));
    }

    #[test]
    fn without_a_judged_query_nothing_is_said_and_the_reason_is() {
        let nothing = |judge: &Judge| {
            let scores = judge.finish().unwrap();
            let figures =
                [scores.retrieval, scores.ranking, scores.bm25].map(|q| q.ndcg_at_10.or(q.recall_at_k));
            assert_eq!(figures, [None; 3]);
            scores.reason.unwrap()
        };
        let (_folder, mut unjudged) = judge();
        unjudged.score("3", &ids(&["wing"]), &ids(&["wing"]));
        unjudged.fail(query_key("4"));
        assert!(nothing(&unjudged).starts_with("none of the 2 queries that ran is judged; 2 are: "));
        let (_folder, mut failed) = judge();
        failed.fail(query_key("1"));
        assert_eq!(nothing(&failed), "all 1 judged queries that ran failed");
        let (_folder, mut stranger) = judge_by("99\twing\t1");
        stranger.score("1", &ids(&["wing"]), &[]);
        assert!(nothing(&stranger).starts_with("no query of the corpus is judged"));
        let (_folder, mut strange) = judge_by("1\tno-such\t1");
        strange.score("1", &ids(&["wing"]), &[]);
        assert!(nothing(&strange).starts_with("no judged document is in the corpus"));
    }

    #[test]
    fn a_corpus_that_changed_gives_no_scores() {
        let (folder, mut judge) = judge();
        judge.score("1", &[], &[]);
        fs::write(folder.path().join("corpus.jsonl"), DOCS.replace("lift", "drag")).unwrap();
        assert!(judge.finish().is_err());
    }
}
