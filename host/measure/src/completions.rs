//! Every answer that comes, when it comes, in a file that is whole whatever becomes of the run: what is known of a run
//! that loses a worker and does not survive it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use bench_record::found::Found;

/// Name of the file beside the items.
pub const FILE_NAME: &str = "completions.csv";
/// Bytes of such a file: a plugin may answer any number of times.
pub const LARGEST: u64 = 1 << 32;

const HEAD: &[u8] = b"what,intended_ns,answered_ns\n";

/// What an answer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The first to its query.
    Ok,
    /// As well, and a failure.
    Failed,
    /// Its query had been answered.
    Duplicate,
    /// Nobody had asked.
    Unexpected,
}

impl What {
    const ALL: [Self; 4] = [Self::Ok, Self::Failed, Self::Duplicate, Self::Unexpected];

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Duplicate => "duplicate",
            Self::Unexpected => "unexpected",
        }
    }
}

/// An answer. Monotonic nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    pub what: What,
    /// When its query was to be handed out; of a first answer only.
    pub intended_ns: Option<u64>,
    pub answered_ns: u64,
}

/// The file, while answers come.
#[derive(Debug)]
pub struct Completions {
    file: File,
    room: u64,
    lines: Vec<u8>,
}

impl Completions {
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file, room: LARGEST, lines: HEAD.to_vec() }
    }

    pub fn add(&mut self, completion: Completion) {
        let Completion { what, intended_ns, answered_ns } = completion;
        let intended = intended_ns.map_or(String::new(), |ns| ns.to_string());
        // Memory takes what it is given.
        let _ = writeln!(self.lines, "{},{intended},{answered_ns}", what.name());
    }

    /// Writes what was added, so that it is there should the process end now.
    ///
    /// # Errors
    /// When it cannot be written, or is too much.
    pub fn flush(&mut self) -> io::Result<()> {
        let left = self.room.checked_sub(self.lines.len() as u64);
        self.room =
            left.ok_or_else(|| io::Error::other(format!("{FILE_NAME} has more than {LARGEST} bytes")))?;
        self.file.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}

/// Reads back what was kept. The last line may be cut short: then the process ended while it wrote it.
///
/// # Errors
/// When it cannot be read, or is no such file.
pub fn read(path: &Path) -> io::Result<Vec<Completion>> {
    let mut text = String::new();
    Found::LEFT.at_most(LARGEST).open(path)?.take(LARGEST).read_to_string(&mut text)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut lines = whole.lines();
    let wrong = |line: &str| io::Error::other(format!("{}: '{line}' is no line of it", path.display()));
    if lines.next().is_none_or(|head| head.as_bytes() != HEAD.trim_ascii_end()) {
        return Err(wrong(text.lines().next().unwrap_or_default()));
    }
    lines.map(|line| completion(line).ok_or_else(|| wrong(line))).collect()
}

fn completion(line: &str) -> Option<Completion> {
    let mut cells = line.split(',');
    let name = cells.next()?;
    let what = What::ALL.into_iter().find(|what| what.name() == name)?;
    let intended = cells.next()?;
    let intended_ns = if intended.is_empty() { None } else { Some(intended.parse().ok()?) };
    Some(Completion { what, intended_ns, answered_ns: cells.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(completions: &[Completion]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mut file = Completions::new(File::create(&path).unwrap());
        completions.iter().for_each(|completion| file.add(*completion));
        file.flush().unwrap();
        (folder, path)
    }

    #[test]
    fn answers_come_back_as_they_came_and_a_line_that_was_cut_short_is_none() {
        let first = |what| Completion { what, intended_ns: Some(17), answered_ns: 29 };
        let other = |what| Completion { what, intended_ns: None, answered_ns: u64::MAX };
        let all = [first(What::Ok), first(What::Failed), other(What::Duplicate), other(What::Unexpected)];
        let (_folder, path) = kept(&all);
        assert_eq!(read(&path).unwrap(), all);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 3]).unwrap();
        assert_eq!(read(&path).unwrap(), all[..3]);
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_its_line() {
        let (_folder, path) = kept(&[]);
        assert_eq!(read(&path).unwrap(), []);
        for wrong in [
            "what,intended_ns,answered_ns\nmaybe,1,2\n",
            "what,intended_ns,answered_ns\nok,x,2\n",
            "a,b\n",
            "",
        ] {
            std::fs::write(&path, wrong).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains("is no line of it"), "{wrong}");
        }
    }
}
