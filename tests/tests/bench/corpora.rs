//! Real text: BEIR folders, good and ragged.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use bench_tests::{bench, records, stderr, stdout, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A collection in BEIR's form.
pub fn beir(corpus: &str, queries: &str, qrels: Option<&str>) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("corpus.jsonl"), corpus).unwrap();
    fs::write(folder.path().join("queries.jsonl"), queries).unwrap();
    if let Some(qrels) = qrels {
        fs::create_dir(folder.path().join("qrels")).unwrap();
        fs::write(folder.path().join("qrels/test.tsv"), qrels).unwrap();
    }
    folder
}

fn run(folder: &Path, output: &Path) -> std::process::Command {
    let (folder, output) = (folder.to_str().unwrap(), output.to_str().unwrap());
    bench(&["run", "--backend", "local", "--no-user-plugins", "--corpus", folder, "-o", output])
}

const RAGGED: &str = concat!(
    r#"{"_id": "a", "title": "Wings", "text": "the lift of a wing in a slipstream"}"#,
    "\n",
    r#"{"_id": "b", "text": "boundary layer on a flat plate"}"#,
    "\n",
    r#"{"_id": "c", "title": "Ωμέγα", "text": "Größe der Strömung, 翼の揚力"}"#,
    "\n",
    r#"{"_id": "d", "title": "", "text": ""}"#,
    "\n",
);

const QUERIES: &str = concat!(
    r#"{"_id": "1", "text": "lift of a wing"}"#,
    "\n",
    r#"{"_id": "2", "text": "Strömung"}"#,
    "\n",
    r#"{"_id": "3", "text": "never judged"}"#,
    "\n",
);

#[test]
fn a_ragged_folder_works_and_only_judged_queries_are_scored() {
    let folder = beir(RAGGED, QUERIES, Some("query-id\tcorpus-id\tscore\n1\ta\t2\n2\tc\t1\n"));
    let output = TempDir::new().unwrap();
    succeed(&mut run(folder.path(), output.path()));
    let record = records(output.path()).remove(0);
    assert_eq!(record["extra"]["items"]["completed"], 3);
    let retrieval = &record["extra"]["quality"]["retrieval"];
    assert_eq!(
        (retrieval["judged_queries"].as_u64(), retrieval["ndcg_at_10"].as_f64()),
        (Some(2), Some(1.0))
    );
}

#[test]
fn a_folder_in_shards_gives_the_same_answers_and_scores() {
    let folder = beir(RAGGED, QUERIES, Some("1\ta\t2\n2\tc\t1\n"));
    let outcome = |how: [&str; 2]| {
        let output = TempDir::new().unwrap();
        succeed(run(folder.path(), output.path()).args(how));
        let extra = records(output.path()).remove(0)["extra"].take();
        (extra["output_digest"].clone(), extra["quality"].clone())
    };
    let whole = outcome(["--corpus-shards", "1"]);
    // More shards than documents, too.
    for how in [
        ["--corpus-shards", "2"],
        ["--corpus-shards", "7"],
        ["--parallelism", "3"],
        ["--parity-batch-size", "2"],
    ] {
        assert_eq!(outcome(how), whole, "{how:?}");
    }
}

#[test]
fn the_fused_order_is_the_final_one_and_the_weight_of_bm25_decides_it() {
    // By its vector the short text is nearer to the question, by BM25 the one that says it over and over.
    let corpus = concat!(
        r#"{"_id": "short", "text": "wing flutter"}"#,
        "\n",
        r#"{"_id": "often", "text": "flutter of panels, flutter of tails, flutter of plates, and so flutter"}"#,
        "\n",
        r#"{"_id": "other", "text": "heat transfer in a nozzle"}"#,
        "\n",
        r#"{"_id": "wings", "text": "wing wing wing wing wing wing wing"}"#,
        "\n",
    );
    let queries = "{\"_id\": \"1\", \"text\": \"flutter\"}\n";
    let folder = beir(corpus, queries, Some("1\toften\t1\n"));
    let of = |sets: &[&str]| {
        let more: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let (extra, _) = scored(&folder, &more);
        (extra["quality"].clone(), extra["output_digest"].clone())
    };
    let (by_keywords, one) = of(&["bm25_weight=1"]);
    let (by_vectors, other) = of(&["bm25_weight=0"]);
    assert_ne!(one, other);
    assert_eq!(by_keywords["ranking"]["mrr_at_10"], 1.0, "{by_keywords}");
    assert_eq!(by_vectors["ranking"]["mrr_at_10"], 0.5, "{by_vectors}");
    for quality in [by_keywords, by_vectors] {
        assert_eq!(quality["ranking"]["ndcg_at_10"], quality["retrieval"]["ndcg_at_10"]);
    }
    // The dimensions of the synthetic workload know the cosine alone, and can be asked for.
    let dimensions = |weight| of(&[weight, "rerank_by=dimensions"]).0["ranking"].clone();
    assert_eq!(dimensions("bm25_weight=1"), dimensions("bm25_weight=0"));
}

#[test]
fn the_judged_rankings_are_kept_as_trec_run_files() {
    let folder = beir(RAGGED, QUERIES, Some(QRELS));
    let output = TempDir::new().unwrap();
    succeed(run(folder.path(), output.path()).args(["--set", "fault=raise:rerank:1"]));
    let record = records(output.path()).remove(0);
    let items = output.path().join(record["extra"]["items_file"].as_str().unwrap());
    for name in ["run.trec", "retrieval.trec"] {
        let lines = fs::read_to_string(items.with_file_name(name)).unwrap();
        assert!(lines.starts_with("2 Q0 c 1 "), "{lines}");
        assert!(lines.lines().all(|line| line.split(' ').count() == 6), "{lines}");
        // The first query failed: trec_eval -c counts it 0, and so does the record.
        assert!(!lines.lines().any(|line| line.starts_with("1 ")), "{lines}");
    }
    assert_eq!(record["extra"]["quality"]["failed_queries"], 1);
    let unjudged = beir(RAGGED, QUERIES, None);
    let other = TempDir::new().unwrap();
    succeed(&mut run(unjudged.path(), other.path()));
    let items = records(other.path()).remove(0)["extra"]["items_file"].as_str().unwrap().to_owned();
    assert!(!other.path().join(items).with_file_name("run.trec").exists());
}

#[test]
fn a_long_document_is_searched_in_parts_and_judged_by_the_best_of_them() {
    let noise = |word: &str, count: usize| format!("{word} ").repeat(count);
    // What is asked for is a few words amidst many others, and stands there whole in one part.
    let long = format!("{}swept wing flutter {}", noise("heat", 60), noise("nozzle", 60));
    let line = |id: &str, text: &str| format!("{}\n", json!({"_id": id, "text": text}));
    let others = ["swept wing", "a heated nozzle", "tunnel walls", "flat plates"];
    let others = others.iter().enumerate().map(|(number, text)| line(&format!("other{number}"), text));
    let corpus = line("long", &long) + &others.collect::<String>();
    let queries = "{\"_id\": \"1\", \"text\": \"swept wing flutter\"}\n";
    let folder = beir(&corpus, queries, Some("1\tlong\t1\n"));
    let by_vectors = |more: &[&str]| {
        let output = TempDir::new().unwrap();
        let sets = [&["bm25_weight=0"][..], more].concat();
        let mut run = run(folder.path(), output.path());
        succeed(run.args(sets.iter().flat_map(|set| ["--set", set])));
        let extra = records(output.path()).remove(0)["extra"].take();
        let items = output.path().join(extra["items_file"].as_str().unwrap());
        let lines = fs::read_to_string(items.with_file_name("run.trec")).unwrap();
        let ranked: Vec<String> =
            lines.lines().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect();
        (ranked, extra["output_digest"].clone())
    };
    assert_eq!(by_vectors(&[]).0[0], "other0");
    let (ranked, digest) = by_vectors(&["chunk_tokens=5", "chunk_overlap=2"]);
    assert_eq!(ranked[0], "long");
    // Each document once, however many of its parts were found.
    let distinct: std::collections::BTreeSet<_> = ranked.iter().collect();
    assert!(distinct.len() == ranked.len() && ranked.len() > 1, "{ranked:?}");
    let in_shards = by_vectors(&["chunk_tokens=5", "chunk_overlap=2", "vdb_shards=3"]);
    assert_eq!(in_shards, (ranked, digest));
}

#[test]
fn words_of_one_stem_are_found_and_stemmed_bm25_stands_beside_the_plain_one() {
    let queries = "{\"_id\": \"1\", \"text\": \"lifting winged\"}\n";
    let folder = beir(RAGGED, queries, Some("1\ta\t1\n"));
    let (extra, _) = scored(&folder, &[]);
    let quality = &extra["quality"];
    assert_eq!(quality["bm25_stemmed"]["ndcg_at_10"], 1.0, "{quality}");
    assert_eq!(
        (&quality["bm25"]["ndcg_at_10"], &quality["ranking"]["ndcg_at_10"]),
        (&json!(0.0), &json!(1.0))
    );
    let (plain, _) = scored(&folder, &["--set", "stemmer=none"]);
    assert!(plain["quality"].get("bm25_stemmed").is_none());
}

#[test]
fn real_text_can_be_searched_by_vectors_alone() {
    let folder = beir(RAGGED, QUERIES, Some(QRELS));
    let (extra, _) = scored(&folder, &["--set", "retrieval=dense"]);
    assert_eq!(extra["quality"]["retrieval"]["ndcg_at_10"], 1.0);
    assert_eq!(extra["effective_config"]["parameters"]["stemmer"], "english");
}

#[test]
fn a_folder_without_judgements_runs_without_scores() {
    let folder = beir(RAGGED, QUERIES, None);
    let output = TempDir::new().unwrap();
    let done = succeed(&mut run(folder.path(), output.path()));
    assert!(records(output.path())[0]["extra"].get("quality").is_none());
    assert!(stderr(&done).contains("not judged, since it has no qrels/NAME.tsv"), "{}", stderr(&done));
}

/// Quality and warnings of a run over a folder.
fn scored(folder: &TempDir, more: &[&str]) -> (Value, String) {
    let output = TempDir::new().unwrap();
    let done = succeed(run(folder.path(), output.path()).args(more));
    let mut record = records(output.path()).remove(0);
    assert_eq!(record["success_rate"], 1.0);
    (record["extra"].take(), stderr(&done))
}

const QRELS: &str = "query-id\tcorpus-id\tscore\n1\ta\t2\n2\tc\t1\n";

#[test]
fn judgements_are_read_in_every_shape_that_people_write_them_in() {
    let (clean, told) = scored(&beir(RAGGED, QUERIES, Some(QRELS)), &[]);
    assert!(!told.contains("warning"), "{told}");
    let numbers =
        |text: &str| text.replace("\"_id\": \"a\"", "\"_id\": 1").replace("\"_id\": \"c\"", "\"_id\": 3");
    for (corpus, qrels, warning) in [
        (RAGGED.to_owned(), QRELS.replace("\n1\ta\t2", "\n1\ta\t2.0"), None),
        (RAGGED.to_owned(), QRELS.replace('\n', "\r\n"), None),
        (RAGGED.to_owned(), format!("\u{feff}{}", QRELS.replace("\n2", "\n\n2")), None),
        (RAGGED.to_owned(), "1\t0\ta\t2\n2\t0\tc\t1\n".to_owned(), None),
        (RAGGED.to_owned(), "1 Q0 a 2\n2 Q0 c 1".to_owned(), None),
        (RAGGED.to_owned(), "query\titer\tdocno\trel\n1\t0\ta\t2\n2\t0\tc\t1\n".to_owned(), None),
        (numbers(RAGGED), "1\t1\t2\n2\t3\t1\n".to_owned(), None),
        (RAGGED.to_owned(), format!("{QRELS}1\tb\t-1\n2\td\t0\n"), None),
        (
            RAGGED.to_owned(),
            format!("{QRELS}1\ta\t2\n1\ta\t2\n"),
            Some("judgements that stand there a second time: 2, the first at qrels/test.tsv:4"),
        ),
        (
            RAGGED.to_owned(),
            format!("{QRELS}77\ta\t2\n"),
            Some("judgements of queries that are not there: 1, the first at qrels/test.tsv:4"),
        ),
        (
            format!("{RAGGED}{}", RAGGED.lines().next().unwrap()),
            QRELS.to_owned(),
            Some("documents that stand there a second time: 1, the first at corpus.jsonl:5"),
        ),
    ] {
        let (extra, told) = scored(&beir(&corpus, QUERIES, Some(&qrels)), &[]);
        assert_eq!(extra["quality"], clean["quality"], "{qrels}");
        assert_eq!(told.matches("warning").count(), usize::from(warning.is_some()), "{qrels}: {told}");
        assert!(warning.is_none_or(|warning| told.contains(warning)), "{told}");
        assert_eq!(extra["corpus"]["remarks"].as_array().unwrap().len(), usize::from(warning.is_some()));
    }
}

#[test]
fn a_judged_document_that_the_corpus_lacks_counts_as_in_trec_eval() {
    let (extra, told) = scored(&beir(RAGGED, QUERIES, Some(&format!("{QRELS}1\tgone-con03b\t2\n"))), &[]);
    // Of the first query half is found: 2 / (2 + 2 / log2(3)); all of the second.
    let half = 1.0 / (1.0 + 1.0 / 3_f64.log2());
    let ndcg = extra["quality"]["retrieval"]["ndcg_at_10"].as_f64().unwrap();
    assert!((ndcg - (half + 1.0) / 2.0).abs() < 1e-9, "{ndcg}");
    assert_eq!(extra["quality"]["retrieval"]["recall_at_k"], 0.75);
    let warning =
        "judged documents that the corpus lacks: 1, the first at qrels/test.tsv:4 (document \"gone-con03b\")";
    assert!(told.contains(warning), "{told}");
    let remark = &extra["corpus"]["remarks"][0];
    assert_eq!((&remark["kind"], &remark["count"]), (&json!("judged_document_not_in_corpus"), &json!(1)));
}

#[test]
fn a_packed_folder_is_the_same_work_with_the_same_answers() {
    let plain = beir(RAGGED, QUERIES, Some(QRELS));
    let packed = beir("", "", Some(""));
    for name in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"] {
        fs::remove_file(packed.path().join(name)).unwrap();
        let file = fs::File::create(packed.path().join(format!("{name}.gz"))).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&fs::read(plain.path().join(name)).unwrap()).unwrap();
        encoder.finish().unwrap();
    }
    let outcome = |folder: &TempDir| {
        let output = TempDir::new().unwrap();
        succeed(&mut run(folder.path(), output.path()));
        let record = records(output.path()).remove(0);
        [
            record["config_hash"].clone(),
            record["extra"]["output_digest"].clone(),
            record["extra"]["quality"].clone(),
        ]
    };
    assert_eq!(outcome(&plain), outcome(&packed));
    // What errors name is the file that is there.
    fs::write(packed.path().join("corpus.jsonl.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    let refused = run(packed.path(), TempDir::new().unwrap().path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("corpus.jsonl.gz: cannot unpack it"), "{}", stderr(&refused));
}

#[test]
fn another_split_is_taken_where_there_is_no_test_and_said() {
    let folder = beir(RAGGED, QUERIES, Some(QRELS));
    let of = |name: &str| folder.path().join("qrels").join(name);
    fs::rename(of("test.tsv"), of("dev.tsv")).unwrap();
    fs::write(of("train.tsv"), "3\ta\t1\n").unwrap();
    let (extra, told) = scored(&folder, &[]);
    assert_eq!(extra["corpus"]["split"], "dev");
    assert_eq!(extra["quality"]["retrieval"]["judged_queries"], 2);
    assert!(told.contains("judged by its split dev"), "{told}");
    let (extra, _) = scored(&folder, &["--corpus-split", "train"]);
    assert_eq!(
        (&extra["corpus"]["split"], &extra["quality"]["retrieval"]["judged_queries"]),
        (&json!("train"), &json!(1))
    );
    let refused =
        run(folder.path(), TempDir::new().unwrap().path()).args(["--corpus-split", "test"]).output();
    assert!(stderr(&refused.unwrap()).contains("there is no split \"test\"; there are: dev, train"));
}

#[test]
fn judged_queries_can_be_asked_alone() {
    let folder = beir(RAGGED, QUERIES, Some(QRELS));
    let (all, _) = scored(&folder, &[]);
    let (judged, _) = scored(&folder, &["--corpus-queries", "judged"]);
    assert_eq!((&all["items"]["completed"], &judged["items"]["completed"]), (&json!(3), &json!(2)));
    assert_eq!(all["quality"], judged["quality"]);
    assert_eq!(judged["effective_config"]["parameters"]["corpus_queries"], "judged");
    assert!(all["effective_config"]["parameters"].get("corpus_queries").is_none());
}

#[test]
fn without_a_judged_query_there_is_no_quality_and_the_reason_is_said() {
    // One query is asked: the first of the file.
    let (unjudged, wanted) =
        ("3\ta\t1\n", "none of the 1 queries that ran is judged; 1 are: --corpus-queries judged");
    for (qrels, reason) in [(unjudged, wanted), ("1\tnowhere\t1\n", "no judged document is in the corpus")] {
        let folder = beir(RAGGED, QUERIES, Some(qrels));
        let output = TempDir::new().unwrap();
        let told = stdout(&succeed(run(folder.path(), output.path()).args(["-n", "1"])));
        assert!(
            told.contains("retrieval n/a  final ranking n/a  plain BM25 n/a") && told.contains(reason),
            "{told}"
        );
        let quality = records(output.path()).remove(0)["extra"]["quality"].take();
        for stage in ["retrieval", "ranking", "bm25"] {
            let figures = ["recall_at_k", "mrr_at_10", "ndcg_at_10"].map(|name| quality[stage][name].clone());
            assert_eq!(figures, [Value::Null, Value::Null, Value::Null], "{quality}");
        }
        assert!(quality["reason"].as_str().unwrap().starts_with(reason), "{quality}");
    }
}

#[test]
fn a_judged_query_that_fails_counts_as_nothing_found() {
    let judged_only = QUERIES.lines().take(2).collect::<Vec<_>>().join("\n");
    let folder = beir(RAGGED, &judged_only, Some(QRELS));
    let output = TempDir::new().unwrap();
    let told = stdout(&succeed(run(folder.path(), output.path()).args(["--set", "fault=raise:rerank:0"])));
    let quality = records(output.path()).remove(0)["extra"]["quality"].take();
    let retrieval = &quality["retrieval"];
    assert_eq!((&retrieval["ndcg_at_10"], &retrieval["judged_queries"]), (&json!(0.5), &json!(2)));
    assert_eq!(quality["failed_queries"], 1);
    // Plain BM25 answers the same queries.
    assert_eq!(quality["bm25"]["judged_queries"], 2);
    assert!(told.contains("2 judged queries, 1 of them failed and count 0"), "{told}");
}

#[test]
fn what_would_make_a_result_wrong_is_refused_with_file_line_and_cause() {
    let twice = format!("{RAGGED}{}\n", r#"{"_id": "a", "text": "again"}"#);
    let queries = format!("{QUERIES}{}\n", r#"{"_id": "1", "text": "again"}"#);
    for (corpus, queries, qrels, place) in [
        (twice.as_str(), QUERIES, None, "corpus.jsonl:5: _id \"a\" occurs twice, with different texts"),
        ("{\"_id\": \"a\"\n", QUERIES, None, "corpus.jsonl:1: not JSON: EOF"),
        ("{\"_id\": \"a\", \"text\": [\"x\"]}\n", QUERIES, None, "corpus.jsonl:1: title and text are text"),
        (RAGGED, "{\"text\": \"no id\"}\n", None, "queries.jsonl:1: missing field `_id`"),
        (RAGGED, &queries, None, "queries.jsonl:4: _id \"1\" stands in line 1 with another text"),
        (
            RAGGED,
            QUERIES,
            Some("1\ta\t1\n1\ta\t2\n"),
            "test.tsv:2: query \"1\" and document \"a\" have score 2 here and 1 in line 1",
        ),
        (RAGGED, QUERIES, Some("1\ta\tmuch\n"), "test.tsv:1: score \"much\" is not a whole number"),
        (RAGGED, QUERIES, Some("1\ta\t0.5\n"), "test.tsv:1: score \"0.5\" is not a whole number"),
        (RAGGED, QUERIES, Some("1,a,1\n"), "test.tsv:1: 1 fields where query, document and score are wanted"),
    ] {
        let folder = beir(corpus, queries, qrels);
        let output = TempDir::new().unwrap();
        let refused = run(folder.path(), output.path()).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{place}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(place), "{place}: {}", stderr(&refused));
        assert!(!output.path().join("unified_results.jsonl").exists());
    }
}

#[test]
fn a_fifo_in_place_of_a_file_of_the_corpus_is_refused_and_not_waited_for() {
    for name in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"] {
        let (folder, output) = (beir(RAGGED, QUERIES, Some("1\ta\t1\n")), TempDir::new().unwrap());
        let file = folder.path().join(name);
        fs::remove_file(&file).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        let refused = run(folder.path(), output.path()).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{name}: {}", stderr(&refused));
        let says = format!("{name}: cannot open: it is not a regular file");
        assert!(stderr(&refused).contains(&says), "{says}: {}", stderr(&refused));
    }
}

#[test]
fn where_the_corpus_lies_does_not_change_the_configuration() {
    let hash = |folder: &Path| {
        let output = TempDir::new().unwrap();
        succeed(&mut run(folder, output.path()));
        records(output.path())[0]["config_hash"].clone()
    };
    let (one, two) = (beir(RAGGED, QUERIES, None), beir(RAGGED, QUERIES, None));
    let other = beir(&RAGGED.replace("slipstream", "tunnel"), QUERIES, None);
    assert_eq!(hash(one.path()), hash(two.path()));
    assert_ne!(hash(one.path()), hash(other.path()));
}

#[test]
fn weights_are_set_as_json_as_toml_or_one_by_one() {
    let weights = |sets: &[&str]| {
        let mut command = bench(&["run", "--backend", "local", "--no-user-plugins", "--quick", "--dry-run"]);
        sets.iter().for_each(|set| _ = command.args(["--set", set]));
        let shown: Value = serde_json::from_slice(&succeed(&mut command).stdout).unwrap();
        shown["effective_config"]["parameters"]["rerank_score_weights"].clone()
    };
    let expected =
        json!({"semantic": 0.5, "freshness": 0.0, "diversity": 0.2, "authority": 0.15, "coverage": 0.15});
    for sets in [
        &[r#"rerank_score_weights={"semantic": 0.5, "freshness": 0}"#][..],
        &["rerank_score_weights={semantic = 0.5, freshness = 0}"],
        &["rerank_score_weights.semantic=0.5", "rerank_score_weights.freshness=0"],
        &["rerank_score_weights={semantic = 0.5}", "rerank_score_weights.freshness=0"],
    ] {
        assert_eq!(weights(sets), expected, "{sets:?}");
    }
}
