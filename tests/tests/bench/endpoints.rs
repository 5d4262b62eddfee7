//! Embedding and generation by a real HTTP server on this machine, with faults.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bench_tests::{records, small_run, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the server saw.
#[derive(Default)]
pub struct Seen {
    largest_batch: AtomicUsize,
    authorizations: Mutex<Vec<String>>,
}

/// Serves until the test process ends; returns the address up to `/v1`.
pub fn serve(seen: Arc<Seen>, answer: fn(&str, &Value) -> (u16, Value)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || talk(stream, &seen, answer));
        }
    });
    address
}

fn talk(stream: TcpStream, seen: &Seen, answer: fn(&str, &Value) -> (u16, Value)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            head.push(std::mem::take(&mut line));
        }
        let Some(request) = head.first() else { return };
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let header = |name: &str| {
            let found = head.iter().find(|line| line.to_lowercase().starts_with(name));
            found.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let mut body = vec![0; header("content-length:").and_then(|n| n.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        seen.authorizations.lock().unwrap().extend(header("authorization:"));
        if let Some(inputs) = body["input"].as_array() {
            seen.largest_batch.fetch_max(inputs.len(), Ordering::Relaxed);
        }
        let (status, answer) = answer(&path, &body);
        let text = answer.to_string();
        let response = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if reader.get_mut().write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}

/// A vector of letter counts, answered in reverse order: the index has to be heeded.
fn embeddings(_: &str, body: &Value) -> (u16, Value) {
    let vector = |text: &str| {
        let mut counts = vec![0.0; 64];
        text.bytes().for_each(|byte| counts[usize::from(byte % 64)] += 1.0);
        counts
    };
    let inputs = body["input"].as_array().unwrap().iter().enumerate();
    let mut data: Vec<Value> =
        inputs.map(|(i, text)| json!({"index": i, "embedding": vector(text.as_str().unwrap())})).collect();
    data.reverse();
    (200, json!({"data": data}))
}

/// Refuses every question whose prompt has a length divisible by five, however often it is asked.
fn moody_chat(_: &str, body: &Value) -> (u16, Value) {
    let prompt = body["messages"][0]["content"].as_str().unwrap();
    if prompt.len().is_multiple_of(5) {
        return (500, json!({"error": "overloaded"}));
    }
    let text = format!("answer of {} letters", prompt.len());
    (200, json!({"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 7}}))
}

const QUICK: [&str; 4] = ["--set", "request_backoff_ms=1", "--set", "request_attempts=2"];

#[test]
fn embeddings_are_batched_and_put_in_order_by_index() {
    let seen = Arc::new(Seen::default());
    let url = serve(Arc::clone(&seen), embeddings);
    let digest = |parallelism: &str, batch: &str| {
        let output = TempDir::new().unwrap();
        let more = ["--embedding-url", &url, "--set", "embedding_dimension=64", "--parallelism", parallelism];
        let mut command = small_run("local", output.path(), &more);
        succeed(command.args(["--parity-batch-size", batch]).env("OPENAI_API_KEY", "k-secret"));
        let record = records(output.path()).remove(0);
        assert_eq!(record["success_rate"], 1.0);
        assert!(!record.to_string().contains("k-secret"));
        record["extra"]["output_digest"].clone()
    };
    assert_eq!(digest("1", "16"), digest("4", "1"));
    let largest = seen.largest_batch.load(Ordering::Relaxed);
    assert!((2..=64).contains(&largest), "{largest}");
    assert!(seen.authorizations.lock().unwrap().iter().all(|value| value == "Bearer k-secret"));
}

#[test]
fn a_failed_generation_is_an_unsuccessful_item_and_never_an_answer() {
    let url = serve(Arc::new(Seen::default()), moody_chat);
    let output = TempDir::new().unwrap();
    succeed(small_run("local", output.path(), &["--llm-url", &url]).args(QUICK));
    let record = records(output.path()).remove(0);
    let items = &record["extra"]["items"];
    let (completed, failed) = (items["completed"].as_u64().unwrap(), items["failed"].as_u64().unwrap());
    assert_eq!(completed + failed, 120);
    assert!((5..60).contains(&failed), "about a fifth fails: {failed}");
    assert_eq!(record["success_rate"].as_f64().unwrap(), completed as f64 / 120.0);
    assert!(record["extra"]["failure_reasons"][0].as_str().unwrap().contains("500"), "{record}");
}

#[test]
fn a_server_that_is_not_there_stops_the_preparation_with_its_address() {
    let output = TempDir::new().unwrap();
    let more = ["--embedding-url", "http://127.0.0.1:9/v1"];
    let refused = small_run("local", output.path(), &more).args(QUICK).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(bench_tests::stderr(&refused).contains("127.0.0.1:9"), "{}", bench_tests::stderr(&refused));
}
