//! Real text: a folder in the form of the BEIR benchmark.
//!
//! `corpus.jsonl` holds documents, `queries.jsonl` queries, and `qrels/test.tsv`, if it is there, says
//! which documents answer which query. Published collections are ragged, so what can be used is used: a
//! missing title, an empty text, a query without judgements. What would make a result wrong without
//! anyone noticing is refused, with file, line and cause: a repeated id, a judgement of an unknown id.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Longer lines are refused before they fill the memory.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;

/// A document. Title and text may both be empty; then nothing finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusDoc {
    pub id: String,
    pub title: String,
    pub text: String,
}

impl CorpusDoc {
    /// What is indexed: title and text, as BEIR's baselines do.
    pub fn content(&self) -> String {
        match (self.title.trim(), self.text.trim()) {
            (title, "") => title.to_owned(),
            ("", text) => text.to_owned(),
            (title, text) => format!("{title} {text}"),
        }
    }
}

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    pub docs: Vec<CorpusDoc>,
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
        let docs = docs(&folder.join("corpus.jsonl"), &mut digest)?;
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
}

#[derive(Deserialize)]
struct RawDoc {
    #[serde(rename = "_id")]
    id: String,
    title: Option<String>,
    text: Option<String>,
}

fn docs(path: &Path, digest: &mut Sha256) -> Result<Vec<CorpusDoc>, CorpusError> {
    let mut docs = Vec::new();
    let mut seen = HashSet::new();
    each_line(path, digest, |_, line| {
        let raw: RawDoc = json(line)?;
        new_id(&mut seen, &raw.id)?;
        let (title, text) = (raw.title.unwrap_or_default(), raw.text.unwrap_or_default());
        docs.push(CorpusDoc { id: raw.id, title, text });
        Ok(())
    })?;
    match docs.len() {
        0 => Err(at(path, None, "it holds no documents")),
        n if n > u32::MAX as usize => Err(at(path, None, "it holds more than 4,294,967,295 documents")),
        _ => Ok(docs),
    }
}

fn queries(path: &Path, digest: &mut Sha256) -> Result<Vec<CorpusQuery>, CorpusError> {
    let mut queries = Vec::new();
    let mut seen = HashSet::new();
    each_line(path, digest, |_, line| {
        let raw: RawDoc = json(line)?;
        new_id(&mut seen, &raw.id)?;
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
    docs: &[CorpusDoc],
    queries: &[CorpusQuery],
    digest: &mut Sha256,
) -> Result<Vec<Vec<Judgement>>, CorpusError> {
    let rows: HashMap<&str, u32> = docs.iter().map(|d| d.id.as_str()).zip(0..).collect();
    let numbers: HashMap<&str, usize> = queries.iter().map(|q| q.id.as_str()).zip(0..).collect();
    let mut qrels = vec![Vec::new(); queries.len()];
    let mut seen = HashSet::new();
    each_line(path, digest, |number, line| {
        let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
        let &[query, doc, gain] = fields.as_slice() else {
            return Err(format!("{} fields where query, document and score are wanted", fields.len()));
        };
        if number == 1 && (query == "query-id" || gain == "score") {
            return Ok(());
        }
        let gain = gain.parse().map_err(|_| format!("score {gain:?} is not a whole number"))?;
        let &query_number = numbers.get(query).ok_or_else(|| format!("unknown query {query:?}"))?;
        let &row = rows.get(doc).ok_or_else(|| format!("unknown document {doc:?}"))?;
        if !seen.insert((query_number, row)) {
            return Err(format!("query {query:?} judges document {doc:?} twice"));
        }
        qrels[query_number].push(Judgement { row, gain });
        Ok(())
    })?;
    Ok(qrels)
}

fn json(line: &str) -> Result<RawDoc, String> {
    serde_json::from_str(line).map_err(|e| {
        // The position in the line helps; the line within the line does not.
        e.to_string().replace("at line 1 column", "at column")
    })
}

fn new_id(seen: &mut HashSet<String>, id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("the _id is empty".to_owned());
    }
    if !seen.insert(id.to_owned()) {
        return Err(format!("_id {id:?} occurs twice"));
    }
    Ok(())
}

fn at(path: &Path, line: Option<u64>, why: &str) -> CorpusError {
    CorpusError { path: path.to_owned(), line, why: why.to_owned() }
}

/// Calls `each` with number and text of every line that is not blank, and adds the file to the digest.
fn each_line(
    path: &Path,
    digest: &mut Sha256,
    mut each: impl FnMut(u64, &str) -> Result<(), String>,
) -> Result<(), CorpusError> {
    let file = File::open(path).map_err(|e| at(path, None, &format!("cannot open: {e}")))?;
    let mut reader = BufReader::with_capacity(1 << 16, Hashing { file, hash: Sha256::new() });
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes);
        if read.map_err(|e| at(path, Some(number), &format!("cannot read: {e}")))? == 0 {
            break;
        }
        if bytes.len() as u64 == LONGEST_LINE {
            return Err(at(path, Some(number), "the line is longer than 64 MiB"));
        }
        let line = str::from_utf8(&bytes)
            .map_err(|e| at(path, Some(number), &format!("not UTF-8 after byte {}", e.valid_up_to())))?;
        let line = if number == 1 { line.trim_start_matches('\u{feff}') } else { line };
        let line = line.trim_end_matches(['\n', '\r']);
        if !line.trim().is_empty() {
            each(number, line).map_err(|why| at(path, Some(number), &why))?;
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    digest.update(format!("{}  {name}\n", hex(&reader.into_inner().hash.finalize())));
    Ok(())
}

/// A file that hashes what is read from it.
struct Hashing {
    file: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(to)?;
        self.hash.update(&to[..n]);
        Ok(n)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        let contents: Vec<String> = good().docs.iter().map(CorpusDoc::content).collect();
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
