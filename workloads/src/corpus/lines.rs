//! Reading a file of text line by line.

use std::io::{self, BufRead, BufReader, Read};

use sha2::{Digest, Sha256};

use super::CorpusError;
use super::source::Source;

/// Longer lines are refused before they fill the memory.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;

/// A line of a file.
pub struct Line<'a> {
    /// Counts from 1.
    pub number: u64,
    /// Bytes of the file before the text.
    pub start: u64,
    /// Without what ends the line, and without a byte order mark.
    pub text: &'a str,
}

/// Calls `each` with every line that is not blank, and adds the file to the digest.
pub fn each_line(
    source: &Source,
    digest: &mut Sha256,
    mut each: impl FnMut(Line<'_>) -> Result<(), String>,
) -> Result<(), CorpusError> {
    let hashing = Hashing { from: source.open()?, hash: Sha256::new() };
    let mut reader = BufReader::with_capacity(1 << 16, hashing);
    let mut bytes = Vec::new();
    let mut next = 0;
    for number in 1.. {
        let wrong = |why: &str| source.error(Some(number), why);
        bytes.clear();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes);
        if read.map_err(|e| wrong(&format!("cannot read: {e}")))? == 0 {
            break;
        }
        if bytes.len() as u64 == LONGEST_LINE {
            return Err(wrong("the line is longer than 64 MiB"));
        }
        let text = str::from_utf8(&bytes).map_err(|e| match &bytes[..] {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if number == 1 => {
                wrong("it is UTF-16: make it UTF-8, as with iconv -f UTF-16 -t UTF-8")
            }
            _ => wrong(&format!("not UTF-8 after byte {}", e.valid_up_to())),
        })?;
        next += bytes.len() as u64;
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        let start = next - text.len() as u64;
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.trim().is_empty() {
            each(Line { number, start, text }).map_err(|why| wrong(&why))?;
        }
    }
    let hash = hex::encode(reader.into_inner().hash.finalize());
    digest.update(format!("{hash}  {}\n", source.name));
    Ok(())
}

/// A reader that hashes what is read from it.
struct Hashing {
    from: Box<dyn Read>,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(to)?;
        self.hash.update(&to[..n]);
        Ok(n)
    }
}
