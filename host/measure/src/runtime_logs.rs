//! What a runtime wrote into log files of its own: their ends are kept of a run that failed, because the cause often
//! stands there and nowhere else, and they lie in the run's temporary directory, which goes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;

use serde::Deserialize;

/// The extension of the host by which a plugin names such files.
pub const EXTENSION: &str = "bench.logs/1";

/// Bytes of the end of each file.
const END: u64 = 16 << 10;
/// Files, so that a runtime with thousands of them does not fill the disk.
const MOST: usize = 64;

/// What a plugin says with the extension: shell patterns of absolute paths.
#[derive(Debug, Deserialize)]
pub struct Request {
    pub files: Vec<String>,
}

/// Appends the end of every file that matches one of `patterns` and is not empty.
///
/// # Errors
/// When `log` cannot be written. A file that cannot be read is left out.
pub fn keep(patterns: &[String], log: &mut impl Write) -> io::Result<()> {
    let paths = patterns.iter().filter_map(|pattern| glob::glob(pattern).ok()).flatten().flatten();
    // A runtime may lead to the same file in several ways.
    let paths: BTreeSet<_> = paths.filter_map(|path| path.canonicalize().ok()).collect();
    let ends = paths.iter().filter_map(|path| Some((path, end(path).ok().flatten()?)));
    for (path, (end, size)) in ends.take(MOST) {
        let shown = end.len() as u64;
        let part = if shown < size { format!("the last {shown} of {size} bytes of ") } else { String::new() };
        writeln!(log, "\n[bench: {part}{}]", path.display())?;
        log.write_all(&end)?;
        if !end.ends_with(b"\n") {
            writeln!(log)?;
        }
    }
    Ok(())
}

/// The end of a file, from the start of a line, and the file's size; `None` of what is empty or no regular file.
fn end(path: &Path) -> io::Result<Option<(Vec<u8>, u64)>> {
    let size = path.metadata().map(|file| if file.is_file() { file.len() } else { 0 })?;
    if size == 0 {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(size.saturating_sub(END)))?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes)?;
    if size > END
        && let Some(line) = bytes.iter().position(|byte| *byte == b'\n')
    {
        bytes.drain(..=line);
    }
    Ok(Some((bytes, size)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn of_each_file_that_says_something_the_end_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("session/logs");
        fs::create_dir_all(&logs).unwrap();
        fs::write(logs.join("empty.err"), "").unwrap();
        fs::write(logs.join("gcs.err"), "no network").unwrap();
        fs::write(logs.join("raylet.out"), "a line\n".repeat(10_000)).unwrap();
        std::os::unix::fs::symlink("session", dir.path().join("latest")).unwrap();
        let pattern = |name: &str| format!("{}/*/logs/{name}", dir.path().display());
        let mut log = Vec::new();
        keep(&[pattern("*.err"), pattern("*.out"), "[".into()], &mut log).unwrap();
        let text = String::from_utf8(log).unwrap();
        assert!(text.contains("session/logs/gcs.err]\nno network\n"), "{text}");
        assert!(text.contains("[bench: the last 16380 of 70000 bytes of /"), "{text}");
        assert!(!text.contains("empty.err") && text.matches("no network").count() == 1, "{text}");
        assert!(text.ends_with("]\na line\n") || text.ends_with("a line\n"));
    }
}
