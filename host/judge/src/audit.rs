//! Does a backend take shortcuts that a comparison would not see?
//!
//! A run is repeated with other inputs, which nobody told the backend of. What it answers is held against what bench
//! itself computes; a wrong answer is enough. How fast it is is held against the run as it was recorded, in rounds: a
//! shortcut is one that was there in *every* round, and large. A round in which it was not there settles that it is
//! none, so that honest backends are done with after one or two.

use serde::Serialize;

/// What a run is repeated with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// What it was recorded with.
    AsRecorded,
    /// Some queries fewer.
    Fewer,
    /// The same queries in another order.
    OtherOrder,
    /// Other queries, by another seed.
    OtherSeed,
    /// The same number of queries, most of which say again what others say.
    Repeated,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::AsRecorded, Self::Fewer, Self::OtherOrder, Self::OtherSeed, Self::Repeated];
    /// Those that are compared with the run as it was recorded.
    pub const COMPARED: [Self; 4] = [Self::Fewer, Self::OtherOrder, Self::OtherSeed, Self::Repeated];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AsRecorded => "as recorded",
            Self::Fewer => "some queries fewer",
            Self::OtherOrder => "another order",
            Self::OtherSeed => "another seed",
            Self::Repeated => "queries repeated",
        }
    }

    /// What is asked with it.
    #[must_use]
    pub fn question(self) -> &'static str {
        match self {
            Self::AsRecorded => "was it right when nobody looked?",
            Self::Fewer => "does it know the run by its size?",
            Self::OtherOrder => "does it depend on the order?",
            Self::OtherSeed => "does it know the seed?",
            Self::Repeated => "does it remember answers?",
        }
    }

    /// What a shortcut is called.
    fn shortcut(self) -> &'static str {
        match self {
            Self::AsRecorded => "its answers are not those to its queries",
            Self::Fewer => "faster on exactly as many queries as were recorded",
            Self::OtherOrder => "faster in the order that was recorded",
            Self::OtherSeed => "faster with the seed that was recorded",
            Self::Repeated => "faster where queries say again what others said",
        }
    }
}

/// How many times as fast a shortcut makes a backend at least.
pub const FACTOR: f64 = 1.5;

/// In how many rounds it has to be there.
pub const ROUNDS: u32 = 6;

/// The answer to a question, and of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No shortcut was found.
    Honest,
    /// It could not be said.
    Unknown,
    /// A shortcut was found.
    Shortcut,
}

/// A run of the audit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    pub round: u32,
    pub variant: Variant,
    pub seed: u64,
    pub items: u64,
    pub throughput: f64,
    /// What is wrong with its answers.
    pub wrong: Option<String>,
    /// Why its answers say nothing.
    pub unknown: Option<String>,
}

/// A question, and its answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    pub variant: Variant,
    pub question: &'static str,
    pub outcome: Outcome,
    pub why: String,
    /// How many times as fast the backend was where the shortcut would work, round by round.
    pub gains: Vec<f64>,
}

/// What an audit of one backend and configuration came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub backend: String,
    pub workload: String,
    /// Of the record.
    pub run_id: String,
    pub config_hash: Option<String>,
    /// Where the other seeds and orders come from.
    pub seed: u64,
    pub outcome: Outcome,
    pub answers: Vec<Answer>,
    pub runs: Vec<Run>,
}

/// How many times as fast the backend was where a shortcut would work, in each round in which both were run.
fn gains(runs: &[Run], variant: Variant) -> Vec<f64> {
    let of = |variant: Variant| runs.iter().filter(move |run| run.variant == variant);
    let pairs = of(Variant::AsRecorded).filter_map(|recorded| {
        let other = of(variant).find(|run| run.round == recorded.round)?;
        Some((recorded.throughput, other.throughput))
    });
    let positive = pairs.filter(|(recorded, other)| *recorded > 0.0 && *other > 0.0);
    let gain = |(recorded, other): (f64, f64)| match variant {
        Variant::Repeated => other / recorded,
        _ => recorded / other,
    };
    positive.map(gain).collect()
}

/// Whether more rounds could show a shortcut.
#[must_use]
pub fn is_open(runs: &[Run], variant: Variant, rounds: u32) -> bool {
    let gains = gains(runs, variant);
    (gains.len() as u32) < rounds && gains.iter().all(|gain| *gain >= FACTOR)
}

/// What the runs say. `recorded` is what is wrong with the answers of the record itself, or why that is not known.
#[must_use]
pub fn judge(runs: &[Run], recorded: Result<Option<String>, String>, rounds: u32) -> Vec<Answer> {
    Variant::ALL.map(|variant| answer(runs, variant, &recorded, rounds)).into()
}

fn answer(runs: &[Run], variant: Variant, recorded: &Result<Option<String>, String>, rounds: u32) -> Answer {
    let own = || runs.iter().filter(move |run| run.variant == variant);
    let gains = if variant == Variant::AsRecorded { Vec::new() } else { gains(runs, variant) };
    let of_record = if variant == Variant::AsRecorded { recorded.clone() } else { Ok(None) };
    let wrong = own().find_map(|run| run.wrong.clone());
    let unknown = own().find_map(|run| run.unknown.clone());
    let least = gains.iter().copied().fold(f64::INFINITY, f64::min);
    let (outcome, why) = match (of_record, wrong, unknown) {
        (Ok(Some(wrong)), ..) => (Outcome::Shortcut, format!("when it was recorded, {wrong}")),
        (_, Some(wrong), _) => (Outcome::Shortcut, format!("with {}, {wrong}", variant.name())),
        (_, _, Some(unknown)) => (Outcome::Unknown, unknown),
        _ if gains.len() as u32 >= rounds && least >= FACTOR => {
            let often = format!(
                "{} by a factor of {least:.1} at least, in each of {rounds} rounds",
                variant.shortcut()
            );
            (Outcome::Shortcut, often)
        }
        (Err(unknown), ..) => (Outcome::Honest, format!("every answer is right now; {unknown}")),
        _ if gains.is_empty() => (Outcome::Honest, "every answer is right, then and now".to_owned()),
        _ if is_open(runs, variant, rounds) => (Outcome::Unknown, "not every round was run".to_owned()),
        _ => (Outcome::Honest, "every answer is right, and it is no faster".to_owned()),
    };
    Answer { variant, question: variant.question(), outcome, why, gains }
}

/// The worst of the answers.
#[must_use]
pub fn overall(answers: &[Answer]) -> Outcome {
    answers.iter().map(|answer| answer.outcome).max().unwrap_or(Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(round: u32, variant: Variant, throughput: f64) -> Run {
        Run { round, variant, seed: 42, items: 100, throughput, wrong: None, unknown: None }
    }

    /// Rounds of the run as it was recorded and of one variant.
    fn rounds(variant: Variant, speeds: &[(f64, f64)]) -> Vec<Run> {
        let of = |(round, (recorded, other)): (u32, &(f64, f64))| {
            [run(round, Variant::AsRecorded, *recorded), run(round, variant, *other)]
        };
        (0..).zip(speeds).flat_map(of).collect()
    }

    fn outcome(runs: &[Run], variant: Variant) -> Outcome {
        let answers = judge(runs, Ok(None), ROUNDS);
        answers.into_iter().find(|answer| answer.variant == variant).unwrap().outcome
    }

    #[test]
    fn a_shortcut_is_large_and_there_in_every_round() {
        let large = rounds(Variant::OtherSeed, &[(500.0, 100.0); 6]);
        assert_eq!(outcome(&large, Variant::OtherSeed), Outcome::Shortcut);
        let small = rounds(Variant::OtherSeed, &[(120.0, 100.0); 6]);
        assert_eq!(outcome(&small, Variant::OtherSeed), Outcome::Honest);
        let mut once = large.clone();
        once[9].throughput = 490.0;
        assert_eq!(outcome(&once, Variant::OtherSeed), Outcome::Honest);
        assert_eq!(outcome(&large[..6], Variant::OtherSeed), Outcome::Unknown, "three rounds are too few");
    }

    #[test]
    fn what_remembers_is_faster_on_what_it_remembers() {
        let cache = rounds(Variant::Repeated, &[(100.0, 400.0); 6]);
        assert_eq!(outcome(&cache, Variant::Repeated), Outcome::Shortcut);
        let none = rounds(Variant::Repeated, &[(400.0, 100.0)]);
        assert_eq!(outcome(&none, Variant::Repeated), Outcome::Honest, "slower is no shortcut");
    }

    #[test]
    fn one_round_without_it_settles_that_there_is_none() {
        assert!(is_open(&rounds(Variant::OtherOrder, &[(500.0, 100.0)]), Variant::OtherOrder, ROUNDS));
        let settled = rounds(Variant::OtherOrder, &[(500.0, 100.0), (100.0, 100.0)]);
        assert!(!is_open(&settled, Variant::OtherOrder, ROUNDS));
    }

    #[test]
    fn a_wrong_answer_is_enough_now_or_then() {
        let mut runs = rounds(Variant::Repeated, &[(100.0, 100.0)]);
        runs[1].wrong = Some("the answer to q is wrong".to_owned());
        assert_eq!(outcome(&runs, Variant::Repeated), Outcome::Shortcut);
        assert_eq!(outcome(&runs, Variant::AsRecorded), Outcome::Honest);
        let then = judge(&runs[..1], Ok(Some("the answer to q is wrong".to_owned())), ROUNDS);
        assert_eq!((then[0].outcome, overall(&then)), (Outcome::Shortcut, Outcome::Shortcut));
    }
}
