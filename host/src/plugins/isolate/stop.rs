use std::sync::atomic::{AtomicU8, Ordering};

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

/// A flag between the handler of Ctrl-C and the calls under way. One atomic byte: it may be raised
/// from a signal handler, and may be a `static`.
#[derive(Debug, Default)]
pub struct Stop(AtomicU8);

impl Stop {
    /// Not raised.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Asks for the next level: drain first, then kill.
    pub fn escalate(&self) {
        let next = |level: u8| Some(level.saturating_add(1).min(2));
        // The closure never returns None.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Asks for `level` at least.
    pub fn raise(&self, level: StopLevel) {
        self.0.fetch_max(level as u8, Ordering::Relaxed);
    }

    /// The level asked for so far.
    #[must_use]
    pub fn level(&self) -> StopLevel {
        match self.0.load(Ordering::Relaxed) {
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
        let levels = [(); 4].map(|()| (stop.level(), stop.escalate()).0);
        assert_eq!(levels, [StopLevel::Go, StopLevel::Drain, StopLevel::Kill, StopLevel::Kill]);
        stop.raise(StopLevel::Drain);
        assert_eq!(stop.level(), StopLevel::Kill);
    }
}
