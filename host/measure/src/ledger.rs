//! Which queries are under way: the one place that the emitter and the sink share.
//!
//! It bounds what is in flight, knows the watermark (the event time of the oldest query that is not
//! finished), and tells a first answer from a duplicate and from one nobody asked for.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A query that was emitted and is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// When it should have been emitted; latency counts from here. Monotonic nanoseconds.
    pub intended_ns: u64,
    /// When it was.
    pub emitted_ns: u64,
    /// Event time.
    pub event_time_ns: i64,
    /// Key of its id: what its answer must be to.
    pub key: u64,
    /// False for warm-up.
    pub timed: bool,
}

#[derive(Debug, Default)]
struct State {
    pending: BTreeMap<u64, Pending>,
    /// One more than the highest sequence number emitted.
    next_seq: u64,
    draining: bool,
    /// How many wait for room, and the most queries under way at which one of them has enough: nobody
    /// is woken for less.
    waiters: usize,
    enough_at: usize,
}

/// The queries under way. Any thread may use it.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
    changed: Condvar,
}

/// What an answer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The first answer to a query under way.
    First(Pending),
    /// Its query is finished already.
    Duplicate,
    /// No query has this number.
    Unexpected,
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `wanted` more queries fit under `limit`. False when the run is draining.
    pub fn wait_for_room(&self, wanted: usize, limit: usize) -> bool {
        let full = |state: &mut State| !state.draining && state.pending.len() + wanted > limit;
        let mut state = self.state();
        state.waiters += 1;
        state.enough_at = state.enough_at.max(limit.saturating_sub(wanted));
        let mut state = self.changed.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        state.waiters -= 1;
        if state.waiters == 0 {
            state.enough_at = 0;
        }
        !state.draining
    }

    /// Sleeps for `duration` unless the run starts draining. False when it does.
    pub fn sleep(&self, duration: Duration) -> bool {
        let waiting = |state: &mut State| !state.draining;
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), duration, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        !state.draining
    }

    /// No new queries from now on.
    pub fn drain(&self) {
        self.state().draining = true;
        self.changed.notify_all();
    }

    /// True once [`Ledger::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.state().draining
    }

    /// Enters queries that are about to be emitted, and returns the watermark: no unfinished query
    /// has an earlier event time.
    pub fn emit(&self, queries: &[(u64, Pending)], now_event_ns: i64) -> i64 {
        let mut state = self.state();
        for &(seq, pending) in queries {
            state.pending.insert(seq, pending);
            state.next_seq = state.next_seq.max(seq + 1);
        }
        state.pending.first_key_value().map_or(now_event_ns, |(_, oldest)| oldest.event_time_ns)
    }

    /// Takes note of an answer.
    pub fn settle(&self, seq: u64) -> Settled {
        let mut state = self.state();
        match state.pending.remove(&seq) {
            Some(pending) => {
                let wake = state.waiters > 0 && state.pending.len() <= state.enough_at;
                drop(state);
                if wake {
                    self.changed.notify_all();
                }
                Settled::First(pending)
            }
            None if seq < state.next_seq => Settled::Duplicate,
            None => Settled::Unexpected,
        }
    }

    /// Queries under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.state().pending.len()
    }

    /// How many wait for room.
    #[cfg(test)]
    pub(super) fn waiters(&self) -> usize {
        self.state().waiters
    }

    /// At the end: the queries that never got an answer.
    #[must_use]
    pub fn unanswered(&self) -> Vec<(u64, Pending)> {
        self.state().pending.iter().map(|(seq, pending)| (*seq, *pending)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(event_time_ns: i64) -> Pending {
        Pending { intended_ns: 0, emitted_ns: 0, event_time_ns, key: 0, timed: true }
    }

    #[test]
    fn an_answer_counts_once() {
        let ledger = Ledger::default();
        ledger.emit(&[(0, pending(5))], 5);
        assert_eq!(ledger.settle(0), Settled::First(pending(5)));
        assert_eq!(ledger.settle(0), Settled::Duplicate);
        assert_eq!(ledger.settle(7), Settled::Unexpected);
    }

    #[test]
    fn the_watermark_is_the_oldest_unfinished_query() {
        let ledger = Ledger::default();
        assert_eq!(ledger.emit(&[(0, pending(10)), (1, pending(20))], 20), 10);
        ledger.settle(0);
        assert_eq!(ledger.emit(&[(2, pending(30))], 30), 20);
    }

    #[test]
    fn a_full_ledger_waits_for_an_answer() {
        let ledger = Ledger::default();
        ledger.emit(&[(0, pending(0)), (1, pending(0))], 0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| ledger.wait_for_room(1, 2));
            ledger.settle(1);
            assert!(waiter.join().unwrap());
        });
    }

    #[test]
    fn draining_wakes_whoever_waits() {
        let ledger = Ledger::default();
        ledger.emit(&[(0, pending(0))], 0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| ledger.wait_for_room(1, 1));
            let sleeper = scope.spawn(|| ledger.sleep(Duration::from_secs(60)));
            ledger.drain();
            assert!(!waiter.join().unwrap() && !sleeper.join().unwrap());
        });
    }
}
