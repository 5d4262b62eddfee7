//! Items, answers and counts, each against the smallest correct engine on the same work.

use std::time::Instant;

use super::super::case::Case;
use super::super::probe::Twist;
use super::super::trial::{Ran, Trial, ours};
use super::super::{Area, Test, TestResult, Verdict, require};
use super::child;
use bench_isolate::load::LoadedBackend;
use bench_isolate::plugin_api::dataflow::graph::{Node, Partition};
use bench_measure::workloads::parameters::FAULT;

pub const TESTS: [Test; 17] = [
    test(
        "every-item-once",
        1,
        "Each query is read, and answered exactly once: a lost or doubled item makes every figure of a run false.",
        every_item,
    ),
    test(
        "counts-are-true",
        1,
        "The number of results that the backend reports is the number the sink got.",
        counts,
    ),
    test(
        "answers-are-right",
        2,
        "The digest of all answers of Workload4 is that of the reference engine: fast and wrong is not ranked.",
        answers,
    ),
    test(
        "answers-are-right-in-parallel",
        2,
        "With eight instances an operator the answers are the same: records are routed by key, and by nothing else.",
        parallel,
    ),
    test(
        "every-stage-is-right",
        2,
        "What each operator wrote for each query is what it should be, so that keyed state saw its records, each in order.",
        stages,
    ),
    test(
        "out-of-order-input",
        2,
        "With the events of each batch in random order the answers are the same: operators order them, engines must not drop any.",
        shuffled,
    ),
    test(
        "late-input",
        2,
        "With documents one batch late the answers are the same: a join that waits must be let wait, not flushed early.",
        late,
    ),
    test(
        "backpressure",
        2,
        "With room for hardly more than one batch under way, the run still ends: results leave while more events are waited for.",
        backpressure,
    ),
    test(
        "batch-size-is-the-specs",
        1,
        "Events are asked for in batches of the size the spec gives: it is equal for every backend, or they are not comparable.",
        batch_size,
    ),
    test(
        "zero-items",
        1,
        "A stream without any event is a run that ends at once, without results and without an error.",
        zero,
    ),
    test(
        "one-item",
        1,
        "A single query, less than any batch, is answered and not held back for company.",
        one,
    ),
    test("many-items", 1, "Some thousand queries pass, many times what may be under way at once.", many),
    test(
        "huge-items",
        1,
        "Queries of a mebibyte come out as they went in: nothing has a buffer of fixed size.",
        huge,
    ),
    test(
        "non-ascii-items",
        1,
        "Text in any script, with control characters and NULs, comes out as it went in: records are bytes.",
        scripts,
    ),
    test(
        "failed-records-arrive",
        1,
        "A record that an operator fails on travels on as a tombstone, so that its query is counted as failed and no other is.",
        failed,
    ),
    test(
        "account-is-readable",
        1,
        "Time and metrics that the backend reports are finite numbers and JSON of sensible size: they go into the record.",
        account,
    ),
    test(
        "phases-are-known",
        1,
        "Phases are reported, under the names that reports know: start-up is not to be mistaken for work.",
        phases,
    ),
];

const fn test(name: &'static str, weight: u32, why: &'static str, run: fn(&Case) -> TestResult) -> Test {
    child(Area::Results, name, weight, why, run)
}

/// Runs, and wants everything right: counts, answers, account.
pub fn all_right(
    case: &Case,
    backend: &dyn LoadedBackend,
    trial: &Trial,
) -> Result<Ran, bench_isolate::Error> {
    let ran = trial.on(case, backend)?;
    let processed = ran.account()?.items_processed;
    let wrong = ran.wrong(trial.plan.num_tasks.into());
    require(wrong.is_none(), || wrong.unwrap_or_default())?;
    let differs = ran.differs(&trial.oracle(case)?);
    require(differs.is_none(), || differs.unwrap_or_default())?;
    let arrived = ran.sunk.completed + ran.sunk.failed;
    require(processed == arrived, || format!("it counted {processed} results where the sink got {arrived}"))?;
    Ok(ran)
}

fn right(case: &Case, trial: impl FnOnce(&Case) -> Result<Trial, bench_isolate::Error>) -> TestResult {
    case.with_ready(|backend| all_right(case, backend, &trial(case)?).map(|_| Verdict::Success))
}

fn every_item(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let ran = Trial::null(case, 200).on(case, backend)?;
        ran.account()?;
        let wrong = ran.wrong(200).or_else(|| ran.imitated());
        require(wrong.is_none(), || wrong.unwrap_or_default())?;
        Ok(Verdict::Success)
    })
}

fn counts(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let ran = Trial::null(case, 77).on(case, backend)?;
        let (counted, arrived) = (ran.account()?.items_processed, ran.sunk.completed + ran.sunk.failed);
        require(counted == arrived, || format!("it counted {counted} results where the sink got {arrived}"))?;
        Ok(Verdict::Success)
    })
}

fn answers(case: &Case) -> TestResult {
    right(case, |case| Ok(Trial::real(case, 60)))
}

fn parallel(case: &Case) -> TestResult {
    right(case, |case| Ok(Trial::real(case, 60).parallel(8)))
}

fn stages(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let trial = Trial::real(case, 60).parallel(4);
        let ran = all_right(case, backend, &trial)?;
        let differs = ran.stage_that_differs(&trial.oracle(case)?, &trial.nodes_of_queries());
        require(differs.is_none(), || {
            let (query, node) = differs.unwrap_or_default();
            format!("node {node} wrote something else for {query} than it should")
        })?;
        Ok(Verdict::Success)
    })
}

fn shuffled(case: &Case) -> TestResult {
    right(case, |case| Ok(Trial::real(case, 60).parallel(4).twisted(Twist::Shuffle)))
}

fn late(case: &Case) -> TestResult {
    right(case, |case| Ok(Trial::real(case, 60).parallel(4).twisted(Twist::LateDocuments)))
}

fn backpressure(case: &Case) -> TestResult {
    right(case, |case| {
        let mut trial = Trial::real(case, 120).parallel(4);
        let held = trial.plan.graph().map_or(32, |graph| graph.min_in_flight);
        trial.plan.max_in_flight = held + trial.plan.parity_batch_size;
        Ok(trial)
    })
}

fn batch_size(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let mut trial = Trial::null(case, 60);
        trial.plan.parity_batch_size = 7;
        let ran = all_right(case, backend, &trial)?;
        let other = ran.seen.asked.iter().find(|asked| **asked != 7);
        require(other.is_none(), || {
            format!("it asked for {} events at once where the spec says 7", other.unwrap_or(&0))
        })?;
        Ok(Verdict::Success)
    })
}

fn zero(case: &Case) -> TestResult {
    right(case, |case| Ok(Trial::null(case, 0)))
}

fn one(case: &Case) -> TestResult {
    right(case, |case| Ok(Trial::null(case, 1).parallel(4)))
}

fn many(case: &Case) -> TestResult {
    right(case, |case| Ok(Trial::null(case, 3000).parallel(4)))
}

fn huge(case: &Case) -> TestResult {
    right(case, |case| {
        let texts: Vec<String> = (0..12).map(|i| format!("{i} ").repeat(1 << 19)).collect();
        let mut trial = Trial::null(case, 12).saying(case, &texts)?;
        trial.plan.parity_batch_size = 4;
        Ok(trial)
    })
}

fn scripts(case: &Case) -> TestResult {
    right(case, |case| {
        let texts = [
            "Straße, 東京, Ωμέγα, здравствуй",
            "مرحبا بالعالم",
            "\u{202e}reversed\u{202c} and \u{200d} joined 👩‍👩‍👧‍👦",
            "a NUL \u{0} in the middle, an escape \u{1b}[31m, a bell \u{7}",
            "line\nbreaks\r\nand\ttabs",
            "\u{fffd}\u{feff}\u{10ffff}",
            "{\"looks\": \"like JSON\"}",
            "'; DROP TABLE results; --",
        ];
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Trial::null(case, 8).saying(case, &texts)
    })
}

fn failed(case: &Case) -> TestResult {
    right(case, |case| {
        let mut trial = Trial::null(case, 60).parallel(4);
        // One part of the query fails, the others arrive.
        let graph = trial.plan.graph().map_err(ours)?;
        let sends_by_key = |node: &&Node| graph.outputs(node.id).any(|edge| edge.partition == Partition::Key);
        let part = graph.operators().find(sends_by_key).map_or("", |node| &node.name);
        let fault = format!("raise:{part}:7").into();
        trial.plan.workload.parameters().set(&mut trial.plan.params, FAULT, fault).map_err(ours)?;
        Ok(trial)
    })
}

fn account(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let started = Instant::now();
        let ran = Trial::null(case, 50).on(case, backend)?;
        let (stated, took) = (ran.account()?.elapsed_seconds, started.elapsed().as_secs_f64());
        Ok(if stated > took {
            Verdict::Failed(format!(
                "it says that its run took {stated:.3} s; from outside it was {took:.3} s"
            ))
        } else {
            Verdict::Success
        })
    })
}

fn phases(case: &Case) -> TestResult {
    const KNOWN: [&str; 6] = ["start-up", "deploy", "warm-up", "steady", "drain", "teardown"];
    case.with_ready(|backend| {
        let ran = Trial::null(case, 20).on(case, backend)?;
        ran.account()?;
        let other = ran.seen.phases.iter().find(|phase| !KNOWN.contains(&phase.as_str()));
        Ok(match other {
            Some(phase) => {
                Verdict::Warning(format!("it reports the phase `{phase}`; known are {}", KNOWN.join(", ")))
            }
            None if ran.seen.phases.is_empty() => Verdict::Warning("it reports no phase at all".into()),
            None => Verdict::Success,
        })
    })
}
