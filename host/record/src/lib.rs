//! Everything a run leaves on disk.
//!
//! `unified_results.jsonl` is the truth: [`jsonl`] only ever adds whole lines to it. The CSV is
//! derived from it and can be rebuilt at any time ([`csv`]). [`manifest`] says how to repeat the
//! run, [`histogram`] keeps every latency, [`pair`] is what a pair of runs adds. What a record *is* lives in
//! [`schema`], and what its run found out in [`evidence`], alone, so that a new field is one edit.
//!
//! Three rules hold for every file here. A reader never sees half of one ([`atomic`]). Two writers
//! never interleave: writing needs an [`lock::OutputLock`], which only one process can hold. And whatever
//! another process could have made is opened with care ([`found`]).

#![forbid(unsafe_code)]

pub mod atomic;
pub mod bom;
pub mod canonical_json;
pub mod csv;
pub mod digest;
mod error;
pub mod evidence;
pub mod folder;
pub mod found;
pub mod histogram;
pub mod json_style;
pub mod jsonl;
pub mod lock;
pub mod manifest;
pub mod names;
pub mod pair;
pub mod quantity;
pub mod schema;
pub mod series;
pub mod shell;
pub mod spreadsheet;
pub mod table;
#[doc(hidden)]
pub mod testing;
pub mod time;
pub mod units;
pub mod vectors;

use std::path::Path;

pub use error::Error;
pub use evidence::Evidence;
pub use lock::OutputLock;
pub use manifest::ReproManifest;
pub use schema::Record;

/// What every function here returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Adds `records` to the results in `dir`, which is created when absent, and rebuilds the CSV.
///
/// All records arrive together or none does. The cost is one copy of the existing file, so hand
/// over the records of one invocation together.
pub fn save(dir: &Path, records: &[Record]) -> Result<()> {
    let lock = OutputLock::acquire(dir, lock::DEFAULT_WAIT)?;
    jsonl::append(&lock, records)?;
    csv::regenerate(&lock)?;
    Ok(())
}
