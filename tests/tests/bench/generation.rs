//! Answers of a language model: how many are asked for at once, what they take, and what becomes of a run where none
//! come.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};

use bench_record::digest::sha256_of;
use bench_tests::following::Following;
use bench_tests::runtimes::runtimes;
use bench_tests::{eventually, mark, marked, records, small_run, stderr, succeed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{Asked, DIMENSION, Reply, Service, chat, in_pieces, run};

/// How many requests are being answered, the most there were, and how many there were in all.
#[derive(Default)]
struct Counted {
    now: usize,
    most: usize,
    all: usize,
}

/// A model that answers its first requests only once `wave` of them wait together: with fewer at once it never would.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Counted>, Condvar)>);

impl Gate {
    fn answer(&self, wave: usize) -> Reply {
        let (counted, changed) = &*self.0;
        let mut now = counted.lock().unwrap();
        now.now += 1;
        now.all += 1;
        now.most = now.most.max(now.now);
        changed.notify_all();
        let awaited = now.all.div_ceil(wave) * wave;
        if awaited <= 2 * wave {
            now = changed.wait_while(now, |counted| counted.all < awaited).unwrap();
        }
        now.now -= 1;
        chat(&json!({"content": "An answer."}))
    }

    fn most(&self) -> usize {
        self.0.0.lock().unwrap().most
    }
}

/// The most calls that were under way at once, of 60 questions, and the digest of the answers.
fn most_at_once(backend: &str, more: &[&str]) -> (usize, Value) {
    let gate = Gate::default();
    let model = gate.clone();
    let service = Service::start(move |_: &Asked| model.answer(8));
    let output = TempDir::new().unwrap();
    let url = service.url();
    let flags = ["--num-tasks", "60", "--llm-url", &url, "--llm-concurrency", "8"];
    succeed(&mut small_run(backend, output.path(), &[&flags[..], more].concat()));
    let record = records(output.path()).remove(0);
    assert_eq!(record["extra"]["items"]["completed"], 60, "{record}");
    (gate.most(), record["extra"]["output_digest"].clone())
}

#[test]
fn as_many_answers_are_asked_for_at_once_as_the_setting_says_whatever_the_parallelism() {
    for workload in [["--workload", "wl4"], ["--workload", "wl1"]] {
        let digests: Vec<Value> = [["1", "16"], ["3", "1"]]
            .into_iter()
            .map(|[parallelism, batch]| {
                let flags = [&workload[..], &["--parallelism", parallelism, "--parity-batch-size", batch]];
                let (most, digest) = most_at_once("local", &flags.concat());
                assert_eq!(most, 8, "{workload:?} at parallelism {parallelism}");
                digest
            })
            .collect();
        assert_eq!(digests[0], digests[1]);
    }
}

#[test]
fn every_real_runtime_asks_for_as_many_at_once() {
    let Some(_alone) = runtimes(&["ray", "dask", "sage"]) else { return };
    let (_, answers) = most_at_once("local", &["--parallelism", "2"]);
    for backend in ["ray", "dask", "sage"] {
        assert_eq!(most_at_once(backend, &["--parallelism", "2"]), (8, answers.clone()), "{backend}");
    }
}

/// Never answers.
fn silent(_: &Asked) -> Reply {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_model_that_is_not_there_stops_a_run_and_its_rehearsal_before_anything_is_prepared() {
    for more in [&[][..], &["--dry-run"]] {
        let output = TempDir::new().unwrap();
        let mut run = run(output.path(), 1, &["--llm-url", "http://127.0.0.1:9/v1"]);
        let refused = run.args(more).output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        let said = stderr(&refused);
        assert!(said.contains("http://127.0.0.1:9/v1/models: no connection"), "{said}");
        assert!(!said.contains("preparing"), "{said}");
    }
}

#[test]
fn a_model_that_falls_silent_is_left_alone_and_the_run_ends_with_the_reason() {
    let (service, output) = (Service::start(silent), TempDir::new().unwrap());
    let url = service.url();
    // The service says at once that it is there, which a machine with much to do may take its time for.
    let impatient = ["--llm-url", &url, "--set", "request_timeout_ms=5000", "--set", "request_attempts=1"];
    let mut run = small_run("local", output.path(), &impatient);
    let failed = run.arg("--verbose").output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("/120 items, "), "failures are shown: {}", stderr(&failed));
    let record = records(output.path()).remove(0);
    assert_eq!(record["extra"]["items"]["failed"], 120);
    let reasons = record["extra"]["failure_reasons"].to_string();
    assert!(
        // Five are enough; eight are under way at once.
        reasons.contains("not asked: the last ")
            && reasons.contains(" requests in a row had no answer (no answer within"),
        "{reasons}"
    );
}

#[test]
fn ctrl_c_ends_the_preparation_at_once_though_the_service_says_nothing() {
    let service = Service::start(silent);
    let (output, mark) = (TempDir::new().unwrap(), mark());
    let mut run = run(output.path(), 1, &["--embedding-url", &service.url(), "--set", DIMENSION]);
    let child = Following::start(run.env("MARK", &mark));
    eventually("the service is asked", || service.is_asked());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = child.end();
    assert_eq!(ended.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("interrupted: the same command goes on"));
    eventually("nothing is left", || marked(&mark).is_empty());
}

/// The record of a run over a model that gives this answer to whatever it is asked.
fn record_of(answer: Reply, more: &[&str]) -> Value {
    let service = Service::start(move |_| answer.clone());
    let output = TempDir::new().unwrap();
    succeed(run(output.path(), 1, &["--llm-url", &service.url()]).args(more));
    records(output.path()).remove(0)
}

#[test]
fn answers_in_pieces_are_timed_and_their_tokens_counted() {
    let goals = ["--set", "llm_goal_ttft_ms=86400000", "--set", "llm_goal_tpot_ms=86400000"];
    let record = record_of(in_pieces("Lift is what carries a wing."), &goals);
    let found = &record["extra"]["generation"];
    assert_eq!((&found["answers"], &found["streamed"]), (&json!(30), &json!(30)), "{found}");
    // Six words each, and five tokens in each prompt, as the service counts them.
    assert_eq!((&found["prompt_tokens"], &found["completion_tokens"]), (&json!(150), &json!(180)));
    let ms =
        |name: &str, which: &str| found[name][which].as_f64().unwrap_or_else(|| panic!("{name}: {found}"));
    for which in ["p50", "p95", "p99"] {
        assert!(ms("ttft_ms", which) <= ms("answer_ms", which), "{found}");
        assert!(ms("between_tokens_ms", which) >= 0.0 && ms("tpot_ms", which) >= 0.0);
    }
    let rate = |name: &str| found[name].as_f64().unwrap();
    let (input, output) = (rate("prompt_tokens_per_second"), rate("completion_tokens_per_second"));
    assert!((output / input - 180.0 / 150.0).abs() < 1e-9, "{found}");
    assert!((output / record["throughput"].as_f64().unwrap() - 6.0).abs() < 1e-9, "{record}");
    assert_eq!(found["goodput"]["answers"], 30);
    // In pieces or not, and whatever is wanted of it, an answer is the same answer.
    let whole = record_of(chat(&json!({"content": "Lift is what carries a wing."})), &[]);
    assert_eq!(record["extra"]["output_digest"], whole["extra"]["output_digest"]);
    assert_eq!(record["config_hash"], whole["config_hash"]);
}

#[test]
fn what_is_not_known_of_an_answer_is_null_with_its_reason() {
    let record = record_of(chat(&json!({"content": "An answer."})), &["--set", "llm_stream=off"]);
    let found = &record["extra"]["generation"];
    assert_eq!(
        (&found["streamed"], &found["ttft_ms"], &found["tpot_ms"]),
        (&json!(0), &Value::Null, &Value::Null)
    );
    assert!(found["answer_ms"]["p50"].as_f64() >= Some(0.0));
    assert!(
        found["remarks"][0].as_str().unwrap().starts_with("30 of 30 answers did not come in pieces"),
        "{found}"
    );
    assert_eq!(found.get("goodput"), None);
    let output = TempDir::new().unwrap();
    succeed(&mut small_run("local", output.path(), &[]));
    assert_eq!(records(output.path())[0]["extra"].get("generation"), None);
}

#[test]
fn answers_are_saved_with_what_they_cite_and_failures_with_their_reason() {
    let service = Service::start(|asked| {
        let prompt = asked.body["messages"][0]["content"].as_str().unwrap();
        match prompt.len().is_multiple_of(5) {
            true => (400, json!({"error": "not this one"}).to_string()),
            false => chat(&json!({"content": format!("answer of {} letters", prompt.len())})),
        }
    });
    let output = TempDir::new().unwrap();
    succeed(&mut run(output.path(), 1, &["--llm-url", &service.url(), "--save-answers"]));
    let extra = records(output.path()).remove(0)["extra"].clone();
    let path = output.path().join(extra["answers_file"].as_str().unwrap());
    assert_eq!(extra["answers_sha256"], sha256_of(fs::File::open(&path).unwrap()).unwrap());
    let file = fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (good, failed): (Vec<&Value>, Vec<&Value>) = lines.iter().partition(|line| line["ok"] == true);
    let items = &extra["items"];
    assert_eq!((&json!(good.len()), &json!(failed.len())), (&items["completed"], &items["failed"]));
    assert!(!good.is_empty() && !failed.is_empty(), "{items}");
    for answer in good {
        assert!(answer["response"].as_str().unwrap().starts_with("answer of "), "{answer}");
        let (cited, ranking) =
            (answer["references"].as_array().unwrap(), answer["ranking"].as_array().unwrap());
        assert!(cited.iter().all(|reference| ranking.contains(&reference["doc_id"])), "{answer}");
        assert_eq!(cited.is_empty(), ranking.is_empty(), "{answer}");
    }
    assert!(lines.iter().any(|line| line["references"][0]["snippet"].is_string()));
    assert!(failed.iter().all(|line| line["error"].as_str().unwrap().contains("not this one")), "{failed:?}");
    // Who did not ask for them has none.
    let other = TempDir::new().unwrap();
    succeed(&mut small_run("local", other.path(), &[]));
    assert_eq!(records(other.path())[0]["extra"].get("answers_file"), None);
}
