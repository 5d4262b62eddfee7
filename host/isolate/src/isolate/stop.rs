use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// How much the user wants it to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopLevel {
    /// Not at all.
    Go,
    /// Finish what has begun.
    Drain,
    /// Now.
    Kill,
}

/// A flag between the handler of Ctrl-C and the calls under way. Atomic throughout: it may be raised
/// from a signal handler, and may be a `static`.
#[derive(Debug, Default)]
pub struct Stop {
    level: AtomicU8,
    /// Whether the level was looked at since it was raised.
    seen: AtomicBool,
}

impl Stop {
    /// Not raised.
    #[must_use]
    pub const fn new() -> Self {
        Self { level: AtomicU8::new(0), seen: AtomicBool::new(false) }
    }

    /// Asks for the next level: drain first, then kill. False when it was asked for before and nobody has
    /// looked since: whatever is under way does not look, and has to be ended without being asked.
    pub fn escalate(&self) -> bool {
        let next = |level: u8| Some(level.saturating_add(1).min(2));
        // The closure never returns None.
        let before = self.level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        self.seen.swap(false, Ordering::Relaxed) || before == StopLevel::Go as u8
    }

    /// Asks for `level` at least.
    pub fn raise(&self, level: StopLevel) {
        self.level.fetch_max(level as u8, Ordering::Relaxed);
    }

    /// The level asked for so far.
    #[must_use]
    pub fn level(&self) -> StopLevel {
        self.seen.store(true, Ordering::Relaxed);
        match self.level.load(Ordering::Relaxed) {
            0 => StopLevel::Go,
            1 => StopLevel::Drain,
            _ => StopLevel::Kill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_drains_twice_kills_and_it_stays_so() {
        let stop = Stop::new();
        let levels = [(); 4].map(|()| {
            let level = stop.level();
            assert!(stop.escalate(), "somebody looked");
            level
        });
        assert_eq!(levels, [StopLevel::Go, StopLevel::Drain, StopLevel::Kill, StopLevel::Kill]);
        stop.raise(StopLevel::Drain);
        assert_eq!(stop.level(), StopLevel::Kill);
    }

    #[test]
    fn who_asks_twice_learns_that_nobody_looks() {
        let stop = Stop::new();
        assert!(stop.escalate(), "there was no time to look yet");
        assert!(!stop.escalate());
        assert_eq!(stop.level(), StopLevel::Kill);
        assert!(stop.escalate());
    }
}
