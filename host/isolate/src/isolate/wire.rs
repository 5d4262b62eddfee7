//! What travels between host and runner: JSON, one message a line, each with the call's nonce.
//!
//! The host trusts nothing of what it reads here. Pure functions of bytes, so that they can be
//! fuzzed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::text::one_line;

/// The first line, from the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opening<R> {
    pub nonce: String,
    pub operation: String,
    /// Bytes of private memory, for the runner and each of its children.
    pub memory: Option<u64>,
    /// How long destructors may take once the answer is out.
    pub close_grace_ms: u64,
    pub request: R,
}

/// Any later line from the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub nonce: String,
    pub control: Control,
}

/// What the host wants of an operation under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Take no new work, finish what has begun.
    Drain,
    /// Stop at once; the process is about to be killed.
    Cancel,
}

/// A line from the runner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message<B> {
    pub nonce: String,
    pub body: B,
}

/// What a runner has to say.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body<E, R> {
    /// It is about to enter this phase.
    Phase(String),
    /// Something happened on the way.
    Event(E),
    /// The answer. Nothing follows it.
    Reply(R),
    /// There is no answer, and why. Nothing follows it.
    Failed(Error),
}

/// Reads one line from the runner.
///
/// # Errors
/// With what is wrong with the line.
pub fn read<E: DeserializeOwned, R: DeserializeOwned>(
    line: &[u8],
    nonce: &str,
) -> Result<Body<E, R>, String> {
    let message: Message<Body<E, R>> = serde_json::from_slice(line).map_err(|cause| {
        // The cause may quote it too.
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]);
        one_line(&format!("it sent a line that is not a message ({cause}): {shown}"))
    })?;
    if message.nonce == nonce { Ok(message.body) } else { Err("it sent a message with a wrong nonce".into()) }
}

/// Appends `message` as one line.
pub(super) fn line(message: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Cuts a stream of bytes into lines, none longer than a limit.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    searched: usize,
    longest: usize,
}

impl Lines {
    /// Lines of at most `longest` bytes.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self { bytes: Vec::new(), searched: 0, longest }
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete line, without its end.
    ///
    /// # Errors
    /// When a line is longer than allowed, complete or not.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let end = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = end.map(|end| self.searched + end);
        if end.unwrap_or(self.bytes.len()) > self.longest {
            return Err(format!("it sent a message of more than {} bytes", self.longest));
        }
        let Some(end) = end else {
            self.searched = self.bytes.len();
            return Ok(None);
        };
        let rest = self.bytes.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.pop();
        self.searched = 0;
        Ok(Some(line))
    }

    /// True when nothing is waiting for its end of line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Any = Body<u32, String>;

    #[test]
    fn a_message_reads_back_only_with_its_nonce() {
        let bytes = line(&Message { nonce: "n".into(), body: Any::Event(7) }).unwrap();
        assert_eq!(read::<u32, String>(&bytes, "n"), Ok(Any::Event(7)));
        assert!(read::<u32, String>(&bytes, "m").unwrap_err().contains("nonce"));
    }

    #[test]
    fn anything_else_is_a_violation_that_is_shown_escaped() {
        for garbage in [
            &b""[..],
            b"\xff\xfe",
            b"{}",
            b"null",
            b"{\"nonce\":\"n\",\"body\":{\"event\":\"x\"}}",
            b"{\"nonce\":\"n\",\"body\":{\"\\u001b\":1}}",
            b"\x1b[2J",
        ] {
            let error = read::<u32, String>(garbage, "n").unwrap_err();
            assert!(!error.contains('\x1b'), "{error:?}");
        }
    }

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let mut lines = Lines::new(10);
        let mut got = Vec::new();
        for byte in b"one\n\ntwo\nthr" {
            lines.push(&[*byte]);
            while let Some(line) = lines.next_line().unwrap() {
                got.push(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(got, ["one", "", "two"]);
        assert!(!lines.is_empty());
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let mut lines = Lines::new(10);
        lines.push(&[b'x'; 11]);
        lines.next_line().unwrap_err();
    }
}
