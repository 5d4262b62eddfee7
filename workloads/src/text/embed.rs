//! What turns texts into vectors.
//!
//! Two embedders need no service. `TopicEmbedder` knows the synthetic vocabulary and makes texts of one
//! topic similar, as a trained encoder would. `HashEmbedder` works on any text. Both add up whole hashed
//! features in a fixed order, so that a text has one vector on every machine and in every batch.
//!
//! A real encoder costs millions of multiplications a text. `encoder_layers` adds that cost as honest work:
//! each layer multiplies by a fixed matrix of random 8-bit values and adds a quarter of the product to the
//! vector, all in whole numbers. Such a matrix nearly keeps angles, so thresholds keep their meaning.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::bm25::{TermStatistics, idf};
use super::endpoint::{Endpoint, EndpointError, Fault};
use super::stored::StoredVectors;
use super::tokens::{count_terms, for_each_token, term_hash, token_hashes};
use super::vocabulary::vocabulary;
use crate::random::stream;
use crate::vector::{MAX_DIMENSION, Quantised, dots_batch, quantise};

/// Turns texts into vectors, one for one.
pub trait Embedder: Send + Sync {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Quantised>, EndpointError>;

    /// Names everything that shapes the vectors; part of an index's identity.
    fn name(&self) -> String;

    fn dimension(&self) -> usize;
}

/// Marks that one topic direction has.
const TOPIC_MARKS: usize = 64;

/// For synthetic text: a hashed sign per word, and the topic's direction per topic word.
///
/// Measured on 400 queries x 1,500 documents, 1,024 dimensions, threshold 0.70: same-topic cosine 0.734 on
/// average, every query matches (22.5 documents on average), the best cosine across topics is 0.17. With
/// one encoder layer: 0.724, every query, 19.9 documents, 0.20. Of 2,000 documents of the second
/// collection against 10,000 of the first: 471 planted repeats score 0.947 to 0.990 (mean 0.976), all others
/// at most 0.836, so a cut at 0.85 finds exactly the planted ones.
pub struct TopicEmbedder {
    dimension: usize,
    beta: f64,
    /// Places and signs of each topic's marks.
    directions: Vec<Vec<(u32, f64)>>,
    encoder: Encoder,
}

impl TopicEmbedder {
    /// `beta` weighs the topic against the words; the corpus is tuned for 1.0. Dimensions are kept within
    /// 1 and `MAX_DIMENSION`.
    pub fn new(dimension: usize, beta: f64, encoder_layers: u32) -> Self {
        let dimension = dimension.clamp(1, MAX_DIMENSION);
        let direction = |topic: u64| {
            let mut random = stream(0, "topic direction", topic);
            let places = random.choose_distinct(dimension as u32, TOPIC_MARKS);
            let length = (places.len() as f64).sqrt();
            places.iter().map(|&at| (at, if random.below(2) == 0 { 1.0 } else { -1.0 } / length)).collect()
        };
        let directions = (0..vocabulary().topics.len() as u64).map(direction).collect();
        Self { dimension, beta, directions, encoder: Encoder::new(dimension, encoder_layers) }
    }

    fn features(&self, text: &str) -> Quantised {
        let mut sum = vec![0.0; self.dimension];
        let mut in_topic = Vec::new();
        for_each_token(text, |word| {
            let hash = term_hash(word);
            sum[(hash % self.dimension as u64) as usize] += sign(hash);
            in_topic.extend(vocabulary().topic_of(hash));
        });
        in_topic.sort_unstable();
        for same in in_topic.chunk_by(|a, b| a == b) {
            let weight = self.beta * same.len() as f64;
            for &(at, mark) in &self.directions[same[0] as usize] {
                sum[at as usize] += weight * mark;
            }
        }
        quantise(&sum)
    }
}

impl Embedder for TopicEmbedder {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Quantised>, EndpointError> {
        Ok(self.encoder.encode(texts.iter().map(|text| self.features(text)).collect()))
    }

    fn name(&self) -> String {
        format!("topic-{}-beta{}-layers{}", self.dimension, self.beta, self.encoder.layers)
    }

    fn dimension(&self) -> usize {
        self.dimension
    }
}

/// Places that one term marks.
const TERM_MARKS: u64 = 4;

/// For any text: each term marks four hashed places with `(1 + ln tf) * idf`.
pub struct HashEmbedder {
    dimension: usize,
    statistics: Arc<dyn TermStatistics>,
    encoder: Encoder,
}

impl HashEmbedder {
    /// `statistics` are those of the collection that is searched: an open index or a `TermTable`.
    pub fn new(dimension: usize, statistics: Arc<dyn TermStatistics>, encoder_layers: u32) -> Self {
        let dimension = dimension.clamp(1, MAX_DIMENSION);
        Self { dimension, statistics, encoder: Encoder::new(dimension, encoder_layers) }
    }

    fn features(&self, text: &str) -> Quantised {
        let mut sum = vec![0.0; self.dimension];
        let documents = self.statistics.documents();
        for term in count_terms(token_hashes(text)) {
            let idf = idf(documents, self.statistics.df(term.hash));
            let weight = (1.0 + libm::log(f64::from(term.tf))) * idf;
            for mark in 0..TERM_MARKS {
                let hash = mix(term.hash.wrapping_add(mark));
                sum[(hash % self.dimension as u64) as usize] += sign(hash) * weight;
            }
        }
        quantise(&sum)
    }
}

impl Embedder for HashEmbedder {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Quantised>, EndpointError> {
        Ok(self.encoder.encode(texts.iter().map(|text| self.features(text)).collect()))
    }

    fn name(&self) -> String {
        format!("hash-{}-layers{}", self.dimension, self.encoder.layers)
    }

    fn dimension(&self) -> usize {
        self.dimension
    }
}

/// A service that speaks the OpenAI embeddings protocol.
pub struct HttpEmbedder {
    endpoint: Endpoint,
    dimension: usize,
    batch: usize,
    stored: Option<Arc<StoredVectors>>,
    ask: Ask,
}

/// When a service is asked for the vector of a text that is kept. What is used is the one that is kept in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Every time, because it is part of the work.
    Always,
    /// Not again.
    Once,
}

impl HttpEmbedder {
    /// `batch` is how many texts go into one call.
    pub fn new(endpoint: Endpoint, dimension: usize, batch: usize) -> Self {
        let dimension = dimension.clamp(1, MAX_DIMENSION);
        Self { endpoint, dimension, batch: batch.max(1), stored: None, ask: Ask::Always }
    }

    /// Keeps what the service gives, and takes what is kept.
    #[must_use]
    pub fn with_stored(self, stored: Arc<StoredVectors>, ask: Ask) -> Self {
        Self { stored: Some(stored), ask, ..self }
    }

    /// What is kept of these texts.
    fn known(&self, texts: &[&str]) -> Result<Vec<Option<Quantised>>, EndpointError> {
        match &self.stored {
            Some(stored) if self.ask == Ask::Once => texts
                .iter()
                .map(|text| stored.get(text).map_err(|cause| self.unkept(stored, &cause)))
                .collect(),
            _ => Ok(vec![None; texts.len()]),
        }
    }

    /// The vectors of a batch, as they count from now on.
    fn asked(&self, batch: &[&str]) -> Result<Vec<Quantised>, EndpointError> {
        let mut vectors = Vec::with_capacity(batch.len());
        for values in self.endpoint.embeddings(batch)?.vectors {
            if values.len() != self.dimension {
                let fault = Fault::Dimension { expected: self.dimension, found: values.len() };
                return Err(self.endpoint.error("embeddings", fault, 1));
            }
            vectors.push(quantise(&values));
        }
        let Some(stored) = &self.stored else { return Ok(vectors) };
        let given: Vec<(&str, Quantised)> = batch.iter().copied().zip(vectors).collect();
        stored.keep(&given).map_err(|cause| self.unkept(stored, &cause))
    }

    fn unkept(&self, stored: &StoredVectors, cause: &std::io::Error) -> EndpointError {
        let path = stored.path().to_owned();
        self.endpoint.error("embeddings", Fault::Unkept { path, why: cause.to_string() }, 1)
    }
}

impl Embedder for HttpEmbedder {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Quantised>, EndpointError> {
        // Services refuse a text of nothing. As for the other embedders, its vector is zero.
        let written: Vec<usize> = (0..texts.len()).filter(|&at| !texts[at].trim().is_empty()).collect();
        let mut vectors = vec![Quantised::new(vec![0; self.dimension]); texts.len()];
        let mut unknown = Vec::new();
        let known = self.known(&written.iter().map(|&at| texts[at]).collect::<Vec<_>>())?;
        for (&at, known) in written.iter().zip(known) {
            match known {
                Some(vector) => vectors[at] = vector,
                None => unknown.push(at),
            }
        }
        let mut again = Vec::new();
        if self.ask == Ask::Once {
            let mut first: HashMap<&str, usize> = HashMap::new();
            unknown.retain(|&at| match first.entry(texts[at]) {
                Entry::Occupied(entry) => {
                    again.push((at, *entry.get()));
                    false
                }
                Entry::Vacant(entry) => {
                    entry.insert(at);
                    true
                }
            });
        }
        for places in unknown.chunks(self.batch) {
            let batch: Vec<&str> = places.iter().map(|&at| texts[at]).collect();
            for (&at, vector) in places.iter().zip(self.asked(&batch)?) {
                vectors[at] = vector;
            }
        }
        for (at, first) in again {
            vectors[at] = vectors[first].clone();
        }
        Ok(vectors)
    }

    fn name(&self) -> String {
        format!("http-{}-{}", self.dimension, self.endpoint.model())
    }

    fn dimension(&self) -> usize {
        self.dimension
    }
}

/// Puts what its model was trained to see before a text of this kind before every text.
pub struct Prefixed {
    embedder: Arc<dyn Embedder>,
    prefix: String,
}

impl Prefixed {
    /// The embedder itself where there is nothing to put before texts.
    #[must_use]
    pub fn over(embedder: Arc<dyn Embedder>, prefix: &str) -> Arc<dyn Embedder> {
        if prefix.is_empty() {
            return embedder;
        }
        Arc::new(Self { embedder, prefix: prefix.to_owned() })
    }
}

/// A text as its embedder is to see it: one of nothing stays one.
#[must_use]
pub fn prefixed<'a>(prefix: &str, text: Cow<'a, str>) -> Cow<'a, str> {
    if prefix.is_empty() || text.trim().is_empty() { text } else { format!("{prefix}{text}").into() }
}

impl Embedder for Prefixed {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Quantised>, EndpointError> {
        let texts: Vec<Cow<'_, str>> =
            texts.iter().map(|text| prefixed(&self.prefix, (*text).into())).collect();
        self.embedder.embed(&texts.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    fn name(&self) -> String {
        format!("{} after {:?}", self.embedder.name(), self.prefix)
    }

    fn dimension(&self) -> usize {
        self.embedder.dimension()
    }
}

/// The cost of an encoder, without its weights.
struct Encoder {
    dimension: usize,
    layers: u32,
    weights: Vec<i8>,
}

impl Encoder {
    fn new(dimension: usize, layers: u32) -> Self {
        let mut weights = Vec::new();
        if layers > 0 {
            let mut random = stream(0, "encoder", dimension as u64);
            weights.reserve_exact(dimension * dimension + 4);
            while weights.len() < dimension * dimension {
                weights.extend(random.next_u32().to_le_bytes().map(|byte| byte as i8));
            }
            weights.truncate(dimension * dimension);
        }
        Self { dimension, layers, weights }
    }

    fn encode(&self, mut vectors: Vec<Quantised>) -> Vec<Quantised> {
        let mut products = Vec::new();
        for _ in 0..self.layers {
            let inputs: Vec<&[i8]> = vectors.iter().map(|v| v.dims.as_slice()).collect();
            dots_batch(&self.weights, self.dimension, &inputs, &mut products);
            for (vector, product) in vectors.iter_mut().zip(products.chunks_exact(self.dimension)) {
                let product = rescale(product.iter().map(|&p| i64::from(p)));
                let sum = vector.dims.iter().zip(&product).map(|(&v, &p)| 4 * i64::from(v) + i64::from(p));
                *vector = Quantised::new(rescale(sum));
            }
        }
        vectors
    }
}

/// `quantise` in whole numbers: the largest magnitude becomes 127, halves go away from zero.
fn rescale(values: impl Iterator<Item = i64> + Clone) -> Vec<i8> {
    let largest = values.clone().map(i64::abs).max().unwrap_or(0).max(1);
    values.map(|v| (v.signum() * ((v.abs() * 254 + largest) / (2 * largest))) as i8).collect()
}

fn sign(hash: u64) -> f64 {
    if hash >> 63 == 0 { 1.0 } else { -1.0 }
}

/// The finaliser of SplitMix64.
fn mix(hash: u64) -> u64 {
    let mut z = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::bm25::TermTable;
    use crate::text::synthetic::{CATEGORY_WEIGHTS, TYPE_WEIGHTS, VDB1, WINDOW, doc, query, second_doc};

    fn embed(embedder: &dyn Embedder, texts: &[String]) -> Vec<Quantised> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        embedder.embed(&texts).unwrap()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    /// Cosines of 400 queries with 1,500 documents: those of the same topic, and the others.
    fn joined(layers: u32) -> (Vec<f64>, Vec<f64>, Vec<usize>) {
        let embedder = TopicEmbedder::new(1024, 1.0, layers);
        let queries: Vec<_> = (0..400).map(|i| query(42, i, &TYPE_WEIGHTS, &CATEGORY_WEIGHTS)).collect();
        let docs: Vec<_> = (0..1500).map(|i| doc(42, WINDOW, i, &CATEGORY_WEIGHTS)).collect();
        let q = embed(&embedder, &queries.iter().map(|q| q.text.clone()).collect::<Vec<_>>());
        let d = embed(&embedder, &docs.iter().map(|d| d.text.clone()).collect::<Vec<_>>());
        let (mut same, mut other, mut matches) = (Vec::new(), Vec::new(), Vec::new());
        for (query, qv) in queries.iter().zip(&q) {
            let mut found = 0;
            for (doc, dv) in docs.iter().zip(&d) {
                let cosine = qv.cosine(dv);
                found += usize::from(cosine >= 0.70);
                if query.topic == doc.topic { same.push(cosine) } else { other.push(cosine) }
            }
            matches.push(found);
        }
        (same, other, matches)
    }

    #[test]
    fn texts_of_one_topic_join_and_others_do_not() {
        for layers in [0, 1] {
            let (same, other, matches) = joined(layers);
            let other_max = other.iter().copied().fold(0.0, f64::max);
            let matched = matches.iter().filter(|m| **m > 0).count();
            let mean_matches = mean(&matches.iter().map(|m| *m as f64).collect::<Vec<_>>());
            println!("layers {layers}: same {:.4}, other max {other_max:.4}", mean(&same));
            println!("matched {matched} of 400, {mean_matches:.2} each");
            assert!((mean(&same) - 0.73).abs() < 0.01);
            assert_eq!(matched, 400);
            assert!(other_max < 0.60);
            assert!((15.0..26.0).contains(&mean_matches));
        }
    }

    #[test]
    fn planted_repeats_are_near_duplicates_and_nothing_else_is() {
        let embedder = TopicEmbedder::new(1024, 1.0, 0);
        let first: Vec<_> = (0..1000).map(|i| doc(42, VDB1, i, &CATEGORY_WEIGHTS)).collect();
        let vectors = embed(&embedder, &first.iter().map(|d| d.text.clone()).collect::<Vec<_>>());
        let mut repeats = Vec::new();
        let mut strangers = Vec::new();
        for item in 0..400 {
            let (copy, original) = second_doc(42, item, 1000, &CATEGORY_WEIGHTS);
            let vector = &embed(&embedder, &[copy.text])[0];
            for (at, other) in vectors.iter().enumerate() {
                let to = if Some(at as u64) == original { &mut repeats } else { &mut strangers };
                to.push(vector.cosine(other));
            }
        }
        let lowest = repeats.iter().copied().fold(1.0, f64::min);
        let highest = strangers.iter().copied().fold(0.0, f64::max);
        println!(
            "repeats {} mean {:.4} min {lowest:.4}; others max {highest:.4}",
            repeats.len(),
            mean(&repeats)
        );
        assert!(mean(&repeats) >= 0.97 && lowest >= 0.94);
        assert!(highest < 0.85);
    }

    /// The whole chain from seed to vector; a change here changes every result that was ever recorded.
    #[test]
    fn texts_and_vectors_of_seed_42_are_these() {
        let query = |i| query(42, i, &TYPE_WEIGHTS, &CATEGORY_WEIGHTS).text;
        let texts: Vec<String> = (0..100)
            .flat_map(|i| {
                [
                    query(i),
                    doc(42, VDB1, i, &CATEGORY_WEIGHTS).text,
                    second_doc(42, i, 99, &CATEGORY_WEIGHTS).0.text,
                ]
            })
            .collect();
        let statistics = Arc::new(TermTable::of_texts(texts.iter().map(String::as_str)));
        let vectors = |embedder: &dyn Embedder| {
            let dims: Vec<i8> = embed(embedder, &texts).into_iter().flat_map(|v| v.dims).collect();
            xxhash_rust::xxh3::xxh3_64(bytemuck::cast_slice(&dims))
        };
        let found = [
            xxhash_rust::xxh3::xxh3_64(texts.concat().as_bytes()),
            vectors(&TopicEmbedder::new(1024, 1.0, 0)),
            vectors(&TopicEmbedder::new(1024, 1.0, 2)),
            vectors(&HashEmbedder::new(1024, statistics, 0)),
        ];
        let expected: [u64; 4] =
            [0xe634_99db_8a25_c3e4, 0x4e37_fb0c_f8d0_82ba, 0x3f52_ded5_1fd8_75bd, 0x751b_5f60_b705_0c52];
        assert_eq!(found, expected, "first text: {:?}", texts[0]);
    }

    #[test]
    fn a_batch_gives_the_vectors_of_its_texts_one_by_one() {
        let texts: Vec<String> = (0..9).map(|i| doc(42, VDB1, i, &CATEGORY_WEIGHTS).text).collect();
        let statistics = Arc::new(TermTable::of_texts(texts.iter().map(String::as_str)));
        let embedders: [Box<dyn Embedder>; 2] =
            [Box::new(TopicEmbedder::new(256, 1.0, 2)), Box::new(HashEmbedder::new(256, statistics, 2))];
        for embedder in embedders {
            let batch = embed(embedder.as_ref(), &texts);
            for (text, vector) in texts.iter().zip(&batch) {
                assert_eq!(&embed(embedder.as_ref(), std::slice::from_ref(text))[0], vector);
            }
        }
    }

    #[test]
    fn a_prefix_stands_before_every_text_but_one_of_nothing() {
        let plain: Arc<dyn Embedder> = Arc::new(TopicEmbedder::new(64, 1.0, 0));
        let prefixed = Prefixed::over(Arc::clone(&plain), "market query: ");
        let found = prefixed.embed(&["wings", " "]).unwrap();
        assert_eq!(found, plain.embed(&["market query: wings", " "]).unwrap());
        assert_ne!(found[0], plain.embed(&["wings"]).unwrap()[0]);
        assert_ne!(prefixed.name(), plain.name());
        assert_eq!(Prefixed::over(Arc::clone(&plain), "").name(), plain.name());
    }

    #[test]
    fn an_encoder_layer_changes_the_vector() {
        let text = [doc(42, VDB1, 0, &CATEGORY_WEIGHTS).text];
        let plain = embed(&TopicEmbedder::new(1024, 1.0, 0), &text);
        let encoded = embed(&TopicEmbedder::new(1024, 1.0, 1), &text);
        assert_ne!(plain, encoded);
    }

    #[test]
    fn hash_vectors_are_closer_to_texts_that_share_rare_words() {
        let texts = ["wing flutter in supersonic flow", "heat transfer in slab flow", "wing heat flow"];
        let embedder = HashEmbedder::new(1024, Arc::new(TermTable::of_texts(texts)), 0);
        let v = embedder.embed(&["supersonic flutter", texts[0], texts[1]]).unwrap();
        assert!(v[0].cosine(&v[1]) > v[0].cosine(&v[2]) + 0.3);
    }

    #[test]
    fn a_text_without_words_is_the_zero_vector() {
        let embedder = TopicEmbedder::new(64, 1.0, 1);
        assert!(embedder.embed(&["", "the of"]).unwrap().iter().all(Quantised::is_zero));
    }

    #[test]
    fn a_small_dimension_works() {
        assert_eq!(TopicEmbedder::new(8, 1.0, 1).embed(&["market"]).unwrap()[0].dims.len(), 8);
    }

    #[test]
    fn rescaling_whole_numbers_equals_quantising() {
        let mut random = stream(5, "rescale", 0);
        for _ in 0..200 {
            let values: Vec<i64> = (0..40).map(|_| i64::from(random.below(4001)) - 2000).collect();
            let floats: Vec<f64> = values.iter().map(|&v| v as f64).collect();
            let whole = rescale(values.iter().copied());
            let close = quantise(&floats).dims.iter().zip(&whole).all(|(a, b)| a.abs_diff(*b) <= 1);
            assert!(close);
            assert!(whole.iter().any(|v| v.abs() == 127));
        }
    }
}
