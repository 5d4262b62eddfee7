//! Graph memory: a breadth-first walk that starts at the nodes most like the query.
//!
//! The beam is wide at every step: of a node's neighbours only the best are queued, scored by
//! `0.7 cos(query, neighbour) + 0.3 edge weight`; a path's relevance is the running mean of those
//! scores. Edges lighter than the threshold are not followed. Nodes count as visited when they
//! leave the queue.

use std::collections::VecDeque;
use std::sync::Arc;

use bench_dataflow::frame::Frame;
use petgraph::csr::Csr;
use petgraph::visit::EdgeRef;

use crate::operator::{Operator, OperatorError, Output, decode};
use crate::vector;
use crate::wl4::records::{Enriched, GraphHit, Joined};

const SIMILARITY_WEIGHT: f64 = 0.7;
const EDGE_WEIGHT: f64 = 0.3;

/// Nodes and weighted edges; the nodes' vectors live in their index.
pub type MemoryGraph = Csr<(), f64>;

/// Limits of the walk.
#[derive(Debug, Clone, Copy)]
pub struct WalkConfig {
    pub max_depth: u32,
    pub max_nodes: usize,
    pub beam: usize,
    pub edge_threshold: f64,
}

/// Walks `graph`, given the cosine of the query with every node.
#[must_use]
pub fn walk(graph: &MemoryGraph, similarity: &[f64], config: WalkConfig) -> Vec<GraphHit> {
    let mut starts: Vec<u32> = (0..similarity.len() as u32).collect();
    keep_best(&mut starts, config.beam, |&node| similarity[node as usize], |&node| node);
    let mut queue: VecDeque<Step> = starts.into_iter().map(|node| Step::start(node, similarity)).collect();
    let mut visited = vec![false; similarity.len()];
    let mut hits: Vec<GraphHit> = Vec::with_capacity(config.max_nodes.min(similarity.len()));
    let mut neighbours: Vec<(f64, u32)> = Vec::new();
    while let Some(step) = queue.pop_front() {
        if hits.len() >= config.max_nodes {
            break;
        }
        if std::mem::replace(&mut visited[step.node as usize], true) {
            continue;
        }
        let so_far = step.from.map_or(&[][..], |parent| &hits[parent].path);
        let mut path = Vec::with_capacity(so_far.len() + 1);
        path.extend_from_slice(so_far);
        path.push(step.node);
        let parent = hits.len();
        hits.push(GraphHit { node: step.node, depth: step.depth, relevance: step.relevance, path });
        if step.depth >= config.max_depth {
            continue;
        }
        neighbours.clear();
        for edge in graph.edges(step.node).filter(|edge| *edge.weight() >= config.edge_threshold) {
            let similar = similarity[edge.target() as usize];
            neighbours.push((SIMILARITY_WEIGHT * similar + EDGE_WEIGHT * edge.weight(), edge.target()));
        }
        keep_best(&mut neighbours, config.beam, |pair| pair.0, |pair| pair.1);
        let depth = f64::from(step.depth);
        for &(score, node) in neighbours.iter().filter(|(_, node)| !visited[*node as usize]) {
            let relevance = (step.relevance * depth + score) / (depth + 1.0);
            queue.push_back(Step { node, depth: step.depth + 1, relevance, from: Some(parent) });
        }
    }
    hits
}

struct Step {
    node: u32,
    depth: u32,
    relevance: f64,
    /// Index of the hit this step came from.
    from: Option<usize>,
}

impl Step {
    fn start(node: u32, similarity: &[f64]) -> Self {
        Self { node, depth: 0, relevance: similarity[node as usize], from: None }
    }
}

/// Keeps the `k` items with the highest score, best first; ties go to the lower node.
fn keep_best<T>(items: &mut Vec<T>, k: usize, score: impl Fn(&T) -> f64, node: impl Fn(&T) -> u32) {
    let order = |a: &T, b: &T| score(b).total_cmp(&score(a)).then(node(a).cmp(&node(b)));
    if items.len() > k && k > 0 {
        items.select_nth_unstable_by(k - 1, order);
        items.truncate(k);
    }
    items.sort_unstable_by(order);
}

/// The graph memory operator.
pub struct GraphMemory {
    graph: Arc<MemoryGraph>,
    nodes: Arc<crate::index::Index>,
    config: WalkConfig,
    dots: Vec<i32>,
    similarity: Vec<f64>,
}

impl GraphMemory {
    pub fn new(graph: Arc<MemoryGraph>, nodes: Arc<crate::index::Index>, config: WalkConfig) -> Self {
        Self { graph, nodes, config, dots: Vec::new(), similarity: Vec::new() }
    }
}

impl Operator for GraphMemory {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            let joined: Joined = decode(input)?;
            let vector = joined.query.embedding.as_ref();
            let vector = vector.ok_or(OperatorError("the query has no embedding".into()))?;
            vector::dots(self.nodes.rows(), self.nodes.dim(), &vector.dims, &mut self.dots);
            self.similarity.clear();
            self.similarity.extend(
                self.dots
                    .iter()
                    .enumerate()
                    .map(|(node, &dot)| vector::cosine(dot, vector.norm2, self.nodes.norm2(node))),
            );
            let graph = walk(&self.graph, &self.similarity, self.config);
            output.emit(*input, 0, &Enriched { joined, graph })?;
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(beam: usize) -> WalkConfig {
        WalkConfig { max_depth: 3, max_nodes: 200, beam, edge_threshold: 0.5 }
    }

    /// The nodes of the reference's golden: A(1,0,0) B(.8,.6,0) C(.3,.95,0) D(0,0,1), query (1,0,0).
    fn golden() -> (MemoryGraph, [f64; 4]) {
        let b_c = 0.8 * 0.3 + 0.6 * 0.95;
        let c_norm = (0.3f64 * 0.3 + 0.95 * 0.95).sqrt();
        let edges = [(0, 1, 0.8), (1, 0, 0.8), (1, 2, b_c / c_norm), (2, 1, b_c / c_norm)];
        let mut graph = MemoryGraph::with_nodes(4);
        for (from, to, weight) in edges {
            graph.add_edge(from, to, weight);
        }
        (graph, [1.0, 0.8, 0.3 / c_norm, 0.0])
    }

    #[test]
    fn the_walk_of_the_golden_stops_where_the_best_neighbour_was_visited() {
        let (graph, similarity) = golden();
        let hits = walk(&graph, &similarity, config(1));
        let seen: Vec<_> = hits.iter().map(|hit| (hit.node, hit.depth)).collect();
        assert_eq!(seen, [(0, 0), (1, 1)]);
        assert!((hits[0].relevance - 1.0).abs() < 1e-12 && (hits[1].relevance - 0.8).abs() < 1e-12);
        assert_eq!(hits[1].path, [0, 1]);
    }

    #[test]
    fn edges_below_the_threshold_are_not_followed() {
        let (graph, similarity) = golden();
        let strict = WalkConfig { edge_threshold: 0.9, ..config(1) };
        assert_eq!(walk(&graph, &similarity, strict).len(), 1);
    }

    #[test]
    fn the_walk_respects_depth_and_node_limits() {
        let mut chain = MemoryGraph::with_nodes(6);
        for node in 0..5 {
            chain.add_edge(node, node + 1, 0.9);
        }
        let similarity = [1.0, 0.1, 0.1, 0.1, 0.1, 0.1];
        let depths = |hits: &[GraphHit]| hits.iter().map(|hit| hit.depth).collect::<Vec<_>>();
        assert_eq!(depths(&walk(&chain, &similarity, config(1))), [0, 1, 2, 3]);
        assert_eq!(walk(&chain, &similarity, WalkConfig { max_nodes: 2, ..config(1) }).len(), 2);
    }

    #[test]
    fn relevance_is_the_running_mean_along_the_path() {
        let mut chain = MemoryGraph::with_nodes(3);
        chain.add_edge(0, 1, 1.0);
        chain.add_edge(1, 2, 0.5);
        let hits = walk(&chain, &[1.0, 0.6, 0.2], config(1));
        let first = 0.7 * 0.6 + 0.3;
        let second = (first + 0.7 * 0.2 + 0.3 * 0.5) / 2.0;
        assert_eq!(hits.iter().map(|hit| hit.relevance).collect::<Vec<_>>(), [1.0, first, second]);
    }

    #[test]
    fn an_empty_graph_gives_nothing() {
        assert!(walk(&MemoryGraph::new(), &[], config(10)).is_empty());
    }
}
