//! A client for services that speak the OpenAI protocol.
//!
//! A call either gives exactly what was asked for or an error; nothing is filled in. What may pass by
//! itself (a full queue, a restart, a broken connection) is tried again; a refusal or a wrong answer is
//! not. The key comes from the environment only, and no message repeats it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The variable that holds the bearer key.
pub const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// Longer answers are refused: 64 texts x 65,536 numbers fit easily in compact JSON of this size.
const LONGEST_ANSWER: u64 = 128 * 1024 * 1024;

/// How patient a client is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// For one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// In all; at least 1.
    pub attempts: u32,
    /// Before the second attempt; it doubles from then on.
    pub backoff: Duration,
    /// The longest wait that a server may ask for with `Retry-After`.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempts: 3,
            backoff: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
        }
    }
}

/// What went wrong in a call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error("the address is not usable ({0}). Give it as http://host:port/v1")]
    Address(String),
    #[error("no connection ({0}). Is the service running, and is the address right?")]
    Connection(String),
    #[error("no answer within {0:?}. Raise the timeout, lower the batch size or use a faster service")]
    Timeout(Duration),
    #[error("access refused with status {status}{}. Set {KEY_VARIABLE} to a key of this service", quoted(.answer))]
    Access { status: u16, answer: String },
    #[error("the service is busy (status 429). Lower the rate or the parallelism")]
    Busy,
    #[error("the service failed with status {status}{}. See the log of the service", quoted(.answer))]
    Server { status: u16, answer: String },
    #[error("the request was refused with status {status}{}. Check the address and the model's name", quoted(.answer))]
    Refused { status: u16, answer: String },
    #[error("the answer is not what the protocol says ({0}). Is this an OpenAI-compatible address?")]
    Protocol(String),
    #[error("vectors have dimension {found}, expected {expected}. Set the dimension to that of the model")]
    Dimension { expected: usize, found: usize },
}

impl Fault {
    /// Whether the same call may succeed a little later.
    fn may_pass(&self) -> bool {
        matches!(self, Fault::Connection(_) | Fault::Timeout(_) | Fault::Busy | Fault::Server { .. })
    }
}

fn quoted(answer: &str) -> String {
    if answer.is_empty() { String::new() } else { format!(": {answer:?}") }
}

fn repeated(attempts: u32) -> String {
    if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() }
}

/// A failed call: where, after how many attempts, why, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{url}: {fault}{}", repeated(*.attempts))]
pub struct EndpointError {
    pub url: String,
    pub fault: Fault,
    pub attempts: u32,
}

/// What a chat model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest<'a> {
    pub prompt: &'a str,
    pub max_tokens: u32,
    pub temperature: f64,
    pub top_p: f64,
    /// Makes services that support it repeatable.
    pub seed: Option<u64>,
}

/// What it answered. Token counts are 0 when the service does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatAnswer {
    pub text: String,
    pub prompt_tokens: u32,
    pub completion_tokens: u32,
    pub total_tokens: u32,
}

/// One service and one of its models.
pub struct Endpoint {
    base: String,
    model: String,
    patience: Patience,
    key: Option<String>,
    agent: ureq::Agent,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (base, model) = (shown(&self.base), &self.model);
        f.debug_struct("Endpoint").field("base", &base).field("model", model).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// `base` is the address up to `/v1`. The key is read from the environment here.
    pub fn new(base: &str, model: &str, patience: Patience) -> Result<Self, EndpointError> {
        let key = std::env::var(KEY_VARIABLE).ok();
        Self::with_key(base, model, patience, key)
    }

    fn with_key(
        base: &str,
        model: &str,
        patience: Patience,
        key: Option<String>,
    ) -> Result<Self, EndpointError> {
        let refuse = |why: &str| {
            Err(EndpointError { url: shown(base), fault: Fault::Address(why.to_owned()), attempts: 1 })
        };
        let base = base.trim().trim_end_matches('/');
        match base.split_once("://") {
            Some(("http" | "https", rest)) if !rest.is_empty() && !rest.starts_with('/') => {}
            Some(("http" | "https", _)) => return refuse("it names no host"),
            _ => return refuse("it does not begin with http:// or https://"),
        }
        let key = key.map(|k| k.trim().to_owned()).filter(|k| !k.is_empty());
        if key.as_ref().is_some_and(|k| !k.bytes().all(|b| b.is_ascii_graphic())) {
            return refuse("the key in the environment holds characters that no header may hold");
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(patience.timeout))
            .http_status_as_error(false)
            // A POST that is redirected would arrive as a GET without its body.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        Ok(Self { base: base.to_owned(), model: model.to_owned(), patience, key, agent: config.into() })
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    /// One vector for each text, in the order of the texts, all finite and of one dimension.
    pub fn embeddings(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>, EndpointError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        #[derive(Serialize)]
        struct Request<'a> {
            model: &'a str,
            input: &'a [&'a str],
        }
        let (answer, attempts) = self.call("embeddings", &Request { model: &self.model, input: texts })?;
        in_order(&answer, texts.len()).map_err(|fault| self.error("embeddings", fault, attempts))
    }

    /// The model's answer to one prompt.
    pub fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, EndpointError> {
        let mut body = serde_json::json!({
            "model": self.model,
            "messages": [{"role": "user", "content": request.prompt}],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
        });
        if let Some(seed) = request.seed {
            body["seed"] = seed.into();
        }
        let (answer, attempts) = self.call("chat/completions", &body)?;
        chat_answer(&answer).map_err(|fault| self.error("chat/completions", fault, attempts))
    }

    /// An error of this service's `path`.
    pub(crate) fn error(&self, path: &str, fault: Fault, attempts: u32) -> EndpointError {
        EndpointError { url: shown(&format!("{}/{path}", self.base)), fault, attempts }
    }

    /// Posts until there is an answer, patience ends, or trying again is no use.
    fn call(&self, path: &str, body: &impl Serialize) -> Result<(Vec<u8>, u32), EndpointError> {
        let body = serde_json::to_vec(body)
            .map_err(|e| self.error(path, Fault::Protocol(format!("the request is not JSON: {e}")), 1))?;
        let mut wait = self.patience.backoff;
        let mut attempt = 1;
        loop {
            let (fault, asked) = match self.post(path, &body) {
                Ok(answer) => return Ok((answer, attempt)),
                Err(failed) => failed,
            };
            if attempt >= self.patience.attempts || !fault.may_pass() {
                return Err(self.error(path, fault, attempt));
            }
            std::thread::sleep(asked.unwrap_or(wait).min(self.patience.longest_wait));
            wait = wait.saturating_mul(2);
            attempt += 1;
        }
    }

    /// One attempt. An error carries the wait that the server asked for.
    fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, (Fault, Option<Duration>)> {
        let mut request =
            self.agent.post(format!("{}/{path}", self.base)).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body).map_err(|e| (self.transport(&e), None))?;
        let status = response.status().as_u16();
        let asked = response.headers().get("retry-after").and_then(|v| v.to_str().ok());
        let asked = asked.and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
        let answer = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec();
        if status == 200 {
            return answer.map_err(|e| (self.transport(&e), None));
        }
        let answer = self.excerpt(&answer.unwrap_or_default());
        let fault = match status {
            401 | 403 => Fault::Access { status, answer },
            408 => Fault::Timeout(self.patience.timeout),
            429 => Fault::Busy,
            500.. => Fault::Server { status, answer },
            _ => Fault::Refused { status, answer },
        };
        Err((fault, asked))
    }

    fn transport(&self, error: &ureq::Error) -> Fault {
        match error {
            ureq::Error::Timeout(_) => Fault::Timeout(self.patience.timeout),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Fault::Address(self.hide(&error.to_string())),
            ureq::Error::BodyExceedsLimit(_) => Fault::Protocol(error.to_string()),
            // An answer that breaks off shows as an input error or as a protocol error.
            other => Fault::Connection(self.hide(&other.to_string())),
        }
    }

    /// The beginning of what a server said, on one line and without the key.
    fn excerpt(&self, answer: &[u8]) -> String {
        let start = &answer[..answer.len().min(2_000)];
        let text = self.hide(&String::from_utf8_lossy(start));
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
    }

    fn hide(&self, text: &str) -> String {
        match &self.key {
            Some(key) => text.replace(key.as_str(), "***"),
            None => text.to_owned(),
        }
    }
}

/// An address without the user and password that it may hold.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Vectors sorted by their `index`, which need not be the order of the list.
fn in_order(answer: &[u8], expected: usize) -> Result<Vec<Vec<f64>>, Fault> {
    #[derive(Deserialize)]
    struct Answer {
        data: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        index: usize,
        embedding: Vec<f64>,
    }
    let wrong = |why: String| Err(Fault::Protocol(why));
    let answer: Answer = match serde_json::from_slice(answer) {
        Ok(answer) => answer,
        Err(e) => return wrong(e.to_string()),
    };
    if answer.data.len() != expected {
        return wrong(format!("{} vectors for {expected} texts", answer.data.len()));
    }
    let mut ordered: Vec<Vec<f64>> = vec![Vec::new(); expected];
    let dimension = answer.data.first().map_or(0, |item| item.embedding.len());
    for item in answer.data {
        if item.embedding.is_empty() {
            return wrong(format!("vector {} is empty", item.index));
        }
        if item.embedding.len() != dimension {
            return Err(Fault::Dimension { expected: dimension, found: item.embedding.len() });
        }
        if !item.embedding.iter().all(|v| v.is_finite()) {
            return wrong(format!("vector {} holds a number that is not finite", item.index));
        }
        match ordered.get_mut(item.index) {
            Some(place) if place.is_empty() => *place = item.embedding,
            Some(_) => return wrong(format!("two vectors have index {}", item.index)),
            None => return wrong(format!("index {} for {expected} texts", item.index)),
        }
    }
    Ok(ordered)
}

fn chat_answer(answer: &[u8]) -> Result<ChatAnswer, Fault> {
    #[derive(Deserialize)]
    struct Answer {
        choices: Vec<Choice>,
        usage: Option<Usage>,
    }
    #[derive(Deserialize)]
    struct Choice {
        message: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        content: String,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Usage {
        prompt_tokens: u32,
        completion_tokens: u32,
        total_tokens: u32,
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|e| Fault::Protocol(e.to_string()))?;
    let usage = answer.usage.unwrap_or_default();
    let Some(choice) = answer.choices.into_iter().next() else {
        return Err(Fault::Protocol("it holds no choice".to_owned()));
    };
    Ok(ChatAnswer {
        text: choice.message.content,
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        total_tokens: usage.total_tokens,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Instant;

    use super::*;
    use crate::text::embed::{Embedder, HttpEmbedder};

    /// What the server does with one request.
    enum Step {
        Answer(u16, &'static str),
        AnswerWith(u16, &'static str, &'static str),
        Truncate(&'static str),
        Hang,
        HangUp,
    }
    use Step::*;

    struct Request {
        head: String,
        body: serde_json::Value,
    }

    /// A server that follows its script, one connection a step, and reports what it was asked.
    fn server(script: Vec<Step>) -> (String, Receiver<Request>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let (seen, requests) = channel();
        std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for step in script {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = seen.send(receive(&mut stream));
                match step {
                    Answer(status, body) => send(&mut stream, status, "", body, body.len()),
                    AnswerWith(status, header, body) => send(&mut stream, status, header, body, body.len()),
                    Truncate(body) => send(&mut stream, 200, "", body, body.len() + 100),
                    Hang => hanging.push(stream),
                    HangUp => drop(stream),
                }
            }
            // Connections that hang stay open until the test is over.
            if !hanging.is_empty() {
                std::thread::park();
            }
        });
        (base, requests)
    }

    fn receive(stream: &mut TcpStream) -> Request {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0);
        }
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        Request { head, body: serde_json::from_slice(&body).unwrap() }
    }

    fn send(stream: &mut TcpStream, status: u16, header: &str, body: &str, length: usize) {
        let head =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{header}\r\n");
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    }

    fn quick() -> Patience {
        Patience {
            timeout: Duration::from_millis(400),
            attempts: 3,
            backoff: Duration::from_millis(5),
            longest_wait: Duration::from_millis(50),
        }
    }

    fn endpoint(base: &str) -> Endpoint {
        Endpoint::with_key(base, "a-model", quick(), None).unwrap()
    }

    fn embed(script: Vec<Step>) -> Result<Vec<Vec<f64>>, EndpointError> {
        endpoint(&server(script).0).embeddings(&["a", "b"])
    }

    fn fault(script: Vec<Step>) -> Fault {
        embed(script).unwrap_err().fault
    }

    const GOOD: &str = r#"{"data":[{"index":0,"embedding":[1,0.5]},{"index":1,"embedding":[0,-2e-1]}]}"#;
    const SHUFFLED: &str = r#"{"data":[{"index":1,"embedding":[0,-0.2]},{"index":0,"embedding":[1,0.5]}]}"#;

    fn good() -> Vec<Vec<f64>> {
        vec![vec![1.0, 0.5], vec![0.0, -0.2]]
    }

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        assert_eq!(embed(vec![Answer(200, GOOD)]).unwrap(), good());
        assert_eq!(embed(vec![Answer(200, SHUFFLED)]).unwrap(), good());
    }

    #[test]
    fn the_request_holds_model_and_texts() {
        let (base, requests) = server(vec![Answer(200, GOOD)]);
        endpoint(&base).embeddings(&["a", "b"]).unwrap();
        let request = requests.recv().unwrap();
        assert!(request.head.starts_with("POST /v1/embeddings "));
        assert!(!request.head.to_lowercase().contains("authorization"));
        assert_eq!(request.body, serde_json::json!({"model": "a-model", "input": ["a", "b"]}));
    }

    #[test]
    fn a_key_is_sent_as_bearer_token() {
        let (base, requests) = server(vec![Answer(200, GOOD)]);
        let endpoint = Endpoint::with_key(&base, "m", quick(), Some(" sk-secret\n".into())).unwrap();
        endpoint.embeddings(&["a", "b"]).unwrap();
        assert!(requests.recv().unwrap().head.to_lowercase().contains("authorization: bearer sk-secret\r\n"));
    }

    #[test]
    fn no_message_repeats_the_key_or_a_password() {
        let (base, _requests) = server(vec![Answer(401, r#"{"error":"sk-secret is unknown"}"#)]);
        let base = base.replace("http://", "http://user:pass@");
        let endpoint = Endpoint::with_key(&base, "m", quick(), Some("sk-secret".into())).unwrap();
        let error = endpoint.embeddings(&["a"]).unwrap_err();
        let text = format!("{error} {error:?} {endpoint:?}");
        assert!(!text.contains("sk-secret") && !text.contains("pass"), "{text}");
        assert!(text.contains("*** is unknown") && text.contains(KEY_VARIABLE), "{text}");
    }

    #[test]
    fn a_failing_server_is_tried_again() {
        assert_eq!(embed(vec![Answer(500, "oops"), Answer(200, GOOD)]).unwrap(), good());
        assert_eq!(embed(vec![Answer(503, ""), Answer(502, ""), Answer(200, GOOD)]).unwrap(), good());
    }

    #[test]
    fn patience_ends() {
        let error = embed(vec![Answer(500, "oops"), Answer(500, "oops"), Answer(500, "oops")]).unwrap_err();
        assert_eq!(error.attempts, 3);
        assert_eq!(error.fault, Fault::Server { status: 500, answer: "oops".into() });
        assert!(error.to_string().ends_with("(3 attempts)"), "{error}");
    }

    #[test]
    fn a_busy_server_is_tried_again() {
        assert_eq!(embed(vec![Answer(429, ""), Answer(200, GOOD)]).unwrap(), good());
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_longest_wait() {
        let start = Instant::now();
        let script = vec![AnswerWith(429, "Retry-After: 3600\r\n", ""), Answer(200, GOOD)];
        assert_eq!(embed(script).unwrap(), good());
        assert!((50..2000).contains(&start.elapsed().as_millis()));
    }

    #[test]
    fn a_timeout_is_tried_again_and_then_reported() {
        assert_eq!(embed(vec![Hang, Answer(200, GOOD)]).unwrap(), good());
        assert_eq!(fault(vec![Hang, Hang, Hang]), Fault::Timeout(quick().timeout));
    }

    #[test]
    fn a_broken_connection_is_tried_again() {
        assert_eq!(embed(vec![HangUp, Answer(200, GOOD)]).unwrap(), good());
    }

    #[test]
    fn a_truncated_answer_is_tried_again_and_then_reported() {
        assert_eq!(embed(vec![Truncate(GOOD), Answer(200, GOOD)]).unwrap(), good());
        let last = fault(vec![Truncate(GOOD), Truncate(GOOD), Truncate(GOOD)]);
        assert!(matches!(last, Fault::Connection(_)), "{last:?}");
    }

    #[test]
    fn a_service_that_is_not_there_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        drop(listener);
        let error = endpoint(&base).embeddings(&["a"]).unwrap_err();
        assert!(matches!(error.fault, Fault::Connection(_)) && error.attempts == 3, "{error:?}");
    }

    #[test]
    fn a_refusal_is_not_tried_again() {
        let error = embed(vec![Answer(401, "no")]).unwrap_err();
        assert_eq!((error.attempts, error.fault), (1, Fault::Access { status: 401, answer: "no".into() }));
        let error = embed(vec![Answer(404, "no such model")]).unwrap_err();
        assert!(error.attempts == 1 && matches!(error.fault, Fault::Refused { status: 404, .. }));
        assert!(matches!(fault(vec![AnswerWith(307, "Location: /\r\n", "")]), Fault::Refused { .. }));
    }

    #[test]
    fn wrong_answers_are_refused() {
        for wrong in [
            "<html>hello</html>",
            "{}",
            r#"{"data":[{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[null]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[NaN]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1e999]}]}"#,
        ] {
            let error = embed(vec![Answer(200, wrong)]).unwrap_err();
            assert!(matches!(error.fault, Fault::Protocol(_)) && error.attempts == 1, "{wrong}: {error:?}");
        }
    }

    #[test]
    fn vectors_of_unequal_dimension_are_refused() {
        let uneven = r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}"#;
        assert_eq!(fault(vec![Answer(200, uneven)]), Fault::Dimension { expected: 1, found: 2 });
    }

    #[test]
    fn an_embedder_refuses_another_dimension_than_its_own() {
        let (base, _requests) = server(vec![Answer(200, GOOD)]);
        let error = HttpEmbedder::new(endpoint(&base), 3, 64).embed(&["a", "b"]).unwrap_err();
        assert_eq!(error.fault, Fault::Dimension { expected: 3, found: 2 });
        assert!(error.to_string().contains("embeddings: vectors have dimension 2, expected 3"), "{error}");
    }

    #[test]
    fn an_embedder_sends_batches() {
        let one = r#"{"data":[{"index":0,"embedding":[1,-1]}]}"#;
        let (base, requests) = server(vec![Answer(200, GOOD), Answer(200, one)]);
        let vectors = HttpEmbedder::new(endpoint(&base), 2, 2).embed(&["a", "b", "c"]).unwrap();
        let dims: Vec<_> = vectors.iter().map(|v| v.dims.as_slice()).collect();
        assert_eq!(dims, [[127, 64], [0, -127], [127, -127]]);
        let inputs: Vec<_> = requests.iter().map(|r| r.body["input"].to_string()).collect();
        assert_eq!(inputs, [r#"["a","b"]"#, r#"["c"]"#]);
    }

    #[test]
    fn no_texts_need_no_call() {
        assert!(endpoint("http://127.0.0.1:9/v1").embeddings(&[]).unwrap().is_empty());
    }

    fn question() -> ChatRequest<'static> {
        ChatRequest { prompt: "why?", max_tokens: 120, temperature: 0.7, top_p: 0.9, seed: Some(42) }
    }

    #[test]
    fn a_chat_gives_text_and_token_counts() {
        let answer = r#"{"choices":[{"message":{"role":"assistant","content":"so"}}],
            "usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}"#;
        let (base, requests) = server(vec![Answer(500, ""), Answer(200, answer)]);
        let answer = endpoint(&base).chat(&question()).unwrap();
        let expected = ("so".to_owned(), 7, 1, 8);
        assert_eq!(
            (answer.text, answer.prompt_tokens, answer.completion_tokens, answer.total_tokens),
            expected
        );
        let request = requests.recv().unwrap();
        assert!(request.head.starts_with("POST /v1/chat/completions "));
        assert_eq!(request.body["messages"][0]["content"], "why?");
        assert_eq!((&request.body["max_tokens"], &request.body["seed"]), (&120.into(), &42.into()));
    }

    #[test]
    fn a_chat_without_usage_counts_no_tokens() {
        let (base, _requests) = server(vec![Answer(200, r#"{"choices":[{"message":{"content":"so"}}]}"#)]);
        assert_eq!(endpoint(&base).chat(&question()).unwrap().total_tokens, 0);
    }

    #[test]
    fn a_chat_without_a_choice_is_refused() {
        for wrong in [r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":null}}]}"#] {
            let (base, _requests) = server(vec![Answer(200, wrong)]);
            assert!(matches!(endpoint(&base).chat(&question()).unwrap_err().fault, Fault::Protocol(_)));
        }
    }

    #[test]
    fn an_address_without_scheme_or_host_is_refused() {
        for base in ["localhost:8090/v1", "ftp://x/v1", "http:///v1", ""] {
            let error = Endpoint::new(base, "m", quick()).unwrap_err();
            assert!(matches!(error.fault, Fault::Address(_)), "{base}: {error}");
        }
    }
}
