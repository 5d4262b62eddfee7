//! Text of a C plugin, written in pieces: it becomes UTF-8, loses nothing that was, and a message made of
//! it is one line without control characters. The first byte is the length of the pieces.
#![no_main]

use bench_isolate::load::text_of_a_c_plugin;
use bench_isolate::{Error, ErrorKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&length, whole)) = bytes.split_first() else { return };
    let text = text_of_a_c_plugin(whole.chunks(usize::from(length).max(1)));
    assert_eq!(text, String::from_utf8_lossy(whole));
    let shown = Error::new(ErrorKind::Runtime, text, "").to_string();
    assert!(!shown.chars().any(char::is_control));
});
