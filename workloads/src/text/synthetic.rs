//! The synthetic corpus: text that is cheap to make, and built so that retrieval has something to find.
//!
//! Each text has one topic. A query takes 4 of its topic's 12 words and 4 others, a document 8 and 22.
//! With plain hashing that is too little overlap to find anything; the topic embedder adds a direction per
//! topic. A quarter of the second collection repeats documents of the first with 1, 2 or 4 of 30 words
//! changed, so that removing duplicates has work to do.

use std::fmt::Write;

use super::vocabulary::{Category, Part, QueryType, Template, Topic, Vocabulary, vocabulary};
use crate::random::{Stream, stream};

/// Weights of the query types and categories, in the order of `ALL`.
pub const TYPE_WEIGHTS: [f64; 3] = [0.40, 0.35, 0.25];
pub const CATEGORY_WEIGHTS: [f64; 4] = [0.30, 0.25, 0.25, 0.20];

/// Stream names of the document collections.
pub const VDB1: &str = "vdb1";
pub const VDB2: &str = "vdb2";
pub const WINDOW: &str = "documents";

/// The share of the second collection that repeats the first.
const DUPLICATES: f64 = 0.25;

#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticQuery {
    pub text: String,
    pub query_type: QueryType,
    pub category: Category,
    /// Number of the topic in the vocabulary.
    pub topic: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticDoc {
    pub text: String,
    pub category: Category,
    /// Number of the topic in the vocabulary.
    pub topic: u32,
    pub meta: DocMeta<'static>,
}

/// What reranking knows of a document beside its text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DocMeta<'a> {
    /// Seconds on the run's event clock, which is 0 when timing starts; so mostly negative.
    pub timestamp_s: Option<f64>,
    pub citations: u32,
    pub centrality: f64,
    pub category: Category,
    pub source: &'a str,
}

impl DocMeta<'_> {
    /// A document of which nothing else is known.
    pub fn plain(category: Category, source: &str) -> DocMeta<'_> {
        DocMeta { timestamp_s: None, citations: 0, centrality: 0.0, category, source }
    }
}

/// A node of the graph memory.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticNode {
    pub text: String,
    pub node_type: NodeType,
    pub topic: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeType {
    Memory,
    Entity,
    Concept,
}

impl NodeType {
    pub const ALL: [NodeType; 3] = [NodeType::Memory, NodeType::Entity, NodeType::Concept];

    pub fn as_str(self) -> &'static str {
        match self {
            NodeType::Memory => "memory",
            NodeType::Entity => "entity",
            NodeType::Concept => "concept",
        }
    }
}

/// Query number `item`. Weights are in the order of `QueryType::ALL` and `Category::ALL`.
pub fn query(seed: u64, item: u64, types: &[f64; 3], categories: &[f64; 4]) -> SyntheticQuery {
    let words = vocabulary();
    let mut random = stream(seed, "queries", item);
    let query_type = QueryType::ALL[random.weighted(types)];
    let category = Category::ALL[random.weighted(categories)];
    let fits = |t: &Template| t.query_type == Some(query_type) && t.category == category;
    let draft = Draft::new(words, &mut random, category, &words.queries, fits, 4, 4);
    SyntheticQuery { text: draft.text(words), query_type, category, topic: draft.topic }
}

/// Document number `item` of the collection `name`.
pub fn doc(seed: u64, name: &str, item: u64, categories: &[f64; 4]) -> SyntheticDoc {
    let mut random = stream(seed, name, item);
    let draft = Draft::document(&mut random, categories);
    draft.finish(&mut random)
}

/// Document number `item` of the second collection; `originals` is how many the first one has.
/// Gives the number of the repeated document, if it is a repeat, beside it.
pub fn second_doc(
    seed: u64,
    item: u64,
    originals: u64,
    categories: &[f64; 4],
) -> (SyntheticDoc, Option<u64>) {
    let mut random = stream(seed, VDB2, item);
    if random.unit() >= DUPLICATES || originals == 0 {
        let draft = Draft::document(&mut random, categories);
        return (draft.finish(&mut random), None);
    }
    let original = u64::from(random.below(originals.min(u64::from(u32::MAX)) as u32));
    let mut draft = Draft::document(&mut stream(seed, VDB1, original), categories);
    let changes = [1, 2, 4][random.below(3) as usize];
    draft.change(&mut random, changes);
    (draft.finish(&mut random), Some(original))
}

/// Node number `item` of the graph memory. Topics take turns, so that every query finds a way in.
pub fn graph_node(seed: u64, item: u64) -> SyntheticNode {
    let words = vocabulary();
    let mut random = stream(seed, "graph", item);
    let node_type = NodeType::ALL[random.below(3) as usize];
    let topic = (item % words.topics.len().max(1) as u64) as u32;
    let (signature, filler) = (random.choose_distinct(12, 4), choose_filler(words, &mut random, 4));
    let mut text = node_type.as_str().to_owned();
    for (s, f) in signature.iter().zip(&filler) {
        let _ = write!(
            text,
            " {} {}",
            words.filler[*f as usize], words.topics[topic as usize].terms[*s as usize]
        );
    }
    SyntheticNode { text, node_type, topic }
}

/// A text before its words are put together.
struct Draft {
    template: &'static Template,
    topic: u32,
    signature: Vec<u32>,
    filler: Vec<u32>,
}

impl Draft {
    fn new(
        words: &'static Vocabulary,
        random: &mut Stream,
        category: Category,
        templates: &'static [Template],
        fits: impl Fn(&Template) -> bool,
        signature: usize,
        filler: usize,
    ) -> Self {
        let topics = words.topics_in(category);
        let topic = topics[random.below(topics.len() as u32) as usize];
        let fitting: Vec<&Template> = templates.iter().filter(|t| fits(t)).collect();
        let template = fitting[random.below(fitting.len() as u32) as usize];
        let signature = random.choose_distinct(topic_of(words, topic).terms.len() as u32, signature);
        Self { template, topic, signature, filler: choose_filler(words, random, filler) }
    }

    fn document(random: &mut Stream, categories: &[f64; 4]) -> Self {
        let words = vocabulary();
        let category = Category::ALL[random.weighted(categories)];
        Self::new(words, random, category, &words.documents, |t| t.category == category, 8, 22)
    }

    /// Changes `count` words for others of their kind that the text does not have yet.
    fn change(&mut self, random: &mut Stream, count: usize) {
        let words = vocabulary();
        let terms = topic_of(words, self.topic).terms.len() as u32;
        let places = random.choose_distinct((self.signature.len() + self.filler.len()) as u32, count);
        for place in places {
            let place = place as usize;
            let (list, at, all) = match place.checked_sub(self.signature.len()) {
                None => (&mut self.signature, place, terms),
                Some(at) => (&mut self.filler, at, words.filler.len() as u32),
            };
            let unused: Vec<u32> = (0..all).filter(|word| !list.contains(word)).collect();
            if let Some(&word) = random.pick(&unused) {
                list[at] = word;
            }
        }
    }

    fn text(&self, words: &Vocabulary) -> String {
        let terms = &topic_of(words, self.topic).terms;
        let mut text = String::with_capacity(256);
        for part in &self.template.parts {
            text.push_str(match part {
                Part::Text(between) => between,
                Part::Signature(n) => &terms[self.signature[*n] as usize],
                Part::Filler(n) => &words.filler[self.filler[*n] as usize],
            });
        }
        text
    }

    fn finish(self, random: &mut Stream) -> SyntheticDoc {
        let category = self.template.category;
        let text = self.text(vocabulary());
        SyntheticDoc { text, category, topic: self.topic, meta: meta(random, category) }
    }
}

fn topic_of(words: &Vocabulary, number: u32) -> &Topic {
    &words.topics[number as usize]
}

fn choose_filler(words: &Vocabulary, random: &mut Stream, count: usize) -> Vec<u32> {
    random.choose_distinct(words.filler.len() as u32, count)
}

/// Freshness `2^(-age in hours / 24)` is spread evenly over 0 to 1; a tenth has no date. Of citations,
/// centrality and source, a good part is absent or plain, so that every rule of authority is used.
fn meta(random: &mut Stream, category: Category) -> DocMeta<'static> {
    let dated = random.unit() >= 0.1;
    let freshness = 1.0 - random.unit();
    let age_hours = -24.0 * libm::log2(freshness);
    let cited = random.unit() < 0.4;
    let citations = 1 + random.below(150);
    let connected = random.unit() < 0.5;
    let centrality = f64::from(1 + random.below(1000)) / 1000.0;
    let source = ["synthetic", "verified synthetic report", "authoritative synthetic reference"]
        [random.weighted(&[0.8, 0.1, 0.1])];
    DocMeta {
        timestamp_s: dated.then_some(0.0 - age_hours * 3600.0),
        citations: if cited { citations } else { 0 },
        centrality: if connected { centrality } else { 0.0 },
        category,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tokens::tokens;
    use std::collections::HashSet;

    fn docs(n: u64) -> Vec<SyntheticDoc> {
        (0..n).map(|i| doc(42, VDB1, i, &CATEGORY_WEIGHTS)).collect()
    }

    fn words_of_topic(text: &str, topic: u32) -> usize {
        let terms = &vocabulary().topics[topic as usize].terms;
        tokens(text).iter().filter(|w| terms.contains(w)).count()
    }

    #[test]
    fn a_query_has_four_topic_words_and_four_others() {
        for item in 0..200 {
            let query = query(42, item, &TYPE_WEIGHTS, &CATEGORY_WEIGHTS);
            assert_eq!(tokens(&query.text).len(), 8);
            assert_eq!(words_of_topic(&query.text, query.topic), 4);
        }
    }

    #[test]
    fn a_document_has_eight_topic_words_and_twenty_two_others() {
        for doc in docs(200) {
            assert_eq!(tokens(&doc.text).len(), 30);
            assert_eq!(words_of_topic(&doc.text, doc.topic), 8);
        }
    }

    #[test]
    fn category_weights_set_the_shares() {
        let finance = docs(4000).iter().filter(|d| d.category == Category::Finance).count();
        assert!(finance.abs_diff(1200) < 100, "{finance}");
    }

    #[test]
    fn a_type_of_weight_one_is_the_only_type() {
        let all = (0..50).map(|i| query(1, i, &[0.0, 0.0, 1.0], &CATEGORY_WEIGHTS));
        assert!(all.into_iter().all(|q| q.query_type == QueryType::Exploratory));
    }

    #[test]
    fn items_do_not_depend_on_each_other() {
        assert_eq!(doc(42, VDB1, 77, &CATEGORY_WEIGHTS), docs(78)[77]);
    }

    #[test]
    fn a_quarter_of_the_second_collection_repeats_the_first() {
        let repeats = (0..4000).filter(|&i| second_doc(42, i, 1000, &CATEGORY_WEIGHTS).1.is_some()).count();
        assert!(repeats.abs_diff(1000) < 100, "{repeats}");
    }

    #[test]
    fn a_repeat_changes_one_two_or_four_words() {
        let mut seen = HashSet::new();
        for item in 0..400 {
            if let (copy, Some(original)) = second_doc(42, item, 1000, &CATEGORY_WEIGHTS) {
                let original = doc(42, VDB1, original, &CATEGORY_WEIGHTS);
                let (a, b) = (tokens(&original.text), tokens(&copy.text));
                seen.insert(a.iter().zip(&b).filter(|(x, y)| x != y).count());
                assert_eq!(words_of_topic(&copy.text, copy.topic), 8);
            }
        }
        assert_eq!(seen, HashSet::from([1, 2, 4]));
    }

    #[test]
    fn freshness_is_spread_evenly_and_some_dates_are_missing() {
        let docs = docs(2000);
        let fresh: Vec<f64> =
            docs.iter().filter_map(|d| d.meta.timestamp_s).map(|t| libm::exp2(t / 3600.0 / 24.0)).collect();
        assert!(fresh.len().abs_diff(1800) < 60, "{}", fresh.len());
        for quarter in 0..4 {
            let low = f64::from(quarter) * 0.25;
            let inside = fresh.iter().filter(|f| (low..low + 0.25).contains(*f)).count();
            assert!(inside.abs_diff(450) < 60, "{quarter}: {inside}");
        }
    }

    #[test]
    fn every_rule_of_authority_has_documents() {
        let docs = docs(1000);
        let plain = |d: &&SyntheticDoc| d.meta.citations == 0 && d.meta.centrality == 0.0;
        assert!(docs.iter().any(|d| d.meta.citations > 100));
        assert!(docs.iter().filter(plain).any(|d| d.meta.source == "synthetic"));
        assert!(docs.iter().filter(plain).any(|d| d.meta.source.contains("verified")));
        assert!(docs.iter().filter(plain).any(|d| d.meta.source.contains("authoritative")));
    }

    #[test]
    fn graph_nodes_cover_all_topics_and_kinds() {
        let nodes: Vec<SyntheticNode> = (0..200).map(|i| graph_node(42, i)).collect();
        assert_eq!(nodes.iter().map(|n| n.topic).collect::<HashSet<_>>().len(), 64);
        for kind in NodeType::ALL {
            assert!(nodes.iter().any(|n| n.node_type == kind));
        }
    }
}
