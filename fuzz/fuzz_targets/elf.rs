//! What is read of a library before it is loaded.
#![no_main]

use bench_isolate::vet::inspect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(flaw) = inspect(bytes) {
        drop(flaw.to_string());
    }
});
