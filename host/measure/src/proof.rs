//! Whether the work on an answer was done, and in this run.
//!
//! An answer comes with a span of every operator that queries pass, each sealed for this run and this query; and what
//! it says is what the last of them wrote, to the byte. One that was kept from an earlier run, made up, changed or
//! brought past an operator is found out by this. It is not an answer, so the run fails.

use bench_dataflow::frame::{Frame, SPAN_LEN};
use bench_dataflow::graph::{Graph, Role};
use bench_workloads::schedule::QUERY_SOURCE;
use bench_workloads::seal::{Key, digest};
use serde::{Deserialize, Serialize};

/// What there has to be on every answer of a run.
#[derive(Debug, Clone)]
pub struct Proof {
    key: Key,
    /// Operators that every query passes, and their names.
    passed: Vec<(usize, String)>,
    /// Those of them that write answers.
    last: Vec<usize>,
}

/// Answers that are not the work of the run's operators.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproven {
    pub answers: u64,
    /// What is wrong with the first of them.
    pub first: Option<String>,
}

impl Proof {
    /// Of a run of `graph` with this key.
    #[must_use]
    pub fn of(graph: &Graph, key: Key) -> Self {
        let mut reached = vec![u32::from(QUERY_SOURCE)];
        // Nodes are in topological order.
        for node in &graph.nodes {
            if graph.inputs(node.id).any(|edge| reached.contains(&edge.from)) {
                reached.push(node.id);
            }
        }
        let passed = graph.operators().filter(|node| reached.contains(&node.id));
        let passed: Vec<_> = passed.map(|node| (node.id as usize, node.name.clone())).collect();
        let writes =
            |id: usize| graph.outputs(id as u32).any(|edge| graph.nodes[edge.to as usize].role == Role::Sink);
        let last = passed.iter().map(|(id, _)| *id).filter(|id| writes(*id)).collect();
        Self { key, passed, last }
    }

    /// Whether an operator of this run left a span, as it lies there, on record `seq`.
    #[must_use]
    pub fn admits(&self, seq: u64, span: &[u8; SPAN_LEN]) -> bool {
        self.key.fits(seq, span)
    }

    /// What an answer lacks, whose admitted spans are in `stages`: by node id the digest of what it wrote, 0 where it
    /// wrote nothing.
    #[must_use]
    pub fn lacking(&self, answer: &Frame<'_>, stages: &[u64]) -> Option<String> {
        let wrote = |node: usize| stages.get(node).copied().unwrap_or(0);
        if let Some((_, name)) = self.passed.iter().find(|(node, _)| wrote(*node) == 0) {
            return Some(format!("no `{name}` of this run has worked on it"));
        }
        let written = digest(answer.body);
        (!self.last.iter().any(|node| wrote(*node) == written))
            .then(|| "it is not what the last operator wrote".to_owned())
    }
}

impl Unproven {
    /// How many there are, and what is wrong with the first.
    #[must_use]
    pub fn said(&self) -> Option<String> {
        let (answers, first) = (self.answers, self.first.as_ref()?);
        Some(format!("{answers} answers are not the work of this run's operators, the first to {first}"))
    }

    /// Takes note of one.
    pub fn add(&mut self, query: &str, why: String) {
        self.answers += 1;
        if self.first.is_none() {
            self.first = Some(format!("`{query}`: {why}"));
        }
    }
}
