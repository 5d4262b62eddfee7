//! Writing an index.
//!
//! Documents stream through: each section grows in a temporary file of its own, and the sections are then
//! put together. So memory holds a batch of documents and the table of document frequencies, whatever the
//! size of the collection.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::*;
use crate::text::bm25::TermTable;
use crate::text::tokens::{count_terms, token_hashes};
use crate::unfinished;

/// What was tried where an index could not be written.
pub const CANNOT_WRITE: &str = "cannot write";

/// Texts that are embedded together.
const BATCH: usize = 64;

/// Different sources that are written only once; further ones are repeated.
const SOURCES: usize = 4096;

/// One document for the builder.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexDoc<'a> {
    pub id: Cow<'a, str>,
    pub text: Cow<'a, str>,
    pub meta: DocMeta<'a>,
}

/// Builds an index at `path` from documents in row order, and replaces what was there.
///
/// `label` says what it was built from (collection and embedder), so that a caller can tell whether a file
/// that it finds is still the right one.
pub fn build<'a>(
    path: &Path,
    dim: usize,
    label: &str,
    docs: impl IntoIterator<Item = IndexDoc<'a>>,
    embedder: &dyn Embedder,
) -> Result<(), IndexError> {
    try_build(path, dim, label, docs.into_iter().map(Ok), embedder)
}

/// As [`build`], from documents that may turn out to be unreadable: then nothing is at `path` but what was.
pub fn try_build<'a, E: From<IndexError>>(
    path: &Path,
    dim: usize,
    label: &str,
    docs: impl IntoIterator<Item = Result<IndexDoc<'a>, E>>,
    embedder: &dyn Embedder,
) -> Result<(), E> {
    if dim == 0 || dim > MAX_DIMENSION || dim != embedder.dimension() {
        let why = format!("dimension {dim} does not fit embedder {}", embedder.name());
        return Err(IndexError::Document { id: String::new(), why }.into());
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_room(folder)?;
    let io = |source| IndexError::Io { path: path.to_owned(), action: CANNOT_WRITE, source };
    let mut writer = Writer::new(folder, dim).map_err(io)?;
    let mut docs = docs.into_iter().fuse();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        for doc in docs.by_ref().take(BATCH) {
            batch.push(doc?);
        }
        if batch.is_empty() {
            break;
        }
        let texts: Vec<&str> = batch.iter().map(|doc| doc.text.as_ref()).collect();
        let vectors = embedder.embed(&texts).map_err(IndexError::from)?;
        let fits = vectors.len() == batch.len() && vectors.iter().all(|v| v.dims.len() == dim);
        for (at, doc) in batch.iter().enumerate() {
            if let Some(why) = (!fits).then_some("the embedder gave no fitting vector").or(unfit(doc)) {
                let id = doc.id.clone().into_owned();
                return Err(IndexError::Document { id, why: why.to_owned() }.into());
            }
            writer.add(doc, &vectors[at].dims, vectors[at].norm2).map_err(io)?;
        }
    }
    Ok(writer.finish(path, folder, label).map_err(io)?)
}

/// Makes a folder that indexes can be written to.
///
/// # Errors
/// When it cannot be made or written.
pub fn make_room(folder: &Path) -> Result<(), IndexError> {
    let made = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder).map(drop));
    made.map_err(|source| IndexError::Io { path: folder.to_owned(), action: CANNOT_WRITE, source })
}

/// The right to build in `folder`, for as long as the result lives; the kernel drops it with the process. Where a file
/// system knows no locks, everybody has it: then the same is built twice, and is the same.
///
/// # Errors
/// When there is no file for it.
pub fn lock(folder: &Path) -> Result<File, IndexError> {
    let path = folder.join(".lock");
    let io = |source| IndexError::Io { path: path.clone(), action: CANNOT_WRITE, source };
    let options = &mut File::options();
    let (file, _) = regular::own(options.create(true).truncate(false).write(true), &path).map_err(io)?;
    match file.lock() {
        Err(cause) if cause.kind() != io::ErrorKind::Unsupported => Err(io(cause)),
        _ => Ok(file),
    }
}

fn unfit(doc: &IndexDoc) -> Option<&'static str> {
    let longest = u32::MAX as usize;
    let long = [doc.id.len(), doc.text.len(), doc.meta.source.len()].into_iter().any(|len| len > longest);
    long.then_some("a text is longer than 4 GiB")
}

/// The sections as they grow.
struct Writer {
    dim: usize,
    len: u64,
    sections: [BufWriter<File>; SECTIONS],
    blob_len: u64,
    term_count: u64,
    sources: HashMap<String, u64>,
    table: TermTable,
}

impl Writer {
    fn new(folder: &Path, dim: usize) -> io::Result<Self> {
        let section = || tempfile::tempfile_in(folder).map(BufWriter::new);
        let sections = [section()?, section()?, section()?, section()?, section()?, section()?];
        let (sources, table) = (HashMap::new(), TermTable::default());
        Ok(Self { dim, len: 0, sections, blob_len: 0, term_count: 0, sources, table })
    }

    fn add(&mut self, doc: &IndexDoc, dims: &[i8], norm2: u32) -> io::Result<()> {
        let hashes = token_hashes(&doc.text);
        let tokens = hashes.len() as u32;
        let terms = count_terms(hashes);
        self.table.add(&terms);
        let source = doc.meta.source;
        let source_start = match self.sources.get(source) {
            Some(&start) => start,
            None => {
                let start = self.blob(source)?;
                if self.sources.len() < SOURCES {
                    self.sources.insert(source.to_owned(), start);
                }
                start
            }
        };
        let record = Record {
            id_start: self.blob(&doc.id)?,
            text_start: self.blob(&doc.text)?,
            source_start,
            term_start: self.term_count,
            timestamp_s: doc.meta.timestamp_s.unwrap_or(f64::NAN),
            centrality: doc.meta.centrality,
            id_len: doc.id.len() as u32,
            text_len: doc.text.len() as u32,
            source_len: source.len() as u32,
            term_len: terms.len() as u32,
            tokens,
            citations: doc.meta.citations,
            category: doc.meta.category as u32,
            unused: 0,
        };
        self.term_count += terms.len() as u64;
        self.len += 1;
        let [rows, norms, records, _, all_terms, _] = &mut self.sections;
        rows.write_all(bytemuck::cast_slice(dims))?;
        norms.write_all(&norm2.to_le_bytes())?;
        records.write_all(bytemuck::bytes_of(&record))?;
        all_terms.write_all(bytemuck::cast_slice(&terms))
    }

    fn blob(&mut self, text: &str) -> io::Result<u64> {
        let start = self.blob_len;
        self.sections[3].write_all(text.as_bytes())?;
        self.blob_len += text.len() as u64;
        Ok(start)
    }

    /// Puts the sections together and gives the file its name once all of it is on the disk.
    fn finish(mut self, path: &Path, folder: &Path, label: &str) -> io::Result<()> {
        let label_start = self.blob(label)?;
        self.sections[5].write_all(bytemuck::cast_slice(&self.table.sorted()))?;
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            dim: self.dim as u32,
            len: self.len,
            tokens: self.table.tokens(),
            label_start,
            label_len: label.len() as u64,
            ..Header::zeroed()
        };
        let mut file = unfinished::file(folder)?;
        assemble(file.as_file_mut(), header, self.sections)?;
        unfinished::keep(file, path)
    }
}

/// Writes sections and header. The header comes last: it holds the checksum.
fn assemble(file: &mut File, mut header: Header, sections: [BufWriter<File>; SECTIONS]) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, &mut *file);
    out.write_all(&[0; HEADER])?;
    let mut body = Body { out, hash: Xxh3::new(), at: HEADER as u64 };
    for (section, place) in sections.into_iter().zip(&mut header.sections) {
        body.write_all(&vec![0; (body.at.next_multiple_of(ALIGN) - body.at) as usize])?;
        let start = body.at;
        let mut section = section.into_inner().map_err(io::IntoInnerError::into_error)?;
        section.rewind()?;
        io::copy(&mut BufReader::with_capacity(1 << 20, section), &mut body)?;
        *place = [start, body.at - start];
    }
    body.flush()?;
    (header.file_len, header.body_hash) = (body.at, body.hash.digest());
    header.header_hash = header.hash();
    drop(body);
    file.rewind()?;
    file.write_all(bytemuck::bytes_of(&header))
}

/// Counts and hashes what follows the header.
struct Body<W: Write> {
    out: W,
    hash: Xxh3,
    at: u64,
}

impl<W: Write> Write for Body<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
