//! Faults on demand, so that a backend's failure handling can be tested with the real operators.
//!
//! `--set fault=raise:vdb1:7` makes operator `vdb1` fail on the record with sequence number 7;
//! `raise:vdb1:7:1` only the first time in each worker process; `panic:vdb1:7` panics, which operators are not to do;
//! `hang:vdb1:7` never returns; `exit:vdb1:7` ends the worker process, once per `BENCH_FAULT_DIR`.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::operator::OperatorError;

/// What happens at which record of which operator.
#[derive(Debug, Clone)]
pub struct Fault {
    kind: Kind,
    /// Operator at which it strikes.
    pub node: String,
    seq: u64,
    /// How often it may still strike.
    left: Arc<AtomicU32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Raise,
    Panic,
    Hang,
    Exit,
}

impl Fault {
    /// Fails, panics, hangs or ends the process if this is the record.
    pub(crate) fn strike(&self, seq: u64) -> Result<(), OperatorError> {
        let armed = || self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if seq != self.seq || armed().is_err() {
            return Ok(());
        }
        match self.kind {
            Kind::Raise => Err(OperatorError(format!("injected fault at record {seq}"))),
            Kind::Panic => panic!("injected fault at record {seq}"),
            Kind::Hang => loop {
                std::thread::park();
            },
            Kind::Exit => {
                if first_in_this_run(&self.node, seq) {
                    std::process::exit(86);
                }
                Ok(())
            }
        }
    }
}

/// The exit fault must not strike again in the worker that replaces the one it ended: a marker file
/// in the run's own directory remembers it.
fn first_in_this_run(node: &str, seq: u64) -> bool {
    let Some(dir) = std::env::var_os("BENCH_FAULT_DIR") else { return true };
    let marker = std::path::Path::new(&dir).join(format!("fault-{node}-{seq}"));
    std::fs::OpenOptions::new().write(true).create_new(true).open(marker).is_ok()
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is not a fault: write raise|panic|hang|exit:OPERATOR:RECORD[:TIMES]");
        let mut parts = text.split(':');
        let kind = match parts.next() {
            Some("raise") => Kind::Raise,
            Some("panic") => Kind::Panic,
            Some("hang") => Kind::Hang,
            Some("exit") => Kind::Exit,
            _ => return Err(wrong()),
        };
        let node = parts.next().filter(|node| !node.is_empty()).ok_or_else(wrong)?.to_owned();
        let seq = parts.next().and_then(|seq| seq.parse().ok()).ok_or_else(wrong)?;
        let times = match parts.next() {
            Some(times) => times.parse().map_err(|_| wrong())?,
            None => u32::MAX,
        };
        match parts.next() {
            Some(_) => Err(wrong()),
            None => Ok(Self { kind, node, seq, left: Arc::new(AtomicU32::new(times)) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_its_record_as_often_as_it_says() {
        let fault: Fault = "raise:vdb1:7:2".parse().unwrap();
        assert!(fault.strike(6).is_ok());
        assert!(fault.strike(7).is_err() && fault.strike(7).is_err() && fault.strike(7).is_ok());
    }

    #[test]
    #[should_panic(expected = "injected fault at record 7")]
    fn a_panic_is_one() {
        let _ = "panic:vdb1:7".parse::<Fault>().unwrap().strike(7);
    }

    #[test]
    fn nonsense_is_refused_with_the_grammar() {
        for text in ["", "raise", "raise:vdb1", "burn:vdb1:7", "raise:vdb1:x", "raise:vdb1:7:1:1"] {
            assert!(text.parse::<Fault>().unwrap_err().contains("raise|panic|hang|exit:OPERATOR:RECORD"));
        }
    }
}
