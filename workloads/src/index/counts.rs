//! What is counted over a whole collection, for machines that have some of its shards only.
//!
//! As the indexes it is one immutable file, mapped into memory: a header of 64 bytes, then all terms by hash with their
//! document frequency, 16 bytes each. A machine counts for itself: that reads every text once and embeds none.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;
use xxhash_rust::xxh3::xxh3_64;

use super::{CANNOT_WRITE, IndexDoc, IndexError, mapped};
use crate::text::bm25::{TermStatistics, TermTable};
use crate::text::stemming::Stemming;
use crate::text::tokens::{Term, count_terms};
use crate::unfinished;

const MAGIC: [u8; 8] = *b"benchcnt";
const VERSION: u64 = 1;
const HEADER: usize = size_of::<Header>();

/// The beginning of the file.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u64,
    documents: u64,
    /// Tokens of all documents together.
    tokens: u64,
    /// As [`Counts::most_of_an_id`].
    most_of_an_id: u64,
    terms: u64,
    /// XXH3 of everything after the header.
    body_hash: u64,
    /// XXH3 of the header up to here.
    header_hash: u64,
}

const _: () = assert!(HEADER == 64);

impl Header {
    fn hash(&self) -> u64 {
        xxh3_64(&bytemuck::bytes_of(self)[..HEADER - 8])
    }
}

/// Where the counts of a collection are.
#[must_use]
pub fn path(folder: &Path, name: &str, stemming: Stemming) -> PathBuf {
    folder.join(format!("{name}.{}.counts", stemming.name()))
}

/// Counts a collection, whose documents come in order, and replaces what was at `path`.
///
/// # Errors
/// When a document cannot be read or the file not be written.
pub fn build<'a, E: From<IndexError>>(
    path: &Path,
    docs: impl IntoIterator<Item = Result<IndexDoc<'a>, E>>,
    stemming: Stemming,
) -> Result<(), E> {
    let mut table = TermTable::default();
    let (mut most, mut now, mut before) = (0, 0, None);
    for doc in docs {
        let doc = doc?;
        table.add(&count_terms(stemming.term_hashes(&doc.text)));
        now = if before.as_ref() == Some(&doc.id) { now + 1 } else { 1 };
        most = most.max(now);
        before = Some(doc.id);
    }
    write(path, &table, most)
        .map_err(|source| IndexError::Io { path: path.to_owned(), action: CANNOT_WRITE, source }.into())
}

fn write(path: &Path, table: &TermTable, most_of_an_id: u64) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let terms = table.sorted();
    let body: &[u8] = bytemuck::cast_slice(&terms);
    let mut header = Header {
        magic: MAGIC,
        version: VERSION,
        documents: table.documents(),
        tokens: table.tokens(),
        most_of_an_id,
        terms: terms.len() as u64,
        body_hash: xxh3_64(body),
        header_hash: 0,
    };
    header.header_hash = header.hash();
    let mut file = unfinished::file(folder)?;
    let mut out = BufWriter::new(file.as_file_mut());
    out.write_all(bytemuck::bytes_of(&header))?;
    out.write_all(body)?;
    out.flush()?;
    drop(out);
    unfinished::keep(file, path)
}

/// Open counts.
#[derive(Debug)]
pub struct Counts {
    map: Mmap,
    header: Header,
}

impl Counts {
    /// Opens and checks a file.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let damaged = |why| IndexError::damaged(path, why);
        let (map, header): (_, Header) = mapped(path)?;
        if header.magic != MAGIC || header.version != VERSION || header.header_hash != header.hash() {
            return Err(damaged("its header is damaged or another version's"));
        }
        let body = &map[HEADER..];
        if header.terms.checked_mul(size_of::<Term>() as u64) != Some(body.len() as u64) {
            return Err(damaged("it is cut short or has grown"));
        }
        if header.body_hash != xxh3_64(body) {
            return Err(damaged("its content is damaged"));
        }
        Ok(Self { map, header })
    }

    /// The most documents that stand beside each other under one id: parts of one.
    #[must_use]
    pub fn most_of_an_id(&self) -> usize {
        self.header.most_of_an_id as usize
    }
}

impl TermStatistics for Counts {
    fn documents(&self) -> u64 {
        self.header.documents
    }

    fn df(&self, term: u64) -> u32 {
        let all: &[Term] = bytemuck::cast_slice(&self.map[HEADER..]);
        all.binary_search_by_key(&term, |t| t.hash).map_or(0, |at| all[at].tf)
    }

    fn avg_tokens(&self) -> f64 {
        match self.header.documents {
            0 => 0.0,
            documents => self.header.tokens as f64 / documents as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{DocMeta, Shards, build as build_index, shards};
    use crate::text::embed::TopicEmbedder;
    use crate::text::tokens::term_hash;
    use crate::text::vocabulary::Category;

    fn docs() -> impl Iterator<Item = Result<IndexDoc<'static>, IndexError>> {
        let texts = [("a", "wings of heated wings"), ("a", "wings"), ("b", ""), ("c", "plates and flow")];
        texts.into_iter().map(|(id, text)| {
            let meta = DocMeta::plain(Category::General, "somewhere");
            Ok(IndexDoc { id: id.into(), text: text.into(), meta })
        })
    }

    #[test]
    fn what_is_counted_is_what_all_shards_together_have() {
        let folder = tempfile::tempdir().unwrap();
        let counted = path(folder.path(), "a", Stemming::None);
        build(&counted, docs(), Stemming::None).unwrap();
        for shard in 0..2 {
            let own = docs().map(Result::unwrap).skip(shard as usize).step_by(2);
            let index = shards::path(folder.path(), "a", shard, 2);
            build_index(&index, 8, "", own, &TopicEmbedder::new(8, 1.0, 0)).unwrap();
        }
        let (counts, whole) = (Counts::open(&counted).unwrap(), Shards::open(folder.path(), "a", 2).unwrap());
        assert_eq!((counts.documents(), counts.avg_tokens()), (whole.documents(), whole.avg_tokens()));
        assert_eq!((counts.most_of_an_id(), whole.most_of_an_id()), (2, 2));
        let of = |statistics: &dyn TermStatistics| {
            ["wings", "plates", "music"].map(|word| statistics.df(term_hash(word)))
        };
        assert_eq!((of(&counts), of(&whole)), ([2, 1, 0], [2, 1, 0]));
    }

    #[test]
    fn a_damaged_file_is_an_error_with_a_remedy_wherever_the_damage_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), "a", Stemming::English);
        build(&file, docs(), Stemming::English).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            let error = Counts::open(&file).unwrap_err().to_string();
            assert!(error.ends_with("Delete the file; it will be built again"), "{at}: {error}");
        }
        for length in [0, 10, HEADER, whole.len() - 8] {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert!(Counts::open(&file).is_err(), "{length}");
        }
    }

    #[test]
    fn a_collection_without_documents_has_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), "a", Stemming::None);
        build(&file, std::iter::empty::<Result<IndexDoc<'_>, IndexError>>(), Stemming::None).unwrap();
        let counts = Counts::open(&file).unwrap();
        assert_eq!((counts.documents(), counts.avg_tokens(), counts.most_of_an_id()), (0, 0.0, 0));
    }
}
