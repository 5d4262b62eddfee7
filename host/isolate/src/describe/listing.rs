//! Describing many plugins at once, so that the slow and the broken cost the others nothing.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Describe, Description};
use crate::discover::{Address, BackendName, Candidate};
use crate::isolate::{Directive, Failure, Notice, Remark, Runner, Stop};
use crate::vet::{Refusal, Vetted, vet};

/// How long a plugin may take to describe itself.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// A call that has taken this long is waiting rather than working: another may begin beside it.
const WORKING: Duration = Duration::from_millis(250);
/// Most calls under way at once, waiting ones included.
const MOST: usize = 64;

/// One line of `bench backends list`.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    /// From the file's name.
    pub name: BackendName,
    /// As it was found.
    pub path: std::path::PathBuf,
    /// What became of it.
    #[serde(flatten)]
    pub status: Status,
    /// How a command line reaches it.
    #[serde(skip)]
    pub address: Address,
}

/// What became of an attempt to describe a plugin.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// It described itself; whether it is available is part of that.
    Described {
        /// By its own account.
        description: Box<Description>,
        /// What was not as it should be all the same.
        remarks: Vec<Remark>,
    },
    /// The file was not loaded.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// It was loaded and did not answer.
    Failed {
        /// Why.
        failure: Box<Failure>,
    },
}

impl Listing {
    /// Vets and describes one plugin.
    #[must_use]
    pub fn of(candidate: &Candidate, runner: &Runner, stop: &Stop) -> Self {
        let address = candidate.address();
        let status = match vet(candidate) {
            Err(refusal) => Status::Refused { refusal },
            Ok(vetted) => match describe(vetted, runner, stop) {
                Status::Described { mut description, remarks } => {
                    let remedy = &mut description.availability.remedy;
                    *remedy = address.completed(remedy);
                    Status::Described { description, remarks }
                }
                other => other,
            },
        };
        Self { name: candidate.name.clone(), path: candidate.path.clone(), status, address }
    }

    /// The description, when there is one.
    #[must_use]
    pub fn description(&self) -> Option<&Description> {
        match &self.status {
            Status::Described { description, .. } => Some(description),
            Status::Refused { .. } | Status::Failed { .. } => None,
        }
    }

    /// Whether it could be run now.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.description().is_some_and(|description| description.availability.available)
    }

    /// Why it cannot be run, and what mends that; `None` when it can.
    #[must_use]
    pub fn trouble(&self) -> Option<(String, String)> {
        let completed = |remedy: String| self.address.completed(&remedy);
        match &self.status {
            Status::Refused { refusal } => Some((refusal.cause(), completed(refusal.remedy()))),
            Status::Failed { failure } => Some((failure.reason(), completed(failure.remedy()))),
            Status::Described { description, .. } => {
                let answer = &description.availability;
                (!answer.available).then(|| (answer.detail.clone(), answer.remedy.clone()))
            }
        }
    }
}

fn describe(vetted: Vetted, runner: &Runner, stop: &Stop) -> Status {
    match runner.call::<Describe>(vetted, &mut |_: Notice<()>| Directive::Continue, stop) {
        Ok(answer) => Status::Described { description: Box::new(answer.reply), remarks: answer.remarks },
        Err(failure) => Status::Failed { failure },
    }
}

/// Vets and describes every candidate, in parallel, each under the runner's limits. The result has
/// the order of `candidates`, which a survey sorts by name.
///
/// Twice as many calls as cores work at once. One that hangs stops counting as working after a
/// quarter of a second, so that even many of them delay the others by no more than that.
#[must_use]
pub fn list(candidates: &[Candidate], runner: &Runner, stop: &Stop) -> Vec<Listing> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let calls = Calls::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = candidates
            .iter()
            .map(|candidate| {
                let call = calls.begin(2 * cores);
                scope.spawn(move || {
                    let _call = call;
                    Listing::of(candidate, runner, stop)
                })
            })
            .collect();
        // A panic in our own code is a bug to be seen, not an entry to be lost.
        let join = |thread: std::thread::ScopedJoinHandle<'_, Listing>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

/// When each call under way began.
#[derive(Default)]
struct Calls {
    begun: Mutex<Vec<Instant>>,
    ended: Condvar,
}

struct Call<'a> {
    calls: &'a Calls,
    begun: Instant,
}

/// Whether another call may begin beside those that `begun` then.
fn may_begin(begun: &[Instant], now: Instant, most: usize) -> bool {
    let working = begun.iter().filter(|call| now.duration_since(**call) < WORKING).count();
    working < most && begun.len() < MOST
}

impl Calls {
    /// Waits until fewer than `most` calls are working.
    fn begin(&self, most: usize) -> Call<'_> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            if may_begin(&begun, now, most) {
                begun.push(now);
                return Call { calls: self, begun: now };
            }
            // Woken by an end, or to count again.
            let woken = self.ended.wait_timeout(begun, Duration::from_millis(25));
            begun = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut begun = self.calls.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = begun.iter().position(|call| *call == self.begun) {
            begun.swap_remove(at);
        }
        self.calls.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_hang_make_room_after_a_quarter_of_a_second_until_there_are_too_many() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let begun = [start; 4];
        assert!(!may_begin(&begun, after(249), 4));
        assert!(may_begin(&begun, after(250), 4));
        assert!(may_begin(&[start, start, after(200), after(200)], after(250), 4));
        assert!(may_begin(&[start; MOST - 1], after(1_000), 4));
        assert!(!may_begin(&[start; MOST], after(1_000), 4));
    }
}
