//! Embedding and generation by a real HTTP server on this machine that answers as services in the wild do.

use std::process::Command;

use bench_tests::{records, small_run, stderr, stdout, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{Asked, DIMENSION, Reply, Service, chat, embeddings, letters, run, vectors};

/// A run whose texts are embedded at `url`.
fn embedding_run(url: &str, output: &TempDir) -> Command {
    run(output.path(), 2, &["--embedding-url", url, "--set", DIMENSION])
}

/// A run whose answers are generated at `url`.
fn chat_run(url: &str, output: &TempDir) -> Command {
    run(output.path(), 2, &["--llm-url", url])
}

fn only(output: &TempDir) -> Value {
    records(output.path()).remove(0)
}

#[test]
fn embeddings_are_batched_and_put_in_order_by_index() {
    let service = Service::start(embeddings);
    let digest = |parallelism: &str, batch: &str| {
        let output = TempDir::new().unwrap();
        let url = service.url();
        let more = ["--embedding-url", &url, "--set", DIMENSION, "--parallelism", parallelism];
        let mut command = small_run("local", output.path(), &more);
        succeed(command.args(["--parity-batch-size", batch]).env("OPENAI_API_KEY", "k-secret"));
        let record = only(&output);
        assert_eq!(record["success_rate"], 1.0);
        assert!(!record.to_string().contains("k-secret"));
        record["extra"]["output_digest"].clone()
    };
    assert_eq!(digest("1", "16"), digest("4", "1"));
    let asked = service.asked();
    let largest = asked.iter().map(|asked| asked.texts().len()).max().unwrap();
    assert!((2..=64).contains(&largest), "{largest}");
    assert!(
        asked.iter().all(|asked| asked.head.to_lowercase().contains("authorization: bearer k-secret\r\n"))
    );
}

#[test]
fn a_failed_generation_is_an_unsuccessful_item_and_never_an_answer() {
    /// Refuses every question whose prompt has a length divisible by five, however often it is asked.
    fn moody(asked: &Asked) -> Reply {
        let prompt = asked.body["messages"][0]["content"].as_str().unwrap();
        if prompt.len().is_multiple_of(5) {
            return (500, json!({"error": "overloaded"}).to_string());
        }
        chat(&json!({"content": format!("answer of {} letters", prompt.len())}))
    }
    let service = Service::start(moody);
    let output = TempDir::new().unwrap();
    let few = ["--llm-url", &service.url(), "--set", "request_backoff_ms=1", "--set", "request_attempts=2"];
    succeed(&mut small_run("local", output.path(), &few));
    let record = only(&output);
    let items = &record["extra"]["items"];
    let (completed, failed) = (items["completed"].as_u64().unwrap(), items["failed"].as_u64().unwrap());
    assert_eq!(completed + failed, 120);
    assert!((5..60).contains(&failed), "about a fifth fails: {failed}");
    assert_eq!(record["success_rate"].as_f64().unwrap(), completed as f64 / 120.0);
    assert!(
        record["extra"]["failure_reasons"][0].as_str().unwrap().contains("500: \"overloaded\""),
        "{record}"
    );
}

#[test]
fn a_server_that_is_not_there_stops_the_preparation_with_its_address() {
    let output = TempDir::new().unwrap();
    let refused = embedding_run("http://127.0.0.1:9/v1", &output).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("http://127.0.0.1:9/v1/embeddings: no connection"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn vectors_without_index_are_taken_in_their_order() {
    fn unnumbered(asked: &Asked) -> Reply {
        let data: Vec<Value> = asked.texts().iter().map(|text| json!({"embedding": letters(text)})).collect();
        (200, json!({"data": data}).to_string())
    }
    let digest = |answer: fn(&Asked) -> Reply| {
        let (service, output) = (Service::start(answer), TempDir::new().unwrap());
        succeed(&mut embedding_run(&service.url(), &output));
        bench_tests::digest(output.path())
    };
    assert_eq!(digest(unnumbered), digest(embeddings));
}

#[test]
fn the_text_of_an_answer_is_what_there_is_of_it() {
    let whole = chat(&json!({"role": "assistant", "content": "An answer."})).1;
    for (answer, same_as_whole) in [
        (
            chat(&json!({"content": [{"type": "text", "text": "An "}, {"type": "text", "text": "answer."}]}))
                .1,
            true,
        ),
        (whole.replace("\"prompt_tokens\":5", "\"prompt_tokens\":null"), true),
        (whole.replace("\"usage\":{", "\"usage\":null,\"other\":{"), true),
        (chat(&json!({"content": null, "reasoning_content": "still thinking"})).1, false),
        (chat(&json!({"role": "assistant"})).1, false),
    ] {
        let digest = |answer: &str| {
            let (given, output) = (answer.to_owned(), TempDir::new().unwrap());
            let service = Service::start(move |_| (200, given.clone()));
            succeed(&mut chat_run(&service.url(), &output));
            let record = only(&output);
            assert_eq!(record["extra"]["items"]["failed"], 0, "{record}");
            let remarks = record["extra"]["generation"]["remarks"].to_string();
            assert_eq!(remarks.contains("answers hold no words"), !answer.contains("answer."), "{remarks}");
            record["extra"]["output_digest"].clone()
        };
        assert_eq!(digest(&answer) == digest(&whole), same_as_whole, "{answer}");
    }
}

#[test]
fn a_batch_that_is_too_large_is_split() {
    for (status, said) in [
        (413, "Payload Too Large".to_owned()),
        (422, json!({"error": "13 inputs, at most 7 are taken", "error_type": "Validation"}).to_string()),
        (400, json!({"error": {"message": "Invalid 'input': array too long"}}).to_string()),
    ] {
        let service = Service::start(move |asked| match asked.texts().len() {
            8.. => (status, said.clone()),
            _ => embeddings(asked),
        });
        let output = TempDir::new().unwrap();
        succeed(&mut embedding_run(&service.url(), &output));
        assert_eq!(only(&output)["success_rate"], 1.0);
        // Each process learns it: only what was under way before it had is refused as well.
        let asked = service.asked();
        let refused = asked.iter().filter(|asked| asked.texts().len() > 7).count();
        assert!((1..asked.len() - refused).contains(&refused), "{status}: {refused} of {}", asked.len());
    }
}

#[test]
fn empty_texts_are_not_sent() {
    let corpus = TempDir::new().unwrap();
    let docs = concat!(
        "{\"_id\": \"a\", \"text\": \"the lift of a wing\"}\n{\"_id\": \"b\", \"title\": \"\", \"text\": \"\"}\n",
        "{\"_id\": \"c\", \"title\": \" \", \"text\": \"\\n\\t\"}\n",
    );
    std::fs::write(corpus.path().join("corpus.jsonl"), docs).unwrap();
    std::fs::write(corpus.path().join("queries.jsonl"), "{\"_id\": 1, \"text\": \"lift\"}").unwrap();
    let service = Service::start(|asked| match asked.texts().iter().any(|text| text.trim().is_empty()) {
        true => (400, json!({"error": {"message": "'input' has an empty text"}}).to_string()),
        false => embeddings(asked),
    });
    let output = TempDir::new().unwrap();
    succeed(embedding_run(&service.url(), &output).args(["--corpus", corpus.path().to_str().unwrap()]));
    assert_eq!(only(&output)["success_rate"], 1.0);
}

/// What a service says, how often it is asked when it says so, and what is told.
type Words = (u16, &'static str, usize, &'static str);

#[test]
fn the_service_s_own_words_are_told_and_what_cannot_pass_is_asked_for_once() {
    let words: [Words; 10] = [
        (
            401,
            r#"{"error": {"message": "key 'x' is unknown"}}"#,
            1,
            "status 401: \"key 'x' is unknown\". Set OPENAI_API_KEY",
        ),
        (403, r#"{"detail": "Not authenticated"}"#, 1, "status 403: \"Not authenticated\""),
        (
            404,
            r#"{"object": "error", "message": "no model of this name", "code": 404}"#,
            1,
            "\"no model of this name\"",
        ),
        (
            429,
            r#"{"error": {"message": "no credit left", "type": "insufficient_quota"}}"#,
            1,
            "the quota is used up (status 429: \"no credit left\")",
        ),
        (
            429,
            r#"{"error": {"message": "three calls a minute"}}"#,
            2,
            "busy (status 429: \"three calls a minute\")",
        ),
        (
            200,
            r#"{"error": {"message": "free tier: ten calls a minute", "code": 429}}"#,
            2,
            "\"free tier: ten calls a minute\"",
        ),
        (200, r#"{"error": "the model is not loaded"}"#, 1, "\"the model is not loaded\""),
        (200, "<!DOCTYPE html><html><body>Please sign in</body></html>", 1, "\"a web page: Please sign in\""),
        (
            502,
            "<html><head><title>Bad gateway</title></head></html>",
            2,
            "status 502: \"a web page: Bad gateway\"",
        ),
        (500, "CUDA out of memory\n", 2, "status 500: \"CUDA out of memory\""),
    ];
    for (status, body, attempts, told) in words {
        let service = Service::start(move |_| (status, body.to_owned()));
        let output = TempDir::new().unwrap();
        let refused = embedding_run(&service.url(), &output).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{body}");
        assert!(stderr(&refused).contains(told), "{body}: {}", stderr(&refused));
        assert_eq!(service.asked().len(), attempts, "{body}");
    }
}

#[test]
fn another_dimension_is_told_with_the_setting_that_mends_it() {
    let service = Service::start(embeddings);
    let output = TempDir::new().unwrap();
    let run = |set: &str| embedding_run(&service.url(), &output).args(["--set", set]).output().unwrap();
    let refused = stderr(&run("embedding_dimension=32"));
    let setting = refused.split("--set ").nth(1).expect(&refused).split_whitespace().next().unwrap();
    assert!(run(setting).status.success(), "{setting}");
}

#[test]
fn a_limit_with_another_name_is_sent_under_that_name() {
    let service = Service::start(|asked| match asked.body.get("max_tokens") {
        Some(_) => {
            let said = "max_tokens is not known here, max_completion_tokens is";
            (400, json!({"error": {"message": said, "param": "max_tokens"}}).to_string())
        }
        None => chat(&json!({"content": format!("at most {}", asked.body["max_completion_tokens"])})),
    });
    let output = TempDir::new().unwrap();
    succeed(&mut chat_run(&service.url(), &output));
    assert_eq!(only(&output)["extra"]["items"]["failed"], 0);
    // Named beforehand, no call is refused.
    service.asked();
    let output = TempDir::new().unwrap();
    succeed(chat_run(&service.url(), &output).args(["--set", "llm_max_tokens_field=max_completion_tokens"]));
    let asked = service.asked();
    assert_eq!(asked.len(), 30);
    assert!(asked.iter().all(|asked| asked.is_chat() && asked.body["max_completion_tokens"] == 120));
}

#[test]
fn a_refused_parameter_is_left_out_as_the_message_says() {
    let service = Service::start(|asked| {
        let refused = ["temperature", "seed"].into_iter().find(|name| asked.body.get(*name).is_some());
        match refused {
            Some(name) => {
                let said = format!("Unsupported value: '{name}' cannot be set for this model");
                (400, json!({"error": {"message": said, "param": name}}).to_string())
            }
            None => chat(&json!({"content": "An answer."})),
        }
    });
    let mut settings: Vec<String> = Vec::new();
    for _ in 0..2 {
        let output = TempDir::new().unwrap();
        let refused = chat_run(&service.url(), &output).args(&settings).output().unwrap();
        assert!(!refused.status.success());
        let told = stdout(&refused);
        let setting = told.split("--set ").nth(1).expect(&told).split_whitespace().next().unwrap();
        settings = vec!["--set".to_owned(), setting.trim_end_matches(',').to_owned()];
    }
    let output = TempDir::new().unwrap();
    succeed(chat_run(&service.url(), &output).args(&settings));
    let record = only(&output);
    assert_eq!(record["extra"]["items"]["failed"], 0);
    assert_eq!(
        record["extra"]["effective_config"]["parameters"]["llm_leave_out"],
        json!(["seed", "temperature"])
    );
}

/// Documents, queries, their vectors, and what pytrec_eval makes of the ranking: see `quality.py`.
#[test]
fn the_quality_of_stored_vectors_is_what_pytrec_eval_says() {
    let stored: Value = serde_json::from_str(include_str!("../data/quality.json")).unwrap();
    let corpus = TempDir::new().unwrap();
    std::fs::create_dir(corpus.path().join("qrels")).unwrap();
    for name in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"] {
        std::fs::write(corpus.path().join(name), stored["files"][name].as_str().unwrap()).unwrap();
    }
    let known = stored["vectors"].clone();
    let refused = stored["refused"].as_str().unwrap().to_owned();
    let service = Service::start(move |asked| {
        if asked.texts().contains(&refused.as_str()) {
            return (400, json!({"error": "this one not"}).to_string());
        }
        vectors(asked, |text| match known.get(text) {
            Some(vector) => serde_json::from_value(vector.clone()).unwrap(),
            None => vec![1.0; 8],
        })
    });
    let output = TempDir::new().unwrap();
    let mut run = bench_tests::bench(&["run", "--backend", "local", "--no-user-plugins"]);
    run.args(["--corpus", corpus.path().to_str().unwrap(), "-o", output.path().to_str().unwrap()]);
    run.args(["--embedding-url", &service.url(), "--set", "embedding_dimension=8"]);
    // Ranked by the vectors alone.
    run.args(["--set", "bm25_weight=0"]).env("BENCH_CACHE_DIR", output.path().join("cache"));
    let told = stdout(&succeed(&mut run));
    let quality = &only(&output)["extra"]["quality"];
    let (found, expected) = (&quality["retrieval"], &stored["expected"]);
    for measure in ["recall_at_k", "mrr_at_10", "ndcg_at_10"] {
        let (found, expected) = (found[measure].as_f64().unwrap(), expected[measure].as_f64().unwrap());
        assert!((found - expected).abs() < 5e-5, "{measure}: {found}, expected {expected}");
    }
    assert_eq!(
        (&found["judged_queries"], &quality["failed_queries"]),
        (&expected["judged_queries"], &json!(1))
    );
    assert!(told.contains("judged queries, 1 of them failed and count 0"), "{told}");
}
