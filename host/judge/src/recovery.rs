//! Does a backend come through the loss of a worker, how soon, and what does it cost?
//!
//! Everything is read off one curve: what was due and when it was answered. The *backlog* is what is due and not
//! answered, so random arrivals that crowd by chance and batches that answer in lumps are in what it was before the
//! kill, and no threshold has to be guessed. How the words are defined stands in `docs/measurement.md`.

mod backlog;
mod course;
mod windows;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use course::{Answer, Arrival, Course};
pub use windows::{WINDOWS, Window};

use backlog::Backlog;
use bench_record::evidence::Killed;
use bench_record::time::UtcTime;
use windows::{Cut, cut};

/// So many windows before the kill, and after it, say what is usual.
pub const FEWEST: usize = 3;

/// What became of a backend that lost a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Neither throughput nor latency shows that anything happened.
    NotFelt,
    /// It answers at the offered rate again, and p99 is what it was.
    Recovered,
    /// It answers at the offered rate again, and p99 is not what it was.
    Degraded,
    /// It does not answer at the offered rate any more.
    NotRecovered,
    /// The run is too short on one side of the kill to say.
    Unknown,
}

impl Verdict {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFelt => "not felt",
            Self::Recovered => "recovered",
            Self::Degraded => "degraded",
            Self::NotRecovered => "not recovered",
            Self::Unknown => "unknown",
        }
    }
}

/// What was usual before the kill, once the run had settled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Before {
    /// Seconds since the first arrival.
    pub from: f64,
    pub until: f64,
    /// Arrivals in that time, all of which were answered before the kill.
    pub arrivals: u64,
    /// Answers a second.
    pub throughput: f64,
    /// Of their response times.
    pub p99_ms: f64,
    pub slowest_ms: f64,
    /// The highest p99 of a window: what p99 has to come back to.
    pub highest_window_p99_ms: f64,
    /// The most arrivals that were due and not answered at one moment.
    pub most_backlog: u64,
}

/// What a kill came to. A figure that is null has its reason in `unknown`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    pub verdict: Verdict,
    /// In words.
    pub why: String,
    pub before: Option<Before>,
    /// From the kill until the backlog exceeded what it was before: the throughput had dropped.
    pub seconds_to_drop: Option<f64>,
    /// From that drop until arrivals were answered at the offered rate again; 0 without a drop.
    pub seconds_to_recover: Option<f64>,
    /// From the kill until the backlog was what it had been.
    pub seconds_to_catch_up: Option<f64>,
    /// From the kill until p99 was what it had been, to a window.
    pub seconds_to_p99: Option<f64>,
    /// How much longer than the p99 before the kill answers took until then, summed over all of them.
    pub latency_debt_seconds: Option<f64>,
    /// Arrivals that the backend took and never answered.
    pub lost: u64,
    /// Arrivals that came due and that it never took: the run had ended.
    pub never_taken: u64,
    /// Answers beyond the first to one arrival.
    pub duplicated: u64,
    /// Answers to what was never asked.
    pub unexpected: u64,
    /// Arrivals that were answered with a failure after the kill.
    pub failed: u64,
    /// Arrivals that were answered after the kill, and later than any before it. Null where nothing is known of before.
    pub late: Option<u64>,
    /// Why a figure is null, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, String>,
    pub windows: Vec<Window>,
}

/// A kill, what it was done to, and what it came to: `recovery.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "bench recover report")]
pub struct Report {
    pub backend: String,
    pub workload: String,
    pub nodes: u32,
    pub parallelism: u32,
    pub run_id: String,
    pub timestamp: UtcTime,
    /// Of the run in which the kill was.
    pub config_hash: String,
    /// Arrivals a second.
    pub rate: f64,
    /// What share of the closed loop's throughput that is. Null where the rate was given.
    pub share: Option<f64>,
    /// Items a second as fast as the in-flight limit allows. Null where the rate was given.
    pub closed_loop_throughput: Option<f64>,
    pub arrivals: u64,
    /// Seconds from the first arrival to the last, by the schedule.
    pub duration_seconds: f64,
    pub killed: Killed,
    /// Seconds from the first arrival to the kill.
    pub killed_after_seconds: f64,
    /// Why the run ended without a result, where it did.
    pub run_failed: Option<String>,
    /// Codes of what makes the run INVALID as a measurement; nothing is known of one that failed.
    pub doubts: Vec<String>,
    #[serde(flatten)]
    pub judgement: Judgement,
}

impl Report {
    /// Whether it is as good as if nothing had happened: sooner or later, each arrival was answered, and once.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Judgement { verdict, lost, never_taken, duplicated, unexpected, .. } = &self.judgement;
        let answered = lost + never_taken + duplicated + unexpected == 0 && self.run_failed.is_none();
        answered && matches!(verdict, Verdict::NotFelt | Verdict::Recovered)
    }
}

/// What a figure is, or why it is not known.
type Figure = Result<f64, String>;

/// Reads off a run what the kill came to.
#[must_use]
pub fn judge(course: &Course) -> Judgement {
    let cut = cut(course);
    let before = before(course, &cut);
    let (after, needed) = (course.last_due() - course.killed_at, FEWEST as f64 * cut.length);
    let fell_behind = before.and_then(|before| cut.falls_behind(&before));
    let short = match () {
        () if before.is_none() => Some(format!(
            "fewer than {FEWEST} windows of {:.2} s between the settling and the kill: what is usual is not known",
            cut.length
        )),
        () if after < needed => Some(format!(
            "the last arrival was {:.2} s after the kill: nothing is to be seen in that time",
            after.max(0.0)
        )),
        () => fell_behind,
    };
    // Of one that is dead nobody asks how it would have fared.
    let short = short.filter(|_| course.ended().is_none());
    let seen = Seen::of(course, &cut, before.as_ref(), short.as_ref());
    let [lost, never_taken] = unanswered(course);
    let verdict = seen.verdict(short.is_some(), lost + never_taken);
    let why = short.unwrap_or_else(|| seen.words(verdict));
    let mut unknown = BTreeMap::new();
    let mut known =
        |name: &str, figure: Figure| figure.map_err(|why| unknown.insert(name.to_owned(), why)).ok();
    let late = before
        .map(|before| course.after_kill().filter(|(waited, _)| waited * 1e3 > before.slowest_ms).count());
    Judgement {
        verdict,
        why,
        before,
        seconds_to_drop: known("seconds_to_drop", seen.drop),
        seconds_to_recover: known("seconds_to_recover", seen.recover),
        seconds_to_catch_up: known("seconds_to_catch_up", seen.catch_up),
        seconds_to_p99: known("seconds_to_p99", seen.p99),
        latency_debt_seconds: known("latency_debt_seconds", seen.debt),
        lost,
        never_taken,
        duplicated: course.duplicated,
        unexpected: course.unexpected,
        failed: course.after_kill().filter(|(_, answer)| !answer.ok).count() as u64,
        late: known("late", late.map(|late| late as f64).ok_or_else(|| NOT_USUAL.to_owned()))
            .map(|late| late as u64),
        unknown,
        windows: cut.windows,
    }
}

const NO_DROP: &str = "the backlog never exceeded what it was before the kill";
const NOT_USUAL: &str = "what was usual before the kill is not known";

/// Arrivals that nobody answered: taken, and not.
fn unanswered(course: &Course) -> [u64; 2] {
    let unanswered = course.arrivals.iter().filter(|arrival| arrival.answer.is_none()).count() as u64;
    let never_taken = (course.arrivals.len() as u64).saturating_sub(course.taken).min(unanswered);
    [unanswered - never_taken, never_taken]
}

fn before(course: &Course, cut: &Cut) -> Option<Before> {
    let usual = cut.before();
    let (first, last) = (cut.windows.get(usual.start)?, cut.windows.get(usual.end.checked_sub(1)?)?);
    if usual.len() < FEWEST {
        return None;
    }
    let (from, until) = (first.at - cut.length, last.at);
    let of = || course.arrivals.iter().filter(|arrival| (from..until).contains(&arrival.due));
    let mut waited: Vec<f64> = of().filter_map(Arrival::waited).map(|seconds| seconds * 1e3).collect();
    waited.sort_by(f64::total_cmp);
    let windows = || cut.windows[usual.clone()].iter();
    Some(Before {
        from,
        until,
        arrivals: of().count() as u64,
        throughput: windows().map(|window| window.throughput).sum::<f64>() / usual.len() as f64,
        p99_ms: windows::p99(&waited)?,
        slowest_ms: *waited.last()?,
        highest_window_p99_ms: windows().filter_map(|window| window.p99_ms).fold(0.0, f64::max),
        most_backlog: Backlog::of(course).most(course.settled_at(), course.killed_at),
    })
}

/// The figures, each in seconds.
struct Seen {
    /// Whether the backlog exceeded what it was.
    dropped: bool,
    drop: Figure,
    recover: Figure,
    catch_up: Figure,
    p99: Figure,
    debt: Figure,
    /// Whether p99 never left what it was.
    stayed: bool,
}

impl Seen {
    fn of(course: &Course, cut: &Cut, before: Option<&Before>, short: Option<&String>) -> Self {
        let Some((before, None)) = before.map(|before| (before, short)) else {
            let why = || Err(course.ended().or(short.cloned()).unwrap_or_else(|| NOT_USUAL.to_owned()));
            let (drop, recover, catch_up) = (why(), why(), why());
            return Self { dropped: false, drop, recover, catch_up, p99: why(), debt: why(), stayed: false };
        };
        let backlog = Backlog::of(course);
        let since_kill = |at: f64| at - course.killed_at;
        let still = |what: &str| {
            format!(
                "{what} when the last arrival came, {:.1} s after the kill",
                since_kill(course.last_due())
            )
        };
        let dropped = backlog.exceeds(before.most_backlog, course.killed_at);
        if let Some(why) = course.ended() {
            let drop = dropped.map(since_kill).ok_or_else(|| NO_DROP.to_owned());
            let why = || Err(why.clone());
            let (recover, catch_up, p99, debt) = (why(), why(), why(), why());
            return Self { dropped: dropped.is_some(), drop, recover, catch_up, p99, debt, stayed: false };
        }
        let (drop, recover, catch_up) = match dropped {
            None => (Err(NO_DROP.to_owned()), Ok(0.0), Ok(0.0)),
            Some(dropped) => {
                let peak = backlog.peak(dropped);
                let down = backlog.returns(before.most_backlog, peak);
                let watched = course.last_due() - peak >= FEWEST as f64 * cut.length;
                let recovered = watched || down.is_some();
                (
                    Ok(since_kill(dropped)),
                    recovered.then_some(peak - dropped).ok_or_else(|| still("the backlog still grew")),
                    down.filter(|_| recovered)
                        .map(since_kill)
                        .ok_or_else(|| still("the backlog was still larger than before")),
                )
            }
        };
        let back = cut.back(before.highest_window_p99_ms);
        let (p99, debt) = match back {
            None => {
                let why = || still("p99 was still higher than before");
                (Err(why()), Err(why()))
            }
            Some(at) => {
                (Ok(since_kill(at).max(0.0)), Ok(debt(course, before.p99_ms, at.max(course.killed_at))))
            }
        };
        let stayed = back.is_some_and(|at| at <= course.killed_at);
        Self { dropped: dropped.is_some(), drop, recover, catch_up, p99, debt, stayed }
    }

    fn verdict(&self, short: bool, unanswered: u64) -> Verdict {
        match () {
            () if short => Verdict::Unknown,
            () if self.recover.is_err() => Verdict::NotRecovered,
            () if self.p99.is_err() => Verdict::Degraded,
            () if !self.dropped && self.stayed && unanswered == 0 => Verdict::NotFelt,
            () => Verdict::Recovered,
        }
    }

    fn words(&self, verdict: Verdict) -> String {
        let because = |figure: &Figure| figure.clone().err().unwrap_or_default();
        match verdict {
            Verdict::NotRecovered => because(&self.recover),
            Verdict::Degraded => because(&self.p99),
            Verdict::NotFelt => "neither backlog nor p99 left what they were before the kill".to_owned(),
            Verdict::Recovered | Verdict::Unknown => match (&self.drop, &self.recover) {
                (Ok(drop), Ok(recover)) => format!(
                    "throughput dropped {drop:.2} s after the kill, and {recover:.2} s later arrivals were answered at \
                     the offered rate again"
                ),
                _ => "arrivals were answered at the offered rate throughout".to_owned(),
            },
        }
    }
}

/// How much longer than `usual_ms` answers took that came after the kill, to what arrived before `until`.
fn debt(course: &Course, usual_ms: f64, until: f64) -> f64 {
    let of = course.arrivals.iter().filter(|arrival| arrival.due < until);
    let after = of.filter(|arrival| arrival.answer.is_some_and(|answer| answer.at > course.killed_at));
    after.filter_map(Arrival::waited).map(|waited| (waited - usual_ms / 1e3).max(0.0)).sum()
}

#[cfg(test)]
mod tests;
