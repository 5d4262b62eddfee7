//! BM25, over a few candidates or over a whole corpus, and its blend with a vector score.
//!
//! The two differ only in where document frequencies and the average length come from. The reference
//! takes both from the candidates; that works for synthetic text, where candidates share few words. On
//! real text a word that all candidates share would count nothing, so there the corpus decides.
//!
//! Every sum runs in the order of the query's tokens, so a score has one value on every machine.

use std::collections::HashMap;
use std::sync::Arc;

use super::tokens::{Term, count_terms, token_hashes};

/// What BM25 and the hash embedder ask of a collection.
pub trait TermStatistics: Send + Sync {
    /// How many documents there are.
    fn documents(&self) -> u64;
    /// In how many of them the term occurs.
    fn df(&self, term: u64) -> u32;
    /// Tokens per document, on average.
    fn avg_tokens(&self) -> f64;
}

impl<T: TermStatistics + ?Sized> TermStatistics for Arc<T> {
    fn documents(&self) -> u64 {
        (**self).documents()
    }
    fn df(&self, term: u64) -> u32 {
        (**self).df(term)
    }
    fn avg_tokens(&self) -> f64 {
        (**self).avg_tokens()
    }
}

/// Statistics counted in memory.
#[derive(Debug, Clone, Default)]
pub struct TermTable {
    documents: u64,
    tokens: u64,
    df: HashMap<u64, u32>,
}

impl TermTable {
    pub fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = Self::default();
        for text in texts {
            table.add(&count_terms(token_hashes(text)));
        }
        table
    }

    /// Counts one more document.
    pub fn add(&mut self, terms: &[Term]) {
        self.documents += 1;
        for term in terms {
            self.tokens += u64::from(term.tf);
            *self.df.entry(term.hash).or_default() += 1;
        }
    }

    /// All terms with their document frequencies, sorted by hash.
    pub fn sorted(&self) -> Vec<Term> {
        let mut all: Vec<Term> = self.df.iter().map(|(&hash, &df)| Term::new(hash, df)).collect();
        all.sort_unstable_by_key(|t| t.hash);
        all
    }

    pub fn tokens(&self) -> u64 {
        self.tokens
    }
}

impl TermStatistics for TermTable {
    fn documents(&self) -> u64 {
        self.documents
    }
    fn df(&self, term: u64) -> u32 {
        self.df.get(&term).copied().unwrap_or(0)
    }
    fn avg_tokens(&self) -> f64 {
        if self.documents == 0 { 0.0 } else { self.tokens as f64 / self.documents as f64 }
    }
}

/// A document as BM25 sees it: its terms sorted by hash, and its length in tokens.
#[derive(Debug, Clone, Copy)]
pub struct DocTerms<'a> {
    pub terms: &'a [Term],
    pub tokens: u32,
}

impl<'a> DocTerms<'a> {
    /// A document whose length is that of its counted terms.
    pub fn of(terms: &'a [Term]) -> Self {
        Self { terms, tokens: terms.iter().map(|term| term.tf).sum() }
    }

    pub fn tf(&self, term: u64) -> u32 {
        self.terms.binary_search_by_key(&term, |t| t.hash).map_or(0, |at| self.terms[at].tf)
    }
}

/// `ln((N - df + 0.5) / (df + 0.5) + 1)`, and 0 for a term that no document has.
pub fn idf(documents: u64, df: u32) -> f64 {
    if df == 0 {
        return 0.0;
    }
    let (n, df) = (documents as f64, f64::from(df));
    libm::log((n - df + 0.5) / (df + 0.5) + 1.0)
}

/// The two knobs: how soon repeats stop counting, and how much length is held against a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bm25 {
    pub k1: f64,
    pub b: f64,
}

impl Default for Bm25 {
    fn default() -> Self {
        Self { k1: 1.5, b: 0.75 }
    }
}

impl Bm25 {
    /// Scores with document frequencies and average length of the candidates themselves.
    /// `query` holds term hashes; a repeated one counts again.
    pub fn among_candidates(&self, query: &[u64], docs: &[DocTerms]) -> Vec<f64> {
        let documents = docs.len() as u64;
        let tokens: u64 = docs.iter().map(|d| u64::from(d.tokens)).sum();
        let average = if docs.is_empty() { 0.0 } else { tokens as f64 / documents as f64 };
        let idfs: Vec<f64> = query
            .iter()
            .map(|&term| idf(documents, docs.iter().filter(|d| d.tf(term) > 0).count() as u32))
            .collect();
        docs.iter().map(|doc| self.score(query, &idfs, *doc, average)).collect()
    }

    /// Scores with document frequencies and average length of a whole collection.
    pub fn over_corpus(&self, query: &[u64], docs: &[DocTerms], corpus: &impl TermStatistics) -> Vec<f64> {
        let idfs = corpus_idfs(query, corpus);
        let average = corpus.avg_tokens();
        docs.iter().map(|doc| self.score(query, &idfs, *doc, average)).collect()
    }

    /// One document's score; `idfs` go with the terms of `query`, one by one.
    pub fn score(&self, query: &[u64], idfs: &[f64], doc: DocTerms, avg_tokens: f64) -> f64 {
        let length = self.length(doc.tokens, avg_tokens);
        let mut score = 0.0;
        for (&term, &idf) in query.iter().zip(idfs) {
            let tf = doc.tf(term);
            if tf > 0 {
                score += self.term(idf, tf, length);
            }
        }
        score
    }

    /// What a document's length, in tokens, is held against it.
    #[must_use]
    pub fn length(&self, tokens: u32, avg_tokens: f64) -> f64 {
        let relative = if avg_tokens > 0.0 { f64::from(tokens) / avg_tokens } else { 0.0 };
        self.k1 * (1.0 - self.b + self.b * relative)
    }

    /// What one term of the query adds, in a document that has it `tf` times.
    #[must_use]
    pub fn term(&self, idf: f64, tf: u32, length: f64) -> f64 {
        let tf = f64::from(tf);
        idf * (tf * (self.k1 + 1.0)) / (tf + length)
    }
}

/// The idf of each term of a query in a collection.
pub fn corpus_idfs(query: &[u64], corpus: &impl TermStatistics) -> Vec<f64> {
    query.iter().map(|&term| idf(corpus.documents(), corpus.df(term))).collect()
}

/// Divides by the greatest score, or by 1 when none is positive.
pub fn normalise(scores: &mut [f64]) {
    let greatest = scores.iter().copied().fold(0.0f64, f64::max);
    if greatest > 0.0 {
        scores.iter_mut().for_each(|s| *s /= greatest);
    }
}

/// The rerank score: `1 - weight` of the vector score and `weight` of the normalised BM25 score.
pub fn blend(vdb_score: f64, bm25_normalised: f64, weight: f64) -> f64 {
    (1.0 - weight) * vdb_score + weight * bm25_normalised
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "What is the current stock price of Apple?";
    const DOCS: [(&str, f64); 3] = [
        ("Apple stock price rises on revenue growth", 0.9),
        ("Bond yields fall while stock volume grows in every sector", 0.8),
        ("Kubernetes cluster latency tuning guide", 0.7),
    ];

    fn docs(texts: &[&str]) -> Vec<(Vec<Term>, u32)> {
        texts
            .iter()
            .map(|text| {
                let hashes = token_hashes(text);
                let count = hashes.len() as u32;
                (count_terms(hashes), count)
            })
            .collect()
    }

    fn views(docs: &[(Vec<Term>, u32)]) -> Vec<DocTerms<'_>> {
        docs.iter().map(|(terms, tokens)| DocTerms { terms, tokens: *tokens }).collect()
    }

    #[test]
    fn the_reference_example_gives_the_reference_scores() {
        let docs = docs(&DOCS.map(|d| d.0));
        let mut scores = Bm25::default().among_candidates(&token_hashes(QUERY), &views(&docs));
        normalise(&mut scores);
        for (score, expected) in scores.iter().zip([1.0, 0.15947, 0.0]) {
            assert!((score - expected).abs() < 5e-6, "{scores:?}");
        }
        for ((score, doc), expected) in scores.iter().zip(DOCS).zip([0.93, 0.607841, 0.49]) {
            assert!((blend(doc.1, *score, 0.3) - expected).abs() < 5e-7);
        }
    }

    #[test]
    fn a_corpus_of_the_candidates_scores_like_the_candidates() {
        let docs = docs(&DOCS.map(|d| d.0));
        let corpus = TermTable::of_texts(DOCS.map(|d| d.0));
        let query = token_hashes(QUERY);
        let bm25 = Bm25::default();
        assert_eq!(
            bm25.over_corpus(&query, &views(&docs), &corpus),
            bm25.among_candidates(&query, &views(&docs))
        );
    }

    #[test]
    fn a_repeated_query_word_counts_again() {
        let docs = docs(&DOCS.map(|d| d.0));
        let once = Bm25::default().among_candidates(&token_hashes("apple"), &views(&docs));
        let twice = Bm25::default().among_candidates(&token_hashes("apple apple"), &views(&docs));
        assert_eq!(twice[0], 2.0 * once[0]);
    }

    #[test]
    fn a_word_nobody_has_counts_nothing() {
        assert_eq!(idf(10, 0), 0.0);
    }

    #[test]
    fn documents_without_words_score_zero() {
        let docs = docs(&["", "the of"]);
        assert_eq!(Bm25::default().among_candidates(&token_hashes("apple"), &views(&docs)), [0.0, 0.0]);
    }

    #[test]
    fn scores_without_a_positive_one_stay_as_they_are() {
        let mut scores = [0.0, 0.0];
        normalise(&mut scores);
        assert_eq!(scores, [0.0, 0.0]);
    }

    #[test]
    fn a_term_table_counts_documents_not_occurrences() {
        let table = TermTable::of_texts(["apple apple pear", "apple"]);
        assert_eq!(table.df(crate::text::tokens::term_hash("apple")), 2);
        assert_eq!((table.documents(), table.tokens(), table.avg_tokens()), (2, 4, 2.0));
    }
}
