//! A trace as OpenTelemetry knows it: OTLP in JSON, one message a line, as the collector's file exporter
//! writes it and its `otlpjsonfile` receiver reads it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bench_dataflow::graph::Graph;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Trace, name};
use crate::clocks::{Clocks, Process};

/// Spans in one line. A collector reads a line at once.
const SPANS: usize = 1_000;
/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;

impl Trace {
    /// Writes the calls as spans of one trace, that of run `run_id`. `epoch_ns` is what the monotonic clock
    /// of the sink has to be moved by to count from 1970.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write_otlp(
        &self,
        graph: &Graph,
        run_id: &str,
        (clocks, epoch_ns): (&Clocks, u64),
        out: &mut impl Write,
    ) -> io::Result<()> {
        // Ids of traces are 16 bytes; ids of runs are what the user likes.
        let trace_id = hex::encode(&Sha256::digest(run_id)[..16]);
        let write = |worker: Process, spans: Vec<Value>, out: &mut _| {
            line(graph, run_id, worker.number, clocks.host(worker.place), spans, out)
        };
        let mut workers: BTreeMap<Process, Vec<Value>> = BTreeMap::new();
        for (number, call) in (1u64..).zip(self.placed(clocks).0) {
            let spans = workers.entry(call.worker).or_default();
            let at = |ns: u64| epoch_ns.saturating_add(ns).to_string();
            spans.push(json!({
                "traceId": trace_id,
                "spanId": hex::encode(number.to_be_bytes()),
                "name": name(graph, call.node),
                "kind": INTERNAL,
                "startTimeUnixNano": at(call.start_ns),
                "endTimeUnixNano": at(call.start_ns.saturating_add(call.busy_ns)),
                "attributes": [
                    attribute("bench.instance", &call.instance.to_string()),
                    attribute("bench.records", &call.records.to_string()),
                ],
            }));
            if spans.len() == SPANS {
                write(call.worker, std::mem::take(spans), out)?;
            }
        }
        let mut rest = workers.into_iter().filter(|(_, spans)| !spans.is_empty());
        rest.try_for_each(|(worker, spans)| write(worker, spans, out))
    }
}

fn line(
    graph: &Graph,
    run_id: &str,
    worker: u32,
    host: Option<&str>,
    spans: Vec<Value>,
    out: &mut impl Write,
) -> io::Result<()> {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let mut resource = vec![
        text("service.name", "bench"),
        text("service.instance.id", run_id),
        text("bench.workload", &graph.workload),
        attribute("process.pid", &worker.to_string()),
    ];
    resource.extend(host.map(|host| text("host.name", host)));
    let scope = json!({"name": "bench", "version": env!("CARGO_PKG_VERSION")});
    let scopes = json!([{"scope": scope, "spans": spans}]);
    writeln!(
        out,
        "{}",
        json!({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": scopes}]})
    )
}

/// A number; in OTLP's JSON, 64-bit integers are text.
fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"intValue": value}})
}

#[cfg(test)]
mod tests {

    use super::super::tests::{HERE, span};
    use super::*;

    fn lines(trace: &Trace) -> Vec<Value> {
        let mut bytes = Vec::new();
        let (graph, clocks) = (crate::plan::example().graph().unwrap(), Clocks::default());
        trace.write_otlp(&graph, "run", (&clocks, 1_000_000), &mut bytes).unwrap();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[test]
    fn calls_are_spans_of_one_trace_with_times_since_1970() {
        let mut trace = Trace::default();
        [span(5_000, 300, 0), span(9_000, 1_000, 1)].iter().for_each(|span| trace.take(span, HERE));
        let [line] = &lines(&trace)[..] else { panic!("one worker, one line") };
        let of = &line["resourceSpans"][0];
        assert_eq!(of["resource"]["attributes"][3]["value"]["intValue"], "77");
        let spans = of["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!((spans.len(), &spans[0]["name"]), (2, &json!("embed_q")));
        assert_eq!(spans[0]["startTimeUnixNano"], "1005000");
        assert_eq!(spans[1]["endTimeUnixNano"], "1010000");
        assert_eq!(spans[0]["traceId"], spans[1]["traceId"]);
        assert_eq!(spans[0]["traceId"].as_str().unwrap().len(), 32);
        assert_eq!(
            (&spans[0]["spanId"], &spans[1]["spanId"]),
            (&json!("0000000000000001"), &json!("0000000000000002"))
        );
    }

    #[test]
    fn no_line_is_too_long_for_a_collector() {
        let mut trace = Trace::default();
        (0..2_500).for_each(|i| trace.take(&span(i * 10, 5, 0), HERE));
        let spans =
            |line: &Value| line["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len();
        assert_eq!(lines(&trace).iter().map(spans).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        assert!(lines(&Trace::default()).is_empty());
    }
}
