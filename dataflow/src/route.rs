//! From one operator's output to the inputs of the next.

use crate::frame::{self, Malformed};
use crate::graph::{Edge, Graph, Partition};

/// A batch on its way to one instance of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Consuming node.
    pub node: u32,
    /// Which of its instances.
    pub instance: u32,
    /// Frames, their ports already rewritten to the consumer's input ports.
    pub batch: Vec<u8>,
}

/// Knows the graph and how many instances each node has.
#[derive(Debug, Clone)]
pub struct Router {
    graph: Graph,
    instances: Vec<u32>,
}

impl Router {
    /// A router for `graph` where every node runs with up to `parallelism` instances.
    #[must_use]
    pub fn new(graph: Graph, parallelism: u32) -> Self {
        let instances = graph.nodes.iter().map(|node| graph.instances(node.id, parallelism)).collect();
        Self { graph, instances }
    }

    /// The graph being routed.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Number of instances of `node`.
    #[must_use]
    pub fn instances(&self, node: u32) -> u32 {
        self.instances[node as usize]
    }

    /// Routes what `node` wrote. Records on an [`Partition::Any`] edge stay together and go to the
    /// instance `turn % instances`: the caller advances `turn`, so the spread is its policy.
    ///
    /// # Errors
    /// When `output` is not a batch.
    pub fn route(&self, node: u32, output: &[u8], turn: u32) -> Result<Vec<Delivery>, Malformed> {
        let mut deliveries: Vec<Delivery> = Vec::new();
        for record in frame::frames(output) {
            let record = record?;
            for edge in self.graph.outputs(node).filter(|edge| edge.from_port == record.header.port) {
                let of = self.instances(edge.to);
                let targets = match edge.partition {
                    Partition::Any => turn % of..turn % of + 1,
                    Partition::Key => {
                        let owner = owner(record.header.key, of);
                        owner..owner + 1
                    }
                    Partition::Broadcast => 0..of,
                };
                for instance in targets {
                    let found = deliveries.iter_mut().find(|d| d.node == edge.to && d.instance == instance);
                    let batch = match found {
                        Some(delivery) => &mut delivery.batch,
                        None => {
                            // Mostly everything goes one way: no growing, no copying again.
                            let batch = Vec::with_capacity(output.len());
                            deliveries.push(Delivery { node: edge.to, instance, batch });
                            &mut deliveries.last_mut().expect("just pushed").batch
                        }
                    };
                    frame::push_to_port(batch, record, edge.to_port);
                }
            }
        }
        Ok(deliveries)
    }

    /// As [`Router::route`], of output that nobody needs afterwards: where all of it goes one way, it is not copied.
    ///
    /// # Errors
    /// When `output` is not a batch.
    pub fn route_whole(&self, node: u32, mut output: Vec<u8>, turn: u32) -> Result<Vec<Delivery>, Malformed> {
        let mut ways = self.graph.outputs(node);
        if let (Some(edge), None) = (ways.next(), ways.next())
            && let Some(instance) = self.only_instance(edge, turn)
            && frame::readdress(&mut output, edge.from_port, edge.to_port)?
        {
            let delivery = Delivery { node: edge.to, instance, batch: output };
            return Ok(if delivery.batch.is_empty() { Vec::new() } else { vec![delivery] });
        }
        self.route(node, &output, turn)
    }

    /// The instance that everything on an edge goes to, if it is one for all.
    fn only_instance(&self, edge: &Edge, turn: u32) -> Option<u32> {
        let of = self.instances(edge.to);
        match edge.partition {
            Partition::Any => Some(turn % of),
            Partition::Key | Partition::Broadcast => (of == 1).then_some(0),
        }
    }

    /// Routes events from the host, whose port is the id of the source node.
    ///
    /// # Errors
    /// When `events` is not a batch.
    pub fn route_events(&self, events: &[u8], turn: u32) -> Result<Vec<Delivery>, Malformed> {
        let mut deliveries: Vec<Delivery> = Vec::new();
        let mut run: Vec<u8> = Vec::new();
        let mut source = None;
        // Consecutive events of one source are routed together, so that order is kept per target.
        let mut flush = |source: Option<u8>, run: &mut Vec<u8>| -> Result<(), Malformed> {
            let Some(source) = source else { return Ok(()) };
            for routed in self.route(source.into(), run, turn)? {
                match deliveries.iter_mut().find(|d| (d.node, d.instance) == (routed.node, routed.instance)) {
                    Some(delivery) => delivery.batch.extend_from_slice(&routed.batch),
                    None => deliveries.push(routed),
                }
            }
            run.clear();
            Ok(())
        };
        for record in frame::frames(events) {
            let record = record?;
            if source != Some(record.header.port) {
                flush(source, &mut run)?;
                source = Some(record.header.port);
            }
            frame::push_to_port(&mut run, record, 0);
        }
        flush(source, &mut run)?;
        Ok(deliveries)
    }
}

/// The instance that owns `key`. A multiply-shift spreads keys that differ only in low bits.
#[must_use]
pub fn owner(key: u64, instances: u32) -> u32 {
    let mixed = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((mixed * u64::from(instances)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Header, Kind, frames, push};
    use crate::graph::{Node, Ordering, Role, State};

    /// node 0 → node 1 over one edge of the given kind
    fn router(partition: Partition, parallelism: u32) -> Router {
        let node = |id, role| Node {
            id,
            name: format!("n{id}"),
            role,
            state: State::None,
            key: None,
            max_parallelism: None,
            ordering: Ordering::None,
            blocking: false,
            concurrency: None,
            affinity: None,
            summary: String::new(),
        };
        let graph = Graph {
            workload: "pair".into(),
            nodes: vec![node(0, Role::Source), node(1, Role::Operator)],
            edges: vec![Edge { from: 0, from_port: 0, to: 1, to_port: 4, partition }],
            min_in_flight: 1,
        };
        Router::new(graph, parallelism)
    }

    fn batch(keys: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut batch = Vec::new();
        for (seq, key) in keys.into_iter().enumerate() {
            let header =
                Header { port: 0, kind: Kind::Data, seq: seq as u64, key, event_time_ns: 0, watermark_ns: 0 };
            push(&mut batch, header, b"x", b"");
        }
        batch
    }

    #[test]
    fn any_keeps_a_batch_together_and_takes_turns() {
        let router = router(Partition::Any, 2);
        for turn in 0..4 {
            let deliveries = router.route(0, &batch(0..5), turn).unwrap();
            assert_eq!(deliveries.len(), 1);
            assert_eq!(deliveries[0].instance, turn % 2);
        }
    }

    #[test]
    fn key_sends_equal_keys_to_one_instance_and_uses_them_all() {
        let deliveries = router(Partition::Key, 4).route(0, &batch(0..400), 0).unwrap();
        assert_eq!(deliveries.len(), 4);
        for delivery in &deliveries {
            for record in frames(&delivery.batch) {
                assert_eq!(owner(record.unwrap().header.key, 4), delivery.instance);
            }
        }
    }

    #[test]
    fn what_is_routed_whole_goes_where_it_goes_otherwise() {
        for partition in [Partition::Any, Partition::Key, Partition::Broadcast] {
            for parallelism in [1, 3] {
                let router = router(partition, parallelism);
                for (output, turn) in [(batch(0..50), 0), (batch(0..50), 1), (batch([]), 0)] {
                    let whole = router.route_whole(0, output.clone(), turn).unwrap();
                    assert_eq!(whole, router.route(0, &output, turn).unwrap());
                }
                assert!(router.route_whole(0, b"none".to_vec(), 0).is_err());
            }
        }
    }

    #[test]
    fn broadcast_reaches_every_instance_with_the_ports_rewritten() {
        let deliveries = router(Partition::Broadcast, 3).route_events(&batch([1, 2]), 0).unwrap();
        assert_eq!(deliveries.iter().map(|d| d.instance).collect::<Vec<_>>(), [0, 1, 2]);
        for delivery in &deliveries {
            assert!(frames(&delivery.batch).all(|record| record.unwrap().header.port == 4));
        }
    }
}
