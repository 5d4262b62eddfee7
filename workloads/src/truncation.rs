//! How much of a text an encoder reads. Many read the first few hundred words and say nothing of the rest.
//!
//! It is found out by asking: where words of another subject behind a text change nothing about its vector, they were
//! not read.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::regular;
use crate::text::embed::Embedder;
use crate::text::endpoint::EndpointError;
use crate::vector::Quantised;

/// Texts of so few words are read whole by every encoder.
const SHORT: usize = 64;
/// Unlike whatever else a text is about.
const OTHER_SUBJECT: &str = " violins, oregano and quarterly earnings of seven ferries that a committee of beekeepers discussed last winter";
/// By how much a number of a vector may differ through rounding alone.
const ROUNDING: i16 = 1;
/// Beside the prepared indexes.
const FILE: &str = "truncation.json";
/// Three numbers.
const LARGEST: u64 = 1 << 10;

/// What an encoder leaves unread of the documents of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncation {
    /// Words that it reads of the longest text.
    pub words: u64,
    /// Texts that have more.
    pub longer: u64,
    /// Of so many.
    pub of: u64,
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { words, longer, of } = self;
        write!(
            f,
            "the encoder reads the first {words} words of the longest text, and {longer} of {of} have more: the rest of them is in no vector. Embed them in parts: --set chunk_tokens={words}"
        )
    }
}

/// What is left unread of `texts`, of which it is known how many words each has, and what the longest is.
///
/// # Errors
/// When the encoder does not answer.
pub fn find(
    embedder: &dyn Embedder,
    longest: &str,
    counts: &[usize],
) -> Result<Option<Truncation>, EndpointError> {
    let words: Vec<&str> = longest.split_whitespace().collect();
    if words.len() <= SHORT {
        return Ok(None);
    }
    let reads_behind = |count: usize| -> Result<bool, EndpointError> {
        let text = words[..count].join(" ");
        let longer = format!("{text}{OTHER_SUBJECT}");
        let vectors = embedder.embed(&[&text, &longer])?;
        Ok(differ(&vectors[0], &vectors[1]))
    };
    if reads_behind(words.len())? {
        return Ok(None);
    }
    // The fewest words behind which nothing is read.
    let (mut read, mut unread) = (0, words.len());
    while unread - read > 1 {
        let middle = read.midpoint(unread);
        if reads_behind(middle)? { read = middle } else { unread = middle }
    }
    let longer = counts.iter().filter(|count| **count > unread).count() as u64;
    Ok(Some(Truncation { words: unread as u64, longer, of: counts.len() as u64 }))
}

fn differ(a: &Quantised, b: &Quantised) -> bool {
    a.dims.iter().zip(&b.dims).any(|(a, b)| (i16::from(*a) - i16::from(*b)).abs() > ROUNDING)
}

/// Keeps what was found beside the prepared indexes.
///
/// # Errors
/// When it cannot be written.
pub fn keep(folder: &Path, found: Option<Truncation>) -> std::io::Result<()> {
    let options = &mut File::options();
    let (mut file, _) = regular::own(options.write(true).create(true).truncate(true), &folder.join(FILE))?;
    file.write_all(&serde_json::to_vec(&found)?)
}

/// What was found, where it is known.
#[must_use]
pub fn kept(folder: &Path) -> Option<Truncation> {
    let (file, _) = regular::own(File::options().read(true), &folder.join(FILE)).ok()?;
    serde_json::from_reader::<_, Option<Truncation>>(file.take(LARGEST)).ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::embed::TopicEmbedder;

    /// Reads the first words of a text.
    struct Short(usize);

    impl Embedder for Short {
        fn embed(&self, texts: &[&str]) -> Result<Vec<Quantised>, EndpointError> {
            let read = |text: &&str| text.split_whitespace().take(self.0).collect::<Vec<_>>().join(" ");
            let read: Vec<String> = texts.iter().map(read).collect();
            TopicEmbedder::new(256, 1.0, 0).embed(&read.iter().map(String::as_str).collect::<Vec<_>>())
        }

        fn name(&self) -> String {
            "short".to_owned()
        }

        fn dimension(&self) -> usize {
            256
        }
    }

    fn text(words: usize) -> String {
        (0..words).map(|number| format!("word{number}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_an_encoder_does_not_read_is_found_to_the_word() {
        let counts = [10, 150, 151, 400];
        for reads in [1, 70, 150, 399] {
            let found = find(&Short(reads), &text(400), &counts).unwrap().unwrap();
            let longer = counts.iter().filter(|count| **count > reads).count() as u64;
            assert_eq!(found, Truncation { words: reads as u64, longer, of: 4 });
        }
    }

    #[test]
    fn an_encoder_that_reads_all_truncates_nothing_and_short_texts_are_not_asked_about() {
        assert_eq!(find(&Short(1_000), &text(400), &[400]).unwrap(), None);
        assert_eq!(find(&Short(1), &text(SHORT), &[SHORT]).unwrap(), None);
    }

    #[test]
    fn what_was_found_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kept(folder.path()), None);
        let found = Some(Truncation { words: 7, longer: 2, of: 9 });
        keep(folder.path(), found).unwrap();
        assert_eq!(kept(folder.path()), found);
    }
}
