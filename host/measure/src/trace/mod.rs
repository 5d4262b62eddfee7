//! `--trace`: every operator call on every worker, for Chrome's tracing page and Perfetto, or for OpenTelemetry.
//!
//! Spans ride on the records, whatever engine carries them, so the sink sees those of every worker. A call
//! that worked on several records left a share of its time on each: shares with the same start are one call.
//! Times are by the sink's clock, whichever machine a worker is on; calls by a clock that is not known are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use bench_dataflow::frame::Span;
use bench_dataflow::graph::Graph;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::clocks::{Clocks, Process};

mod otlp;

/// Calls that are kept; what comes later is only counted. About 100 MB of JSON.
const MOST_CALLS: usize = 1_000_000;

/// What that can come to.
pub const LARGEST: u64 = 1 << 30;

/// How a trace is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Trace Event Format: chrome://tracing, Perfetto
    #[default]
    Chrome,
    /// OpenTelemetry: OTLP in JSON, a message a line, for a collector's otlpjsonfile receiver
    Otlp,
}

fn name(graph: &Graph, node: u16) -> &str {
    graph.nodes.get(usize::from(node)).map_or("?", |node| node.name.as_str())
}

/// One operator instance in one process.
type Lane = (Process, u16, u16);

/// A call by the sink's clock.
struct Placed {
    start_ns: u64,
    worker: Process,
    node: u16,
    instance: u16,
    busy_ns: u64,
    records: u64,
}

/// Calls by place and start.
#[derive(Debug, Default)]
pub struct Trace {
    /// Busy nanoseconds and records, by start and lane.
    calls: BTreeMap<(u64, Lane), (u64, u64)>,
    /// Spans that found no room.
    dropped: u64,
}

impl Trace {
    /// Takes a span of a finished record, of a call in this process.
    pub fn take(&mut self, span: &Span, worker: Process) {
        let key = (span.start_ns, (worker, span.node, span.instance));
        if self.calls.len() >= MOST_CALLS && !self.calls.contains_key(&key) {
            self.dropped += 1;
            return;
        }
        let call = self.calls.entry(key).or_default();
        call.0 = call.0.saturating_add(span.busy_ns);
        call.1 += 1;
    }

    /// All calls in the order of their starts, and how many have no place in it.
    fn placed(&self, clocks: &Clocks) -> (Vec<Placed>, u64) {
        let place =
            |(&(start, (worker, node, instance)), &(busy_ns, records)): (&(u64, Lane), &(u64, u64))| {
                let start_ns = clocks.moment(worker.place, start)?.ns;
                let worker = clocks.process(worker.place, worker.number);
                Some(Placed { start_ns, worker, node, instance, busy_ns, records })
            };
        let mut placed: Vec<Placed> = self.calls.iter().filter_map(place).collect();
        placed.sort_by_key(|call| (call.start_ns, call.worker, call.node, call.instance));
        let unplaced = self.calls.len() - placed.len();
        (placed, unplaced as u64)
    }

    /// Writes the Trace Event Format: times in microseconds since the first call.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, graph: &Graph, clocks: &Clocks, out: &mut impl Write) -> io::Result<()> {
        let thread = |node: u16, instance: u16| u32::from(node) << 16 | u32::from(instance);
        let (calls, unplaced) = self.placed(clocks);
        let zero = calls.first().map_or(0, |call| call.start_ns);
        let lanes: BTreeSet<Lane> =
            calls.iter().map(|call| (call.worker, call.node, call.instance)).collect();
        let numbers = numbers(lanes.iter().map(|lane| lane.0));
        let mut other = json!({"workload": graph.workload, "dropped_spans": self.dropped});
        if unplaced > 0 {
            other["calls_by_unknown_clocks"] = unplaced.into();
            other["unknown"] = clocks.unknown().into();
        }
        write!(out, "{{\"displayTimeUnit\":\"ms\",\"otherData\":{other},\"traceEvents\":[")?;
        let mut separator = "\n";
        let mut event = |value: serde_json::Value| {
            let written = write!(out, "{separator}{value}");
            separator = ",\n";
            written
        };
        for (worker, pid) in &numbers {
            let on = clocks.host(worker.place).map_or(String::new(), |host| format!(" on {host}"));
            let args = json!({"name": format!("worker {}{on}", worker.number)});
            event(json!({"ph": "M", "name": "process_name", "pid": pid, "args": args}))?;
        }
        for (worker, node, instance) in lanes {
            let args = json!({"name": format!("{} #{instance}", name(graph, node))});
            let (pid, tid) = (numbers[&worker], thread(node, instance));
            event(json!({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": args}))?;
            let args = json!({"sort_index": tid});
            event(json!({"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": args}))?;
        }
        for call in calls {
            event(json!({
                "ph": "X",
                "name": name(graph, call.node),
                "cat": "operator",
                "pid": numbers[&call.worker],
                "tid": thread(call.node, call.instance),
                "ts": (call.start_ns - zero) as f64 / 1e3,
                "dur": call.busy_ns as f64 / 1e3,
                "args": {"records": call.records},
            }))?;
        }
        writeln!(out, "\n]}}")
    }
}

/// A number for each process that no other has: its own, unless one of another machine has that too.
fn numbers(processes: impl Iterator<Item = Process>) -> BTreeMap<Process, u32> {
    let processes: BTreeSet<Process> = processes.collect();
    let mut free = (1..).filter(|number| !processes.iter().any(|process| process.number == *number));
    let mut taken = BTreeSet::new();
    let mut number = |process: Process| {
        let first = taken.insert(process.number);
        if first { process.number } else { free.next().unwrap_or(process.number) }
    };
    processes.iter().map(|process| (*process, number(*process))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    pub(super) fn span(start_ns: u64, busy_ns: u64, instance: u16) -> Span {
        Span { start_ns, busy_ns, digest: 0, worker: 77, node: 2, instance, place: 0, seal: 0 }
    }

    pub(super) const HERE: Process = Process { place: 0, number: 77 };

    #[test]
    fn shares_of_one_call_are_one_event_on_the_lane_of_its_instance() {
        let mut trace = Trace::default();
        for span in [span(5_000, 300, 0), span(5_000, 200, 0), span(5_000, 400, 1), span(9_000, 1_000, 0)] {
            trace.take(&span, HERE);
        }
        let mut bytes = Vec::new();
        trace.write(&crate::plan::example().graph().unwrap(), &Clocks::default(), &mut bytes).unwrap();
        let written: Value = serde_json::from_slice(&bytes).unwrap();
        let events = written["traceEvents"].as_array().unwrap();
        let calls: Vec<_> = events
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| {
                (
                    event["name"].as_str().unwrap(),
                    event["ts"].as_f64(),
                    event["dur"].as_f64(),
                    event["args"]["records"].as_u64(),
                )
            })
            .collect();
        assert_eq!(
            calls,
            [
                ("embed_q", Some(0.0), Some(0.5), Some(2)),
                ("embed_q", Some(0.0), Some(0.4), Some(1)),
                ("embed_q", Some(4.0), Some(1.0), Some(1)),
            ]
        );
        let lanes = events.iter().filter(|event| event["name"] == "thread_name").count();
        assert_eq!((lanes, events.iter().filter(|event| event["name"] == "process_name").count()), (2, 1));
    }

    #[test]
    fn calls_on_two_machines_are_in_order_and_processes_with_equal_numbers_apart() {
        use super::super::clocks::tests::{clocks, tag, told};
        let mut clocks = clocks();
        // It is 900,000 later there.
        clocks.take(told("b", &[(1_000, 901_000, 1_000)]));
        let mut trace = Trace::default();
        let call = |start, boot| {
            (Span { place: tag(boot), ..span(start, 10, 0) }, Process { place: tag(boot), number: 7 })
        };
        for (span, worker) in [call(903_000, "b"), call(2_000, "here"), call(4_000, "here"), call(1, "c")] {
            trace.take(&span, worker);
        }
        let mut bytes = Vec::new();
        trace.write(&crate::plan::example().graph().unwrap(), &clocks, &mut bytes).unwrap();
        let written: Value = serde_json::from_slice(&bytes).unwrap();
        let events = written["traceEvents"].as_array().unwrap();
        let calls: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(
            calls.iter().map(|call| call["ts"].as_f64().unwrap()).collect::<Vec<_>>(),
            [0.0, 1.0, 2.0]
        );
        assert!(calls[0]["pid"] == calls[2]["pid"] && calls[0]["pid"] != calls[1]["pid"], "{calls:?}");
        let names = events.iter().filter(|event| event["name"] == "process_name");
        let names: BTreeSet<&str> = names.map(|event| event["args"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, BTreeSet::from(["worker 7", "worker 7 on host-b"]));
        assert_eq!(written["otherData"]["calls_by_unknown_clocks"], 1);
    }

    #[test]
    fn nothing_is_a_trace_too() {
        let mut bytes = Vec::new();
        Trace::default()
            .write(&crate::plan::example().graph().unwrap(), &Clocks::default(), &mut bytes)
            .unwrap();
        assert!(
            serde_json::from_slice::<Value>(&bytes).unwrap()["traceEvents"].as_array().unwrap().is_empty()
        );
    }
}
