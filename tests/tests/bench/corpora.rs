//! Real text: BEIR folders, good and ragged.

use std::fs;
use std::path::Path;

use bench_tests::{bench, records, stderr, succeed};
use tempfile::TempDir;

fn beir(corpus: &str, queries: &str, qrels: Option<&str>) -> TempDir {
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
    let outcome = |shards: &str| {
        let output = TempDir::new().unwrap();
        succeed(run(folder.path(), output.path()).args(["--corpus-shards", shards]));
        let extra = records(output.path()).remove(0)["extra"].take();
        (extra["output_digest"].clone(), extra["quality"].clone())
    };
    let whole = outcome("1");
    // More shards than documents, too.
    assert!(["2", "7"].iter().all(|shards| outcome(shards) == whole));
}

#[test]
fn a_folder_without_judgements_runs_without_scores() {
    let folder = beir(RAGGED, QUERIES, None);
    let output = TempDir::new().unwrap();
    succeed(&mut run(folder.path(), output.path()));
    assert!(records(output.path())[0]["extra"].get("quality").is_none());
}

#[test]
fn what_would_make_a_result_wrong_is_refused_with_file_and_line() {
    let twice = format!("{RAGGED}{}\n", r#"{"_id": "a", "text": "again"}"#);
    for (corpus, queries, qrels, place) in [
        (twice.as_str(), QUERIES, None, "corpus.jsonl:5"),
        ("{\"_id\": \"a\"\n", QUERIES, None, "corpus.jsonl:1"),
        (RAGGED, "{\"text\": \"no id\"}\n", None, "queries.jsonl:1"),
        (RAGGED, QUERIES, Some("query-id\tcorpus-id\tscore\n1\tzzz\t1\n"), "test.tsv:2"),
        (RAGGED, QUERIES, Some("1\ta\tmuch\n"), "test.tsv:1"),
    ] {
        let folder = beir(corpus, queries, qrels);
        let output = TempDir::new().unwrap();
        let refused = run(folder.path(), output.path()).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{place}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(place), "{place}: {}", stderr(&refused));
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
