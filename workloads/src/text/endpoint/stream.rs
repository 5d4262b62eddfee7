//! Answers that come in pieces, as server-sent events: when each was heard.

use std::io::{BufRead, BufReader};
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use super::chat::of;
use super::transport::Transport;
use super::{ChatAnswer, Endpoint, Fault, MOST_PIECES, Pieces, said};

/// What ends a stream.
const DONE: &[u8] = b"[DONE]";

impl Endpoint {
    /// Asks once and listens to the end. A service that answers in one piece has answered too.
    pub(super) fn listen(&self, url: &str, body: &[u8]) -> Result<ChatAnswer, Fault> {
        let answer = self.transport.open(url, body)?;
        let kind =
            answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.to_ascii_lowercase().contains("event-stream") {
            return self.transport.whole(answer).and_then(|answer| self.read_chat(&answer));
        }
        let mut heard = Heard::default();
        let mut lines = BufReader::new(Transport::as_it_comes(answer));
        let mut line = Vec::new();
        loop {
            line.clear();
            let read =
                lines.read_until(b'\n', &mut line).map_err(|error| self.transport.broken_off(error))?;
            if read == 0 {
                break;
            }
            // Other fields and comments keep a connection alive, and say nothing.
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let data = data.trim_ascii();
            if data == DONE {
                // What follows is the end of the answer; once it is read, the connection serves again.
                heard.ended = true;
            } else if !data.is_empty() && !heard.ended {
                heard.take(self.event(data)?)?;
            }
        }
        heard.answer()
    }

    fn event(&self, data: &[u8]) -> Result<Event, Fault> {
        match serde_json::from_slice(data) {
            Ok(Event { error: None | Some(Value::Null), choices, usage }) => {
                Ok(Event { error: None, choices, usage })
            }
            Ok(_) => Err(self.no_answer(data, "it is an error")),
            Err(cause) => Err(self.no_answer(data, &said::unreadable(data, &cause))),
        }
    }
}

#[derive(Deserialize)]
struct Event {
    error: Option<Value>,
    choices: Option<Vec<Value>>,
    usage: Option<Value>,
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    text: String,
    pieces: Option<Pieces>,
    usage: Value,
    /// The model said all it had to say. The counts may still follow.
    finished: bool,
    /// The service said that this is all.
    ended: bool,
}

impl Heard {
    fn take(&mut self, event: Event) -> Result<(), Fault> {
        if let Some(usage) = event.usage.filter(Value::is_object) {
            self.usage = usage;
        }
        let Some(choice) = event.choices.and_then(|choices| choices.into_iter().next()) else {
            return Ok(());
        };
        let of_delta =
            |name: &str| choice.get("delta").and_then(|delta| delta.get(name)).map(of).unwrap_or_default();
        let said = of_delta("content");
        // What a model thinks is made of tokens like what it says.
        let thought =
            ["reasoning_content", "reasoning", "refusal"].iter().any(|name| !of_delta(name).is_empty());
        if !said.is_empty() || thought {
            let now = Instant::now();
            match &mut self.pieces {
                None => self.pieces = Some(Pieces { first: now, last: now, gaps: Vec::new() }),
                Some(pieces) if pieces.gaps.len() + 1 == MOST_PIECES => {
                    return Err(Fault::protocol(format!("it comes in more than {MOST_PIECES} pieces")));
                }
                Some(pieces) => {
                    pieces.gaps.push(now - pieces.last);
                    pieces.last = now;
                }
            }
        }
        self.text.push_str(&said);
        self.finished |= choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
        Ok(())
    }

    fn answer(self) -> Result<ChatAnswer, Fault> {
        // Not every service says the last word.
        if !self.ended && !self.finished {
            return Err(Fault::Broken("it ended before the last piece".to_owned()));
        }
        Ok(ChatAnswer::of(self.text, &self.usage, self.pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::Step::{self, *};
    use super::super::server::{endpoint, receive, send, server};
    use super::super::{ChatRequest, EndpointError};
    use super::*;

    fn question() -> ChatRequest<'static> {
        ChatRequest { prompt: "why?", max_tokens: 9, temperature: 0.0, top_p: 1.0, seed: None, stream: true }
    }

    const EVENTS: &str = "Content-Type: text/event-stream; charset=utf-8\r\n";

    fn hear(script: Vec<Step>) -> Result<ChatAnswer, EndpointError> {
        endpoint(&server(script).0).chat(&question())
    }

    const WHOLE: &str = concat!(
        ": a comment\n\nevent: message\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"so \"}}]}\n\n",
        "data:{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"it\"}]}}]}\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\" is\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn pieces_are_put_together_and_timed_and_the_counts_come_last() {
        let (base, requests) = server(vec![AnswerWith(200, EVENTS, WHOLE)]);
        let answer = endpoint(&base).chat(&question()).unwrap();
        assert_eq!(
            (answer.text.as_str(), answer.prompt_tokens, answer.completion_tokens),
            ("so it is", 7, 3)
        );
        let pieces = answer.pieces.unwrap();
        assert_eq!(pieces.gaps.len(), 2);
        assert_eq!(pieces.gaps.iter().sum::<std::time::Duration>(), pieces.last - pieces.first);
        let body = requests.recv().unwrap().body;
        assert_eq!((&body["stream"], &body["stream_options"]["include_usage"]), (&true.into(), &true.into()));
    }

    #[test]
    fn what_a_model_thinks_is_heard_and_not_said() {
        let thinking = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\ndata: [DONE]\n\n";
        let answer = hear(vec![AnswerWith(200, EVENTS, thinking)]).unwrap();
        assert_eq!((answer.text.as_str(), answer.pieces.is_some()), ("", true));
    }

    #[test]
    fn an_answer_in_one_piece_is_an_answer_without_times() {
        let answer = hear(vec![Answer(200, r#"{"choices":[{"message":{"content":"so"}}]}"#)]).unwrap();
        assert_eq!((answer.text.as_str(), answer.pieces), ("so", None));
    }

    #[test]
    fn a_stream_that_breaks_off_is_asked_for_again() {
        let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"so\"}}]}\n\n";
        let answer = hear(vec![AnswerWith(200, EVENTS, begun), AnswerWith(200, EVENTS, WHOLE)]).unwrap();
        assert_eq!(answer.text, "so it is");
        let finished =
            "data: {\"choices\":[{\"delta\":{\"content\":\"so\"},\"finish_reason\":\"length\"}]}\n\n";
        assert_eq!(hear(vec![AnswerWith(200, EVENTS, finished)]).unwrap().text, "so");
    }

    #[test]
    fn an_error_within_a_stream_is_told_with_the_service_s_words() {
        let error = "data: {\"error\":{\"message\":\"out of memory\",\"code\":400}}\n\n";
        let error = hear(vec![AnswerWith(200, EVENTS, error)]).unwrap_err();
        assert!(error.to_string().contains("\"out of memory\""), "{error}");
        let odd = hear(vec![AnswerWith(200, EVENTS, "data: <html>sign in</html>\n\n")]).unwrap_err();
        assert!(odd.to_string().contains("sign in"), "{odd}");
    }

    #[test]
    fn a_service_without_options_of_streams_is_asked_without_them_from_then_on() {
        let no = r#"{"error": {"message": "Unknown field", "param": "stream_options"}}"#;
        let script = vec![Answer(400, no), AnswerWith(200, EVENTS, WHOLE), AnswerWith(200, EVENTS, WHOLE)];
        let (base, requests) = server(script);
        let endpoint = endpoint(&base);
        endpoint.chat(&question()).unwrap();
        endpoint.chat(&question()).unwrap();
        drop(endpoint);
        let wishes: Vec<bool> =
            requests.iter().map(|asked| asked.body.get("stream_options").is_some()).collect();
        assert_eq!(wishes, [true, false, false]);
    }

    #[test]
    fn calls_that_find_out_together_are_all_asked_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = endpoint(&format!("http://{}/v1", listener.local_addr().unwrap()));
        let serve = move || {
            let no = r#"{"error": {"message": "Unknown field", "param": "stream_options"}}"#;
            // Both are under way before either is refused.
            for (status, header, body) in [(400, "", no), (200, EVENTS, WHOLE)] {
                let asked: Vec<_> = (0..2)
                    .map(|_| {
                        let (mut stream, _) = listener.accept().unwrap();
                        let wishes = receive(&mut stream).body.get("stream_options").is_some();
                        assert_eq!(wishes, status == 400);
                        stream
                    })
                    .collect();
                asked.into_iter().for_each(|mut stream| send(&mut stream, status, header, body, body.len()));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(serve);
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(endpoint.chat(&question()).unwrap().text, "so it is"));
            }
        });
    }

    #[test]
    fn a_service_that_does_not_stream_is_told_with_the_setting() {
        let no = r#"{"error": "stream is not supported"}"#;
        let error = hear(vec![Answer(400, no)]).unwrap_err();
        assert!(error.to_string().contains("--set llm_stream=off"), "{error}");
    }
}
