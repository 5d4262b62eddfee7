//! A collection in several indexes, each searched by itself.
//!
//! Document `i` of a collection is row `i / S` of shard `i mod S`. The number of a document is its key: it is
//! dense, so the shards are equal in size and nothing has to be looked up, and documents of one shard keep
//! their order, so that ties go the same way however many shards there are.
//!
//! A machine may have some of the shards only. What has to be known of the others is counted then.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Counts, Index, IndexError};
use crate::text::bm25::TermStatistics;

/// The shards of one collection that are here, in order.
#[derive(Debug)]
pub struct Shards {
    here: Vec<Arc<Index>>,
    /// Number of the first that is here.
    first: u32,
    /// How many there are, wherever.
    of: u32,
    /// Where not all of them are here, and somebody asks for more.
    counts: Option<Arc<Counts>>,
}

impl Shards {
    /// Opens all shards of a collection.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open(folder: &Path, name: &str, of: u32) -> Result<Self, IndexError> {
        Self::open_some(folder, name, 0..of, of, None)
    }

    /// Opens some of the shards of a collection. Like a slice, the result wants the number of one that is here.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open_some(
        folder: &Path,
        name: &str,
        some: Range<u32>,
        of: u32,
        counts: Option<Arc<Counts>>,
    ) -> Result<Self, IndexError> {
        let (first, open) = (some.start, |shard| Index::open(&path(folder, name, shard, of)).map(Arc::new));
        Ok(Self { here: some.map(open).collect::<Result<_, _>>()?, first, of, counts })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.of
    }

    /// One of them.
    #[must_use]
    pub fn shard(&self, shard: u32) -> &Arc<Index> {
        &self.here[(shard - self.first) as usize]
    }

    /// The most rows that stand beside each other under one id: parts of one document.
    #[must_use]
    pub fn most_of_an_id(&self) -> usize {
        if let Some(counts) = &self.counts {
            return counts.most_of_an_id();
        }
        let rows = self.here.iter().map(|shard| shard.len()).sum::<usize>() as u32;
        let id = |number: u32| {
            let (index, row) = self.find(number);
            index.id(row)
        };
        let (mut most, mut now) = (0, 0);
        for number in 0..rows {
            now = if number > 0 && id(number) == id(number - 1) { now + 1 } else { 1 };
            most = most.max(now);
        }
        most
    }

    /// Where document `number` of the collection is.
    #[must_use]
    pub fn find(&self, number: u32) -> (&Index, usize) {
        let of = self.count();
        (self.shard(number % of), (number / of) as usize)
    }
}

/// The file of a shard.
#[must_use]
pub fn path(folder: &Path, name: &str, shard: u32, of: u32) -> PathBuf {
    folder.join(if of == 1 { format!("{name}.idx") } else { format!("{name}.{shard}-of-{of}.idx") })
}

/// The documents of one shard, of a collection of `len`.
pub fn numbers(shard: u32, of: u32, len: u64) -> impl Iterator<Item = u64> + Send {
    (u64::from(shard)..len).step_by(of as usize)
}

/// Of the whole collection, so that scores do not depend on how many shards there are, or are here.
impl TermStatistics for Shards {
    fn documents(&self) -> u64 {
        match &self.counts {
            Some(counts) => counts.documents(),
            None => self.here.iter().map(|shard| shard.documents()).sum(),
        }
    }

    fn df(&self, term: u64) -> u32 {
        match &self.counts {
            Some(counts) => counts.df(term),
            None => self.here.iter().map(|shard| shard.df(term)).sum(),
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
