//! A collection in several indexes, each searched by itself.
//!
//! Document `i` of a collection is row `i / S` of shard `i mod S`. The number of a document is its key: it is
//! dense, so the shards are equal in size and nothing has to be looked up, and documents of one shard keep
//! their order, so that ties go the same way however many shards there are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Index, IndexError};
use crate::text::bm25::TermStatistics;

/// The shards of one collection, in order.
#[derive(Debug)]
pub struct Shards(Vec<Arc<Index>>);

impl Shards {
    /// Opens all shards of a collection.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open(folder: &Path, name: &str, of: u32) -> Result<Self, IndexError> {
        let open = |shard| Index::open(&path(folder, name, shard, of)).map(Arc::new);
        (0..of).map(open).collect::<Result<_, _>>().map(Self)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }

    /// One of them.
    #[must_use]
    pub fn shard(&self, shard: u32) -> &Arc<Index> {
        &self.0[shard as usize]
    }

    /// The most rows that stand beside each other under one id: parts of one document.
    #[must_use]
    pub fn most_of_an_id(&self) -> usize {
        let rows = self.0.iter().map(|shard| shard.len()).sum::<usize>() as u32;
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
        (&self.0[(number % of) as usize], (number / of) as usize)
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

/// Sums over the shards, so that scores do not depend on how many there are.
impl TermStatistics for Shards {
    fn documents(&self) -> u64 {
        self.0.iter().map(|shard| shard.documents()).sum()
    }

    fn df(&self, term: u64) -> u32 {
        self.0.iter().map(|shard| shard.df(term)).sum()
    }

    fn avg_tokens(&self) -> f64 {
        let tokens: u64 = self.0.iter().map(|shard| shard.header.tokens).sum();
        match self.documents() {
            0 => 0.0,
            documents => tokens as f64 / documents as f64,
        }
    }
}
