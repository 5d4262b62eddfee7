//! Tables that another process could have made: results, items. Neither they nor a line of them may be without end: a
//! file can be larger than the disk that it is on, and a line of it than the memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::found::Found;

/// Bytes of a table at most: a hundred million items.
pub const LARGEST: u64 = 16 << 30;
/// Bytes of a line of one at most.
pub const LONGEST_LINE: u64 = 64 << 20;

/// What may be opened as one: a link is followed, and it may be anybody's.
pub const FOUND: Found = Found::NAMED.at_most(LARGEST);

/// Opens a table of which the lines have an end.
///
/// # Errors
/// When it cannot be opened, or is too large.
pub fn open(path: &Path) -> io::Result<Lines> {
    FOUND.open(path).map(|file| Lines { file, since: 0 })
}

/// A file, as far as its lines have an end.
#[derive(Debug)]
pub struct Lines {
    file: File,
    /// Bytes since the last end of a line.
    since: u64,
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let ended = buffer[..count].iter().rposition(|byte| *byte == b'\n');
        self.since = ended.map_or(self.since + count as u64, |at| (count - at) as u64);
        if self.since > LONGEST_LINE {
            return Err(io::Error::other(format!("a line is longer than {LONGEST_LINE} bytes")));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused_before_it_is_read_and_a_line_without_end_before_it_fills_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("items.csv");
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        let read = || open(&path).and_then(io::read_to_string).map_err(|cause| cause.to_string());
        assert_eq!(read().unwrap(), "a,b\n1,2\n");
        let file = File::options().write(true).open(&path).unwrap();
        // Sparse: it takes no room on disk.
        file.set_len(2 * LONGEST_LINE).unwrap();
        assert_eq!(read().unwrap_err(), "a line is longer than 67108864 bytes");
        file.set_len(1 << 40).unwrap();
        assert_eq!(
            read().unwrap_err(),
            "it has 1099511627776 bytes, more than the 17179869184 that it may have"
        );
    }
}
