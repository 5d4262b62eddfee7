//! Are the files beside the records still what the runs wrote?
//!
//! A record keeps the SHA-256 of its items file, of its latency log, and of what else is beside it. Older records do
//! not; of those the output digest is made again from the items. A file that is not there says nothing: results may be
//! copied without them.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::model::{Collected, Run};
use bench_record::digest::{Pair, output_digest, sha256_of};
use bench_record::found::Found;
use bench_record::{histogram, spreadsheet, table};

/// A file that is not what a run wrote.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Altered {
    /// Name of the backend.
    pub backend: String,
    /// Identifies the execution.
    pub run_id: String,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, as a clause about it.
    pub why: String,
}

/// Every such file of the runs that were kept in detail.
pub fn altered(collected: &Collected) -> Vec<Altered> {
    let mut looked_at = HashSet::new();
    let mut found = Vec::new();
    for run in &collected.runs {
        let evidence = &run.evidence;
        // What was cut short decides nothing.
        if evidence.partial {
            continue;
        }
        let items = run.file(evidence.items_file.as_deref()).filter(|path| is_there(path));
        let latencies = run.file(evidence.latency_histogram.as_deref()).filter(|path| is_there(path));
        let others = [
            (&evidence.vectors_file, &evidence.vectors_sha256),
            (&evidence.answers_file, &evidence.answers_sha256),
        ];
        let others = others.into_iter().filter_map(|(file, sha256)| {
            let path = run.file(file.as_deref()).filter(|path| is_there(path))?;
            Some((differs(&path, sha256.as_ref()?, table::LARGEST), path))
        });
        let wrongs = [
            items.map(|path| (wrong_items(run, &path), path)),
            latencies.map(|path| (wrong_latencies(run, &path), path)),
        ];
        for (wrong, file) in wrongs.into_iter().flatten().chain(others) {
            if let Some(why) = wrong
                && looked_at.insert(file.clone())
            {
                found.push(Altered { backend: run.backend.clone(), run_id: run.run_id.clone(), file, why });
            }
        }
    }
    found
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

const CHANGED: &str = "is not as the run wrote it";

fn differs(path: &Path, sha256: &str, largest: u64) -> Option<String> {
    match Found::NAMED.at_most(largest).open(path).and_then(sha256_of) {
        Ok(found) if found == sha256 => None,
        Ok(_) => Some(CHANGED.to_owned()),
        Err(cause) => Some(format!("cannot be read: {cause}")),
    }
}

fn wrong_items(run: &Run, path: &Path) -> Option<String> {
    if let Some(sha256) = &run.evidence.items_sha256 {
        return differs(path, sha256, table::LARGEST);
    }
    // Another writer may prove its answers in another way.
    let is_sha256 = |text: &&String| hex::decode(text).is_ok_and(|bytes| bytes.len() == 32);
    let said = run.evidence.output_digest.as_ref().filter(is_sha256)?;
    match digest_of(path) {
        Ok(found) if found == *said => None,
        Ok(_) => Some("holds other answers than its record".to_owned()),
        Err(cause) => Some(format!("cannot be read: {cause}")),
    }
}

fn wrong_latencies(run: &Run, path: &Path) -> Option<String> {
    if let Some(sha256) = &run.evidence.latency_histogram_sha256 {
        return differs(path, sha256, histogram::LARGEST);
    }
    histogram::load(path).err().map(|cause| format!("cannot be read: {cause}"))
}

/// The output digest that the answers in an items file come to.
fn digest_of(path: &Path) -> io::Result<String> {
    let reader = table::open(path)?;
    let rows = csv::ReaderBuilder::new().flexible(true).from_reader(reader).into_records();
    let pairs = rows.filter_map(|row| match row {
        Ok(row) => answer(&row).transpose(),
        Err(cause) => Some(Err(io::Error::other(cause))),
    });
    output_digest(pairs, &std::env::temp_dir())
}

/// What a row says of a query that was answered.
fn answer(row: &csv::StringRecord) -> io::Result<Option<Pair>> {
    let cell = |place: usize| row.get(place).unwrap_or_default();
    if cell(1) != "true" {
        return Ok(None);
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(cell(2), &mut digest)
        .map_err(|_| io::Error::other(format!("{:?} is no digest of an answer", cell(2))))?;
    Ok(Some((spreadsheet::text(cell(0)).to_owned(), digest)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{paired, write};
    use crate::{Options, collect};
    use serde_json::{Value, json};

    const ROWS: &str = "query_id,ok,digest,latency_ms,join\n";

    fn items(answers: &[(&str, bool, u8)]) -> String {
        let row =
            |(id, ok, byte): &(&str, bool, u8)| format!("{id},{ok},{},1.000,\n", hex::encode([*byte; 32]));
        answers.iter().map(row).fold(ROWS.to_owned(), |text, row| text + &row)
    }

    /// What is found of one run whose record is changed so, with these files beside it.
    fn found(files: &[(&str, &[u8])], change: impl Fn(&mut Value)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut records = paired(&[("sage", &[1.0])]);
        records[0]["extra"]["items_file"] = json!("items.csv");
        records[0]["extra"]["latency_histogram"] = json!("latency.hlog");
        change(&mut records[0]);
        write(dir.path(), &records);
        files.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
        let collected = collect(&[dir.path().into()], &Options::default()).unwrap();
        altered(&collected).into_iter().map(|altered| altered.why).collect()
    }

    #[test]
    fn files_that_were_not_copied_along_say_nothing() {
        assert_eq!(found(&[], |record| record["extra"]["items_sha256"] = json!("00")), [""; 0]);
    }

    #[test]
    fn a_file_that_is_not_what_the_record_says_is_named() {
        let text = items(&[("a", true, 1)]);
        let sha256 = sha256_of(text.as_bytes()).unwrap();
        let with = |bytes: &str| {
            found(&[("items.csv", bytes.as_bytes())], |record| {
                record["extra"]["items_sha256"] = json!(sha256);
            })
        };
        assert_eq!(with(&text), [""; 0]);
        assert_eq!(with(&items(&[("a", true, 2)])), [CHANGED]);
        assert_eq!(with(&text.replace("1.000", "0.001")), [CHANGED], "latencies count as well");
    }

    #[test]
    fn without_a_hash_the_answers_are_digested_again() {
        let pairs = [("'=a", [1; 32]), ("b", [2; 32])];
        let pairs = pairs.map(|(id, digest)| Ok((spreadsheet::text(id).to_owned(), digest)));
        let digest = output_digest(pairs.into_iter(), &std::env::temp_dir()).unwrap();
        let with = |answers: &[(&str, bool, u8)]| {
            found(&[("items.csv", items(answers).as_bytes())], |record| {
                record["extra"]["output_digest"] = json!(digest);
            })
        };
        assert_eq!(with(&[("b", true, 2), ("c", false, 9), ("'=a", true, 1)]), [""; 0]);
        assert_eq!(with(&[("b", true, 2), ("'=a", true, 3)]), ["holds other answers than its record"]);
        assert_eq!(with(&[("b", true, 2)]), ["holds other answers than its record"]);
    }

    #[test]
    fn a_latency_log_that_is_none_is_named() {
        let garbage = found(&[("latency.hlog", b"\x00garbage\n")], |_| ());
        assert!(garbage[0].starts_with("cannot be read: ") && garbage.len() == 1, "{garbage:?}");
        let other = found(&[("latency.hlog", b"#[other]\n")], |record| {
            record["extra"]["latency_histogram_sha256"] = json!(sha256_of(&b"one"[..]).unwrap());
        });
        assert_eq!(other, [CHANGED]);
    }
}
