//! A workload as a graph of named operators, with what each needs from the runtime that places it.
//!
//! The graph crosses the plugin boundary as JSON, so every field here is part of the contract.
//! Nodes are listed in topological order: an engine may create, feed and finish them in that order.

use serde::{Deserialize, Serialize};

/// The whole dataflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "bench workload graph"))]
pub struct Graph {
    /// Name of the workload, for example `wl4`.
    pub workload: String,
    /// In topological order; `nodes[i].id == i`.
    pub nodes: Vec<Node>,
    /// Every connection from an output port to an input port.
    pub edges: Vec<Edge>,
    /// Queries that operators may hold back at once (open batches). A source that stops emitting
    /// with fewer in flight than this would wait for ever.
    pub min_in_flight: u32,
}

/// One operator, source or sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Node {
    /// Index in [`Graph::nodes`].
    pub id: u32,
    /// Unique, lower snake case.
    pub name: String,
    /// Source, operator or sink.
    pub role: Role,
    /// What the operator keeps between records.
    pub state: State,
    /// What the partition key stands for, when [`Partition::Key`] leads here.
    pub key: Option<String>,
    /// Most instances that still give the right answer; absent means any number.
    pub max_parallelism: Option<u32>,
    /// What the operator needs of the order of its input.
    pub ordering: Ordering,
    /// True when the operator waits on the network, so that it deserves a thread of its own.
    pub blocking: bool,
    /// Calls that may be under way at once in one instance, each with an operator of its own: it waits rather than
    /// works. Absent means one. An engine that makes one call at a time gives the right answers too, only later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Where it reads something large that need not be everywhere: all instances belong on machine `affinity mod N` of
    /// the N in use. Absent means any machine. An engine that places it elsewhere gives the right answers too, and that
    /// machine then has to make what it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<u32>,
    /// One line for people.
    pub summary: String,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The host emits its events; the engine only routes them.
    Source,
    /// Created through the host or the workload library, run by the engine.
    Operator,
    /// The host consumes its input.
    Sink,
}

/// What an operator keeps between records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing that changes: any instance may take any record, and a retry is harmless.
    None,
    /// Built from a broadcast input: a new instance is right once it has seen that input again.
    Broadcast,
    /// One entry per key, complete at the instance that owns the key.
    Keyed,
    /// One state for the whole stream, so one instance.
    Global,
}

impl Role {
    /// As C knows it: `BENCH_ROLE_SOURCE`, `BENCH_ROLE_OPERATOR`, `BENCH_ROLE_SINK`.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Source => 0,
            Self::Operator => 1,
            Self::Sink => 2,
        }
    }
}

impl State {
    /// As C knows it: `BENCH_STATE_NONE`, `BENCH_STATE_BROADCAST`, `BENCH_STATE_KEYED`, `BENCH_STATE_GLOBAL`.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Broadcast => 1,
            Self::Keyed => 2,
            Self::Global => 3,
        }
    }
}

/// What an operator needs of the order of its input. No operator relies on arrival order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// Nothing.
    None,
    /// It orders by event time itself, with the sequence numbers in the frames.
    EventTime,
    /// It needs the complete sequence, and puts it in order itself.
    Sequence,
}

/// How records on an edge choose an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// Any one instance, best the least busy.
    Any,
    /// The instance that owns the key: see [`owner`](crate::route::owner).
    Key,
    /// Every instance.
    Broadcast,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Edge {
    /// Producing node.
    pub from: u32,
    /// Its output port.
    pub from_port: u8,
    /// Consuming node.
    pub to: u32,
    /// Its input port.
    pub to_port: u8,
    /// How records choose an instance of `to`.
    pub partition: Partition,
}

impl Graph {
    /// Edges that leave `node`.
    pub fn outputs(&self, node: u32) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == node)
    }

    /// Edges that enter `node`.
    pub fn inputs(&self, node: u32) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.to == node)
    }

    /// Distinct output ports of `node`, ascending.
    #[must_use]
    pub fn output_ports(&self, node: u32) -> Vec<u8> {
        let mut ports: Vec<_> = self.outputs(node).map(|edge| edge.from_port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The node called `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Nodes that an engine has to run, in topological order.
    pub fn operators(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Operator)
    }

    /// How many instances of `node` to run when the user asks for `parallelism`.
    #[must_use]
    pub fn instances(&self, node: u32, parallelism: u32) -> u32 {
        let limit = self.nodes[node as usize].max_parallelism.unwrap_or(u32::MAX);
        parallelism.clamp(1, limit.max(1))
    }

    /// How many calls an instance of a chain may have under way at once.
    #[must_use]
    pub fn concurrency(&self, chain: &[u32]) -> u32 {
        let of = |node: &u32| {
            let node = &self.nodes[*node as usize];
            if node.state == State::None { node.concurrency.unwrap_or(1) } else { 1 }
        };
        chain.iter().map(of).min().unwrap_or(1).max(1)
    }

    /// Operators grouped into chains: runs of nodes that an engine may fuse into one task, because
    /// each hands all its output to the next and both may run with the same number of instances.
    #[must_use]
    pub fn chains(&self) -> Vec<Vec<u32>> {
        let mut chains: Vec<Vec<u32>> = Vec::new();
        for node in self.operators() {
            let fusable = |chain: &&mut Vec<u32>| {
                let last = *chain.last().expect("a chain has a node");
                let mut entering = self.inputs(node.id);
                let only = entering.next().filter(|_| entering.next().is_none());
                only.is_some_and(|edge| edge.from == last && edge.partition == Partition::Any)
                    && self.outputs(last).count() == 1
                    && self.nodes[last as usize].max_parallelism == node.max_parallelism
                    && self.nodes[last as usize].blocking == node.blocking
                    && self.nodes[last as usize].concurrency == node.concurrency
                    && self.nodes[last as usize].affinity == node.affinity
            };
            match chains.iter_mut().find(fusable) {
                Some(chain) => chain.push(node.id),
                None => chains.push(vec![node.id]),
            }
        }
        chains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32, role: Role, max_parallelism: Option<u32>) -> Node {
        Node {
            id,
            name: format!("n{id}"),
            role,
            state: State::None,
            key: None,
            max_parallelism,
            ordering: Ordering::None,
            blocking: false,
            concurrency: None,
            affinity: None,
            summary: String::new(),
        }
    }

    fn edge(from: u32, to: u32, partition: Partition) -> Edge {
        Edge { from, from_port: 0, to, to_port: 0, partition }
    }

    /// source 0 → 1 → 2 → 3 (one instance) → sink 4
    fn line() -> Graph {
        Graph {
            workload: "line".into(),
            nodes: vec![
                node(0, Role::Source, None),
                node(1, Role::Operator, None),
                node(2, Role::Operator, None),
                node(3, Role::Operator, Some(1)),
                node(4, Role::Sink, None),
            ],
            edges: (0..4).map(|i| edge(i, i + 1, Partition::Any)).collect(),
            min_in_flight: 1,
        }
    }

    #[test]
    fn a_chain_ends_where_the_parallelism_changes() {
        assert_eq!(line().chains(), [vec![1, 2], vec![3]]);
    }

    #[test]
    fn a_chain_ends_where_another_machine_is_wanted() {
        let mut graph = line();
        graph.nodes[2].affinity = Some(0);
        assert_eq!(graph.chains(), [vec![1], vec![2], vec![3]]);
        graph.nodes[1].affinity = Some(0);
        assert_eq!(graph.chains(), [vec![1, 2], vec![3]]);
    }

    #[test]
    fn a_chain_ends_at_a_keyed_edge() {
        let mut graph = line();
        graph.edges[1].partition = Partition::Key;
        assert_eq!(graph.chains(), [vec![1], vec![2], vec![3]]);
    }

    #[test]
    fn a_node_never_gets_more_instances_than_it_allows() {
        assert_eq!((line().instances(2, 8), line().instances(3, 8), line().instances(2, 0)), (8, 1, 1));
    }
}
