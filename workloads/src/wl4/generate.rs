//! Generation: from ranked queries, one by one or in batches, to one answer each.
//!
//! The stand-in for a language model is extractive: it picks sentences of the context by BM25
//! against the question until the token limit, so its answer is deterministic and its cost grows
//! with the context. A real endpoint takes its place with `llm_url`; a call that fails makes the
//! item unsuccessful and never becomes a response.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bench_dataflow::frame::{self, Frame};

use crate::instance::contained;
use crate::operator::{Lineage, Operator, OperatorError, Output, decode};
use crate::slots::Slots;
use crate::text::bm25::{Bm25, DocTerms};
use crate::text::tokens::{Term, count_terms, token_hashes};
use crate::wl4::batch::SharedSpans;
use crate::wl4::carried::Carried;
use crate::wl4::records::{Answer, Batch, Call, Counts, DocRef, RankedDoc, Reference};
use crate::wl4::views;

const GRAPH_TEXTS: usize = 2;
const RANKED_TEXTS: usize = 3;
const SNIPPET_CHARS: usize = 200;
/// What stands in for the context when nothing was found.
pub const NO_CONTEXT: &str = "No relevant context was found.";

/// Looks up texts for the prompt and the references.
pub trait Texts: Send + Sync {
    fn doc_id<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> &'a str;
    fn doc_text<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> &'a str;
    fn doc_source<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> &'a str;
    fn node_text(&self, node: u32) -> &str;
}

/// What a generator returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    pub text: String,
    pub prompt_tokens: u32,
    pub completion_tokens: u32,
    /// How a model was heard, where one was called.
    pub call: Option<Call>,
}

/// Turns a question and its context into an answer.
pub trait Generator: Send + Sync {
    /// # Errors
    /// When there is no answer; the item fails with this reason.
    fn generate(&self, question: &str, context: &[&str]) -> Result<Generated, OperatorError>;
}

/// The prompt of both generators.
#[must_use]
pub fn prompt(question: &str, context: &[&str]) -> String {
    let context = if context.is_empty() { NO_CONTEXT.to_owned() } else { context.join("\n\n") };
    format!(
        "Answer the question using only the context below.\n\nContext:\n{context}\n\nQuestion: {question}\nAnswer:"
    )
}

/// Picks sentences of the context.
#[derive(Debug, Clone)]
pub struct Extractive {
    pub bm25: Bm25,
    /// Most tokens (words) of the answer.
    pub max_tokens: usize,
}

impl Generator for Extractive {
    fn generate(&self, question: &str, context: &[&str]) -> Result<Generated, OperatorError> {
        let prompt_tokens = prompt(question, context).split_whitespace().count() as u32;
        let sentences: Vec<&str> = context.iter().flat_map(|text| sentences(text)).collect();
        let counted: Vec<Vec<Term>> = sentences.iter().map(|text| count_terms(token_hashes(text))).collect();
        let documents: Vec<DocTerms<'_>> = counted.iter().map(|terms| DocTerms::of(terms)).collect();
        let query: Vec<u64> = token_hashes(question);
        let scores = self.bm25.among_candidates(&query, &documents);
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let mut left = self.max_tokens;
        let mut words: Vec<&str> = Vec::new();
        for sentence in order {
            if left == 0 {
                break;
            }
            let before = words.len();
            words.extend(sentences[sentence].split_whitespace().take(left));
            left -= words.len() - before;
        }
        if words.is_empty() {
            words.extend(NO_CONTEXT.split_whitespace());
        }
        Ok(Generated {
            completion_tokens: words.len() as u32,
            text: words.join(" "),
            prompt_tokens,
            call: None,
        })
    }
}

/// Splits after `.`, `?` and `!`.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '?', '!']).map(str::trim).filter(|sentence| !sentence.is_empty())
}

/// The generation operator.
pub struct Generate<T> {
    generator: Arc<dyn Generator>,
    texts: T,
    /// How many answers are asked for at once, in the process; nothing for one after the other.
    at_once: Option<Arc<Slots>>,
    /// How often an answer is asked for that is no member of a batch.
    attempts: u32,
    /// Whether its input are batches.
    batched: bool,
    /// Service time added to each batch, as a timer and not as work.
    latency: Duration,
    /// Whether answers carry the ranking of the retrieval stage, for scoring against judgements.
    with_retrieved: bool,
}

impl<T: Texts> Generate<T> {
    pub fn new(generator: Arc<dyn Generator>, texts: T, latency: Duration, with_retrieved: bool) -> Self {
        Self { generator, texts, at_once: None, attempts: 1, batched: true, latency, with_retrieved }
    }

    /// Asks for answers at once, as many as there are slots, and `attempts` times for one that fails.
    #[must_use]
    pub fn at_once(self, slots: Option<Arc<Slots>>, attempts: u32) -> Self {
        Self { at_once: slots, attempts, ..self }
    }

    /// Takes ranked queries one by one instead of batches.
    #[must_use]
    pub fn one_by_one(self) -> Self {
        Self { batched: false, ..self }
    }

    /// The answer to an encoded [`Ranked`](super::records::Ranked).
    fn answer(&self, item: &Frame<'_>) -> Result<Answered, OperatorError> {
        let seq = item.header.seq;
        let (source, rest) = views::enriched(seq, item.body)?;
        let (ranking, rest) = views::taken::<Vec<RankedDoc>>(seq, rest)?;
        let (retrieved, rest) = views::taken::<Vec<DocRef>>(seq, rest)?;
        let (counts, behind) = views::taken::<Counts>(seq, rest)?;
        let (query, carried) = (source.query, Carried::read(seq, behind)?);
        let graph = source.hits().take(GRAPH_TEXTS).map(|hit| self.texts.node_text(hit.node));
        let ranked = ranking.iter().take(RANKED_TEXTS).map(|doc| self.texts.doc_text(doc.doc, &carried));
        let context: Vec<&str> = graph.chain(ranked).collect();
        let generated = self.generator.generate(query.text, &context)?;
        let references = ranking.iter().take(RANKED_TEXTS).map(|doc| Reference {
            doc_id: self.texts.doc_id(doc.doc, &carried).to_owned(),
            source: self.texts.doc_source(doc.doc, &carried).to_owned(),
            snippet: self.texts.doc_text(doc.doc, &carried).chars().take(SNIPPET_CHARS).collect(),
        });
        let ids = |docs: &mut dyn Iterator<Item = DocRef>| -> Vec<String> {
            docs.map(|doc| self.texts.doc_id(doc, &carried).to_owned()).collect()
        };
        let count = ranking.len().max(1) as f64;
        let answer = Answer {
            query_id: query.id.to_owned(),
            quality_score: quality(query.text, &generated.text),
            response: generated.text,
            references: references.collect(),
            prompt_tokens: generated.prompt_tokens,
            completion_tokens: generated.completion_tokens,
            semantic_join_score: source.semantic_score,
            final_rerank_score: ranking.first().map_or(0.0, |doc| doc.score),
            diversity_score: ranking.iter().map(|doc| doc.breakdown.diversity).sum::<f64>() / count,
            ranking: ids(&mut ranking.iter().map(|doc| doc.doc)),
            retrieved: if self.with_retrieved { ids(&mut retrieved.iter().copied()) } else { vec![] },
            counts,
            docs_seen: query.docs_before,
        };
        Ok(Answered { answer, call: generated.call })
    }
}

/// An answer, and how it was heard.
struct Answered {
    answer: Answer,
    call: Option<Call>,
}

impl Answered {
    fn emit<'p>(&self, output: &mut Output<'_>, parent: impl Into<Lineage<'p>>) -> Result<(), OperatorError> {
        match &self.call {
            None => output.emit(parent, 0, &self.answer),
            // Sealed together: whoever reads the answer alone leaves the rest.
            Some(call) => output.emit(parent, 0, &(&self.answer, call)),
        }
    }
}

/// Share of the question's distinct terms that the response contains; 0.5 without terms.
fn quality(question: &str, response: &str) -> f64 {
    let terms: HashSet<u64> = token_hashes(question).into_iter().collect();
    let found: HashSet<u64> = token_hashes(response).into_iter().collect();
    crate::wl4::rerank::coverage(terms.intersection(&found).count(), terms.len())
}

impl<T: Texts> Generate<T> {
    /// All answers to `inputs`, as many at once as there are slots, in the order of their questions.
    fn process_at_once(
        &self,
        slots: &Slots,
        inputs: &[Frame<'_>],
        output: &mut Output<'_>,
    ) -> Result<(), OperatorError> {
        let batches: Vec<Batch> = match self.batched {
            true => inputs.iter().map(decode).collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        let mut items: Vec<(Frame<'_>, Vec<u8>)> = Vec::new();
        for (input, batch) in inputs.iter().zip(&batches) {
            let shares = SharedSpans::of(input, batch);
            for item in frame::frames(&batch.items) {
                let item = item.map_err(OperatorError::new)?;
                let mut spans = item.spans.to_vec();
                shares.append(item.header.seq, output, &mut spans);
                items.push((item, spans));
            }
        }
        if !self.batched {
            items.extend(inputs.iter().map(|input| (*input, input.spans.to_vec())));
        }
        if !self.latency.is_zero() {
            slots.each(inputs.len(), |_| std::thread::sleep(self.latency));
        }
        // A member of a batch is asked for once, as where answers are asked for one after the other.
        let attempts = if self.batched { 1 } else { self.attempts };
        let answers = slots.each(items.len(), |at| {
            let answer = || contained(|| self.answer(&items[at].0));
            (1..attempts).fold(answer(), |last, _| last.or_else(|_| answer()))
        });
        for ((item, spans), answer) in items.iter().zip(answers) {
            let lineage = Lineage { header: item.header, spans };
            match answer {
                Ok(answer) => answer.emit(output, lineage)?,
                Err(error) => output.fail(lineage, error),
            }
        }
        Ok(())
    }
}

impl<T: Texts> Operator for Generate<T> {
    fn batch_limit(&self) -> usize {
        if self.at_once.is_some() { usize::MAX } else { 1 }
    }

    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        if let Some(slots) = self.at_once.clone() {
            return self.process_at_once(&slots, inputs, output);
        }
        for input in inputs {
            if !self.latency.is_zero() {
                std::thread::sleep(self.latency);
            }
            if !self.batched {
                self.answer(input)?.emit(output, *input)?;
                continue;
            }
            let batch: Batch = decode(input)?;
            let shares = SharedSpans::of(input, &batch);
            for item in frame::frames(&batch.items) {
                let item = item.map_err(OperatorError::new)?;
                let mut spans = item.spans.to_vec();
                shares.append(item.header.seq, output, &mut spans);
                let lineage = Lineage { header: item.header, spans: &spans };
                match self.answer(&item) {
                    Ok(answer) => answer.emit(output, lineage)?,
                    Err(error) => output.fail(lineage, error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extractive(max_tokens: usize) -> Extractive {
        Extractive { bm25: Bm25 { k1: 1.5, b: 0.75 }, max_tokens }
    }

    #[test]
    fn the_sentence_that_answers_comes_first() {
        let context = ["Bonds fell today. Apple stock rose on earnings.", "Nothing of note."];
        let answer = extractive(120).generate("How did Apple stock move?", &context).unwrap();
        assert!(answer.text.starts_with("Apple stock rose on earnings."), "{}", answer.text);
        assert_eq!(answer.completion_tokens, 11);
    }

    #[test]
    fn the_answer_keeps_to_the_token_limit() {
        let context = ["one two three four five six seven eight nine ten."];
        let answer = extractive(4).generate("three", &context).unwrap();
        assert_eq!((answer.text.as_str(), answer.completion_tokens), ("one two three four", 4));
    }

    #[test]
    fn without_context_the_answer_says_so() {
        assert_eq!(extractive(120).generate("anything", &[]).unwrap().text, NO_CONTEXT);
    }

    #[test]
    fn text_that_is_not_ascii_survives() {
        let answer = extractive(3).generate("größe", &["Die Größe der Straße ist №7!"]).unwrap();
        assert_eq!(answer.text, "Die Größe der");
    }
}
