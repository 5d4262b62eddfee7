//! What each operator is given in a run, and how long it takes there.

use std::time::Instant;

use bench_dataflow::frame::{self, Frame, Header, Kind, frames};
use bench_dataflow::graph::Role;
use bench_dataflow::route::{Delivery, Router};
use bench_workloads::instance::Instance;
use bench_workloads::open::OpenWorkload;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::clock::{Clock, Timing};

/// Queries that travel together, as in a run.
const BATCH: usize = 16;

/// The batches that went into each node, by node.
pub struct Flow {
    inputs: Vec<Vec<Vec<u8>>>,
    names: Vec<String>,
}

impl Flow {
    /// Bodies of the data records that went into the node called `name`.
    pub fn records<T: DeserializeOwned>(&self, name: &str) -> Vec<(Header, T)> {
        let node = self.names.iter().position(|known| known == name).unwrap_or_default();
        let all = self.inputs[node].iter().flat_map(|batch| frames(batch)).filter_map(Result::ok);
        all.filter(|frame| frame.header.kind == Kind::Data)
            .map(|frame: Frame<'_>| (frame.header, postcard::from_bytes(frame.body).expect("a record")))
            .collect()
    }

    /// Batches that went into the node called `name`.
    pub fn batches(&self, name: &str) -> &[Vec<u8>] {
        let node = self.names.iter().position(|known| known == name).unwrap_or_default();
        &self.inputs[node]
    }
}

/// Runs the schedule through the whole graph, one instance each, and keeps every input.
pub fn capture(workload: &OpenWorkload) -> Result<Flow, Failure> {
    let graph = workload.graph();
    let mut walk = Walk {
        router: Router::new(graph.clone(), 1),
        instances: graph
            .nodes
            .iter()
            .map(|node| match node.role {
                Role::Operator => workload.operator(node.id, 0, 1).map(Some),
                Role::Source | Role::Sink => Ok(None),
            })
            .collect::<Result<_, _>>()?,
        inputs: vec![Vec::new(); graph.nodes.len()],
    };
    let mut batch = Vec::new();
    let mut queries = 0;
    for event in workload.schedule()?.map(|event| event.expect("texts are synthetic")) {
        // Without queries under way, event time itself is the watermark.
        let header = Header { watermark_ns: event.header.event_time_ns, ..event.header };
        frame::push(&mut batch, header, &event.body, b"");
        queries += usize::from(event.position.is_some());
        if queries == BATCH {
            let deliveries = walk.router.route_events(&batch, 0)?;
            walk.deliver(deliveries)?;
            batch.clear();
            queries = 0;
        }
    }
    for node in 0..walk.instances.len() {
        let Some(instance) = &mut walk.instances[node] else { continue };
        let mut flushed = Vec::new();
        instance.finish(&mut flushed)?;
        let deliveries = walk.router.route(node as u32, &flushed, 0)?;
        walk.deliver(deliveries)?;
    }
    let names = graph.nodes.iter().map(|node| node.name.clone()).collect();
    Ok(Flow { inputs: walk.inputs, names })
}

struct Walk {
    router: Router,
    instances: Vec<Option<Instance>>,
    inputs: Vec<Vec<Vec<u8>>>,
}

impl Walk {
    fn deliver(&mut self, deliveries: Vec<Delivery>) -> Result<(), Failure> {
        for Delivery { node, batch, .. } in deliveries {
            if let Some(instance) = &mut self.instances[node as usize] {
                let mut output = Vec::new();
                instance.process(&batch, &mut output)?;
                let next = self.router.route(node, &output, 0)?;
                self.inputs[node as usize].push(batch);
                self.deliver(next)?;
            }
        }
        Ok(())
    }
}

/// Gives every operator its whole input again, alone, and says what a query costs there: decoding,
/// the work, encoding, digest and span. What is timed is what an engine calls.
pub fn replay(workload: &OpenWorkload, flow: &Flow, clock: Clock) -> Result<Value, Failure> {
    let mut all = Map::new();
    for node in workload.graph().operators() {
        let inputs = flow.batches(&node.name);
        let mut output = Vec::new();
        let mut samples = Vec::new();
        let start = Instant::now();
        while samples.len() < 5 || (start.elapsed() < clock.replays() && samples.len() < 200) {
            let mut instance = workload.operator(node.id, 0, 1)?;
            let began = Instant::now();
            for batch in inputs {
                output.clear();
                instance.process(batch, &mut output)?;
            }
            samples.push(began.elapsed().as_secs_f64() * 1e6);
        }
        let timing = Timing::of(samples).per(crate::QUERIES as usize);
        let bytes: usize = inputs.iter().map(Vec::len).sum();
        let mut value = timing.json();
        value["input_bytes"] = json!(bytes / crate::QUERIES as usize);
        all.insert(node.name.clone(), value);
    }
    Ok(all.into())
}
