//! What workers used that bench did not start, by their own accounts.
//!
//! The kernel's account of a run is of the process tree below bench. Workers of a cluster that a run joins are outside of
//! it. Each of them says, whenever its clock is asked for ([`super::clocks`]), what CPU time it has used, the most memory
//! that it ever had, and how busy its machine has been: what lies between the first answer, at deploy, and the last, at
//! the end of the stream, is the run's. Where an answer is missing the figure is null.

use std::collections::{BTreeMap, BTreeSet};

use bench_record::evidence;
use bench_workloads::place::Place;
use serde::{Deserialize, Serialize};

use super::clocks::{MOST_WORKERS, Reading, Usage};
use super::processes::jiffies;
use super::window::MOST_OTHERS;

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ns: Option<u64>,
    usage: Option<Usage>,
}

/// A process at the first and at the last time it was asked.
#[derive(Debug)]
struct Worker {
    host: String,
    first: Sample,
    last: Option<Sample>,
}

impl Worker {
    fn cpu_ns(&self) -> Option<u64> {
        Some(self.last?.usage?.cpu_ns.saturating_sub(self.first.usage?.cpu_ns))
    }

    fn peak_bytes(&self) -> Option<u64> {
        self.last.unwrap_or(self.first).usage.map(|usage| usage.peak_bytes)
    }

    /// CPU time that the machine could give, and that it gave, between the two.
    fn of_machine_ns(&self) -> Option<(u64, u64)> {
        let (last, first) = (self.last?, self.first.usage?);
        let cores = last.usage?.machine_cores.filter(|cores| Some(*cores) == first.machine_cores)?;
        let all = last.at_ns?.saturating_sub(self.first.at_ns?).saturating_mul(cores.into());
        Some((all, last.usage?.machine_busy_ns?.saturating_sub(first.machine_busy_ns?)))
    }
}

/// What is to be said of the workers outside of the run's tree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    pub machines: Vec<evidence::Machine>,
    /// CPU time of all of them.
    pub cpu_seconds: f64,
    /// Why that is not known, where it is not.
    pub unknown: Option<String>,
    /// Some share this machine's cores and have process ids that mean nothing here.
    pub hidden_here: bool,
}

impl Outside {
    /// Whether there are any.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.machines.is_empty() || self.unknown.is_some()
    }
}

const SILENT: &str =
    "operators ran in processes that bench did not start, and the backend did not say what they used";

/// Everything that workers outside of the run's tree said.
#[derive(Debug, Default)]
pub struct Outsiders {
    /// By place and process id.
    workers: BTreeMap<(Place, u32), Worker>,
    /// More than are taken note of.
    left_out: bool,
}

impl Outsiders {
    /// Takes note of answers of workers that are not of the run's tree.
    pub fn take<'a>(&mut self, readings: impl Iterator<Item = &'a Reading>) {
        for reading in readings {
            let key = (reading.place.clone(), reading.process);
            let sample = Sample { at_ns: reading.read_ns, usage: reading.usage };
            if let Some(worker) = self.workers.get_mut(&key) {
                worker.last = Some(sample);
            } else if self.workers.len() < MOST_WORKERS {
                let worker = Worker { host: reading.host_name(), first: sample, last: None };
                self.workers.insert(key, worker);
            } else {
                self.left_out = true;
            }
        }
    }

    /// Processes of a place that said anything.
    #[must_use]
    pub fn processes(&self, place: &Place) -> BTreeSet<u32> {
        let of = self.workers.keys().filter(|(there, _)| there == place);
        of.map(|(_, process)| *process).collect()
    }

    /// Whether a process of a place said anything.
    #[must_use]
    pub fn know(&self, place: &Place, process: u32) -> bool {
        self.workers.contains_key(&(place.clone(), process))
    }

    /// What is known of all of them in the end. `silent`: operators ran in processes that nobody told of.
    #[must_use]
    pub fn outside(&self, here: &Place, silent: bool) -> Outside {
        let mut hosts: BTreeMap<(&str, &str), Vec<&Worker>> = BTreeMap::new();
        for ((place, _), worker) in &self.workers {
            hosts.entry((&worker.host, &place.clock.boot)).or_default().push(worker);
        }
        let machines: Vec<evidence::Machine> =
            hosts.iter().map(|((host, boot), workers)| self.machine(host, boot, workers, here)).collect();
        let missing = machines.iter().find(|machine| machine.cpu_seconds.is_none());
        let missing = missing.map(|machine| {
            format!("not every worker on `{}` said at both ends of the run what it had used", machine.host)
        });
        let left_out = self.left_out.then(|| format!("there are more than {MOST_WORKERS} workers"));
        let hidden =
            |(place, _): &(Place, u32)| place.clock.boot == here.clock.boot && place.pids != here.pids;
        Outside {
            cpu_seconds: machines.iter().filter_map(|machine| machine.cpu_seconds).sum(),
            unknown: silent.then(|| SILENT.to_owned()).or(missing).or(left_out),
            hidden_here: self.workers.keys().any(hidden),
            machines,
        }
    }

    fn machine(&self, host: &str, boot: &str, workers: &[&Worker], here: &Place) -> evidence::Machine {
        let seconds = |ns: u64| ns as f64 / 1e9;
        // Hosts that share a kernel share its cores. What others used on this one is told by `disturbance`.
        let of_kernel = self.workers.iter().filter(|((place, _), _)| place.clock.boot == boot);
        let ours = of_kernel.map(|(_, worker)| worker.cpu_ns()).sum::<Option<u64>>();
        let others = || {
            let (all, busy) = workers.iter().filter_map(|worker| worker.of_machine_ns()).max()?;
            // Three counters of the machine, in jiffies.
            let exact_enough = seconds(all) * MOST_OTHERS > 3.0 * jiffies(1).as_secs_f64();
            exact_enough.then_some((busy.saturating_sub(ours?) as f64 / all as f64).min(1.0))
        };
        evidence::Machine {
            host: host.to_owned(),
            workers: workers.len() as u64,
            cpu_seconds: workers.iter().map(|worker| worker.cpu_ns()).sum::<Option<u64>>().map(seconds),
            largest_worker_bytes: workers.iter().map(|worker| worker.peak_bytes()).max().flatten(),
            others: if boot == here.clock.boot { None } else { others() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clocks::tests::place;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn reading(boot: &str, process: u32, at: u64, usage: Option<Usage>) -> Reading {
        Reading {
            host: format!("host-{boot}"),
            place: place(boot),
            process,
            threads: Vec::new(),
            sent_ns: None,
            read_ns: Some(at * SECOND),
            received_ns: None,
            usage,
        }
    }

    /// What a process says that used so many seconds, on a machine of two cores that were busy for so many.
    fn used(cpu: u64, busy: u64) -> Option<Usage> {
        let (machine_busy_ns, machine_cores) = (Some(busy * SECOND), Some(2));
        Some(Usage { cpu_ns: cpu * SECOND, peak_bytes: 100 + cpu, machine_busy_ns, machine_cores })
    }

    fn outside(readings: &[Reading]) -> Outside {
        let mut outsiders = Outsiders::default();
        outsiders.take(readings.iter());
        outsiders.outside(&place("here"), false)
    }

    #[test]
    fn what_lies_between_the_first_answer_and_the_last_is_the_runs() {
        let found = outside(&[
            reading("b", 1, 100, used(40, 1_000)),
            reading("b", 2, 100, used(0, 1_000)),
            reading("c", 1, 5, used(7, 20)),
            reading("b", 1, 110, used(43, 1_008)),
            reading("b", 2, 110, used(2, 1_008)),
            reading("c", 1, 15, used(8, 21)),
        ]);
        assert_eq!((found.cpu_seconds, &found.unknown, found.hidden_here), (6.0, &None, false));
        let figures = |machine: &evidence::Machine| (machine.cpu_seconds, machine.others);
        // Of 20 seconds of two cores b's workers used 5 and others 3.
        assert_eq!(figures(&found.machines[0]), (Some(5.0), Some(0.15)));
        assert_eq!(figures(&found.machines[1]), (Some(1.0), Some(0.0)));
        assert_eq!((found.machines[0].workers, found.machines[0].largest_worker_bytes), (2, Some(143)));
    }

    #[test]
    fn a_worker_that_did_not_answer_twice_or_says_nothing_makes_the_figure_unknown() {
        for last in [None, Some(reading("b", 2, 110, None))] {
            let mut readings = vec![
                reading("b", 1, 100, used(0, 0)),
                reading("b", 2, 100, used(0, 0)),
                reading("b", 1, 110, used(1, 1)),
            ];
            readings.extend(last);
            let found = outside(&readings);
            assert_eq!(found.machines[0].cpu_seconds, None);
            assert_eq!(found.machines[0].others, None);
            assert!(found.unknown.unwrap().contains("not every worker on `host-b` said"));
        }
    }

    #[test]
    fn hosts_that_share_this_kernel_share_its_cores() {
        let mut apart = [reading("here", 1, 1, used(0, 0)), reading("here", 1, 11, used(5, 9))];
        apart.iter_mut().for_each(|reading| reading.place.pids = "others".to_owned());
        let found = outside(&apart);
        assert!(found.hidden_here);
        assert_eq!((found.machines[0].cpu_seconds, found.machines[0].others), (Some(5.0), None));
    }

    #[test]
    fn a_time_too_short_for_jiffies_says_nothing_of_others() {
        let mut readings = [reading("b", 1, 0, used(0, 0)), reading("b", 1, 0, used(0, 0))];
        readings[1].read_ns = Some(20_000_000);
        assert_eq!(outside(&readings).machines[0].others, None);
    }

    #[test]
    fn an_answer_that_does_not_say_when_says_nothing_of_others() {
        let mut readings = [reading("b", 1, 0, used(0, 0)), reading("b", 1, 100, used(1, 50))];
        readings[0].read_ns = None;
        let found = outside(&readings);
        assert_eq!((found.machines[0].cpu_seconds, found.machines[0].others), (Some(1.0), None));
    }

    #[test]
    fn who_joined_nobody_is_outside_of_nothing() {
        assert!(!outside(&[]).any());
        let silent = Outsiders::default().outside(&place("here"), true);
        assert!(silent.any() && silent.unknown.unwrap().contains("did not say what they used"));
    }
}
