//! What a runner and its children print: read as fast as it comes, kept only in part.

use std::collections::VecDeque;
use std::fs::File;

use super::log::Log;

/// Bytes of the end that are kept for messages.
const TAIL: usize = 64 << 10;

pub(super) struct Output {
    tail: VecDeque<u8>,
    pub(super) log: Log,
}

impl Output {
    pub(super) fn new(log: Option<File>) -> Self {
        Self { tail: VecDeque::new(), log: Log::new(log) }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        self.log.push(bytes);
    }

    /// The end of what was printed, from the start of a line when it was cut.
    pub(super) fn into_tail(self) -> String {
        let cut = self.tail.len() == TAIL;
        let bytes = Vec::from(self.tail);
        let text = String::from_utf8_lossy(&bytes);
        match text.split_once('\n') {
            Some((_, rest)) if cut => rest.to_owned(),
            _ => text.into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept_whatever_comes() {
        let mut output = Output::new(None);
        for line in 0..100_000 {
            output.push(format!("line {line}\n").as_bytes());
        }
        let tail = output.into_tail();
        assert!(tail.len() <= TAIL && tail.starts_with("line ") && tail.ends_with("line 99999\n"));
    }

    #[test]
    fn short_output_is_kept_whole_and_need_not_be_utf8() {
        let mut output = Output::new(None);
        output.push(b"a\xffb\n");
        assert_eq!(output.into_tail(), "a\u{fffd}b\n");
    }
}
