//! The model behind an address. Another one is another work: its vectors are never mixed with those of the first. Of one
//! model each text has one vector, which is asked for once.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use bench_tests::runtimes::runtimes;
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

/// Letters, and what adding them up in another order makes of them: never the same twice.
fn shaky(asked: &Asked) -> Reply {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let noise = f64::from(ASKED.fetch_add(1, Ordering::Relaxed) % 97) * 1e-4;
    vectors(asked, |text| {
        let shake = |(at, count): (usize, &f64)| count + noise * ((at * 7919 % 13) as f64 - 6.0);
        letters(text).iter().enumerate().map(shake).collect()
    })
}

/// The digests of a pair of these backends, in one cache.
fn digests_of_a_pair(backends: &str, url: &str) -> Vec<String> {
    let root = TempDir::new().unwrap();
    let mut pair =
        bench(&["pair", "--no-user-plugins", "--backends", backends, "--run-id", "one", "--num-tasks", "60"]);
    pair.args(["--embedding-url", url, "--set", DIMENSION, "--output-root", root.path().to_str().unwrap()]);
    pair.args([
        "--set",
        "vdb1_corpus_size=100",
        "--set",
        "vdb2_corpus_size=100",
        "--set",
        "join_threshold=0.9",
    ]);
    succeed(pair.env("BENCH_CACHE_DIR", root.path().join("cache")));
    let tree = bench_tests::pairs::tree(root.path(), "one");
    let digest = |backend: &str| bench_tests::digest(&tree.join("backends").join(backend));
    backends.split(',').map(digest).collect()
}

#[test]
fn a_service_whose_vectors_are_never_the_same_twice_gives_every_run_the_same_answers() {
    let (service, cache) = (Service::start(shaky), TempDir::new().unwrap());
    let digest = || {
        let output = TempDir::new().unwrap();
        let (record, _) = recorded(&service.url(), &cache, &output);
        record["extra"]["output_digest"].clone()
    };
    let first = digest();
    assert!((0..3).all(|_| digest() == first));
    // Without the vectors that were kept there are other answers: the service is as unsteady as it should be.
    fs::remove_dir_all(cache.path()).unwrap();
    assert_ne!(digest(), first);
}

#[test]
fn verify_says_that_answers_differ_because_embeddings_did_and_by_how_much() {
    let outputs = [(); 3].map(|()| TempDir::new().unwrap());
    let caches = [(); 2].map(|()| TempDir::new().unwrap());
    let service = Service::start(embeddings);
    recorded(&service.url(), &caches[0], &outputs[0]);
    recorded(&service.url(), &caches[0], &outputs[1]);
    // The text that shows the model has the vector that it had.
    service.becomes(|asked| {
        vectors(asked, |text| {
            let mut counts = letters(text);
            counts[text.len() % 64] += if text.starts_with("The lift of a wing in a") { 0.0 } else { 9.0 };
            counts
        })
    });
    recorded(&service.url(), &caches[1], &outputs[2]);
    let folders = outputs.each_ref().map(|output| output.path().to_str().unwrap());
    let verified = bench(&["verify", folders[0], folders[2]]).output().unwrap();
    let said = stdout(&verified);
    assert_eq!(verified.status.code(), Some(11), "{said}");
    assert!(said.contains("answers differ because embeddings did: "), "{said}");
    let distance: f64 = said
        .split("the largest distance (1 - cosine) is ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(distance > 0.01 && distance < 1.0, "{said}");
    // One cache gives one vector for each text.
    succeed(&mut bench(&["verify", folders[0], folders[1]]));
    let kept = |output: &TempDir| {
        let record = records(output.path()).remove(0);
        fs::read(output.path().join(record["extra"]["vectors_file"].as_str().unwrap())).unwrap()
    };
    assert_eq!(kept(&outputs[0]), kept(&outputs[1]));
}

#[test]
fn every_real_runtime_gives_the_same_answers_through_an_unsteady_service() {
    let Some(_alone) = runtimes(&["ray", "dask", "sage"]) else { return };
    let service = Service::start(shaky);
    let digests = digests_of_a_pair("local,ray,dask,sage", &service.url());
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

/// Forty documents, the half of them twice, and ten questions.
fn collection() -> TempDir {
    let folder = TempDir::new().unwrap();
    let line = |id: usize, text: String| format!("{}\n", json!({"_id": id.to_string(), "text": text}));
    let docs: String = (0..60).map(|id| line(id, format!("document {} of wings", id % 40))).collect();
    let queries: String = (0..10).map(|id| line(id, format!("question {id}"))).collect();
    fs::write(folder.path().join("corpus.jsonl"), docs).unwrap();
    fs::write(folder.path().join("queries.jsonl"), queries).unwrap();
    folder
}

fn run_of(corpus: &TempDir, url: &str, cache: &Path, output: &TempDir) -> Command {
    let set = [
        "--set",
        DIMENSION,
        "--set",
        "embed_again=off",
        "--set",
        "embedding_batch_size=4",
        "--parallelism",
        "1",
    ];
    let folder = corpus.path().to_str().unwrap();
    let mut run = run(output.path(), 1, &[&["--embedding-url", url, "--corpus", folder][..], &set].concat());
    run.env("BENCH_CACHE_DIR", cache);
    run
}

/// What a service gave vectors of, but for the text that shows which model it is.
fn embedded(service: &Service) -> Vec<String> {
    let asked = service.asked();
    let texts =
        asked.iter().flat_map(Asked::texts).filter(|text| !text.starts_with("The lift of a wing in a"));
    texts.map(str::to_owned).collect()
}

#[test]
fn each_distinct_text_is_embedded_once() {
    let (service, corpus, output) = (Service::start(embeddings), collection(), TempDir::new().unwrap());
    let cache = TempDir::new().unwrap();
    let told = stderr(&succeed(&mut run_of(&corpus, &service.url(), cache.path(), &output)));
    assert!(told.contains("the vectors of 40 texts (0 there)"), "{told}");
    let texts = embedded(&service);
    let distinct: HashSet<&String> = texts.iter().collect();
    assert_eq!((texts.len(), distinct.len()), (50, 50));
    // All is known by now, and asked for again only where that is part of the work.
    succeed(&mut run_of(&corpus, &service.url(), cache.path(), &output));
    assert!(embedded(&service).is_empty());
    succeed(run_of(&corpus, &service.url(), cache.path(), &output).args(["--set", "embed_again=on"]));
    assert!(embedded(&service).iter().any(|text| text.starts_with("question ")));
}

#[test]
fn after_a_service_failed_half_way_only_the_rest_is_embedded() {
    let (corpus, output, cache) = (collection(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let given = AtomicU32::new(0);
    let service = Service::start(move |asked| match given.fetch_add(1, Ordering::Relaxed) {
        // One shows the model, twice, and five times four texts are half of them.
        0..7 => embeddings(asked),
        _ => (500, json!({"error": "out of memory"}).to_string()),
    });
    let failed = run_of(&corpus, &service.url(), cache.path(), &output).output().unwrap();
    assert_eq!(failed.status.code(), Some(2), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("out of memory"), "{}", stderr(&failed));
    service.asked();
    service.becomes(embeddings);
    let told = stderr(&succeed(&mut run_of(&corpus, &service.url(), cache.path(), &output)));
    assert!(told.contains("the vectors of 20 texts (0 there)"), "{told}");
    let documents = embedded(&service).into_iter().filter(|text| text.starts_with("document "));
    assert_eq!(documents.collect::<HashSet<String>>().len(), 20);
}

#[test]
fn each_kind_of_text_has_the_prefix_that_its_model_wants() {
    let (service, corpus, output) = (Service::start(embeddings), collection(), TempDir::new().unwrap());
    let cache = TempDir::new().unwrap();
    let prefixes = ["--set", "query_prefix=\"query: \"", "--set", "document_prefix=\"passage: \""];
    let run = || run_of(&corpus, &service.url(), cache.path(), &output);
    succeed(run().args(prefixes));
    let texts = embedded(&service);
    let of = |prefix: &str| texts.iter().filter(|text| text.starts_with(prefix)).count();
    assert_eq!((of("query: question "), of("passage: document "), texts.len()), (10, 40, 50));
    // Indexes of other texts are others.
    let told = stderr(&succeed(&mut run()));
    assert!(told.contains("the vectors of 40 texts (0 there)"), "{told}");
    assert!(embedded(&service).iter().all(|text| !text.contains(": ")));
}

#[test]
fn what_an_encoder_leaves_unread_is_told_and_parts_leave_nothing() {
    let service = Service::start(|asked| {
        vectors(asked, |text| letters(&text.split_whitespace().take(80).collect::<Vec<_>>().join(" ")))
    });
    let (corpus, cache) = (collection(), TempDir::new().unwrap());
    let words: Vec<String> = (0..200).map(|number| format!("word{number}")).collect();
    let long = format!("{}\n", json!({"_id": "long", "text": words.join(" ")}));
    let path = corpus.path().join("corpus.jsonl");
    fs::write(&path, fs::read_to_string(&path).unwrap() + &long).unwrap();
    let told = |more: &[&str]| {
        let output = TempDir::new().unwrap();
        let done = succeed(run_of(&corpus, &service.url(), cache.path(), &output).args(more));
        (stderr(&done), records(output.path()).remove(0)["extra"]["truncation"].clone())
    };
    let (said, kept) = told(&[]);
    assert!(
        said.contains("the encoder reads the first 80 words of the longest text, and 1 of 41 have more"),
        "{said}"
    );
    assert_eq!(kept, json!({"words": 80, "longer": 1, "of": 41}));
    // The next run prepares nothing and tells it all the same.
    assert_eq!(told(&[]).1, kept);
    let (said, kept) = told(&["--set", "chunk_tokens=70"]);
    assert!(!said.contains("the encoder reads"), "{said}");
    assert_eq!(kept, Value::Null);
}
