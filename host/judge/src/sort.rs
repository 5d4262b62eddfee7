//! Sorts more records than fit in memory.
//!
//! Records go into a batch: keys, facts and finished rows in one block of bytes, without an
//! allocation each. A full batch is sorted and written to a nameless temporary file, and in the end
//! all batches are merged. Memory is bounded by the batches being filled and one small buffer per
//! file, however many records there are. A comparison that fits in one batch, and nearly every one
//! does, touches no file.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use super::facts::{BYTES, Facts};

/// A batch is full at this size.
pub(crate) const BATCH_BYTES: usize = 24 << 20;

const BUFFER_BYTES: usize = 128 << 10;
const HEADER: usize = 8;

/// Records waiting to be sorted.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    entries: Vec<(u64, u32)>,
}

/// A record as it comes out.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub key: &'a [u8],
    facts: &'a [u8],
    pub row: &'a [u8],
}

impl Entry<'_> {
    pub fn facts(&self) -> Facts {
        Facts::decode(self.facts)
    }
}

impl Batch {
    pub fn push(&mut self, key: &[u8], facts: &Facts, row: &[u8]) {
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(row.len() as u32).to_le_bytes());
        facts.encode(&mut self.bytes);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(row);
        self.entries.push((0, offset));
    }

    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn entry(&self, offset: u32) -> Entry<'_> {
        entry(&self.bytes[offset as usize..])
    }

    /// Most keys begin alike. The eight bytes after what all have in common decide nearly every
    /// comparison without following a pointer.
    pub fn sort(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let key = |offset: u32| entry(&bytes[offset as usize..]).key;
        let Some((_, first)) = self.entries.first().copied() else { return };
        let mut common = key(first).len();
        for (_, offset) in &self.entries {
            common = key(first).iter().zip(key(*offset)).take(common).take_while(|(a, b)| a == b).count();
        }
        for (prefix, offset) in &mut self.entries {
            let mut next = [0; 8];
            let rest = &key(*offset)[common.min(key(*offset).len())..];
            let length = rest.len().min(next.len());
            next[..length].copy_from_slice(&rest[..length]);
            *prefix = u64::from_be_bytes(next);
        }
        self.entries.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))));
        self.bytes = bytes;
    }

    /// Writes the sorted batch to a file without a name, which vanishes with the process.
    pub fn spill(&mut self, folder: &Path) -> io::Result<Run> {
        let mut file = tempfile::tempfile_in(folder)?;
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, &mut file);
        for (_, offset) in &self.entries {
            let entry = self.entry(*offset);
            let length = HEADER + BYTES + entry.key.len() + entry.row.len();
            writer.write_all(&self.bytes[*offset as usize..][..length])?;
        }
        writer.flush()?;
        drop(writer);
        file.rewind()?;
        self.bytes.clear();
        self.entries.clear();
        Ok(Run::File(BufReader::with_capacity(BUFFER_BYTES, file)))
    }
}

fn entry(bytes: &[u8]) -> Entry<'_> {
    let (key, row) = lengths(bytes);
    let (facts, rest) = bytes[HEADER..].split_at(BYTES);
    let (key, rest) = rest.split_at(key);
    Entry { key, facts, row: &rest[..row] }
}

fn lengths(header: &[u8]) -> (usize, usize) {
    let both = header.first_chunk::<HEADER>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (both as u32 as usize, (both >> 32) as usize)
}

/// A sorted batch.
pub(crate) enum Run {
    Memory(Batch),
    File(BufReader<File>),
}

struct Cursor {
    run: Run,
    next: usize,
    buffer: Vec<u8>,
}

impl Cursor {
    fn current(&self) -> Entry<'_> {
        match &self.run {
            Run::Memory(batch) => batch.entry(batch.entries[self.next - 1].1),
            Run::File(_) => entry(&self.buffer),
        }
    }

    /// Moves to the next record. Says whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        self.next += 1;
        match &mut self.run {
            Run::Memory(batch) => Ok(self.next <= batch.entries.len()),
            Run::File(reader) => {
                self.buffer.resize(HEADER, 0);
                match reader.read_exact(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                    other => other?,
                }
                let (key, row) = lengths(&self.buffer);
                self.buffer.resize(HEADER + BYTES + key + row, 0);
                reader.read_exact(&mut self.buffer[HEADER..])?;
                Ok(true)
            }
        }
    }
}

/// Sorted batches as one sorted stream. A binary heap of cursors, smallest key on top.
pub(crate) struct Merge {
    cursors: Vec<Cursor>,
    heap: Vec<usize>,
    started: bool,
}

impl Merge {
    pub fn new(runs: Vec<Run>) -> io::Result<Self> {
        let mut cursors: Vec<_> =
            runs.into_iter().map(|run| Cursor { run, next: 0, buffer: Vec::new() }).collect();
        let mut heap = Vec::new();
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if cursor.advance()? {
                heap.push(index);
            }
        }
        let mut merge = Merge { cursors, heap, started: false };
        for place in (0..merge.heap.len()).rev() {
            merge.sink(place);
        }
        Ok(merge)
    }

    /// The next record in order. It borrows from the merge, so nothing is copied.
    pub fn next(&mut self) -> io::Result<Option<Entry<'_>>> {
        if self.started
            && let Some(top) = self.heap.first().copied()
        {
            if !self.cursors[top].advance()? {
                self.heap.swap_remove(0);
            }
            self.sink(0);
        }
        self.started = true;
        Ok(self.heap.first().map(|top| self.cursors[*top].current()))
    }

    fn order(&self, a: usize, b: usize) -> Ordering {
        let key = |place: usize| self.cursors[self.heap[place]].current().key;
        key(a).cmp(key(b))
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2];
            let inside = children.into_iter().filter(|child| *child < self.heap.len());
            let Some(least) = inside.min_by(|a, b| self.order(*a, *b)) else { return };
            if self.order(place, least).is_le() {
                return;
            }
            self.heap.swap(place, least);
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(seed: u64) -> Facts {
        Facts {
            seed,
            input: seed,
            drawn: false,
            nodes: 1,
            parallelism: 1,
            metrics: [1.0; super::super::Metric::ALL.len()],
            pair: None,
            items: 0,
            setting: 0,
            digest: None,
            config: 0,
            api: 0,
            host: 0,
            embedding: 0,
            invalid: false,
            partial: false,
            closed: false,
            until_known: false,
        }
    }

    #[test]
    fn batches_in_memory_and_in_files_merge_into_one_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut runs = Vec::new();
        for part in 0..5_u64 {
            let mut batch = Batch::default();
            for i in 0..200_u64 {
                let number = (i * 7919 + part * 104_729) % 10_007;
                batch.push(
                    format!("common-{number:05}").as_bytes(),
                    &facts(number),
                    format!("row {number}").as_bytes(),
                );
            }
            batch.sort();
            runs.push(if part % 2 == 0 { batch.spill(dir.path()).unwrap() } else { Run::Memory(batch) });
        }
        let mut merge = Merge::new(runs).unwrap();
        let mut seen = Vec::new();
        while let Some(entry) = merge.next().unwrap() {
            assert_eq!(entry.row, format!("row {}", entry.facts().seed).as_bytes());
            seen.push(entry.key.to_vec());
        }
        assert_eq!(seen.len(), 1_000);
        assert!(seen.is_sorted());
    }

    #[test]
    fn nothing_merges_into_nothing() {
        assert!(Merge::new(vec![Run::Memory(Batch::default())]).unwrap().next().unwrap().is_none());
    }
}
