//! Why a run stands apart from others, as far as that is known.
//!
//! What the validity check found in a run explains nothing that the run shares with those it stands apart
//! from. A disturbance by the machine slows down; it explains a run that is worse, and only when it was
//! judged in all of them and is distinctly larger in this one.

use super::model::Run;
use bench_record::evidence::{Disturbance, Resolution};

/// A disturbance is distinctly larger when it is at least so many times what others had.
const DISTINCT: f64 = 2.0;

/// The findings of `run` that explain why it is `worse` or better than the `usual` runs. `None` when none
/// does.
pub fn of(run: &Run, worse: bool, usual: &[&Run]) -> Option<String> {
    let explains = |code: &str| match code {
        "other_load" => {
            worse && is_distinct(run, usual, |found| found.others, |resolution| resolution.others)
        }
        "cpu_steal" => worse && is_distinct(run, usual, |found| found.steal, |resolution| resolution.steal),
        "late_generator" => worse && is_its_own(code, usual),
        _ => is_its_own(code, usual),
    };
    let causes = run.evidence.validity.findings.iter().filter(|finding| explains(&finding.code));
    let messages: Vec<&str> = causes.map(|finding| finding.message.as_str()).collect();
    (!messages.is_empty()).then(|| messages.join("; "))
}

fn is_its_own(code: &str, usual: &[&Run]) -> bool {
    usual.iter().all(|run| run.evidence.validity.findings.iter().all(|finding| finding.code != code))
}

fn is_distinct(
    run: &Run,
    usual: &[&Run],
    share: fn(&Disturbance) -> Option<f64>,
    within: fn(&Resolution) -> Option<f64>,
) -> bool {
    let figure = |run: &Run| {
        let found = &run.evidence.disturbance;
        // Versions that state no window counted the run's own last moments as others'.
        found.window_seconds?;
        Some((share(found)?, within(&found.resolution)?))
    };
    let Some((share, within)) = figure(run) else { return false };
    usual.iter().all(|run| {
        figure(run).is_some_and(|other| share - within > other.0 + other.1 && share >= DISTINCT * other.0)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::describe::outliers;
    use crate::testing::{collected, paired};

    /// Eight runs of which the fourth is an outlier with this speed. Each has its share of others, if that
    /// was judged, and the finding where that is above 15 %.
    fn cause_of_the_fourth(speed: f64, others: [Option<f64>; 8]) -> Option<String> {
        let mut records = paired(&[("ray", &[100.0, 101.0, 99.0, speed, 98.0, 102.0, 100.0, 99.5])]);
        for (record, others) in records.iter_mut().zip(others) {
            record["extra"]["disturbance"] = json!({
                "others": others, "steal": 0.0, "window_seconds": 1.5,
                "resolution": {"others": 0.01, "steal": 0.001},
            });
            if others.is_some_and(|others| others > 0.15) {
                record["extra"]["validity"] = invalid("other_load", "others were busy");
            }
        }
        let found = outliers(&collected(&records));
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].cause.clone()
    }

    fn invalid(code: &str, message: &str) -> Value {
        json!({"verdict": "INVALID", "findings": [{"code": code, "message": message, "mend": ""}]})
    }

    #[test]
    fn a_load_that_only_this_run_had_is_a_cause() {
        let mut others = [Some(0.01); 8];
        others[3] = Some(0.6);
        assert_eq!(cause_of_the_fourth(40.0, others).as_deref(), Some("others were busy"));
    }

    #[test]
    fn a_load_that_all_runs_had_is_none() {
        assert_eq!(cause_of_the_fourth(40.0, [Some(0.85); 8]), None);
        let mut others = [Some(0.14); 8];
        others[3] = Some(0.17);
        assert_eq!(cause_of_the_fourth(40.0, others), None);
    }

    #[test]
    fn a_load_does_not_make_a_run_faster() {
        let mut others = [Some(0.01); 8];
        others[3] = Some(0.6);
        assert_eq!(cause_of_the_fourth(400.0, others), None);
    }

    #[test]
    fn what_was_not_judged_in_the_others_is_compared_with_nothing() {
        let mut others = [None; 8];
        others[3] = Some(0.6);
        assert_eq!(cause_of_the_fourth(40.0, others), None);
    }

    #[test]
    fn a_figure_that_is_not_of_the_timed_queries_is_no_cause() {
        // As versions before this one wrote it: what the run used after its last sample counted as others.
        let mut records = paired(&[("ray", &[100.0, 101.0, 99.0, 40.0, 98.0, 102.0, 100.0, 99.5])]);
        for record in &mut records {
            record["extra"]["disturbance"] = json!({"others": 0.01, "steal": 0.0});
        }
        records[3]["extra"]["disturbance"]["others"] = json!(0.82);
        records[3]["extra"]["validity"] = invalid("other_load", "other processes used 82 %");
        let found = outliers(&collected(&records));
        assert_eq!((found.len(), &found[0].cause), (1, &None));
    }

    #[test]
    fn a_finding_of_every_run_explains_none() {
        let mut records = paired(&[("ray", &[100.0, 101.0, 99.0, 40.0, 98.0, 102.0, 100.0, 99.5])]);
        for record in &mut records {
            record["extra"]["validity"] = invalid("too_few_items", "only 10 items were timed");
        }
        let found = outliers(&collected(&records));
        assert_eq!((found.len(), &found[0].cause), (1, &None));
    }
}
