//! A collection as one immutable file, mapped into memory.
//!
//! Runs of a benchmark come as processes, and some engines use many. A mapped file is built once, opens
//! in milliseconds, and all processes share its pages. Nothing in it is ever changed: a new one is written
//! beside it and renamed, so a reader sees the old file or the new one, never a half.
//!
//! Layout, all little-endian: a header of 192 bytes, then six sections, each at a multiple of 64 bytes.
//!
//! | section | holds |
//! |---|---|
//! | rows | `len x dim` 8-bit values, row by row |
//! | norms | per row, its squared length as `u32` |
//! | records | per row, a `Record` of 80 bytes |
//! | blob | ids, texts, sources and the label, UTF-8 |
//! | terms | each document's terms by hash, 16 bytes each |
//! | frequencies | all terms by hash with their document frequency, 16 bytes each |
//!
//! Opening checks everything that the accessors rely on, and a checksum over the rest, so that a damaged
//! file is an error with a remedy and never a wrong result.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;
use xxhash_rust::xxh3::xxh3_64;

use crate::regular;
use crate::text::bm25::{DocTerms, TermStatistics};
use crate::text::embed::Embedder;
use crate::text::endpoint::EndpointError;
pub use crate::text::synthetic::DocMeta;
use crate::text::tokens::Term;
use crate::text::vocabulary::Category;
use crate::vector::MAX_DIMENSION;

mod build;
pub mod counts;
pub mod postings;
pub mod shards;

pub use build::{CANNOT_WRITE, IndexDoc, build, lock, make_room, try_build};
pub use counts::Counts;
pub use postings::Keywords;
pub use shards::Shards;

#[cfg(target_endian = "big")]
compile_error!("index files are little-endian and read in place");

const MAGIC: [u8; 8] = *b"benchidx";
const VERSION: u32 = 1;
const ALIGN: u64 = 64;
const SECTIONS: usize = 6;
const HEADER: usize = size_of::<Header>();

/// The beginning of the file.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u32,
    dim: u32,
    len: u64,
    /// Tokens of all documents together.
    tokens: u64,
    /// Offset and length in bytes of each section.
    sections: [[u64; 2]; SECTIONS],
    label_start: u64,
    label_len: u64,
    /// Bytes of the whole file.
    file_len: u64,
    /// XXH3 of everything after the header.
    body_hash: u64,
    unused: [u64; 3],
    /// XXH3 of the header up to here.
    header_hash: u64,
}

const _: () = assert!(HEADER == 192);

/// What is kept of a document beside its vector and terms. Offsets count from the section's start.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Record {
    id_start: u64,
    text_start: u64,
    source_start: u64,
    term_start: u64,
    /// NaN when the document has no date.
    timestamp_s: f64,
    centrality: f64,
    id_len: u32,
    text_len: u32,
    source_len: u32,
    term_len: u32,
    tokens: u32,
    citations: u32,
    category: u32,
    unused: u32,
}

const _: () = assert!(size_of::<Record>() == 80);

/// Why an index could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("{}: {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{}: not a usable index: {why}. Delete the file; it will be built again", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("document {id:?}: {why}")]
    Document { id: String, why: String },
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl IndexError {
    fn damaged(path: &Path, why: &str) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_owned() }
    }
}

/// Maps a file, if it is one that nobody else can shorten, and reads its header, of which nothing is checked yet.
fn mapped<H: Pod>(path: &Path) -> Result<(Mmap, H), IndexError> {
    let io = |action, source| IndexError::Io { path: path.to_owned(), action, source };
    let damaged = |why| IndexError::damaged(path, why);
    let (file, meta) =
        regular::own(File::options().read(true), path).map_err(|cause| match cause.kind() {
            io::ErrorKind::InvalidInput => damaged(regular::NOT_REGULAR),
            _ => io("cannot open", cause),
        })?;
    // Whoever can shorten a file breaks those who have it mapped.
    let folder = path.parent().and_then(|folder| folder.metadata().ok()).map(|folder| folder.uid());
    let owners = [Some(rustix::process::geteuid().as_raw()), Some(0), folder];
    if !owners.contains(&Some(meta.uid())) {
        return Err(damaged("it belongs to somebody else"));
    }
    if meta.len() < size_of::<H>() as u64 {
        return Err(damaged("it is shorter than its header"));
    }
    // SAFETY: these files are written under another name and renamed when complete; this program never changes or
    // shortens one afterwards. Whoever else does breaks any reader of the file.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| io("cannot map into memory", e))?;
    let header = bytemuck::pod_read_unaligned(&map[..size_of::<H>()]);
    Ok((map, header))
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    map: Mmap,
    header: Header,
}

impl Index {
    /// Opens and checks a file. The cost is one pass over it: 2.5 ms for 10,000 documents (19 MB).
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let (map, header) = mapped(path)?;
        let index = Self { map, header };
        match index.fault() {
            None => Ok(index),
            Some(why) => Err(IndexError::damaged(path, why)),
        }
    }

    /// Whatever the accessors rely on and the file does not keep.
    fn fault(&self) -> Option<&'static str> {
        let h = &self.header;
        if h.magic != MAGIC {
            return Some("it does not begin like one");
        }
        if h.version != VERSION {
            return Some("it was written by another version");
        }
        if h.header_hash != h.hash() {
            return Some("its header is damaged");
        }
        if h.file_len != self.map.len() as u64 {
            return Some("it is cut short or has grown");
        }
        if h.body_hash != xxh3_64(&self.map[HEADER..]) {
            return Some("its content is damaged");
        }
        // The checksums are right, so the rest only fails for a file that was never written by `build`.
        let inside = |start: u64, len: u64, all: u64| start.checked_add(len).is_some_and(|end| end <= all);
        let sizes = [Some(u64::from(h.dim)), Some(4), Some(size_of::<Record>() as u64), None, None, None];
        for ([start, len], size) in h.sections.into_iter().zip(sizes) {
            let fits = inside(start, len, h.file_len) && start >= HEADER as u64 && start % ALIGN == 0;
            if !fits || size.is_some_and(|size| size.checked_mul(h.len) != Some(len)) {
                return Some("its sections do not fit");
            }
        }
        let [_, _, _, [_, blob], [_, terms], [_, frequencies]] = h.sections;
        let term = size_of::<Term>() as u64;
        if h.dim == 0
            || h.dim as usize > MAX_DIMENSION
            || terms % term != 0
            || frequencies % term != 0
            || h.len > u64::from(u32::MAX)
        {
            return Some("its sizes make no sense");
        }
        let text = |start: u64, len: u64| {
            inside(start, len, blob)
                && str::from_utf8(&self.section(3)[start as usize..][..len as usize]).is_ok()
        };
        if !text(h.label_start, h.label_len) {
            return Some("its label is not text");
        }
        for r in self.records() {
            let texts = [(r.id_start, r.id_len), (r.text_start, r.text_len), (r.source_start, r.source_len)];
            if !texts.into_iter().all(|(start, len)| text(start, u64::from(len)))
                || !inside(r.term_start, u64::from(r.term_len), terms / term)
                || r.category as usize >= Category::ALL.len()
            {
                return Some("a record does not fit");
            }
        }
        None
    }

    fn section(&self, number: usize) -> &[u8] {
        let [start, len] = self.header.sections[number];
        &self.map[start as usize..][..len as usize]
    }

    fn records(&self) -> &[Record] {
        bytemuck::cast_slice(self.section(2))
    }

    fn blob(&self, start: u64, len: u32) -> &str {
        // Checked when the file was opened.
        str::from_utf8(&self.section(3)[start as usize..][..len as usize]).unwrap_or_default()
    }

    /// How many documents it holds.
    pub fn len(&self) -> usize {
        self.header.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dim(&self) -> usize {
        self.header.dim as usize
    }

    /// What the index was built from, as the builder was told.
    pub fn label(&self) -> &str {
        self.blob(self.header.label_start, self.header.label_len as u32)
    }

    /// All vectors, row by row.
    pub fn rows(&self) -> &[i8] {
        bytemuck::cast_slice(self.section(0))
    }

    /// One document's vector. Like a slice, this and the other accessors want a row below `len`.
    pub fn row(&self, row: usize) -> &[i8] {
        &self.rows()[row * self.dim()..][..self.dim()]
    }

    /// The squared lengths of all vectors.
    pub fn norms(&self) -> &[u32] {
        bytemuck::cast_slice(self.section(1))
    }

    pub fn norm2(&self, row: usize) -> u32 {
        self.norms()[row]
    }

    pub fn id(&self, row: usize) -> &str {
        let record = &self.records()[row];
        self.blob(record.id_start, record.id_len)
    }

    pub fn text(&self, row: usize) -> &str {
        let record = &self.records()[row];
        self.blob(record.text_start, record.text_len)
    }

    /// A document's terms, sorted by hash.
    pub fn terms(&self, row: usize) -> &[Term] {
        let record = &self.records()[row];
        let all: &[Term] = bytemuck::cast_slice(self.section(4));
        &all[record.term_start as usize..][..record.term_len as usize]
    }

    pub fn token_count(&self, row: usize) -> u32 {
        self.records()[row].tokens
    }

    /// A document as BM25 sees it.
    pub fn doc_terms(&self, row: usize) -> DocTerms<'_> {
        DocTerms { terms: self.terms(row), tokens: self.token_count(row) }
    }

    pub fn meta(&self, row: usize) -> DocMeta<'_> {
        let record = &self.records()[row];
        DocMeta {
            timestamp_s: Some(record.timestamp_s).filter(|t| !t.is_nan()),
            citations: record.citations,
            centrality: record.centrality,
            category: Category::ALL[record.category as usize],
            source: self.blob(record.source_start, record.source_len),
        }
    }
}

impl TermStatistics for Index {
    fn documents(&self) -> u64 {
        self.header.len
    }

    fn df(&self, term: u64) -> u32 {
        let all: &[Term] = bytemuck::cast_slice(self.section(5));
        all.binary_search_by_key(&term, |t| t.hash).map_or(0, |at| all[at].tf)
    }

    fn avg_tokens(&self) -> f64 {
        if self.is_empty() { 0.0 } else { self.header.tokens as f64 / self.header.len as f64 }
    }
}

impl Header {
    fn hash(&self) -> u64 {
        xxh3_64(&bytemuck::bytes_of(self)[..HEADER - 8])
    }
}

#[cfg(test)]
mod tests;
