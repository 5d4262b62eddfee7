//! A service that speaks the OpenAI protocol, on this machine, for the tests of endpoints: it keeps what it was
//! asked, and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bench_tests::bench;

use serde_json::{Value, json};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// First line and headers.
    pub head: String,
    pub body: Value,
}

impl Asked {
    pub fn texts(&self) -> Vec<&str> {
        self.body["input"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub fn is_chat(&self) -> bool {
        self.head.lines().next().is_some_and(|line| line.contains("/chat/completions "))
    }
}

/// Status and body of an answer.
pub type Reply = (u16, String);

type Answering = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;
type Behaviour = Arc<Mutex<Answering>>;

/// Serves until the test process ends.
pub struct Service {
    /// Host and port.
    pub address: String,
    behaviour: Behaviour,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// How many questions came, answered or not.
    came: Arc<AtomicUsize>,
}

impl Service {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::over(answer, |stream| stream)
    }

    /// A service whose connections `secure` wraps.
    pub fn over<S: Read + Write>(
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
        secure: impl Fn(TcpStream) -> S + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let behaviour: Behaviour = Arc::new(Mutex::new(Arc::new(answer)));
        let asked = Arc::default();
        let came = Arc::<AtomicUsize>::default();
        let service = Self {
            address,
            behaviour: Arc::clone(&behaviour),
            asked: Arc::clone(&asked),
            came: Arc::clone(&came),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behaviour, asked, secure) = (Arc::clone(&behaviour), Arc::clone(&asked), secure.clone());
                let came = Arc::clone(&came);
                std::thread::spawn(move || talk(secure(stream), &behaviour, &asked, &came));
            }
        });
        service
    }

    /// Up to `/v1`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// From now on it answers so.
    pub fn becomes(&self, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap() = Arc::new(answer);
    }

    /// Whether a question came.
    pub fn is_asked(&self) -> bool {
        self.came.load(Ordering::Relaxed) > 0
    }

    /// What it was asked so far; it forgets it.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn talk(stream: impl Read + Write, behaviour: &Behaviour, seen: &Mutex<Vec<Asked>>, came: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            // Whoever hangs up, or does not believe this service's certificate, asks nothing more.
            if reader.read_line(&mut head).is_ok_and(|n| n > 0) { continue } else { return }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        if head.starts_with("GET ") {
            // Whether somebody is there.
            let list = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"data\":[]}";
            if reader.get_mut().write_all(list.as_bytes()).is_ok() { continue } else { return }
        }
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let asked = Asked { head, body: serde_json::from_slice(&body).unwrap_or_default() };
        came.fetch_add(1, Ordering::Relaxed);
        // Whoever waits with its answer does not keep the others from theirs.
        let answer = Arc::clone(&behaviour.lock().unwrap_or_else(PoisonError::into_inner));
        let (status, text) = answer(&asked);
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let kind = if text.starts_with("data: ") { "text/event-stream" } else { "application/json" };
        let length = text.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        if reader.get_mut().write_all(format!("{head}{text}").as_bytes()).is_err() {
            return;
        }
    }
}

/// Numbers of a service's vectors.
pub const DIMENSION: &str = "embedding_dimension=64";

/// A run of 30 queries over few documents, in an environment that names no proxy and no certificates, with
/// `attempts` of each call. Indexes are in the output folder: every text has to be embedded.
pub fn run(output: &Path, attempts: u32, more: &[&str]) -> Command {
    let folder = output.to_str().expect("temporary paths are text");
    let mut run = bench(&["run", "--backend", "local", "--no-user-plugins", "-n", "30", "-o", folder]);
    for set in
        ["vdb1_corpus_size=100", "vdb2_corpus_size=100", "join_window_seconds=10", "request_backoff_ms=1"]
    {
        run.args(["--set", set]);
    }
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        run.env_remove(name).env_remove(name.to_uppercase());
    }
    run.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR").env_remove("OPENAI_API_KEY");
    run.args(["--set", &format!("request_attempts={attempts}")]).args(more);
    run.env("BENCH_CACHE_DIR", output.join("cache"));
    run
}

/// A port that nobody listens at just now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Counts of letters.
pub fn letters(text: &str) -> Vec<f64> {
    let mut counts = vec![0.0; 64];
    text.bytes().for_each(|byte| counts[usize::from(byte % 64)] += 1.0);
    counts
}

/// Vectors as a service gives them, in reverse order: the index has to be heeded.
pub fn vectors(asked: &Asked, of: impl Fn(&str) -> Vec<f64>) -> Reply {
    let texts = asked.texts().into_iter().enumerate();
    let mut data: Vec<Value> = texts.map(|(i, text)| json!({"index": i, "embedding": of(text)})).collect();
    data.reverse();
    (
        200,
        json!({"object": "list", "data": data, "model": "letters", "usage": {"prompt_tokens": 1}})
            .to_string(),
    )
}

/// The embeddings of [`letters`].
pub fn embeddings(asked: &Asked) -> Reply {
    vectors(asked, letters)
}

/// An answer of a chat model.
pub fn chat(message: &Value) -> Reply {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8});
    (200, json!({"choices": [{"index": 0, "message": message}], "usage": usage}).to_string())
}

/// The same answer in pieces, a word each.
pub fn in_pieces(text: &str) -> Reply {
    let event = |data: Value| format!("data: {data}\n\n");
    let piece = |piece: &str| event(json!({"choices": [{"index": 0, "delta": {"content": piece}}]}));
    let words: Vec<String> = text.split_inclusive(' ').map(piece).collect();
    let usage = json!({"prompt_tokens": 5, "completion_tokens": words.len()});
    (200, words.concat() + &event(json!({"choices": [], "usage": usage})) + "data: [DONE]\n\n")
}
