//! Repeats a piece of work until its median can be trusted.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What one call took, over all repeats.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub median_us: f64,
    pub min_us: f64,
    pub p90_us: f64,
    pub samples: usize,
}

impl Timing {
    /// From samples in microseconds.
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
        Self { median_us: at(0.5), min_us: samples[0], p90_us: at(0.9), samples: samples.len() }
    }

    /// The time of each of `n` things that were done together.
    pub fn per(self, n: usize) -> Self {
        let n = n as f64;
        Self { median_us: self.median_us / n, min_us: self.min_us / n, p90_us: self.p90_us / n, ..self }
    }

    pub fn json(self) -> Value {
        let digits = |us: f64| (us * 1e3).round() / 1e3;
        json!({
            "median_us": digits(self.median_us),
            "min_us": digits(self.min_us),
            "p90_us": digits(self.p90_us),
            "samples": self.samples,
        })
    }
}

/// How long to repeat.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    budget: Duration,
}

impl Clock {
    pub fn new(quick: bool) -> Self {
        Self { budget: Duration::from_millis(if quick { 60 } else { 500 }) }
    }

    /// How long to replay one operator.
    pub fn replays(self) -> Duration {
        self.budget
    }

    /// Times `call(case)`, cases in turn.
    pub fn time<T>(self, cases: usize, call: impl FnMut(usize) -> T) -> Timing {
        self.time_made(cases, |case| case, call)
    }

    /// Times `call(make(case))`: neither making the input nor dropping the result counts. A sample is
    /// the mean of some calls, so that reading the clock does not count either.
    pub fn time_made<I, T>(
        self,
        cases: usize,
        mut make: impl FnMut(usize) -> I,
        mut call: impl FnMut(I) -> T,
    ) -> Timing {
        let mut next = 0;
        let mut sample = |calls: usize| {
            let inputs: Vec<I> = (0..calls).map(|i| make((next + i) % cases)).collect();
            next = (next + calls) % cases;
            let mut results = Vec::with_capacity(calls);
            let start = Instant::now();
            for input in inputs {
                results.push(black_box(call(black_box(input))));
            }
            start.elapsed().as_secs_f64() * 1e6 / calls as f64
        };
        let first = sample(cases.min(8));
        let calls = ((20.0 / first.max(0.01)) as usize).clamp(1, 64);
        let start = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < 25 || start.elapsed() < self.budget {
            samples.push(sample(calls));
        }
        Timing::of(samples)
    }
}
