//! Does a backend stay what it is? Windows of one long run, and a trend test for each of what can creep:
//! memory, latency and throughput.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use bench_record::series::Sample;
use bench_stats::outliers::median;
use bench_stats::trend::{Trend, trend};

/// Windows of a whole run.
pub const WINDOWS: usize = 60;
/// Share of the run, from its start, in which caches and pools fill: no part of the judgement.
const SETTLE: f64 = 0.1;
/// A trend this likely by chance is none. There are three tests, so one soak in 30 would cry wolf at 0.01.
const ALPHA: f64 = 0.003;
/// A change over the run below this share is nobody's concern.
const LEAST_CHANGE: f64 = 0.05;

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// Its end, in seconds since the first arrival.
    pub at: f64,
    pub throughput: f64,
    /// Mean response time of the items that finished in it; absent without any.
    pub latency_ms: Option<f64>,
    /// Memory of the process tree, proportional; absent where it was not sampled.
    pub memory_mib: Option<f64>,
    pub failed: u64,
}

/// What can creep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    Throughput,
    Latency,
    Memory,
}

impl Measure {
    pub const ALL: [Self; 3] = [Self::Throughput, Self::Latency, Self::Memory];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput (items/s)",
            Self::Latency => "mean latency (ms)",
            Self::Memory => "memory (MiB)",
        }
    }

    #[must_use]
    pub fn of(self, window: &Window) -> Option<f64> {
        match self {
            Self::Throughput => Some(window.throughput),
            Self::Latency => window.latency_ms,
            Self::Memory => window.memory_mib,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No trend for the worse that is both sure and large enough to matter.
    Steady,
    /// It leaks, drifts or decays.
    Worse,
    /// Too few windows to say.
    Unknown,
}

/// What the trend test says of one measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    pub measure: Measure,
    /// Per second.
    pub trend: Option<Trend>,
    /// Change over the judged part of the run, as a share of the median.
    pub change: f64,
    pub verdict: Verdict,
}

/// Cuts a run into windows. `memory` holds seconds and bytes. What follows the last arrival is left out:
/// there a backend only empties itself.
#[must_use]
pub fn windows(samples: &[Sample], memory: &[(f64, f64)], count: usize) -> Vec<Window> {
    let all = samples.last().map_or(0, |sample| sample.emitted);
    let busy = samples.partition_point(|sample| sample.emitted < all);
    let samples = &samples[..busy];
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let length = (last.at - first.at) / count.max(1) as f64;
    if length <= 0.0 {
        return Vec::new();
    }
    let mut windows = Vec::new();
    let mut before = first;
    for number in 1..=count {
        let end = first.at + length * number as f64;
        let upto = samples.partition_point(|sample| sample.at <= end + 1e-9).max(1);
        let now = &samples[upto - 1];
        if now.at <= before.at {
            continue;
        }
        let finished = (now.finished - before.finished) as f64;
        let waited = now.response_seconds - before.response_seconds;
        let used: Vec<f64> = memory
            .iter()
            .filter(|(at, _)| *at > before.at && *at <= now.at)
            .map(|(_, bytes)| bytes / f64::from(1 << 20))
            .collect();
        windows.push(Window {
            at: now.at,
            throughput: finished / (now.at - before.at),
            latency_ms: (finished > 0.0).then(|| waited * 1e3 / finished),
            memory_mib: median(&used),
            failed: now.failed - before.failed,
        });
        before = now;
    }
    windows
}

/// Tests each measure for a trend.
#[must_use]
pub fn judge(windows: &[Window]) -> Vec<Drift> {
    let settled = windows.last().map_or(0.0, |last| last.at * SETTLE);
    let judged = |measure: Measure| {
        let points: Vec<(f64, f64)> = windows
            .iter()
            .filter(|window| window.at > settled)
            .filter_map(|window| Some((window.at, measure.of(window)?)))
            .collect();
        let unknown = Drift { measure, trend: None, change: 0.0, verdict: Verdict::Unknown };
        let Some(found) = trend(&points) else { return unknown };
        let values: Vec<f64> = points.iter().map(|point| point.1).collect();
        let Some(middle) = median(&values).filter(|middle| *middle > 0.0) else { return unknown };
        let length = points[points.len() - 1].0 - points[0].0;
        let change = found.slope * length / middle;
        let for_the_worse = if measure == Measure::Throughput { -change } else { change };
        let worse = found.p_value < ALPHA && for_the_worse > LEAST_CHANGE;
        let verdict = if worse { Verdict::Worse } else { Verdict::Steady };
        Drift { measure, trend: Some(found), change, verdict }
    };
    Measure::ALL.into_iter().map(judged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    /// Ten minutes of a backend with noise of a tenth, whose memory, latency and throughput change by these
    /// shares from start to end.
    fn series(seed: u64, leak: f64, drift: f64, decay: f64) -> Vec<Window> {
        let mut noise = ChaCha8Rng::seed_from_u64(seed);
        let mut unit = move || f64::from(noise.next_u32()) / f64::from(u32::MAX);
        (1..=WINDOWS)
            .map(|i| {
                let share = i as f64 / WINDOWS as f64;
                let mut around = |mean: f64| mean * (1.0 + 0.1 * (unit() - 0.5));
                Window {
                    at: share * 600.0,
                    throughput: around(100.0 * (1.0 - decay * share)),
                    latency_ms: Some(around(20.0 * (1.0 + drift * share))),
                    memory_mib: Some(around(500.0 * (1.0 + leak * share))),
                    failed: 0,
                }
            })
            .collect()
    }

    fn worse(windows: &[Window]) -> Vec<Measure> {
        let drifts = judge(windows);
        drifts.iter().filter(|drift| drift.verdict == Verdict::Worse).map(|drift| drift.measure).collect()
    }

    #[test]
    fn a_leak_a_drift_and_a_decay_are_each_found_alone() {
        assert_eq!(worse(&series(1, 0.12, 0.0, 0.0)), [Measure::Memory]);
        assert_eq!(worse(&series(2, 0.0, 0.12, 0.0)), [Measure::Latency]);
        assert_eq!(worse(&series(3, 0.0, 0.0, 0.12)), [Measure::Throughput]);
    }

    #[test]
    fn a_steady_backend_is_rarely_accused() {
        let accused = (0..300).filter(|seed| !worse(&series(*seed, 0.0, 0.0, 0.0)).is_empty()).count();
        assert!(accused <= 6, "{accused} of 300");
    }

    #[test]
    fn getting_better_is_no_fault() {
        assert_eq!(worse(&series(4, -0.2, -0.2, -0.2)), []);
    }

    #[test]
    fn filling_caches_at_the_start_are_no_leak() {
        let mut windows = series(5, 0.0, 0.0, 0.0);
        for window in &mut windows[..6] {
            window.memory_mib = Some(50.0);
        }
        assert_eq!(worse(&windows), []);
    }

    #[test]
    fn a_run_is_cut_where_arrivals_end() {
        // 100 a second for 10 s, each answered after 50 ms; then 5 s of nothing.
        let sample = |i: u64, emitted: u64| Sample {
            at: i as f64 / 10.0,
            emitted,
            finished: emitted,
            failed: 0,
            in_flight: 0,
            response_seconds: emitted as f64 * 0.05,
        };
        let samples: Vec<Sample> =
            (0..=100).map(|i| sample(i, i * 10)).chain((101..150).map(|i| sample(i, 1_000))).collect();
        let memory: Vec<(f64, f64)> =
            (0..150).map(|i| (f64::from(i) / 10.0, f64::from(1 << 20) * 7.0)).collect();
        let windows = windows(&samples, &memory, 10);
        assert_eq!(windows.len(), 10);
        assert!(windows.last().unwrap().at < 10.0);
        for window in &windows {
            assert!((window.throughput - 100.0).abs() < 1e-6, "{window:?}");
            assert!((window.latency_ms.unwrap() - 50.0).abs() < 1e-6 && window.memory_mib == Some(7.0));
        }
    }

    #[test]
    fn a_run_too_short_to_say_says_so() {
        assert!(judge(&series(1, 1.0, 1.0, 1.0)[..4]).iter().all(|drift| drift.verdict == Verdict::Unknown));
        assert!(windows(&[], &[], 10).is_empty());
    }
}
