//! Outside text on its way to a terminal: one line, no control characters, not endless.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bench_record::shell;

/// Characters that are shown of a text.
const LONGEST: usize = 300;
/// As many of them are its beginning; the others are its end, because that is where the cause of a report stands.
const BEGINNING: usize = 100;

/// `text` on one line, control characters escaped. Of one that is longer than 300 characters the middle is left out.
#[must_use]
pub fn one_line(text: &str) -> String {
    let text = text.trim();
    let length = text.chars().count();
    let left_out = if length > LONGEST { BEGINNING..length - (LONGEST - BEGINNING) } else { 0..0 };
    let mut line = String::new();
    for (at, c) in text.chars().enumerate() {
        if left_out.contains(&at) {
            if at == left_out.start {
                line.push('…');
            }
            continue;
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

/// `text` of at most about `most` bytes: what is longer is cut, and says so.
#[must_use]
pub fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let kept = &text[..text.floor_char_boundary(most)];
    format!("{kept}… [bench: {} bytes are left out here]", text.len() - kept.len())
}

/// Lines from the end among which an exception is looked for.
const NEAR_THE_END: usize = 30;

/// The line of a program's output that most likely says why it ended: the last exception near its end, or else its
/// last line that says anything.
pub(super) fn telling_line(text: &str) -> Option<String> {
    let lines = || text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    lines().take(NEAR_THE_END).find(|line| is_exception(line)).or_else(|| lines().next()).map(one_line)
}

/// How Python and the Java world write what was raised: `ValueError: …`, `Caused by: java.io.IOException: …`.
fn is_exception(line: &str) -> bool {
    let line = line.strip_prefix("Caused by: ").unwrap_or(line);
    let name = line.split(':').next().unwrap_or_default();
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "._".contains(c));
    plain && ["Error", "Exception", "Interrupt", "Exit"].iter().any(|end| name.ends_with(end))
}

/// `path` as a word that a shell reads back as that path.
pub fn shell_word(path: &Path) -> String {
    shell::word(&path.to_string_lossy())
}

/// The one of `known` that is most like `text`, whatever the case and dashes of either, if it is so alike at least (0
/// to 1).
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>, least: f64) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let text = plain(text);
    let alike = known.into_iter().map(|name| (strsim::jaro_winkler(&plain(name), &text), name));
    let alike = alike.filter(|(likeness, _)| *likeness > least);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
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
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_more_of_its_end() {
        let trace = format!("ray::Stage.run()\n{}\nValueError: the cause", "  File x, line 1\n".repeat(50));
        let line = one_line(&trace);
        assert!(line.starts_with("ray::Stage.run() ") && line.ends_with("ValueError: the cause"), "{line}");
        assert_eq!(line.chars().count(), LONGEST + 1);
        assert_eq!(one_line(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
    }

    #[test]
    fn a_text_beyond_its_bound_is_cut_between_characters_and_says_so() {
        assert_eq!(bounded("four", 4), "four");
        assert_eq!(bounded("fürs", 2), "f… [bench: 4 bytes are left out here]");
    }

    #[test]
    fn of_what_a_program_printed_the_exception_tells_most_or_else_the_last_line() {
        assert_eq!(telling_line("first\n  last \n\n").as_deref(), Some("last"));
        let python =
            "Traceback (most recent call last):\n  File \"x.py\", line 1\nray.exceptions.RayError: no\nbye\n";
        assert_eq!(telling_line(python).as_deref(), Some("ray.exceptions.RayError: no"));
        let java = "Exception in thread \"main\"\nCaused by: java.io.IOException: full\n\tat a.b(C.java:1)\n";
        assert_eq!(telling_line(java).as_deref(), Some("Caused by: java.io.IOException: full"));
        assert_eq!(telling_line("KeyboardInterrupt\n").as_deref(), Some("KeyboardInterrupt"));
        assert_eq!(telling_line(" \n"), None);
    }

    #[test]
    fn what_is_most_like_a_word_is_asked_for_and_what_is_not_is_not() {
        let known = ["ray_mode", "ray_address", "seed"];
        assert_eq!(nearest("RAY-ADRESS", known, 0.75), Some("ray_address"));
        assert_eq!(nearest("fault", known, 0.75), None);
        assert_eq!(nearest("x", [], 0.0), None);
    }
}
