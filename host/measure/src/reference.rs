//! What the right answers are: bench's own operators, one after the other on one thread of this process.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bench_dataflow::graph::Role;
use bench_dataflow::route::{Delivery, Router};
use bench_workloads::instance::Instance;
use bench_workloads::open::OpenWorkload;

use super::digest::output_digest;
use super::emitter::Emitter;
use super::item::read_items;
use super::ledger::Ledger;
use super::plan::{Load, Plan};
use super::sink::Sink;

/// What can go wrong with it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The answers to a plan's queries.
#[derive(Debug)]
pub struct Answers {
    /// Of all of them.
    pub output_digest: String,
    /// That of each, by the id of its query.
    pub digests: HashMap<String, [u8; 32]>,
    /// Queries that fail, whoever works on them.
    pub failed: u64,
}

/// Answers every query of a plan whose indexes are prepared; nothing when it is `over` before.
///
/// # Errors
/// When they cannot be computed.
pub fn answers(plan: &Plan, over: &dyn Fn() -> bool) -> Result<Option<Answers>, Failure> {
    let plan = Plan { load: Load::Closed, ..plan.clone() };
    let workload = OpenWorkload::with_texts(plan.open_spec())?;
    let (graph, ledger) = (workload.graph(), Arc::new(Ledger::default()));
    let file = tempfile::tempfile_in(bench_isolate::isolate::temp_dir())?;
    let emitter = Emitter::new(&plan, workload.schedule()?, Arc::clone(&ledger));
    let sink = Sink::new(Arc::clone(&ledger), vec![true; graph.nodes.len()], file.try_clone()?, None);
    let operators = graph.nodes.iter().map(|node| match node.role {
        Role::Operator => workload.operator(node.id, 0, 1).map(Some),
        Role::Source | Role::Sink => Ok(None),
    });
    let mut line =
        Line { operators: operators.collect::<Result<_, _>>()?, router: Router::new(graph.clone(), 1) };
    while let Some(events) = emitter.next(plan.parity_batch_size)? {
        if over() {
            return Ok(None);
        }
        let deliveries = line.router.route_events(&events, 0)?;
        sink.take(&line.deliver(deliveries)?)?;
    }
    sink.take(&line.finish()?)?;
    let failed = sink.close()?.failed;
    let unanswered = ledger.unanswered().len();
    if unanswered > 0 {
        return Err(format!("{unanswered} queries have no answer").into());
    }
    let items = read_items(rewound(file)?).collect::<io::Result<Vec<_>>>()?;
    let answered = || items.iter().filter(|item| item.ok).map(|item| (item.query_id.clone(), item.digest));
    let output_digest = output_digest(answered().map(Ok), &bench_isolate::isolate::temp_dir())?;
    Ok(Some(Answers { output_digest, digests: answered().collect(), failed }))
}

fn rewound(mut file: std::fs::File) -> io::Result<std::fs::File> {
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// One instance of every operator.
struct Line {
    operators: Vec<Option<Instance>>,
    router: Router,
}

impl Line {
    /// Brings batches through the graph, and returns what reaches its end.
    fn deliver(&mut self, deliveries: Vec<Delivery>) -> Result<Vec<u8>, Failure> {
        let (mut results, mut left) = (Vec::new(), deliveries);
        // In the order of the graph: an operator with two inputs gets them as they were written.
        left.reverse();
        while let Some(delivery) = left.pop() {
            match &mut self.operators[delivery.node as usize] {
                None => results.extend_from_slice(&delivery.batch),
                Some(operator) => {
                    let mut output = Vec::new();
                    operator.process(&delivery.batch, &mut output)?;
                    left.extend(self.router.route(delivery.node, &output, 0)?.into_iter().rev());
                }
            }
        }
        Ok(results)
    }

    /// What the operators still hold.
    fn finish(&mut self) -> Result<Vec<u8>, Failure> {
        let mut results = Vec::new();
        for node in 0..self.operators.len() {
            let Some(operator) = &mut self.operators[node] else { continue };
            let mut output = Vec::new();
            operator.finish(&mut output)?;
            let deliveries = self.router.route(node as u32, &output, 0)?;
            results.extend(self.deliver(deliveries)?);
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Variation, example};
    use bench_workloads::list;

    fn of(variation: Variation) -> Answers {
        let plan = Plan { workload: list::without_work(), num_tasks: 64, variation, ..example() };
        answers(&plan, &|| false).unwrap().unwrap()
    }

    #[test]
    fn every_query_is_answered_and_what_is_asked_otherwise_is_answered_otherwise() {
        let plain = of(Variation::default());
        assert_eq!((plain.digests.len(), plain.failed), (64, 0));
        assert_eq!(of(Variation::default()).output_digest, plain.output_digest);
        // Without work an answer repeats its query, so the order alone changes none.
        assert_eq!(of(Variation { order: Some(3), distinct: None }).output_digest, plain.output_digest);
        assert_ne!(of(Variation { order: None, distinct: Some(8) }).output_digest, plain.output_digest);
    }

    #[test]
    fn it_ends_when_it_is_over() {
        let plan = Plan { workload: list::without_work(), ..example() };
        assert!(answers(&plan, &|| true).unwrap().is_none());
    }
}
