//! The supervisor's own account of a run: by its own clock.
//!
//! Every time in a reply, and in the items it is about, has to lie between the start of the call and its answer, which
//! needs no tolerance: one clock, and what is told after it happened.

use std::time::{Duration, Instant};

use bench_isolate::isolate::RUN;
use bench_workloads::instance::monotonic_ns;

use super::guest::Edge;
use super::operation::{MEASURE, Measured};
use super::received::Received;

/// What the supervisor saw of a call, by its own clock.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    pub started: Instant,
    pub answered: Instant,
    /// The phase that was announced last, and when the run began and ended by what was announced.
    pub measured: bool,
    pub run: Option<Instant>,
    pub over: Option<Instant>,
    /// When queries began and ceased to be timed by what was announced.
    pub began: Option<Instant>,
    pub ended: Option<Instant>,
    /// For how long the supervisor itself did not listen.
    pub deaf: Duration,
    /// Whether the stream was to be cut short.
    pub stopped: bool,
}

/// Two clocks that differ by less say nothing: what is announced is heard later, on a busy machine by a good deal.
const LEAST_DIFFERENCE: Duration = Duration::from_millis(250);
/// The same, as a share of the longer time.
const LEAST_SHARE: f64 = 0.25;

impl Watched {
    /// Of a call that has just been started.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            answered: now,
            measured: false,
            run: None,
            over: None,
            began: None,
            ended: None,
            deaf: Duration::ZERO,
            stopped: false,
        }
    }

    /// The runner is about to enter a phase.
    pub fn phase(&mut self, name: &str) {
        let now = Instant::now();
        self.measured = name == MEASURE;
        match name {
            RUN => self.run = Some(now),
            MEASURE => self.over = Some(now),
            _ => {}
        }
    }

    /// Queries begin or cease to be timed.
    pub fn edge(&mut self, edge: Edge) {
        let now = Some(Instant::now());
        match edge {
            Edge::Began => self.began = now,
            Edge::Ended => self.ended = now,
        }
    }

    /// What of a reply cannot be so.
    #[must_use]
    pub fn contradictions(&self, received: &Received, said: &Measured) -> Vec<String> {
        let mut wrongs = Vec::new();
        if !self.measured {
            wrongs
                .push("its reply came before the host's own code in its process had measured it".to_owned());
        }
        if said.partial && !self.stopped {
            wrongs.push("its reply states a run that was cut short, and nobody asked for that".to_owned());
        }
        let call = self.answered.saturating_duration_since(self.started).as_secs_f64();
        let wall = said.wall_seconds;
        if !(0.0..=call).contains(&wall) {
            wrongs.push(format!("its reply states a run of {wall} s in a process that lived for {call} s"));
        }
        // Each errs to the side on which nothing true is refused.
        let monotonic = |instant: Instant, first: u64| {
            first.saturating_sub(u64::try_from(instant.elapsed().as_nanos()).unwrap_or(u64::MAX))
        };
        let earliest = monotonic(self.started, monotonic_ns());
        let since_answer = self.answered.elapsed();
        let latest = monotonic_ns().saturating_sub(u64::try_from(since_answer.as_nanos()).unwrap_or(0));
        if received.times.is_some_and(|(first, last)| first < earliest || last > latest) {
            wrongs
                .push("its items have times before bench started its process or after its reply".to_owned());
        }
        if received.backwards > 0 {
            wrongs.push(format!("{} items were answered before they were handed out", received.backwards));
        }
        wrongs
    }

    /// For how long the supervisor did not watch, of how long a call, where that is too long to compare anything.
    #[must_use]
    pub fn absence(&self) -> Option<(Duration, Duration)> {
        let call = self.answered.saturating_duration_since(self.started);
        (self.deaf > LEAST_DIFFERENCE + call.mul_f64(LEAST_SHARE)).then_some((self.deaf, call))
    }

    /// Where a time by the clock of the runner's process is another than by that of the supervisor: the two.
    #[must_use]
    pub fn difference(&self, received: &Received, said: &Measured) -> Option<(Duration, Option<Duration>)> {
        let between = |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        let apart = |said: Duration, seen: Option<Duration>| {
            let Some(seen) = seen else { return Some((said, None)) };
            let allowed = LEAST_DIFFERENCE + said.max(seen).mul_f64(LEAST_SHARE) + self.deaf;
            (said.abs_diff(seen) > allowed).then_some((said, Some(seen)))
        };
        let wall = Duration::try_from_secs_f64(said.wall_seconds).unwrap_or(Duration::MAX);
        // One that was cut short is over when its backend is.
        let timed = received.window().filter(|_| !said.partial);
        timed
            .and_then(|timed| apart(timed, between(self.began, self.ended)))
            .or_else(|| apart(wall, between(self.run, self.over)))
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::received::tests::{MS, received, said};
    use super::*;

    #[test]
    fn a_run_is_cut_short_only_when_somebody_asked_for_it() {
        let partial = Measured { partial: true, ..Measured::default() };
        let call = |stopped| Watched { measured: true, stopped, ..Watched::new() };
        assert_eq!(call(true).contradictions(&Received::default(), &partial), Vec::<String>::new());
        assert_eq!(
            call(false).contradictions(&Received::default(), &partial),
            ["its reply states a run that was cut short, and nobody asked for that"]
        );
    }

    #[test]
    fn one_that_hardly_watched_says_so() {
        let now = Instant::now();
        let two = Duration::from_secs(2);
        let absent = |ms| Watched {
            started: now,
            answered: now + two,
            deaf: Duration::from_millis(ms),
            ..Watched::new()
        };
        assert_eq!(absent(700).absence(), None);
        assert_eq!(absent(1_900).absence(), Some((Duration::from_millis(1_900), two)));
    }

    fn watched(now_ns: u64) -> (Watched, Received) {
        let watched = Watched { measured: true, ..Watched::new() };
        (Watched { answered: watched.started + Duration::from_millis(100), ..watched }, received(now_ns))
    }

    #[test]
    fn every_time_lies_between_the_start_of_the_call_and_its_reply() {
        let now_ns = monotonic_ns();
        let (call, items) = watched(now_ns + 10 * MS);
        let call = Watched { started: call.started - Duration::from_secs(1), ..call };
        // The reply itself is yet to come here, so its time is that of now.
        let call = Watched { answered: Instant::now() + Duration::from_millis(100), ..call };
        let mut past = Received::default();
        past.times = Some((1, 2));
        let outside = "its items have times before bench started its process or after its reply";
        assert_eq!(call.contradictions(&past, &Measured::default()), [outside]);
        assert_eq!(items.backwards, 0);
        let endless = Measured { wall_seconds: 60.0, ..Measured::default() };
        let wrongs = call.contradictions(&Received::default(), &endless);
        assert!(
            wrongs[0].starts_with("its reply states a run of 60 s in a process that lived for 1"),
            "{wrongs:?}"
        );
        let backwards = Measured { wall_seconds: -1.0, ..Measured::default() };
        assert!(call.contradictions(&Received::default(), &backwards)[0].contains("a run of -1 s"));
        let early = Watched { measured: false, ..call };
        assert!(early.contradictions(&Received::default(), &Measured::default())[0].contains("came before"));
    }

    #[test]
    fn clocks_that_differ_by_what_a_busy_machine_explains_do_not() {
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let seen =
            |ended| Watched { run: at(0), over: at(ended), began: at(0), ended: at(ended), ..Watched::new() };
        let items = received(0);
        let said = |wall_seconds| Measured { wall_seconds, ..said(&items) };
        assert_eq!(seen(200).difference(&items, &said(0.2)), None);
        let (five, two) = (Duration::from_millis(5), Duration::from_secs(2));
        assert_eq!(seen(2_000).difference(&items, &said(2.0)), Some((five, Some(two))));
        // Nobody was listening for most of it.
        let deaf = Watched { deaf: Duration::from_millis(1_500), ..seen(2_000) };
        assert_eq!(deaf.difference(&items, &said(2.0)), None);
        // Timed queries that nobody was told of.
        let silent = Watched { began: None, ..seen(200) };
        assert_eq!(silent.difference(&items, &said(0.2)), Some((five, None)));
        // One that is cut short ends its timed queries with its backend.
        let partial = Measured { partial: true, ..said(2.0) };
        assert_eq!(seen(2_000).difference(&items, &partial), None);
    }
}
