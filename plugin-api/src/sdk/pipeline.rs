use super::{Error, Host, Operator};
use crate::dataflow::graph::Role;
use crate::dataflow::route::{Delivery, Router};

/// The whole graph in one thread, one instance per operator: the smallest correct engine, the
/// oracle that other engines are checked against, and a good place to start a backend from.
pub struct InlinePipeline {
    router: Router,
    operators: Vec<Option<Operator>>,
    turn: u32,
}

impl InlinePipeline {
    /// Creates one instance of every operator.
    ///
    /// # Errors
    /// When the host cannot create an operator.
    pub fn new(host: &Host) -> Result<Self, Error> {
        let graph = host.graph()?;
        let operators = graph.nodes.iter().map(|node| match node.role {
            Role::Operator => host.operator(node.id, 0, 1).map(Some),
            Role::Source | Role::Sink => Ok(None),
        });
        Ok(Self { operators: operators.collect::<Result<_, _>>()?, router: Router::new(graph, 1), turn: 0 })
    }

    /// Pushes events through the graph and returns what reached the sink.
    ///
    /// # Errors
    /// When `events` is not a batch.
    pub fn process(&mut self, events: &[u8]) -> Result<Vec<u8>, Error> {
        let mut results = Vec::new();
        self.turn = self.turn.wrapping_add(1);
        let deliveries = self.router.route_events(events, self.turn)?;
        self.deliver(deliveries, &mut results)?;
        Ok(results)
    }

    /// Flushes every operator in order and returns what reached the sink.
    ///
    /// # Errors
    /// When called twice.
    pub fn finish(&mut self) -> Result<Vec<u8>, Error> {
        let mut results = Vec::new();
        for node in 0..self.operators.len() {
            let Some(operator) = &mut self.operators[node] else { continue };
            let flushed = operator.finish()?;
            let deliveries = self.router.route_whole(node as u32, flushed, self.turn)?;
            self.deliver(deliveries, &mut results)?;
        }
        Ok(results)
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>, results: &mut Vec<u8>) -> Result<(), Error> {
        for delivery in deliveries {
            match &mut self.operators[delivery.node as usize] {
                None => results.extend_from_slice(&delivery.batch),
                Some(operator) => {
                    let output = operator.process(&delivery.batch)?;
                    let next = self.router.route_whole(delivery.node, output, self.turn)?;
                    self.deliver(next, results)?;
                }
            }
        }
        Ok(())
    }
}
