//! A run over time: what its progress reports add up to.

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::guest::RunEvent;
use super::supervise::Watcher;
use crate::compare::stats::trend;

/// One report. Counts are totals since the start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Seconds since the first report with an arrival.
    pub at: f64,
    pub emitted: u64,
    pub finished: u64,
    pub failed: u64,
    pub in_flight: u64,
    /// Sum of the response times of all finished items, in seconds.
    pub response_seconds: f64,
}

/// Passes events on to another watcher and keeps the progress.
pub struct Recorder<W> {
    inner: W,
    started: Option<Instant>,
    samples: Vec<Sample>,
}

impl<W> Recorder<W> {
    #[must_use]
    pub fn new(inner: W) -> Self {
        Self { inner, started: None, samples: Vec::new() }
    }

    /// What was seen, and when the first arrival was.
    #[must_use]
    pub fn into_samples(self) -> (Vec<Sample>, Option<Instant>) {
        (self.samples, self.started)
    }
}

impl<W: Watcher> Watcher for Recorder<W> {
    fn event(&mut self, event: &RunEvent) {
        if let RunEvent::Progress { emitted, finished, failed, in_flight, response_ns } = *event
            && emitted > 0
        {
            let at = self.started.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
            let response_seconds = response_ns as f64 / 1e9;
            self.samples.push(Sample { at, emitted, finished, failed, in_flight, response_seconds });
        }
        self.inner.event(event);
    }

    fn phase(&mut self, phase: &str) {
        self.inner.phase(phase);
    }
}

/// Completions per second while arrivals went on, without the first `settle` items.
///
/// `None` where there are too few reports to say.
#[must_use]
pub fn completion_rate(samples: &[Sample], settle: u64) -> Option<f64> {
    let all = samples.last()?.emitted;
    let steady = samples.iter().filter(|sample| sample.finished >= settle && sample.emitted < all);
    let points: Vec<(f64, f64)> = steady.map(|sample| (sample.at, sample.finished as f64)).collect();
    if points.len() < 8 {
        return None;
    }
    let step = points.len().div_ceil(trend::MOST_POINTS);
    let thinned: Vec<(f64, f64)> = points.into_iter().step_by(step).collect();
    trend::slope(&thinned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, emitted: u64, finished: u64) -> Sample {
        Sample { at, emitted, finished, failed: 0, in_flight: emitted - finished, response_seconds: 0.0 }
    }

    #[test]
    fn the_rate_is_that_of_the_settled_part_before_the_last_arrival() {
        // Slow for a second, then 80 a second under 100 arrivals, then only the rest.
        let mut samples: Vec<Sample> =
            (0..10).map(|i| sample(f64::from(i) / 10.0, u64::from(i as u32) * 10, 0)).collect();
        samples.extend((10..100).map(|i| sample(f64::from(i) / 10.0, i as u64 * 10, (i as u64 - 9) * 8)));
        samples.extend((100..120).map(|i| sample(f64::from(i) / 10.0, 1_000, 728 + (i as u64 - 99) * 13)));
        let rate = completion_rate(&samples, 50).unwrap();
        assert!((rate - 80.0).abs() < 0.5, "{rate}");
    }

    #[test]
    fn a_handful_of_reports_says_nothing() {
        assert_eq!(completion_rate(&[sample(0.0, 10, 5), sample(0.1, 20, 10)], 0), None);
        assert_eq!(completion_rate(&[], 0), None);
    }
}
