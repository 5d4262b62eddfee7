//! Documents that travel behind the records that name them, where a machine has the index of its own shards only.
//!
//! A shard that searches on another machine than what follows sends along what is ever asked of a document that it
//! found, and everyone behind it asks there first. What travels stands behind the record and is no part of it: whoever
//! reads the record stops before, and the digest is that of the record alone. Where every index is everywhere, nothing
//! travels.

use std::sync::Arc;

use bench_dataflow::frame::Frame;
use serde::{Deserialize, Serialize};

use super::records::DocRef;
use super::views;
use crate::index::{Keywords, Shards};
use crate::operator::{OperatorError, Output};
use crate::seal::digest;
use crate::text::tokens::{Term, count_terms, token_hashes};

/// What is ever asked of a document.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Document<'a> {
    doc: DocRef,
    pub id: &'a str,
    pub text: &'a str,
    pub source: &'a str,
    pub timestamp_s: Option<f64>,
    pub citations: u32,
    pub centrality: f64,
    /// Its score by BM25 over the whole collection for the question that it was found for; 0 where nobody asks.
    pub keyword: f64,
    norm2: u32,
    dims: &'a [u8],
    /// Its encoding.
    #[serde(skip)]
    bytes: &'a [u8],
}

impl<'a> Document<'a> {
    /// Its vector and the square of that one's length.
    #[must_use]
    pub fn vector(&self) -> (&'a [i8], u32) {
        (bytemuck::cast_slice(self.dims), self.norm2)
    }

    /// Its terms, counted as the index does.
    #[must_use]
    pub fn terms(&self) -> Vec<Term> {
        count_terms(token_hashes(self.text))
    }
}

/// What came along with a record.
#[derive(Debug)]
pub struct Carried<'a>(Vec<Document<'a>>);

impl<'a> Carried<'a> {
    /// Where every index is here.
    #[must_use]
    pub const fn nothing() -> Self {
        Self(Vec::new())
    }

    /// From what stands behind record `seq`.
    ///
    /// # Errors
    /// When that is no document.
    pub fn read(seq: u64, behind: &'a [u8]) -> Result<Self, OperatorError> {
        let mut carried = Self::nothing();
        carried.add(seq, behind)?;
        Ok(carried)
    }

    /// Adds what stands behind another part of the record.
    ///
    /// # Errors
    /// As [`Carried::read`].
    pub fn add(&mut self, seq: u64, mut behind: &'a [u8]) -> Result<(), OperatorError> {
        if behind.is_empty() {
            return Ok(());
        }
        while !behind.is_empty() {
            let (mut document, rest) = views::taken::<Document<'a>>(seq, behind)?;
            document.bytes = &behind[..behind.len() - rest.len()];
            self.0.push(document);
            behind = rest;
        }
        self.0.sort_by_key(|document| document.doc);
        self.0.dedup_by_key(|document| document.doc);
        Ok(())
    }

    /// A document, if it came along: else it is in an index that is here.
    #[must_use]
    pub fn get(&self, doc: DocRef) -> Option<&Document<'a>> {
        self.0.binary_search_by_key(&doc, |document| document.doc).ok().map(|at| &self.0[at])
    }

    /// What stands behind a record with these documents.
    #[must_use]
    pub fn of(&self, docs: impl IntoIterator<Item = DocRef>) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        docs.into_iter()
            .filter_map(|doc| self.get(doc))
            .flat_map(|document| document.bytes)
            .copied()
            .collect()
    }
}

/// Emits a record, and what stands behind it.
///
/// # Errors
/// As [`Output::emit_bytes`].
pub fn emit(
    output: &mut Output<'_>,
    parent: Frame<'_>,
    mut record: Vec<u8>,
    behind: &[u8],
) -> Result<(), OperatorError> {
    let meaning = (!behind.is_empty()).then(|| digest(&record));
    record.extend_from_slice(behind);
    output.emit_bytes(parent, 0, &record, meaning)
}

/// A shard that sends along what it knows of what it found.
pub struct Sender {
    /// 0 or 1.
    which: u8,
    documents: Arc<Shards>,
    keywords: Option<Arc<Keywords>>,
}

impl Sender {
    pub fn new(which: u8, documents: Arc<Shards>, keywords: Option<Arc<Keywords>>) -> Self {
        Self { which, documents, keywords }
    }

    /// The documents of these numbers, which were found for a question.
    ///
    /// # Errors
    /// When one cannot be encoded.
    pub fn along(
        &self,
        question: &str,
        numbers: impl IntoIterator<Item = u32>,
    ) -> Result<Vec<u8>, OperatorError> {
        let asked = self.keywords.as_ref().map(|keywords| (keywords, keywords.query(question)));
        numbers.into_iter().try_fold(Vec::new(), |behind, number| {
            let (index, row) = self.documents.find(number);
            let meta = index.meta(row);
            let document = Document {
                doc: DocRef { vdb: self.which, row: number },
                id: index.id(row),
                text: index.text(row),
                source: meta.source,
                timestamp_s: meta.timestamp_s,
                citations: meta.citations,
                centrality: meta.centrality,
                keyword: asked.as_ref().map_or(0.0, |(keywords, query)| keywords.score(query, number)),
                norm2: index.norm2(row),
                dims: bytemuck::cast_slice(index.row(row)),
                bytes: &[],
            };
            views::append(behind, &document)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(row: u32, text: &str) -> Vec<u8> {
        let document = Document {
            doc: DocRef { vdb: 1, row },
            id: "d",
            text,
            source: "somewhere",
            timestamp_s: None,
            citations: 3,
            centrality: 0.5,
            keyword: 1.5,
            norm2: 5,
            dims: bytemuck::cast_slice(&[1i8, -2]),
            bytes: &[],
        };
        postcard::to_stdvec(&document).unwrap()
    }

    #[test]
    fn what_was_sent_along_is_found_whole_and_goes_on_as_it_came() {
        let (one, two) = (document(7, "wings of größe"), document(2, ""));
        let mut carried = Carried::read(0, &one).unwrap();
        carried.add(0, &two).unwrap();
        carried.add(0, &one).unwrap();
        let doc = |row| DocRef { vdb: 1, row };
        let found = carried.get(doc(7)).unwrap();
        assert_eq!((found.text, found.source, found.timestamp_s), ("wings of größe", "somewhere", None));
        assert_eq!(found.vector(), (&[1i8, -2][..], 5));
        assert!(carried.get(doc(3)).is_none() && carried.get(DocRef { vdb: 0, row: 7 }).is_none());
        assert_eq!(carried.of([doc(2), doc(7)]), [&two[..], &one].concat());
        assert_eq!(carried.of([doc(7), doc(3)]), one);
    }

    #[test]
    fn what_is_cut_anywhere_is_an_error_and_nothing_is_nothing() {
        let whole = document(7, "wings");
        for length in 1..whole.len() {
            assert!(Carried::read(1, &whole[..length]).is_err(), "{length}");
        }
        assert!(Carried::read(1, &[]).unwrap().of([DocRef { vdb: 1, row: 7 }]).is_empty());
    }
}
