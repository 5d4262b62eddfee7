//! Documents that stay on the disk.
//!
//! Of each document memory holds 36 bytes, however long it is: where its line lies and a hash of its id.
//! Reading one copies and decodes its line from the mapped file. Whoever needs all of them takes them one
//! after the other.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::entry::Entry;
use super::lines::{Line, each_line};
use super::remark::{Oddity, Remarks};
use super::source::Source;
use super::{CorpusError, changed};
use crate::regular;

/// A document. Title and text may both be empty; then nothing finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusDoc {
    pub id: String,
    pub title: String,
    pub text: String,
}

impl CorpusDoc {
    /// What is indexed: title and text, as BEIR's baselines do.
    pub fn content(&self) -> String {
        match (self.title.trim(), self.text.trim()) {
            (title, "") => title.to_owned(),
            ("", text) => text.to_owned(),
            (title, text) => format!("{title} {text}"),
        }
    }
}

/// Stands for an id: 128 bits of XXH3. Equal hashes are taken for equal ids. Among `n` different ids some
/// two share a hash with a probability of about `n² / 2^129`: 1.5e-21 for a thousand million documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdHash([u8; 16]);

impl IdHash {
    #[must_use]
    pub fn of(id: &str) -> Self {
        Self(xxh3_128(id.as_bytes()).to_be_bytes())
    }
}

/// Where a document's line lies, and what stood there.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u64,
    len: u32,
    check: u32,
}

impl Place {
    fn of(line: &Line<'_>) -> Self {
        // A line is at most 64 MiB.
        Self { start: line.start, len: line.text.len() as u32, check: check(line.text.as_bytes()) }
    }
}

/// Tells a changed line from what it was; half of XXH3 is enough to see that somebody edits the file.
fn check(line: &[u8]) -> u32 {
    xxh3_64(line) as u32
}

/// An id and its row. The hash is bytes, because an aligned `u128` would make 32 bytes of the 20.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct IdRow {
    id: IdHash,
    row: u32,
}

const _: () = assert!(size_of::<Place>() + size_of::<IdRow>() == 36);

/// The documents of a corpus by their row: their place in the file, blank lines left out.
#[derive(Debug)]
pub struct Docs {
    source: Source,
    file: File,
    map: Mmap,
    /// By row.
    places: Vec<Place>,
    /// Sorted.
    ids: Vec<IdRow>,
}

impl Docs {
    /// Reads a file once from beginning to end and checks every line of it. A packed one is unpacked into
    /// `cache` first.
    pub(super) fn load(
        source: Source,
        cache: &Path,
        digest: &mut Sha256,
        remarks: &mut Remarks,
    ) -> Result<Self, CorpusError> {
        let source = source.mappable(cache)?;
        let mut places = Vec::new();
        let mut ids = Vec::new();
        let read = each_line(&source, digest, |line| {
            let id = IdHash::of(&Entry::of(line.text)?.id);
            if places.len() == u32::MAX as usize {
                return Err("it holds more than 4,294,967,295 documents".to_owned());
            }
            ids.push(IdRow { id, row: places.len() as u32 });
            places.push(Place::of(&line));
            Ok(())
        });
        if places.is_empty() {
            return Err(read.err().unwrap_or_else(|| source.error(None, "it holds no documents")));
        }
        ids.sort_unstable();
        let file =
            regular::named(&source.path).map_err(|e| source.error(None, &format!("cannot open: {e}")))?;
        // SAFETY: whoever changes the file while it is mapped breaks this, as with any reader of a mapped
        // file. `line` keeps the damage small: it asks for the file's length before it touches the map, and
        // looks at a copy only, which has to be what was read here.
        let map = unsafe { Mmap::map(&file) };
        let map = map.map_err(|e| source.error(None, &format!("cannot map into memory: {e}")))?;
        let mut docs = Self { source, file, map, places, ids };
        // Before the line that ended the reading, if one did: users mend a file from its beginning.
        docs.leave_out_repeats(remarks)?;
        read?;
        docs.places.shrink_to_fit();
        docs.ids.shrink_to_fit();
        Ok(docs)
    }

    /// A document that stands there twice counts once. Two documents under one id are one too many: nobody
    /// knows which is meant.
    fn leave_out_repeats(&mut self, remarks: &mut Remarks) -> Result<(), CorpusError> {
        let same = |a: &IdRow, b: &IdRow| a.id == b.id;
        let mut repeats: Vec<(u32, u32)> = Vec::new();
        for group in self.ids.chunk_by(same).filter(|group| group.len() > 1) {
            repeats.extend(group[1..].iter().map(|repeat| (repeat.row, group[0].row)));
        }
        if repeats.is_empty() {
            return Ok(());
        }
        repeats.sort_unstable();
        for &(row, first) in &repeats {
            let (doc, known) = (self.get(row as usize)?, self.get(first as usize)?);
            if doc != known {
                let why = format!("_id {:?} occurs twice, with different texts: keep one of them", doc.id);
                return Err(self.source.error(self.line_number(row), &why));
            }
            let place =
                || format!("{} ({:?})", self.source.place(self.line_number(row).unwrap_or(0)), doc.id);
            remarks.note(Oddity::RepeatedDocument, place);
        }
        let out: Vec<u32> = repeats.into_iter().map(|(row, _)| row).collect();
        let is_out: HashSet<u32> = out.iter().copied().collect();
        let mut row = 0;
        self.places.retain(|_| {
            row += 1;
            !is_out.contains(&(row - 1))
        });
        self.ids.retain(|known| !is_out.contains(&known.row));
        self.ids.iter_mut().for_each(|known| known.row -= out.partition_point(|row| *row < known.row) as u32);
        Ok(())
    }

    /// Reads on to a document's line, for its number.
    fn line_number(&self, row: u32) -> Option<u64> {
        let (start, mut number) = (self.places[row as usize].start, None);
        // The file was read before; a fault now shows where the document is read.
        let _ = each_line(&self.source, &mut Sha256::new(), |line| {
            number = Some(line.number);
            if line.start < start { Ok(()) } else { Err(String::new()) }
        });
        number
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Reads a document. Like a slice it wants a row below `len`.
    ///
    /// # Errors
    /// When the file is no longer what was loaded.
    pub fn get(&self, row: usize) -> Result<CorpusDoc, CorpusError> {
        let line = self.line(self.places[row]);
        let entry = line.as_deref().and_then(|line| Entry::of(line).ok());
        let Entry { id, title, text } = entry.ok_or_else(|| changed(&self.source.shown))?;
        Ok(CorpusDoc { id, title, text })
    }

    /// All documents, row by row, each read when its turn comes.
    pub fn iter(&self) -> impl Iterator<Item = Result<CorpusDoc, CorpusError>> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// The row of the document with this id.
    #[must_use]
    pub fn row(&self, id: IdHash) -> Option<u32> {
        let at = self.ids.binary_search_by_key(&id, |known| known.id).ok()?;
        Some(self.ids[at].row)
    }

    fn line(&self, place: Place) -> Option<String> {
        let start = usize::try_from(place.start).ok()?;
        let end = start.checked_add(place.len as usize)?;
        // Touching a page beyond the end of a file that was cut short would end the process.
        if self.file.metadata().ok()?.len() < end as u64 {
            return None;
        }
        let line = self.map.get(start..end)?.to_vec();
        String::from_utf8(line).ok().filter(|line| check(line.as_bytes()) == place.check)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LINES: [&str; 3] = [
        r#"{"_id": "a", "text": "one"}"#,
        r#"{"_id": "b", "title": "Two", "text": "2"}"#,
        r#"{"_id": "c", "text": "three"}"#,
    ];

    struct Loaded {
        folder: tempfile::TempDir,
        docs: Result<Docs, CorpusError>,
        remarks: Remarks,
    }

    impl Loaded {
        fn of(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("corpus.jsonl");
            fs::write(&path, text).unwrap();
            let (source, mut remarks) = (Source::find(folder.path(), "corpus.jsonl"), Remarks::default());
            let docs = Docs::load(source, folder.path(), &mut Sha256::new(), &mut remarks);
            Self { folder, docs, remarks }
        }

        fn docs(&self) -> &Docs {
            self.docs.as_ref().unwrap()
        }

        fn error(self) -> String {
            let prefix = format!("{}/", self.folder.path().display());
            self.docs.unwrap_err().to_string().replace(&prefix, "")
        }

        fn rewrite(&self, text: &str) {
            fs::write(self.folder.path().join("corpus.jsonl"), text).unwrap();
        }

        fn ids(&self) -> Vec<String> {
            self.docs().iter().map(|doc| doc.unwrap().id).collect()
        }
    }

    #[test]
    fn documents_are_found_whatever_stands_between_them() {
        let text = format!("\u{feff}{}\r\n\n \u{a0}\n{}\n  {}  ", LINES[0], LINES[1], LINES[2]);
        let loaded = Loaded::of(&text);
        assert_eq!(loaded.ids(), ["a", "b", "c"]);
        assert_eq!(loaded.docs().get(1).unwrap().content(), "Two 2");
    }

    #[test]
    fn an_id_leads_to_its_row() {
        let loaded = Loaded::of(&LINES.join("\n"));
        let rows = ["c", "a", "b", "z"].map(|id| loaded.docs().row(IdHash::of(id)));
        assert_eq!(rows, [Some(2), Some(0), Some(1), None]);
    }

    #[test]
    fn memory_does_not_grow_with_the_texts() {
        let long = "word ".repeat(100_000);
        let text: String = (0..20).map(|i| format!("{{\"_id\": \"{i}\", \"text\": \"{long}\"}}\n")).collect();
        let loaded = Loaded::of(&text);
        let Docs { source: _, file: _, map: _, places, ids } = loaded.docs();
        let bytes = places.capacity() * size_of::<Place>() + ids.capacity() * size_of::<IdRow>();
        // Twice: a vector may keep room to spare.
        assert!(bytes <= 2 * 20 * 36, "{bytes}");
    }

    #[test]
    fn a_document_that_stands_there_twice_counts_once() {
        let [a, b, c] = LINES;
        // Written in another way, it says the same.
        let again = r#"{"text": "one", "_id": "a", "title": "", "url": "x"}"#;
        let loaded = Loaded::of(&[a, b, "", again, b, c, a].join("\n"));
        assert_eq!(loaded.ids(), ["a", "b", "c"]);
        let rows = ["a", "b", "c"].map(|id| loaded.docs().row(IdHash::of(id)));
        assert_eq!(rows, [Some(0), Some(1), Some(2)]);
        let remark = loaded.remarks.0[0].to_string();
        assert!(remark.contains("a second time: 3, the first at corpus.jsonl:4 (\"a\")"), "{remark}");
    }

    #[test]
    fn of_several_faults_the_first_in_the_file_is_named() {
        let [a, b, _] = LINES;
        let other = r#"{"_id": "b", "text": "3"}"#;
        let error = |lines: &[&str]| Loaded::of(&lines.join("\n")).error();
        let expected = "corpus.jsonl:5: _id \"b\" occurs twice, with different texts: keep one of them";
        assert_eq!(error(&[a, b, "", a, other, a, "{"]), expected);
        assert!(error(&[a, "{", a]).starts_with("corpus.jsonl:2: not JSON: EOF"));
    }

    #[test]
    fn a_changed_line_is_an_error_and_the_others_are_read() {
        let loaded = Loaded::of(&LINES.join("\n"));
        loaded.rewrite(&LINES.join("\n").replace("one", "won"));
        let error = loaded.docs().get(0).unwrap_err().to_string();
        assert!(error.ends_with("corpus.jsonl: it was changed while it was in use"), "{error}");
        assert_eq!(loaded.docs().get(1).unwrap().id, "b");
    }

    #[test]
    fn a_file_that_was_cut_short_is_an_error() {
        let loaded = Loaded::of(&LINES.join("\n"));
        loaded.rewrite(LINES[0]);
        assert_eq!(loaded.docs().get(0).unwrap().id, "a");
        assert!(loaded.docs().get(1).is_err());
        loaded.rewrite("");
        assert!(loaded.docs().iter().all(|doc| doc.is_err()));
    }

    #[test]
    fn a_file_that_was_replaced_is_read_as_it_was() {
        let loaded = Loaded::of(&LINES.join("\n"));
        let path = loaded.folder.path().join("corpus.jsonl");
        fs::write(path.with_extension("new"), "{\"_id\": \"x\"}").unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
        assert_eq!(loaded.ids(), ["a", "b", "c"]);
    }
}
