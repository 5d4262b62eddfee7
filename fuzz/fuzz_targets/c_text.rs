//! Text of a C plugin, written in pieces of any length: it becomes UTF-8, loses nothing that was, and a
//! message made of it is one line without control characters.
#![no_main]

use bench::plugins::load::text_of_a_c_plugin;
use bench::plugins::{Error, ErrorKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let whole: Vec<u8> = pieces.concat();
    let text = text_of_a_c_plugin(pieces.iter().map(Vec::as_slice));
    if whole.len() < 1 << 20 {
        assert_eq!(text, String::from_utf8_lossy(&whole));
    }
    let shown = Error::new(ErrorKind::Runtime, text, "").to_string();
    assert!(!shown.chars().any(char::is_control));
});
