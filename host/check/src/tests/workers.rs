//! What a backend does with machines and processes other than its own.

use super::super::case::Case;
use super::super::probe::Twist;
use super::super::trial::{Ran, Trial, ours};
use super::super::workers::Ended;
use super::super::{Area, Test, TestResult, Verdict};
use super::child;
use bench_isolate::load::LoadedBackend;
use bench_isolate::{Error, ErrorKind};
use bench_measure::clocks::WorkerUse;
use bench_measure::nodes;
use bench_measure::workloads::parameters::ATTEMPTS;

pub const TESTS: [Test; 3] = [
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
    test(
        "retries-make-good-a-lost-worker",
        2,
        "With --retries a backend that loses a process gives the answers that it would have given without, also where \
         operators keep state. One that cannot says so.",
        made_good,
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

/// Queries of a run that loses workers.
const ITEMS: u32 = 2_000;
/// How often each is to be tried again where losses are to be made good: as often as a worker is lost.
const RETRIES: u32 = 3;

fn lost_worker(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let trial = Trial::null(case, ITEMS);
        Ok(match run_with_losses(case, backend, trial)? {
            Lossy::None(why) => Verdict::Skipped(why),
            Lossy::Ended(verdict) => verdict,
            Lossy::Answered(..) => Verdict::Success,
        })
    })
}

fn made_good(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let mut trial = Trial::null(case, ITEMS);
        let table = trial.plan.workload.parameters();
        table.set(&mut trial.plan.params, ATTEMPTS, (RETRIES + 1).into()).map_err(ours)?;
        let right = trial.oracle(case)?.digest;
        Ok(match run_with_losses(case, backend, trial)? {
            Lossy::None(why) => Verdict::Skipped(why),
            Lossy::Ended(Verdict::Success) => Verdict::Skipped(format!(
                "it ends a run that lost a worker, with --retries {RETRIES} as without, and says so"
            )),
            Lossy::Ended(verdict) => verdict,
            Lossy::Answered(ran, after) => match ran.items.iter().filter(|item| !item.ok).count() {
                0 if ran.digest == right => Verdict::Success,
                0 => Verdict::Failed(format!("{after} its answers are others than without")),
                failed => Verdict::Warning(format!(
                    "{after} {failed} of {ITEMS} queries failed, with --retries {RETRIES} as without"
                )),
            },
        })
    })
}

/// What became of a run whose workers were killed.
enum Lossy {
    /// There were none to kill.
    None(String),
    /// It ended without all of the answers, and how that is judged.
    Ended(Verdict),
    /// Each query was answered once, and a clause that says after what.
    Answered(Box<Ran>, String),
}

fn run_with_losses(case: &Case, backend: &dyn LoadedBackend, trial: Trial) -> Result<Lossy, Error> {
    let ran = trial.twisted(Twist::LoseWorkers).on(case, backend)?;
    let killed: Vec<u32> = ran.seen.lost.iter().filter_map(killed).collect();
    if killed.is_empty() {
        return Ok(Lossy::None(why_none(&ran)));
    }
    let after = match killed[..] {
        [one] => format!("after its process {one} was killed"),
        _ => format!("after its processes {killed:?} were killed one by one"),
    };
    Ok(Lossy::Ended(match &ran.account {
        Ok(_) => match ran.wrong(ITEMS.into()) {
            Some(wrong) => Verdict::Failed(format!("{after} it reported success, but {wrong}")),
            None => return Ok(Lossy::Answered(Box::new(ran), after)),
        },
        Err(error) if error.kind == ErrorKind::Panic => {
            Verdict::Failed(format!("{after} it panicked: {error}"))
        }
        Err(error) if says_what_was_lost(&error.to_string(), &killed) => Verdict::Success,
        Err(error) => {
            Verdict::Warning(format!("{after} its error does not say that a process was lost: {error}"))
        }
    }))
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
