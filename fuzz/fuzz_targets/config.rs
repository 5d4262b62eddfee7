//! A configuration file: every key and value is taken or refused by name, and what is taken can be
//! hashed once it is valid.
#![no_main]

use bench_workloads::wl4::params::Params;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(table) = toml::from_str::<toml::Table>(text) else { return };
    let mut params = Params::default();
    for (key, value) in table {
        let Ok(value) = serde_json::to_value(&value) else { continue };
        if let Err(error) = params.set(&key, value) {
            drop(error.to_string());
        }
    }
    if params.validate().is_ok() {
        serde_json::to_string(&params.fingerprint(None)).unwrap();
    }
});
