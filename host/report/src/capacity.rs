//! A search for capacity as curves and numbers: what completes, and how long it takes, over what is asked.

use std::collections::BTreeMap;

use super::Grid;
use super::charts::Chart;
use super::charts::curves::scaling;
use super::sweep::line;
use bench_judge::capacity::{Figure, Report, Step, Trial};

/// The curves.
#[must_use]
pub fn charts(report: &Report) -> Vec<Chart> {
    let percentile = percentile(report);
    // Of several trials at one rate the last counts: it is the confirming one.
    let measured = report.found.steps.iter().map(|step| &step.trial).filter(|trial| trial.error.is_none());
    let trials: BTreeMap<i64, &Trial> = measured.map(|trial| (tenths(trial.rate), trial)).collect();
    let points = |of: &dyn Fn(&Trial) -> Option<f64>| -> Vec<(f64, f64)> {
        trials.iter().filter_map(|(rate, trial)| Some((*rate as f64 / 10.0, of(trial)?))).collect()
    };
    let axis = "arrivals per second";
    let offered = line("arrivals".into(), points(&|trial| Some(trial.offered)));
    let completed = line(report.backend.clone(), points(&|trial| Some(trial.completed)));
    let title = format!("{percentile}{} over demand", of_the_response_time(report));
    let latency = line(report.backend.clone(), points(&|trial| trial.latency_ms));
    // The goal reaches over the same range.
    let limit = line("goal".into(), points(&|_| Some(report.goal.slo.limit_ms)));
    let demand = scaling("Completions over demand", axis, "items per second", &[completed, offered]);
    let latency = scaling(&title, axis, "ms", &[latency, limit]);
    [("completions_over_rate", demand), ("latency_over_rate", latency)]
        .map(|(id, canvas)| Chart { id, canvas, as_png: false })
        .into()
}

/// Rates are told apart, and read, to a tenth.
fn tenths(rate: f64) -> i64 {
    (rate * 10.0).round() as i64
}

fn percentile(report: &Report) -> String {
    report.goal.slo.percentile()
}

/// What a bare percentile is of.
fn of_the_response_time(report: &Report) -> &'static str {
    if report.goal.slo.figure == Figure::Response { " of the response time" } else { "" }
}

/// The numbers.
#[must_use]
pub fn grid(report: &Report) -> Grid {
    let rows = report.found.steps.iter().map(|step| {
        let trial = &step.trial;
        vec![
            step.phase.name().to_owned(),
            format!("{:.1}", trial.rate),
            format!("{:.1}", trial.completed),
            trial.latency_ms.map_or("n/a".into(), |ms| format!("{ms:.1}")),
            format!("{:.4}", trial.success_rate),
            verdict(step),
            trial.doubts.join(", "),
        ]
    });
    Grid {
        caption: format!("The trials; the latency is {}{}", percentile(report), of_the_response_time(report)),
        columns: &["phase", "rate/s#", "completed/s#", "latency ms#", "success#", "verdict", "INVALID"],
        rows: rows.collect(),
    }
}

fn verdict(step: &Step) -> String {
    let Some(limit) = step.limit else { return "sustained".to_owned() };
    let early = step.trial.ended.map_or(String::new(), |ended| format!(", ended after {}", ended.after));
    format!("{limit:?}").to_lowercase() + &early
}

/// What the search came to.
#[must_use]
pub fn words(report: &Report) -> [String; 2] {
    let (before, after) = (report.closed_loop_throughput, report.closed_loop_throughput_after);
    let found = match report.found.capacity {
        Some(capacity) => {
            let after = after.map_or("a failure".to_owned(), |after| {
                format!("{after:.1}/s right after ({:+.1} %)", (capacity / after - 1.0) * 100.0)
            });
            format!(
                "capacity of {} for {}: {capacity:.1} items/s; under a closed load {before:.1}/s before the search \
                 and {after}",
                report.backend, report.goal,
            )
        }
        None => format!("no capacity of {} for {}", report.backend, report.goal),
    };
    [found, format!("stopped: {}", report.found.stopped)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::capacity::{Found, Goal, Phase};
    use bench_record::time::UtcTime;

    fn report() -> Report {
        let step = |phase, rate: f64, completed| Step {
            phase,
            trial: Trial {
                rate,
                offered: rate,
                completed,
                latency_ms: Some(completed / 2.0),
                success_rate: 1.0,
                items: 1_000,
                ..Trial::default()
            },
            limit: None,
        };
        Report {
            backend: "local".into(),
            workload: "wl1".into(),
            nodes: 1,
            parallelism: 2,
            run_id: "r".into(),
            timestamp: UtcTime::now(),
            config_hash: "c".into(),
            goal: Goal { slo: "p99=80ms".parse().unwrap(), and: Vec::new(), success: 0.999 },
            precision: 0.02,
            trial_seconds: 10.0,
            closed_loop_throughput: 120.0,
            closed_loop_throughput_after: Some(100.0),
            found: Found {
                capacity: Some(98.0),
                refused: Some(101.0),
                stopped: "why".into(),
                steps: vec![
                    step(Phase::Bracket, 98.04, 97.0),
                    step(Phase::Bracket, 101.0, 96.0),
                    step(Phase::Confirm, 98.04, 98.0),
                ],
            },
        }
    }

    #[test]
    fn curves_go_from_left_to_right_and_the_confirming_trial_counts() {
        let [demand, latency] = &charts(&report())[..] else { panic!("two charts") };
        assert_eq!(
            demand.canvas.description,
            "local: 98.00 at 98, 96.00 at 101; arrivals: 98.04 at 98, 101.0 at 101."
        );
        assert!(
            latency.canvas.title.starts_with("p99 of")
                && latency.canvas.description.contains("goal: 80.00 at 98")
        );
    }

    #[test]
    fn what_was_found_is_said_beside_the_closed_loop() {
        let words = words(&report());
        assert_eq!(
            words[0],
            "capacity of local for p99=80ms: 98.0 items/s; under a closed load 120.0/s before the search and \
             100.0/s right after (-2.0 %)"
        );
        assert_eq!((words[1].as_str(), grid(&report()).rows.len()), ("stopped: why", 3));
    }
}
