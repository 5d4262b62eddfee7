//! What a runner sends, in pieces: a message is read only with its nonce, everything else is an error
//! that is fit for a terminal, and nothing is kept beyond the limit.
#![no_main]

use bench::plugins::isolate::wire::{Lines, read};
use bench::run::guest::RunEvent;
use bench::run::operation::RunReply;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let mut lines = Lines::new(4096);
    for piece in pieces {
        lines.push(&piece);
        loop {
            match lines.next_line() {
                Ok(Some(line)) => {
                    assert!(line.len() <= 4096);
                    if let Err(error) = read::<RunEvent, RunReply>(&line, "nonce") {
                        drop(error);
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
