//! An inverted index beside an index: of each term, the documents that it is in.
//!
//! As the index it is one immutable file, mapped into memory: a header of 64 bytes, then the documents' lengths in
//! tokens, the terms by hash with the place where their postings begin, and the postings by term and row. It is made
//! from the texts of the finished index in two passes, so that memory holds the terms and never the postings.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use memmap2::{Mmap, MmapMut};
use xxhash_rust::xxh3::xxh3_64;

use super::{CANNOT_WRITE, Counts, Index, IndexError, mapped};
use crate::text::bm25::{Bm25, TermStatistics, corpus_idfs};
use crate::text::stemming::Stemming;
use crate::text::tokens::count_terms;
use crate::unfinished;
use crate::vector::Hit;

const MAGIC: [u8; 8] = *b"benchpst";
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
    terms: u64,
    postings: u64,
    /// XXH3 of everything after the header.
    body_hash: u64,
    /// XXH3 of the header up to here.
    header_hash: u64,
}

const _: () = assert!(HEADER == 64);

/// A term, and where its postings begin; they end where the next term's begin.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    hash: u64,
    start: u64,
}

/// A document that a term is in, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Posting {
    pub row: u32,
    pub tf: u32,
}

impl Header {
    fn hash(&self) -> u64 {
        xxh3_64(&bytemuck::bytes_of(self)[..HEADER - 8])
    }

    /// Where the lengths end, the terms end and the file ends.
    fn ends(&self) -> Option<[usize; 3]> {
        let end = |start: usize, count: u64, size: usize| {
            let bytes = usize::try_from(count).ok()?.checked_mul(size)?;
            start.checked_add(bytes)?.checked_next_multiple_of(8)
        };
        let lengths = end(HEADER, self.documents, size_of::<u32>())?;
        let terms = end(lengths, self.terms, size_of::<Entry>())?;
        Some([lengths, terms, end(terms, self.postings, size_of::<Posting>())?])
    }
}

/// An open inverted index.
#[derive(Debug)]
pub struct Postings {
    map: Mmap,
    header: Header,
    /// As in [`Header::ends`].
    ends: [usize; 3],
}

/// Where the inverted index of an index is.
#[must_use]
pub fn path(index: &Path, stemming: Stemming) -> PathBuf {
    index.with_extension(format!("{}.post", stemming.name()))
}

/// Writes the inverted index of an index, and replaces what was there.
///
/// # Errors
/// When it cannot be written.
pub fn build(path: &Path, index: &Index, stemming: Stemming) -> Result<(), IndexError> {
    write(path, index, stemming).map_err(|source| IndexError::Io {
        path: path.to_owned(),
        action: CANNOT_WRITE,
        source,
    })
}

fn write(path: &Path, index: &Index, stemming: Stemming) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let terms_of = |row: usize| count_terms(stemming.term_hashes(index.text(row)));
    let mut starts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut header = Header { magic: MAGIC, version: VERSION, ..Header::zeroed() };
    header.documents = index.len() as u64;
    let mut lengths: Vec<u32> = Vec::with_capacity(index.len());
    for row in 0..index.len() {
        let terms = terms_of(row);
        lengths.push(terms.iter().map(|term| term.tf).sum());
        header.postings += terms.len() as u64;
        terms.iter().for_each(|term| *starts.entry(term.hash).or_default() += 1);
    }
    header.tokens = lengths.iter().map(|tokens| u64::from(*tokens)).sum();
    header.terms = starts.len() as u64;
    let ends = header.ends().ok_or(io::ErrorKind::FileTooLarge)?;
    // From how many there are to where they begin.
    let mut next = 0;
    for start in starts.values_mut() {
        next += std::mem::replace(start, next);
    }
    let mut file = unfinished::file(folder)?;
    file.as_file_mut().set_len(ends[2] as u64)?;
    // SAFETY: the file was made for this, has no name that anybody knows, and nobody else changes it.
    let mut map = unsafe { MmapMut::map_mut(file.as_file()) }?;
    let lengths: &[u8] = bytemuck::cast_slice(&lengths);
    map[HEADER..][..lengths.len()].copy_from_slice(lengths);
    let entries = map[ends[0]..].as_chunks_mut::<16>().0;
    for (place, (&hash, &start)) in entries.iter_mut().zip(&starts) {
        place.copy_from_slice(bytemuck::bytes_of(&Entry { hash, start }));
    }
    let postings = map[ends[1]..].as_chunks_mut::<8>().0;
    for row in 0..index.len() {
        for term in terms_of(row) {
            // The texts of a mapped index do not change, so every term was seen before.
            let Some(next) = starts.get_mut(&term.hash) else { continue };
            let posting = Posting { row: row as u32, tf: term.tf };
            postings[*next as usize].copy_from_slice(bytemuck::bytes_of(&posting));
            *next += 1;
        }
    }
    header.body_hash = xxh3_64(&map[HEADER..]);
    header.header_hash = header.hash();
    map[..HEADER].copy_from_slice(bytemuck::bytes_of(&header));
    map.flush()?;
    drop(map);
    unfinished::keep(file, path)
}

impl Postings {
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
        let Some(ends) = header.ends().filter(|ends| ends[2] == map.len()) else {
            return Err(damaged("it is cut short or has grown"));
        };
        if header.body_hash != xxh3_64(&map[HEADER..]) {
            return Err(damaged("its content is damaged"));
        }
        let open = Self { map, header, ends };
        // The checksums are right, so this only fails for a file that was never written by `build`.
        let in_order = open.entries().is_sorted_by_key(|entry| entry.start)
            && open.entries().is_sorted_by_key(|entry| entry.hash)
            && open.entries().last().is_none_or(|last| last.start <= header.postings);
        if !in_order || open.postings().iter().any(|posting| u64::from(posting.row) >= header.documents) {
            return Err(damaged("a posting does not fit"));
        }
        Ok(open)
    }

    fn lengths(&self) -> &[u32] {
        &bytemuck::cast_slice(&self.map[HEADER..self.ends[0]])[..self.header.documents as usize]
    }

    fn entries(&self) -> &[Entry] {
        bytemuck::cast_slice(&self.map[self.ends[0]..self.ends[1]])
    }

    fn postings(&self) -> &[Posting] {
        bytemuck::cast_slice(&self.map[self.ends[1]..self.ends[2]])
    }

    /// The documents that a term is in, by row.
    #[must_use]
    pub fn of(&self, term: u64) -> &[Posting] {
        let entries = self.entries();
        let Ok(at) = entries.binary_search_by_key(&term, |entry| entry.hash) else { return &[] };
        let end = entries.get(at + 1).map_or(self.header.postings, |next| next.start);
        &self.postings()[entries[at].start as usize..end as usize]
    }
}

/// The inverted indexes of a collection's shards, or of those that are here.
#[derive(Debug)]
pub struct Keywords {
    here: Vec<Postings>,
    /// Number of the first that is here.
    first: u32,
    /// How many there are, wherever.
    of: u32,
    /// Where not all of them are here.
    counts: Option<Arc<Counts>>,
    stemming: Stemming,
    bm25: Bm25,
}

/// A query as BM25 sees it: its terms in order, and what each counts in the whole collection.
#[derive(Debug, Clone)]
pub struct KeywordQuery {
    terms: Vec<u64>,
    idfs: Vec<f64>,
    avg_tokens: f64,
}

/// Sums of one query, kept from one to the next: one for each document, all 0 in between.
#[derive(Debug, Default)]
pub struct Sums(Vec<f64>);

impl Keywords {
    /// Opens those beside the indexes at `paths`, a shard each and in order.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open(
        paths: impl IntoIterator<Item = PathBuf>,
        stemming: Stemming,
        bm25: Bm25,
    ) -> Result<Self, IndexError> {
        let open = |index: PathBuf| Postings::open(&path(&index, stemming));
        let here = paths.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { of: here.len() as u32, here, first: 0, counts: None, stemming, bm25 })
    }

    /// The same as those from number `first` of `of`, of whose whole this is counted.
    #[must_use]
    pub fn among(self, first: u32, of: u32, counts: Arc<Counts>) -> Self {
        Self { first, of, counts: Some(counts), ..self }
    }

    fn shard(&self, shard: u32) -> &Postings {
        &self.here[(shard - self.first) as usize]
    }

    /// What a text asks for.
    #[must_use]
    pub fn query(&self, text: &str) -> KeywordQuery {
        let terms = self.stemming.term_hashes(text);
        KeywordQuery { idfs: corpus_idfs(&terms, self), terms, avg_tokens: self.avg_tokens() }
    }

    /// The documents of one shard with the greatest scores above 0, by their numbers in the collection.
    #[must_use]
    pub fn best(&self, shard: u32, query: &KeywordQuery, most: usize, sums: &mut Sums) -> Vec<Hit> {
        let (of, postings) = (self.of, self.shard(shard));
        let lengths = postings.lengths();
        sums.0.resize(lengths.len(), 0.0);
        let mut met: Vec<u32> = Vec::new();
        for (&term, &idf) in query.terms.iter().zip(&query.idfs) {
            for posting in postings.of(term) {
                let sum = &mut sums.0[posting.row as usize];
                if *sum == 0.0 {
                    met.push(posting.row);
                }
                let length = self.bm25.length(lengths[posting.row as usize], query.avg_tokens);
                *sum += self.bm25.term(idf, posting.tf, length);
            }
        }
        let take = |row: u32| {
            let score = std::mem::take(&mut sums.0[row as usize]);
            Hit { row: row * of + shard, score }
        };
        let mut hits: Vec<Hit> = met.into_iter().map(take).filter(|hit| hit.score > 0.0).collect();
        hits.sort_unstable_by(Hit::best_first);
        hits.truncate(most);
        hits
    }

    /// The score of a document, by its number in the collection.
    #[must_use]
    pub fn score(&self, query: &KeywordQuery, number: u32) -> f64 {
        let (postings, row) = (self.shard(number % self.of), number / self.of);
        let length = self.bm25.length(postings.lengths()[row as usize], query.avg_tokens);
        let mut score = 0.0;
        for (&term, &idf) in query.terms.iter().zip(&query.idfs) {
            let found = postings.of(term);
            if let Ok(at) = found.binary_search_by_key(&row, |posting| posting.row) {
                score += self.bm25.term(idf, found[at].tf, length);
            }
        }
        score
    }
}

/// Of the whole collection, so that scores do not depend on how many shards there are, or are here.
impl TermStatistics for Keywords {
    fn documents(&self) -> u64 {
        match &self.counts {
            Some(counts) => counts.documents(),
            None => self.here.iter().map(|shard| shard.header.documents).sum(),
        }
    }

    fn df(&self, term: u64) -> u32 {
        match &self.counts {
            Some(counts) => counts.df(term),
            None => self.here.iter().map(|shard| shard.of(term).len() as u32).sum(),
        }
    }

    fn avg_tokens(&self) -> f64 {
        if let Some(counts) = &self.counts {
            return counts.avg_tokens();
        }
        let tokens: u64 = self.here.iter().map(|shard| shard.header.tokens).sum();
        match self.documents() {
            0 => 0.0,
            documents => tokens as f64 / documents as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{IndexDoc, build as build_index, shards};
    use crate::text::bm25::{DocTerms, TermTable};
    use crate::text::embed::TopicEmbedder;
    use crate::text::synthetic::{CATEGORY_WEIGHTS, VDB1, doc};

    const DIM: usize = 8;
    const DOCUMENTS: u64 = 60;

    fn text(number: u64) -> String {
        // Every text twice, so that ties have to be broken, and one without words.
        if number == 7 { String::new() } else { doc(42, VDB1, number / 2, &CATEGORY_WEIGHTS).text }
    }

    fn keywords(folder: &Path, of: u32, stemming: Stemming) -> Keywords {
        let paths: Vec<PathBuf> = (0..of).map(|shard| shards::path(folder, "a", shard, of)).collect();
        for (shard, index) in (0..of).zip(&paths) {
            let docs = shards::numbers(shard, of, DOCUMENTS).map(|number| IndexDoc {
                id: format!("d{number}").into(),
                text: text(number).into(),
                meta: doc(42, VDB1, number, &CATEGORY_WEIGHTS).meta,
            });
            build_index(index, DIM, "", docs, &TopicEmbedder::new(DIM, 1.0, 0)).unwrap();
            build(&path(index, stemming), &Index::open(index).unwrap(), stemming).unwrap();
        }
        Keywords::open(paths, stemming, Bm25::default()).unwrap()
    }

    fn queries() -> impl Iterator<Item = String> {
        // The last one repeats a word, and has one that nobody has.
        (0..6).map(text).chain([format!("{0} {0} unheardof", text(3)), String::new()])
    }

    #[test]
    fn what_is_found_is_what_scoring_every_document_finds_bit_for_bit_in_any_number_of_shards() {
        for stemming in [Stemming::None, Stemming::English] {
            let counted: Vec<_> =
                (0..DOCUMENTS).map(|number| count_terms(stemming.term_hashes(&text(number)))).collect();
            let docs: Vec<DocTerms<'_>> = counted.iter().map(|terms| DocTerms::of(terms)).collect();
            let mut table = TermTable::default();
            counted.iter().for_each(|terms| table.add(terms));
            for of in [1, 2, 7] {
                let folder = tempfile::tempdir().unwrap();
                let keywords = keywords(folder.path(), of, stemming);
                let mut sums: Vec<Sums> = (0..of).map(|_| Sums::default()).collect();
                for query in queries() {
                    let terms = stemming.term_hashes(&query);
                    let all = Bm25::default().over_corpus(&terms, &docs, &table);
                    let hits = (0..).zip(all.iter().copied()).map(|(row, score)| Hit { row, score });
                    let mut expected: Vec<Hit> = hits.filter(|hit| hit.score > 0.0).collect();
                    expected.sort_by(Hit::best_first);
                    expected.truncate(5);
                    let asked = keywords.query(&query);
                    let mut found: Vec<Hit> = (0..of)
                        .flat_map(|shard| keywords.best(shard, &asked, 5, &mut sums[shard as usize]))
                        .collect();
                    found.sort_by(Hit::best_first);
                    found.truncate(5);
                    assert_eq!(found, expected, "{stemming:?} {of} {query}");
                    let scores: Vec<f64> =
                        (0..DOCUMENTS as u32).map(|number| keywords.score(&asked, number)).collect();
                    assert_eq!(scores, all, "{stemming:?} {of} {query}");
                }
            }
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_with_a_remedy_wherever_the_damage_is() {
        let folder = tempfile::tempdir().unwrap();
        keywords(folder.path(), 1, Stemming::None);
        let file = folder.path().join("a.none.post");
        let whole = std::fs::read(&file).unwrap();
        assert!(Postings::open(&file).is_ok());
        for at in (0..whole.len()).step_by(97) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            let error = Postings::open(&file).unwrap_err().to_string();
            assert!(error.ends_with("Delete the file; it will be built again"), "{at}: {error}");
        }
        for length in [0, 10, HEADER, whole.len() - 8] {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert!(Postings::open(&file).is_err(), "{length}");
        }
    }
}
