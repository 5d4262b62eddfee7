//! The words and sentence patterns of the synthetic corpus.
//!
//! They live in `data/vocabulary.toml` and are built in, so that every installation makes the same text.
//! A test holds the file to its rules; the code relies on them and so reads it only once.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::tokens::term_hash;

/// What a query or document is about. Batches are formed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    Finance,
    Healthcare,
    Technology,
    General,
}

impl Category {
    /// In the order in which weights are given.
    pub const ALL: [Category; 4] =
        [Category::Finance, Category::Healthcare, Category::Technology, Category::General];

    pub fn as_str(self) -> &'static str {
        match self {
            Category::Finance => "finance",
            Category::Healthcare => "healthcare",
            Category::Technology => "technology",
            Category::General => "general",
        }
    }
}

/// What a query wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryType {
    Factual,
    Analytical,
    Exploratory,
}

impl QueryType {
    /// In the order in which weights are given.
    pub const ALL: [QueryType; 3] = [QueryType::Factual, QueryType::Analytical, QueryType::Exploratory];

    pub fn as_str(self) -> &'static str {
        match self {
            QueryType::Factual => "factual",
            QueryType::Analytical => "analytical",
            QueryType::Exploratory => "exploratory",
        }
    }
}

macro_rules! named {
    ($type:ident, $what:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                Self::ALL.into_iter().find(|x| x.as_str() == name).ok_or_else(|| {
                    let known = Self::ALL.map(Self::as_str).join(", ");
                    format!(concat!("unknown ", $what, " {:?}; known: {}"), name, known)
                })
            }
        }
    };
}
named!(Category, "category");
named!(QueryType, "query type");

/// A subject and the twelve words that mark it.
#[derive(Debug, Clone, Deserialize)]
pub struct Topic {
    pub category: Category,
    pub name: String,
    pub terms: Vec<String>,
}

/// A sentence pattern with slots such as `{s1}` for a topic's words and `{f1}` for others.
#[derive(Debug, Clone)]
pub struct Template {
    pub category: Category,
    /// Queries only.
    pub query_type: Option<QueryType>,
    pub parts: Vec<Part>,
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    /// The topic's word with this number, from 0.
    Signature(usize),
    /// The other word with this number, from 0.
    Filler(usize),
}

/// Everything in the file, ready for use.
#[derive(Debug)]
pub struct Vocabulary {
    pub topics: Vec<Topic>,
    pub filler: Vec<String>,
    pub queries: Vec<Template>,
    pub documents: Vec<Template>,
    by_term: HashMap<u64, u32>,
    by_category: [Vec<u32>; 4],
}

impl Vocabulary {
    /// The topic that a word marks, by the word's hash.
    pub fn topic_of(&self, term: u64) -> Option<u32> {
        self.by_term.get(&term).copied()
    }

    /// The numbers of a category's topics.
    pub fn topics_in(&self, category: Category) -> &[u32] {
        &self.by_category[category as usize]
    }
}

/// The built-in vocabulary.
pub fn vocabulary() -> &'static Vocabulary {
    static PARSED: OnceLock<Vocabulary> = OnceLock::new();
    PARSED.get_or_init(|| {
        parse(include_str!("../../data/vocabulary.toml")).expect("the built-in vocabulary follows its rules")
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    topic: Vec<Topic>,
    filler: Vec<String>,
    query_template: Vec<RawTemplate>,
    doc_template: Vec<RawTemplate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTemplate {
    #[serde(rename = "type")]
    query_type: Option<QueryType>,
    category: Category,
    text: String,
}

fn parse(text: &str) -> Result<Vocabulary, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
    let mut by_term = HashMap::new();
    let mut by_category: [Vec<u32>; 4] = Default::default();
    for (number, topic) in (0u32..).zip(&file.topic) {
        by_category[topic.category as usize].push(number);
        for term in &topic.terms {
            if by_term.insert(term_hash(term), number).is_some() {
                return Err(format!("two topics share the word {term:?}"));
            }
        }
    }
    let templates = |raw: Vec<RawTemplate>| raw.into_iter().map(template).collect::<Result<Vec<_>, _>>();
    Ok(Vocabulary {
        topics: file.topic,
        filler: file.filler,
        queries: templates(file.query_template)?,
        documents: templates(file.doc_template)?,
        by_term,
        by_category,
    })
}

fn template(raw: RawTemplate) -> Result<Template, String> {
    let mut parts = Vec::new();
    let mut rest = raw.text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (slot, after) = after.split_once('}').ok_or_else(|| format!("open slot in {:?}", raw.text))?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let number = |digits: &str| digits.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let part = match (slot.as_bytes().first(), slot.get(1..).and_then(number)) {
            (Some(b's'), Some(n)) => Part::Signature(n),
            (Some(b'f'), Some(n)) => Part::Filler(n),
            _ => return Err(format!("unknown slot {slot:?} in {:?}", raw.text)),
        };
        parts.push(part);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(Template { category: raw.category, query_type: raw.query_type, parts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tokens::{STOP_WORDS, tokens};
    use std::collections::HashSet;

    #[test]
    fn each_category_has_sixteen_topics_of_twelve_words() {
        for category in Category::ALL {
            assert_eq!(vocabulary().topics_in(category).len(), 16);
        }
        assert!(vocabulary().topics.iter().all(|t| t.terms.len() == 12));
    }

    #[test]
    fn every_word_is_one_token_and_marks_at_most_one_topic() {
        let mut seen = HashSet::new();
        let words = vocabulary().topics.iter().flat_map(|t| &t.terms).chain(&vocabulary().filler);
        for word in words {
            assert_eq!(tokens(word), [word.as_str()]);
            assert!(seen.insert(word), "{word} occurs twice");
        }
        assert!(vocabulary().filler.len() >= 400);
    }

    #[test]
    fn every_query_type_and_category_has_five_patterns() {
        for query_type in QueryType::ALL {
            for category in Category::ALL {
                let fits = |t: &&Template| t.query_type == Some(query_type) && t.category == category;
                assert_eq!(vocabulary().queries.iter().filter(fits).count(), 5);
            }
        }
    }

    #[test]
    fn every_category_has_three_document_patterns() {
        for category in Category::ALL {
            assert_eq!(vocabulary().documents.iter().filter(|t| t.category == category).count(), 3);
        }
    }

    #[test]
    fn patterns_use_every_slot_once_and_only_stop_words_between() {
        let check = |template: &Template, signature: usize, filler: usize| {
            let mut slots = Vec::new();
            for part in &template.parts {
                match part {
                    Part::Text(text) => {
                        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
                            assert!(STOP_WORDS.contains(&word), "{word}");
                        }
                    }
                    Part::Signature(n) => slots.push(*n),
                    Part::Filler(n) => slots.push(100 + *n),
                }
            }
            slots.sort_unstable();
            assert_eq!(slots, (0..signature).chain(100..100 + filler).collect::<Vec<_>>());
        };
        vocabulary().queries.iter().for_each(|t| check(t, 4, 4));
        vocabulary().documents.iter().for_each(|t| check(t, 8, 22));
    }

    #[test]
    fn names_read_back_and_unknown_ones_list_the_known() {
        assert_eq!("finance".parse(), Ok(Category::Finance));
        let error = "sport".parse::<Category>().unwrap_err();
        assert_eq!(error, "unknown category \"sport\"; known: finance, healthcare, technology, general");
    }

    #[test]
    fn a_pattern_with_an_unknown_slot_is_refused() {
        let raw = RawTemplate { query_type: None, category: Category::General, text: "a {x1}".into() };
        assert!(template(raw).unwrap_err().contains("unknown slot"));
    }
}
