//! How many waits a process has under way at once: the limit belongs to a setting, and not to whoever calls.
//!
//! Operators that wait for a service wait here. Whatever a runtime makes of batches and threads, never more of them
//! wait together than there are slots, and as many as there are where there is enough to wait for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// A number of slots that every caller of a process shares.
#[derive(Debug)]
pub struct Slots {
    count: u32,
    free: Mutex<u32>,
    changed: Condvar,
}

impl Slots {
    /// At least one.
    #[must_use]
    pub fn new(count: u32) -> Self {
        let count = count.max(1);
        Self { count, free: Mutex::new(count), changed: Condvar::new() }
    }

    /// Does `job` for each number below `jobs`, each in a slot, and gives what they made in order.
    pub fn each<T: Send>(&self, jobs: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let threads = jobs.min(self.count as usize);
        if threads <= 1 {
            return (0..jobs).map(|number| self.one(|| job(number))).collect();
        }
        let made: Vec<Mutex<Option<T>>> = (0..jobs).map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(place) = made.get(number) else { return };
                let thing = self.one(|| job(number));
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(thing);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let taken = |place: Mutex<Option<T>>| place.into_inner().unwrap_or_else(PoisonError::into_inner);
        made.into_iter().filter_map(taken).collect()
    }

    /// Does a job once there is a slot for it.
    fn one<T>(&self, job: impl FnOnce() -> T) -> T {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        drop(free);
        let _slot = Slot(self);
        job()
    }
}

/// A slot that is in use, until it is dropped: also where a job panics.
struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// Counts the jobs that are under way, and the most there were.
    #[derive(Default)]
    struct UnderWay(Mutex<(u32, u32)>);

    impl UnderWay {
        fn during<T>(&self, job: impl FnOnce() -> T) -> T {
            let mut counts = self.0.lock().unwrap();
            *counts = (counts.0 + 1, counts.1.max(counts.0 + 1));
            drop(counts);
            let made = job();
            self.0.lock().unwrap().0 -= 1;
            made
        }
    }

    #[test]
    fn as_many_jobs_are_under_way_as_there_are_slots_and_their_results_are_in_order() {
        // Each job waits until four are there: with fewer at once this would never end.
        let (slots, together, seen) = (Slots::new(4), Barrier::new(4), UnderWay::default());
        let squares = slots.each(12, |number| {
            seen.during(|| {
                together.wait();
                number * number
            })
        });
        assert_eq!(squares, (0..12).map(|number| number * number).collect::<Vec<_>>());
        assert_eq!(seen.0.lock().unwrap().1, 4);
    }

    #[test]
    fn all_callers_share_the_slots() {
        let (slots, together, seen) = (Slots::new(3), Barrier::new(3), UnderWay::default());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| slots.each(5, |_| seen.during(|| together.wait())));
            }
        });
        assert_eq!(seen.0.lock().unwrap().1, 3);
    }

    #[test]
    fn no_jobs_and_one_slot_are_no_special_cases() {
        assert!(Slots::new(8).each(0, |number| number).is_empty());
        assert_eq!(Slots::new(0).each(3, |number| number), [0, 1, 2]);
    }
}
