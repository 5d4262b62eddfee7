//! What a backend does with machines and processes other than its own.

use super::super::case::Case;
use super::super::probe::Twist;
use super::super::trial::{Ran, Trial};
use super::super::{Area, Test, TestResult, Verdict};
use super::child;
use bench_isolate::{Error, ErrorKind};
use bench_measure::clocks::WorkerUse;
use bench_measure::nodes;
use bench_measure::workers::Ended;

pub const TESTS: [Test; 2] = [
    test(
        "several-nodes-or-a-clear-no",
        2,
        "Asked for three nodes the backend runs operators on three and says on which, or says that it cannot: a record that \
         names three where there was one is false.",
        several_nodes,
    ),
    test(
        "a-lost-worker-is-no-lost-item",
        4,
        "When a process that runs operators is killed, each item is answered once all the same, or the run ends with an \
         error that says so: it is never a success with items lost, and never a hang.",
        lost_worker,
    ),
];

const fn test(name: &'static str, weight: u32, why: &'static str, run: fn(&Case) -> TestResult) -> Test {
    child(Area::Behaviour, name, weight, why, run)
}

fn several_nodes(case: &Case) -> TestResult {
    const ASKED: u32 = 3;
    const ITEMS: u32 = 120;
    case.with_ready(|backend| {
        let mut trial = Trial::null(case, ITEMS).parallel(ASKED);
        trial.plan.nodes = ASKED;
        let ran = trial.on(case, backend)?;
        Ok(match &ran.account {
            Err(error) if error.kind == ErrorKind::Unsupported => refusal_of_nodes(error),
            Err(error) => Verdict::Failed(format!("its error is not of the kind `unsupported`: {error}")),
            Ok(account) => {
                let workers = ran.sunk.workers();
                let verified = nodes::verify(ASKED, &account.metrics, &workers).err();
                match ran.wrong(ITEMS.into()).or(verified).or_else(|| too_few_processes(ASKED, &workers)) {
                    Some(wrong) => Verdict::Failed(wrong),
                    None => Verdict::Success,
                }
            }
        })
    })
}

fn refusal_of_nodes(error: &Error) -> Verdict {
    if error.to_string().contains("node") {
        return Verdict::Success;
    }
    Verdict::Warning(format!("its refusal does not say that it is about nodes: {error}"))
}

/// A check has one machine, so whatever a node is called, its processes are here to be seen.
fn too_few_processes(asked: u32, workers: &[WorkerUse]) -> Option<String> {
    let few = workers.len() < asked as usize;
    few.then(|| {
        format!("it says that there were {asked} nodes, and results came from {} processes", workers.len())
    })
}

fn lost_worker(case: &Case) -> TestResult {
    const ITEMS: u32 = 2_000;
    case.with_ready(|backend| {
        let ran = Trial::null(case, ITEMS).twisted(Twist::LoseWorkers).on(case, backend)?;
        let killed: Vec<u32> = ran.seen.lost.iter().filter_map(killed).collect();
        if killed.is_empty() {
            return Ok(Verdict::Skipped(why_none(&ran)));
        }
        let after = match killed[..] {
            [one] => format!("after its process {one} was killed"),
            _ => format!("after its processes {killed:?} were killed one by one"),
        };
        Ok(match &ran.account {
            Ok(_) => match ran.wrong(ITEMS.into()) {
                Some(wrong) => Verdict::Failed(format!("{after} it reported success, but {wrong}")),
                None => Verdict::Success,
            },
            Err(error) if error.kind == ErrorKind::Panic => {
                Verdict::Failed(format!("{after} it panicked: {error}"))
            }
            Err(error) if says_what_was_lost(&error.to_string(), &killed) => Verdict::Success,
            Err(error) => {
                Verdict::Warning(format!("{after} its error does not say that a process was lost: {error}"))
            }
        })
    })
}

fn killed(ended: &Ended) -> Option<u32> {
    match ended {
        Ended::Killed(process) => Some(*process),
        Ended::InProcess | Ended::NotOurs => None,
    }
}

fn why_none(ran: &Ran) -> String {
    match ran.seen.lost.first() {
        Some(Ended::NotOurs) => "its workers are not below its own process",
        Some(_) => "its operators run in its own process",
        None => "it emitted nothing before the events ended",
    }
    .to_owned()
}

/// Words of which an error about a lost process has one.
const WORDS: [&str; 10] =
    ["worker", "process", "node", "actor", "died", "dead", "lost", "killed", "sigkill", "driver"];

fn says_what_was_lost(error: &str, killed: &[u32]) -> bool {
    let error = error.to_lowercase();
    WORDS.iter().any(|word| error.contains(word)) || killed.iter().any(|pid| error.contains(&pid.to_string()))
}
