//! Another model behind the same address is another work: its vectors are never mixed with those of the first.

use std::process::Command;

use bench_tests::{bench, records, small_run, stderr, stdout, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{Asked, DIMENSION, Reply, Service, embeddings, letters, run, vectors};

/// A run against `url` with a cache that it shares with others; the record and what was told.
fn recorded(url: &str, cache: &TempDir, output: &TempDir) -> (Value, String) {
    let mut run = run(output.path(), 1, &["--embedding-url", url, "--set", DIMENSION]);
    let done = succeed(run.env("BENCH_CACHE_DIR", cache.path()));
    (records(output.path()).remove(0), stderr(&done))
}

/// Letters as another model sees them.
fn otherwise(asked: &Asked) -> Reply {
    vectors(asked, |text| {
        let mut counts = letters(text);
        counts.rotate_left(11);
        counts.iter().enumerate().map(|(i, count)| count * (1.0 + (i % 5) as f64)).collect()
    })
}

#[test]
fn another_model_at_the_same_address_has_another_hash_other_indexes_and_a_name_in_verify() {
    let (service, cache) = (Service::start(embeddings), TempDir::new().unwrap());
    let outputs = [(); 3].map(|()| TempDir::new().unwrap());
    let (first, _) = recorded(&service.url(), &cache, &outputs[0]);
    service.becomes(otherwise);
    let (second, told) = recorded(&service.url(), &cache, &outputs[1]);
    assert!(told.contains("preparing vdb1"), "{told}");
    let of = |record: &Value| {
        let extra = &record["extra"];
        let served = &extra["embedding_endpoint"]["fingerprint"];
        [record["config_hash"].clone(), extra["output_digest"].clone(), served.clone()]
    };
    assert!(of(&first).iter().zip(of(&second)).all(|(a, b)| *a != b && a.is_string()), "{first} {second}");
    let folders = outputs.each_ref().map(|output| output.path().to_str().unwrap());
    let verified = bench(&["verify", folders[0], folders[1]]).output().unwrap();
    assert_eq!(verified.status.code(), Some(13));
    assert!(stdout(&verified).contains("embedding endpoint"), "{}", stdout(&verified));
    // The first model comes back, and its indexes are still there.
    service.becomes(embeddings);
    let (third, told) = recorded(&service.url(), &cache, &outputs[2]);
    assert_eq!(of(&first), of(&third));
    assert!(!told.contains("preparing"), "{told}");
    succeed(&mut bench(&["verify", folders[0], folders[2]]));
}

#[test]
fn rounding_does_not_make_another_model_and_another_address_neither() {
    let cache = TempDir::new().unwrap();
    let exact = Service::start(embeddings);
    let rounded = Service::start(|asked| {
        vectors(asked, |text| {
            letters(text).iter().enumerate().map(|(i, v)| v * (1.0 + 1e-6 * i as f64)).collect()
        })
    });
    let outputs = [(); 2].map(|()| TempDir::new().unwrap());
    let (first, _) = recorded(&exact.url(), &cache, &outputs[0]);
    let (second, told) = recorded(&rounded.url(), &cache, &outputs[1]);
    assert_eq!(first["config_hash"], second["config_hash"]);
    assert_eq!(first["extra"]["embedding_endpoint"], second["extra"]["embedding_endpoint"]);
    assert!(!told.contains("preparing"), "{told}");
}

#[test]
fn another_name_for_the_model_has_indexes_of_its_own() {
    let (service, cache) = (Service::start(embeddings), TempDir::new().unwrap());
    let outputs = [(); 2].map(|()| TempDir::new().unwrap());
    let (first, _) = recorded(&service.url(), &cache, &outputs[0]);
    assert_eq!(first["extra"]["embedding_endpoint"]["model"], "letters");
    service.becomes(|asked| {
        let (status, text) = embeddings(asked);
        (status, text.replace("\"letters\"", "\"letters-2\""))
    });
    let (second, told) = recorded(&service.url(), &cache, &outputs[1]);
    assert_eq!(second["extra"]["embedding_endpoint"]["model"], "letters-2");
    assert!(told.contains("preparing"), "{told}");
    assert_eq!(first["extra"]["output_digest"], second["extra"]["output_digest"]);
}

#[test]
fn a_pair_does_not_go_on_with_another_model() {
    let (service, root) = (Service::start(embeddings), TempDir::new().unwrap());
    let pair = |more: &[&str]| -> Command {
        let mut pair = bench(&["pair", "--no-user-plugins", "--output-root", root.path().to_str().unwrap()]);
        pair.args(more).env("BENCH_CACHE_DIR", root.path().join("cache"));
        pair
    };
    let url = service.url();
    let sizes = ["--set", "vdb1_corpus_size=100", "--set", "vdb2_corpus_size=100"];
    let begin =
        ["--aa", "--backends", "local", "--run-id", "one", "--embedding-url", &url, "--set", DIMENSION];
    succeed(pair(&begin).args(sizes));
    service.becomes(otherwise);
    let refused = pair(&["--resume", "one"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("serves another model now (letters, dimension 64"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_run_without_an_endpoint_says_nothing_of_one() {
    let output = TempDir::new().unwrap();
    succeed(&mut small_run("local", output.path(), &[]));
    let record = records(output.path()).remove(0);
    assert!(record["extra"].get("embedding_endpoint").is_none());
    assert_eq!(record["extra"]["effective_config"]["parameters"].get("embedding_served"), None);
    assert_ne!(record["config_hash"], json!(null));
}
