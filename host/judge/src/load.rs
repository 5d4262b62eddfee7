//! Reads results files of any size and hands over each run once, in order.
//!
//! One thread reads blocks of whole lines; the others parse them into batches that are sorted and,
//! if need be, spilled (`sort`). Then all batches are merged. After the sort, copies of one
//! run are neighbours, so "never count a run twice" needs no memory: a record is a copy if its
//! neighbour from *another* file has the same backend, workload, run and time. Within one file only
//! equal lines are copies: clocks are coarse, and two repeats may end in the same tick.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::row::{Parsed, Place};
use super::sort::{Batch, Entry, Merge, Run};
use super::sources::{Format, Source, line_number};
use super::{Result, key};
use bench_record::{Error, bom, csv, jsonl, table};

const BLOCK_BYTES: u64 = 1 << 20;

/// More threads than this wait for the disk, and each holds a batch.
const MOST_WORKERS: usize = 3;

/// Whole lines of a JSONL file, or a CSV file as such.
enum Block {
    Lines { source: u32, offset: u64, bytes: Vec<u8> },
    Table { source: u32 },
}

/// What reading came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs handed over.
    pub records: u64,
    /// Copies left out.
    pub duplicates: u64,
}

/// Calls `each` for every run in `sources`, sorted by workload, run, backend and time.
/// `scratch` is a folder for what does not fit in memory.
pub(crate) fn for_each(
    sources: &[Source],
    scratch: &Path,
    mut each: impl FnMut(Entry) -> Result<()>,
) -> Result<Counts> {
    let runs = sorted_runs(sources, scratch)?;
    let failed = |error| Error::io("read what was sorted in", scratch)(error);
    let mut merge = Merge::new(runs).map_err(failed)?;
    let mut counts = Counts::default();
    let mut last = Last::default();
    while let Some(entry) = merge.next().map_err(failed)? {
        if last.is_copied_by(&entry) {
            counts.duplicates += 1;
        } else {
            last.remember(&entry);
            each(entry)?;
            counts.records += 1;
        }
    }
    Ok(counts)
}

/// The identity handed over last, the file that its runs come from, and a hash of each of them.
#[derive(Default)]
struct Last {
    identity: Vec<u8>,
    source: u32,
    rows: HashSet<u64>,
}

impl Last {
    fn is_copied_by(&self, entry: &Entry) -> bool {
        key::identity(entry.key) == self.identity
            && (key::source(entry.key) != self.source || self.rows.contains(&xxh3_64(entry.row)))
    }

    fn remember(&mut self, entry: &Entry) {
        let identity = key::identity(entry.key);
        if identity != self.identity {
            self.identity.clear();
            self.identity.extend_from_slice(identity);
            self.source = key::source(entry.key);
            self.rows.clear();
        }
        self.rows.insert(xxh3_64(entry.row));
    }
}

fn sorted_runs(sources: &[Source], scratch: &Path) -> Result<Vec<Run>> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_WORKERS);
    let (sender, receiver) = sync_channel(workers + 1);
    let receiver = Mutex::new(receiver);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let parsing: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| Worker::new(sources, scratch).work(&receiver, &stop)))
            .collect();
        let read = read_blocks(sources, sender, &stop);
        let mut runs = Vec::new();
        let mut failures: Vec<Failure> = Vec::new();
        for worker in parsing {
            match worker.join() {
                Ok(Ok(found)) => runs.extend(found),
                Ok(Err(failure)) => failures.push(failure),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        // The first bad line of the first bad file, whichever thread came upon it.
        failures.sort_by_key(|failure| failure.at);
        match failures.into_iter().next() {
            Some(first) => Err(first.error.into()),
            None => read.map(|()| runs).map_err(Into::into),
        }
    })
}

fn read_blocks(sources: &[Source], sender: SyncSender<Block>, stop: &AtomicBool) -> bench_record::Result<()> {
    for (source, number) in sources.iter().zip(0..) {
        if source.format == Format::Csv {
            let _ = sender.send(Block::Table { source: number });
            continue;
        }
        let mut file = table::FOUND.open(&source.path).map_err(Error::io("open", &source.path))?;
        let (mut offset, mut rest) = (0, Vec::new());
        loop {
            let mut bytes = std::mem::take(&mut rest);
            let read = (&mut file).take(BLOCK_BYTES).read_to_end(&mut bytes);
            let ended = read.map_err(Error::io("read", &source.path))? == 0;
            if !ended {
                let lines = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
                rest = bytes.split_off(lines);
                if rest.len() as u64 > jsonl::MAX_LINE_BYTES {
                    let error = Error::LineTooLong { limit: jsonl::MAX_LINE_BYTES };
                    let line = line_number(&source.path, offset + lines as u64);
                    return Err(error.at_line(&source.path, line));
                }
            }
            let length = bytes.len() as u64;
            if length > 0 {
                // A worker that failed takes no more; then there is nothing left to send for.
                let _ = sender.send(Block::Lines { source: number, offset, bytes });
            }
            offset += length;
            if ended || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    Ok(())
}

struct Failure {
    at: (u32, u64),
    error: Error,
}

struct Worker<'a> {
    sources: &'a [Source],
    names: Vec<String>,
    scratch: &'a Path,
    parsed: Parsed,
    batch: Batch,
    runs: Vec<Run>,
}

impl<'a> Worker<'a> {
    fn new(sources: &'a [Source], scratch: &'a Path) -> Self {
        let names = sources.iter().map(|source| source.path.display().to_string()).collect();
        let (parsed, batch) = (Parsed::default(), Batch::default());
        Worker { sources, names, scratch, parsed, batch, runs: Vec::new() }
    }

    /// After a failure the blocks are still taken, so that the reader never waits for nobody.
    fn work(
        mut self,
        blocks: &Mutex<Receiver<Block>>,
        stop: &AtomicBool,
    ) -> std::result::Result<Vec<Run>, Failure> {
        let mut failure: Option<Failure> = None;
        loop {
            let block = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(block) = block else { break };
            if failure.is_some() {
                continue;
            }
            let taken = match block {
                Block::Lines { source, offset, bytes } => self.lines(source, offset, &bytes),
                Block::Table { source } => self.table(source),
            };
            if let Err(found) = taken {
                stop.store(true, Ordering::Relaxed);
                failure = Some(found);
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !self.batch.is_empty() {
            self.batch.sort();
            // Beside spilled batches the last one may stay: it is one of as many as there are threads.
            self.runs.push(Run::Memory(std::mem::take(&mut self.batch)));
        }
        Ok(self.runs)
    }

    fn lines(&mut self, source: u32, start: u64, bytes: &[u8]) -> std::result::Result<(), Failure> {
        let mut from = 0;
        while from < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |at| from + at);
            let (line, offset) = (&bytes[from..end], start + from as u64);
            from = end + 1;
            if bom::strip(line).trim_ascii().is_empty() {
                continue;
            }
            let name = &self.names[source as usize];
            let place = Place { source, name, is_csv: false, offset };
            let facts = self.parsed.read(line, place).map_err(|error| {
                let path = &self.sources[source as usize].path;
                Failure { at: (source, offset), error: error.at_line(path, line_number(path, offset)) }
            })?;
            self.batch.push(&self.parsed.key, &facts, self.parsed.row.bytes());
            self.spill_when_full(source, offset)?;
        }
        Ok(())
    }

    fn table(&mut self, source: u32) -> std::result::Result<(), Failure> {
        let path = &self.sources[source as usize].path;
        let rows = csv::read(path).map_err(|error| Failure { at: (source, 0), error })?;
        for (row, offset) in rows.zip(0..) {
            let failed = |error| Failure { at: (source, offset), error };
            let place = Place { source, name: &self.names[source as usize], is_csv: true, offset };
            let facts = self.parsed.read_record(&row.map_err(failed)?, place).map_err(failed)?;
            self.batch.push(&self.parsed.key, &facts, self.parsed.row.bytes());
            self.spill_when_full(source, offset)?;
        }
        Ok(())
    }

    fn spill_when_full(&mut self, source: u32, offset: u64) -> std::result::Result<(), Failure> {
        if self.batch.is_full() {
            self.batch.sort();
            let failed = |error| Failure {
                at: (source, offset),
                error: Error::io("write what was sorted in", self.scratch)(error),
            };
            let run = self.batch.spill(self.scratch).map_err(failed)?;
            self.runs.push(run);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources;
    use bench_record::testing::example_value;
    use serde_json::{Value, json};
    use std::path::PathBuf;

    fn record(backend: &str, run: &str, second: u32) -> Value {
        let mut value = example_value();
        value["backend"] = json!(backend);
        value["run_id"] = json!(run);
        value["timestamp"] = json!(format!("2026-01-31T12:00:{second:02}Z"));
        value
    }

    fn write(path: PathBuf, records: &[Value]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let lines: Vec<String> = records.iter().map(|r| format!("{r}\n")).collect();
        std::fs::write(path, lines.concat()).unwrap();
    }

    fn load(paths: &[PathBuf]) -> Result<(Counts, Vec<String>)> {
        let scratch = tempfile::tempdir().unwrap();
        let mut rows = Vec::new();
        let counts = for_each(&sources::find(paths)?, scratch.path(), |entry| {
            rows.push(String::from_utf8_lossy(entry.row).split(',').take(3).collect::<Vec<_>>().join(","));
            Ok(())
        })?;
        Ok((counts, rows))
    }

    #[test]
    fn rows_come_sorted_by_workload_run_and_backend() {
        let dir = tempfile::tempdir().unwrap();
        let records = [record("sage", "2", 1), record("ray", "2", 2), record("sage", "1", 3)];
        write(dir.path().join("unified_results.jsonl"), &records);
        let (counts, rows) = load(&[dir.path().into()]).unwrap();
        assert_eq!(rows, ["sage,wl4,1", "ray,wl4,2", "sage,wl4,2"]);
        assert_eq!(counts, Counts { records: 3, duplicates: 0 });
    }

    #[test]
    fn a_copy_in_another_file_is_not_counted_again() {
        let dir = tempfile::tempdir().unwrap();
        // Whatever a name looks like to a spreadsheet.
        let records = [record("sage", "=1", 1), record("ray", "=1", 1)];
        let lock = bench_record::OutputLock::acquire(&dir.path().join("a"), Default::default()).unwrap();
        let typed: Vec<_> =
            records.iter().map(|r| bench_record::Record::for_writing(r.clone()).unwrap()).collect();
        jsonl::append(&lock, &typed).unwrap();
        csv::regenerate(&lock).unwrap();
        write(dir.path().join("b/unified_results.jsonl"), &records[..1]);
        let (counts, _) = load(&[dir.path().into(), dir.path().join("a/unified_results.csv")]).unwrap();
        assert_eq!(counts, Counts { records: 2, duplicates: 3 });
    }

    #[test]
    fn repeats_in_the_same_tick_are_not_copies_but_equal_lines_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut other = record("sage", "1", 1);
        other["throughput"] = json!(99.0);
        write(dir.path().join("r.jsonl"), &[record("sage", "1", 1), other, record("sage", "1", 1)]);
        let (counts, _) = load(&[dir.path().join("r.jsonl")]).unwrap();
        assert_eq!(counts, Counts { records: 2, duplicates: 1 });
    }

    #[test]
    fn the_first_bad_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unified_results.jsonl");
        std::fs::write(&path, format!("{}\n\n{{\n[]\n", record("sage", "1", 1))).unwrap();
        let error = load(&[path]).unwrap_err().to_string();
        assert!(error.contains("unified_results.jsonl:3: not valid JSON"), "{error}");
    }

    #[test]
    fn a_byte_order_mark_and_the_line_ends_of_other_systems_are_no_part_of_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unified_results.jsonl");
        let (one, two) = (record("sage", "1", 1), record("ray", "1", 2));
        std::fs::write(&path, format!("\u{feff}{one}\r\n\r\n{two}\r\n")).unwrap();
        assert_eq!(load(&[path]).unwrap().1, ["ray,wl4,1", "sage,wl4,1"]);
    }

    #[test]
    fn a_last_line_without_an_end_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unified_results.jsonl");
        std::fs::write(&path, record("sage", "1", 1).to_string()).unwrap();
        assert_eq!(load(&[path]).unwrap().0.records, 1);
    }
}
