//! Whether a run may be read as a measurement, and if not, what to do about it.

use std::time::Duration;

use bench_record::evidence::{self, Disturbance, Settling};

use super::bounds::Broken;
use super::doubts::Doubts;
use super::operation::Measured;
use super::plan::Plan;
use super::window::{MOST_OTHERS, MOST_STEAL};

/// Fewest timed items that say anything about throughput.
const FEWEST_ITEMS: u64 = 20;
/// Largest share of failed items.
const MOST_FAILED: f64 = 0.01;
/// Largest share of late arrivals.
const MOST_LATE: f64 = 0.01;

/// One reason to doubt a run. Every variant says cause and mend.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    Partial,
    /// It could not meet any more what was wanted of it.
    EndedEarly {
        after: u64,
    },
    TooFewItems {
        timed: u64,
    },
    /// Only what is steady was to be timed.
    NeverSteady,
    NoAnswers {
        of: u64,
        reason: Option<String>,
    },
    FailedItems {
        failed: u64,
        of: u64,
    },
    LateGenerator {
        late: u64,
        of: u64,
    },
    CpuSteal {
        share: f64,
        within: f64,
    },
    OtherLoad {
        /// Where that is not this machine.
        host: Option<String>,
        share: f64,
        within: f64,
    },
    /// A time by the clock of the runner's process, and the same by bench's own, if it was told of it at all.
    Clocks {
        said: Duration,
        seen: Option<Duration>,
    },
    /// Bench's own process was held up for so long, of a call that took so long.
    NotWatched {
        absent: Duration,
        of: Duration,
    },
    /// Times of operators that cannot be, and the first of them.
    Spans {
        spans: u64,
        first: Option<(String, String)>,
        busier: Option<(u64, u64)>,
    },
}

impl Finding {
    /// Everything that is to be said against a run.
    #[must_use]
    pub fn of(plan: &Plan, measured: &Measured, disturbance: &Disturbance) -> Vec<Self> {
        let mut findings = Vec::new();
        if measured.partial {
            let after = |broken: Broken| Self::EndedEarly { after: broken.after };
            findings.push(measured.broken.map_or(Self::Partial, after));
        }
        if measured.timed < FEWEST_ITEMS {
            findings.push(Self::TooFewItems { timed: measured.timed });
        }
        let never = measured.steady.is_some_and(|steady| steady.verdict == Settling::Never);
        if plan.warmup_auto && never {
            findings.push(Self::NeverSteady);
        }
        let failed = measured.failed + measured.missing;
        if let Some((of, reason)) = measured.unanswered() {
            findings.push(Self::NoAnswers { of, reason });
        } else if failed as f64 > MOST_FAILED * measured.emitted as f64 {
            findings.push(Self::FailedItems { failed, of: measured.emitted });
        }
        if measured.late as f64 > MOST_LATE * f64::from(plan.num_tasks) {
            findings.push(Self::LateGenerator { late: measured.late, of: measured.emitted });
        }
        // What is not known to be more than allowed is no finding.
        let resolution = disturbance.resolution;
        let beyond = |share: Option<f64>, within: Option<f64>, most: f64| {
            let within = within.unwrap_or(0.0);
            share.filter(|share| share - within > most).map(|share| (share, within))
        };
        if let Some((share, within)) = beyond(disturbance.steal, resolution.steal, MOST_STEAL) {
            findings.push(Self::CpuSteal { share, within });
        }
        if let Some((share, within)) = beyond(disturbance.others, resolution.others, MOST_OTHERS) {
            findings.push(Self::OtherLoad { host: None, share, within });
        }
        for machine in &measured.outside.machines {
            if let Some(share) = machine.others.filter(|share| *share > MOST_OTHERS) {
                findings.push(Self::OtherLoad { host: Some(machine.host.clone()), share, within: 0.0 });
            }
        }
        if measured.doubts.any() {
            let Doubts { spans, ref first, busier } = measured.doubts;
            let named = |(node, wrong): &(u16, String)| (plan.node_name(*node), wrong.clone());
            findings.push(Self::Spans { spans, first: first.as_ref().map(named), busier });
        }
        findings
    }

    /// Whether the machine is to blame, and another run may be free of it.
    #[must_use]
    pub fn is_of_the_machine(&self) -> bool {
        matches!(
            self,
            Self::LateGenerator { .. }
                | Self::CpuSteal { .. }
                | Self::OtherLoad { .. }
                | Self::NotWatched { .. }
        )
    }

    /// Stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::EndedEarly { .. } => "ended_early",
            Self::TooFewItems { .. } => "too_few_items",
            Self::NeverSteady => "never_steady",
            Self::NoAnswers { .. } => "no_answers",
            Self::FailedItems { .. } => "failed_items",
            Self::LateGenerator { .. } => "late_generator",
            Self::CpuSteal { .. } => "cpu_steal",
            Self::OtherLoad { .. } => "other_load",
            Self::Clocks { .. } => "clocks_differ",
            Self::NotWatched { .. } => "not_watched",
            Self::Spans { .. } => "operator_times",
        }
    }

    /// The cause.
    #[must_use]
    pub fn message(&self) -> String {
        // An inaccuracy that changes no digit is not worth a word.
        let percent = |share: f64, within: f64| match within * 100.0 {
            within if within < 0.1 => format!("{:.1} %", share * 100.0),
            within => format!("{:.1} % (± {within:.1} %)", share * 100.0),
        };
        match self {
            Self::Partial => "the run was cut short by the user".to_owned(),
            Self::EndedEarly { after } => {
                format!("after {after} timed items it could not meet any more what was wanted, and was ended")
            }
            Self::TooFewItems { timed } => {
                format!(
                    "only {timed} items were timed; below {FEWEST_ITEMS} neither throughput nor percentiles mean much"
                )
            }
            Self::NeverSteady => "its speed still changed at the end: nothing of it was steady".to_owned(),
            Self::NoAnswers { of, reason } => {
                let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
                format!("none of {of} timed items was answered{reason}")
            }
            Self::FailedItems { failed, of } => {
                format!("{failed} of {of} items failed or were never answered")
            }
            Self::LateGenerator { late, of } => {
                format!("the generator was more than 5 ms late for {late} of {of} arrivals")
            }
            Self::CpuSteal { share, within } => {
                format!("the hypervisor took {} of the CPU time", percent(*share, *within))
            }
            Self::OtherLoad { host, share, within } => {
                let of = host.as_ref().map_or(String::new(), |host| format!(" of `{host}`"));
                format!("other processes used {} of the CPU time{of}", percent(*share, *within))
            }
            Self::Clocks { said, seen: Some(seen) } => format!(
                "by the clock of the backend's process it took {:.3} s, by bench's own {:.3} s",
                said.as_secs_f64(),
                seen.as_secs_f64()
            ),
            Self::Clocks { said, seen: None } => format!(
                "queries were timed for {:.3} s by the backend's process, and bench was never told of it",
                said.as_secs_f64()
            ),
            Self::NotWatched { absent, of } => format!(
                "bench itself was held up for {:.3} s of {:.3} s, and could not watch the run",
                absent.as_secs_f64(),
                of.as_secs_f64()
            ),
            Self::Spans { spans, first: Some((name, wrong)), .. } => {
                format!("{spans} times of operators cannot be: `{name}` {wrong}, by what its record says")
            }
            Self::Spans { busier, .. } => {
                let (busy, most) = busier.unwrap_or_default();
                let seconds = |ns: u64| ns as f64 / 1e9;
                format!(
                    "operators say that they were busy for {:.3} s, where there were {:.3} s on all their threads",
                    seconds(busy),
                    seconds(most)
                )
            }
        }
    }

    /// What to do.
    #[must_use]
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Partial => "run it again and let it finish",
            Self::EndedEarly { .. } => "ask for less: a lower rate, or more time",
            Self::TooFewItems { .. } => "give more with --num-tasks, or fewer with --warmup-items",
            Self::NeverSteady => "give more with --num-tasks, or time it as it is with --warmup items",
            Self::NoAnswers { .. } | Self::FailedItems { .. } => {
                "see the reasons in extra.failure_reasons and the log"
            }
            Self::LateGenerator { .. } => "lower --rate, or leave a core to the generator",
            Self::CpuSteal { .. } => {
                "run on a machine of your own, or repeat with --repeat until it is quiet"
            }
            Self::OtherLoad { host: None, .. } => {
                "stop other work on this machine and run again; a server that the run asks is declared with --server-pid"
            }
            Self::OtherLoad { .. } => "stop other work on that machine and run again",
            Self::Clocks { .. } | Self::NotWatched { .. } => {
                "let nothing stop bench while it runs, or else report this to the plugin's author"
            }
            Self::Spans { .. } => {
                "report this to the plugin's author: what operators write behind a record has to stay as it is"
            }
        }
    }
}

/// As the record keeps it.
impl From<&Finding> for evidence::Finding {
    fn from(finding: &Finding) -> Self {
        Self { code: finding.code().into(), message: finding.message(), mend: finding.mend().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::Outside;
    use crate::plan::example as plan;
    use bench_record::evidence::{Resolution, Steady};

    fn codes(others: Option<f64>, steal: Option<f64>, within: f64) -> Vec<&'static str> {
        let resolution = Resolution { steal: Some(within), others: Some(within), ..Resolution::default() };
        let disturbance = Disturbance { steal, others, resolution, ..Disturbance::default() };
        let measured = Measured {
            emitted: 100,
            completed: 100,
            timed: 100,
            timed_completed: 100,
            ..Measured::default()
        };
        Finding::of(&plan(), &measured, &disturbance).iter().map(Finding::code).collect()
    }

    #[test]
    fn a_quiet_machine_is_no_finding_and_a_busy_one_is() {
        assert!(codes(Some(0.02), Some(0.01), 0.0).is_empty());
        assert_eq!(codes(Some(0.40), Some(0.05), 0.0), ["cpu_steal", "other_load"]);
    }

    #[test]
    fn what_is_not_known_is_not_judged() {
        assert!(codes(None, None, 0.0).is_empty());
        // 20 % give or take 10 % may be within the 15 % that are allowed.
        assert!(codes(Some(0.20), None, 0.10).is_empty());
        assert_eq!(codes(Some(0.30), None, 0.10), ["other_load"]);
    }

    #[test]
    fn a_busy_machine_among_several_is_named() {
        let machine = |host: &str, others| evidence::Machine {
            host: host.to_owned(),
            others,
            ..evidence::Machine::default()
        };
        let machines = vec![machine("a", Some(0.1)), machine("b", Some(0.4)), machine("c", None)];
        let outside = Outside { machines, ..Outside::default() };
        let measured = Measured { timed: 100, timed_completed: 100, outside, ..Measured::default() };
        let found = Finding::of(&plan(), &measured, &Disturbance::default());
        let messages: Vec<String> = found.iter().map(Finding::message).collect();
        assert_eq!(messages, ["other processes used 40.0 % of the CPU time of `b`"]);
    }

    #[test]
    fn a_run_that_never_settles_is_a_finding_where_only_what_is_steady_was_wanted() {
        let steady = Steady {
            verdict: Settling::Never,
            warmup_items: None,
            warmup_seconds: None,
            share_of_timed: None,
            item_error: None,
        };
        let measured =
            Measured { timed: 100, timed_completed: 100, steady: Some(steady), ..Measured::default() };
        let codes = |warmup_auto| {
            let found = Finding::of(&Plan { warmup_auto, ..plan() }, &measured, &Disturbance::default());
            found.iter().map(Finding::code).collect::<Vec<_>>()
        };
        assert_eq!((codes(false), codes(true)), (vec![], vec!["never_steady"]));
    }

    #[test]
    fn a_finding_says_how_exact_it_is() {
        let message = |within| Finding::OtherLoad { host: None, share: 0.4, within }.message();
        assert_eq!(message(0.0), "other processes used 40.0 % of the CPU time");
        assert_eq!(message(0.05), "other processes used 40.0 % (± 5.0 %) of the CPU time");
    }
}
