//! Real text: a folder in the form of the BEIR benchmark.
//!
//! `corpus.jsonl` holds documents, `queries.jsonl` queries, and `qrels/test.tsv`, if it is there, says
//! which documents answer which query. Published collections are ragged, so what can be used is used: a
//! missing title, an empty text, a query without judgements. What would make a result wrong without
//! anyone noticing is refused, with file, line and cause: a repeated id, a judgement of an unknown id.
//!
//! Queries and judgements are kept in memory. Documents stay on the disk, however many there are: see
//! [`Docs`].

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::text::bm25::TermTable;
use crate::text::tokens::{count_terms, token_hashes};

mod docs;
mod lines;

pub use docs::{CorpusDoc, Docs, IdHash};
use lines::{each_line, hex};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusQuery {
    pub id: String,
    pub text: String,
}

/// A judgement: the document's row and how well it answers; 0 or less is not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    pub row: u32,
    pub gain: i32,
}

/// A collection.
#[derive(Debug)]
pub struct Corpus {
    pub docs: Docs,
    pub queries: Vec<CorpusQuery>,
    /// For each query, in the order of `queries`, its judgements in the order of the file.
    pub qrels: Vec<Vec<Judgement>>,
    digest: String,
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
    /// Reads a folder.
    pub fn load(folder: &Path) -> Result<Self, CorpusError> {
        let mut digest = Sha256::new();
        let docs = Docs::load(&folder.join("corpus.jsonl"), &mut digest)?;
        let queries = queries(&folder.join("queries.jsonl"), &mut digest)?;
        let path = folder.join("qrels").join("test.tsv");
        let qrels = if path.try_exists().unwrap_or(true) {
            judgements(&path, &docs, &queries, &mut digest)?
        } else {
            vec![Vec::new(); queries.len()]
        };
        Ok(Self { docs, queries, qrels, digest: hex(&digest.finalize()) })
    }

    /// SHA-256 that stands for the collection in a run's configuration, wherever the folder lies. It is
    /// taken over one line a file, `<sha256 of its bytes>  <name>`, for the files that there are.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// In how many documents each term occurs.
    pub fn term_table(&self) -> Result<TermTable, CorpusError> {
        let mut table = TermTable::default();
        for doc in self.docs.iter() {
            table.add(&count_terms(token_hashes(&doc?.content())));
        }
        Ok(table)
    }
}

/// A line of documents or of queries.
#[derive(Deserialize)]
struct RawDoc {
    #[serde(rename = "_id")]
    id: String,
    title: Option<String>,
    text: Option<String>,
}

impl RawDoc {
    fn of(line: &str) -> Result<Self, String> {
        let raw: Self = serde_json::from_str(line).map_err(|e| {
            // The position in the line helps; the line within the line does not.
            e.to_string().replace("at line 1 column", "at column")
        })?;
        if raw.id.is_empty() { Err("the _id is empty".to_owned()) } else { Ok(raw) }
    }
}

fn repeated(id: &str) -> String {
    format!("_id {id:?} occurs twice")
}

fn queries(path: &Path, digest: &mut Sha256) -> Result<Vec<CorpusQuery>, CorpusError> {
    let mut queries = Vec::new();
    let mut seen = HashSet::new();
    each_line(path, digest, |line| {
        let raw = RawDoc::of(line.text)?;
        if !seen.insert(raw.id.clone()) {
            return Err(repeated(&raw.id));
        }
        let text = raw.text.unwrap_or_default();
        if text.trim().is_empty() {
            return Err(format!("query {:?} has no text", raw.id));
        }
        queries.push(CorpusQuery { id: raw.id, text });
        Ok(())
    })?;
    if queries.is_empty() { Err(at(path, None, "it holds no queries")) } else { Ok(queries) }
}

fn judgements(
    path: &Path,
    docs: &Docs,
    queries: &[CorpusQuery],
    digest: &mut Sha256,
) -> Result<Vec<Vec<Judgement>>, CorpusError> {
    let numbers: HashMap<&str, usize> = queries.iter().map(|q| q.id.as_str()).zip(0..).collect();
    let mut qrels = vec![Vec::new(); queries.len()];
    let mut seen = HashSet::new();
    each_line(path, digest, |line| {
        let fields: Vec<&str> = line.text.split('\t').map(str::trim).collect();
        let &[query, doc, gain] = fields.as_slice() else {
            return Err(format!("{} fields where query, document and score are wanted", fields.len()));
        };
        if line.number == 1 && (query == "query-id" || gain == "score") {
            return Ok(());
        }
        let gain = gain.parse().map_err(|_| format!("score {gain:?} is not a whole number"))?;
        let &query_number = numbers.get(query).ok_or_else(|| format!("unknown query {query:?}"))?;
        let row = docs.row(IdHash::of(doc)).ok_or_else(|| format!("unknown document {doc:?}"))?;
        if !seen.insert((query_number, row)) {
            return Err(format!("query {query:?} judges document {doc:?} twice"));
        }
        qrels[query_number].push(Judgement { row, gain });
        Ok(())
    })?;
    Ok(qrels)
}

fn at(path: &Path, line: Option<u64>, why: &str) -> CorpusError {
    CorpusError { path: path.to_owned(), line, why: why.to_owned() }
}

/// Since it was loaded, or since its digest was taken.
pub(crate) fn changed(path: &Path) -> CorpusError {
    at(path, None, "it was changed while it was in use")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DOCS: &str = concat!(
        "{\"_id\": \"d1\", \"title\": \"Wings\", \"text\": \"flutter at speed\", \"metadata\": {}}\n",
        "{\"_id\": \"d2\", \"text\": \"Grüße aus 東京\"}\n",
        "{\"_id\": \"d3\", \"title\": \"\", \"text\": \"\"}\n",
        "\n",
        "{\"_id\": \"d4\", \"title\": \"Only a title\", \"text\": null}",
    );
    const QUERIES: &str =
        "{\"_id\": \"q1\", \"text\": \"wings\"}\r\n{\"_id\": \"q2\", \"text\": \"tokyo\"}\r\n";
    const QRELS: &str = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t0\n";

    fn folder(docs: &[u8], queries: &str, qrels: Option<&str>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("corpus.jsonl"), docs).unwrap();
        fs::write(folder.path().join("queries.jsonl"), queries).unwrap();
        if let Some(qrels) = qrels {
            fs::create_dir(folder.path().join("qrels")).unwrap();
            fs::write(folder.path().join("qrels/test.tsv"), qrels).unwrap();
        }
        folder
    }

    fn load(docs: &[u8], queries: &str, qrels: Option<&str>) -> Result<Corpus, String> {
        let folder = folder(docs, queries, qrels);
        let error = |e: CorpusError| e.to_string().replace(&format!("{}/", folder.path().display()), "");
        Corpus::load(folder.path()).map_err(error)
    }

    fn good() -> Corpus {
        load(DOCS.as_bytes(), QUERIES, Some(QRELS)).unwrap()
    }

    #[test]
    fn ragged_documents_are_accepted() {
        let contents: Vec<String> = good().docs.iter().map(|doc| doc.unwrap().content()).collect();
        assert_eq!(contents, ["Wings flutter at speed", "Grüße aus 東京", "", "Only a title"]);
    }

    #[test]
    fn a_query_without_judgements_is_kept() {
        let corpus = good();
        assert_eq!(corpus.queries[1].text, "tokyo");
        let first = [Judgement { row: 0, gain: 2 }, Judgement { row: 2, gain: 0 }];
        assert_eq!(corpus.qrels, [first.to_vec(), vec![]]);
    }

    #[test]
    fn the_header_of_the_judgements_is_optional() {
        let bare = load(DOCS.as_bytes(), QUERIES, Some("q1\td1\t2\nq1\td3\t0")).unwrap();
        assert_eq!(bare.qrels, good().qrels);
    }

    #[test]
    fn a_collection_may_have_no_judgements() {
        assert_eq!(load(DOCS.as_bytes(), QUERIES, None).unwrap().qrels, [vec![], vec![]]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let marked = format!("\u{feff}{DOCS}");
        assert_eq!(load(marked.as_bytes(), QUERIES, None).unwrap().docs.len(), 4);
    }

    #[test]
    fn the_digest_follows_the_bytes_and_not_the_place() {
        assert_eq!(good().digest(), good().digest());
        assert_eq!(good().digest().len(), 64);
        let others = [
            load(format!("{DOCS}\n").as_bytes(), QUERIES, Some(QRELS)).unwrap(),
            load(DOCS.as_bytes(), QUERIES, None).unwrap(),
            load(DOCS.as_bytes(), QUERIES, Some("")).unwrap(),
        ];
        assert!(others.iter().all(|other| other.digest() != good().digest()));
        assert_ne!(others[1].digest(), others[2].digest());
    }

    #[test]
    fn bad_documents_are_refused_with_their_line() {
        let first = "{\"_id\": \"d1\", \"text\": \"x\"}\n";
        for (second, expected) in [
            (&b"{\"_id\": \"d1\", \"text\": \"y\"}"[..], "corpus.jsonl:2: _id \"d1\" occurs twice"),
            (b"{\"text\": \"y\"}", "corpus.jsonl:2: missing field `_id` at column 13"),
            (b"{\"_id\": \"\"}", "corpus.jsonl:2: the _id is empty"),
            (b"{\"_id\": \"d2\"", "corpus.jsonl:2: EOF while parsing an object at column 12"),
            (b"{\"_id\": \"d\xff\"}", "corpus.jsonl:2: not UTF-8 after byte 10"),
        ] {
            assert_eq!(load(&[first.as_bytes(), second].concat(), QUERIES, None).unwrap_err(), expected);
        }
        assert_eq!(load(b"\n", QUERIES, None).unwrap_err(), "corpus.jsonl: it holds no documents");
    }

    #[test]
    fn bad_queries_are_refused_with_their_line() {
        for (queries, expected) in [
            ("{\"_id\": \"q1\", \"text\": \" \"}", "queries.jsonl:1: query \"q1\" has no text"),
            ("\n{\"_id\": \"q1\"}", "queries.jsonl:2: query \"q1\" has no text"),
            ("", "queries.jsonl: it holds no queries"),
        ] {
            assert_eq!(load(DOCS.as_bytes(), queries, None).unwrap_err(), expected);
        }
    }

    #[test]
    fn bad_judgements_are_refused_with_their_line() {
        for (qrels, expected) in [
            ("q9\td1\t1", "test.tsv:1: unknown query \"q9\""),
            ("q1\td9\t1", "test.tsv:1: unknown document \"d9\""),
            ("q1\td1\tgood", "test.tsv:1: score \"good\" is not a whole number"),
            ("q1\td1\t1\nq1\td1\t1", "test.tsv:2: query \"q1\" judges document \"d1\" twice"),
            ("q1 d1 1", "test.tsv:1: 1 fields where query, document and score are wanted"),
            ("q1\t0\td1\t1", "test.tsv:1: 4 fields where query, document and score are wanted"),
            ("q1\td1\t1\nquery-id\tcorpus-id\tscore", "test.tsv:2: score \"score\" is not a whole number"),
        ] {
            let error = load(DOCS.as_bytes(), QUERIES, Some(qrels)).unwrap_err();
            assert_eq!(error, format!("qrels/{expected}"));
        }
    }

    #[test]
    fn a_folder_without_a_collection_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Corpus::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("corpus.jsonl: cannot open: "), "{error}");
    }
}
