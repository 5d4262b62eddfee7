//! What disturbed a run while its queries were timed.
//!
//! Machine and processes are read when the first timed query is handed out and when the last is answered.
//! There are two accounts of what others used between the two:
//!
//! * **Theirs**: the sum of their CPU clocks. It is fine enough for a window of some milliseconds, but it
//!   knows nothing of processes that cannot be seen, and of those that came and went in between only what
//!   their parents waited for, in jiffies.
//! * **The machine's**: cores × time, less what was idle or stolen, less what the run used. It misses
//!   nobody, but it is in jiffies.
//!
//! Theirs is taken, unless the machine's shows more than both inaccuracies explain, or somebody is hidden.
//! An account that is coarser than what would be judged by it says nothing. A run whose timed queries take
//! less time than a clock's tick needs to be told apart is then looked at from its start on, its preparations
//! included; when that is too short as well, the figure is null.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use bench_record::evidence::{Disturbance, Resolution};

use super::processes::{Reading, Table, jiffies, tree};

/// Largest share of CPU time stolen by the hypervisor that a valid run may have.
pub const MOST_STEAL: f64 = 0.02;
/// Largest share of CPU time used by other processes that one may have.
pub const MOST_OTHERS: f64 = 0.15;

/// What belongs to a run.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// The process at the root of the run's tree.
    pub root: i32,
    /// The process that reads, bench itself.
    pub host: i32,
    /// Workers outside of the tree.
    pub workers: BTreeSet<i32>,
    /// The roots of servers that the user declared.
    pub servers: Vec<i32>,
}

/// Whose a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Run,
    Servers,
    Others,
}

impl Own {
    fn whose(&self, reading: &Reading) -> impl Fn(i32) -> Whose + use<> {
        let below = |root: &i32| tree(&reading.processes, *root);
        let mut own: HashSet<i32> = self.workers.iter().flat_map(below).collect();
        own.extend(tree(&reading.processes, self.root));
        own.insert(self.host);
        let of_servers: HashSet<i32> = self.servers.iter().flat_map(below).collect();
        move |pid| match (own.contains(&pid), of_servers.contains(&pid)) {
            (true, _) => Whose::Run,
            (false, true) => Whose::Servers,
            (false, false) => Whose::Others,
        }
    }
}

/// Seconds, and how far they can be off.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seconds {
    used: f64,
    within: f64,
}

/// What disturbed a run that was started, then `began` its timed queries and `ended` them.
#[must_use]
pub fn disturbance(started: &Reading, began: &Reading, ended: &Reading, own: &Own) -> Disturbance {
    let mut timed = between(began, ended, own);
    if timed.others.is_none() {
        let whole = between(started, ended, own);
        if whole.others.is_some() {
            timed.others = whole.others;
            timed.others_window_seconds = whole.window_seconds;
            timed.resolution.others = whole.resolution.others;
            timed.unknown.remove("others");
        }
    }
    timed
}

/// What happened between two readings of one machine.
fn between(first: &Reading, last: &Reading, own: &Own) -> Disturbance {
    let window = last.at.saturating_sub(first.at).as_secs_f64();
    let (Some(before), Some(after)) = (first.machine, last.machine) else {
        return Disturbance::unknown("/proc/stat cannot be read");
    };
    if before.cores != after.cores {
        return Disturbance::unknown("cores came or went while queries were timed");
    }
    let all = f64::from(before.cores) * window;
    if all <= 0.0 {
        return Disturbance::unknown(
            "the first timed query and the last answer were seen at the same moment",
        );
    }
    let declared = !own.servers.is_empty();
    let Used { own, servers, others } = used(first, last, own);
    let jiffy = jiffies(1).as_secs_f64();
    let stolen = seconds_between(before.steal, after.steal);
    let idle = seconds_between(before.idle, after.idle);
    let spread = (first.took + last.took).as_secs_f64() * f64::from(before.cores);
    // Idle and waiting for a disk are two counters.
    let machines = Seconds {
        used: (all - idle - stolen - own.used - servers.used).max(0.0),
        within: 3.0 * jiffy + own.within + servers.within + spread,
    };
    let everyone = first.sees_everyone && last.sees_everyone;
    let hidden = machines.used - machines.within > others.used + others.within;
    let others = if hidden || !everyone { machines } else { others };
    let share = |seconds: f64| (seconds / all).clamp(0.0, 1.0);
    let resolution = Resolution {
        steal: Some(share(jiffy)),
        others: Some(share(others.within)),
        servers: declared.then(|| share(servers.within)),
    };
    let mut disturbance = Disturbance {
        steal: Some(share(stolen)),
        others: Some(share(others.used)),
        own: Some(share(own.used)),
        servers: declared.then(|| share(servers.used)),
        window_seconds: Some(window),
        others_window_seconds: None,
        resolution,
        unknown: BTreeMap::new(),
    };
    leave_out_what_is_too_coarse(&mut disturbance, everyone);
    disturbance
}

fn leave_out_what_is_too_coarse(found: &mut Disturbance, everyone: bool) {
    let window = found.window_seconds.unwrap_or_default();
    let mut check = |name: &str, figure: &mut Option<f64>, within: Option<f64>, most: f64, why: &str| {
        if let Some(within) = within.filter(|within| *within > most) {
            *figure = None;
            let sentence = format!(
                "a window of {window:.3} s is too short: {why} tells it to within {:.0} % of the machine's CPU time, and {:.0} % matter",
                within * 100.0,
                most * 100.0
            );
            found.unknown.insert(name.to_owned(), sentence);
        }
    };
    let why = if everyone {
        "the clocks of processes that run"
    } else {
        "/proc/stat, for not every process is to be seen,"
    };
    check("others", &mut found.others, found.resolution.others, MOST_OTHERS, why);
    check("servers", &mut found.servers, found.resolution.servers, MOST_OTHERS, why);
    check("steal", &mut found.steal, found.resolution.steal, MOST_STEAL, "/proc/stat");
}

fn seconds_between(before: Duration, after: Duration) -> f64 {
    after.saturating_sub(before).as_secs_f64()
}

/// What the run, its declared servers and all others used between two readings.
struct Used {
    own: Seconds,
    servers: Seconds,
    others: Seconds,
}

fn used(first: &Reading, last: &Reading, own: &Own) -> Used {
    let (before, after) = (own.whose(first), own.whose(last));
    let select = |reading: &Reading, whose: &dyn Fn(i32) -> Whose, wanted: Whose| -> Table {
        let wanted = reading.processes.iter().filter(|(pid, _)| whose(**pid) == wanted);
        wanted.map(|(pid, process)| (*pid, *process)).collect()
    };
    let side = |whose: Whose| Side {
        then: select(first, &before, whose),
        now: select(last, &after, whose),
        window: last.at.saturating_sub(first.at),
    };
    let cores = last.machine.map_or(1, |machine| machine.cores);
    // A clock that is behind at the start makes the difference too large, one behind at the end too small:
    // it is off by the larger of the two at most, not by both.
    let lag = |reading: &Reading| reading.tick + reading.took;
    let lag = lag(first).max(lag(last));
    // We run ourselves while we read, so that one core less is left to the others.
    Used {
        own: side(Whose::Run).used(cores, lag),
        servers: side(Whose::Servers).used(cores, lag),
        others: side(Whose::Others).used(cores.saturating_sub(1), lag),
    }
}

/// Some of the processes, at either end of the window.
struct Side {
    then: Table,
    now: Table,
    window: Duration,
}

impl Side {
    /// What they used between the two. On so many `cores` a clock may have been behind, by `lag` at either end.
    fn used(&self, cores: u32, lag: Duration) -> Seconds {
        let mut clocks = Duration::ZERO;
        let mut waited = Duration::ZERO;
        let mut within = Duration::ZERO;
        let mut running = 0;
        for (pid, now) in &self.now {
            let then = self.then.get(pid).filter(|then| then.started == now.started);
            let clock = now.cpu.saturating_sub(then.map_or(Duration::ZERO, |then| then.cpu));
            clocks += clock;
            let more = now.waited.saturating_sub(then.map_or(Duration::ZERO, |then| then.waited));
            if !more.is_zero() {
                waited += more;
                // Time of the user's and of the system's code are two counters.
                within += jiffies(2);
            }
            let was_running = now.running || then.is_some_and(|then| then.running);
            running += self.threads_kept_busy(clock).max(u32::from(was_running));
        }
        // What those that ended had used before the first reading is no part of the window. Had nobody
        // waited for them, it would be taken off for nothing: hence never below zero.
        let ended = self
            .then
            .iter()
            .filter(|(pid, then)| self.now.get(pid).is_none_or(|now| now.started != then.started));
        let ended: Duration = ended.map(|(_, then)| then.cpu + then.waited).sum();
        within += running.min(cores) * lag;
        Seconds { used: (clocks + waited.saturating_sub(ended)).as_secs_f64(), within: within.as_secs_f64() }
    }

    /// How many threads of a process with this CPU time probably run at any moment: the state of a process is
    /// that of its first thread only.
    fn threads_kept_busy(&self, clock: Duration) -> u32 {
        const IDLE: f64 = 0.05;
        let cores = clock.as_secs_f64() / self.window.as_secs_f64();
        if cores < IDLE { 0 } else { cores.ceil() as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processes::tests::{MadeUp, ms};
    use super::*;

    const OWN: Own = Own { root: 10, host: 5, workers: BTreeSet::new(), servers: Vec::new() };

    /// Two cores; a run below process 10, which bench, process 5, watches; a stranger, process 7.
    fn machine() -> MadeUp {
        let made = MadeUp::new();
        made.machine(2, 50_000, 0);
        made.process(5, 1, 'S', 20, 0);
        made.process(10, 5, 'S', 1, 0);
        made.process(11, 10, 'S', 300, 0);
        made.process(7, 1, 'S', 9_000, 500);
        made
    }

    fn after(made: &MadeUp, first: &Reading) -> Disturbance {
        between(first, &made.read(), &OWN)
    }

    fn close(figure: Option<f64>, to: f64) -> bool {
        figure.is_some_and(|figure| (figure - to).abs() < 1e-9)
    }

    #[test]
    fn a_window_of_a_few_milliseconds_on_an_idle_machine_has_no_others() {
        let made = machine();
        let first = made.read();
        made.later(ms(30));
        // The run used one core; all jiffies of the machine are too coarse to show anything of it.
        made.process(11, 10, 'R', 330, 0);
        made.process(5, 1, 'R', 22, 0);
        let found = after(&made, &first);
        assert_eq!((found.others, found.resolution.others), (Some(0.0), Some(0.0)));
        assert!(close(found.own, 32.0 / 60.0) && close(found.window_seconds, 0.030), "{found:?}");
        assert_eq!(found.steal, None);
        assert!(found.unknown["steal"].contains("a window of 0.030 s is too short"), "{found:?}");
    }

    #[test]
    fn a_busy_loop_is_seen_in_the_same_window() {
        let made = machine();
        let first = made.read();
        made.later(ms(60));
        made.process(7, 1, 'R', 9_050, 500);
        made.machine(2, 50_070, 0);
        let found = after(&made, &first);
        assert!(close(found.others, 50.0 / 120.0), "{found:?}");
        // It runs: its clock may be a tick behind.
        assert!(close(found.resolution.others, 4.0 / 120.0), "{found:?}");
    }

    #[test]
    fn a_server_that_was_declared_is_none_of_the_others_and_neither_are_its_children() {
        let made = machine();
        made.process(20, 1, 'S', 4_000, 0);
        made.process(21, 20, 'S', 1_000, 0);
        let first = made.read();
        made.later(ms(600));
        made.process(20, 1, 'S', 4_300, 0);
        made.process(21, 20, 'S', 1_180, 0);
        made.process(7, 1, 'S', 9_060, 500);
        made.machine(2, 50_660, 0);
        let found = between(&first, &made.read(), &Own { servers: vec![20], ..OWN });
        assert!(close(found.servers, 0.4) && close(found.others, 0.05), "{found:?}");
        let silent = between(&first, &made.read(), &OWN);
        assert_eq!(silent.servers, None);
        assert!(close(silent.others, 0.45), "{silent:?}");
    }

    #[test]
    fn a_window_too_short_to_tell_is_looked_at_from_the_runs_start() {
        let made = machine();
        let started = made.read();
        made.later(ms(60));
        made.process(7, 1, 'R', 9_050, 500);
        let began = made.read();
        made.later(ms(6));
        made.process(11, 10, 'S', 306, 0);
        made.process(7, 1, 'R', 9_054, 500);
        made.machine(2, 50_070, 0);
        let ended = made.read();
        assert_eq!(between(&began, &ended, &OWN).others, None);
        let found = disturbance(&started, &began, &ended, &OWN);
        assert!(close(found.others, 54.0 / 132.0), "{found:?}");
        assert!(close(found.resolution.others, 4.0 / 132.0), "{found:?}");
        assert!(close(found.window_seconds, 0.006) && close(found.others_window_seconds, 0.066), "{found:?}");
        assert!(close(found.own, 6.0 / 12.0) && !found.unknown.contains_key("others"), "{found:?}");
    }

    #[test]
    fn a_window_long_enough_is_all_that_counts() {
        let made = machine();
        let started = made.read();
        made.later(ms(500));
        made.process(7, 1, 'S', 9_900, 500);
        made.machine(2, 50_100, 0);
        let began = made.read();
        made.later(ms(500));
        made.machine(2, 51_100, 0);
        let found = disturbance(&started, &began, &made.read(), &OWN);
        assert!(close(found.others, 0.0) && close(found.window_seconds, 0.5), "{found:?}");
        assert_eq!(found.others_window_seconds, None);
    }

    #[test]
    fn threads_behind_the_first_are_noticed_by_what_they_use() {
        let made = MadeUp::new();
        made.machine(8, 50_000, 0);
        made.process(7, 1, 'S', 0, 0);
        let first = made.read();
        made.later(ms(100));
        made.machine(8, 50_000 + 800 - 250, 0);
        made.process(7, 1, 'S', 250, 0);
        let found = after(&made, &first);
        assert!(close(found.others, 250.0 / 800.0), "{found:?}");
        assert!(close(found.resolution.others, 3.0 * 4.0 / 800.0), "{found:?}");
    }

    #[test]
    fn what_the_run_used_after_its_last_sample_is_its_own() {
        let made = machine();
        made.process(12, 11, 'S', 5_000, 0);
        let first = made.read();
        made.later(ms(1_000));
        made.machine(2, 50_000 + 1_000, 0);
        // A worker used 900 ms more and ended; its parent has waited for it.
        made.ends(12);
        made.process(11, 10, 'S', 400, 5_900);
        let found = after(&made, &first);
        assert!(close(found.own, 0.5) && close(found.others, 0.0), "{found:?}");
    }

    #[test]
    fn a_worker_of_a_cluster_that_was_joined_is_the_runs_own() {
        let made = machine();
        let first = made.read();
        made.later(ms(1_000));
        made.machine(2, 50_000 + 1_000, 0);
        made.process(7, 1, 'S', 10_000, 500);
        let joined = Own { workers: [7].into(), ..OWN };
        assert!(close(between(&first, &made.read(), &joined).others, 0.0));
        assert!(close(after(&made, &first).others, 0.5));
    }

    #[test]
    fn an_orphan_of_the_run_stays_its_own() {
        let made = machine();
        made.process(12, 11, 'S', 0, 0);
        let first = made.read();
        made.later(ms(1_000));
        // Its parent has gone, and the root of the run, which adopts, has waited for that one.
        made.ends(11);
        made.process(10, 5, 'S', 1, 300);
        made.process(12, 10, 'R', 800, 0);
        made.machine(2, 50_000 + 1_200, 0);
        let found = after(&made, &first);
        assert!(close(found.own, 0.4) && close(found.others, 0.0), "{found:?}");
    }

    #[test]
    fn a_number_that_came_round_is_another_process() {
        let made = machine();
        made.process(1_100, 1, 'S', 60_000, 0);
        let first = made.read();
        made.later(ms(1_000));
        made.machine(2, 50_000 + 1_800, 0);
        made.ends(1_100);
        made.process(1_100, 1, 'S', 200, 0);
        let mut last = made.read();
        last.processes.get_mut(&1_100).unwrap().started += 5;
        let found = between(&first, &last, &OWN);
        assert!(close(found.others, 0.1), "{found:?}");
    }

    #[test]
    fn processes_that_came_and_went_are_known_from_who_waited_for_them() {
        let made = machine();
        let first = made.read();
        made.later(ms(200));
        made.process(7, 1, 'S', 9_005, 500 + 100);
        made.machine(2, 50_000 + 295, 0);
        let found = after(&made, &first);
        assert!(close(found.others, 105.0 / 400.0), "{found:?}");
        assert!(close(found.resolution.others, 20.0 / 400.0), "{found:?}");
        // In a tenth of that window the same would be within the jiffies.
        let first = made.read();
        made.later(ms(20));
        made.process(7, 1, 'S', 9_007, 600 + 10);
        let found = after(&made, &first);
        assert_eq!(found.others, None);
        assert!(found.unknown["others"].contains("15 % matter"), "{found:?}");
    }

    #[test]
    fn an_ended_process_that_nobody_waited_for_hides_no_other() {
        let made = machine();
        made.process(8, 1, 'S', 40_000, 0);
        let first = made.read();
        made.later(ms(200));
        made.ends(8);
        made.process(7, 1, 'S', 9_100, 500);
        made.machine(2, 50_000 + 300, 0);
        assert!(close(after(&made, &first).others, 100.0 / 400.0));
    }

    #[test]
    fn what_no_process_explains_is_in_the_machines_account() {
        let made = machine();
        let first = made.read();
        made.later(ms(2_000));
        // 4 s of two cores: 1.6 idle, 0.4 stolen, 1 the run's: 1 is left, and process 7 used nothing.
        made.machine(2, 50_000 + 1_600, 400);
        made.process(11, 10, 'S', 1_300, 0);
        let found = after(&made, &first);
        assert!(close(found.others, 0.25) && close(found.own, 0.25) && close(found.steal, 0.1), "{found:?}");
        // Three counters of jiffies, and a tick for the run's own thread.
        assert!(close(found.resolution.others, (0.03 + 0.004) / 4.0), "{found:?}");
    }

    #[test]
    fn in_a_container_the_machine_tells_when_the_window_is_long_enough() {
        let made = machine();
        made.namespace("pid:[4026532200]");
        let first = made.read();
        made.later(ms(30));
        made.machine(2, 50_000 + 20, 0);
        let found = after(&made, &first);
        assert_eq!(found.others, None);
        assert!(found.unknown["others"].contains("not every process is to be seen"), "{found:?}");
        made.later(ms(2_970));
        made.machine(2, 50_000 + 3_000, 0);
        let found = after(&made, &first);
        assert!(close(found.others, 0.5), "{found:?}");
    }

    #[test]
    fn without_a_window_there_are_reasons_and_no_figures() {
        let made = machine();
        let first = made.read();
        let found = after(&made, &first);
        assert_eq!((found.others, found.steal, found.own), (None, None, None));
        assert!(found.unknown["others"].contains("same moment"), "{found:?}");
        let found = between(&first, &Reading { machine: None, ..first.clone() }, &OWN);
        assert_eq!(found.unknown["steal"], "/proc/stat cannot be read");
    }
}
