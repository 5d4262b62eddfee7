//! Two items files of one setting, cut apart by NUL: what differs is named, and what cannot be read is said.
#![no_main]

use std::sync::LazyLock;

use bench_judge::testing::{paired, write};
use bench_judge::{Options, collect, equality, kept, latency};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = TempDir::new_in("/dev/shm").unwrap();
    let mut records = paired(&[("sage", &[1.0]), ("ray", &[1.0])]);
    for (number, record) in records.iter_mut().enumerate() {
        record["extra"]["output_digest"] = json!(format!("{number}"));
        record["extra"]["items_file"] = json!(format!("{number}.csv"));
    }
    write(folder.path(), &records);
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let parts = [parts.next().unwrap_or_default(), parts.next().unwrap_or_default()];
    for (number, part) in parts.iter().enumerate() {
        std::fs::write(FOLDER.path().join(format!("{number}.csv")), part).unwrap();
    }
    let collected = collect(&[FOLDER.path().to_owned()], &Options::default()).unwrap();
    let equality = equality::check(&collected);
    let difference = &equality[0].differences[0];
    // Two files with the same bytes name no item.
    assert!(parts[0] != parts[1] || difference.examples.is_empty());
    assert!(difference.items.is_none_or(|items| items >= difference.examples.len() as u64));
    drop((kept::altered(&collected), latency::pooled(&collected, &[])));
});
