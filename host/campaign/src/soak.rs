//! One long run: whether anything creeps.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::capacity::{Trials, Watched};
use super::run::Runner;
use bench_judge::soak::{Drift, Verdict, WINDOWS, Window, judge, windows};
use bench_measure::plan::{Load, Plan};

/// What a soak came to.
#[derive(Debug)]
pub struct Soaked {
    pub plan: Plan,
    pub watched: Watched,
    pub windows: Vec<Window>,
    pub drifts: Vec<Drift>,
    pub verdict: Verdict,
}

/// Runs for about so many `seconds`, at the rate of the plan, or at the backend's own under a closed load.
///
/// # Errors
/// When a run fails.
pub fn soak<R: Runner>(trials: &Trials<'_>, seconds: f64, runner: &mut R) -> Result<Soaked, R::Failure> {
    let base = trials.plan;
    let rate = match base.load {
        Load::Open { rate, .. } => rate,
        Load::Closed => trials.closed_rate(runner)?,
    };
    let items = (rate * seconds).ceil().clamp(1.0, f64::from(u32::MAX / 4)) as u32;
    let plan = Plan { num_tasks: items.max(base.num_tasks), repeat: 1, ..base.clone() };
    runner.note(&format!("{} items, about {seconds:.0} s at {rate:.1}/s", plan.num_tasks));
    let watched = trials.watched(&plan, 2, "soak", runner)?;
    let windows = windows(&watched.samples, &watched.memory, WINDOWS);
    // Failures have a throughput and a latency too, and they say nothing of how the backend works.
    let answers = watched.finished.measured.unanswered().is_none();
    let drifts = judge(if answers { &windows } else { &[] });
    let verdict = overall(&drifts);
    Ok(Soaked { plan, watched, windows, drifts, verdict })
}

impl Soaked {
    /// The artefact.
    #[must_use]
    pub fn value(&self) -> Value {
        let finished = &self.watched.finished;
        json!({
            "backend": finished.record.backend,
            "workload": self.plan.workload,
            "run_id": finished.record.run_id,
            "config_hash": self.plan.config_hash(),
            "duration_seconds": finished.measured.wall_seconds,
            "items": finished.measured.emitted,
            "failed": finished.measured.failed,
            "partial": finished.measured.partial,
            "validity": finished.record.evidence().validity,
            "verdict": self.verdict,
            "measures": self.drifts,
            "windows": self.windows,
        })
    }

    /// The windows, one a line.
    #[must_use]
    pub fn csv(&self) -> String {
        csv(&self.windows)
    }
}

/// The worst that is known; steady only when every measure is.
fn overall(drifts: &[Drift]) -> Verdict {
    let any = |wanted| drifts.iter().any(|drift| drift.verdict == wanted);
    let worst = [Verdict::Worse, Verdict::Unknown].into_iter().find(|verdict| any(*verdict));
    worst.unwrap_or(Verdict::Steady)
}

fn csv(windows: &[Window]) -> String {
    let mut text = "at_seconds,throughput,latency_ms,memory_mib,failed\n".to_owned();
    let or = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
    for window in windows {
        let (latency, memory) = (or(window.latency_ms), or(window.memory_mib));
        let _ =
            writeln!(text, "{:.3},{:.3},{latency},{memory},{}", window.at, window.throughput, window.failed);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::soak::Measure;

    #[test]
    fn a_soak_is_steady_only_when_every_measure_is_known_to_be() {
        let drift = |verdict| Drift { measure: Measure::Memory, trend: None, change: 0.0, verdict };
        let overall = |verdicts: &[Verdict]| {
            overall(&verdicts.iter().map(|verdict| drift(*verdict)).collect::<Vec<_>>())
        };
        use Verdict::{Steady, Unknown, Worse};
        assert_eq!(overall(&[Steady, Steady, Steady]), Steady);
        assert_eq!(overall(&[Steady, Unknown, Steady]), Unknown);
        assert_eq!(overall(&[Unknown, Worse, Steady]), Worse);
    }
}
