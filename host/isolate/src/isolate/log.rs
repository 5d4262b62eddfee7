//! The log file of a call: what was printed and what was said, in the order in which it came.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};

/// Bytes that are kept as they come, so that a flood does not fill the disk.
pub(super) const MOST: usize = 64 << 20;
/// Bytes of the end that are kept all the same: there the cause is.
const END: usize = 64 << 10;

/// Written at once, so that whoever is killed loses nothing. One that cannot be written is given up: it must
/// not cost the run.
pub(super) struct Log<W = File> {
    file: Option<W>,
    room: usize,
    at_line_start: bool,
    /// What came after the room was used up, in bytes.
    left_out: u64,
    end: VecDeque<u8>,
}

impl Log {
    pub(super) fn new(file: Option<File>) -> Self {
        Self::with_room(file, MOST)
    }
}

impl<W: Write> Log<W> {
    fn with_room(file: Option<W>, room: usize) -> Self {
        Self { file, room, at_line_start: true, left_out: 0, end: VecDeque::new() }
    }

    /// Adds what was printed.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let (fits, rest) = bytes.split_at(bytes.len().min(self.room));
        self.write(fits);
        self.room -= fits.len();
        if rest.is_empty() {
            return;
        }
        if self.left_out == 0 {
            self.note("the log may have no more than this; what follows is left out, but for its end");
        }
        self.left_out += rest.len() as u64;
        self.end.extend(rest);
        self.end.drain(..self.end.len().saturating_sub(END));
    }

    /// Adds a line of the host's or the plugin's own.
    pub(super) fn line(&mut self, text: &str) {
        let before = if self.at_line_start { "" } else { "\n" };
        self.push(format!("{before}{text}\n").as_bytes());
    }

    /// Adds the end of what was left out.
    pub(super) fn close(&mut self) {
        if self.left_out == 0 {
            return;
        }
        let end = Vec::from(std::mem::take(&mut self.end));
        match self.left_out - end.len() as u64 {
            0 => {}
            lost => self.note(&format!("{lost} bytes are left out here")),
        }
        self.write(&end);
        self.left_out = 0;
    }

    fn note(&mut self, text: &str) {
        let before = if self.at_line_start { "" } else { "\n" };
        self.write(format!("{before}[bench: {text}]\n").as_bytes());
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.at_line_start = *last == b'\n';
        let written =
            self.file.as_mut().map_or(Ok(()), |file: &mut W| -> io::Result<()> { file.write_all(bytes) });
        if written.is_err() {
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(log: &Log<Vec<u8>>) -> String {
        String::from_utf8(log.file.clone().unwrap()).unwrap()
    }

    #[test]
    fn what_is_printed_and_what_is_said_do_not_share_a_line() {
        let mut log = Log::with_room(Some(Vec::new()), 1000);
        log.push(b"half a li");
        log.line("INFO x: said");
        log.push(b"ne\n");
        log.line("said");
        log.close();
        assert_eq!(text(&log), "half a li\nINFO x: said\nne\nsaid\n");
    }

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end_and_says_what_is_left_out() {
        let mut log = Log::with_room(Some(Vec::new()), 30);
        (0..100_000).for_each(|line| log.line(&format!("line {line}")));
        log.close();
        let text = text(&log);
        assert!(
            text.starts_with("line 0\nline 1\n") && text.ends_with("\nline 99998\nline 99999\n"),
            "{text}"
        );
        assert!(
            text.contains("[bench: the log may have no more than this")
                && text.contains("bytes are left out here]\n")
        );
        assert!(text.len() < 30 + END + 200);
    }

    #[test]
    fn little_too_much_is_kept_whole() {
        let mut log = Log::with_room(Some(Vec::new()), 10);
        log.push(b"0123456789abc\n");
        log.close();
        assert!(text(&log).ends_with("but for its end]\nabc\n"), "{}", text(&log));
    }

    #[test]
    fn a_log_that_cannot_be_written_is_given_up() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = Log::with_room(Some(Full), 10);
        log.line("one");
        assert!(log.file.is_none());
        log.line("two");
    }
}
