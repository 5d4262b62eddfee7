//! A log of latencies of whatever origin: read, or refused by file and line; it never takes much more memory than its
//! bytes explain, and what was read can be written and read again.
#![no_main]

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use bench_record::histogram::{self, Interval};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.write_all(bytes).unwrap();
    let intervals = match histogram::load(file.path()) {
        Ok(intervals) => intervals,
        Err(error) => {
            let said = error.to_string();
            assert!(
                said.contains(file.path().to_str().unwrap()) && !said.chars().any(char::is_control),
                "{said:?}"
            );
            return;
        }
    };
    let quantiles = |all: &histogram::LatencyHistogram| [0.5, 0.95, 0.99, 1.0].map(|q| all.quantile(q));
    let Ok(Some(all)) = histogram::whole_items(&intervals) else { return };
    quantiles(&all);
    all.buckets().for_each(drop);
    let length = Duration::from_secs(1);
    let kept = Interval { tag: None, start: Duration::ZERO, length, latencies: all };
    std::fs::write(file.path(), histogram::log(SystemTime::UNIX_EPOCH, std::slice::from_ref(&kept)).unwrap())
        .unwrap();
    let again = histogram::load(file.path()).unwrap();
    assert_eq!(
        (again[0].latencies.len(), quantiles(&again[0].latencies)),
        (kept.latencies.len(), quantiles(&kept.latencies))
    );
});
