//! A worker that is killed on purpose while a run goes on.
//!
//! It is tied to an event, the answer of a certain number, and done by the process that hears of it first: the one in
//! which the sink is. A process is killed only when that one started it, or when the user named it.

use std::collections::{BTreeMap, BTreeSet};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use bench_isolate::text::bounded;
use bench_record::evidence::{Killed, KilledProcess, Victim};
use bench_record::time::UtcTime;
use bench_workloads::instance::monotonic_ns;
use serde::{Deserialize, Serialize};

use super::processes::{below, command_line, descends, started, status_field};
use super::workers::{Place, kill, place};

/// Bytes of a command line that are kept.
const LONGEST_COMMAND: usize = 300;

/// What is to be killed, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    pub what: Victim,
    /// Once so many queries are answered.
    pub after: u64,
    /// The process that the user named, and when it started: its number may be another's by then.
    pub named: Option<(u32, u64)>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kill {
    Done(Killed),
    /// Why nothing was killed.
    Spared(String),
}

impl Kill {
    /// In a line.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Done(killed) => {
                let [first, more @ ..] = &killed.processes[..] else {
                    return format!("killed {}", killed.what.name());
                };
                let more =
                    if more.is_empty() { String::new() } else { format!(" and {} below it", more.len()) };
                format!(
                    "killed {} after {} answers: process {} ({}){more}",
                    killed.what.name(),
                    killed.after,
                    first.pid,
                    first.shown()
                )
            }
            Self::Spared(why) => format!("nothing was killed: {why}"),
        }
    }
}

/// A loss that is still to come.
#[derive(Debug)]
pub struct Armed {
    loss: Loss,
    struck: AtomicBool,
}

impl Armed {
    /// An operator panics by itself, at its record: the run's parameters have that.
    #[must_use]
    pub fn new(loss: Loss) -> Option<Self> {
        (loss.what != Victim::Operator).then(|| Self { loss, struck: AtomicBool::new(false) })
    }

    /// Whether it is time, which it is once.
    pub fn is_due(&self, answered: u64) -> bool {
        answered >= self.loss.after && !self.struck.swap(true, Ordering::Relaxed)
    }

    /// Kills. `threads` are those of this machine that ran operators, with their calls.
    pub fn strike(&self, answered: u64, in_flight: u64, threads: &BTreeMap<u32, u64>) -> Kill {
        let mut workers: BTreeMap<u32, u64> = BTreeMap::new();
        for (thread, calls) in threads {
            *workers.entry(status_field(*thread, "Tgid").unwrap_or(*thread)).or_default() += calls;
        }
        let victims = match self.loss.named {
            Some((pid, began)) => named(pid, began).map(|()| vec![pid]),
            None => busiest(&workers).and_then(|busiest| match self.loss.what {
                Victim::Node => node(busiest, &workers).map(below),
                _ => Ok(vec![busiest]),
            }),
        };
        let victims = match victims {
            Ok(victims) => victims,
            Err(why) => return Kill::Spared(why),
        };
        let calls = victims.iter().filter_map(|pid| workers.get(pid)).sum();
        let about: Vec<_> = victims
            .into_iter()
            .map(|pid| KilledProcess { pid, command: bounded(&command_line(pid), LONGEST_COMMAND) })
            .collect();
        let (at, monotonic_ns) = (UtcTime::now(), monotonic_ns());
        let aimed = about.first().map_or(0, |first| first.pid);
        if let Err(cause) = kill(aimed) {
            return Kill::Spared(format!("process {aimed} cannot be killed: {cause}"));
        }
        // Those below it may have ended with it.
        about.iter().skip(1).for_each(|process| _ = kill(process.pid));
        Kill::Done(Killed {
            what: self.loss.what,
            after: answered,
            at: Some(at),
            monotonic_ns: Some(monotonic_ns),
            processes: about,
            calls: Some(calls),
            in_flight: Some(in_flight),
            operator: None,
        })
    }
}

/// Whether a process that the user named is still the one that was meant.
fn named(pid: u32, began: u64) -> Result<(), String> {
    match started(pid) {
        Some(now) if now == began => Ok(()),
        _ => Err(format!("process {pid} ended by itself before")),
    }
}

/// Why a process may not be named.
#[must_use]
pub fn is_ours(pid: u32) -> Option<String> {
    let own = process::id();
    let wrong = pid <= 1 || pid == own || descends(own, pid);
    wrong.then(|| format!("process {pid} is bench itself, or what it was started by"))
}

/// The worker with the most calls, if it may be killed.
fn busiest(workers: &BTreeMap<u32, u64>) -> Result<u32, String> {
    let in_order = workers.iter().max_by_key(|(_, calls)| **calls);
    let Some((busiest, _)) = in_order else {
        return Err("no operator ran on this machine".to_owned());
    };
    match place(*busiest) {
        Place::Below => Ok(*busiest),
        Place::Here => {
            Err("its operators run in the plugin's own process: there is no worker to kill".to_owned())
        }
        Place::Elsewhere => Err("its workers were not started by this run".to_owned()),
    }
}

/// The root of the node that a worker is of: the highest process above it that is not above all workers.
fn node(worker: u32, workers: &BTreeMap<u32, u64>) -> Result<u32, String> {
    let chains: Vec<BTreeSet<u32>> = workers.keys().map(|pid| chain(*pid).into_iter().collect()).collect();
    let above = chain(worker);
    let parts = above.iter().rev().find(|pid| !chains.iter().all(|chain| chain.contains(pid)));
    parts.copied().ok_or_else(|| "all operators ran in one process: there is one node".to_owned())
}

/// A process and those above it, as far as this one, which is not among them.
fn chain(process: u32) -> Vec<u32> {
    let own = process::id();
    let up = |pid: &u32| status_field(*pid, "PPid").filter(|parent| *parent > 1 && *parent != own);
    std::iter::successors(Some(process), up).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that waits for its input to end, which it does with this test. It has said something, so it is what it
    /// was started as.
    fn waiting() -> Child {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"here\n").unwrap();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        child
    }

    /// A process with two that it started, and their numbers.
    fn node_of_two() -> (Child, [u32; 2]) {
        let words = "exec 3<&0; cat <&3 & echo $!; cat <&3 & echo $!; wait";
        let mut shell = Command::new("sh");
        let mut shell =
            shell.args(["-c", words]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap().parse().unwrap();
        let two = [next(), next()];
        (shell, two)
    }

    fn armed(what: Victim, named: Option<(u32, u64)>) -> Armed {
        Armed::new(Loss { what, after: 10, named }).unwrap()
    }

    fn killed(kill: Kill) -> Killed {
        match kill {
            Kill::Done(killed) => killed,
            Kill::Spared(why) => panic!("{why}"),
        }
    }

    #[test]
    fn it_is_due_once_from_its_answer_on() {
        let armed = armed(Victim::Worker, None);
        assert!(!armed.is_due(9));
        assert!(armed.is_due(11) && !armed.is_due(12));
    }

    #[test]
    fn the_worker_that_did_the_most_is_killed_and_told_of() {
        let (mut idle, mut busy) = (waiting(), waiting());
        let threads = BTreeMap::from([(idle.id(), 3), (busy.id(), 40)]);
        let kill = armed(Victim::Worker, None).strike(12, 5, &threads);
        assert!(kill.words().starts_with("killed a worker after 12 answers: process "), "{}", kill.words());
        let killed = killed(kill);
        assert_eq!(killed.processes, [KilledProcess { pid: busy.id(), command: "cat".into() }]);
        assert_eq!((killed.after, killed.calls, killed.in_flight), (12, Some(40), Some(5)));
        assert_eq!(busy.wait().unwrap().signal(), Some(9));
        assert_eq!(idle.try_wait().unwrap(), None, "the other lives");
        drop(idle.stdin.take());
        idle.wait().unwrap();
    }

    #[test]
    fn a_node_goes_with_all_its_processes_and_no_other() {
        let ((mut first, in_first), (mut second, in_second)) = (node_of_two(), node_of_two());
        let calls = |(pid, calls): (u32, u64)| (pid, calls);
        let threads = [(in_first[0], 9), (in_first[1], 1), (in_second[0], 4), (in_second[1], 4)];
        let threads: BTreeMap<u32, u64> = threads.into_iter().map(calls).collect();
        let killed = killed(armed(Victim::Node, None).strike(10, 0, &threads));
        let pids: BTreeSet<u32> = killed.processes.iter().map(|process| process.pid).collect();
        assert_eq!(pids, BTreeSet::from([first.id(), in_first[0], in_first[1]]));
        assert_eq!((killed.processes[0].pid, killed.calls), (first.id(), Some(10)));
        assert_eq!(first.wait().unwrap().signal(), Some(9));
        drop(second.stdin.take());
        assert!(second.wait().unwrap().success());
    }

    #[test]
    fn nobody_is_killed_who_is_not_the_runs_and_the_reason_is_said() {
        let own = process::id();
        for (threads, why) in [
            (
                BTreeMap::from([(own, 5)]),
                "its operators run in the plugin's own process: there is no worker to kill",
            ),
            (BTreeMap::from([(1, 5)]), "its workers were not started by this run"),
            (BTreeMap::new(), "no operator ran on this machine"),
        ] {
            for what in [Victim::Worker, Victim::Node] {
                assert_eq!(armed(what, None).strike(10, 0, &threads), Kill::Spared(why.to_owned()));
            }
        }
    }

    #[test]
    fn whom_the_user_names_is_killed_unless_it_is_another_by_then() {
        let mut child = waiting();
        let began = started(child.id()).unwrap();
        let none = BTreeMap::new();
        let other = armed(Victim::Process, Some((child.id(), began + 1))).strike(10, 0, &none);
        assert_eq!(other, Kill::Spared(format!("process {} ended by itself before", child.id())));
        let killed = killed(armed(Victim::Process, Some((child.id(), began))).strike(10, 0, &none));
        assert_eq!((killed.processes[0].pid, killed.calls), (child.id(), Some(0)));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        for pid in [0, 1, own_parent(), process::id()] {
            assert!(is_ours(pid).is_some(), "{pid}");
        }
    }

    fn own_parent() -> u32 {
        std::os::unix::process::parent_id()
    }
}
