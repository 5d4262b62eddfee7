//! Where a worker runs: whose clock it reads, and in whose numbers its threads are counted.
//!
//! A machine that was started anew counts its monotonic clock from zero, and a time namespace moves it. A thread's number
//! is unique in a pid namespace only. Whoever says all three says a place, and a span has a tag of it: two spans with
//! equal tags are by one clock, and two of other places are told apart however equal their numbers are.

use std::fs;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::seal::Key;

/// A monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClockId {
    /// The kernel's id of the machine's start.
    pub boot: String,
    /// The time namespace; empty where the kernel knows none.
    pub time: String,
}

/// A clock, and the numbers of threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The clock.
    #[serde(flatten)]
    pub clock: ClockId,
    /// The pid namespace; empty where the kernel knows none.
    pub pids: String,
}

impl Place {
    /// That of this process.
    #[must_use]
    pub fn here() -> &'static Self {
        static HERE: OnceLock<Place> = OnceLock::new();
        HERE.get_or_init(|| {
            let namespace = |name: &str| {
                let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
                link.to_string_lossy().into_owned()
            };
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let clock = ClockId { boot: boot.trim().to_owned(), time: namespace("time") };
            Self { clock, pids: namespace("pid") }
        })
    }

    /// What spans of a run with this key say of it. Two places of a run have equal tags in one of 65,536 cases, and in
    /// the next run they have others.
    #[must_use]
    pub fn tag(&self, key: Option<Key>) -> u16 {
        let Self { clock: ClockId { boot, time }, pids } = self;
        key.map_or(0, |key| (key.number(&format!("{boot} {time} {pids}")) >> 48) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_makes_another_place_with_another_tag() {
        let place = |boot: &str, time: &str, pids: &str| Place {
            clock: ClockId { boot: boot.into(), time: time.into() },
            pids: pids.into(),
        };
        let key: Key = "0000000000000001".to_owned().try_into().unwrap();
        let tags = [("a", "t", "p"), ("b", "t", "p"), ("a", "u", "p"), ("a", "t", "q")]
            .map(|(boot, time, pids)| place(boot, time, pids).tag(Some(key)));
        assert!((1..4).all(|at| !tags[at..].contains(&tags[at - 1])), "{tags:?}");
        let other: Key = "0000000000000002".to_owned().try_into().unwrap();
        assert_ne!(place("a", "t", "p").tag(Some(other)), tags[0]);
    }

    #[test]
    fn this_process_has_a_clock_and_a_place() {
        let here = Place::here();
        assert!(here.clock.boot.len() > 30 && here.pids.starts_with("pid:"), "{here:?}");
    }
}
