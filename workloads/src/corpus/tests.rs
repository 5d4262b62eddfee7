//! Whole folders, good and ragged.

use std::fs;

use super::*;

const DOCS: &str = concat!(
    "{\"_id\": \"d1\", \"title\": \"Wings\", \"text\": \"flutter at speed\", \"metadata\": {}}\n",
    "{\"_id\": \"d2\", \"text\": \"Grüße aus 東京\"}\n",
    "{\"_id\": \"d3\", \"title\": \"\", \"text\": \"\"}\n",
    "\n",
    "{\"_id\": \"d4\", \"title\": \"Only a title\", \"text\": null}",
);
const QUERIES: &str = "{\"_id\": \"q1\", \"text\": \"wings\"}\r\n{\"_id\": \"q2\", \"text\": \"tokyo\"}\r\n";
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
    Corpus::load(folder.path(), Choice::default(), folder.path()).map_err(error)
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
    let first = [Judgement { row: Some(0), gain: 2 }, Judgement { row: Some(2), gain: 0 }];
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
        (
            &b"{\"_id\": \"d1\", \"text\": \"y\"}"[..],
            "corpus.jsonl:2: _id \"d1\" occurs twice, with different texts: keep one of them",
        ),
        (b"{\"text\": \"y\"}", "corpus.jsonl:2: missing field `_id`"),
        (b"{\"_id\": \"\"}", "corpus.jsonl:2: the _id is empty"),
        (
            b"{\"_id\": \"d2\"",
            "corpus.jsonl:2: not JSON: EOF while parsing an object at column 12 (each line holds one object)",
        ),
        (b"{\"_id\": \"d\xff\"}", "corpus.jsonl:2: not UTF-8 after byte 10"),
    ] {
        assert_eq!(load(&[first.as_bytes(), second].concat(), QUERIES, None).unwrap_err(), expected);
    }
    assert_eq!(load(b"\n", QUERIES, None).unwrap_err(), "corpus.jsonl: it holds no documents");
}

#[test]
fn a_file_in_utf_16_is_named_as_that() {
    let bytes: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = load(&bytes, QUERIES, None).unwrap_err();
    assert!(error.starts_with("corpus.jsonl:1: it is UTF-16: make it UTF-8"), "{error}");
}

#[test]
fn bad_queries_are_refused_with_their_line() {
    let twice = format!("{QUERIES}\n{{\"_id\": \"q1\", \"text\": \"other\"}}");
    for (queries, expected) in [
        ("{\"_id\": \"q1\", \"text\": [\" \"]}", "queries.jsonl:1: title and text are text, not a list"),
        ("\n{\"text\": \"x\"}", "queries.jsonl:2: missing field `_id`"),
        (&twice, "queries.jsonl:4: _id \"q1\" stands in line 1 with another text: keep one of them"),
        ("{\"_id\": \"q1\"}", "queries.jsonl: none of its 1 queries has words in its field `text`"),
        ("", "queries.jsonl: it holds no queries"),
    ] {
        let error = load(DOCS.as_bytes(), queries, None).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn bad_judgements_are_refused_with_their_line() {
    for (qrels, expected) in [
        ("q1\td1\tgood", "test.tsv:1: score \"good\" is not a whole number"),
        ("q1\td1\t1.5", "test.tsv:1: score \"1.5\" is not a whole number"),
        ("q1\td1\t99999999999", "test.tsv:1: score \"99999999999\" is too large"),
        (
            "q1\td1\t1\n\nq1\td1\t2",
            "test.tsv:3: query \"q1\" and document \"d1\" have score 2 here and 1 in line 1: keep one of the two",
        ),
        ("q1,d1,1", "test.tsv:1: 1 fields where query, document and score are wanted"),
        ("q1\td1\t1\nquery-id\tcorpus-id\tscore", "test.tsv:2: score \"score\" is not a whole number"),
    ] {
        let error = load(DOCS.as_bytes(), QUERIES, Some(qrels)).unwrap_err();
        assert!(error.starts_with(&format!("qrels/{expected}")), "{error}");
    }
}

fn remarks(docs: &str, queries: &str, qrels: &str) -> Vec<String> {
    let corpus = load(docs.as_bytes(), queries, Some(qrels)).unwrap();
    corpus.facts().remarks.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_odd_and_harmless_is_counted_once_a_kind_with_its_first_place() {
    let docs = format!("{DOCS}\n{{\"_id\": \"d2\", \"text\": \"Grüße aus 東京\"}}");
    let queries = format!("{QUERIES}\n{{\"_id\": \"q1\", \"text\": \"wings\"}}\n{{\"_id\": \"q3\"}}");
    let qrels = "q1\td1\t1\nq1\tgone\t1\nq9\td1\t1\nq1\td1\t1\nq2\tgone\t1.0\nq1\tgone\t1";
    assert_eq!(
        remarks(&docs, &queries, qrels),
        [
            "documents that stand there a second time: 1, the first at corpus.jsonl:6 (\"d2\"); each counts once",
            "queries that stand there a second time: 1, the first at queries.jsonl:4 (\"q1\"); each counts once",
            "queries without text: 1, the first at queries.jsonl:5 (\"q3\"); they are left out",
            "judged documents that the corpus lacks: 2, the first at qrels/test.tsv:2 (document \"gone\"); \
             nobody can find them, and they count, as in trec_eval",
            "judgements of queries that are not there: 1, the first at qrels/test.tsv:3 (query \"q9\"); \
             they are left out, as in trec_eval",
            "judgements that stand there a second time: 2, the first at qrels/test.tsv:4 (\"q1\" and \"d1\"); \
             each counts once",
        ]
    );
    assert!(remarks(DOCS, QUERIES, QRELS).is_empty());
}

#[test]
fn a_judged_document_that_is_not_there_stays_judged() {
    let corpus = load(DOCS.as_bytes(), QUERIES, Some("q1\tgone\t2\nq1\td3\t1")).unwrap();
    assert_eq!(corpus.qrels[0], [Judgement { row: None, gain: 2 }, Judgement { row: Some(2), gain: 1 }]);
}

#[test]
fn ids_that_are_numbers_are_those_of_the_judgements() {
    let docs = "{\"_id\": 1, \"text\": \"a\"}\n{\"_id\": \"2\", \"text\": \"b\"}";
    let queries = "{\"_id\": 10, \"text\": \"a\"}\n{\"_id\": \"11\", \"text\": \"b\"}";
    let corpus = load(docs.as_bytes(), queries, Some("10 0 1 1\n11 0 2 -1\n")).unwrap();
    assert!(corpus.facts().remarks.is_empty());
    let expected = [[Judgement { row: Some(0), gain: 1 }], [Judgement { row: Some(1), gain: -1 }]];
    assert_eq!(corpus.qrels, expected);
}

#[test]
fn judged_queries_can_be_had_alone() {
    let folder = folder(DOCS.as_bytes(), QUERIES, Some("q2\td2\t1"));
    let judged = |queries| Choice { queries, ..Choice::default() };
    let load = |queries| Corpus::load(folder.path(), judged(queries), folder.path());
    let (all, some) = (load(Queries::All).unwrap(), load(Queries::Judged).unwrap());
    assert_eq!((all.queries.len(), some.queries.len(), some.qrels.len()), (2, 1, 1));
    assert_eq!((some.queries[0].id.as_str(), some.qrels[0][0].gain), ("q2", 1));
    assert_eq!(all.digest(), some.digest());
    assert_eq!((all.facts().judged_queries, some.facts().queries), (1, 1));
    fs::write(folder.path().join("qrels/test.tsv"), "").unwrap();
    assert!(load(Queries::Judged).unwrap_err().to_string().ends_with("asks for those alone"));
}

#[test]
fn a_packed_folder_is_the_same_collection() {
    use std::io::Write as _;
    let plain = folder(DOCS.as_bytes(), QUERIES, Some(QRELS));
    let packed = tempfile::tempdir().unwrap();
    fs::create_dir(packed.path().join("qrels")).unwrap();
    for name in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"] {
        let file = fs::File::create(packed.path().join(format!("{name}.gz"))).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&fs::read(plain.path().join(name)).unwrap()).unwrap();
        encoder.finish().unwrap();
    }
    let cache = tempfile::tempdir().unwrap();
    let load = |folder: &Path| Corpus::load(folder, Choice::default(), cache.path()).unwrap();
    let (plain, unpacked) = (load(plain.path()), load(packed.path()));
    assert_eq!(plain.digest(), unpacked.digest());
    assert_eq!(
        (&plain.qrels, &plain.queries, plain.facts()),
        (&unpacked.qrels, &unpacked.queries, unpacked.facts())
    );
    let ids = |corpus: &Corpus| corpus.docs.iter().map(|doc| doc.unwrap().id).collect::<Vec<_>>();
    assert_eq!(ids(&plain), ids(&unpacked));
}

#[test]
fn another_split_is_another_collection() {
    let folder = folder(DOCS.as_bytes(), QUERIES, Some(QRELS));
    fs::write(folder.path().join("qrels/dev.tsv"), "q2\td2\t1").unwrap();
    let load = |split| {
        let choice = Choice { split, ..Choice::default() };
        Corpus::load(folder.path(), choice, folder.path()).unwrap()
    };
    let (test, dev) = (load(None), load(Some("dev")));
    assert_eq!((test.facts().split.as_deref(), dev.facts().split.as_deref()), (Some("test"), Some("dev")));
    assert!(test.digest() != dev.digest() && dev.qrels[0].is_empty());
}

#[test]
fn a_folder_without_a_collection_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = Corpus::load(folder.path(), Choice::default(), folder.path()).unwrap_err().to_string();
    assert!(error.contains("corpus.jsonl: it is not there: --corpus names the folder"), "{error}");
}
