//! A run over time: what its progress reports add up to.

use std::time::Instant;

use bench_record::series::Sample;

use super::guest::RunEvent;
use super::supervise::Watcher;
use bench_stats::trend;

/// Keeps the progress.
#[derive(Debug, Default)]
pub struct Recorder {
    started: Option<Instant>,
    samples: Vec<Sample>,
}

impl Recorder {
    /// What was seen, and when the first arrival was.
    #[must_use]
    pub fn into_samples(self) -> (Vec<Sample>, Option<Instant>) {
        (self.samples, self.started)
    }
}

impl Watcher for Recorder {
    fn event(&mut self, event: &RunEvent) {
        if let RunEvent::Progress { emitted, finished, failed, in_flight, response_ns } = *event
            && emitted > 0
        {
            let at = self.started.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
            let response_seconds = response_ns as f64 / 1e9;
            self.samples.push(Sample { at, emitted, finished, failed, in_flight, response_seconds });
        }
    }

    fn phase(&mut self, _phase: &str) {}
}

/// Arrivals and completions per second over the same part of an open load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// By the schedule, whatever the backend took.
    pub offered: f64,
    /// Arrivals less the growth of the backlog.
    pub completed: f64,
}

/// How completions kept up with arrivals once `settle` items were finished; `due` are the nanoseconds from
/// the first arrival to each. The backlog is what is due and not finished: its slope is free of the chance
/// with which random arrivals crowd.
///
/// `None` where there are too few reports to say.
#[must_use]
pub fn pace(samples: &[Sample], settle: u64, due: impl Iterator<Item = u64>) -> Option<Pace> {
    let mut due = due.peekable();
    let (mut arrived, mut points) = (0_u64, Vec::new());
    for sample in samples {
        while due.next_if(|ns| *ns as f64 <= sample.at * 1e9).is_some() {
            arrived += 1;
        }
        // After the last arrival every backlog shrinks.
        if sample.finished >= settle && due.peek().is_some() {
            points.push((sample.at, arrived as f64, sample.finished as f64));
        }
    }
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < 8 || last.0 <= first.0 {
        return None;
    }
    let offered = (last.1 - first.1) / (last.0 - first.0);
    let thinned = points.iter().step_by(points.len().div_ceil(trend::MOST_POINTS));
    let backlog: Vec<(f64, f64)> = thinned.map(|(at, arrived, finished)| (*at, arrived - finished)).collect();
    Some(Pace { offered, completed: offered - trend::slope(&backlog)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emitter::Due;
    use crate::plan::example as plan;
    use crate::plan::{Arrivals, Load, Plan};

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
        let due = (0..1_000).map(|i| i * 10_000_000);
        let pace = pace(&samples, 50, due).unwrap();
        assert!((pace.completed - 80.0).abs() < 1.0 && (pace.offered - 100.0).abs() < 1.0, "{pace:?}");
    }

    #[test]
    fn what_a_backend_has_not_taken_yet_is_backlog_too() {
        // 200 a second are due for 5 s; the backend takes and completes 100 a second for 10 s.
        let samples: Vec<Sample> = (0..100).map(|i| sample(i as f64 / 10.0, i * 10 + 10, i * 10)).collect();
        let pace = pace(&samples, 200, (0..1_000).map(|i| i * 5_000_000)).unwrap();
        assert!((pace.completed - 100.0).abs() < 1.0 && (pace.offered - 200.0).abs() < 1.0, "{pace:?}");
    }

    #[test]
    fn random_arrivals_that_are_answered_at_once_are_no_backlog() {
        let load = Load::Open { rate: 200.0, arrivals: Arrivals::Poisson };
        for seed in 0..50 {
            let due: Vec<u64> = Due::of(&Plan { seed, load, ..plan() }).unwrap().take(2_000).collect();
            let upto = |at: f64| due.partition_point(|ns| *ns as f64 <= at * 1e9) as u64;
            let samples: Vec<Sample> =
                (0..120).map(|i| i as f64 / 10.0).map(|at| sample(at, upto(at), upto(at - 0.03))).collect();
            let pace = pace(&samples, 400, due.iter().copied()).unwrap();
            assert!((pace.completed / pace.offered - 1.0).abs() < 0.01, "{seed}: {pace:?}");
        }
    }

    #[test]
    fn a_handful_of_reports_says_nothing() {
        let due = || (0..1_000).map(|i| i * 10_000_000);
        assert_eq!(pace(&[sample(0.0, 10, 5), sample(0.1, 20, 10)], 0, due()), None);
        assert_eq!(pace(&[], 0, due()), None);
    }
}
