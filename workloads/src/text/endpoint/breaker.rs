//! A service that does not answer is left alone for a while.
//!
//! Where many calls are under way and each is tried several times, a service that is gone, or drowns in what it is
//! asked, would be asked more the worse it is. So after some requests in a row that nobody answered, whichever calls
//! they belong to, none is sent for a rest, and calls fail at once with the reason. Then one request may try; the rest
//! doubles for as long as that fails.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many requests in a row without an answer are no accident.
const IN_A_ROW: u32 = 5;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Whether a service may be asked.
#[derive(Debug)]
pub struct Breaker {
    /// As many requests as a single call may make never open it.
    threshold: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_a_row: u32,
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    until: Instant,
    length: Duration,
    /// What the last request came to.
    why: String,
    /// Whether a request is trying.
    trying: bool,
}

/// The service is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resting {
    pub in_a_row: u32,
    pub why: String,
}

impl Breaker {
    /// For calls of up to `attempts` requests.
    pub fn new(attempts: u32) -> Self {
        Self { threshold: IN_A_ROW.max(attempts.saturating_add(1)), state: Mutex::default() }
    }

    /// Whether a request may be sent at `now`.
    ///
    /// # Errors
    /// While the service rests.
    pub fn ask(&self, now: Instant) -> Result<(), Resting> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let in_a_row = state.in_a_row;
        match &mut state.rest {
            None => Ok(()),
            Some(rest) if now >= rest.until && !rest.trying => {
                rest.trying = true;
                Ok(())
            }
            Some(rest) => Err(Resting { in_a_row, why: rest.why.clone() }),
        }
    }

    /// Somebody answered, whatever the answer.
    pub fn answered(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// Nobody answered a request until `now`.
    pub fn unanswered(&self, now: Instant, why: &dyn std::fmt::Display) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.in_a_row = state.in_a_row.saturating_add(1);
        let length = match &state.rest {
            // Requests that were sent before the rest began say nothing new.
            Some(rest) if !rest.trying => return,
            Some(rest) => (rest.length * 2).min(LONGEST_REST),
            None if state.in_a_row < self.threshold => return,
            None => FIRST_REST,
        };
        state.rest = Some(Rest { until: now + length, length, why: why.to_string(), trying: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn after_some_requests_in_a_row_a_service_rests_and_then_one_request_tries() {
        let (breaker, start) = (Breaker::new(3), Instant::now());
        for _ in 0..5 {
            assert_eq!(breaker.ask(start), Ok(()));
            breaker.unanswered(start, &"gone");
        }
        let resting = Resting { in_a_row: 5, why: "gone".into() };
        assert_eq!(breaker.ask(start + seconds(0.9)), Err(resting.clone()));
        assert_eq!(breaker.ask(start + seconds(1.0)), Ok(()));
        assert_eq!(breaker.ask(start + seconds(1.0)), Err(resting), "one tries, and no other");
        breaker.answered();
        assert_eq!(breaker.ask(start + seconds(1.1)), Ok(()));
    }

    #[test]
    fn the_rest_doubles_as_long_as_nobody_answers_up_to_the_longest() {
        let (breaker, mut now) = (Breaker::new(1), Instant::now());
        (0..5).for_each(|_| breaker.unanswered(now, &"gone"));
        for rest in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            assert!(breaker.ask(now + seconds(rest - 0.1)).is_err(), "{rest}");
            now += seconds(rest);
            assert_eq!(breaker.ask(now), Ok(()), "{rest}");
            breaker.unanswered(now, &"gone");
        }
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew_and_late_failures_prolong_no_rest() {
        let (breaker, now) = (Breaker::new(1), Instant::now());
        for _ in 0..3 {
            (0..4).for_each(|_| breaker.unanswered(now, &"gone"));
            breaker.answered();
        }
        (0..9).for_each(|_| breaker.unanswered(now, &"gone"));
        assert_eq!(breaker.ask(now + seconds(1.0)), Ok(()));
    }

    #[test]
    fn one_patient_call_is_never_cut_short() {
        let (breaker, now) = (Breaker::new(40), Instant::now());
        (0..40).for_each(|_| breaker.unanswered(now, &"gone"));
        assert_eq!(breaker.ask(now), Ok(()));
    }
}
