//! A configuration file, on the way that `bench run --config` goes: refused with a reason in one line, or a
//! plan that can be hashed.
#![no_main]

use std::sync::LazyLock;

use bench::cli::plan_of;
use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;

static CONFIG: LazyLock<NamedTempFile> = LazyLock::new(|| NamedTempFile::new_in("/dev/shm").unwrap());

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(CONFIG.path(), bytes).unwrap();
    let words = ["bench".into(), "run".into(), "--config".into(), CONFIG.path().into()];
    if let Some(plan) = plan_of(&words) {
        assert_eq!(plan.config_hash().len(), 64);
    }
});
