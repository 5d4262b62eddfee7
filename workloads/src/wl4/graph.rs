//! The graphs of the family: four workloads from one catalogue of operators.
//!
//! ```text
//! wl1   query_source ─ embed_q ─ context ─ vdb1 ─ collect ─ dedup ─ rerank ─ generate ─ sink
//!
//!                                          ┌─ vdb1 ─────────┐
//! wl2   query_source ─ embed_q ─ context ──┼─ vdb2 ─────────┼─ merge ─ dedup ─ rerank ─ mmr ─ generate ─ sink
//!                                          └─ graph_memory ─┘
//!
//! wl3   query_source ─ embed_q ─┬─ join ─ fork ─┬─ vdb1 ─┬─ merge ─ dedup ─ rerank ─ generate ─ sink
//!       doc_source ─── embed_d ─┘               └─ vdb2 ─┘
//! ```
//!
//! `wl4` is in the module's own documentation. What an operator needs of a runtime is the same in each.

use bench_dataflow::graph::{Edge, Graph, Node, Ordering, Partition, Role, State};

use super::params::Params;
use super::{join, merge};
use crate::text::vocabulary::Category;

/// Every node there is, in an order that is topological for all graphs, with one line for people.
const CATALOGUE: [(&str, &str); 19] = [
    ("query_source", "questions in event-time order"),
    ("doc_source", "documents in event-time order"),
    ("embed_q", "question text to vector"),
    ("embed_d", "document text to vector"),
    ("join", "questions with the similar documents of their event-time window"),
    ("context", "an empty context for what the searches find"),
    ("graph_memory", "beam walk through the graph memory"),
    ("fork", "one copy for each vector database"),
    ("vdb1", "four-stage search of the first vector database"),
    ("vdb2", "four-stage search of the second vector database"),
    ("collect", "what the search found, as candidates"),
    ("merge", "all parts of a question, united by document"),
    ("dedup", "DBSCAN over everything found"),
    ("rerank", "five-dimensional score"),
    ("mmr", "relevance against redundancy"),
    ("category_batch", "batches per category, by count or event time"),
    ("global_batch", "batches over all categories"),
    ("generate", "one answer for each question"),
    ("sink", "answers"),
];

/// The paths of each workload from a source to where they meet another.
const PATHS: [(&str, &[&str]); 4] = [
    ("wl1", &["query_source embed_q context vdb1 collect dedup rerank generate sink"]),
    (
        "wl2",
        &[
            "query_source embed_q context vdb1 merge dedup rerank mmr generate sink",
            "context vdb2 merge",
            "context graph_memory merge",
        ],
    ),
    (
        "wl3",
        &[
            "query_source embed_q join fork vdb1 merge dedup rerank generate sink",
            "doc_source embed_d join",
            "fork vdb2 merge",
        ],
    ),
    (
        "wl4",
        &[
            "query_source embed_q join graph_memory fork vdb1 merge dedup rerank mmr category_batch global_batch generate sink",
            "doc_source embed_d join",
            "fork vdb2 merge",
        ],
    ),
];

/// The graph of one of the four workloads, called `workload`; `None` when it is none of them.
#[must_use]
pub fn graph(workload: &str, params: &Params) -> Option<Graph> {
    let (_, paths) = PATHS.iter().find(|(name, _)| *name == workload)?;
    let hops: Vec<(&str, &str)> =
        paths.iter().flat_map(|path| path.split(' ').zip(path.split(' ').skip(1))).collect();
    let present = |name: &str| hops.iter().any(|(from, to)| *from == name || *to == name);
    let nodes: Vec<Node> = CATALOGUE
        .iter()
        .filter(|(name, _)| present(name))
        .zip(0..)
        .map(|((name, summary), id)| node(id, name, summary, params))
        .collect();
    let id = |name: &str| nodes.iter().find(|node| node.name == name).map_or(0, |node| node.id);
    let edges = hops.iter().map(|&(from, to)| Edge {
        from: id(from),
        from_port: if matches!(from, "fork" | "context") { part(to) } else { 0 },
        to: id(to),
        to_port: match (from, to) {
            ("embed_d", "join") => join::DOCS,
            (_, "join") => join::QUERIES,
            (_, "merge") => part(from),
            _ => 0,
        },
        partition: match (from, to) {
            ("embed_d", "join") => Partition::Broadcast,
            (_, "merge") => Partition::Key,
            _ => Partition::Any,
        },
    });
    let min_in_flight = if present("category_batch") { held_back(params) } else { 1 };
    Some(Graph { workload: workload.to_owned(), edges: edges.collect(), min_in_flight, nodes })
}

/// The port on which a search leaves the fork and enters the merge.
fn part(search: &str) -> u8 {
    match search {
        "vdb2" => merge::VDB2,
        "graph_memory" => merge::GRAPH,
        _ => merge::VDB1,
    }
}

fn node(id: u32, name: &str, summary: &str, params: &Params) -> Node {
    let role = match name {
        "query_source" | "doc_source" => Role::Source,
        "sink" => Role::Sink,
        _ => Role::Operator,
    };
    let mut node = Node {
        id,
        name: name.to_owned(),
        role,
        state: State::None,
        key: None,
        max_parallelism: None,
        ordering: Ordering::None,
        blocking: false,
        summary: summary.to_owned(),
    };
    match name {
        "embed_q" | "embed_d" => node.blocking = params.embedding_url.is_some(),
        "join" => (node.state, node.ordering) = (State::Broadcast, Ordering::EventTime),
        "merge" => (node.state, node.key) = (State::Keyed, Some("query_id".into())),
        "category_batch" => {
            (node.state, node.ordering) = (State::Global, Ordering::Sequence);
            (node.key, node.max_parallelism) = (Some("category".into()), Some(1));
        }
        "global_batch" => {
            (node.state, node.ordering, node.max_parallelism) = (State::Global, Ordering::Sequence, Some(1));
        }
        "generate" => node.blocking = params.llm_url.is_some() || params.llm_latency_ms > 0,
        _ => {}
    }
    node
}

/// Most queries that open batches hold: bounded by their sizes, and by the event time they may stay
/// open.
fn held_back(params: &Params) -> u32 {
    let most = |size: u32| u64::from(size.saturating_sub(1));
    let by_size =
        Category::ALL.len() as u64 * most(params.category_batch_size) + most(params.global_batch_size);
    let open_ms = f64::from(params.category_batch_timeout_ms) + f64::from(params.global_batch_timeout_ms);
    let by_time = ((open_ms / 1e3 * params.query_qps).ceil() as u64).saturating_add(1);
    u32::try_from(by_size.min(by_time)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_in_topological_order_and_edges_meet_declared_ports() {
        for (workload, operators) in [("wl1", 7), ("wl2", 10), ("wl3", 10), ("wl4", 14)] {
            let graph = graph(workload, &Params::default()).unwrap();
            for edge in &graph.edges {
                assert!(edge.from < edge.to, "{edge:?}");
            }
            assert!(graph.nodes.iter().enumerate().all(|(i, node)| node.id == i as u32));
            assert_eq!(graph.operators().count(), operators, "{workload}");
        }
    }

    #[test]
    fn the_parts_of_a_question_leave_and_meet_on_ports_of_their_own() {
        let graph = graph("wl2", &Params::default()).unwrap();
        let id = |name: &str| graph.node(name).unwrap().id;
        assert_eq!(graph.output_ports(id("context")), [merge::VDB1, merge::VDB2, merge::GRAPH]);
        let entering: Vec<u8> = graph.inputs(id("merge")).map(|edge| edge.to_port).collect();
        assert_eq!(entering, [merge::VDB1, merge::VDB2, merge::GRAPH]);
    }

    #[test]
    fn chains_fuse_what_may_run_together() {
        let graph = graph("wl4", &Params::default()).unwrap();
        let names: Vec<Vec<&str>> = graph
            .chains()
            .into_iter()
            .map(|chain| chain.into_iter().map(|id| graph.nodes[id as usize].name.as_str()).collect())
            .collect();
        let expected: [&[&str]; 8] = [
            &["embed_q"],
            &["embed_d"],
            &["join", "graph_memory", "fork"],
            &["vdb1"],
            &["vdb2"],
            &["merge", "dedup", "rerank", "mmr"],
            &["category_batch", "global_batch"],
            &["generate"],
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn open_batches_bound_what_must_be_in_flight() {
        // 4 categories x 4 waiting + 11 waiting globally.
        assert_eq!(graph("wl4", &Params::default()).unwrap().min_in_flight, 27);
        let slow = Params { query_qps: 2.0, ..Params::default() };
        assert_eq!(graph("wl4", &slow).unwrap().min_in_flight, 4);
        let fast = Params { query_qps: 1e36, ..Params::default() };
        assert_eq!(graph("wl4", &fast).unwrap().min_in_flight, 27);
        let endless = Params { category_batch_size: u32::MAX, ..fast };
        assert_eq!(graph("wl4", &endless).unwrap().min_in_flight, u32::MAX);
    }
}
