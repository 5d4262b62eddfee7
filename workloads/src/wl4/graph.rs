//! The graph of a workload of the family, from its paths through the catalogue of operators. What an operator needs
//! of a runtime is the same in each.
//!
//! A vector database in shards is a fan, `fork ─┬─ vdb1_shard0 ─┬─ vdb1`: a branch for each, which gets the query
//! alone, and one straight to where they meet again, with everything found so far. Shards of one number belong on one
//! machine.

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

/// The graph of the workload of this name and with these paths.
#[must_use]
pub fn graph(workload: &str, paths: &[&str], params: &Params) -> Graph {
    let hops: Vec<(String, String)> = paths
        .iter()
        .flat_map(|path| path.split(' ').zip(path.split(' ').skip(1)))
        .flat_map(|(from, to)| sharded(from, to, params.vdb_shards))
        .collect();
    let present = |name: &str| hops.iter().any(|(from, to)| from == name || to == name);
    let nodes: Vec<Node> = CATALOGUE
        .iter()
        .flat_map(|(name, summary)| catalogued(name, summary, params.vdb_shards))
        .filter(|(name, _)| present(name))
        .zip(0..)
        .map(|((name, summary), id)| node(id, name, summary, params))
        .collect();
    let id = |name: &str| nodes.iter().find(|node| node.name == name).map_or(0, |node| node.id);
    let edges = hops.iter().map(|(from, to)| Edge {
        from: id(from),
        from_port: if matches!(from.as_str(), "fork" | "context") { part(to) } else { 0 },
        to: id(to),
        to_port: match (from.as_str(), to.as_str()) {
            ("embed_d", "join") => join::DOCS,
            (_, "join") => join::QUERIES,
            (_, "merge") => part(from),
            (_, to) if is_gather(to, params) => gather_port(from, params),
            _ => 0,
        },
        partition: match (from.as_str(), to.as_str()) {
            ("embed_d", "join") => Partition::Broadcast,
            (_, "merge") => Partition::Key,
            (_, to) if is_gather(to, params) => Partition::Key,
            _ => Partition::Any,
        },
    });
    let min_in_flight = if present("category_batch") { held_back(params) } else { 1 };
    // Beside what open batches hold, as many calls as are wanted can be under way.
    let min_in_flight = min_in_flight.saturating_add(params.llm_concurrency.map_or(0, |calls| calls - 1));
    Graph { workload: workload.to_owned(), edges: edges.collect(), min_in_flight, nodes }
}

/// Whether the records on an edge are batches.
pub fn carries_batches(graph: &Graph, edge: &Edge) -> bool {
    matches!(graph.nodes[edge.from as usize].name.as_str(), "category_batch" | "global_batch")
}

/// A hop to a vector database in several shards also goes through each of them.
fn sharded(from: &str, to: &str, shards: u32) -> Vec<(String, String)> {
    let straight = (from.to_owned(), to.to_owned());
    if !DATABASES.contains(&to) || shards == 1 {
        return vec![straight];
    }
    let through = |shard| {
        let name = shard_name(to, shard);
        [(from.to_owned(), name.clone()), (name, to.to_owned())]
    };
    (0..shards).flat_map(through).chain([straight]).collect()
}

/// Whether the shards of a vector database meet in this operator.
fn is_gather(name: &str, params: &Params) -> bool {
    params.vdb_shards > 1 && DATABASES.contains(&name)
}

/// Shards enter by their number, the query itself after them.
fn gather_port(from: &str, params: &Params) -> u8 {
    shard_of(from).map_or(params.vdb_shards, |(_, shard)| shard) as u8
}

/// An entry of the catalogue, a vector database's shards before it.
fn catalogued(name: &str, summary: &str, shards: u32) -> Vec<(String, String)> {
    if !DATABASES.contains(&name) || shards == 1 {
        return vec![(name.to_owned(), summary.to_owned())];
    }
    let shard = |i| (shard_name(name, i), format!("search of shard {i} of {shards} of {name}"));
    let gather = (name.to_owned(), "the four stages over what its shards found nearest".to_owned());
    (0..shards).map(shard).chain([gather]).collect()
}

/// The vector databases.
const DATABASES: [&str; 2] = ["vdb1", "vdb2"];

fn shard_name(database: &str, shard: u32) -> String {
    format!("{database}_shard{shard}")
}

/// Which database (0 or 1) and which shard of it an operator of this name searches.
#[must_use]
pub fn shard_of(name: &str) -> Option<(u8, u32)> {
    let (database, shard) = name.split_once("_shard")?;
    let which = DATABASES.iter().position(|known| *known == database)?;
    Some((which as u8, shard.parse().ok()?))
}

/// The port on which a search leaves the fork and enters the merge. A shard gets the query alone, as `vdb2`.
fn part(search: &str) -> u8 {
    match search {
        "graph_memory" => merge::GRAPH,
        "vdb1" => merge::VDB1,
        _ => merge::VDB2,
    }
}

fn node(id: u32, name: String, summary: String, params: &Params) -> Node {
    let role = match name.as_str() {
        "query_source" | "doc_source" => Role::Source,
        "sink" => Role::Sink,
        _ => Role::Operator,
    };
    let mut node = Node {
        id,
        role,
        state: State::None,
        key: None,
        max_parallelism: None,
        ordering: Ordering::None,
        blocking: false,
        concurrency: None,
        affinity: shard_of(&name).map(|(_, shard)| shard),
        name,
        summary,
    };
    match node.name.as_str() {
        "embed_q" | "embed_d" => node.blocking = params.embedding_url.is_some(),
        "join" => (node.state, node.ordering) = (State::Broadcast, Ordering::EventTime),
        name if name == "merge" || is_gather(name, params) => {
            (node.state, node.key) = (State::Keyed, Some("query_id".into()));
        }
        "category_batch" => {
            (node.state, node.ordering) = (State::Global, Ordering::Sequence);
            (node.key, node.max_parallelism) = (Some("category".into()), Some(1));
        }
        "global_batch" => {
            (node.state, node.ordering, node.max_parallelism) = (State::Global, Ordering::Sequence, Some(1));
        }
        "generate" => {
            node.blocking =
                params.llm_url.is_some() || params.llm_latency_ms > 0 || params.llm_concurrency.is_some();
            if let Some(calls) = params.llm_concurrency {
                // One instance, so that the limit is the whole run's, whatever the parallelism.
                (node.max_parallelism, node.concurrency) = (Some(1), Some(calls));
            }
        }
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
    use crate::wl4::Rag;
    use crate::{wl1, wl2, wl3, wl4};

    const FAMILY: [Rag; 4] = [wl1::WORKLOAD, wl2::WORKLOAD, wl3::WORKLOAD, wl4::WORKLOAD];

    fn of(workload: &Rag, params: &Params) -> Graph {
        graph(workload.name, workload.paths, params)
    }

    #[test]
    fn nodes_are_in_topological_order_and_edges_meet_declared_ports() {
        for (workload, operators) in FAMILY.iter().zip([7, 10, 10, 14]) {
            let graph = of(workload, &Params::default());
            for edge in &graph.edges {
                assert!(edge.from < edge.to, "{edge:?}");
            }
            assert!(graph.nodes.iter().enumerate().all(|(i, node)| node.id == i as u32));
            assert_eq!(graph.operators().count(), operators, "{}", workload.name);
        }
    }

    #[test]
    fn the_parts_of_a_question_leave_and_meet_on_ports_of_their_own() {
        let graph = of(&wl2::WORKLOAD, &Params::default());
        let id = |name: &str| graph.node(name).unwrap().id;
        assert_eq!(graph.output_ports(id("context")), [merge::VDB1, merge::VDB2, merge::GRAPH]);
        let entering: Vec<u8> = graph.inputs(id("merge")).map(|edge| edge.to_port).collect();
        assert_eq!(entering, [merge::VDB1, merge::VDB2, merge::GRAPH]);
    }

    #[test]
    fn each_shard_gets_the_query_and_answers_on_a_port_of_its_own() {
        let params = Params { vdb_shards: 3, ..Params::default() };
        for rag in &FAMILY {
            let (workload, graph) = (rag.name, of(rag, &params));
            assert!(graph.edges.iter().all(|edge| edge.from < edge.to), "{workload}");
            let gather = graph.node("vdb1").unwrap();
            assert_eq!((gather.state, gather.affinity), (State::Keyed, None));
            for shard in 0..3 {
                let search = graph.node(&format!("vdb1_shard{shard}")).unwrap();
                assert_eq!((shard_of(&search.name), search.affinity), (Some((0, shard)), Some(shard)));
                let from: Vec<u8> = graph.inputs(search.id).map(|edge| edge.from_port).collect();
                assert_eq!(from, [merge::VDB2], "{workload}: the query alone");
            }
            let into: Vec<_> = graph.inputs(gather.id).map(|edge| (edge.to_port, edge.partition)).collect();
            assert_eq!(into, [0, 1, 2, 3].map(|port| (port, Partition::Key)));
            let straight = graph.inputs(gather.id).find(|edge| edge.to_port == 3).unwrap();
            assert_eq!(straight.from_port, merge::VDB1, "{workload}: everything found so far");
        }
        assert_eq!(shard_of("vdb1"), None);
    }

    #[test]
    fn chains_fuse_what_may_run_together() {
        let graph = of(&wl4::WORKLOAD, &Params::default());
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
        assert_eq!(of(&wl4::WORKLOAD, &Params::default()).min_in_flight, 27);
        let slow = Params { query_qps: 2.0, ..Params::default() };
        assert_eq!(of(&wl4::WORKLOAD, &slow).min_in_flight, 4);
        let fast = Params { query_qps: 1e36, ..Params::default() };
        assert_eq!(of(&wl4::WORKLOAD, &fast).min_in_flight, 27);
        let endless = Params { category_batch_size: u32::MAX, ..fast };
        assert_eq!(of(&wl4::WORKLOAD, &endless).min_in_flight, u32::MAX);
    }
}
