//! What the sink counted of a run: while it goes on, and at its end.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bench_isolate::text::bounded;
use bench_record::histogram::LatencyHistogram;
use bench_workloads::judge::Scores;
use serde::{Deserialize, Serialize};

use super::answered::Answered;
use super::attribution::Attribution;
use super::clocks::{Clocks, Process, WorkerUse};
use super::doubts::Doubts;
use super::outside::{Outside, Outsiders};
use super::proof::Unproven;
use super::trace::Trace;

/// Reasons of failed items that are kept word for word.
pub const REASONS_KEPT: usize = 8;
/// Bytes of one: it is a plugin's, or a service's.
pub const LONGEST_REASON: usize = 2 << 10;
/// Worker processes that are told apart. A record carries the number of its worker, and may say any.
pub const MOST_WORKERS: usize = 4096;

/// Records and time of one operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorUse {
    /// Records it worked on.
    pub records: u64,
    /// Time inside it, over all its instances.
    pub busy_ns: u64,
}

/// A stage while the run goes on. Counts are totals since the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageUse {
    pub name: String,
    /// Whether queries pass it.
    pub on_path: bool,
    pub records: u64,
    pub busy_ns: u64,
    /// Time that timed queries waited for it: hops to it, in all. Not known where clocks are not.
    pub waited_ns: Option<u64>,
    /// Instances that were seen to work.
    pub instances: u16,
}

/// Everything the sink knows at the end.
#[derive(Debug, Default)]
pub struct SinkOutcome {
    pub completed: u64,
    pub failed: u64,
    pub timed_completed: u64,
    pub timed_failed: u64,
    pub duplicates: u64,
    pub unexpected: u64,
    pub join_empty: u64,
    pub docs_seen: u64,
    pub last_ns: Option<u64>,
    /// Sum of the response times of all items, warm-up included.
    pub response_ns: u64,
    /// By node id.
    pub operators: Vec<OperatorUse>,
    /// By node id: how many instances were seen to work.
    pub instances: Vec<u16>,
    /// Records per worker process.
    pub workers: BTreeMap<Process, u64>,
    /// Records of the processes that found no room there.
    pub workers_left_out: u64,
    /// Latency from the intended arrival, and from the emission, of timed queries.
    pub response: LatencyHistogram,
    pub service: LatencyHistogram,
    pub reasons: Vec<String>,
    /// Failed items whose reason found no room there.
    pub reasons_left_out: u64,
    /// Where the time of timed queries went.
    pub attribution: Attribution,
    /// Why that is not known, where it is not.
    pub unattributed: Option<String>,
    /// Whose clocks spans are by.
    pub clocks: Clocks,
    /// What workers used that bench did not start.
    pub outside: Outside,
    /// Answers that are not the work of the run's operators.
    pub unproven: Unproven,
    /// What spans say that cannot be. They are in no figure of time.
    pub doubts: Doubts,
    pub scores: Option<Scores>,
    /// Why answers could not be saved that were to be.
    pub unsaved: Option<String>,
    /// Every operator call, where that is wanted.
    pub trace: Option<Trace>,
}

impl SinkOutcome {
    /// Counts an answer, or the lack of one.
    pub fn count(&mut self, answered: &Answered) {
        let Answered { item, answer, unproven } = answered;
        if let Some(why) = unproven {
            self.unproven.add(&item.query_id, why.clone());
        }
        self.response_ns = self.response_ns.saturating_add(item.response().as_nanos() as u64);
        match answer {
            Ok(answer) => {
                self.completed += 1;
                self.join_empty += u64::from(!answer.met_documents());
                self.docs_seen = self.docs_seen.max(answer.docs_seen);
            }
            Err(reason) => self.failed_for(reason),
        }
        if !item.timed {
            return;
        }
        self.timed_completed += u64::from(item.ok);
        self.timed_failed += u64::from(!item.ok);
        // Who comes first into the lock need not have come first to the clock.
        self.last_ns = self.last_ns.max(Some(item.answered_ns));
        if item.ok {
            // A latency beyond what the histogram can hold (hours) would be a broken clock.
            self.response.record(item.response());
            self.service.record(item.service());
        }
    }

    fn failed_for(&mut self, reason: &str) {
        self.failed += 1;
        let reason = bounded(reason, LONGEST_REASON);
        match self.reasons.contains(&reason) {
            true => {}
            false if self.reasons.len() < REASONS_KEPT => self.reasons.push(reason),
            false => self.reasons_left_out += 1,
        }
    }

    /// Takes note of so many spans of a process.
    pub fn came_from(&mut self, worker: Process, spans: u64) {
        let room = self.workers.len() < MOST_WORKERS;
        match self.workers.entry(worker) {
            Entry::Occupied(mut known) => *known.get_mut() += spans,
            Entry::Vacant(new) if room => drop(new.insert(spans)),
            Entry::Vacant(_) => self.workers_left_out += spans,
        }
    }

    /// Whether results came from processes of other places that nobody told of.
    pub fn has_workers_elsewhere_but(&self, told: &Outsiders) -> bool {
        let mut elsewhere = self.workers.keys().filter(|worker| worker.place != self.clocks.own());
        elsewhere.any(|worker| {
            let process = self.clocks.process(worker.place, worker.number).number;
            !self.clocks.place(worker.place).is_some_and(|place| told.know(place, process))
        })
    }

    /// The processes that results came from, as far as it is known whose their threads are.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerUse> {
        let mut processes: BTreeMap<Process, u64> = BTreeMap::new();
        for (worker, spans) in &self.workers {
            *processes.entry(self.clocks.process(worker.place, worker.number)).or_default() += spans;
        }
        let worker = |(process, spans): (Process, u64)| WorkerUse {
            host: self.clocks.host(process.place).map(str::to_owned),
            process: process.number,
            spans,
        };
        processes.into_iter().map(worker).collect()
    }
}
