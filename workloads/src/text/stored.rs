//! Vectors that a service gave, kept by text: each text is asked for once, and has one vector from then on.
//!
//! A service need not give the same text the same vector twice: another batch or another thread adds up in another
//! order, and a bit in the last place is enough to turn two ranks round. So the first vector that was given is kept,
//! and every process of every backend that shares the cache takes that one. And what was paid for is not lost when the
//! service, the machine or the user ends a preparation half-way.
//!
//! A file is a header and records of one length, each a hash of the text, the vector in 8 bits, and a hash of both.
//! Records are only ever added, under a lock; one that a killed process left unfinished is overwritten. Of two vectors
//! for one text the first counts.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::regular;
use crate::vector::Quantised;

const MAGIC: &[u8; 16] = b"bench vectors 1\n";
const HEADER: u64 = 20;
const KEY: usize = 16;
const CHECK: usize = 8;
/// Bytes that are read at once.
const PORTION: usize = 1 << 22;

/// The vectors of one model in one dimension.
#[derive(Debug)]
pub struct StoredVectors {
    path: PathBuf,
    file: File,
    dimension: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the vector of a text is, by the hash of the text.
    records: HashMap<u128, u64>,
    /// How far the file was read.
    read: u64,
}

/// What stands for a text.
#[must_use]
pub fn key(text: &str) -> u128 {
    xxh3_128(text.as_bytes())
}

impl StoredVectors {
    /// Opens a file of vectors, which may not be there yet.
    ///
    /// # Errors
    /// When it cannot be opened, or is something else.
    pub fn open(path: &Path, dimension: usize) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let options = &mut File::options();
        let (file, _) = regular::own(options.read(true).write(true).create(true).truncate(false), path)?;
        let stored = Self { path: path.to_owned(), file, dimension, state: Mutex::default() };
        stored.read_on(&mut stored.state())?;
        Ok(stored)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers of a vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The vector of a text, if it is kept.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&self, text: &str) -> io::Result<Option<Quantised>> {
        let place = self.state().records.get(&key(text)).copied();
        place.map(|place| self.vector_at(place)).transpose()
    }

    /// Keeps the vectors of texts that have none yet, whoever else does the same, and gives those that count.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, given: &[(&str, Quantised)]) -> io::Result<Vec<Quantised>> {
        let mut state = self.state();
        if given.iter().any(|(text, _)| !state.records.contains_key(&key(text))) {
            self.file.lock()?;
            let added = self.add(&mut state, given);
            self.file.unlock()?;
            added?;
        }
        let places: Vec<u64> = given.iter().map(|(text, _)| state.records[&key(text)]).collect();
        drop(state);
        places.into_iter().map(|place| self.vector_at(place)).collect()
    }

    /// The vectors of at most so many texts, those with the lowest keys.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn lowest(&self, most: usize) -> io::Result<Vec<(u128, Quantised)>> {
        let mut places: Vec<(u128, u64)> =
            self.state().records.iter().map(|(key, place)| (*key, *place)).collect();
        places.sort_unstable();
        places.truncate(most);
        places.into_iter().map(|(key, place)| Ok((key, self.vector_at(place)?))).collect()
    }

    /// While the file is locked.
    fn add(&self, state: &mut State, given: &[(&str, Quantised)]) -> io::Result<()> {
        self.read_on(state)?;
        let mut bytes = Vec::new();
        if state.read == 0 {
            bytes.extend_from_slice(MAGIC);
            bytes.extend_from_slice(&(self.dimension as u32).to_le_bytes());
        }
        let begin = state.read;
        let mut added = Vec::new();
        for (text, vector) in given {
            let key = key(text);
            if state.records.contains_key(&key) || added.iter().any(|(known, _)| *known == key) {
                continue;
            }
            added.push((key, begin + bytes.len() as u64));
            let at = bytes.len();
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(bytemuck::cast_slice(&vector.dims));
            let check = xxh3_64(&bytes[at..]);
            bytes.extend_from_slice(&check.to_le_bytes());
        }
        // Also over what a killed process left unfinished.
        self.file.write_all_at(&bytes, begin)?;
        state.read = begin + bytes.len() as u64;
        self.file.set_len(state.read)?;
        state.records.extend(added);
        Ok(())
    }

    /// Takes note of what was added since.
    fn read_on(&self, state: &mut State) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if state.read == 0 {
            if len < HEADER {
                return Ok(());
            }
            let mut header = [0; HEADER as usize];
            self.file.read_exact_at(&mut header, 0)?;
            if header[..16] != MAGIC[..] || header[16..] != (self.dimension as u32).to_le_bytes() {
                let why =
                    format!("{} is no file of vectors of {} numbers", self.path.display(), self.dimension);
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            state.read = HEADER;
        }
        let record = self.record();
        let mut buffer = vec![0; record * (PORTION / record).max(1)];
        while len - state.read >= record as u64 {
            let whole = ((len - state.read) as usize / record * record).min(buffer.len());
            self.file.read_exact_at(&mut buffer[..whole], state.read)?;
            for (number, bytes) in buffer[..whole].chunks_exact(record).enumerate() {
                let (rest, check) = bytes.split_at(record - CHECK);
                // What a machine that went down left half-written is asked for again.
                if xxh3_64(rest).to_le_bytes() == check {
                    let key = u128::from_le_bytes(rest[..KEY].try_into().expect("16 bytes"));
                    state.records.entry(key).or_insert(state.read + (number * record) as u64);
                }
            }
            state.read += whole as u64;
        }
        Ok(())
    }

    fn vector_at(&self, place: u64) -> io::Result<Quantised> {
        let mut dims = vec![0_i8; self.dimension];
        self.file.read_exact_at(bytemuck::cast_slice_mut(&mut dims), place + KEY as u64)?;
        Ok(Quantised::new(dims))
    }

    fn record(&self) -> usize {
        KEY + self.dimension + CHECK
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn vector(first: i8) -> Quantised {
        Quantised::new(vec![first, 7, -128])
    }

    fn open(folder: &TempDir) -> StoredVectors {
        StoredVectors::open(&folder.path().join("embeddings/m.vec"), 3).unwrap()
    }

    #[test]
    fn a_text_has_the_first_vector_that_was_kept_for_every_process() {
        let folder = TempDir::new().unwrap();
        let (one, other) = (open(&folder), open(&folder));
        assert_eq!(one.get("a").unwrap(), None);
        let given = [("a", vector(1)), ("b", vector(2)), ("a", vector(9))];
        assert_eq!(one.keep(&given).unwrap(), [vector(1), vector(2), vector(1)]);
        // Who does not know it yet finds it when it wants to keep its own.
        assert_eq!(other.keep(&[("b", vector(3)), ("c", vector(4))]).unwrap(), [vector(2), vector(4)]);
        let later = open(&folder);
        let found = ["a", "b", "c", "d"].map(|text| later.get(text).unwrap());
        assert_eq!(found, [Some(vector(1)), Some(vector(2)), Some(vector(4)), None]);
    }

    #[test]
    fn what_a_killed_process_left_unfinished_is_overwritten_and_costs_nothing_else() {
        let folder = TempDir::new().unwrap();
        open(&folder).keep(&[("a", vector(1)), ("b", vector(2))]).unwrap();
        let path = folder.path().join("embeddings/m.vec");
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let stored = open(&folder);
            assert_eq!(stored.keep(&[("b", vector(2))]).unwrap(), [vector(2)], "{length}");
            let first = open(&folder).get("a").unwrap();
            assert_eq!(first.is_some(), length >= 20 + 27, "{length}");
        }
    }

    #[test]
    fn a_record_that_is_not_as_it_was_written_is_asked_for_again() {
        let folder = TempDir::new().unwrap();
        open(&folder).keep(&[("a", vector(1)), ("b", vector(2))]).unwrap();
        let path = folder.path().join("embeddings/m.vec");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20 + 16] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let stored = open(&folder);
        assert_eq!((stored.get("a").unwrap(), stored.get("b").unwrap()), (None, Some(vector(2))));
        assert_eq!(stored.keep(&[("a", vector(5))]).unwrap(), [vector(5)]);
        assert_eq!(open(&folder).get("a").unwrap(), Some(vector(5)));
    }

    #[test]
    fn the_lowest_keys_are_the_same_whatever_the_order_in_which_texts_came() {
        let texts = ["a", "b", "c", "d"];
        let of = |order: &[usize]| {
            let folder = TempDir::new().unwrap();
            let stored = open(&folder);
            order.iter().for_each(|&at| drop(stored.keep(&[(texts[at], vector(at as i8))]).unwrap()));
            stored.lowest(3).unwrap()
        };
        let mut keys = texts.map(key);
        keys.sort_unstable();
        let found = of(&[0, 1, 2, 3]);
        assert_eq!(found.iter().map(|(key, _)| *key).collect::<Vec<_>>(), keys[..3]);
        assert_eq!(found, of(&[3, 1, 0, 2]));
    }

    #[test]
    fn another_file_is_not_taken_for_one_of_vectors() {
        let folder = TempDir::new().unwrap();
        open(&folder).keep(&[("a", vector(1))]).unwrap();
        let path = folder.path().join("embeddings/m.vec");
        for (dimension, text) in
            [(4, "no file of vectors of 4 numbers"), (3, "no file of vectors of 3 numbers")]
        {
            let error = StoredVectors::open(&path, dimension).map(drop).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
            std::fs::write(&path, "something else that is long enough").unwrap();
        }
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert_eq!(StoredVectors::open(&path, 3).unwrap_err().to_string(), regular::NOT_REGULAR);
        assert!(!path.with_file_name("elsewhere").exists());
    }

    #[test]
    fn threads_keep_together_what_each_of_them_was_given() {
        let folder = TempDir::new().unwrap();
        let texts: Vec<String> = (0..200).map(|number| format!("text {}", number % 50)).collect();
        std::thread::scope(|scope| {
            for worker in 0..4_i8 {
                let (folder, texts) = (&folder, &texts);
                scope.spawn(move || {
                    let stored = open(folder);
                    for text in texts {
                        stored.keep(&[(text, vector(worker))]).unwrap();
                    }
                });
            }
        });
        let path = folder.path().join("embeddings/m.vec");
        assert_eq!(std::fs::metadata(path).unwrap().len(), 20 + 50 * 27);
    }
}
