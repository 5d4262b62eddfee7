//! `repro_manifest.json`: read, or refused; what is read is written back the same.
#![no_main]

use std::io::Write as _;

use bench_record::manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.write_all(bytes).unwrap();
    match manifest::read(file.path()) {
        Ok(first) => {
            let text = serde_json::to_vec(&first).unwrap();
            std::fs::write(file.path(), &text).unwrap();
            let second = manifest::read(file.path()).unwrap();
            assert_eq!(text, serde_json::to_vec(&second).unwrap());
        }
        Err(error) => drop(error.to_string()),
    }
});
