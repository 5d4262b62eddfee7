//! The eight principles of the SPEC Research Group for experiments that others can repeat (Papadopoulos et al., IEEE
//! Transactions on Software Engineering 47, 2021, 1528), as far as the records themselves say whether they are kept.

use std::collections::BTreeSet;

use super::facts::Metric;
use super::judge::Ranking;
use super::{Options, Summary};
use bench_stats::paired::fewest_pairs;

/// Whether a principle is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It is.
    Yes,
    /// Some of it is.
    Partly,
    /// It is not.
    No,
}

/// One of the eight.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Principle {
    /// Its name.
    pub name: &'static str,
    /// Whether it is kept.
    pub kept: Kept,
    /// By what, or what is lacking.
    pub how: String,
}

/// All eight, in their order.
#[must_use]
pub fn principles(summary: &Summary) -> Vec<Principle> {
    let of = |name, (kept, how): (Kept, String)| Principle { name, kept, how };
    vec![
        of("Repeated experiments", repeated(summary)),
        of("Workload and configuration coverage", coverage(summary)),
        of("Experimental setup description", setup(summary)),
        of("Open access artifact", artifact(summary)),
        of("Probabilistic result description", probabilistic(summary)),
        of("Statistical evaluation", tested(summary)),
        of("Measurement units", (Kept::Yes, "every figure is shown with its unit".to_owned())),
        of("Cost", cost(summary, &summary.options)),
    ]
}

fn repeated(summary: &Summary) -> (Kept, String) {
    let counts = summary.collected.groups.iter().map(|group| group.sample(Metric::Throughput).count());
    let least = counts.min().unwrap_or(0);
    let kept = match least {
        least if least >= fewest_pairs(summary.options.alpha, 1) => Kept::Yes,
        0 | 1 => Kept::No,
        _ => Kept::Partly,
    };
    (kept, format!("{least} runs count where there are fewest"))
}

fn coverage(summary: &Summary) -> (Kept, String) {
    let (settings, workloads) = (&summary.collected.settings, summary.collected.workloads.len());
    let seeds = settings.iter().map(|setting| setting.seed).collect::<BTreeSet<_>>().len();
    let kept = match (workloads, settings.len(), seeds) {
        (2.., _, 2..) => Kept::Yes,
        (1, 1, 1) | (0, ..) => Kept::No,
        _ => Kept::Partly,
    };
    (kept, format!("workloads {workloads}, configurations {}, seeds {seeds}", settings.len()))
}

fn setup(summary: &Summary) -> (Kept, String) {
    let runs = &summary.collected.runs;
    let says = |run: &&super::model::Run| {
        let evidence = &run.evidence;
        evidence.host.is_some() && evidence.plugin.version.is_some() && evidence.bench_version.is_some()
    };
    let told = runs.iter().filter(says).count();
    let kept = match told {
        0 => Kept::No,
        told if told == runs.len() => Kept::Yes,
        _ => Kept::Partly,
    };
    (kept, format!("{told} of {} records say machine, versions and configuration", runs.len()))
}

fn artifact(summary: &Summary) -> (Kept, String) {
    let how = match summary.altered.len() {
        0 => "the records hold what it takes to repeat each run; publishing them is yours".to_owned(),
        altered => format!("{altered} files are not what the runs wrote"),
    };
    (if summary.altered.is_empty() { Kept::Partly } else { Kept::No }, how)
}

fn probabilistic(summary: &Summary) -> (Kept, String) {
    let judged = || summary.estimates.iter().filter(|estimate| estimate.metric == Metric::Throughput);
    let (all, with) = (judged().count(), judged().filter(|estimate| estimate.interval.is_some()).count());
    let kept = match with {
        0 => Kept::No,
        with if with == all => Kept::Yes,
        _ => Kept::Partly,
    };
    (kept, format!("{with} of {all} throughputs have spread, 95 % interval and percentiles"))
}

fn tested(summary: &Summary) -> (Kept, String) {
    let judged = || summary.comparisons.iter().filter(|comparison| comparison.metric == Metric::Throughput);
    let verdicts = judged().filter(|comparison| matches!(comparison.ranking, Ranking::Verdict(_))).count();
    let kept = match (verdicts, judged().count()) {
        (0, _) => Kept::No,
        (verdicts, all) if verdicts == all => Kept::Yes,
        _ => Kept::Partly,
    };
    (
        kept,
        format!(
            "{verdicts} of {} comparisons rest on a test, corrected for how many there are",
            judged().count()
        ),
    )
}

fn cost(summary: &Summary, options: &Options) -> (Kept, String) {
    let measured = summary.estimates.iter().any(|estimate| estimate.metric == Metric::CpuPerMillion);
    match (measured, options.price) {
        (false, _) => (Kept::No, "no record says what CPU time it took".to_owned()),
        (true, Some(_)) => (Kept::Yes, "CPU time and money per million items".to_owned()),
        (true, None) => (Kept::Partly, "CPU time per million items; no price was stated".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summarize;
    use crate::testing::{collected, paired};
    use serde_json::{Value, json};

    const SPEEDS: [f64; 6] = [100.0, 101.0, 99.0, 100.5, 98.0, 102.0];

    fn kept(records: &[Value], options: &Options) -> Vec<Kept> {
        let summary = summarize(collected(records), options);
        principles(&summary).into_iter().map(|principle| principle.kept).collect()
    }

    #[test]
    fn one_run_keeps_next_to_nothing_and_six_that_say_all_keep_most() {
        use Kept::{No, Partly, Yes};
        let one = paired(&[("ray", &SPEEDS[..1]), ("sage", &SPEEDS[..1])]);
        assert_eq!(kept(&one, &Options::default()), [No, No, No, Partly, No, Yes, Yes, No]);
        let mut six = paired(&[("ray", &SPEEDS), ("sage", &SPEEDS)]);
        for record in &mut six {
            let extra = &mut record["extra"];
            (extra["host"], extra["bench_version"]) = (json!({"cores": 2}), json!("0.1.0"));
            (extra["plugin"], extra["cpu_seconds"]) = (json!({"version": "1"}), json!(2.0));
            extra["items"] = json!({"timed": 400, "completed": 400});
        }
        let priced = Options { price: Some(0.05), ..Options::default() };
        assert_eq!(kept(&six, &priced), [Yes, No, Yes, Partly, Yes, Yes, Yes, Yes]);
        assert_eq!(kept(&six, &Options::default())[7], Partly);
    }
}
