//! What operators ask of documents and nodes: of those that came along with a record, else in the mapped indexes.

use super::carried::{Carried, Document};
use super::dedup::Vectors;
use super::generate::Texts;
use super::records::DocRef;
use super::rerank::{DocFacts, Documents};
use super::shared::Prepared;
use crate::index::Index;
use crate::text::bm25::DocTerms;

/// For every operator that needs it.
#[derive(Debug, Clone)]
pub struct Lookup(pub Prepared);

impl Lookup {
    fn index(&self, doc: DocRef) -> (&Index, usize) {
        self.0.databases.vdb[usize::from(doc.vdb.min(1))].find(doc.row)
    }
}

impl Vectors for Lookup {
    fn doc<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> (&'a [i8], u32) {
        if let Some(document) = carried.get(doc) {
            return document.vector();
        }
        let (index, row) = self.index(doc);
        (index.row(row), index.norm2(row))
    }

    fn node(&self, node: u32) -> (&[i8], u32) {
        (self.0.nodes.row(node as usize), self.0.nodes.norm2(node as usize))
    }
}

impl Documents for Lookup {
    fn facts<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> DocFacts<'a> {
        if let Some(&Document { timestamp_s, citations, centrality, source, .. }) = carried.get(doc) {
            return DocFacts { timestamp_s, citations, centrality, source };
        }
        let (index, row) = self.index(doc);
        let meta = index.meta(row);
        DocFacts {
            timestamp_s: meta.timestamp_s,
            citations: meta.citations,
            centrality: meta.centrality,
            source: meta.source,
        }
    }

    fn terms_present(&self, doc: DocRef, terms: &[u64], carried: &Carried<'_>) -> usize {
        let present = |doc: DocTerms<'_>| terms.iter().filter(|term| doc.tf(**term) > 0).count();
        if let Some(document) = carried.get(doc) {
            return present(DocTerms::of(&document.terms()));
        }
        let (index, row) = self.index(doc);
        present(index.doc_terms(row))
    }
}

impl Texts for Lookup {
    fn doc_id<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> &'a str {
        if let Some(document) = carried.get(doc) {
            return document.id;
        }
        let (index, row) = self.index(doc);
        index.id(row)
    }

    fn doc_text<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> &'a str {
        if let Some(document) = carried.get(doc) {
            return document.text;
        }
        let (index, row) = self.index(doc);
        index.text(row)
    }

    fn doc_source<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> &'a str {
        self.facts(doc, carried).source
    }

    fn node_text(&self, node: u32) -> &str {
        self.0.nodes.text(node as usize)
    }
}
