//! Text to vector, for queries and for documents.

use std::sync::Arc;

use bench_dataflow::frame::Frame;

use crate::operator::{Operator, OperatorError, Output, decode};
use crate::text::embed::Embedder;
use crate::vector::Quantised;
use crate::wl4::records::{Doc, Query};

/// Embeds the text of a record. Knows both record types so that both streams share one operator.
pub struct Embed {
    embedder: Arc<dyn Embedder>,
    what: What,
    batch: usize,
}

/// Which stream an instance serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Queries,
    Docs,
}

impl Embed {
    pub fn new(embedder: Arc<dyn Embedder>, what: What, batch: usize) -> Self {
        Self { embedder, what, batch }
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Quantised>, OperatorError> {
        self.embedder.embed(texts).map_err(OperatorError::new)
    }
}

impl Operator for Embed {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        match self.what {
            What::Queries => {
                let queries = inputs.iter().map(decode).collect::<Result<Vec<Query>, _>>()?;
                let texts: Vec<&str> = queries.iter().map(|query| query.text.as_str()).collect();
                let vectors = self.embed(&texts)?;
                for ((input, query), vector) in inputs.iter().zip(queries).zip(vectors) {
                    output.emit(*input, 0, &Query { embedding: Some(vector), ..query })?;
                }
            }
            What::Docs => {
                let docs = inputs.iter().map(decode).collect::<Result<Vec<Doc>, _>>()?;
                let texts: Vec<&str> = docs.iter().map(|doc| doc.text.as_str()).collect();
                let vectors = self.embed(&texts)?;
                for ((input, doc), vector) in inputs.iter().zip(docs).zip(vectors) {
                    output.emit(*input, 0, &Doc { embedding: Some(vector), ..doc })?;
                }
            }
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        self.batch
    }
}
