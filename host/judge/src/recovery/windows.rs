//! The curve that people look at: equal parts of the time from the first arrival to the last.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Before, Course, FEWEST};
use bench_stats::trend::trend;

/// Windows of a whole run.
pub const WINDOWS: usize = 60;

/// A p99 that is higher by less than this share is as high.
const LEAST_CHANGE: f64 = 0.05;

/// A backlog that grows by less than this share of the arrivals is none that matters, and one that is this likely by
/// chance does not grow: where answers come in batches it goes up and down.
const MOST_BEHIND: f64 = 0.05;
const ALPHA: f64 = 0.01;

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// Its end, in seconds since the first arrival.
    pub at: f64,
    /// How many were due in it.
    pub arrivals: u64,
    /// Answers that came in it, a second.
    pub throughput: f64,
    /// Of the response times of those that were due in it, whenever they were answered. Null where none was, or more
    /// than 1 % never were.
    pub p99_ms: Option<f64>,
    /// How many were due and not answered at its end.
    pub backlog: u64,
    /// Of those that were due in it, how many were answered with a failure, and how many never.
    pub failed: u64,
    pub unanswered: u64,
}

/// The windows of a run, and which of them say what was usual.
pub(super) struct Cut {
    pub length: f64,
    pub windows: Vec<Window>,
    before: Range<usize>,
    /// The first that may have felt the kill, and that in which it was.
    after: usize,
    kill: usize,
}

/// The 99th percentile of ascending values: the smallest that as many are not above.
pub(super) fn p99(ascending: &[f64]) -> Option<f64> {
    let rank = (ascending.len() as f64 * 0.99).ceil() as usize;
    ascending.get(rank.checked_sub(1)?).copied()
}

/// Cuts a run into windows.
pub(super) fn cut(course: &Course) -> Cut {
    // The last arrival has its share of the time as well.
    let gaps = course.arrivals.len().saturating_sub(1).max(1) as f64;
    let length = course.last_due() * (1.0 + 1.0 / gaps) / WINDOWS as f64;
    if length <= 0.0 {
        return Cut { length: 0.0, windows: Vec::new(), before: 0..0, after: 0, kill: 0 };
    }
    // What is at an edge up to rounding is behind it.
    let number = |at: f64| (at / length + 1e-9) as usize;
    let mut waited: Vec<Vec<f64>> = vec![Vec::new(); WINDOWS];
    let (mut answered, mut failed) = (vec![0_u64; WINDOWS], vec![0_u64; WINDOWS]);
    let mut over = [true; WINDOWS];
    for arrival in &course.arrivals {
        let window = number(arrival.due).min(WINDOWS - 1);
        waited[window].push(arrival.waited().map_or(f64::INFINITY, |seconds| seconds * 1e3));
        over[window] &= arrival.answer.is_some_and(|answer| answer.at <= course.killed_at);
        if let Some(answer) = arrival.answer {
            failed[window] += u64::from(!answer.ok);
            answered.get_mut(number(answer.at)).into_iter().for_each(|count| *count += 1);
        }
    }
    let (mut due, mut done) = (0, 0);
    let mut windows = Vec::with_capacity(WINDOWS);
    for (number, mut waited) in waited.into_iter().enumerate() {
        waited.sort_by(f64::total_cmp);
        (due, done) = (due + waited.len() as u64, done + answered[number]);
        windows.push(Window {
            at: (number + 1) as f64 * length,
            arrivals: waited.len() as u64,
            throughput: answered[number] as f64 / length,
            p99_ms: p99(&waited).filter(|ms| ms.is_finite()),
            backlog: u64::saturating_sub(due, done),
            failed: failed[number],
            unanswered: waited.iter().filter(|ms| ms.is_infinite()).count() as u64,
        });
    }
    let from = (course.settled_at() / length - 1e-9).ceil() as usize;
    let kill = number(course.killed_at).min(WINDOWS);
    // What came shortly before the kill may have been under way then.
    let until = (from..kill).find(|number| !over[*number]).unwrap_or(kill.max(from));
    Cut { length, windows, before: from..until, after: until.min(kill), kill }
}

impl Cut {
    /// Those after the settling all of whose arrivals were answered before the kill.
    pub(super) fn before(&self) -> Range<usize> {
        self.before.clone()
    }

    /// Why what is usual is no steady load: the backlog grew before anything was killed.
    pub(super) fn falls_behind(&self, before: &Before) -> Option<String> {
        let windows = &self.windows[self.before.start.min(self.kill)..self.kill];
        let points: Vec<(f64, f64)> =
            windows.iter().map(|window| (window.at, window.backlog as f64)).collect();
        let (found, rate) = (trend(&points)?, before.arrivals as f64 / (before.until - before.from));
        let grows = found.slope;
        (grows > MOST_BEHIND * rate && found.p_value < ALPHA).then(|| {
            format!(
                "before the kill already, {grows:.1} of {rate:.1} arrivals a second were not answered: that is no load which \
                 it sustains"
            )
        })
    }

    /// From when on p99 was `usual_ms` at most for some windows running. That of no arrivals is no higher than any.
    pub(super) fn back(&self, usual_ms: f64) -> Option<f64> {
        let enough = usual_ms * (1.0 + LEAST_CHANGE);
        let usual = |window: &Window| window.arrivals == 0 || window.p99_ms.is_some_and(|ms| ms <= enough);
        let windows = self.windows.get(self.after..)?;
        let first = windows.windows(FEWEST).position(|some| some.iter().all(usual))?;
        Some(windows[first].at - self.length)
    }
}
