//! The list of trusted plugins: read, or refused and left as it is. What is read can be changed and read again.
#![no_main]

use std::sync::LazyLock;

use bench_isolate::discover::BackendName;
use bench_isolate::trust::{FILE, Trust};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DATA: LazyLock<TempDir> = LazyLock::new(|| TempDir::new_in("/dev/shm").unwrap());

fuzz_target!(|bytes: &[u8]| {
    let path = DATA.path().join(FILE);
    std::fs::write(&path, bytes).unwrap();
    let name = BackendName::parse("local").unwrap();
    let changed = Trust::change(DATA.path(), |list| list.pin(&name, "00ff"));
    match Trust::load(DATA.path()) {
        Ok(list) => {
            changed.unwrap();
            let entry = list.entries().find(|(known, _)| **known == name).unwrap().1;
            assert_eq!(entry.pinned.as_deref(), Some("00ff"));
            assert!(entry.trusted.iter().any(|sha256| sha256 == "00ff"));
        }
        Err(error) => {
            assert!(changed.is_err());
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            let said = format!("{error} {}", error.remedy());
            assert!(!said.chars().any(char::is_control), "{said:?}");
        }
    }
});
