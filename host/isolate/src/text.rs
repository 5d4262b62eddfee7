//! Outside text on its way to a terminal: one line, no control characters, not endless.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const LONGEST: usize = 300;

/// `text` on one line, control characters escaped, cut after 300 characters.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (at, c) in text.trim().chars().enumerate() {
        if at == LONGEST {
            line.push('…');
            break;
        }
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            // Besides control characters, those that reorder what a terminal shows.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                // Writing to a String cannot fail.
                let _ = write!(line, "{}", c.escape_default());
            }
            c => line.push(c),
        }
    }
    line
}

/// The last line of `text` that says anything.
pub(super) fn last_line(text: &str) -> Option<String> {
    text.lines().rev().map(one_line).find(|line| !line.is_empty())
}

/// `path` as a word that a shell reads back as that path.
pub fn shell_word(path: &Path) -> String {
    let text = one_line(&path.to_string_lossy());
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A duration as people write it.
pub(super) fn seconds(duration: Duration) -> String {
    let seconds = (duration.as_secs_f64() * 1000.0).round() / 1000.0;
    format!("{seconds} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_text_cannot_move_the_cursor_or_span_lines() {
        assert_eq!(one_line("a\x1b[2Jb\nc\u{202e}d"), "a\\u{1b}[2Jb c\\u{202e}d");
        assert_eq!(one_line(&"x".repeat(400)).chars().count(), LONGEST + 1);
        assert_eq!(last_line("first\n  last \n\n").as_deref(), Some("last"));
    }

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(shell_word(Path::new("/a/b-1.so")), "/a/b-1.so");
        assert_eq!(shell_word(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
