//! Real text: a folder in the form of the BEIR benchmark.
//!
//! `corpus.jsonl` holds documents, `queries.jsonl` queries, and `qrels/test.tsv`, if it is there, says
//! which documents answer which query; each may be packed with gzip. Published collections are ragged, so
//! what can be used is used, as BEIR and trec_eval do: a missing title, an empty text, a query without
//! judgements, a judged document that is not there. It is counted and told. What would make a result wrong
//! without anyone noticing is refused, with file, line and cause: two documents under one id, two scores for
//! one pair, a score that is no whole number.
//!
//! Queries and judgements are kept in memory. Documents stay on the disk, however many there are: see
//! [`Docs`].

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::text::bm25::TermTable;
use crate::text::tokens::{count_terms, token_hashes};

mod docs;
mod entry;
mod lines;
mod qrels;
mod queries;
mod remark;
mod source;

pub use docs::{CorpusDoc, Docs, IdHash};
use remark::Remarks;
pub use remark::{Oddity, Remark};
use source::Source;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusQuery {
    pub id: String,
    pub text: String,
}

/// A judgement: the document's row, unless the corpus lacks it, and how well it answers; 0 or less is not at
/// all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    pub row: Option<u32>,
    pub gain: i32,
}

/// Which queries of a collection are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queries {
    #[default]
    All,
    /// Those that have a judgement.
    Judged,
}

/// What of a folder is used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// The split of judgements; by default `test`, or the first that there is.
    pub split: Option<&'a str>,
    pub queries: Queries,
}

/// A collection.
#[derive(Debug)]
pub struct Corpus {
    pub docs: Docs,
    pub queries: Vec<CorpusQuery>,
    /// For each query, in the order of `queries`, its judgements in the order of the file.
    pub qrels: Vec<Vec<Judgement>>,
    digest: String,
    facts: Facts,
}

/// What is told about a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub documents: u64,
    /// Those that can be asked.
    pub queries: u64,
    /// Those among them that have a judgement.
    pub judged_queries: u64,
    /// The split of judgements, where there is one.
    pub split: Option<String>,
    /// What is odd, and cost no figure its meaning.
    pub remarks: Vec<Remark>,
}

/// Why a collection cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {why}", path.display(), .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct CorpusError {
    pub path: PathBuf,
    pub line: Option<u64>,
    pub why: String,
}

impl Corpus {
    /// Reads a folder. Documents that are packed are unpacked into `cache`, once.
    pub fn load(folder: &Path, choice: Choice<'_>, cache: &Path) -> Result<Self, CorpusError> {
        let (mut digest, mut remarks) = (Sha256::new(), Remarks::default());
        let source = Source::find(folder, "corpus.jsonl");
        if !source.path.exists() {
            let why = "it is not there: --corpus names the folder that holds corpus.jsonl, queries.jsonl and qrels/";
            return Err(source.error(None, why));
        }
        let docs = Docs::load(source, cache, &mut digest, &mut remarks)?;
        let mut queries = queries::load(&Source::find(folder, "queries.jsonl"), &mut digest, &mut remarks)?;
        let split = qrels::split(folder, choice.split)?;
        let mut qrels = match &split {
            Some((_, source)) => qrels::judgements(source, &docs, &queries, &mut digest, &mut remarks)?,
            None => vec![Vec::new(); queries.len()],
        };
        let judged = qrels.iter().filter(|qrels| !qrels.is_empty()).count() as u64;
        if choice.queries == Queries::Judged {
            if judged == 0 {
                let why = "no query is judged, and --corpus-queries judged asks for those alone";
                return Err(at(&folder.join("qrels"), None, why));
            }
            let mut is_judged = qrels.iter().map(|qrels| !qrels.is_empty());
            queries.retain(|_| is_judged.next().unwrap_or(false));
            qrels.retain(|qrels| !qrels.is_empty());
        }
        let facts = Facts {
            documents: docs.len() as u64,
            queries: queries.len() as u64,
            judged_queries: judged,
            split: split.map(|(name, _)| name),
            remarks: remarks.0,
        };
        Ok(Self { docs, queries, qrels, digest: hex::encode(digest.finalize()), facts })
    }

    /// SHA-256 that stands for the collection in a run's configuration, wherever the folder lies. It is
    /// taken over one line a file, `<sha256 of its bytes>  <name>`, for the files that are used, unpacked.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What there is to tell about it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// In how many of the parts of all documents each term occurs.
    pub fn term_table(&self, parts: impl Fn(&str) -> Vec<&str>) -> Result<TermTable, CorpusError> {
        let mut table = TermTable::default();
        for doc in self.docs.iter() {
            parts(&doc?.content()).iter().for_each(|part| table.add(&count_terms(token_hashes(part))));
        }
        Ok(table)
    }
}

fn at(path: &Path, line: Option<u64>, why: &str) -> CorpusError {
    CorpusError { path: path.to_owned(), line, why: why.to_owned() }
}

/// Since it was loaded, or since its digest was taken.
pub(crate) fn changed(path: &Path) -> CorpusError {
    at(path, None, "it was changed while it was in use")
}

#[cfg(test)]
mod tests;
