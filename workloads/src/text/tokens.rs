//! The words of a text, as BM25 and the hashing embedders see them.
//!
//! Both use the same words, so that they can be compared, and 64-bit hashes in place of strings, so that
//! an index needs no dictionary. Word characters are letters, numbers and `_`, as Unicode has them.

use bytemuck::{Pod, Zeroable};
use xxhash_rust::xxh3::xxh3_64;

/// The 29 words that say nothing about a text's subject.
pub const STOP_WORDS: [&str; 29] = [
    "the", "a", "an", "and", "or", "but", "in", "on", "at", "to", "for", "of", "with", "is", "are", "was",
    "were", "be", "been", "being", "what", "which", "who", "when", "where", "why", "how", "its", "it",
];

/// Shorter words, in characters, are dropped.
const SHORTEST: usize = 3;

/// A term of a document and how often it occurs there. Its layout is that of the index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Term {
    pub hash: u64,
    pub tf: u32,
    unused: u32,
}

impl Term {
    pub fn new(hash: u64, tf: u32) -> Self {
        Self { hash, tf, unused: 0 }
    }
}

/// The 64-bit name of a term: XXH3 of its UTF-8 bytes, seed 0.
pub fn term_hash(term: &str) -> u64 {
    xxh3_64(term.as_bytes())
}

/// Calls `each` with every word of the text in order, lower-case, stop words and short words left out.
pub fn for_each_token(text: &str, mut each: impl FnMut(&str)) {
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
        if word.chars().nth(SHORTEST - 1).is_some() && !STOP_WORDS.contains(&word) {
            each(word);
        }
    }
}

/// The words of a text.
pub fn tokens(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for_each_token(text, |word| all.push(word.to_owned()));
    all
}

/// The hashes of a text's words, in order and with repeats: what a query is to BM25.
pub fn token_hashes(text: &str) -> Vec<u64> {
    let mut all = Vec::new();
    for_each_token(text, |word| all.push(term_hash(word)));
    all
}

/// Counts terms. The result is sorted by hash.
pub fn count_terms(mut hashes: Vec<u64>) -> Vec<Term> {
    hashes.sort_unstable();
    hashes.chunk_by(|a, b| a == b).map(|same| Term::new(same[0], same.len() as u32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_leaves_its_content_words() {
        assert_eq!(
            tokens("What is the current stock price of Apple?"),
            ["current", "stock", "price", "apple"]
        );
    }

    #[test]
    fn punctuation_splits_and_underscore_does_not() {
        assert_eq!(tokens("co-operate, snake_case; x.y abc"), ["operate", "snake_case", "abc"]);
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        assert_eq!(tokens("né née ÉTÉ 株価 株価表"), ["née", "été", "株価表"]);
    }

    #[test]
    fn a_text_of_stop_words_has_no_tokens() {
        assert!(tokens(&STOP_WORDS.join(" ")).is_empty());
    }

    #[test]
    fn a_term_hash_is_xxh3() {
        assert_eq!(term_hash(""), 0x2d06_8005_38d3_94c2);
    }

    #[test]
    fn counted_terms_are_sorted_and_keep_their_repeats() {
        assert_eq!(count_terms(vec![9, 2, 9]), [Term::new(2, 1), Term::new(9, 2)]);
    }
}
