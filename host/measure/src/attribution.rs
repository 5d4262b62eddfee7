//! Where the time of queries went: inside operators, on the way, in the runtime, or waiting.
//!
//! No backend is asked. Each operator stamps a span onto the record (thread, start, time inside), and the
//! source and the sink have clocks of their own, so one rule holds for every runtime. Between two operators
//! there is a *hop*. The least time that a hop took in a run is what it costs by itself; whatever a query took
//! longer, it waited: for a busy worker, for the rest of its batch, behind backpressure.
//!
//! * **operator**: inside an operator;
//! * **transfer**: the least time of a hop between processes: serialisation, shipping, dispatch;
//! * **overhead**: the least time of a hop within a process: the runtime's scheduling;
//! * **queueing**: everything above that.
//!
//! Source and sink belong to the runner's process. A hop is charged to the operator that it leads to.

use std::collections::BTreeMap;
use std::fs;

use bench_dataflow::frame::Span;
use bench_record::evidence;
use serde::{Deserialize, Serialize};

/// Threads whose process is kept.
const MOST_THREADS: usize = 1 << 16;

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

/// All hops of one kind to one place.
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

/// An operator, or the sink.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    operator_ns: u64,
    between: Hops,
    within: Hops,
}

impl Place {
    fn waited_ns(&self) -> u64 {
        self.between.total_ns.saturating_add(self.within.total_ns)
    }

    fn parts(&self) -> Parts {
        let (transfer_ns, overhead_ns) = (self.between.unloaded_ns(), self.within.unloaded_ns());
        let unloaded_ns = transfer_ns.saturating_add(overhead_ns);
        let queueing_ns = self.waited_ns().saturating_sub(unloaded_ns);
        Parts { operator_ns: self.operator_ns, queueing_ns, transfer_ns, overhead_ns }
    }
}

/// Follows queries from the source to the sink.
#[derive(Debug, Default)]
pub struct Attribution {
    /// By node id: whether queries pass it. Documents leave their spans on queries too.
    on_path: Vec<bool>,
    /// By node id. Nodes are in topological order, so the last is the sink.
    places: Vec<Place>,
    processes: BTreeMap<u32, u32>,
    here: u32,
}

impl Attribution {
    /// `on_path` says by node id whether queries pass the node.
    #[must_use]
    pub fn new(on_path: Vec<bool>) -> Self {
        let places = vec![Place::default(); on_path.len()];
        Self { on_path, places, processes: BTreeMap::new(), here: std::process::id() }
    }

    /// The process of a thread. Asked when the thread is first seen, because later it may be gone; one that
    /// is, or is on another machine, counts as a process of its own.
    pub fn process_of(&mut self, thread: u32) -> u32 {
        // Threads come and go for as long as a run goes on, and a record may claim any number of them.
        if self.processes.len() >= MOST_THREADS && !self.processes.contains_key(&thread) {
            self.processes.clear();
        }
        *self.processes.entry(thread).or_insert_with(|| {
            let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
            let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
            group.and_then(|text| text.trim().parse().ok()).unwrap_or(thread)
        })
    }

    /// Threads that were seen.
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
        self.places.get(node).map_or(0, Place::waited_ns)
    }

    /// A query was answered.
    pub fn add(&mut self, emitted_ns: u64, answered_ns: u64, spans: impl Iterator<Item = Span>) {
        let passes = |span: &Span| self.is_on_path(usize::from(span.node));
        let mut path: Vec<Span> = spans.filter(passes).collect();
        path.sort_unstable_by_key(|span| (span.start_ns, span.busy_ns, span.node));
        // A fork stamps each of its copies.
        path.dedup_by_key(|span| (span.start_ns, span.node));
        let (mut reached_ns, mut process) = (emitted_ns, self.here);
        for span in path {
            let place = usize::from(span.node);
            let next = self.process_of(span.worker);
            // Branches overlap: only what no earlier span covers is a hop, and new time.
            if span.start_ns >= reached_ns {
                self.hop(place, span.start_ns - reached_ns, process == next);
            }
            let end_ns = span.start_ns.saturating_add(span.busy_ns).min(answered_ns);
            let new_ns = end_ns.saturating_sub(span.start_ns.max(reached_ns));
            self.places[place].operator_ns = self.places[place].operator_ns.saturating_add(new_ns);
            if end_ns >= reached_ns {
                (reached_ns, process) = (end_ns, next);
            }
        }
        let sink = self.places.len().saturating_sub(1);
        self.hop(sink, answered_ns.saturating_sub(reached_ns), process == self.here);
    }

    fn hop(&mut self, place: usize, ns: u64, same_process: bool) {
        let Some(place) = self.places.get_mut(place) else { return };
        if same_process { &mut place.within } else { &mut place.between }.add(ns);
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

    /// Operators, of which some are on the path, and a sink. Threads 10 and 11 are process 1, the host's;
    /// thread 20 is process 2.
    fn follow(operators: &[bool], queries: &[(u64, u64, &[Span])]) -> Vec<Parts> {
        let mut attribution = Attribution::new([operators, &[true]].concat());
        attribution.processes = [(10, 1), (11, 1), (20, 2)].into();
        attribution.here = 1;
        for (emitted, answered, spans) in queries {
            attribution.add(*emitted, *answered, spans.iter().copied());
        }
        attribution.parts()
    }

    fn span(worker: u32, node: u16, start_ns: u64, busy_ns: u64) -> Span {
        Span { start_ns, busy_ns, digest: 0, worker, node, instance: 0, seal: 0 }
    }

    fn parts(operator_ns: u64, queueing_ns: u64, transfer_ns: u64, overhead_ns: u64) -> Parts {
        Parts { operator_ns, queueing_ns, transfer_ns, overhead_ns }
    }

    #[test]
    fn a_hop_inside_a_process_is_overhead_and_one_between_processes_is_transfer() {
        let found = follow(&[true, true], &[(0, 100, &[span(10, 0, 5, 20), span(20, 1, 55, 30)])]);
        assert_eq!(found, [parts(20, 0, 0, 5), parts(30, 0, 30, 0), parts(0, 0, 15, 0)]);
    }

    #[test]
    fn what_a_hop_takes_beyond_its_least_time_is_queueing() {
        let queries: [(u64, u64, &[Span]); 2] =
            [(0, 50, &[span(10, 0, 10, 40)]), (0, 100, &[span(10, 0, 60, 40)])];
        assert_eq!(follow(&[true], &queries), [parts(80, 50, 0, 20), parts(0, 0, 0, 0)]);
    }

    #[test]
    fn branches_that_run_at_once_are_counted_once() {
        let found = follow(&[true, true], &[(0, 40, &[span(10, 0, 0, 30), span(11, 1, 10, 30)])]);
        assert_eq!(found.into_iter().sum::<Parts>(), parts(40, 0, 0, 0));
    }

    #[test]
    fn copies_of_a_span_count_once_and_spans_of_documents_not_at_all() {
        let spans = [span(10, 0, 0, 10), span(10, 0, 0, 10), span(11, 1, 10, 10), span(11, 2, 30, 10)];
        let found = follow(&[true, false, true], &[(0, 40, &spans)]);
        assert_eq!(found[..3], [parts(10, 0, 0, 0), parts(0, 0, 0, 0), parts(10, 0, 0, 20)]);
    }

    #[test]
    fn the_parts_sum_up_to_the_whole_way() {
        let queries: [(u64, u64, &[Span]); 2] = [
            (0, 90, &[span(20, 0, 10, 20), span(10, 1, 40, 30)]),
            (5, 200, &[span(20, 0, 30, 20), span(10, 1, 120, 30)]),
        ];
        let all: Parts = follow(&[true, true], &queries).into_iter().sum();
        assert_eq!(all.operator_ns + all.queueing_ns + all.transfer_ns + all.overhead_ns, 90 + 195);
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
