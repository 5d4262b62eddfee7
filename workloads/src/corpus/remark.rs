//! What is odd about a collection and cost no figure its meaning: counted and told once a kind.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of oddity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    RepeatedDocument,
    RepeatedQuery,
    QueryWithoutText,
    RepeatedJudgement,
    JudgedDocumentNotInCorpus,
    JudgedQueryNotThere,
}

impl Oddity {
    fn what(self) -> &'static str {
        match self {
            Self::RepeatedDocument => "documents that stand there a second time",
            Self::RepeatedQuery => "queries that stand there a second time",
            Self::QueryWithoutText => "queries without text",
            Self::RepeatedJudgement => "judgements that stand there a second time",
            Self::JudgedDocumentNotInCorpus => "judged documents that the corpus lacks",
            Self::JudgedQueryNotThere => "judgements of queries that are not there",
        }
    }

    fn consequence(self) -> &'static str {
        match self {
            Self::RepeatedDocument | Self::RepeatedQuery | Self::RepeatedJudgement => "each counts once",
            Self::QueryWithoutText => "they are left out",
            Self::JudgedDocumentNotInCorpus => "nobody can find them, and they count, as in trec_eval",
            Self::JudgedQueryNotThere => "they are left out, as in trec_eval",
        }
    }
}

/// How often something is odd, and where first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    pub kind: Oddity,
    pub count: u64,
    /// File and line, and what stands there.
    pub first: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, count, first } = self;
        write!(f, "{}: {count}, the first at {first}; {}", kind.what(), kind.consequence())
    }
}

/// The remarks about one collection.
#[derive(Debug, Default)]
pub struct Remarks(pub Vec<Remark>);

impl Remarks {
    /// Counts one more; `place` says where it is, for the first of its kind.
    pub fn note(&mut self, kind: Oddity, place: impl FnOnce() -> String) {
        match self.0.iter_mut().find(|remark| remark.kind == kind) {
            Some(remark) => remark.count += 1,
            None => self.0.push(Remark { kind, count: 1, first: place() }),
        }
    }
}
