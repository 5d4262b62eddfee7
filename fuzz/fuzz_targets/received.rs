//! The items of a run as its process left them: counted to the last one, or refused.
#![no_main]

use std::io::{Seek as _, Write as _};
use std::path::Path;

use bench_measure::operation::Measured;
use bench_measure::received::{Received, Watched};
use bench_measure::item::read_items;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    let Ok((received, digest)) = Received::default().count(read_items(file), Path::new("/dev/shm")) else { return };
    digest.unwrap();
    assert!(received.timed_completed <= received.completed && received.timed_failed <= received.failed);
    assert!(received.throughput() >= 0.0);
    received.latencies(1.0).unwrap();
    let (said, watched) = (Measured::default(), Watched::new());
    drop((
        received.contradictions(&said),
        watched.contradictions(&received, &said),
        watched.difference(&received, &said),
    ));
});
