//! The overhead workload: Workload4's graph with operators that pass records through.
//!
//! What it costs is what the runtime costs. Every record makes every hop, the two halves of a query
//! still meet in the merge, and the sink still counts and digests; only the work is gone.

use std::path::Path;
use std::sync::Arc;

use bench_dataflow::frame::{Frame, Kind, own_spans};
use bench_dataflow::graph::{Graph, Node, State};

use crate::corpus::Corpus;
use crate::operator::{Operator, OperatorError, Output, decode};
use crate::parameters::{ParamError, Table, Values};
use crate::parts::Parts;
use crate::records::{Answer, Query};
use crate::schedule::Schedule;
use crate::wl4;
use crate::workload::{OpenSpec, Operators, Source, Workload, WorkloadError};

/// The graph, the schedule and the parameters are those of Workload4.
pub struct Null;

pub const WORKLOAD: Null = Null;

impl Workload for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn summary(&self) -> &'static str {
        "the graph of wl4 without the work: what the runtime itself costs"
    }

    fn parameters(&self) -> &'static Table {
        wl4::WORKLOAD.parameters()
    }

    fn graph(&self, params: &Values) -> Result<Graph, ParamError> {
        let mut graph = wl4::WORKLOAD.graph(params)?;
        graph.workload = self.name().to_owned();
        // Nothing holds back records that only pass through.
        graph.min_in_flight = 1;
        graph.nodes.iter_mut().for_each(|node| node.blocking = false);
        Ok(graph)
    }

    fn source(&self, params: &Values) -> Result<Source, ParamError> {
        wl4::WORKLOAD.source(params)
    }

    fn corpus(&self, params: &Values, cache_dir: &Path) -> Result<Option<Corpus>, WorkloadError> {
        wl4::WORKLOAD.corpus(params, cache_dir)
    }

    fn schedule(&self, spec: &OpenSpec, corpus: Option<Arc<Corpus>>) -> Result<Schedule, ParamError> {
        wl4::WORKLOAD.schedule(spec, corpus)
    }

    fn operators(&self, _spec: &OpenSpec) -> Result<Operators, WorkloadError> {
        Ok(Box::new(|graph, node, _instance| Ok(Some(create(graph, node)))))
    }
}

fn create(graph: &Graph, node: &Node) -> Box<dyn Operator> {
    let ports = graph.output_ports(node.id);
    match node.name.as_str() {
        "join" => Box::new(PassQueries),
        "generate" => Box::new(Echo),
        _ if node.state == State::Keyed => Box::new(PassParts::new(graph.inputs(node.id).count(), ports)),
        _ => Box::new(Pass::new(ports)),
    }
}

/// Emits what it gets, on every output port.
pub struct Pass {
    ports: Vec<u8>,
}

impl Pass {
    pub fn new(ports: Vec<u8>) -> Self {
        Self { ports }
    }
}

impl Operator for Pass {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            for &port in &self.ports {
                output.emit_bytes(*input, port, input.body, None)?;
            }
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}

/// The join without its work: queries pass, documents end here.
pub struct PassQueries;

impl Operator for PassQueries {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs.iter().filter(|input| input.header.port == crate::wl4::join::QUERIES) {
            match input.header.kind {
                Kind::Data => output.emit_bytes(*input, 0, input.body, None)?,
                _ => output.forward(*input),
            }
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }

    fn sees_every_frame(&self) -> bool {
        true
    }
}

/// The meeting of the parts of a query without its work: the last part lets the query pass.
pub struct PassParts {
    parts: Parts,
    ports: Vec<u8>,
}

impl PassParts {
    pub fn new(of: usize, ports: Vec<u8>) -> Self {
        Self { parts: Parts::new(of), ports }
    }
}

impl Operator for PassParts {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        let ports = &self.ports;
        inputs.iter().try_for_each(|input| {
            self.parts.take(*input, output, |parts, output| {
                let first = parts[0];
                parts[1..]
                    .iter()
                    .for_each(|part| output.adopt(part.header.seq, own_spans(first.spans, part.spans)));
                ports.iter().try_for_each(|&port| output.emit_bytes(first, port, first.body, None))
            })
        })
    }

    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), OperatorError> {
        self.parts.finish(output);
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }

    fn sees_every_frame(&self) -> bool {
        true
    }
}

/// Turns the query into an answer that repeats it.
pub struct Echo;

impl Operator for Echo {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            let query: Query = decode(input)?;
            let answer = Answer {
                query_id: query.id,
                response: query.text,
                docs_seen: query.docs_before,
                ..Answer::default()
            };
            output.emit(*input, 0, &answer)?;
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}
