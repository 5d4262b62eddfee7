//! `--trace`: every operator call on every worker, for Chrome's tracing page and Perfetto, or for OpenTelemetry.
//!
//! Spans ride on the records, whatever engine carries them, so the sink sees those of every worker. A call
//! that worked on several records left a share of its time on each: shares with the same start are one call.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use bench_dataflow::frame::Span;
use bench_dataflow::graph::Graph;
use serde::{Deserialize, Serialize};
use serde_json::json;

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
type Lane = (u32, u16, u16);

/// Calls by place and start.
#[derive(Debug, Default)]
pub struct Trace {
    /// Busy nanoseconds and records, by start and lane.
    calls: BTreeMap<(u64, Lane), (u64, u64)>,
    /// Spans that found no room.
    dropped: u64,
}

impl Trace {
    /// Takes a span of a finished record.
    pub fn take(&mut self, span: &Span) {
        let key = (span.start_ns, (span.worker, span.node, span.instance));
        if self.calls.len() >= MOST_CALLS && !self.calls.contains_key(&key) {
            self.dropped += 1;
            return;
        }
        let call = self.calls.entry(key).or_default();
        call.0 = call.0.saturating_add(span.busy_ns);
        call.1 += 1;
    }

    /// Writes the Trace Event Format: times in microseconds since the first call.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, graph: &Graph, out: &mut impl Write) -> io::Result<()> {
        let thread = |node: u16, instance: u16| u32::from(node) << 16 | u32::from(instance);
        let zero = self.calls.keys().next().map_or(0, |key| key.0);
        let lanes: BTreeSet<Lane> = self.calls.keys().map(|key| key.1).collect();
        let workers: BTreeSet<u32> = lanes.iter().map(|lane| lane.0).collect();
        write!(
            out,
            "{{\"displayTimeUnit\":\"ms\",\"otherData\":{},\"traceEvents\":[",
            json!({"workload": graph.workload, "dropped_spans": self.dropped})
        )?;
        let mut separator = "\n";
        let mut event = |value: serde_json::Value| {
            let written = write!(out, "{separator}{value}");
            separator = ",\n";
            written
        };
        for worker in workers {
            let args = json!({"name": format!("worker {worker}")});
            event(json!({"ph": "M", "name": "process_name", "pid": worker, "args": args}))?;
        }
        for (worker, node, instance) in lanes {
            let args = json!({"name": format!("{} #{instance}", name(graph, node))});
            let tid = thread(node, instance);
            event(json!({"ph": "M", "name": "thread_name", "pid": worker, "tid": tid, "args": args}))?;
            let args = json!({"sort_index": tid});
            event(json!({"ph": "M", "name": "thread_sort_index", "pid": worker, "tid": tid, "args": args}))?;
        }
        for (&(start, (worker, node, instance)), &(busy, records)) in &self.calls {
            event(json!({
                "ph": "X",
                "name": name(graph, node),
                "cat": "operator",
                "pid": worker,
                "tid": thread(node, instance),
                "ts": (start - zero) as f64 / 1e3,
                "dur": busy as f64 / 1e3,
                "args": {"records": records},
            }))?;
        }
        writeln!(out, "\n]}}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    pub(super) fn span(start_ns: u64, busy_ns: u64, instance: u16) -> Span {
        Span { start_ns, busy_ns, digest: 0, worker: 77, node: 2, instance, seal: 0 }
    }

    #[test]
    fn shares_of_one_call_are_one_event_on_the_lane_of_its_instance() {
        let mut trace = Trace::default();
        for span in [span(5_000, 300, 0), span(5_000, 200, 0), span(5_000, 400, 1), span(9_000, 1_000, 0)] {
            trace.take(&span);
        }
        let mut bytes = Vec::new();
        trace.write(&crate::plan::example().graph().unwrap(), &mut bytes).unwrap();
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
    fn nothing_is_a_trace_too() {
        let mut bytes = Vec::new();
        Trace::default().write(&crate::plan::example().graph().unwrap(), &mut bytes).unwrap();
        assert!(
            serde_json::from_slice::<Value>(&bytes).unwrap()["traceEvents"].as_array().unwrap().is_empty()
        );
    }
}
