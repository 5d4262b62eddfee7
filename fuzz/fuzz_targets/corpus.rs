//! A collection in BEIR's format: read, or refused by file and line. The three files are cut apart by NUL.
#![no_main]

use std::sync::LazyLock;

use bench_workloads::corpus::{Choice, Corpus};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const FILES: [&str; 3] = ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"];

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = TempDir::new_in("/dev/shm").unwrap();
    std::fs::create_dir(folder.path().join("qrels")).unwrap();
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    for name in FILES {
        std::fs::write(FOLDER.path().join(name), parts.next().unwrap_or_default()).unwrap();
    }
    match Corpus::load(FOLDER.path(), Choice::default(), FOLDER.path()) {
        Ok(corpus) => {
            assert_eq!(corpus.queries.len(), corpus.qrels.len());
            let judged = corpus.qrels.iter().flatten().filter_map(|judgement| judgement.row);
            assert!(judged.map(|row| row as usize).all(|row| row < corpus.docs.len()));
            // What was accepted can be read again, line by line.
            assert_eq!(corpus.docs.iter().filter(Result::is_ok).count(), corpus.docs.len());
        }
        Err(error) => assert!(error.to_string().contains(FOLDER.path().to_str().unwrap())),
    }
});
