//! Text as a word of a shell, for commands that are printed to be run.

/// `text` as one word that a shell reads back as that text; control characters, and marks that reverse the direction
/// of text, are shown by their code instead.
#[must_use]
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=./,:%+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let is_trick = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '\'' => shown.push_str(r"'\''"),
            c if c.is_control() || is_trick(c) => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    format!("'{shown}'")
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn plain_words_stay_as_they_are() {
        for text in ["/a/b-1.so", "--rate=1e3", "local,ray", "ünïcode"] {
            assert_eq!(word(text), text);
        }
    }

    #[test]
    fn everything_else_is_quoted_and_whole() {
        assert_eq!(word("/it's here"), r"'/it'\''s here'");
        assert_eq!(word(""), "''");
        assert_eq!(word("a\x1b[2J\u{202e}"), r"'a\u{1b}[2J\u{202e}'");
        let long = format!("/{}/a b ", "x".repeat(400));
        assert_eq!(word(&long), format!("'{long}'"));
    }
}
