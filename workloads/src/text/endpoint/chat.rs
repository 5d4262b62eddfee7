//! Answers of a chat model.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Endpoint, EndpointError, Fault, said};

const PATH: &str = "chat/completions";
const STREAM: &str = "stream";
const STREAM_OPTIONS: &str = "stream_options";

/// The two names of the limit on the answer's length: services know the one or the other.
pub const MAX_TOKENS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// Parameters of a request that may be left out.
pub const OPTIONAL: [&str; 4] = ["max_tokens", "temperature", "top_p", "seed"];

/// What a chat model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest<'a> {
    pub prompt: &'a str,
    pub max_tokens: u32,
    pub temperature: f64,
    pub top_p: f64,
    /// Makes services that support it repeatable.
    pub seed: Option<u64>,
    /// Whether the answer is to come in pieces, as it is made.
    pub stream: bool,
}

/// How the parameters are called, and which are not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatFields {
    pub max_tokens: String,
    /// Of [`OPTIONAL`].
    pub leave_out: BTreeSet<String>,
}

impl Default for ChatFields {
    fn default() -> Self {
        Self { max_tokens: MAX_TOKENS[0].to_owned(), leave_out: BTreeSet::new() }
    }
}

/// What it answered. Token counts are 0 when the service does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatAnswer {
    pub text: String,
    pub prompt_tokens: u32,
    pub completion_tokens: u32,
    pub total_tokens: u32,
    /// When it was heard, where it came in pieces.
    pub pieces: Option<Pieces>,
}

/// When the pieces of an answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    pub first: Instant,
    pub last: Instant,
    /// Between one and the next.
    pub gaps: Vec<Duration>,
}

impl Endpoint {
    /// The model's answer to one prompt.
    ///
    /// # Errors
    /// When there is none.
    pub fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, EndpointError> {
        // What this call was sent with: others may find out meanwhile how this service wants it.
        let renamed = self.renamed.load(Ordering::Relaxed);
        let mut plain = self.without_options.load(Ordering::Relaxed);
        let mut error = match self.ask(request, renamed, plain) {
            Err(error) => error,
            answer => return answer,
        };
        if request.stream && !plain && is_refused(&error.fault, STREAM_OPTIONS) {
            // The same answer, but that nobody counts its tokens.
            self.without_options.store(true, Ordering::Relaxed);
            plain = true;
            error = match self.ask(request, renamed, plain) {
                Err(error) => error,
                answer => return answer,
            };
        }
        if !renamed && self.wants_the_other_name(&error.fault) {
            // The same limit under another name is the same request.
            self.renamed.store(true, Ordering::Relaxed);
            return self.ask(request, true, plain);
        }
        Err(EndpointError { fault: self.with_setting(*error.fault).into(), ..error })
    }

    fn ask(&self, request: &ChatRequest, renamed: bool, plain: bool) -> Result<ChatAnswer, EndpointError> {
        let limit = self.limit_name(renamed);
        let mut body = Map::new();
        body.insert("model".into(), self.model().into());
        body.insert("messages".into(), json!([{"role": "user", "content": request.prompt}]));
        let parameters = [
            (OPTIONAL[0], limit, json!(request.max_tokens)),
            (OPTIONAL[1], OPTIONAL[1], json!(request.temperature)),
            (OPTIONAL[2], OPTIONAL[2], json!(request.top_p)),
            (OPTIONAL[3], OPTIONAL[3], json!(request.seed)),
        ];
        for (parameter, name, value) in parameters {
            if !value.is_null() && !self.fields.leave_out.contains(parameter) {
                body.insert(name.to_owned(), value);
            }
        }
        if !request.stream {
            return self.call(PATH, &body, |url, body| {
                self.transport.post(url, body).and_then(|answer| self.read_chat(&answer))
            });
        }
        body.insert(STREAM.to_owned(), true.into());
        if !plain {
            body.insert(STREAM_OPTIONS.to_owned(), json!({"include_usage": true}));
        }
        self.call(PATH, &body, |url, body| self.listen(url, body))
    }

    fn limit_name(&self, renamed: bool) -> &str {
        let name = self.fields.max_tokens.as_str();
        match MAX_TOKENS.iter().position(|known| *known == name) {
            Some(at) if renamed => MAX_TOKENS[1 - at],
            _ => name,
        }
    }

    /// Whether the service refuses the limit's name, and may know the other one.
    fn wants_the_other_name(&self, fault: &Fault) -> bool {
        let (name, other) = (self.limit_name(false), self.limit_name(true));
        match fault {
            Fault::Refused { status: 400 | 422, said, .. } => {
                let unknown = names(said, name) && is_unknown(said);
                name != other
                    && !self.fields.leave_out.contains(OPTIONAL[0])
                    && (names(said, other) || unknown)
            }
            _ => false,
        }
    }

    /// A refusal that names a parameter is mended by a setting.
    fn with_setting(&self, fault: Fault) -> Fault {
        let Fault::Refused { status: status @ (400 | 413 | 422), said, remedy } = fault else { return fault };
        if status == 413 {
            let remedy =
                "The prompt is longer than it takes: ask about fewer documents, as with --set mmr_final_k=…"
                    .to_owned();
            return Fault::Refused { status, said, remedy };
        }
        let sent = |parameter: &str| !self.fields.leave_out.contains(parameter);
        let spelt = |parameter: &str| match parameter {
            "max_tokens" => self.limit_name(self.renamed.load(Ordering::Relaxed)).to_owned(),
            other => other.to_owned(),
        };
        if names(&said, STREAM) {
            return Fault::Refused {
                status,
                said,
                remedy: "Ask for whole answers: --set llm_stream=off".to_owned(),
            };
        }
        let named = OPTIONAL.into_iter().find(|parameter| sent(parameter) && names(&said, &spelt(parameter)));
        let remedy = match named {
            None => remedy,
            Some(parameter) => {
                let mut left_out: Vec<&str> = self.fields.leave_out.iter().map(String::as_str).collect();
                left_out.push(parameter);
                let change = match parameter {
                    "seed" => String::new(),
                    _ => format!(", or change it with --set llm_{parameter}=…"),
                };
                format!("Leave it out: --set llm_leave_out={}{change}", left_out.join(","))
            }
        };
        Fault::Refused { status, said, remedy }
    }

    /// What a service answered to a prompt.
    ///
    /// # Errors
    /// When that is no choice.
    pub fn read_chat(&self, answer: &[u8]) -> Result<ChatAnswer, Fault> {
        let (choices, usage) = match serde_json::from_slice(answer) {
            Ok(Answer { error: None | Some(Value::Null), choices: Some(choices), usage }) => (choices, usage),
            Ok(Answer { error: None, .. }) => return Err(self.no_answer(answer, "it holds no `choices`")),
            Ok(_) => return Err(self.no_answer(answer, "it is an error")),
            Err(cause) => return Err(self.no_answer(answer, &said::unreadable(answer, &cause))),
        };
        let Some(choice) = choices.into_iter().next() else {
            return Err(self.no_answer(answer, "it holds no choice"));
        };
        Ok(ChatAnswer::of(text(&choice), &usage.unwrap_or_default(), None))
    }
}

impl ChatAnswer {
    /// A text, with what the service counted.
    pub(super) fn of(text: String, usage: &Value, pieces: Option<Pieces>) -> Self {
        let count = |name: &str| {
            let number = usage.get(name).and_then(Value::as_f64).unwrap_or(0.0);
            // Saturates: a negative count and none at all are both 0.
            number as u32
        };
        Self {
            text,
            prompt_tokens: count("prompt_tokens"),
            completion_tokens: count("completion_tokens"),
            total_tokens: count("total_tokens"),
            pieces,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Value>,
    choices: Option<Vec<Value>>,
    usage: Option<Value>,
}

/// The text of a content, in one piece or in parts.
pub(super) fn of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(of).collect(),
        Value::Object(part) => part.get("text").map(of).unwrap_or_default(),
        _ => String::new(),
    }
}

/// The text of a choice: what there is of it. A model that only thought, or was stopped, said nothing.
fn text(choice: &Value) -> String {
    let message = choice.get("message");
    let places =
        [message.and_then(|m| m.get("content")), message.and_then(|m| m.get("refusal")), choice.get("text")];
    places.into_iter().flatten().map(of).find(|text| !text.is_empty()).unwrap_or_default()
}

/// Whether a request is refused for this field.
fn is_refused(fault: &Fault, field: &str) -> bool {
    matches!(fault, Fault::Refused { status: 400 | 422, said, .. } if names(said, field))
}

/// Whether a text says that something is not known, as against wrong in its value.
fn is_unknown(text: &str) -> bool {
    let text = text.to_lowercase();
    let words = ["unsupported", "not supported", "unknown", "not known", "unrecogni", "unexpected", "extra"];
    words.iter().chain(&["not permitted", "not allowed", "not a valid"]).any(|word| text.contains(word))
}

/// Whether a text holds this name as a word.
fn names(text: &str, name: &str) -> bool {
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    text.split(|c: char| !part_of_a_word(c)).any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::super::server::{Request, Step, Step::*, endpoint, server, with_fields};
    use super::*;

    fn question() -> ChatRequest<'static> {
        ChatRequest {
            prompt: "why?",
            max_tokens: 120,
            temperature: 0.7,
            top_p: 0.9,
            seed: Some(42),
            stream: false,
        }
    }

    fn ask(steps: Vec<Step>) -> Result<ChatAnswer, EndpointError> {
        endpoint(&server(steps).0).chat(&question())
    }

    const SO: &str = r#"{"choices":[{"message":{"content":"so"}}]}"#;

    #[test]
    fn a_chat_gives_text_and_token_counts() {
        let answer = r#"{"choices":[{"message":{"role":"assistant","content":"so"}}],
            "usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}"#;
        let (base, requests) = server(vec![Answer(500, ""), Answer(200, answer)]);
        let answer = endpoint(&base).chat(&question()).unwrap();
        let expected = ChatAnswer {
            text: "so".into(),
            prompt_tokens: 7,
            completion_tokens: 1,
            total_tokens: 8,
            pieces: None,
        };
        assert_eq!(answer, expected);
        let request = requests.recv().unwrap();
        assert!(request.head.starts_with("POST /v1/chat/completions "));
        let sent = json!({"model": "a-model", "messages": [{"role": "user", "content": "why?"}],
            "max_tokens": 120, "temperature": 0.7, "top_p": 0.9, "seed": 42});
        assert_eq!(request.body, sent);
    }

    #[test]
    fn the_text_is_what_there_is_of_it() {
        for (choice, expected) in [
            (r#"{"message":{"content":"so"}}"#, "so"),
            (r#"{"message":{"content":null,"reasoning_content":"hm"},"finish_reason":"length"}"#, ""),
            (r#"{"message":{"role":"assistant"}}"#, ""),
            (r#"{"message":null}"#, ""),
            (r#"{"message":{"content":[{"type":"text","text":"s"},{"type":"text","text":"o"}]}}"#, "so"),
            (r#"{"message":{"content":["s",{"type":"image_url","image_url":{}},"o"]}}"#, "so"),
            (r#"{"message":{"content":null,"refusal":"I cannot"}}"#, "I cannot"),
            (r#"{"text":"so"}"#, "so"),
        ] {
            let answer = format!("{{\"choices\":[{choice}]}}").leak();
            assert_eq!(ask(vec![Answer(200, answer)]).unwrap().text, expected, "{choice}");
        }
    }

    #[test]
    fn usage_is_read_as_far_as_it_goes() {
        for (usage, expected) in [
            (r#"{"prompt_tokens":null,"completion_tokens":3}"#, (0, 3, 0)),
            (r#"{"prompt_tokens":5.0,"total_tokens":-1}"#, (5, 0, 0)),
            (r#"{"prompt_tokens":"5","details":{}}"#, (0, 0, 0)),
            ("null", (0, 0, 0)),
            ("[]", (0, 0, 0)),
        ] {
            let answer = format!("{{\"choices\":[{{\"message\":{{}}}}],\"usage\":{usage}}}").leak();
            let answer = ask(vec![Answer(200, answer)]).unwrap();
            assert_eq!(
                (answer.prompt_tokens, answer.completion_tokens, answer.total_tokens),
                expected,
                "{usage}"
            );
        }
    }

    #[test]
    fn no_choice_is_no_answer() {
        for (wrong, said) in [
            (r#"{"choices":[]}"#, "it holds no choice"),
            (r#"{"choices":null}"#, "it holds no `choices`"),
            ("null", "(it is no object): \"null\""),
            ("", "(it is empty)."),
            ("<html><body>Please sign in</body></html>", "a web page: Please sign in"),
        ] {
            let error = ask(vec![Answer(200, wrong)]).unwrap_err();
            assert!(matches!(*error.fault, Fault::Protocol { .. }), "{error:?}");
            assert!(error.to_string().contains(said), "{error}");
        }
        let error = ask(vec![Answer(200, r#"{"error":"out of memory","choices":null}"#)]).unwrap_err();
        assert_eq!(*error.fault, Fault::refused(200, "out of memory".into()));
    }

    #[test]
    fn a_limit_that_has_another_name_here_is_renamed_once_for_all() {
        for no in [
            r#"{"error": {"message": "'max_tokens' is too much: use 'max_completion_tokens'", "param": "max_tokens"}}"#,
            r#"{"error": {"message": "Unsupported parameter", "param": "max_tokens"}}"#,
            r#"{"detail": [{"loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]}"#,
        ] {
            let (base, requests) = server(vec![Answer(400, no), Answer(200, SO), Answer(200, SO)]);
            let endpoint = endpoint(&base);
            assert_eq!(endpoint.chat(&question()).unwrap().text, "so");
            assert_eq!(endpoint.chat(&question()).unwrap().text, "so");
            drop(endpoint);
            let limits = |request: Request| MAX_TOKENS.map(|name| request.body[name].as_u64());
            let sent: Vec<_> = requests.iter().map(limits).collect();
            assert_eq!(sent, [[Some(120), None], [None, Some(120)], [None, Some(120)]]);
        }
    }

    #[test]
    fn the_limit_can_be_named_and_parameters_be_left_out() {
        let (base, requests) = server(vec![Answer(200, SO)]);
        let leave_out = ["temperature", "seed"].map(str::to_owned).into();
        let fields = ChatFields { max_tokens: "max_new_tokens".into(), leave_out };
        with_fields(&base, fields).chat(&question()).unwrap();
        let body = requests.recv().unwrap().body;
        let names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["model", "messages", "max_new_tokens", "top_p"]);
    }

    #[test]
    fn a_refused_parameter_is_told_with_the_setting_that_leaves_it_out() {
        for (no, remedy) in [
            (
                r#"{"error": {"message": "'temperature' does not support 0.7 with this model", "param": "temperature"}}"#,
                "--set llm_leave_out=temperature, or change it with --set llm_temperature=…",
            ),
            (
                r#"{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}"#,
                "--set llm_leave_out=seed",
            ),
            (
                r#"{"error": "max_tokens is too large for this model"}"#,
                "--set llm_leave_out=max_tokens, or change it with --set llm_max_tokens=…",
            ),
        ] {
            let error = ask(vec![Answer(422, no)]).unwrap_err().to_string();
            assert!(error.contains(remedy), "{no}: {error}");
        }
        let error = ask(vec![Answer(413, "payload too large")]).unwrap_err().to_string();
        assert!(error.ends_with("ask about fewer documents, as with --set mmr_final_k=…"), "{error}");
        let no = r#"{"error": "top_p is not supported"}"#;
        let fields = ChatFields { leave_out: ["seed".to_owned()].into(), ..ChatFields::default() };
        let error = with_fields(&server(vec![Answer(400, no)]).0, fields).chat(&question()).unwrap_err();
        assert!(error.to_string().contains("llm_leave_out=seed,top_p"), "{error}");
    }
}
