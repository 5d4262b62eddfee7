//! On how many nodes operators ran: what a backend says, held against what the results show.
//!
//! The metric `nodes` has an entry for each node, under the runtime's own name for it:
//! `{"calls": 12, "processes": [4711], "host": "alpha"}`, and `"alive": false` if it died. A node counts when operators
//! were called on it; one that died may have been replaced. Results carry the worker of every call, so a node of this
//! machine whose processes none of them came from is an invention. So is one of another machine, where the backend told whose
//! the workers are ([`super::clocks`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::clocks::WorkerUse;

/// Name of the metric.
pub const METRIC: &str = "nodes";

/// What a backend says of one node.
#[derive(Debug, Deserialize)]
struct Node {
    /// Calls of operators that it took.
    calls: u64,
    /// Processes that operators ran in.
    #[serde(default)]
    processes: BTreeSet<u32>,
    /// The machine, as it calls itself.
    #[serde(default)]
    host: String,
    /// It was there at the end.
    #[serde(default = "alive")]
    alive: bool,
}

const fn alive() -> bool {
    true
}

/// Whether operators ran on exactly `asked` nodes. `workers` are the processes that results came from.
///
/// # Errors
/// What is not so, as a clause about the backend.
pub fn verify(asked: u32, metrics: &Map<String, Value>, workers: &[WorkerUse]) -> Result<(), String> {
    let Some(said) = metrics.get(METRIC) else {
        if asked == 1 {
            return Ok(());
        }
        return Err(format!(
            "it took --nodes {asked} and does not say in the metric `{METRIC}` on which of them operators ran"
        ));
    };
    let nodes: BTreeMap<String, Node> = serde_json::from_value(said.clone())
        .map_err(|cause| format!("its metric `{METRIC}` does not describe nodes: {cause}"))?;
    let used: BTreeMap<&String, &Node> = nodes.iter().filter(|(_, node)| node.calls > 0).collect();
    let living = used.values().filter(|node| node.alive).count();
    if used.len() < asked as usize || living > asked as usize {
        let names = used.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        return Err(format!("it was asked for {asked} nodes, and operators ran on {}: {names}", used.len()));
    }
    if asked == 1 {
        return Ok(());
    }
    let here = this_host();
    let came_from = |host: &str, process: u32| {
        let on = |used: &WorkerUse| used.host.as_deref().unwrap_or(&here) == host;
        workers.iter().any(|used| used.process == process && on(used))
    };
    // Of machines that nobody told of, results do not say whose they are.
    let told = |host: &str| host == here || workers.iter().any(|used| used.host.is_some());
    let mut seen = BTreeSet::new();
    for (name, node) in used {
        if node.processes.is_empty() {
            return Err(format!("it names no process of the node `{name}`"));
        }
        for process in &node.processes {
            if !seen.insert((&node.host, *process)) {
                return Err(format!("it says that process {process} is on two nodes, `{name}` and another"));
            }
        }
        if node.alive
            && told(&node.host)
            && !node.processes.iter().any(|process| came_from(&node.host, *process))
        {
            return Err(format!("it says that operators ran on `{name}`, and no result came from there"));
        }
    }
    Ok(())
}

/// This machine, as it calls itself.
fn this_host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verify_said(asked: u32, said: Value, workers: &[u32]) -> Result<(), String> {
        let metrics = Map::from_iter([(METRIC.to_owned(), said)]);
        verify(asked, &metrics, &workers.iter().map(|process| used(None, *process)).collect::<Vec<_>>())
    }

    fn used(host: Option<&str>, process: u32) -> WorkerUse {
        WorkerUse { host: host.map(str::to_owned), process, spans: 1 }
    }

    #[test]
    fn a_node_of_another_machine_needs_results_from_there_where_workers_are_known() {
        let there = |host| json!({"calls": 1, "processes": [40], "host": host});
        let metrics = Map::from_iter([(METRIC.to_owned(), json!({"a": there("alpha"), "b": there("beta")}))]);
        assert_eq!(verify(2, &metrics, &[used(Some("alpha"), 40), used(Some("beta"), 40)]), Ok(()));
        let told = verify(2, &metrics, &[used(Some("alpha"), 40), used(None, 40)]).unwrap_err();
        assert!(told.contains("`b`, and no result came from there"), "{told}");
    }

    fn here(processes: &[u32]) -> Value {
        json!({"calls": 4, "processes": processes, "host": this_host()})
    }

    #[test]
    fn nodes_with_calls_and_processes_of_their_own_are_believed() {
        let said = json!({"a": here(&[1, 2]), "b": here(&[3]), "idle": {"calls": 0}});
        assert_eq!(verify_said(2, said, &[2, 3]), Ok(()));
    }

    #[test]
    fn a_node_that_died_may_have_been_replaced() {
        let died = json!({"calls": 1, "processes": [9], "alive": false});
        assert_eq!(verify_said(2, json!({"a": here(&[1]), "b": here(&[2]), "c": died}), &[1, 2]), Ok(()));
        assert_eq!(verify_said(2, json!({"a": here(&[1]), "c": died}), &[1]), Ok(()));
        assert!(verify_said(3, json!({"a": here(&[1]), "c": died}), &[1]).is_err());
    }

    #[test]
    fn processes_of_other_machines_may_have_equal_numbers() {
        let there = |host| json!({"calls": 1, "processes": [40], "host": host});
        assert_eq!(verify_said(2, json!({"a": there("alpha"), "b": there("beta")}), &[7]), Ok(()));
    }

    #[test]
    fn silence_is_no_proof_unless_one_node_was_asked_for() {
        let silent = |asked| verify(asked, &Map::new(), &[used(None, 1)]);
        assert_eq!(silent(1), Ok(()));
        assert!(silent(3).unwrap_err().contains("does not say"));
    }

    #[test]
    fn every_kind_of_untruth_is_told() {
        for (said, workers, expected) in [
            (
                json!({"a": here(&[1]), "b": here(&[2])}),
                vec![1, 2],
                "asked for 3 nodes, and operators ran on 2",
            ),
            (json!({"a": here(&[1]), "b": here(&[2]), "c": here(&[3])}), vec![1, 2], "`c`, and no result"),
            (json!({"a": here(&[1]), "b": here(&[1]), "c": here(&[1])}), vec![1], "on two nodes"),
            (json!({"a": {"calls": 1}, "b": {"calls": 1}, "c": {"calls": 1}}), vec![1], "names no process"),
            (json!({"a": here(&[1]), "b": here(&[2]), "c": {"calls": 0}}), vec![1, 2], "ran on 2"),
            (json!(3), vec![1], "does not describe nodes"),
            (json!({"a": 1, "b": 1, "c": 1}), vec![1], "does not describe nodes"),
        ] {
            let told = verify_said(3, said, &workers).unwrap_err();
            assert!(told.contains(expected), "{told} where {expected} was expected");
        }
    }

    #[test]
    fn more_nodes_than_asked_for_are_not_one_node() {
        assert!(verify_said(1, json!({"a": here(&[1]), "b": here(&[2])}), &[1, 2]).is_err());
        assert_eq!(verify_said(1, json!({"a": here(&[1])}), &[1]), Ok(()));
    }
}
