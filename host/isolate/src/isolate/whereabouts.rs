//! How far an operation is, from what it tells on the way: what a time-out says besides how long it took.

use std::time::{Duration, Instant};

use crate::text::one_line;

/// What an event says about how far an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It begins a step, and what it waits for there, as a clause that "for 25 s" may follow: "Ray has not
    /// answered". Empty when it waits for nothing in particular.
    Step {
        /// What it is called.
        name: String,
        /// The clause.
        waits: String,
    },
    /// So many items were begun, and so many of them have ended.
    Count {
        /// Begun so far.
        begun: u64,
        /// Ended so far.
        ended: u64,
    },
}

/// The news so far.
#[derive(Default)]
pub(super) struct Whereabouts {
    step: Option<Step>,
    begun: u64,
    ended: u64,
    last_end: Option<Instant>,
}

struct Step {
    name: String,
    waits: String,
    since: Instant,
}

impl Whereabouts {
    /// Takes note of news that came at `now`.
    pub(super) fn take(&mut self, news: News, now: Instant) {
        match news {
            News::Step { name, waits } => {
                let same = self.step.as_ref().is_some_and(|step| step.name == name && step.waits == waits);
                if !same {
                    self.step = Some(Step { name, waits, since: now });
                }
            }
            News::Count { begun, ended } => {
                if ended > self.ended {
                    self.last_end = Some(now);
                }
                (self.begun, self.ended) = (begun, ended);
            }
        }
    }

    /// Whether there is anything under way that could be let end.
    pub(super) fn has_begun(&self) -> bool {
        self.begun > 0
    }

    /// Where it is at `now`: "start-up: Ray has not answered for 25 s".
    pub(super) fn told(&self, now: Instant) -> Option<String> {
        let Step { name, waits, since } = self.step.as_ref()?;
        let ago = |then: Instant| tenths(now.saturating_duration_since(then));
        let name = one_line(name);
        Some(match (self.begun > self.ended, self.last_end) {
            _ if !waits.is_empty() => format!("{name}: {} for {}", one_line(waits), ago(*since)),
            (true, Some(last)) => {
                format!(
                    "{name}: {} of {} items are answered, the last one {} ago",
                    self.ended,
                    self.begun,
                    ago(last)
                )
            }
            (true, None) => format!("{name}: none of {} items is answered for {}", self.begun, ago(*since)),
            (false, _) => format!("{name} for {}", ago(*since)),
        })
    }
}

/// To a tenth of a second: `25 s`, `4.8 s`.
fn tenths(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, waits: &str) -> News {
        News::Step { name: name.into(), waits: waits.into() }
    }

    #[test]
    fn a_step_says_what_it_waits_for_and_how_long() {
        let (mut place, start) = (Whereabouts::default(), Instant::now());
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert_eq!(place.told(at(1.0)), None);
        place.take(step("start-up", "Ray has not answered"), start);
        // Said again, it still waits for the same.
        place.take(step("start-up", "Ray has not answered"), at(20.0));
        assert_eq!(place.told(at(24.96)).as_deref(), Some("start-up: Ray has not answered for 25 s"));
        place.take(step("teardown", ""), at(30.0));
        assert_eq!(place.told(at(31.5)).as_deref(), Some("teardown for 1.5 s"));
    }

    #[test]
    fn a_stream_says_how_many_were_answered_and_when() {
        let (mut place, start) = (Whereabouts::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        place.take(step("steady", ""), start);
        assert!(!place.has_begun());
        place.take(News::Count { begun: 20, ended: 0 }, at(1));
        assert!(place.has_begun());
        assert_eq!(place.told(at(5)).as_deref(), Some("steady: none of 20 items is answered for 5 s"));
        place.take(News::Count { begun: 20, ended: 12 }, at(6));
        place.take(News::Count { begun: 20, ended: 12 }, at(7));
        let told = "steady: 12 of 20 items are answered, the last one 4 s ago";
        assert_eq!(place.told(at(10)).as_deref(), Some(told));
        place.take(News::Count { begun: 20, ended: 20 }, at(11));
        assert_eq!(place.told(at(12)).as_deref(), Some("steady for 12 s"));
    }
}
