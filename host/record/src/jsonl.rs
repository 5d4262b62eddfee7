//! `unified_results.jsonl`: one record per line, only ever added to.
//!
//! Why an append copies the file. Appending in place is one `write`, but a power cut or a full
//! disk in the middle of it leaves half a line, and every reader that is not ours (`jq`, pandas)
//! would trip over it. Repairing on the next start would not help those readers. So an append
//! writes old content plus new lines under a temporary name and renames it. A reader sees all of
//! the new records or none.
//!
//! The price is a copy of the file. It stays inside the kernel, costs nothing on file systems that
//! share blocks, and is far less than rebuilding the CSV, which every append asks for anyway.
//! Records that belong together are appended together, in one copy.
//!
//! Appending checks the last line first, and nothing else, so that its own cost does not depend on
//! how much was recorded before. A damaged last line is reported and left alone.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Error, OutputLock, Record, Result, atomic, bom, json_style, names, table};

/// Name of the file inside an output directory.
pub const FILE_NAME: &str = names::JSONL;

/// No record is longer. A file without line ends must not fill the memory.
pub const MAX_LINE_BYTES: u64 = table::LONGEST_LINE;

/// Adds `records` to the file of the locked directory, all together or none.
pub fn append(lock: &OutputLock, records: &[Record]) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let mut lines = String::new();
    for record in records {
        record.validate()?;
        let line = json_style::to_line(record)?;
        can_be_read_back(&line)?;
        lines.push_str(&line);
        lines.push('\n');
    }

    let path = lock.path(FILE_NAME);
    let mut existing = match table::FOUND.open(&path) {
        Ok(file) => Some(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("open", &path)(e)),
    };
    let needs_line_end = match &mut existing {
        Some(file) => check_last_line(file, &path)?,
        None => false,
    };
    atomic::write_with(&path, |file| {
        let copied = existing.as_mut().map_or(Ok(0), |old| io::copy(old, file));
        copied.map_err(Error::io("copy", &path))?;
        if needs_line_end {
            lines.insert(0, '\n');
        }
        file.write_all(lines.as_bytes()).map_err(Error::io("write", &path))
    })
}

/// One line that nobody can read costs a folder all of its records, so none is ever written. What makes one is in the
/// hands of a plugin: how much it says, and how deeply it nests what it says.
fn can_be_read_back(line: &str) -> Result<()> {
    if line.len() as u64 >= MAX_LINE_BYTES {
        return Err(Error::Unreadable(Box::new(Error::LineTooLong { limit: MAX_LINE_BYTES })));
    }
    parse(line.as_bytes()).map(drop).map_err(|cause| Error::Unreadable(Box::new(cause)))
}

/// Opens a file of records. They come one at a time, so the file may be of any size.
pub fn read(path: &Path) -> Result<Reader> {
    let file = table::FOUND.open(path).map_err(Error::io("open", path))?;
    Ok(Reader {
        path: path.to_path_buf(),
        input: BufReader::new(file),
        line: 0,
        buffer: Vec::new(),
        broken: false,
    })
}

/// The records of a file, in order. Blank lines are skipped. A bad line gives an error with its
/// number, and the next call goes on with the line after it.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    line: u64,
    buffer: Vec<u8>,
    broken: bool,
}

impl Reader {
    /// Number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Whether there was a line.
    fn next_line(&mut self) -> Result<bool> {
        self.buffer.clear();
        self.line += 1;
        let mut limited = (&mut self.input).take(MAX_LINE_BYTES + 1);
        let read = limited.read_until(b'\n', &mut self.buffer).map_err(Error::io("read", &self.path))?;
        if read as u64 > MAX_LINE_BYTES {
            return Err(Error::LineTooLong { limit: MAX_LINE_BYTES });
        }
        Ok(read > 0)
    }
}

impl Iterator for Reader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.broken {
            match self.next_line() {
                Ok(false) => return None,
                Ok(true) if bom::strip(&self.buffer).trim_ascii().is_empty() => {}
                Ok(true) => return Some(parse(&self.buffer).map_err(|e| e.at_line(&self.path, self.line))),
                Err(error) => {
                    // There is no telling where the next line begins.
                    self.broken = true;
                    return Some(Err(error.at_line(&self.path, self.line)));
                }
            }
        }
        None
    }
}

fn parse(line: &[u8]) -> Result<Record> {
    Record::from_stored(bom::json(line)?)
}

/// Fails if the last line is not a record. Otherwise says whether its line end is missing, as an
/// editor may leave it. Leaves the file at its start.
fn check_last_line(file: &mut File, path: &Path) -> Result<bool> {
    let line = last_line(file).map_err(Error::io("read", path))?;
    if line.len() as u64 > MAX_LINE_BYTES {
        return Err(Error::LineTooLong { limit: MAX_LINE_BYTES }.in_file(path));
    }
    if bom::strip(&line).trim_ascii().is_empty() {
        return Ok(false);
    }
    if let Err(error) = parse(&line) {
        // Only now is it worth counting lines.
        let number = count_lines(file).map_err(Error::io("read", path))?;
        return Err(error.at_line(path, number));
    }
    Ok(!line.ends_with(b"\n"))
}

/// Reads backwards until a line end other than the file's last byte.
fn last_line(file: &mut File) -> io::Result<Vec<u8>> {
    const BLOCK: u64 = 64 << 10;
    let end = file.seek(SeekFrom::End(0))?;
    let mut start = end;
    let mut line = Vec::new();
    while start > 0 && line.len() as u64 <= MAX_LINE_BYTES {
        let from = start.saturating_sub(BLOCK);
        let mut block = vec![0; (start - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut block)?;
        // The very last byte may be a line end: it closes the line we look for.
        let searched = if start == end { block.len() - 1 } else { block.len() };
        let found = block[..searched].iter().rposition(|&byte| byte == b'\n');
        let kept = found.map_or(0, |position| position + 1);
        line.splice(0..0, block.drain(kept..));
        start = if found.is_some() { 0 } else { from };
    }
    file.rewind()?;
    Ok(line)
}

fn count_lines(file: &mut File) -> io::Result<u64> {
    file.rewind()?;
    let mut input = BufReader::new(file);
    let mut lines = 0;
    while input.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example, example_value};
    use std::fs;
    use std::time::Duration;

    fn locked() -> (tempfile::TempDir, OutputLock, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let lock = OutputLock::acquire(dir.path(), Duration::ZERO).unwrap();
        let path = lock.path(FILE_NAME);
        (dir, lock, path)
    }

    fn numbered(seed: u64) -> Record {
        Record { seed, ..example() }
    }

    fn seeds(path: &Path) -> Vec<u64> {
        read(path).unwrap().map(|record| record.unwrap().seed).collect()
    }

    #[test]
    fn records_come_back_in_the_order_they_were_appended() {
        let (_dir, lock, path) = locked();
        append(&lock, &[numbered(1)]).unwrap();
        append(&lock, &[numbered(2), numbered(3)]).unwrap();
        assert_eq!(seeds(&path), [1, 2, 3]);
        assert_eq!(read(&path).unwrap().next().unwrap().unwrap(), numbered(1));
    }

    #[test]
    fn a_line_looks_as_python_writes_it() {
        let (_dir, lock, path) = locked();
        append(&lock, &[example()]).unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with(r#"{"backend": "sage", "workload": "wl4", "run_id": "7f2c", "seed": 42, "#));
        assert!(text.contains(r#""latency_p99": null, "success_rate": 1.0, "#), "{text}");
        assert!(text.contains(r#"{"scheduler": "fifo", "note": "ü, \"quoted\"\nsecond line"}"#), "{text}");
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn an_invalid_record_writes_nothing() {
        let (_dir, lock, path) = locked();
        let bad = Record { nodes: 0, ..example() };
        assert!(append(&lock, &[example(), bad]).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_record_that_could_not_be_read_back_is_not_written_and_the_others_stay_readable() {
        let (_dir, lock, path) = locked();
        append(&lock, &[numbered(1)]).unwrap();
        let mut deep = serde_json::Value::Null;
        (0..126).for_each(|_| deep = serde_json::Value::Array(vec![deep.take()]));
        let with = |key: &str, value: serde_json::Value| {
            let mut record = numbered(2);
            record.extra.insert(key.into(), value);
            record
        };
        let long = "x".repeat(MAX_LINE_BYTES as usize);
        for (bad, cause) in [
            (with("deep", deep), "not valid JSON: recursion limit exceeded"),
            (with("long", long.into()), "the line is longer than"),
        ] {
            let error = append(&lock, &[numbered(3), bad]).unwrap_err();
            assert!(matches!(error, Error::Unreadable(_)) && error.to_string().contains(cause), "{error}");
        }
        append(&lock, &[numbered(4)]).unwrap();
        assert_eq!(seeds(&path), [1, 4]);
    }

    #[test]
    fn what_is_no_regular_file_is_named_and_never_waited_for() {
        let (_dir, lock, path) = locked();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        for error in [append(&lock, &[numbered(1)]).unwrap_err(), read(&path).unwrap_err()] {
            assert!(error.to_string().contains("unified_results.jsonl: it is a FIFO"), "{error}");
            assert!(error.help().starts_with("mv "), "{}", error.help());
        }
    }

    #[test]
    fn a_truncated_last_line_is_named_and_nothing_is_lost() {
        let (_dir, lock, path) = locked();
        append(&lock, &[numbered(1), numbered(2)]).unwrap();
        let mut damaged = fs::read(&path).unwrap();
        damaged.truncate(damaged.len() - 20);
        fs::write(&path, &damaged).unwrap();
        let error = append(&lock, &[numbered(3)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:2: not valid JSON", path.display())), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }

    #[test]
    fn a_missing_final_line_end_is_supplied() {
        let (_dir, lock, path) = locked();
        append(&lock, &[numbered(1)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.trim_end()).unwrap();
        append(&lock, &[numbered(2)]).unwrap();
        assert_eq!(seeds(&path), [1, 2]);
    }

    #[test]
    fn a_byte_order_mark_and_the_line_ends_of_other_systems_are_no_part_of_a_record() {
        let (_dir, lock, path) = locked();
        append(&lock, &[numbered(1)]).unwrap();
        let line = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("\u{feff}{}\r\n", line.trim_end())).unwrap();
        // The last line, which an append looks at, is the first as well.
        append(&lock, &[numbered(2)]).unwrap();
        assert_eq!(seeds(&path), [1, 2]);
        fs::write(&path, "\u{feff}").unwrap();
        append(&lock, &[numbered(3)]).unwrap();
        assert_eq!(seeds(&path), [3]);
    }

    #[test]
    fn an_empty_file_is_a_good_start() {
        let (_dir, lock, path) = locked();
        fs::write(&path, "").unwrap();
        append(&lock, &[numbered(1)]).unwrap();
        assert_eq!(seeds(&path), [1]);
    }

    #[test]
    fn blank_lines_are_skipped() {
        let (_dir, lock, path) = locked();
        append(&lock, &[numbered(1)]).unwrap();
        fs::write(&path, format!("\n{}\n \n", fs::read_to_string(&path).unwrap())).unwrap();
        append(&lock, &[numbered(2)]).unwrap();
        assert_eq!(seeds(&path), [1, 2]);
    }

    #[test]
    fn a_bad_line_in_the_middle_is_named_and_reading_can_go_on() {
        let (_dir, lock, path) = locked();
        append(&lock, &[numbered(1)]).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{good}{{\"backend\": \"sage\"}}\n\u{7f}\n{good}")).unwrap();
        let all: Vec<_> = read(&path).unwrap().collect();
        assert_eq!(all.len(), 4);
        let errors: Vec<_> = all.iter().filter_map(|r| r.as_ref().err()).map(ToString::to_string).collect();
        assert!(errors[0].contains(":2: Missing required fields: workload, run_id, seed"), "{errors:?}");
        assert!(errors[1].contains(":3: not valid JSON"), "{errors:?}");
    }

    #[test]
    fn a_last_line_longer_than_one_block_is_checked_whole() {
        let (_dir, lock, path) = locked();
        let mut long = numbered(1);
        long.extra.insert("text".into(), "x".repeat(300_000).into());
        append(&lock, &[numbered(0), long]).unwrap();
        append(&lock, &[numbered(2)]).unwrap();
        assert_eq!(seeds(&path), [0, 1, 2]);
    }

    #[test]
    fn a_file_without_line_ends_is_refused_before_it_fills_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.jsonl");
        // Sparse: it takes no room on disk.
        File::create(&path).unwrap().set_len(MAX_LINE_BYTES * 2).unwrap();
        let all: Vec<_> = read(&path).unwrap().collect();
        assert_eq!(all.len(), 1);
        assert!(all[0].as_ref().unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.jsonl");
        fs::write(&path, "[".repeat(100_000)).unwrap();
        assert!(read(&path).unwrap().next().unwrap().is_err());
    }

    #[test]
    fn the_python_versions_records_can_be_read() {
        let mut old = example_value();
        let map = old.as_object_mut().unwrap();
        let extra = map.shift_remove("extra").unwrap();
        map.insert("backend_hash".into(), "7e5d".into());
        map.insert("metadata".into(), extra);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.jsonl");
        fs::write(&path, old.to_string()).unwrap();
        let record = read(&path).unwrap().next().unwrap().unwrap();
        assert_eq!(record.extra["scheduler"], "fifo");
        assert_eq!(record.extra["backend_hash"], "7e5d");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nonexistent/r.jsonl")).unwrap_err().to_string();
        assert!(error.contains("cannot open /nonexistent/r.jsonl"), "{error}");
    }
}
