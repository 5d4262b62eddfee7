//! A file of a collection, as it is or packed with gzip.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use xxhash_rust::xxh3::Xxh3;

use super::{CorpusError, at};
use crate::{regular, unfinished};

/// Gzip begins so, whatever a file is called.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file, and how it is spoken of.
#[derive(Debug, Clone)]
pub struct Source {
    /// What is read.
    pub path: PathBuf,
    /// What errors name.
    pub shown: PathBuf,
    /// Its name without what packing added: the same collection, packed or not, is the same work.
    pub name: String,
}

impl Source {
    /// The file `name` of a folder, or the packed one beside it.
    pub fn find(folder: &Path, name: &str) -> Self {
        let (plain, packed) = (folder.join(name), folder.join(format!("{name}.gz")));
        let path = if !plain.exists() && packed.exists() { packed } else { plain };
        Self { shown: path.clone(), path, name: name.to_owned() }
    }

    /// Opens it; what is read is unpacked.
    pub fn open(&self) -> Result<Box<dyn Read>, CorpusError> {
        let mut file =
            regular::named(&self.path).map_err(|e| self.error(None, &format!("cannot open: {e}")))?;
        let mut start = Vec::new();
        let begun = file.by_ref().take(GZIP.len() as u64).read_to_end(&mut start);
        begun.map_err(|e| self.error(None, &format!("cannot read: {e}")))?;
        let whole = io::Cursor::new(start.clone()).chain(file);
        Ok(if start == GZIP {
            Box::new(MultiGzDecoder::new(io::BufReader::new(whole)))
        } else {
            Box::new(whole)
        })
    }

    /// A source that can be mapped: itself, or its unpacked copy in `cache`, named by the packed bytes.
    pub fn mappable(self, cache: &Path) -> Result<Self, CorpusError> {
        let wrong = |what: &str, e: io::Error| self.error(None, &format!("{what}: {e}"));
        let mut file = regular::named(&self.path).map_err(|e| wrong("cannot open", e))?;
        let mut start = Vec::new();
        file.by_ref().take(GZIP.len() as u64).read_to_end(&mut start).map_err(|e| wrong("cannot read", e))?;
        if start != GZIP {
            return Ok(self);
        }
        let hash = hash(io::Cursor::new(start).chain(file)).map_err(|e| wrong("cannot read", e))?;
        let folder = cache.join("unpacked");
        let path = folder.join(format!("{hash:032x}-{}", self.name));
        if !path.is_file() {
            let to = |e| wrong(&format!("cannot unpack it into {} (--cache-dir)", folder.display()), e);
            fs::create_dir_all(&folder).map_err(to)?;
            let mut unpacked = unfinished::file(&folder).map_err(to)?;
            self.unpack(&mut unpacked)?;
            unfinished::keep(unpacked, &path).map_err(to)?;
        }
        Ok(Self { path, ..self })
    }

    fn unpack(&self, to: &mut impl io::Write) -> Result<(), CorpusError> {
        let mut from = self.open()?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from.read(&mut buffer);
            let n = read.map_err(|e| self.error(None, &format!("cannot unpack it: {e}. Fetch it again")))?;
            if n == 0 {
                return Ok(());
            }
            let written = to.write_all(&buffer[..n]);
            written.map_err(|e| self.error(None, &format!("cannot write its unpacked copy: {e}")))?;
        }
    }

    /// An error in this file.
    pub fn error(&self, line: Option<u64>, why: &str) -> CorpusError {
        at(&self.shown, line, why)
    }

    /// Where something is in the collection.
    pub fn place(&self, line: u64) -> String {
        let below = if self.name.ends_with(".tsv") { "qrels/" } else { "" };
        let name = self.shown.file_name().unwrap_or_default().to_string_lossy();
        format!("{below}{name}:{line}")
    }
}

fn hash(mut from: impl Read) -> io::Result<u128> {
    let (mut hash, mut buffer) = (Xxh3::new(), vec![0; 1 << 16]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hash.digest128()),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn folder(name: &str, bytes: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
        folder
    }

    fn read(source: &Source) -> String {
        io::read_to_string(source.open().unwrap()).unwrap()
    }

    #[test]
    fn a_packed_file_reads_as_the_plain_one_under_either_name() {
        // Two packed parts, one after the other, are one text.
        let parts = [packed("one\n"), packed("two\n")].concat();
        for (name, bytes) in
            [("a.jsonl", b"one\ntwo\n".to_vec()), ("a.jsonl.gz", parts.clone()), ("a.jsonl", parts)]
        {
            let folder = folder(name, &bytes);
            assert_eq!(read(&Source::find(folder.path(), "a.jsonl")), "one\ntwo\n", "{name}");
        }
        let folder = folder("a.jsonl", b"x");
        assert_eq!(read(&Source::find(folder.path(), "a.jsonl")), "x");
    }

    #[test]
    fn the_plain_file_is_taken_where_both_are_there() {
        let folder = folder("a.jsonl", b"plain");
        fs::write(folder.path().join("a.jsonl.gz"), packed("packed")).unwrap();
        assert_eq!(read(&Source::find(folder.path(), "a.jsonl")), "plain");
    }

    #[test]
    fn an_unpacked_copy_is_made_once_and_follows_the_content() {
        let folder = folder("a.jsonl.gz", &packed("one"));
        let cache = tempfile::tempdir().unwrap();
        let mappable = || Source::find(folder.path(), "a.jsonl").mappable(cache.path()).unwrap();
        let first = mappable();
        assert_eq!(fs::read_to_string(&first.path).unwrap(), "one");
        assert!(first.path.starts_with(cache.path()) && first.shown.starts_with(folder.path()));
        fs::write(&first.path, "kept").unwrap();
        assert_eq!(read(&mappable()), "kept");
        fs::write(folder.path().join("a.jsonl.gz"), packed("two")).unwrap();
        assert_eq!(read(&mappable()), "two");
    }

    #[test]
    fn a_broken_packed_file_is_named_and_leaves_nothing_behind() {
        let whole = packed(&"text ".repeat(10_000));
        let folder = folder("a.jsonl.gz", &whole[..whole.len() / 2]);
        let cache = tempfile::tempdir().unwrap();
        let error = Source::find(folder.path(), "a.jsonl").mappable(cache.path()).unwrap_err().to_string();
        assert!(error.contains("a.jsonl.gz: cannot unpack it: "), "{error}");
        assert_eq!(fs::read_dir(cache.path().join("unpacked")).unwrap().count(), 0);
    }
}
