//! A configuration file, on the way that `bench run --config` goes: refused with a reason in one line, or a
//! plan that can be hashed.
#![no_main]

use std::sync::LazyLock;

use bench::cli::RunArgs;
use clap::{Args as _, Command, FromArgMatches as _};
use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;

static CONFIG: LazyLock<NamedTempFile> = LazyLock::new(|| NamedTempFile::new_in("/dev/shm").unwrap());
static ARGS: LazyLock<RunArgs> = LazyLock::new(|| {
    let command = RunArgs::augment_args(Command::new("bench"));
    let path = CONFIG.path().to_str().unwrap();
    RunArgs::from_arg_matches(&command.get_matches_from(["bench", "--config", path])).unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(CONFIG.path(), bytes).unwrap();
    if let Ok(plan) = ARGS.plan() {
        plan.config_hash().unwrap();
    }
});
