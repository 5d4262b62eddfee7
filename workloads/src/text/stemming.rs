//! Words by their stems, so that BM25 finds "wings" where "wing" is asked for.
//!
//! The stems are those of Snowball. Only BM25 over a whole collection knows them: the words that the hash embedder
//! and the reranker see stay as they are.

use serde::{Deserialize, Serialize};
use snowball_stemmers_rs::{Algorithm, Stemmer};

use super::tokens::{for_each_token, term_hash};

/// What becomes of a word before it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stemming {
    /// It stays as it is.
    #[default]
    None,
    /// Snowball's stemmer for English, known as Porter 2.
    English,
}

impl Stemming {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::English => "english",
        }
    }

    /// The hashes of a text's terms, in order and with repeats.
    #[must_use]
    pub fn term_hashes(self, text: &str) -> Vec<u64> {
        let mut all = Vec::new();
        match self {
            Self::None => for_each_token(text, |word| all.push(term_hash(word))),
            Self::English => {
                let stemmer = Stemmer::create(Algorithm::English);
                for_each_token(text, |word| all.push(term_hash(&stemmer.stem(word))));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tokens::token_hashes;

    #[test]
    fn without_a_stemmer_the_terms_are_the_words() {
        let text = "The wings of a wing, in slipstreams";
        assert_eq!(Stemming::None.term_hashes(text), token_hashes(text));
    }

    #[test]
    fn words_of_one_stem_are_one_term() {
        let of = |text| Stemming::English.term_hashes(text);
        assert_eq!(of("the heated wings were heating"), of("heat wing heats"));
        assert_ne!(of("wing"), of("wind"));
    }

    #[test]
    fn words_of_any_language_have_a_stem() {
        for text in ["Größe der Strömung", "翼の揚力", "ÉTÉ naïveté's", "ﬁﬂ İstanbul ʼn", "x_1 2000s y"]
        {
            let words = token_hashes(text).len();
            assert_eq!(Stemming::English.term_hashes(text).len(), words, "{text}");
        }
    }
}
