//! What a runner sends: a message is read only with its nonce, everything else is an error that is fit for
//! a terminal, nothing is kept beyond the limit, and the lines are the same however they arrive. A reply, whatever it
//! states, is compared with what was received and seen. The first byte is the length of the pieces.
#![no_main]

use bench_isolate::describe::Description;
use bench_isolate::isolate::wire::{Body, Lines, read};
use bench_measure::guest::RunEvent;
use bench_measure::operation::RunReply;
use bench_measure::received::{Received, Watched};
use libfuzzer_sys::fuzz_target;

const LONGEST: usize = 4096;

fn lines_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let (mut lines, mut found) = (Lines::new(LONGEST), Vec::new());
    for piece in pieces {
        lines.push(piece);
        loop {
            match lines.next_line() {
                Ok(Some(line)) => found.push(line),
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    found
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&length, sent)) = bytes.split_first() else { return };
    let lines = lines_of(sent.chunks(usize::from(length).max(1)));
    assert_eq!(lines, lines_of(std::iter::once(sent)));
    for line in lines {
        assert!(line.len() <= LONGEST);
        if let Ok(Body::Reply(RunReply { measured, .. })) = read::<RunEvent, RunReply>(&line, "nonce") {
            let (received, watched) = (Received::default(), Watched::new());
            let wrongs =
                [received.contradictions(&measured), watched.contradictions(&received, &measured)].concat();
            // The host's own code has measured nothing.
            assert!(!wrongs.is_empty());
            drop((watched.difference(&received, &measured), received.latencies(measured.wall_seconds)));
        }
        for error in
            [read::<RunEvent, RunReply>(&line, "nonce").err(), read::<(), Description>(&line, "nonce").err()]
        {
            assert!(!error.unwrap_or_default().chars().any(char::is_control));
        }
    }
});
