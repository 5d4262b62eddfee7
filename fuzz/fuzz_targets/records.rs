//! `unified_results` of whatever origin, JSONL or CSV: each line is a record or an error that names it, and
//! a record that is read can be written and compared.
#![no_main]

use std::io::Write as _;

use bench_record::{Record, Result, csv, jsonl};
use libfuzzer_sys::fuzz_target;

fn check(record: Result<Record>) {
    match record {
        Ok(record) => {
            let _ = record.validate();
            let line = serde_json::to_vec(&record).unwrap();
            bench_judge::try_line(&line).unwrap();
        }
        Err(error) => drop(error.to_string()),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.write_all(bytes).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(jsonl::read(file.path()).unwrap().map(check).count() <= lines);
    if let Ok(rows) = csv::read(file.path()) {
        rows.for_each(check);
    }
    // The comparison reads most lines at sight: what it takes must not depend on that.
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = bench_judge::try_line(line);
    }
});
