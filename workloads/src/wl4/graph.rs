use bench_dataflow::graph::{Edge, Graph, Node, Ordering, Partition, Role, State};

use super::params::Params;
use super::{join, merge};
use crate::text::vocabulary::Category;

/// The graph of Workload4, called `workload`.
#[must_use]
pub fn graph(workload: &str, params: &Params) -> Graph {
    use Ordering::{EventTime, Sequence};
    let mut nodes: Vec<Node> = Vec::new();
    let mut add = |name: &str, role, summary: &str| {
        nodes.push(Node {
            id: nodes.len() as u32,
            name: name.to_owned(),
            role,
            state: State::None,
            key: None,
            max_parallelism: None,
            ordering: Ordering::None,
            blocking: false,
            summary: summary.to_owned(),
        });
    };
    add("query_source", Role::Source, "questions in event-time order");
    add("doc_source", Role::Source, "documents in event-time order");
    add("embed_q", Role::Operator, "question text to vector");
    add("embed_d", Role::Operator, "document text to vector");
    add("join", Role::Operator, "questions with the similar documents of their event-time window");
    add("graph_memory", Role::Operator, "beam walk through the graph memory");
    add("fork", Role::Operator, "one copy for each vector database");
    add("vdb1", Role::Operator, "four-stage search of the first vector database");
    add("vdb2", Role::Operator, "four-stage search of the second vector database");
    add("merge", Role::Operator, "both halves of a question, united by document");
    add("dedup", Role::Operator, "DBSCAN over everything found");
    add("rerank", Role::Operator, "five-dimensional score");
    add("mmr", Role::Operator, "relevance against redundancy");
    add("category_batch", Role::Operator, "batches per category, by count or event time");
    add("global_batch", Role::Operator, "batches over all categories");
    add("generate", Role::Operator, "one answer for each question of a batch");
    add("sink", Role::Sink, "answers");

    let blocking = [params.embedding_url.is_some(), params.llm_url.is_some()];
    for node in &mut nodes {
        match node.name.as_str() {
            "embed_q" | "embed_d" => node.blocking = blocking[0],
            "join" => (node.state, node.ordering) = (State::Broadcast, EventTime),
            "merge" => (node.state, node.key) = (State::Keyed, Some("query_id".into())),
            "category_batch" => {
                (node.state, node.ordering) = (State::Global, Sequence);
                (node.key, node.max_parallelism) = (Some("category".into()), Some(1));
            }
            "global_batch" => {
                (node.state, node.ordering, node.max_parallelism) = (State::Global, Sequence, Some(1));
            }
            "generate" => node.blocking = blocking[1] || params.llm_latency_ms > 0,
            _ => {}
        }
    }
    let id = |name: &str| nodes.iter().find(|node| node.name == name).map_or(0, |node| node.id);
    let edge = |from: &str, from_port, to: &str, to_port, partition| Edge {
        from: id(from),
        from_port,
        to: id(to),
        to_port,
        partition,
    };
    let mut edges = vec![
        edge("query_source", 0, "embed_q", 0, Partition::Any),
        edge("doc_source", 0, "embed_d", 0, Partition::Any),
        edge("embed_q", 0, "join", join::QUERIES, Partition::Any),
        edge("embed_d", 0, "join", join::DOCS, Partition::Broadcast),
        edge("fork", 0, "vdb1", 0, Partition::Any),
        edge("fork", 1, "vdb2", 0, Partition::Any),
        edge("vdb1", 0, "merge", merge::VDB1, Partition::Key),
        edge("vdb2", 0, "merge", merge::VDB2, Partition::Key),
    ];
    let line = [
        ["join", "graph_memory"],
        ["graph_memory", "fork"],
        ["merge", "dedup"],
        ["dedup", "rerank"],
        ["rerank", "mmr"],
        ["mmr", "category_batch"],
        ["category_batch", "global_batch"],
        ["global_batch", "generate"],
        ["generate", "sink"],
    ];
    edges.extend(line.map(|[from, to]| edge(from, 0, to, 0, Partition::Any)));
    Graph { workload: workload.to_owned(), edges, min_in_flight: held_back(params), nodes }
}

/// Most queries that open batches hold: bounded by their sizes, and by the event time they may stay
/// open.
fn held_back(params: &Params) -> u32 {
    let by_size =
        Category::ALL.len() as u32 * (params.category_batch_size - 1) + params.global_batch_size - 1;
    let open_ms = f64::from(params.category_batch_timeout_ms + params.global_batch_timeout_ms);
    let by_time = (open_ms / 1e3 * params.query_qps).ceil() as u32 + 1;
    by_size.min(by_time).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_in_topological_order_and_edges_meet_declared_ports() {
        let graph = graph("wl4", &Params::default());
        for edge in &graph.edges {
            assert!(edge.from < edge.to, "{edge:?}");
        }
        assert!(graph.nodes.iter().enumerate().all(|(i, node)| node.id == i as u32));
        assert_eq!(graph.operators().count(), 14);
    }

    #[test]
    fn chains_fuse_what_may_run_together() {
        let graph = graph("wl4", &Params::default());
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
        assert_eq!(graph("wl4", &Params::default()).min_in_flight, 27);
        let slow = Params { query_qps: 2.0, ..Params::default() };
        assert_eq!(graph("wl4", &slow).min_in_flight, 4);
    }
}
