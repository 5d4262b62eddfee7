//! Which documents answer which query, as BEIR and TREC write it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io;
use std::path::Path;

use sha2::Sha256;

use super::lines::each_line;
use super::remark::{Oddity, Remarks};
use super::source::Source;
use super::{CorpusError, CorpusQuery, Docs, IdHash, Judgement, at};

/// Which split is taken where none is asked for: the first that there is.
const PREFERRED: [&str; 6] = ["test", "dev", "validation", "valid", "val", "train"];

/// The split to judge by, with its file; none where there are no judgements.
pub fn split(folder: &Path, wanted: Option<&str>) -> Result<Option<(String, Source)>, CorpusError> {
    let folder = folder.join("qrels");
    let found = splits(&folder)?;
    let there = || if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let name = match wanted {
        Some(wanted) if found.iter().any(|name| name == wanted) => wanted,
        Some(wanted) => {
            return Err(at(&folder, None, &format!("there is no split {wanted:?}; there are: {}", there())));
        }
        None => match PREFERRED.iter().find(|name| found.iter().any(|found| found == *name)) {
            Some(name) => name,
            None if found.len() > 1 => {
                let why = format!("it holds several splits; say which with --corpus-split: {}", there());
                return Err(at(&folder, None, &why));
            }
            None => match found.first() {
                Some(name) => name.as_str(),
                None => return Ok(None),
            },
        },
    };
    Ok(Some((name.to_owned(), Source::find(&folder, &format!("{name}.tsv")))))
}

fn splits(folder: &Path) -> Result<Vec<String>, CorpusError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| at(folder, None, &format!("cannot list: {e}")))?,
    };
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        name.strip_suffix(".tsv").filter(|stem| !stem.is_empty()).map(str::to_owned)
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// For each query, in their order, its judgements in the order of the file.
pub fn judgements(
    source: &Source,
    docs: &Docs,
    queries: &[CorpusQuery],
    digest: &mut Sha256,
    remarks: &mut Remarks,
) -> Result<Vec<Vec<Judgement>>, CorpusError> {
    let numbers: HashMap<&str, usize> = queries.iter().map(|q| q.id.as_str()).zip(0..).collect();
    let mut qrels = vec![Vec::new(); queries.len()];
    let mut known: HashMap<(usize, IdHash), (i32, u64)> = HashMap::new();
    let mut columns = None;
    each_line(source, digest, |line| {
        let fields = fields(line.text);
        let columns = match columns {
            Some(columns) => columns,
            None => {
                let found = Columns::of(&fields);
                columns = Some(found.unwrap_or(Columns::AsMany));
                if found.is_some() {
                    return Ok(());
                }
                Columns::AsMany
            }
        };
        let [query, doc, score] = columns.pick(&fields)?;
        let gain = gain(score)?;
        let place = |what: String| format!("{} ({what})", source.place(line.number));
        let Some(&number) = numbers.get(query) else {
            remarks.note(Oddity::JudgedQueryNotThere, || place(format!("query {query:?}")));
            return Ok(());
        };
        let id = IdHash::of(doc);
        match known.entry((number, id)) {
            Entry::Occupied(earlier) => {
                let &(other, at) = earlier.get();
                if other != gain {
                    return Err(format!(
                        "query {query:?} and document {doc:?} have score {gain} here and {other} in line {at}: keep one of the two"
                    ));
                }
                remarks.note(Oddity::RepeatedJudgement, || place(format!("{query:?} and {doc:?}")));
            }
            Entry::Vacant(first) => {
                first.insert((gain, line.number));
                let row = docs.row(id);
                if row.is_none() {
                    remarks.note(Oddity::JudgedDocumentNotInCorpus, || place(format!("document {doc:?}")));
                }
                qrels[number].push(Judgement { row, gain });
            }
        }
        Ok(())
    })?;
    Ok(qrels)
}

/// Split at tabs, or at blanks where there are none.
fn fields(line: &str) -> Vec<&str> {
    let mut fields: Vec<&str> = match line.contains('\t') {
        true => line.split('\t').map(bare).collect(),
        false => line.split_whitespace().map(bare).collect(),
    };
    while fields.last().is_some_and(|last| last.is_empty()) {
        fields.pop();
    }
    fields
}

/// Without the quotation marks of table programs.
fn bare(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field)
}

/// Where query, document and score stand in a line.
#[derive(Clone, Copy)]
enum Columns {
    /// By the number of columns: BEIR's three, or TREC's four with the iteration in second place.
    AsMany,
    /// As a header names them.
    Named([usize; 3]),
}

const NAMES: [&[&str]; 3] = [
    &["query-id", "query_id", "queryid", "qid", "query", "topic", "topic-id", "topic_id"],
    &[
        "corpus-id",
        "corpus_id",
        "corpusid",
        "doc-id",
        "doc_id",
        "docid",
        "docno",
        "document",
        "document-id",
        "document_id",
        "doc",
        "pid",
        "passage-id",
        "passage_id",
    ],
    &["score", "relevance", "rel", "label", "grade", "gain", "relevancy"],
];

impl Columns {
    /// Of a header; none where the line is not one.
    fn of(fields: &[&str]) -> Option<Self> {
        let named = |names: &&[&str]| {
            let is_named = |field: &str| names.iter().any(|name| field.eq_ignore_ascii_case(name));
            fields.iter().position(|field| is_named(field))
        };
        let found: Vec<Option<usize>> = NAMES.iter().map(named).collect();
        match found[..] {
            [Some(query), Some(doc), Some(score)] => Some(Self::Named([query, doc, score])),
            _ if found.iter().flatten().count() >= 2 => Some(Self::AsMany),
            // A header of which only one name is known; what it names is no number.
            [_, _, Some(score)] if score + 1 == fields.len() => Some(Self::AsMany),
            _ => None,
        }
    }

    fn pick<'a>(self, fields: &[&'a str]) -> Result<[&'a str; 3], String> {
        let places = match (self, fields.len()) {
            (Self::Named(places), _) => places,
            (Self::AsMany, 4) => [0, 2, 3],
            (Self::AsMany, _) => [0, 1, 2],
        };
        let many = matches!(self, Self::AsMany) && fields.len() > 4;
        let picked = places.map(|place| fields.get(place).copied().filter(|field| !field.is_empty()));
        match picked {
            [Some(query), Some(doc), Some(score)] if !many => Ok([query, doc, score]),
            _ => Err(format!(
                "{} fields where query, document and score are wanted, or TREC's query, iteration, document and score, with tabs between them",
                fields.len()
            )),
        }
    }
}

/// A whole number, also as table programs write it: 1.0.
fn gain(score: &str) -> Result<i32, String> {
    let number = score.parse::<f64>().ok();
    let fits = number.filter(|n| n.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(n));
    let why = match number {
        Some(number) if number.fract() == 0.0 => "is too large",
        _ => "is not a whole number",
    };
    fits.map(|n| n as i32).ok_or_else(|| format!("score {score:?} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(lines: &[&str]) -> Result<Vec<[String; 3]>, String> {
        let header = Columns::of(&fields(lines[0]));
        let columns = header.unwrap_or(Columns::AsMany);
        let rows = lines.iter().skip(usize::from(header.is_some()));
        rows.map(|line| columns.pick(&fields(line)).map(|row| row.map(str::to_owned))).collect()
    }

    #[test]
    fn three_and_four_columns_are_told_apart_with_and_without_a_header() {
        let expected = vec![["q 1", "d1", "2"].map(str::to_owned)];
        for lines in [
            &["query-id\tcorpus-id\tscore", "q 1\td1\t2"][..],
            &["q 1\td1\t2"],
            &["q 1\t0\td1\t2"],
            &["q 1\tQ0\td1\t2\t"],
            &["\"q 1\"\t\"d1\"\t2"],
            &["qid\titer\tdocno\trel", "q 1\t0\td1\t2"],
            &["relevance\tquery_id\tdoc_id", "2\tq 1\td1"],
            &["who\twhat\tscore", "q 1\td1\t2"],
            &["Query-ID\titer\twhat\tscore", "q 1\t0\td1\t2"],
        ] {
            assert_eq!(picked(lines).unwrap(), expected, "{lines:?}");
        }
        let blanks = vec![["q1", "d1", "2"].map(str::to_owned)];
        for line in ["q1 0 d1 2", "q1 d1 2", "  q1   Q0  d1  2 "] {
            assert_eq!(picked(&[line]).unwrap(), blanks, "{line}");
        }
    }

    #[test]
    fn lines_of_another_shape_are_refused() {
        for line in ["q1\td1", "q1,d1,1", "q1\t0\td1\t1\tx", "q1\t\t1"] {
            assert!(picked(&[line]).unwrap_err().contains("fields where query"), "{line}");
        }
    }

    #[test]
    fn scores_are_whole_numbers_however_they_are_written() {
        let gains = ["2", "1.0", "-1", "0.0", "1e0", "+3"].map(|score| gain(score).unwrap());
        assert_eq!(gains, [2, 1, -1, 0, 1, 3]);
        for score in ["good", "1.5", "nan", "inf", "1e10", ""] {
            assert!(gain(score).is_err(), "{score}");
        }
    }

    fn taken(names: &[&str], wanted: Option<&str>) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("qrels")).unwrap();
        names.iter().for_each(|name| fs::write(folder.path().join("qrels").join(name), "").unwrap());
        split(folder.path(), wanted).map(|split| split.map(|(name, _)| name)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_test_split_is_preferred_and_another_can_be_asked_for() {
        for (names, wanted, expected) in [
            (&["train.tsv", "dev.tsv", "test.tsv"][..], None, Some("test")),
            (&["train.tsv", "dev.tsv.gz"], None, Some("dev")),
            (&["train.tsv"], None, Some("train")),
            (&["mine.tsv", "notes.txt"], None, Some("mine")),
            (&["train.tsv", "test.tsv"], Some("train"), Some("train")),
            (&["notes.txt"], None, None),
        ] {
            assert_eq!(taken(names, wanted).unwrap().as_deref(), expected, "{names:?}");
        }
        let error = taken(&["test.tsv", "train.tsv"], Some("dev")).unwrap_err();
        assert!(error.ends_with("qrels: there is no split \"dev\"; there are: test, train"), "{error}");
        assert!(taken(&["a.tsv", "b.tsv"], None).unwrap_err().ends_with("--corpus-split: a, b"));
        assert!(taken(&[], Some("test")).unwrap_err().ends_with("there are: none"));
    }
}
