//! Draws a workload's graph, as text and as SVG, from one layered layout.
//!
//! A node's layer is its longest way from a source. An edge that skips layers gets a waypoint in each of
//! them, so that between two layers there are only edges from one to the next. Layers are narrow (as many
//! nodes as there are parallel branches), so nodes stay in the order of the graph.

mod svg;
mod text;

use bench_dataflow::graph::{Graph, Node, Partition};

pub use svg::svg;
pub use text::text;

/// What stands in a place of a layer.
enum Place<'a> {
    Node(&'a Node),
    /// An edge on its way through.
    Waypoint,
}

/// A connection between a layer and the next, by place.
struct Hop {
    from: usize,
    to: usize,
    partition: Partition,
    /// Whether it ends at a node, or goes on.
    arrives: bool,
}

struct Layout<'a> {
    layers: Vec<Vec<Place<'a>>>,
    /// `hops[i]` lead from layer `i` to `i + 1`.
    hops: Vec<Vec<Hop>>,
}

impl<'a> Layout<'a> {
    fn of(graph: &'a Graph) -> Self {
        let mut depth = vec![0; graph.nodes.len()];
        // Nodes are in topological order.
        for node in &graph.nodes {
            let inputs = graph.inputs(node.id).map(|edge| depth[edge.from as usize] + 1);
            depth[node.id as usize] = inputs.max().unwrap_or(0);
        }
        // A source stands right before what it feeds.
        for node in graph.nodes.iter().rev().filter(|node| graph.inputs(node.id).next().is_none()) {
            let first = graph.outputs(node.id).map(|edge| depth[edge.to as usize]).min();
            depth[node.id as usize] = first.map_or(0, |first: usize| first.saturating_sub(1));
        }
        let count = depth.iter().max().map_or(0, |deepest| deepest + 1);
        let mut layers: Vec<Vec<Place<'a>>> = (0..count).map(|_| Vec::new()).collect();
        let mut hops: Vec<Vec<Hop>> = (1..count).map(|_| Vec::new()).collect();
        let mut place = vec![0; graph.nodes.len()];
        for node in &graph.nodes {
            let layer = &mut layers[depth[node.id as usize]];
            place[node.id as usize] = layer.len();
            layer.push(Place::Node(node));
        }
        for edge in &graph.edges {
            let (start, end) = (depth[edge.from as usize], depth[edge.to as usize]);
            let mut from = place[edge.from as usize];
            for layer in start + 1..=end {
                let arrives = layer == end;
                let to = if arrives { place[edge.to as usize] } else { layers[layer].len() };
                if !arrives {
                    layers[layer].push(Place::Waypoint);
                }
                hops[layer - 1].push(Hop { from, to, partition: edge.partition, arrives });
                from = to;
            }
        }
        Self { layers, hops }
    }

    /// The widest layer, in places.
    fn width(&self) -> usize {
        self.layers.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().flatten().filter_map(|place| match place {
            Place::Node(node) => Some(node.name.as_str()),
            Place::Waypoint => None,
        })
    }
}

/// What people should know about the way into a node: nothing when any instance will do.
fn partition_label(partition: Partition) -> &'static str {
    match partition {
        Partition::Any => "",
        Partition::Key => "by key",
        Partition::Broadcast => "broadcast",
    }
}

/// What a node keeps and how many of it there may be, in a few words.
fn needs(node: &Node) -> String {
    use bench_dataflow::graph::{Role, State};
    let mut words = Vec::new();
    if node.role == Role::Operator {
        match node.state {
            State::None => words.push("stateless".to_owned()),
            State::Broadcast => words.push("state by broadcast".to_owned()),
            State::Keyed => words.push(format!("state by {}", node.key.as_deref().unwrap_or("key"))),
            State::Global => words.push("one state".to_owned()),
        }
    }
    if let Some(most) = node.max_parallelism {
        words.push(format!("at most {most} instance{}", if most == 1 { "" } else { "s" }));
    }
    if node.blocking {
        words.push("waits on the network".to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use crate::list::{WORKLOADS, find};

    use super::*;

    fn graph(workload: &str) -> Graph {
        let workload = find(workload).unwrap();
        workload.graph(&workload.parameters().defaults()).unwrap()
    }

    #[test]
    fn every_node_of_every_workload_is_in_both_drawings() {
        for workload in WORKLOADS {
            let graph = graph(workload.name());
            let (text, svg) = (text(&graph), svg(&graph));
            for node in &graph.nodes {
                assert!(
                    text.contains(&node.name) && svg.contains(&format!(">{}<", node.name)),
                    "{}",
                    node.name
                );
            }
            assert_eq!(svg.matches("<path class=\"edge\"").count(), graph.edges.len(), "{}", workload.name());
        }
    }

    #[test]
    fn three_branches_part_and_meet() {
        let graph = graph("wl2");
        let drawn = text(&graph);
        let lines: Vec<&str> = drawn.lines().map(str::trim).collect();
        let meets = |line: &&str| line.starts_with('└') && line.contains('┼') && line.ends_with('┘');
        let parts = |line: &&str| line.starts_with('┌') && line.contains('┼') && line.ends_with('┐');
        assert_eq!(
            (lines.iter().filter(|l| parts(l)).count(), lines.iter().filter(|l| meets(l)).count()),
            (1, 1)
        );
    }

    #[test]
    fn an_edge_that_skips_a_layer_gets_a_waypoint() {
        let mut graph = graph("wl1");
        let id = |name: &str| graph.node(name).unwrap().id;
        let (from, to) = (id("embed_q"), id("rerank"));
        graph.edges.push(bench_dataflow::graph::Edge {
            from,
            from_port: 1,
            to,
            to_port: 1,
            partition: Partition::Any,
        });
        let layout = Layout::of(&graph);
        let waypoints =
            layout.layers.iter().flatten().filter(|place| matches!(place, Place::Waypoint)).count();
        assert_eq!(waypoints, 4);
    }
}
