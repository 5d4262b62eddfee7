//! Every answer as it was given, with what it cites: one JSON object a line, for whoever wants to judge answers anew.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};

use bench_workloads::records::{Answer, Reference};
use serde::Serialize;

/// Name of the file beside the items.
pub const FILE_NAME: &str = "answers.jsonl";
/// Bytes of such a file: a plugin may say any number of anything.
pub const LARGEST: u64 = 1 << 30;

#[derive(Serialize)]
struct Line<'a> {
    query_id: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    references: &'a [Reference],
    ranking: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// What becomes of a query, as a line.
#[must_use]
pub fn line(query_id: &str, answer: Result<&Answer, &str>) -> Vec<u8> {
    let given = answer.ok();
    let line = Line {
        query_id,
        ok: given.is_some(),
        response: given.map(|answer| answer.response.as_str()),
        references: given.map_or(&[], |answer| &answer.references),
        ranking: given.map_or(&[], |answer| &answer.ranking),
        prompt_tokens: given.map(|answer| answer.prompt_tokens),
        completion_tokens: given.map(|answer| answer.completion_tokens),
        error: answer.err(),
    };
    let mut bytes = serde_json::to_vec(&line).expect("texts and numbers are JSON");
    bytes.push(b'\n');
    bytes
}

/// The file, while answers come.
#[derive(Debug)]
pub struct Answers {
    file: BufWriter<File>,
    room: u64,
    failure: Option<io::Error>,
}

impl Answers {
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file: BufWriter::new(file), room: LARGEST, failure: None }
    }

    /// Adds a line, unless one could not be added before.
    pub fn add(&mut self, line: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        let added = match self.room.checked_sub(line.len() as u64) {
            Some(left) => {
                self.room = left;
                self.file.write_all(line)
            }
            None => Err(io::Error::other(format!("they have more than {LARGEST} bytes"))),
        };
        self.failure = added.err();
    }

    /// # Errors
    /// When not all of it is in the file.
    pub fn finish(mut self) -> io::Result<()> {
        self.failure.map_or_else(|| self.file.flush(), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_and_a_failure_have_a_line_each() {
        let reference = Reference { doc_id: "d".into(), source: "s".into(), snippet: "line\nend".into() };
        let answer = Answer {
            response: "so".into(),
            references: vec![reference],
            ranking: vec!["d".into()],
            completion_tokens: 1,
            ..Answer::default()
        };
        assert_eq!(
            String::from_utf8(line("q", Ok(&answer))).unwrap(),
            concat!(
                r#"{"query_id":"q","ok":true,"response":"so","references":[{"doc_id":"d","source":"s","#,
                r#""snippet":"line\nend"}],"ranking":["d"],"prompt_tokens":0,"completion_tokens":1}"#,
                "\n"
            )
        );
        assert_eq!(
            String::from_utf8(line("q", Err("no model"))).unwrap(),
            "{\"query_id\":\"q\",\"ok\":false,\"references\":[],\"ranking\":[],\"error\":\"no model\"}\n"
        );
    }

    #[test]
    fn what_finds_no_room_is_an_error_at_the_end() {
        let mut answers = Answers { room: 5, ..Answers::new(tempfile::tempfile().unwrap()) };
        answers.add(b"12345");
        answers.add(b"6");
        assert!(answers.finish().unwrap_err().to_string().contains("more than"));
    }
}
