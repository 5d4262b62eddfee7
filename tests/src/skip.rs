//! Tests that cannot run here. A file of its own, so that tests of plugins can use it without the host.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says that the test that calls this is skipped for the lack of something, which `cargo xtask test` counts at its
/// end.
///
/// # Panics
/// Where `BENCH_REQUIRE_RUNTIMES` is set, as it is in CI: there nothing may be missing.
pub fn skip(lacking: &str, details: &str) {
    let required = std::env::var_os("BENCH_REQUIRE_RUNTIMES").is_some_and(|value| value == "1");
    assert!(!required, "{lacking}: {details}");
    leave_out(lacking);
}

/// The same for what no installation would mend, such as another processor: no failure in CI either.
///
/// # Panics
/// When the list of skipped tests cannot be written.
pub fn leave_out(lacking: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {lacking}\n", thread.name().unwrap_or("a test"));
    eprint!("skipped: {line}");
    if let Some(list) = std::env::var_os("BENCH_SKIPPED") {
        let file = OpenOptions::new().create(true).append(true).open(list);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the list of skipped tests is writable");
    }
}
