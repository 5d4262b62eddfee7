//! Several operators fused into one task.
//!
//! A runtime that pays per hop hands a record to a whole chain at once; see
//! [`bench_dataflow::graph::Graph::chains`] for what may be fused.

use bench_dataflow::frame::{self, Frame, Header, Kind, Malformed, frames};
use bench_dataflow::graph::{Graph, Partition};

use crate::instance::{Finished, Instance};
use crate::operator::Tombstone;
use crate::records::Batch;

/// Operators in a line, each feeding the next.
pub struct Chain {
    links: Vec<Link>,
}

struct Link {
    instance: Instance,
    /// (output port, input port of the next link) pairs; empty for the last link.
    ports: Vec<(u8, u8)>,
}

/// The nodes do not form a line in the graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {from} does not feed node {to} alone, so they cannot be fused")]
pub struct NotALine {
    from: u32,
    to: u32,
}

impl Chain {
    /// Fuses `instances` of `nodes`.
    ///
    /// # Errors
    /// When a node does not hand all its output to the next.
    pub fn new(graph: &Graph, nodes: &[u32], instances: Vec<Instance>) -> Result<Self, NotALine> {
        let mut links = Vec::with_capacity(nodes.len());
        for (i, instance) in instances.into_iter().enumerate() {
            let mut ports = Vec::new();
            if let Some(&to) = nodes.get(i + 1) {
                let from = nodes[i];
                if graph.outputs(from).any(|edge| edge.to != to) || graph.outputs(from).next().is_none() {
                    return Err(NotALine { from, to });
                }
                ports = graph.outputs(from).map(|edge| (edge.from_port, edge.to_port)).collect();
            }
            links.push(Link { instance, ports });
        }
        Ok(Self { links })
    }

    /// Processes a batch through every link; the output ports are those of the last.
    ///
    /// # Errors
    /// When `input` is not a batch.
    pub fn process(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), Malformed> {
        self.process_from(0, input, output)
    }

    /// Flushes every link in order.
    ///
    /// # Errors
    /// When called twice.
    pub fn finish(&mut self, output: &mut Vec<u8>) -> Result<(), Finished> {
        for link in 0..self.links.len() {
            let mut flushed = Vec::new();
            self.links[link].instance.finish(&mut flushed)?;
            let rest = self.links[link].hand_over(flushed);
            // What an operator emitted is a batch by construction.
            let _ = self.process_from(link + 1, &rest, output);
        }
        Ok(())
    }

    fn process_from(&mut self, first: usize, input: &[u8], output: &mut Vec<u8>) -> Result<(), Malformed> {
        let Some(last) = self.links.len().checked_sub(1) else { return Ok(()) };
        if first > last {
            output.extend_from_slice(input);
            return Ok(());
        }
        let mut current: Option<Vec<u8>> = None;
        for link in &mut self.links[first..last] {
            let input = current.as_deref().unwrap_or(input);
            // Mostly it emits what it got and a span each.
            let mut emitted = Vec::with_capacity(input.len() + input.len() / 8);
            link.instance.process(input, &mut emitted)?;
            current = Some(link.hand_over(emitted));
        }
        self.links[last].instance.process(current.as_deref().unwrap_or(input), output)
    }
}

impl Link {
    /// Rewrites output ports to the next link's input ports.
    fn hand_over(&self, mut emitted: Vec<u8>) -> Vec<u8> {
        match self.ports[..] {
            [] => return emitted,
            // What an operator emitted is a batch by construction.
            [(from, to)] if frame::readdress(&mut emitted, from, to) == Ok(true) => return emitted,
            _ => {}
        }
        let mut batch = Vec::with_capacity(emitted.len());
        for frame in frames(&emitted).filter_map(Result::ok) {
            for &(_, to) in self.ports.iter().filter(|(from, _)| *from == frame.header.port) {
                frame::push_to_port(&mut batch, frame, to);
            }
        }
        batch
    }
}

fn tombstone(node: u32, reason: &str) -> Vec<u8> {
    let tombstone = Tombstone { node: node as u16, reason: reason.to_owned() };
    postcard::to_stdvec(&tombstone).expect("a tombstone is plain data")
}

/// Input ports of `node` on which every instance gets every record, which have no answer of their own.
fn broadcast_ports(graph: &Graph, node: u32) -> Vec<u8> {
    let broadcast = graph.inputs(node).filter(|edge| edge.partition == Partition::Broadcast);
    broadcast.map(|edge| edge.to_port).collect()
}

/// A batch as `node` would read it if every record had failed before it: for an operator that is still there and pairs,
/// orders or counts, and would wait for records that it never saw.
///
/// # Errors
/// When `input` is not a batch.
pub fn fail_input(
    graph: &Graph,
    node: u32,
    input: &[u8],
    reason: &str,
    output: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let body = tombstone(node, reason);
    let broadcast = broadcast_ports(graph, node);
    for frame in frames(input) {
        let mut frame = frame?;
        if frame.header.kind == Kind::Data {
            frame.header.kind = Kind::Failed;
            frame.body = if broadcast.contains(&frame.header.port) { &[] } else { &body };
        }
        frame::push_to_port(output, frame, frame.header.port);
    }
    Ok(())
}

/// Tombstones for a batch that a runtime lost on its way into `node`, on every output port of it.
/// Records on a broadcast input leave no trace: they have no answer of their own. On the ports `batched` each
/// record is a batch, and fails for each of its members.
///
/// # Errors
/// When `input` is not a batch.
pub fn fail(
    graph: &Graph,
    node: u32,
    batched: &[u8],
    input: &[u8],
    reason: &str,
    output: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let body = tombstone(node, reason);
    let broadcast = broadcast_ports(graph, node);
    for frame in frames(input) {
        let frame = frame?;
        if broadcast.contains(&frame.header.port) {
            continue;
        }
        let is_batch = frame.header.kind == Kind::Data && batched.contains(&frame.header.port);
        let batch = if is_batch { Batch::of(&frame) } else { None };
        let records = match &batch {
            Some(batch) => frames(&batch.items).collect::<Result<Vec<_>, _>>()?,
            None => vec![frame],
        };
        for record in records {
            for port in graph.output_ports(node) {
                let failed = match record.header.kind {
                    Kind::Data => Frame {
                        header: Header { kind: Kind::Failed, ..record.header },
                        body: &body,
                        ..record
                    },
                    Kind::Failed | Kind::Heartbeat => record,
                };
                frame::push_to_port(output, failed, port);
            }
        }
    }
    Ok(())
}
