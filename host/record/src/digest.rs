//! `output_digest`: what all answers of a run come to, whatever order they came in.
//!
//! It is SHA-256 over the (query id, answer digest) pairs of the items that succeeded, in the order of
//! their ids. Pairs are sorted on the disk, so that a long run takes no more memory than a short one.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use itertools::kmerge_by;
use sha2::{Digest, Sha256};

/// Hashes what is written.
#[derive(Debug)]
pub struct Hashed<W> {
    out: W,
    hasher: Sha256,
}

impl<W> Hashed<W> {
    /// In front of `out`.
    pub fn new(out: W) -> Self {
        Self { out, hasher: Sha256::new() }
    }

    /// SHA-256 of all that was written, 64 hexadecimal digits.
    #[must_use]
    pub fn sha256(self) -> String {
        hex::encode(self.hasher.finalize())
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// SHA-256 of all that is to be read, as [`Hashed::sha256`].
///
/// # Errors
/// When it cannot be read.
pub fn sha256_of(mut from: impl Read) -> io::Result<String> {
    let mut hashed = Hashed::new(io::sink());
    io::copy(&mut from, &mut hashed)?;
    Ok(hashed.sha256())
}

/// Pairs that are sorted at once: about a megabyte.
const SORTED_AT_ONCE: usize = 8_192;
/// Files that are merged into one, so that a run of any length needs few of them open.
const MERGED_AT_ONCE: usize = 64;

/// A query id and the SHA-256 of its answer.
pub type Pair = (String, [u8; 32]);

/// Digests `pairs`, with files in `scratch` while it goes on.
///
/// # Errors
/// The first error of `pairs`, or when a file cannot be written or read.
pub fn output_digest(pairs: impl Iterator<Item = io::Result<Pair>>, scratch: &Path) -> io::Result<String> {
    digest(pairs, scratch, SORTED_AT_ONCE, MERGED_AT_ONCE)
}

fn digest(
    mut pairs: impl Iterator<Item = io::Result<Pair>>,
    scratch: &Path,
    sorted_at_once: usize,
    merged_at_once: usize,
) -> io::Result<String> {
    // A file of one level holds what so many of the level before held.
    let mut levels: Vec<Vec<File>> = Vec::new();
    loop {
        let mut some = pairs.by_ref().take(sorted_at_once).collect::<io::Result<Vec<Pair>>>()?;
        if some.is_empty() {
            break;
        }
        some.sort_unstable();
        let mut file = spill(some.into_iter().map(Ok), scratch)?;
        for level in 0.. {
            if level == levels.len() {
                levels.push(Vec::new());
            }
            levels[level].push(file);
            if levels[level].len() < merged_at_once {
                break;
            }
            file = spill(merge(levels[level].drain(..)), scratch)?;
        }
    }
    let mut hasher = Sha256::new();
    for pair in merge(levels.into_iter().flatten()) {
        let (query_id, digest) = pair?;
        hasher.update((query_id.len() as u64).to_le_bytes());
        hasher.update(query_id.as_bytes());
        hasher.update(digest);
    }
    Ok(hex::encode(hasher.finalize()))
}

/// The pairs of sorted files in order. An error goes first, and ends it.
fn merge(files: impl Iterator<Item = File>) -> impl Iterator<Item = io::Result<Pair>> {
    kmerge_by(files.map(read), |a: &io::Result<Pair>, b: &io::Result<Pair>| match (a, b) {
        (Ok(a), Ok(b)) => a < b,
        (a, _) => a.is_err(),
    })
}

/// Writes pairs to a file without a name.
fn spill(pairs: impl Iterator<Item = io::Result<Pair>>, scratch: &Path) -> io::Result<File> {
    let mut file = BufWriter::new(tempfile::tempfile_in(scratch)?);
    for pair in pairs {
        let (query_id, digest) = pair?;
        file.write_all(&(query_id.len() as u32).to_le_bytes())?;
        file.write_all(query_id.as_bytes())?;
        file.write_all(&digest)?;
    }
    let mut file = file.into_inner()?;
    file.rewind()?;
    Ok(file)
}

fn read(file: File) -> impl Iterator<Item = io::Result<Pair>> {
    let mut file = BufReader::new(file);
    std::iter::from_fn(move || {
        let at_end = io::BufRead::fill_buf(&mut file).map(<[u8]>::is_empty);
        match at_end {
            Ok(true) => None,
            Ok(false) => Some(read_pair(&mut file)),
            Err(error) => Some(Err(error)),
        }
    })
}

fn read_pair(file: &mut impl Read) -> io::Result<Pair> {
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let mut query_id = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact(&mut query_id)?;
    let mut digest = [0; 32];
    file.read_exact(&mut digest)?;
    Ok((String::from_utf8(query_id).map_err(io::Error::other)?, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(count: u8) -> Vec<Pair> {
        (0..count).map(|i| (format!("q{}", i % 50), [i / 50; 32])).collect()
    }

    fn of(pairs: Vec<Pair>, sorted_at_once: usize, merged_at_once: usize) -> String {
        digest(pairs.into_iter().map(Ok), &std::env::temp_dir(), sorted_at_once, merged_at_once).unwrap()
    }

    #[test]
    fn neither_order_nor_the_number_of_files_matters() {
        // Some ids stand there twice, with other answers.
        let (forward, mut backward) = (pairs(70), pairs(70));
        backward.reverse();
        let all = of(forward.clone(), 1_000, 64);
        for sorted in [1, 7, 35, 69, 70] {
            for merged in [2, 3, 64] {
                assert_eq!(of(forward.clone(), sorted, merged), all, "{sorted} {merged}");
                assert_eq!(of(backward.clone(), sorted, merged), all, "{sorted} {merged}");
            }
        }
        assert_ne!(of(pairs(69), 1_000, 64), all);
    }

    #[test]
    fn the_digest_is_that_of_lengths_ids_and_answers() {
        let mut hasher = Sha256::new();
        for (id, digest) in [("a", [1; 32]), ("b", [2; 32])] {
            hasher.update(1_u64.to_le_bytes());
            hasher.update(id);
            hasher.update(digest);
        }
        let wanted = hex::encode(hasher.finalize());
        assert_eq!(of(vec![("b".into(), [2; 32]), ("a".into(), [1; 32])], 1, 2), wanted);
    }

    #[test]
    fn what_is_written_and_what_is_read_have_the_hash_of_their_bytes() {
        let (mut kept, bytes) = (Vec::new(), b"some bytes".repeat(10_000));
        let mut hashed = Hashed::new(&mut kept);
        hashed.write_all(&bytes).unwrap();
        let expected = hex::encode(Sha256::digest(&bytes));
        assert_eq!((hashed.sha256(), sha256_of(&*kept).unwrap()), (expected.clone(), expected));
    }

    #[test]
    fn what_cannot_be_read_has_no_digest() {
        let broken = [Ok(("a".to_owned(), [0; 32])), Err(io::Error::other("cut short"))];
        let error = digest(broken.into_iter(), &std::env::temp_dir(), 10, 2).unwrap_err();
        assert_eq!(error.to_string(), "cut short");
    }
}
