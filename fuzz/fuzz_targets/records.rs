//! `unified_results.jsonl` of whatever origin: each line is a record or an error that names it, and a
//! record that is read can be written.
#![no_main]

use std::io::Write as _;

use bench::results::jsonl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.write_all(bytes).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let mut read = 0;
    for record in jsonl::read(file.path()).unwrap() {
        read += 1;
        match record {
            Ok(record) => {
                let _ = record.validate();
                serde_json::to_string(&record).unwrap();
            }
            Err(error) => drop(error.to_string()),
        }
    }
    assert!(read <= lines);
});
