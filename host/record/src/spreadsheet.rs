//! Text in cells that a spreadsheet would take for a formula.
//!
//! A run's id, a query's id or a backend's name may begin with `=`, `+`, `-` or `@`, and a spreadsheet runs what
//! follows. Such a cell gets an apostrophe in front, which spreadsheets take as "this is text"; so does a cell
//! that has one there already, so that reading takes back exactly what writing added. Numbers are never touched.

use std::borrow::Cow;

const MARK: char = '\'';

/// What makes a formula, in both widths, and what spreadsheets skip before they look.
const STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// The cell for `text`.
#[must_use]
pub fn cell(text: &str) -> Cow<'_, str> {
    if needs_mark(text) { Cow::Owned(format!("{MARK}{text}")) } else { Cow::Borrowed(text) }
}

/// The text of a cell.
#[must_use]
pub fn text(cell: &str) -> &str {
    cell.strip_prefix(MARK).filter(|text| needs_mark(text)).unwrap_or(cell)
}

fn needs_mark(text: &str) -> bool {
    text.trim_start_matches(MARK).starts_with(STARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_a_formula_is_marked_and_nothing_else() {
        assert_eq!(cell("=HYPERLINK(\"http://x\")"), "'=HYPERLINK(\"http://x\")");
        for text in ["+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", "＝1", "'=1"] {
            assert_eq!(cell(text), format!("'{text}"));
        }
        for text in ["", "local", "1-2", "a=b", "'quoted'", "{\"a\": 1}"] {
            assert_eq!(cell(text), text);
        }
    }

    #[test]
    fn reading_takes_back_what_writing_added() {
        for plain in ["", "a", "=1", "-x", "'", "''", "'=1", "''=1", "'a", "\t", "@", "it's"] {
            assert_eq!(text(&cell(plain)), plain);
        }
        assert_eq!(text("=1"), "=1", "another program wrote it");
    }
}
