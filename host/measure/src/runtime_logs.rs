//! What a runtime wrote into log files of its own: their ends are kept of a run that failed, because the cause often
//! stands there and nowhere else, and they lie in the run's temporary directory, which goes.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bench_record::found::Found;
use serde::Deserialize;

/// The extension of the host by which a plugin names such files.
pub const EXTENSION: &str = "bench.logs/1";

/// Bytes of the end of each file.
const END: u64 = 16 << 10;
/// Files, so that a runtime with thousands of them does not fill the disk.
const MOST: usize = 64;
/// Patterns, and bytes of one: what comes over the channel has an end.
const MOST_PATTERNS: usize = 64;
const LONGEST_PATTERN: usize = 4096;
/// Folders of a pattern that may be any of several. With more, and with `**`, the search could go through all that
/// there is on the machine before the failure of a run is told.
const MOST_WILD: usize = 3;
/// Files that are looked at.
const MOST_MATCHES: usize = 10_000;

/// What a plugin says with the extension: shell patterns of absolute paths.
#[derive(Debug, Deserialize)]
pub struct Request {
    pub files: Vec<String>,
}

impl Request {
    /// The patterns that are taken, and how many are not.
    #[must_use]
    pub fn taken(self) -> (Vec<String>, usize) {
        let all = self.files.len();
        let taken: Vec<String> =
            self.files.into_iter().filter(|pattern| is_bounded(pattern)).take(MOST_PATTERNS).collect();
        let left_out = all - taken.len();
        (taken, left_out)
    }
}

/// What is said of patterns that are not taken.
#[must_use]
pub fn left_out(count: usize) -> String {
    format!(
        "{count} patterns of log files are left out: there may be {MOST_PATTERNS}, each with at most {MOST_WILD} \
         parts that are not plain, and none with **"
    )
}

/// Whether the search for a pattern comes to an end soon.
fn is_bounded(pattern: &str) -> bool {
    let wild = |part: &&str| part.contains(['*', '?', '[']);
    pattern.len() <= LONGEST_PATTERN
        && !pattern.contains("**")
        && pattern.split('/').filter(wild).count() <= MOST_WILD
}

/// Appends the end of every file that matches one of `patterns` and is not empty.
///
/// # Errors
/// When `log` cannot be written. A file that cannot be read is left out.
pub fn keep(patterns: &[String], log: &mut impl Write) -> io::Result<()> {
    let patterns = patterns.iter().filter(|pattern| is_bounded(pattern)).take(MOST_PATTERNS);
    let paths = patterns.filter_map(|pattern| glob::glob(pattern).ok()).flatten().flatten();
    // A runtime may lead to the same folder in several ways. A link in the place of a file stays one, and is not taken.
    let paths: BTreeSet<_> = paths.take(MOST_MATCHES).filter_map(|path| real(&path)).collect();
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

/// The path of a file, every folder by its real name.
fn real(path: &Path) -> Option<PathBuf> {
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}

/// The end of a file, from the start of a line, and the file's size; `None` of what is empty or no regular file.
fn end(path: &Path) -> io::Result<Option<(Vec<u8>, u64)>> {
    let mut file = Found::LEFT.open(path)?;
    let size = file.metadata()?.len();
    if size == 0 {
        return Ok(None);
    }
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
        fs::write(dir.path().join("secret"), "nobody's business").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), logs.join("link.err")).unwrap();
        let pattern = |name: &str| format!("{}/*/logs/{name}", dir.path().display());
        let mut log = Vec::new();
        keep(&[pattern("*.err"), pattern("*.out"), "[".into()], &mut log).unwrap();
        let text = String::from_utf8(log).unwrap();
        assert!(text.contains("session/logs/gcs.err]\nno network\n"), "{text}");
        assert!(text.contains("[bench: the last 16380 of 70000 bytes of /"), "{text}");
        assert!(!text.contains("nobody's business"), "a link is not followed: {text}");
        assert!(!text.contains("empty.err") && text.matches("no network").count() == 1, "{text}");
        assert!(text.ends_with("]\na line\n") || text.ends_with("a line\n"));
    }

    #[test]
    fn patterns_without_an_end_are_not_searched() {
        let fine = ["/tmp/x/session_*/logs/*.err", "/plain"];
        let endless = ["/**/x", "/*/*/*/*/x", &"/x".repeat(3_000)];
        let files = fine.iter().chain(&endless).map(|&pattern| pattern.to_owned()).collect();
        assert_eq!(Request { files }.taken(), (fine.map(str::to_owned).to_vec(), 3));
        let (taken, left_out) = Request { files: vec!["/x".into(); 100] }.taken();
        assert_eq!((taken.len(), left_out), (64, 36));
    }
}
