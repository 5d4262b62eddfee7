//! Runs that are over, to be done again from their records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bench_judge::model::Setting;
use bench_judge::sources::{self, Format};
use bench_measure::plan::Plan;
use bench_record::{Record, jsonl};

/// What was run, and can be again.
#[derive(Debug)]
pub struct Subject {
    pub backend: String,
    pub plan: Plan,
    pub record: Record,
}

impl Subject {
    /// Its setting, as a comparison calls it.
    #[must_use]
    pub fn setting(&self) -> String {
        let Record { workload, nodes, parallelism, seed, config_hash, .. } = self.record.clone();
        Setting { workload, nodes, parallelism, seed, config_hash, drawn: false }.label()
    }
}

/// The last whole record of each backend and configuration below `path`, by backend. Pairs with seeds of their own are
/// one configuration.
///
/// # Errors
/// When there are no records, or they cannot be read.
pub fn records(path: &Path) -> Result<Vec<Record>, bench_judge::Error> {
    let paths: [PathBuf; 1] = [path.to_owned()];
    let mut others = false;
    let mut last: BTreeMap<(String, Option<String>), Record> = BTreeMap::new();
    for source in sources::find(&paths)? {
        // The CSV of a folder is made from its JSONL, and has no configuration of its own.
        if source.format != Format::Jsonl {
            continue;
        }
        for record in jsonl::read(&source.path)? {
            let record = record?;
            if record.evidence().partial || !record.has_answers() {
                others = true;
                continue;
            }
            let drawn_from = record.evidence().place.drawn_from.map(|from| from.config_hash);
            let key = (record.backend.clone(), drawn_from.or_else(|| record.config_hash.clone()));
            let is_later = last.get(&key).is_none_or(|known| known.timestamp <= record.timestamp);
            if is_later {
                last.insert(key, record);
            }
        }
    }
    match (last.is_empty(), others) {
        (false, _) => Ok(last.into_values().collect()),
        (true, true) => Err(bench_judge::Error::NoneWhole(paths.into())),
        (true, false) => Err(bench_judge::Error::NoRecords(paths.into())),
    }
}
