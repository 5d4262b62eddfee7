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

use crate::operator::{Operator, OperatorError, Output};
use crate::vector;
use crate::wl4::views;

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

/// A node that the walk visited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Visit {
    pub node: u32,
    /// Steps from the start of the walk to this one.
    pub depth: u32,
    pub relevance: f64,
    /// Which earlier visit led here: paths are read backwards along these, none is stored.
    from: Option<usize>,
}

/// A walk, in the order of its visits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Walk {
    pub visits: Vec<Visit>,
}

impl Walk {
    /// Replaces `path` by the nodes from the start of the walk to visit `at`.
    pub fn path(&self, at: usize, path: &mut Vec<u32>) {
        path.clear();
        let mut next = Some(at);
        while let Some(visit) = next.and_then(|at| self.visits.get(at)) {
            path.push(visit.node);
            next = visit.from;
        }
        path.reverse();
    }

    /// Appends what [`GraphHit`](crate::wl4::records::GraphHit)s of all visits encode to.
    ///
    /// # Errors
    /// None: it is plain data.
    pub fn encode(&self, body: Vec<u8>) -> Result<Vec<u8>, OperatorError> {
        let mut body = views::append(body, &self.visits.len())?;
        let mut path = Vec::new();
        for (at, visit) in self.visits.iter().enumerate() {
            self.path(at, &mut path);
            body = views::append(body, &(visit.node, visit.depth, visit.relevance, &path))?;
        }
        Ok(body)
    }
}

/// Walks `graph`, given the cosine of the query with every node.
#[must_use]
pub fn walk(graph: &MemoryGraph, similarity: &[f64], config: WalkConfig) -> Walk {
    let mut best: Vec<Ranked> = (0u32..).zip(similarity).map(|(node, score)| ranked(*score, node)).collect();
    keep_best(&mut best, config.beam);
    let start = |(relevance, node)| Visit { node, depth: 0, relevance, from: None };
    let mut queue: VecDeque<Visit> = best.drain(..).map(unranked).map(start).collect();
    let mut visited = vec![false; similarity.len()];
    let mut visits: Vec<Visit> = Vec::with_capacity(config.max_nodes.min(similarity.len()));
    while let Some(visit) = queue.pop_front() {
        if visits.len() >= config.max_nodes {
            break;
        }
        if std::mem::replace(&mut visited[visit.node as usize], true) {
            continue;
        }
        let from = Some(visits.len());
        visits.push(visit);
        if visit.depth >= config.max_depth {
            continue;
        }
        let edges = graph.neighbors_slice(visit.node).iter().zip(graph.edges_slice(visit.node));
        best.extend(edges.filter(|(_, weight)| **weight >= config.edge_threshold).map(|(&node, weight)| {
            ranked(SIMILARITY_WEIGHT * similarity[node as usize] + EDGE_WEIGHT * weight, node)
        }));
        keep_best(&mut best, config.beam);
        let depth = f64::from(visit.depth);
        for (score, node) in best.drain(..).map(unranked).filter(|(_, node)| !visited[*node as usize]) {
            let relevance = (visit.relevance * depth + score) / (depth + 1.0);
            queue.push_back(Visit { node, depth: visit.depth + 1, relevance, from });
        }
    }
    Walk { visits }
}

/// A score and a node as one number: the smaller, the better; ties go to the lower node. Sorting these is a
/// comparison of whole numbers each.
type Ranked = u128;

fn ranked(score: f64, node: u32) -> Ranked {
    let bits = score.to_bits();
    // As `f64::total_cmp` orders, but falling: of a negative number no bit is turned, of others all but the sign.
    let falling = if score.is_sign_negative() { bits } else { !bits & !SIGN };
    Ranked::from(falling) << 32 | Ranked::from(node)
}

fn unranked(ranked: Ranked) -> (f64, u32) {
    let falling = (ranked >> 32) as u64;
    let bits = if falling & SIGN != 0 { falling } else { !falling & !SIGN };
    (f64::from_bits(bits), ranked as u32)
}

const SIGN: u64 = 1 << 63;

/// Keeps the `k` best, best first.
fn keep_best(items: &mut Vec<Ranked>, k: usize) {
    if items.len() > k && k > 0 {
        items.select_nth_unstable(k - 1);
        items.truncate(k);
    }
    items.sort_unstable();
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
            let (query, joined) = views::joined(input)?;
            let (dims, norm2) = query.vector()?;
            vector::dots(self.nodes.rows(), self.nodes.dim(), dims, &mut self.dots);
            vector::cosines(&self.dots, norm2, self.nodes.norms(), &mut self.similarity);
            let body = walk(&self.graph, &self.similarity, self.config).encode(joined.to_vec())?;
            output.emit_bytes(*input, 0, &body, None)?;
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
    use crate::wl4::records::GraphHit;

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
        let walk = walk(&graph, &similarity, config(1));
        let hits = &walk.visits;
        let seen: Vec<_> = hits.iter().map(|hit| (hit.node, hit.depth)).collect();
        assert_eq!(seen, [(0, 0), (1, 1)]);
        assert!((hits[0].relevance - 1.0).abs() < 1e-12 && (hits[1].relevance - 0.8).abs() < 1e-12);
        let mut path = Vec::new();
        walk.path(1, &mut path);
        assert_eq!(path, [0, 1]);
    }

    #[test]
    fn ranked_scores_sort_best_first_and_come_back() {
        let scores = [1.5, 0.7, 0.7, 0.0, -0.0, -0.2, -1.5];
        let all: Vec<Ranked> = (0u32..).zip(scores).map(|(node, score)| ranked(score, node)).collect();
        assert!(all.is_sorted());
        let back: Vec<(f64, u32)> = all.into_iter().map(unranked).collect();
        assert!(
            back.iter()
                .zip((0u32..).zip(scores))
                .all(|(back, (node, score))| { back.0.to_bits() == score.to_bits() && back.1 == node })
        );
    }

    #[test]
    fn edges_below_the_threshold_are_not_followed() {
        let (graph, similarity) = golden();
        let strict = WalkConfig { edge_threshold: 0.9, ..config(1) };
        assert_eq!(walk(&graph, &similarity, strict).visits.len(), 1);
    }

    #[test]
    fn the_walk_respects_depth_and_node_limits() {
        let mut chain = MemoryGraph::with_nodes(6);
        for node in 0..5 {
            chain.add_edge(node, node + 1, 0.9);
        }
        let similarity = [1.0, 0.1, 0.1, 0.1, 0.1, 0.1];
        let depths = |walk: &Walk| walk.visits.iter().map(|hit| hit.depth).collect::<Vec<_>>();
        assert_eq!(depths(&walk(&chain, &similarity, config(1))), [0, 1, 2, 3]);
        assert_eq!(walk(&chain, &similarity, WalkConfig { max_nodes: 2, ..config(1) }).visits.len(), 2);
    }

    #[test]
    fn relevance_is_the_running_mean_along_the_path() {
        let mut chain = MemoryGraph::with_nodes(3);
        chain.add_edge(0, 1, 1.0);
        chain.add_edge(1, 2, 0.5);
        let walk = walk(&chain, &[1.0, 0.6, 0.2], config(1));
        let first = 0.7 * 0.6 + 0.3;
        let second = (first + 0.7 * 0.2 + 0.3 * 0.5) / 2.0;
        let relevance: Vec<f64> = walk.visits.iter().map(|visit| visit.relevance).collect();
        assert_eq!(relevance, [1.0, first, second]);
    }

    #[test]
    fn a_walk_encodes_to_the_records_that_later_operators_read() {
        let mut chain = MemoryGraph::with_nodes(300);
        for node in 0..299 {
            chain.add_edge(node, node + 1, 0.9);
        }
        let similarity: Vec<f64> = (0..300).map(|node| 1.0 / f64::from(node + 1)).collect();
        let walk = walk(&chain, &similarity, config(7));
        let hits: Vec<GraphHit> = (walk.visits.iter().enumerate())
            .map(|(at, visit)| {
                let mut path = Vec::new();
                walk.path(at, &mut path);
                GraphHit { node: visit.node, depth: visit.depth, relevance: visit.relevance, path }
            })
            .collect();
        assert!(hits.iter().all(|hit| hit.path.len() == hit.depth as usize + 1));
        assert_eq!(walk.encode(vec![]).unwrap(), postcard::to_stdvec(&hits).unwrap());
    }

    #[test]
    fn an_empty_graph_gives_nothing() {
        assert!(walk(&MemoryGraph::new(), &[], config(10)).visits.is_empty());
    }
}
