//! The highest rate that a backend sustains: bracket, bisect, confirm.
//!
//! A rate is *sustained* when items complete as fast as they arrive, hardly any fail, and the wanted
//! percentile of the response time (from the intended arrival) stays within the limit. The search knows
//! nothing of runs: it asks for a trial at a rate and is told what was seen.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use bench_record::time::UtcTime;
use bench_record::{histogram, quantity};

/// Completions may lag behind arrivals by this share before the backlog counts as growing. Below the
/// resolution of a trial of some seconds there is nothing to see.
const BACKLOG_TOLERANCE: f64 = 0.02;
/// From one rate to the next while the bracket is open: at first, and at most. It is squared each time.
const WIDEN: (f64, f64) = (1.25, 4.0);
/// How often the bracket may widen.
const MOST_WIDENINGS: u32 = 12;
/// At less than this share of where the search starts nothing waits for anything else: what is not
/// sustained there is no question of rate, and a trial that is to see enough items would last for ever.
const LOWEST: f64 = 0.02;
/// A trial that is refused while something else disturbed it is repeated once, until this many repeats
/// running were refused as well: then the disturbance is how this machine is.
const MOST_VAIN_REPEATS: u32 = 3;

/// What a goal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// The response time, from the intended arrival.
    #[default]
    Response,
    /// The time to the first token of a language model's answer, from its question.
    Ttft,
    /// The time for each token after the first.
    Tpot,
    /// The time between one piece of an answer and the next.
    BetweenTokens,
    /// The time of a language model for an answer.
    Answer,
}

impl Figure {
    const ALL: [Self; 5] = [Self::Response, Self::Ttft, Self::Tpot, Self::BetweenTokens, Self::Answer];

    /// Its tag among the histograms of a run, which is how it is written too.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Response => histogram::RESPONSE,
            Self::Ttft => histogram::TTFT,
            Self::Tpot => histogram::TPOT,
            Self::BetweenTokens => histogram::BETWEEN_TOKENS,
            Self::Answer => histogram::ANSWER,
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
    fn is_response(&self) -> bool {
        *self == Self::Response
    }
}

/// What a user wants of the response time, `p99=200ms`, or of a language model, `ttft_p95=500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slo {
    #[serde(default, skip_serializing_if = "Figure::is_response")]
    pub figure: Figure,
    /// In (0, 1).
    pub quantile: f64,
    pub limit_ms: f64,
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is not a goal: write it as p99=200ms, p50=1.5s, or ttft_p95=500ms of a language model"
            )
        };
        let (percentile, limit) = text.split_once('=').ok_or_else(wrong)?;
        let (figure, percentile) = match percentile.trim().rsplit_once('_') {
            None => (Figure::Response, percentile),
            Some((tag, percentile)) => {
                let known = Figure::ALL.into_iter().find(|figure| figure.tag() == tag);
                let tags = || Figure::ALL.map(Figure::tag).join(", ");
                (known.ok_or_else(|| format!("'{tag}' is none of {}", tags()))?, percentile)
            }
        };
        let percentile = percentile.trim().strip_prefix('p').and_then(|p| p.parse().ok());
        let percentile = percentile.filter(|p: &f64| *p > 0.0 && *p < 100.0).ok_or_else(wrong)?;
        let limit_ms = quantity::duration(limit)?.as_nanos() as f64 / 1e6;
        Ok(Self { figure, quantile: percentile / 100.0, limit_ms })
    }
}

impl Slo {
    /// What it limits: `p99`, or `ttft_p95`.
    #[must_use]
    pub fn percentile(&self) -> String {
        let percentile = format!("p{}", (self.quantile * 1e4).round() / 100.0);
        match self.figure {
            Figure::Response => percentile,
            figure => format!("{}_{percentile}", figure.tag()),
        }
    }
}

impl std::fmt::Display for Slo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}ms", self.percentile(), self.limit_ms)
    }
}

/// Everything a rate has to meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Goal {
    pub slo: Slo,
    /// What has to be met as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub and: Vec<Slo>,
    /// Least share of items that succeed.
    pub success: f64,
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.slos().map(Slo::to_string).collect();
        f.write_str(&all.join(" and "))
    }
}

/// What was seen at one rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Wanted arrivals per second.
    pub rate: f64,
    /// Arrivals per second by the schedule, over the time that `completed` is of.
    pub offered: f64,
    /// Completions per second once settled, while arrivals went on.
    pub completed: f64,
    /// The wanted percentile of what the goal is about; absent when nothing succeeded.
    pub latency_ms: Option<f64>,
    /// The same of what has to be met as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub and_ms: Vec<Option<f64>>,
    pub success_rate: f64,
    pub items: u64,
    /// Why it was ended early; its other figures are of what came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Share of arrivals that the generator was late for.
    pub late: f64,
    /// How late it was: the 99th percentile over all arrivals.
    pub lateness_ms: f64,
    /// Codes of what makes it INVALID without being the backend's doing.
    pub doubts: Vec<String>,
    /// Why there are no figures: the run failed.
    pub error: Option<String>,
}

/// A trial that could not meet its goal any more, whatever came: it was ended there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// Which of the goals it broke, from 0 on; none of them where too many items failed.
    pub goal: Option<usize>,
    /// Most timed items that it allows to be beyond its limit, or to fail.
    pub allowed: u64,
    /// Timed items until then.
    pub after: u64,
}

impl Trial {
    /// A backend that breaks under a rate does not sustain it.
    #[must_use]
    pub fn failed(rate: f64, error: String) -> Self {
        Self { rate, offered: rate, error: Some(error), ..Self::default() }
    }
}

/// Why a rate is not sustained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The run failed.
    Error,
    Failures,
    Backlog,
    Latency,
    /// Backlog or latency that the generator's own lateness explains: no limit of the backend is known.
    Generator,
}

impl Goal {
    /// Everything that is wanted of times.
    pub fn slos(&self) -> impl Iterator<Item = &Slo> {
        std::iter::once(&self.slo).chain(&self.and)
    }

    /// The goal that a trial missed, or the one of several that it missed by most, and what it came to.
    fn missed(&self, trial: &Trial) -> Option<(&Slo, Option<f64>)> {
        let times = std::iter::once(trial.latency_ms).chain(trial.and_ms.iter().copied());
        let beyond = |(slo, ms): &(&Slo, Option<f64>)| ms.unwrap_or(f64::INFINITY) / slo.limit_ms;
        let broken = trial.ended.and_then(|ended| ended.goal);
        let all = self.slos().zip(times).enumerate();
        let missed = all.filter(|(number, both)| match broken {
            Some(broken) => *number == broken,
            None => beyond(both) > 1.0,
        });
        missed.map(|(_, both)| both).max_by(|a, b| beyond(a).total_cmp(&beyond(b)))
    }

    /// What stops `trial` from being sustained, or nothing.
    #[must_use]
    pub fn limit(&self, trial: &Trial) -> Option<Limit> {
        if trial.error.is_some() {
            return Some(Limit::Error);
        }
        if trial.success_rate < self.success || trial.ended.is_some_and(|ended| ended.goal.is_none()) {
            return Some(Limit::Failures);
        }
        let lags = trial.ended.is_none() && trial.completed < trial.offered * (1.0 - BACKLOG_TOLERANCE);
        let (limit, beyond_ms, is_generator_s) = if lags {
            // How much longer the last item waits than the first.
            let length_ms = trial.items as f64 / trial.offered * 1e3;
            (Limit::Backlog, (1.0 - trial.completed / trial.offered) * length_ms, true)
        } else {
            let (slo, latency_ms) = self.missed(trial)?;
            let beyond_ms = latency_ms.unwrap_or(f64::INFINITY) - slo.limit_ms;
            // A model is timed from its question, and no generator is late for that.
            (Limit::Latency, beyond_ms, slo.figure == Figure::Response)
        };
        Some(if is_generator_s && beyond_ms <= trial.lateness_ms { Limit::Generator } else { limit })
    }

    /// The same in words.
    #[must_use]
    pub fn words(&self, trial: &Trial, limit: Limit) -> String {
        let doubts = match limit {
            Limit::Generator | Limit::Error => String::new(),
            _ if trial.doubts.is_empty() => String::new(),
            _ => format!(" (in a trial that is INVALID: {})", trial.doubts.join(", ")),
        };
        let text = match limit {
            Limit::Error => format!("the run failed: {}", trial.error.as_deref().unwrap_or_default()),
            Limit::Generator => format!(
                "the generator was up to {:.1} ms late: this machine offers no more, the backend may sustain more",
                trial.lateness_ms
            ),
            Limit::Failures => match trial.ended {
                Some(ended) => format!(
                    "more than {} of the items failed, so that {} cannot succeed any more: ended after {}",
                    ended.allowed, self.success, ended.after
                ),
                None => {
                    format!(
                        "only {:.4} of the items succeeded, {} are wanted",
                        trial.success_rate, self.success
                    )
                }
            },
            Limit::Backlog => format!(
                "the backlog grows by {:.1} items a second ({:.1} arrive, {:.1} complete)",
                trial.offered - trial.completed,
                trial.offered,
                trial.completed
            ),
            Limit::Latency => {
                let (slo, latency_ms) = self.missed(trial).unwrap_or((&self.slo, trial.latency_ms));
                match (trial.ended, latency_ms) {
                    (Some(ended), _) => format!(
                        "{} cannot be within {} ms any more, more than {} items took longer: ended after {}",
                        slo.percentile(),
                        slo.limit_ms,
                        ended.allowed,
                        ended.after
                    ),
                    (None, Some(latency)) => {
                        format!("{} is {latency:.1} ms, {} ms are wanted", slo.percentile(), slo.limit_ms)
                    }
                    (None, None) if slo.figure != Figure::Response => {
                        format!("no answer of a language model tells its {}", slo.figure.tag())
                    }
                    (None, None) => "nothing was answered".to_owned(),
                }
            }
        };
        text + &doubts
    }
}

/// A trial and its part in the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    pub phase: Phase,
    pub trial: Trial,
    pub limit: Option<Limit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Bracket,
    Bisect,
    Confirm,
}

impl Phase {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bracket => "bracket",
            Self::Bisect => "bisect",
            Self::Confirm => "confirm",
        }
    }
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// The highest sustained rate that a second, longer trial confirmed; absent when none was.
    pub capacity: Option<f64>,
    /// The lowest rate that was not sustained.
    pub refused: Option<f64>,
    /// Why the search stopped where it did.
    pub stopped: String,
    pub steps: Vec<Step>,
}

/// A search and what it was about: `capacity.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "bench capacity report")]
pub struct Report {
    pub backend: String,
    pub workload: String,
    pub nodes: u32,
    pub parallelism: u32,
    pub run_id: String,
    pub timestamp: UtcTime,
    /// Of the plan under a closed load: the trials differ from it in load and number of items.
    pub config_hash: String,
    pub goal: Goal,
    pub precision: f64,
    pub trial_seconds: f64,
    /// Items a second as fast as the in-flight limit allows: where the search began.
    pub closed_loop_throughput: f64,
    /// The same right after the search: machines drift, and the confirming trial was just before. Absent
    /// when that run failed.
    pub closed_loop_throughput_after: Option<f64>,
    #[serde(flatten)]
    pub found: Found,
}

/// Searches upward or downward from `start` until sustained and not sustained lie within `precision`.
/// `trial` is given the phase and the rate.
///
/// # Errors
/// The first error of `trial`.
pub fn search<E>(
    goal: &Goal,
    start: f64,
    precision: f64,
    mut trial: impl FnMut(Phase, f64) -> Result<Trial, E>,
) -> Result<Found, E> {
    let mut steps: Vec<Step> = Vec::new();
    let mut vain_repeats = 0;
    let mut ask = |phase: Phase, rate: f64, steps: &mut Vec<Step>| -> Result<bool, E> {
        let mut once = || {
            let trial = trial(phase, rate)?;
            let limit = goal.limit(&trial);
            // A refusal bounds the search for good; what held in spite of a disturbance holds.
            let doubtful = limit.is_some() && !trial.doubts.is_empty();
            steps.push(Step { phase, trial, limit });
            Ok((limit.is_none(), doubtful))
        };
        let (sustained, doubtful) = once()?;
        if !doubtful || vain_repeats == MOST_VAIN_REPEATS {
            return Ok(sustained);
        }
        let (sustained, _) = once()?;
        vain_repeats = if sustained { 0 } else { vain_repeats + 1 };
        Ok(sustained)
    };
    let (mut low, mut high): (Option<f64>, Option<f64>) = (None, None);
    let (mut rate, mut factor) = (start, WIDEN.0);
    for _ in 0..MOST_WIDENINGS {
        if ask(Phase::Bracket, rate, &mut steps)? {
            low = Some(rate);
            rate *= factor;
        } else {
            high = Some(rate);
            rate /= factor;
        }
        if low.is_some() && high.is_some() || rate < start * LOWEST {
            break;
        }
        factor = (factor * factor).min(WIDEN.1);
    }
    let Some(mut sustained) = low else {
        let stopped = format!(
            "no rate down to {:.2} a second is sustained: {}",
            high.unwrap_or(start),
            why(goal, &steps, high)
        );
        return Ok(Found { capacity: None, refused: high, stopped, steps });
    };
    while let Some(refused) = high.filter(|refused| refused / sustained > 1.0 + precision) {
        let middle = (refused * sustained).sqrt();
        if ask(Phase::Bisect, middle, &mut steps)? {
            sustained = middle;
        } else {
            high = Some(middle);
        }
    }
    // A longer trial may show more than the precision: an unconfirmed rate gives way to ever lower ones.
    let mut step = 1.0 + precision;
    while sustained >= start * LOWEST {
        if ask(Phase::Confirm, sustained, &mut steps)? {
            let stopped = match high {
                Some(refused) => {
                    format!("{refused:.1} a second is not sustained: {}", why(goal, &steps, high))
                }
                None => "the search went no higher: nothing was refused".to_owned(),
            };
            return Ok(Found { capacity: Some(sustained), refused: high, stopped, steps });
        }
        high = Some(sustained);
        sustained /= step;
        step = (step * step).min(WIDEN.1);
    }
    let stopped =
        format!("no rate could be confirmed by a second trial; the last try: {}", why(goal, &steps, high));
    Ok(Found { capacity: None, refused: high, stopped, steps })
}

fn why(goal: &Goal, steps: &[Step], rate: Option<f64>) -> String {
    let step = steps.iter().rev().find(|step| Some(step.trial.rate) == rate && step.limit.is_some());
    step.and_then(|step| Some(goal.words(&step.trial, step.limit?))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(slo: &str) -> Goal {
        Goal { slo: slo.parse().unwrap(), and: Vec::new(), success: 0.999 }
    }

    /// A server that completes `capacity` a second, with the waiting time of a single queue.
    fn server(capacity: f64) -> impl Fn(Phase, f64) -> Result<Trial, ()> {
        move |_, rate| {
            let load = rate / capacity;
            let latency_ms = if load < 1.0 { 10.0 / (1.0 - load) } else { 5_000.0 };
            Ok(Trial {
                rate,
                offered: rate,
                completed: rate.min(capacity),
                latency_ms: Some(latency_ms),
                success_rate: 1.0,
                items: 1_000,
                ..Trial::default()
            })
        }
    }

    #[test]
    fn a_generous_goal_finds_the_throughput_from_wherever_it_starts() {
        for start in [3.0, 90.0, 100.0, 900.0] {
            let found = search(&goal("p99=10s"), start, 0.02, server(100.0)).unwrap();
            let capacity = found.capacity.unwrap();
            assert!((96.0..=103.0).contains(&capacity), "{capacity} from {start}");
            assert!(found.stopped.contains("backlog grows"), "{}", found.stopped);
            assert_eq!(found.steps.last().unwrap().phase, Phase::Confirm);
        }
    }

    #[test]
    fn a_tight_goal_stops_where_the_latency_does() {
        // 10 / (1 - load) = 40 ms at a load of 0.75.
        let found = search(&goal("p99=40ms"), 100.0, 0.02, server(100.0)).unwrap();
        let capacity = found.capacity.unwrap();
        assert!((73.0..=75.0).contains(&capacity), "{capacity}");
        assert!(found.stopped.contains("40 ms are wanted"), "{}", found.stopped);
    }

    #[test]
    fn a_goal_may_be_about_what_a_language_model_takes() {
        for (text, figure, quantile) in [
            ("ttft_p95=500ms", Figure::Ttft, 0.95),
            ("between_tokens_p50=500ms", Figure::BetweenTokens, 0.5),
            (" tpot_p99 = 0.5", Figure::Tpot, 0.99),
            ("answer_p95=500ms", Figure::Answer, 0.95),
            ("response_p95=500ms", Figure::Response, 0.95),
        ] {
            let slo: Slo = text.parse().unwrap();
            assert_eq!((slo.figure, slo.quantile, slo.limit_ms), (figure, quantile, 500.0), "{text}");
            assert_eq!(slo.to_string().parse(), Ok(slo), "{text}");
        }
        let error = "tfft_p95=1s".parse::<Slo>().unwrap_err();
        assert_eq!(error, "'tfft' is none of response, ttft, tpot, between_tokens, answer");
        assert!("ttft=1s".parse::<Slo>().unwrap_err().contains("ttft_p95=500ms"));
    }

    #[test]
    fn a_model_that_is_late_is_late_whatever_the_generator_is_and_no_time_is_none_within_the_goal() {
        let trial = Trial {
            offered: 10.0,
            completed: 10.0,
            success_rate: 1.0,
            lateness_ms: 100.0,
            ..Trial::default()
        };
        let late = Trial { latency_ms: Some(550.0), ..trial.clone() };
        assert_eq!(goal("p95=500ms").limit(&late), Some(Limit::Generator));
        assert_eq!(goal("ttft_p95=500ms").limit(&late), Some(Limit::Latency));
        let unknown = goal("ttft_p95=500ms");
        assert_eq!(unknown.limit(&trial), Some(Limit::Latency));
        assert_eq!(unknown.words(&trial, Limit::Latency), "no answer of a language model tells its ttft");
    }

    #[test]
    fn failures_stop_the_search_whatever_the_latency() {
        let server = server(1e9);
        let failing = |phase, rate| {
            let trial = server(phase, rate)?;
            Ok::<_, ()>(Trial { success_rate: if rate > 50.0 { 0.9 } else { 1.0 }, ..trial })
        };
        let found = search(&goal("p99=1s"), 10.0, 0.02, failing).unwrap();
        assert!((48.0..=50.0).contains(&found.capacity.unwrap()), "{found:?}");
        assert!(found.stopped.contains("only 0.9000 of the items succeeded"), "{}", found.stopped);
    }

    #[test]
    fn a_rate_that_only_held_by_luck_gives_way_to_a_lower_one() {
        let steady = server(100.0);
        let lucky = |phase, rate: f64| {
            let trial = steady(phase, rate)?;
            // In the longer trial the truth comes out.
            let completed = if phase == Phase::Confirm { trial.completed.min(95.0) } else { trial.completed };
            Ok::<_, ()>(Trial { completed, ..trial })
        };
        let found = search(&goal("p99=10s"), 90.0, 0.02, lucky).unwrap();
        assert!(found.capacity.unwrap() <= 97.0, "{found:?}");
        assert!(found.steps.iter().filter(|step| step.phase == Phase::Confirm).count() > 1);
    }

    #[test]
    fn a_goal_that_nothing_meets_is_said_to_be_one() {
        let found = search(&goal("p99=1ms"), 100.0, 0.02, server(100.0)).unwrap();
        assert_eq!(found.capacity, None);
        assert!(found.stopped.starts_with("no rate down to"), "{}", found.stopped);
        // A trial has to see some hundred items, however slowly they come.
        assert!(found.steps.iter().all(|step| step.trial.rate >= 2.0), "{found:?}");
    }

    #[test]
    fn a_refusal_counts_only_when_nothing_else_disturbed_it() {
        let steady = server(100.0);
        let mut trials = 0;
        let disturbed = |phase, rate: f64| {
            trials += 1;
            let trial = steady(phase, rate)?;
            let burst = Trial { completed: rate / 2.0, doubts: vec!["other_load".into()], ..trial.clone() };
            // The first trial of three at any rate meets somebody else's burst.
            Ok::<_, ()>(if trials % 3 == 1 { burst } else { trial })
        };
        let found = search(&goal("p99=10s"), 90.0, 0.02, disturbed).unwrap();
        assert!((96.0..=103.0).contains(&found.capacity.unwrap()), "{found:?}");
    }

    #[test]
    fn a_machine_that_is_always_disturbed_still_gives_a_capacity_and_says_so() {
        let steady = server(100.0);
        let disturbed =
            |phase, rate| Ok::<_, ()>(Trial { doubts: vec!["other_load".into()], ..steady(phase, rate)? });
        let found = search(&goal("p99=10s"), 90.0, 0.02, disturbed).unwrap();
        assert!((96.0..=103.0).contains(&found.capacity.unwrap()), "{found:?}");
        assert!(found.stopped.ends_with("INVALID: other_load)"), "{}", found.stopped);
        let refused = found.steps.iter().filter(|step| step.limit.is_some()).count();
        let rates =
            found.steps.iter().filter(|step| step.limit.is_some()).map(|step| step.trial.rate.to_bits());
        let rates: std::collections::BTreeSet<u64> = rates.collect();
        assert!(refused <= rates.len() + MOST_VAIN_REPEATS as usize, "{found:?}");
    }

    #[test]
    fn a_late_generator_is_not_taken_for_a_slow_backend() {
        let fast = server(1e9);
        let late = |phase, rate: f64| {
            let trial = fast(phase, rate)?;
            let late = Trial {
                latency_ms: Some(205.0),
                late: 0.3,
                lateness_ms: 40.0,
                doubts: vec!["late_generator".into()],
                ..trial.clone()
            };
            Ok::<_, ()>(if rate > 50.0 { late } else { trial })
        };
        let found = search(&goal("p99=200ms"), 10.0, 0.02, late).unwrap();
        assert!((48.0..=50.0).contains(&found.capacity.unwrap()), "{found:?}");
        assert!(found.stopped.contains("the generator was up to 40.0 ms late"), "{}", found.stopped);
        // Lateness that harmed nothing is no reason to refuse, and one that does not explain a refusal no excuse.
        let trial = Trial { late: 0.3, lateness_ms: 40.0, ..fast(Phase::Confirm, 100.0).unwrap() };
        assert_eq!(goal("p99=200ms").limit(&trial), None);
        let slow = Trial { latency_ms: Some(300.0), ..trial.clone() };
        assert_eq!(goal("p99=200ms").limit(&slow), Some(Limit::Latency));
        // 10 s of arrivals: the last waits half a second longer than the first.
        let backlog = Trial { completed: 95.0, ..trial.clone() };
        assert_eq!(goal("p99=200ms").limit(&backlog), Some(Limit::Backlog));
        let starved = Trial { lateness_ms: 600.0, ..backlog };
        assert_eq!(goal("p99=200ms").limit(&starved), Some(Limit::Generator));
    }

    #[test]
    fn of_several_goals_the_tightest_bounds_the_search_and_is_named() {
        // Of the server the median is half of what its p99 is: 10 / (1 - load) = 40 ms at a load of 0.75.
        let both = Goal { and: vec!["p50=20ms".parse().unwrap()], ..goal("p99=60ms") };
        let steady = server(100.0);
        let server = |phase, rate| {
            let trial = steady(phase, rate)?;
            Ok::<_, ()>(Trial { and_ms: vec![trial.latency_ms.map(|ms| ms / 2.0)], ..trial })
        };
        let found = search(&both, 100.0, 0.02, server).unwrap();
        assert!((73.0..=75.0).contains(&found.capacity.unwrap()), "{found:?}");
        assert!(
            found.stopped.contains("p50 is 20.") && found.stopped.contains("20 ms are wanted"),
            "{}",
            found.stopped
        );
        assert_eq!(both.to_string(), "p99=60ms and p50=20ms");
    }

    #[test]
    fn a_trial_that_was_ended_early_is_refused_for_what_it_broke() {
        let both = Goal { and: vec!["p50=20ms".parse().unwrap()], ..goal("p99=60ms") };
        let ended = Ended { goal: Some(1), allowed: 500, after: 612 };
        let trial = Trial {
            rate: 100.0,
            offered: 100.0,
            completed: 61.0,
            latency_ms: Some(59.0),
            and_ms: vec![Some(31.0)],
            success_rate: 1.0,
            items: 612,
            ended: Some(ended),
            ..Trial::default()
        };
        assert_eq!(both.limit(&trial), Some(Limit::Latency), "how fast it completed says nothing then");
        let words = both.words(&trial, Limit::Latency);
        assert_eq!(
            words,
            "p50 cannot be within 20 ms any more, more than 500 items took longer: ended after 612"
        );
        let failing = Trial { ended: Some(Ended { goal: None, allowed: 1, after: 9 }), ..trial.clone() };
        assert_eq!(both.limit(&failing), Some(Limit::Failures));
        // What the generator's lateness explains is no limit of the backend.
        assert_eq!(both.limit(&Trial { lateness_ms: 12.0, ..trial }), Some(Limit::Generator));
    }

    #[test]
    fn a_backend_that_breaks_under_a_rate_does_not_sustain_it() {
        let steady = server(1e9);
        let breaking = |phase, rate: f64| {
            if rate > 50.0 { Ok(Trial::failed(rate, "out of memory".into())) } else { steady(phase, rate) }
        };
        let found = search::<()>(&goal("p99=10s"), 10.0, 0.02, breaking).unwrap();
        assert!((48.0..=50.0).contains(&found.capacity.unwrap()), "{found:?}");
        assert!(found.stopped.ends_with("the run failed: out of memory"), "{}", found.stopped);
    }

    #[test]
    fn what_a_longer_trial_shows_may_be_far_below() {
        let steady = server(100.0);
        let tiring = |phase, rate: f64| {
            let trial = steady(phase, rate)?;
            let completed = if phase == Phase::Confirm { trial.completed.min(40.0) } else { trial.completed };
            Ok::<_, ()>(Trial { completed, ..trial })
        };
        let found = search(&goal("p99=10s"), 90.0, 0.02, tiring).unwrap();
        assert!((20.0..=41.0).contains(&found.capacity.unwrap()), "{found:?}");
        let confirms = found.steps.iter().filter(|step| step.phase == Phase::Confirm).count();
        assert!(confirms <= 8, "{found:?}");
    }

    #[test]
    fn goals_are_read_and_written() {
        assert_eq!(
            "p99=200ms".parse(),
            Ok(Slo { figure: Figure::Response, quantile: 0.99, limit_ms: 200.0 })
        );
        assert_eq!("p99.9=1.5s".parse::<Slo>().unwrap().to_string(), "p99.9=1500ms");
        assert_eq!("p50=0.07".parse::<Slo>().unwrap().to_string(), "p50=70ms");
        for wrong in ["", "p99", "99=1s", "p0=1s", "p100=1s", "p99=", "p99=-1s", "p99=infs", "p99=0"] {
            assert!(wrong.parse::<Slo>().is_err(), "{wrong}");
        }
    }
}
