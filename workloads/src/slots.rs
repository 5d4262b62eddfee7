//! How many waits a process has under way at once: the limit belongs to a setting, and not to whoever calls.
//!
//! Operators that wait for a service wait here. Whatever a runtime makes of batches and threads, never more of them
//! wait together than there are slots, and as many as there are where there is enough to wait for. Callers are served
//! in the order in which they came: were slots shared among all, all would be done at one time, long after the first
//! could have been, and nothing would be left to wait for until what they answered had made room for more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A number of slots that every caller of a process shares.
#[derive(Debug)]
pub struct Slots {
    count: u32,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue {
    free: u32,
    /// How many callers there were.
    callers: u64,
    /// How many jobs of which caller have not begun.
    due: BTreeMap<u64, usize>,
}

impl Slots {
    /// At least one.
    #[must_use]
    pub fn new(count: u32) -> Self {
        let count = count.max(1);
        let queue = Queue { free: count, callers: 0, due: BTreeMap::new() };
        Self { count, queue: Mutex::new(queue), changed: Condvar::new() }
    }

    /// Does `job` for each number below `jobs`, each in a slot, and gives what they made in order.
    pub fn each<T: Send>(&self, jobs: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let turn = Turn::new(self, jobs);
        let threads = jobs.min(self.count as usize);
        if threads <= 1 {
            return (0..jobs).map(|number| turn.one(|| job(number))).collect();
        }
        let made: Vec<Mutex<Option<T>>> = (0..jobs).map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(place) = made.get(number) else { return };
                let thing = turn.one(|| job(number));
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

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller, until all of its jobs have begun or it has given them up: also where a job panics.
struct Turn<'s> {
    slots: &'s Slots,
    caller: u64,
}

impl<'s> Turn<'s> {
    fn new(slots: &'s Slots, jobs: usize) -> Self {
        let mut queue = slots.queue();
        queue.callers += 1;
        let caller = queue.callers;
        if jobs > 0 {
            queue.due.insert(caller, jobs);
        }
        Self { slots, caller }
    }

    /// Does a job once there is a slot for it that is due to no earlier caller.
    fn one<T>(&self, job: impl FnOnce() -> T) -> T {
        let mut queue = self.slots.queue();
        while queue.free == 0 || queue.due.keys().next().is_some_and(|first| *first < self.caller) {
            queue = self.slots.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.free -= 1;
        let left = queue.due.remove(&self.caller).map_or(0, |jobs| jobs - 1);
        if left > 0 {
            queue.due.insert(self.caller, left);
        } else {
            // What is free is the next caller's.
            self.slots.changed.notify_all();
        }
        drop(queue);
        let _slot = Slot(self.slots);
        job()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.slots.queue().due.remove(&self.caller);
        self.slots.changed.notify_all();
    }
}

/// A slot that is in use, until it is dropped: also where a job panics.
struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.queue().free += 1;
        self.0.changed.notify_all();
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
    fn all_jobs_of_who_came_first_begin_before_the_next_caller_s() {
        // One at a time, so that they are seen in the order in which they begin.
        let (slots, begun) = (Slots::new(1), Mutex::new(String::new()));
        let held = Turn::new(&slots, 1);
        std::thread::scope(|scope| {
            held.one(|| {
                for (number, name) in ['a', 'b', 'c'].into_iter().enumerate() {
                    let (slots, begun) = (&slots, &begun);
                    scope.spawn(move || slots.each(3 - number, |_| begun.lock().unwrap().push(name)));
                    while slots.queue().due.len() <= number {
                        std::thread::yield_now();
                    }
                }
            });
        });
        assert_eq!(*begun.lock().unwrap(), "aaabbc");
    }

    #[test]
    fn a_job_that_panics_is_in_nobodys_way() {
        let slots = Slots::new(1);
        let panics = || slots.each(2, |number| assert!(number > 0, "the first"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert_eq!(slots.each(2, |number| number), [0, 1]);
    }

    #[test]
    fn no_jobs_and_one_slot_are_no_special_cases() {
        assert!(Slots::new(8).each(0, |number| number).is_empty());
        assert_eq!(Slots::new(0).each(3, |number| number), [0, 1, 2]);
    }
}
