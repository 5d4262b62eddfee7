//! Where the time of queries went: inside operators, on the way, in the runtime, or waiting.
//!
//! No backend is asked. Each operator stamps a span onto the record (thread, start, time inside), and the
//! source and the sink have clocks of their own, so one rule holds for every runtime. Between two operators
//! there is a *hop*. The least time that a hop to an operator took between the same two processes is what it costs by
//! itself, the network between two machines included; whatever a query took longer, it waited: for a busy worker, for
//! the rest of its batch, behind backpressure.
//!
//! * **operator**: inside an operator;
//! * **transfer**: the least time of a hop between processes: serialisation, shipping, dispatch;
//! * **overhead**: the least time of a hop within a process: the runtime's scheduling;
//! * **queueing**: everything above that.
//!
//! Source and sink belong to the runner's process. A hop is charged to the operator that it leads to.
//!
//! A time by another machine's clock is known to within so much. Where two times are closer than that, neither is held
//! to be the earlier: nothing is taken off the time inside an operator.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::parent_id;

use bench_dataflow::frame::Span;
use bench_record::evidence;
use serde::{Deserialize, Serialize};

use super::clocks::{Clocks, Moment, Process};
use super::processes::{descends, status_field};

/// Threads whose process is kept.
const MOST_THREADS: usize = 1 << 16;
/// Pairs of processes whose hops to one operator are kept apart; a record may claim any number of them.
const MOST_PAIRS: usize = 1 << 14;

/// Sums over queries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub operator_ns: u64,
    pub queueing_ns: u64,
    pub transfer_ns: u64,
    pub overhead_ns: u64,
}

impl From<Parts> for evidence::Parts {
    fn from(parts: Parts) -> Self {
        let seconds = |ns: u64| ns as f64 / 1e9;
        Self {
            operator_seconds: seconds(parts.operator_ns),
            queueing_seconds: seconds(parts.queueing_ns),
            transfer_seconds: seconds(parts.transfer_ns),
            overhead_seconds: seconds(parts.overhead_ns),
        }
    }
}

impl std::iter::Sum for Parts {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            operator_ns: sum.operator_ns.saturating_add(part.operator_ns),
            queueing_ns: sum.queueing_ns.saturating_add(part.queueing_ns),
            transfer_ns: sum.transfer_ns.saturating_add(part.transfer_ns),
            overhead_ns: sum.overhead_ns.saturating_add(part.overhead_ns),
        })
    }
}

/// All hops between the same two processes to one place.
#[derive(Debug, Clone, Copy, Default)]
struct Hops {
    count: u64,
    total_ns: u64,
    least_ns: u64,
}

impl Hops {
    fn add(&mut self, ns: u64) {
        self.least_ns = if self.count == 0 { ns } else { self.least_ns.min(ns) };
        self.count += 1;
        self.total_ns = self.total_ns.saturating_add(ns);
    }

    fn unloaded_ns(&self) -> u64 {
        self.count.saturating_mul(self.least_ns)
    }
}

/// From one process to another.
type Pair = (Process, Process);

/// An operator, or the sink.
#[derive(Debug, Clone, Default)]
struct Place {
    operator_ns: u64,
    waited_ns: u64,
    /// Between the two that were seen first: where all is one process, those of all hops.
    first: Option<(Pair, Hops)>,
    others: BTreeMap<Pair, Hops>,
}

impl Place {
    fn hop(&mut self, from: Process, to: Process, ns: u64) {
        self.waited_ns = self.waited_ns.saturating_add(ns);
        let (pair, hops) = self.first.get_or_insert(((from, to), Hops::default()));
        if *pair == (from, to) {
            hops.add(ns);
        // What finds no room is queueing.
        } else if self.others.len() + 1 < MOST_PAIRS || self.others.contains_key(&(from, to)) {
            self.others.entry((from, to)).or_default().add(ns);
        }
    }

    fn hops(&self) -> impl Iterator<Item = (&Pair, &Hops)> {
        self.first.iter().map(|(pair, hops)| (pair, hops)).chain(&self.others)
    }

    fn parts(&self) -> Parts {
        let (mut transfer_ns, mut overhead_ns) = (0_u64, 0_u64);
        for ((from, to), hops) in self.hops() {
            let part = if from == to { &mut overhead_ns } else { &mut transfer_ns };
            *part = part.saturating_add(hops.unloaded_ns());
        }
        let unloaded_ns = transfer_ns.saturating_add(overhead_ns);
        let queueing_ns = self.waited_ns.saturating_sub(unloaded_ns);
        Parts { operator_ns: self.operator_ns, queueing_ns, transfer_ns, overhead_ns }
    }
}

/// The work of an operator on a query, by the sink's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub node: u16,
    pub start: Moment,
    pub busy_ns: u64,
    pub process: Process,
}

/// Follows queries from the source to the sink.
#[derive(Debug, Default)]
pub struct Attribution {
    /// By node id: whether queries pass it. Documents leave their spans on queries too.
    on_path: Vec<bool>,
    /// By node id. Nodes are in topological order, so the last is the sink.
    places: Vec<Place>,
    processes: BTreeMap<u32, u32>,
    /// Those of the threads that were asked for last, by their lowest bits.
    lately: [(u32, u32); 16],
    /// Processes of this place that are not of the run's tree.
    outsiders: BTreeSet<u32>,
    here: u32,
}

impl Attribution {
    /// `on_path` says by node id whether queries pass the node.
    #[must_use]
    pub fn new(on_path: Vec<bool>) -> Self {
        let places = vec![Place::default(); on_path.len()];
        Self { on_path, places, here: std::process::id(), ..Self::default() }
    }

    /// The process of a thread of this place. Asked when the thread is first seen, because later it may be gone; one
    /// that is counts as a process of its own.
    pub fn process_of(&mut self, thread: u32) -> u32 {
        let lately = thread as usize % self.lately.len();
        let (known, process) = self.lately[lately];
        // No thread has the number 0.
        if known == thread && thread != 0 {
            return process;
        }
        // Threads come and go for as long as a run goes on, and a record may claim any number of them.
        if self.processes.len() >= MOST_THREADS && !self.processes.contains_key(&thread) {
            self.processes.clear();
            self.lately = Default::default();
        }
        let (own, outsiders) = (self.here, &mut self.outsiders);
        let process = *self.processes.entry(thread).or_insert_with(|| {
            let Some(process) = status_field(thread, "Tgid") else { return thread };
            if process != own && outsiders.len() < MOST_THREADS && !descends(process, parent_id()) {
                outsiders.insert(process);
            }
            process
        });
        self.lately[lately] = (thread, process);
        process
    }

    /// Whether operators ran in processes of this place that bench did not start and nobody told of.
    #[must_use]
    pub fn has_outsiders_but(&self, told: &BTreeSet<u32>) -> bool {
        !self.outsiders.is_subset(told)
    }

    /// The process of a span's thread. Of another place it is what was told.
    pub fn process(&mut self, clocks: &Clocks, span: &Span) -> Process {
        if clocks.is_here(span) {
            return Process { place: span.place, number: self.process_of(span.worker) };
        }
        clocks.process(span.place, span.worker)
    }

    /// Threads of this place that were seen.
    #[must_use]
    pub fn threads(&self) -> u64 {
        self.processes.len() as u64
    }

    /// Whether queries pass a node.
    #[must_use]
    pub fn is_on_path(&self, node: usize) -> bool {
        self.on_path.get(node).copied().unwrap_or(false)
    }

    /// All hops to a node, in all.
    #[must_use]
    pub fn waited_ns(&self, node: usize) -> u64 {
        self.places.get(node).map_or(0, |place| place.waited_ns)
    }

    /// A query was answered, by the sink in place `own`. Puts `path`, the work on it, in order.
    pub fn add(&mut self, emitted_ns: u64, answered_ns: u64, own: u16, path: &mut Vec<Step>) {
        path.retain(|step| self.is_on_path(usize::from(step.node)));
        path.sort_unstable_by_key(|step| (step.start.ns, step.busy_ns, step.node));
        // A fork stamps each of its copies.
        path.dedup_by_key(|step| (step.start.ns, step.node));
        let sink = Process { place: own, number: self.here };
        let (mut reached_ns, mut reached_within_ns, mut process) = (emitted_ns, 0, sink);
        for &mut Step { node, start, busy_ns, process: next } in path {
            let place = usize::from(node);
            let within_ns = if next == process { 0 } else { start.within_ns.max(reached_within_ns) };
            // Branches overlap: only what no earlier span covers is a hop, and new time.
            let follows = start.ns.saturating_add(within_ns) >= reached_ns;
            if follows {
                self.hop(place, process, next, start.ns.saturating_sub(reached_ns));
            }
            // One that starts so early only by its own clock starts where the one before it ended.
            let start_ns = if follows { start.ns.max(reached_ns) } else { start.ns };
            let end_ns = start_ns.saturating_add(busy_ns).min(answered_ns.saturating_add(start.within_ns));
            let new_ns = end_ns.saturating_sub(start_ns.max(reached_ns));
            self.places[place].operator_ns = self.places[place].operator_ns.saturating_add(new_ns);
            if end_ns >= reached_ns {
                (reached_ns, reached_within_ns, process) = (end_ns, start.within_ns, next);
            }
        }
        let last = self.places.len().saturating_sub(1);
        self.hop(last, process, sink, answered_ns.saturating_sub(reached_ns));
    }

    fn hop(&mut self, place: usize, from: Process, to: Process, ns: u64) {
        if let Some(place) = self.places.get_mut(place) {
            place.hop(from, to, ns);
        }
    }

    /// By node id.
    #[must_use]
    pub fn parts(&self) -> Vec<Parts> {
        self.places.iter().map(Place::parts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operators, of which some are on the path, and a sink in process 1.
    fn follow(operators: &[bool], queries: &[(u64, u64, &[Step])]) -> Vec<Parts> {
        let mut attribution = Attribution::new([operators, &[true]].concat());
        attribution.here = 1;
        for (emitted, answered, steps) in queries {
            attribution.add(*emitted, *answered, 0, &mut steps.to_vec());
        }
        attribution.parts()
    }

    fn step(process: u32, node: u16, start_ns: u64, busy_ns: u64) -> Step {
        far(process, node, start_ns, busy_ns, 0)
    }

    /// One whose start is known to within so much.
    fn far(number: u32, node: u16, ns: u64, busy_ns: u64, within_ns: u64) -> Step {
        Step { node, start: Moment { ns, within_ns }, busy_ns, process: Process { place: 0, number } }
    }

    fn parts(operator_ns: u64, queueing_ns: u64, transfer_ns: u64, overhead_ns: u64) -> Parts {
        Parts { operator_ns, queueing_ns, transfer_ns, overhead_ns }
    }

    #[test]
    fn a_hop_inside_a_process_is_overhead_and_one_between_processes_is_transfer() {
        let found = follow(&[true, true], &[(0, 100, &[step(1, 0, 5, 20), step(2, 1, 55, 30)])]);
        assert_eq!(found, [parts(20, 0, 0, 5), parts(30, 0, 30, 0), parts(0, 0, 15, 0)]);
    }

    #[test]
    fn what_a_hop_takes_beyond_its_least_time_is_queueing() {
        let queries: [(u64, u64, &[Step]); 2] =
            [(0, 50, &[step(1, 0, 10, 40)]), (0, 100, &[step(1, 0, 60, 40)])];
        assert_eq!(follow(&[true], &queries), [parts(80, 50, 0, 20), parts(0, 0, 0, 0)]);
    }

    #[test]
    fn branches_that_run_at_once_are_counted_once() {
        let found = follow(&[true, true], &[(0, 40, &[step(1, 0, 0, 30), step(1, 1, 10, 30)])]);
        assert_eq!(found.into_iter().sum::<Parts>(), parts(40, 0, 0, 0));
    }

    #[test]
    fn copies_of_a_span_count_once_and_spans_of_documents_not_at_all() {
        let spans = [step(1, 0, 0, 10), step(1, 0, 0, 10), step(1, 1, 10, 10), step(1, 2, 30, 10)];
        let found = follow(&[true, false, true], &[(0, 40, &spans)]);
        assert_eq!(found[..3], [parts(10, 0, 0, 0), parts(0, 0, 0, 0), parts(10, 0, 0, 20)]);
    }

    #[test]
    fn the_parts_sum_up_to_the_whole_way() {
        let queries: [(u64, u64, &[Step]); 2] = [
            (0, 90, &[step(2, 0, 10, 20), step(1, 1, 40, 30)]),
            (5, 200, &[step(2, 0, 30, 20), step(1, 1, 120, 30)]),
        ];
        let all: Parts = follow(&[true, true], &queries).into_iter().sum();
        assert_eq!(all.operator_ns + all.queueing_ns + all.transfer_ns + all.overhead_ns, 90 + 195);
    }

    #[test]
    fn the_least_hop_is_that_between_the_same_two_processes() {
        // Process 2 is next door, process 3 is 20 away: that is the way and no waiting.
        let queries: [(u64, u64, &[Step]); 3] =
            [(0, 12, &[step(2, 0, 1, 10)]), (0, 50, &[step(3, 0, 20, 10)]), (0, 55, &[step(3, 0, 25, 10)])];
        assert_eq!(follow(&[true], &queries), [parts(30, 5, 41, 0), parts(0, 0, 41, 0)]);
    }

    #[test]
    fn nothing_is_taken_off_the_work_because_two_clocks_differ_by_what_they_may() {
        // By its own clock the second started 5 before the first had ended, and ended 5 after the answer.
        let apart = [far(2, 0, 10, 20, 6), far(3, 1, 25, 20, 6)];
        assert_eq!(
            follow(&[true, true], &[(0, 45, &apart)]),
            [parts(20, 0, 10, 0), parts(20, 0, 0, 0), parts(0, 0, 0, 0)]
        );
        // By one clock they overlap.
        let together = [step(2, 0, 10, 20), step(3, 1, 25, 20)];
        assert_eq!(follow(&[true, true], &[(0, 45, &together)])[1], parts(15, 0, 0, 0));
    }

    #[test]
    fn any_number_of_pairs_takes_so_much_memory_and_no_more() {
        let mut attribution = Attribution::new(vec![true; 2]);
        for number in 0..MOST_PAIRS as u32 + 10 {
            attribution.add(0, 10, 0, &mut vec![step(number + 2, 0, 1, 1)]);
        }
        assert_eq!(attribution.places[0].hops().count(), MOST_PAIRS);
        assert_eq!(attribution.parts()[0].queueing_ns, 10);
    }

    #[test]
    fn any_number_of_threads_takes_so_much_memory_and_no_more() {
        let mut attribution = Attribution::default();
        let beyond = u32::MAX - MOST_THREADS as u32 - 10;
        (beyond..u32::MAX).for_each(|thread| assert_eq!(attribution.process_of(thread), thread));
        assert!(attribution.processes.len() <= MOST_THREADS);
    }

    #[test]
    fn a_thread_belongs_to_its_process_and_an_unknown_one_to_itself() {
        let mut attribution = Attribution::default();
        let own = std::process::id();
        let gone = std::thread::spawn(bench_workloads::instance::thread_id).join().unwrap();
        assert_eq!(attribution.process_of(own), own);
        assert_eq!(attribution.process_of(gone), gone);
    }
}
