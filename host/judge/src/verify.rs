//! `bench verify A B`: may these two results be compared, and are they equal?
//!
//! Comparable means that the same work was done: workload, seed, nodes, parallelism and
//! `config_hash`; and that there are answers at all. Another host or plugin API does not change the work, so it is
//! remarked and no more. Equal means that the answers are: the digests, or else the first items that differ.

use std::collections::BTreeSet;

use super::equality::{self, Difference, Outcome};
use super::kept::{self, Altered};
use super::model::{Collected, Setting};

/// The answer to both questions.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Verification {
    /// What follows.
    pub verdict: Agreement,
    /// What makes them incomparable.
    pub obstacles: Vec<Differing>,
    /// What differs and does not matter to the answers.
    pub remarks: Vec<Differing>,
    /// Where answers part.
    pub differences: Vec<Difference>,
    /// Files beside the records that are no longer what the runs wrote: then nothing is proven.
    pub altered: Vec<Altered>,
}

/// In a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// Comparable, and the answers are equal.
    Equal,
    /// Comparable, and the answers differ.
    Different,
    /// Comparable, but some runs prove nothing about their answers.
    Unproven,
    /// Not the same work, or no answers.
    NotComparable,
}

impl Verification {
    /// Whether both sides have answers.
    pub fn has_answers(&self) -> bool {
        self.obstacles.iter().all(|obstacle| obstacle.what != ANSWERS)
    }
}

/// The obstacle that a side without answers is.
const ANSWERS: &str = "answers";

/// One thing that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Differing {
    /// What it is.
    pub what: &'static str,
    /// Its values in A.
    pub a: String,
    /// Its values in B.
    pub b: String,
}

/// Compares A with B.
pub fn verify(a: &Collected, b: &Collected) -> Verification {
    let setting = |what, value: fn(&Setting) -> String| {
        let values = |side: &Collected| side.settings.iter().map(value).collect::<BTreeSet<_>>();
        differing(what, &values(a), &values(b))
    };
    // Where pairs have seeds of their own, the same ones: what only one side answered is not compared.
    let seeds = |side: &Collected| {
        let fixed = side.settings.iter().filter(|setting| !setting.drawn).map(|setting| setting.seed);
        let drawn = side.groups.iter().filter(|group| side.settings[group.setting].drawn);
        let drawn = drawn.flat_map(|group| &group.digests).map(|digest| digest.input);
        fixed.chain(drawn).map(|seed| seed.to_string()).collect::<BTreeSet<_>>()
    };
    let known = |what, value: fn(&super::model::Run) -> Option<String>| {
        let values = |side: &Collected| side.runs.iter().filter_map(value).collect::<BTreeSet<_>>();
        differing(what, &values(a), &values(b))
    };
    let obstacles = [
        setting("workload", |s| s.workload.clone()),
        setting("config_hash", |s| s.config_hash.clone().unwrap_or_else(|| "n/a".into())),
        differing("seed", &seeds(a), &seeds(b)),
        setting("nodes", |s| s.nodes.to_string()),
        setting("parallelism", |s| s.parallelism.to_string()),
        // Part of the configuration's hash; here it has a name.
        known("embedding endpoint", |run| run.evidence.embedding_in_words()),
    ]
    .into_iter()
    .flatten();
    let obstacles: Vec<Differing> = unanswered(a, b).into_iter().chain(obstacles).collect();
    let remarks = [
        known("backend", |run| Some(run.backend.clone())),
        known("plugin API", |run| run.evidence.plugin.api.clone()),
        known("host", |run| run.evidence.host_in_words()),
    ];
    let checks = equality::check(&side_by_side(a, b));
    let outcomes: Vec<Outcome> = checks.iter().map(|check| check.outcome).collect();
    let altered: Vec<Altered> = [a, b].into_iter().flat_map(kept::altered).collect();
    let verdict = if !obstacles.is_empty() {
        Agreement::NotComparable
    } else if outcomes.contains(&Outcome::Differ) {
        Agreement::Different
    } else if !altered.is_empty()
        || outcomes.is_empty()
        || outcomes.iter().any(|outcome| *outcome != Outcome::Equal)
    {
        Agreement::Unproven
    } else {
        Agreement::Equal
    };
    let differences = checks.into_iter().flat_map(|check| check.differences).collect();
    let remarks = remarks.into_iter().flatten().collect();
    Verification { verdict, obstacles, remarks, differences, altered }
}

/// Sides with no answers to verify. Two of them are not equal: there is nothing that could be.
fn unanswered(a: &Collected, b: &Collected) -> Option<Differing> {
    let without = |side: &Collected| side.groups.iter().map(|group| group.unanswered).sum::<u64>();
    let all = |side: &Collected| side.groups.iter().all(super::model::Group::is_unanswered);
    let shown = |side: &Collected| match without(side) {
        0 => "some in every run".to_owned(),
        some => format!("none in {some} of {} runs", side.records),
    };
    (all(a) || all(b)).then(|| Differing { what: ANSWERS, a: shown(a), b: shown(b) })
}

fn differing(what: &'static str, a: &BTreeSet<String>, b: &BTreeSet<String>) -> Option<Differing> {
    let shown = |values: &BTreeSet<String>| match values.is_empty() {
        true => "n/a".to_owned(),
        false => values.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    (a != b).then(|| Differing { what, a: shown(a), b: shown(b) })
}

/// Both results as if their backends were called "A: name" and "B: name", over common settings.
fn side_by_side(a: &Collected, b: &Collected) -> Collected {
    let mut both = Collected::default();
    for (side, name) in [(a, "A"), (b, "B")] {
        for group in &side.groups {
            let setting = &side.settings[group.setting];
            let place = both.settings.iter().position(|s| s == setting).unwrap_or_else(|| {
                both.settings.push(setting.clone());
                both.settings.len() - 1
            });
            let mut group = group.clone();
            group.setting = place;
            group.backend = format!("{name}: {}", group.backend);
            both.groups.push(group);
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{collected, drawn, paired};
    use serde_json::{Value, json};

    fn verified(change: impl Fn(&mut Value)) -> Verification {
        let a = paired(&[("sage", &[1.0])]);
        let mut b = paired(&[("ray", &[2.0])]);
        change(&mut b[0]);
        verify(&collected(&a), &collected(&b))
    }

    #[test]
    fn the_same_work_with_the_same_answers_is_equal() {
        let verification = verified(|_| ());
        assert_eq!((verification.verdict, verification.obstacles.len()), (Agreement::Equal, 0));
        assert_eq!(verification.remarks[0].what, "backend");
    }

    #[test]
    fn pairs_with_seeds_of_their_own_are_verified_seed_by_seed() {
        let a = drawn(&[("sage", &[1.0, 2.0, 3.0])]);
        let of = |b: &[Value]| verify(&collected(&a), &collected(b));
        let mut b = drawn(&[("ray", &[5.0, 6.0, 7.0])]);
        assert_eq!(of(&b).verdict, Agreement::Equal);
        b[2]["extra"]["output_digest"] = json!("d1");
        assert_eq!(of(&b).verdict, Agreement::Different);
        let fewer = of(&b[..2]);
        assert_eq!(fewer.verdict, Agreement::NotComparable, "the third seed was not run");
        let obstacle = &fewer.obstacles[0];
        assert_eq!((obstacle.what, &*obstacle.a, &*obstacle.b), ("seed", "42, 43, 44", "42, 43"));
    }

    #[test]
    fn another_model_behind_the_embedding_endpoint_is_not_comparable_and_named() {
        let verification = verified(|b| b["extra"]["embedding_endpoint"] = json!({"fingerprint": "00ff"}));
        assert_eq!(verification.verdict, Agreement::NotComparable);
        let obstacle = &verification.obstacles[0];
        assert_eq!((obstacle.what, obstacle.b.as_str()), ("embedding endpoint", "fingerprint 00ff"));
    }

    #[test]
    fn another_configuration_is_not_comparable_and_both_values_are_given() {
        let verification = verified(|b| b["config_hash"] = json!("b000"));
        assert_eq!(verification.verdict, Agreement::NotComparable);
        let expected = Differing { what: "config_hash", a: "a3f1".into(), b: "b000".into() };
        assert_eq!(verification.obstacles, [expected]);
    }

    #[test]
    fn other_answers_are_different_and_none_is_unproven() {
        let different = verified(|b| b["extra"]["output_digest"] = json!("d2"));
        assert_eq!((different.verdict, different.differences.len()), (Agreement::Different, 1));
        assert_eq!(verified(|b| b["extra"] = json!({})).verdict, Agreement::Unproven);
    }

    #[test]
    fn without_answers_nothing_is_comparable_whatever_the_digests_say() {
        let unanswered = |count: usize| {
            let mut records = paired(&[("sage", &[1.0, 2.0])]);
            records.iter_mut().take(count).for_each(|record| record["success_rate"] = json!(0.0));
            collected(&records)
        };
        let (none, some, all) = (unanswered(2), unanswered(1), unanswered(0));
        for (a, b) in [(&none, &none), (&none, &all), (&all, &none)] {
            let verification = verify(a, b);
            assert_eq!((verification.verdict, verification.has_answers()), (Agreement::NotComparable, false));
        }
        let obstacle = &verify(&none, &all).obstacles[0];
        assert_eq!((obstacle.a.as_str(), obstacle.b.as_str()), ("none in 2 of 2 runs", "some in every run"));
        assert_eq!(verify(&some, &all).verdict, Agreement::Unproven);
        assert_eq!(verify(&all, &all).verdict, Agreement::Equal);
    }

    #[test]
    fn another_host_is_remarked() {
        let verification = verified(|b| b["extra"]["host"] = json!({"cores": 4}));
        assert_eq!(verification.verdict, Agreement::Equal);
        assert!(verification.remarks.iter().any(|r| r.what == "host" && r.b == "cores 4"));
    }
}
