//! Tasks, channels and the flow between them.

use std::sync::Arc;

use bench_plugin_api::dataflow::graph::{Graph, Role};
use bench_plugin_api::dataflow::route::{Delivery, Router};
use bench_plugin_api::sdk::{Error, Host, Operator, Spec};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// Batches that may wait in front of a task. Small: the in-flight limit of the source is what keeps
/// everyone busy, the channels only have to hide the hand-over.
const CHANNEL_BATCHES: usize = 4;

/// A batch for one node of a task's chain.
type Mail = (u32, Vec<u8>);

/// Runs the graph until the events end and everything is flushed.
pub fn run(spec: &Spec, host: &Host) -> Result<(), Error> {
    host.progress("start-up", "");
    let graph = host.graph()?;
    // Workers and the reader of the source; and as many that may not be quite gone when the runtime starts its own.
    can_be_started(2 * (spec.parallelism as usize + 1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(spec.parallelism as usize)
        .thread_name("local")
        .build()
        .map_err(Error::runtime)?;
    host.progress("deploy", "");
    let (mut tasks, entrance) = deploy(&runtime, &graph, spec.parallelism, host)?;
    host.progress("steady", "");
    let batch_size = spec.batch_size();
    let source_host = host.clone();
    let source = runtime.spawn_blocking(move || read_source(&source_host, batch_size, entrance));
    runtime.block_on(async move {
        let mut first_error = None;
        while let Some(done) = tasks.join_next().await {
            let result = done.unwrap_or_else(|cause| Err(Error::runtime(cause)));
            first_error = first_error.or(result.err());
        }
        let source = source.await.unwrap_or_else(|cause| Err(Error::runtime(cause)));
        // A source that found its receivers gone only shows what another task died of.
        match first_error.or(source.err()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    })
}

/// Whether so many threads can run at once: tried, because a runtime that gets only some of its threads panics, or
/// waits for ever for one that would do its work.
fn can_be_started(threads: usize) -> Result<(), Error> {
    let gate = std::sync::Mutex::new(());
    let started: std::io::Result<()> = std::thread::scope(|scope| {
        // Held until all are there, or one could not be started.
        let _closed = gate.lock();
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop);
        (0..threads).try_for_each(start)
    });
    started.map_err(|cause| Error::runtime(format!("{threads} threads cannot be started: {cause}")))
}

/// Starts one task per instance of every chain, or one for each call that may be under way there, with one mailbox for
/// all of them; returns the way in.
fn deploy(
    runtime: &tokio::runtime::Runtime,
    graph: &Graph,
    parallelism: u32,
    host: &Host,
) -> Result<(JoinSet<Result<(), Error>>, Outbox), Error> {
    let router = Arc::new(Router::new(graph.clone(), parallelism));
    let chains = graph.chains();
    let mut doors: Vec<Vec<mpsc::Sender<Mail>>> = vec![Vec::new(); graph.nodes.len()];
    let mut mailboxes = Vec::new();
    for chain in &chains {
        for instance in 0..router.instances(chain[0]) {
            let (sender, receiver) = mpsc::channel(CHANNEL_BATCHES);
            for &node in chain {
                doors[node as usize].push(sender.clone());
            }
            let mailbox = Arc::new(Mutex::new(receiver));
            for _ in 0..graph.concurrency(chain) {
                mailboxes.push((chain.clone(), instance, Arc::clone(&mailbox)));
            }
        }
    }
    let mut tasks = JoinSet::new();
    for (chain, instance, mailbox) in mailboxes {
        let of = router.instances(chain[0]);
        let operators = chain.iter().map(|&node| Ok((node, host.operator(node, instance, of)?)));
        let task = Task {
            operators: operators.collect::<Result<_, Error>>()?,
            blocking: chain.iter().any(|&node| graph.nodes[node as usize].blocking),
            outbox: Outbox::new(&router, &doors, reachable(graph, &chain), instance),
            host: host.clone(),
        };
        tasks.spawn_on(task.run(mailbox), runtime.handle());
    }
    let sources: Vec<u32> =
        graph.nodes.iter().filter(|node| node.role == Role::Source).map(|node| node.id).collect();
    let entrance = Outbox::new(&router, &doors, reachable(graph, &sources), 0);
    Ok((tasks, entrance))
}

/// Nodes outside `chain` that its output goes to: only these doors stay open for it, so that a task
/// ends when everything before it has ended.
fn reachable(graph: &Graph, chain: &[u32]) -> Vec<u32> {
    let next = chain.iter().flat_map(|&node| graph.outputs(node)).map(|edge| edge.to);
    next.filter(|node| !chain.contains(node)).collect()
}

fn read_source(host: &Host, batch_size: u32, mut entrance: Outbox) -> Result<(), Error> {
    while let Some(events) = host.next_events(batch_size)? {
        if host.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let turn = entrance.turn();
        let deliveries = entrance.router.route_events(&events, turn)?;
        for delivery in deliveries {
            entrance.door(&delivery)?.blocking_send((delivery.node, delivery.batch)).map_err(|_| gone())?;
        }
    }
    host.progress("drain", "");
    Ok(())
}

fn gone() -> Error {
    Error::runtime("a task of the local engine ended before its input did")
}

/// Where a task's output goes.
struct Outbox {
    router: Arc<Router>,
    doors: Vec<Vec<mpsc::Sender<Mail>>>,
    turn: u32,
}

impl Outbox {
    fn new(router: &Arc<Router>, doors: &[Vec<mpsc::Sender<Mail>>], open: Vec<u32>, turn: u32) -> Self {
        let keep = |(node, senders): (usize, &Vec<_>)| {
            if open.contains(&(node as u32)) { senders.clone() } else { Vec::new() }
        };
        Self { router: Arc::clone(router), doors: doors.iter().enumerate().map(keep).collect(), turn }
    }

    /// Instances of a stateless operator take turns.
    fn turn(&mut self) -> u32 {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    fn door(&self, delivery: &Delivery) -> Result<&mpsc::Sender<Mail>, Error> {
        let doors = &self.doors[delivery.node as usize];
        doors.get(delivery.instance as usize).ok_or_else(|| {
            Error::Invalid(format!(
                "the graph has no way to instance {} of node {}",
                delivery.instance, delivery.node
            ))
        })
    }

    async fn send(&self, deliveries: Vec<Delivery>) -> Result<(), Error> {
        for delivery in deliveries {
            let door = self.door(&delivery)?;
            door.send((delivery.node, delivery.batch)).await.map_err(|_| gone())?;
        }
        Ok(())
    }
}

/// One instance of a chain.
struct Task {
    operators: Vec<(u32, Operator)>,
    blocking: bool,
    outbox: Outbox,
    host: Host,
}

impl Task {
    async fn run(mut self, mailbox: Arc<Mutex<mpsc::Receiver<Mail>>>) -> Result<(), Error> {
        loop {
            let Some((node, batch)) = mailbox.lock().await.recv().await else { break };
            let out = self.work(|task| task.process(node, batch))?;
            self.outbox.send(out).await?;
        }
        for link in 0..self.operators.len() {
            let out = self.work(|task| {
                let (node, operator) = &mut task.operators[link];
                let (node, flushed) = (*node, operator.finish()?);
                task.pass_on(node, flushed)
            })?;
            self.outbox.send(out).await?;
        }
        Ok(())
    }

    /// Operators that wait on the network must not hold a worker thread.
    fn work<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.blocking { tokio::task::block_in_place(|| call(self)) } else { call(self) }
    }

    fn process(&mut self, node: u32, batch: Vec<u8>) -> Result<Vec<Delivery>, Error> {
        let link = self.operators.iter_mut().find(|(id, _)| *id == node);
        let (_, operator) =
            link.ok_or_else(|| Error::Invalid(format!("node {node} is not in this chain")))?;
        let output = operator.process(&batch)?;
        self.pass_on(node, output)
    }

    /// Routes what `node` wrote: through the rest of the chain, to the sink, or out.
    fn pass_on(&mut self, node: u32, output: Vec<u8>) -> Result<Vec<Delivery>, Error> {
        let mut out = Vec::new();
        let turn = self.outbox.turn();
        for delivery in self.outbox.router.route_whole(node, output, turn)? {
            if self.operators.iter().any(|(id, _)| *id == delivery.node) {
                out.extend(self.process(delivery.node, delivery.batch)?);
            } else if self.outbox.router.graph().nodes[delivery.node as usize].role == Role::Sink {
                self.host.emit(&delivery.batch)?;
            } else {
                out.push(delivery);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use bench_plugin_api::sdk::Backend;
    use bench_plugin_api::testkit::{expected, fake_host, spec};

    #[test]
    fn every_item_arrives_once_at_every_parallelism() {
        for parallelism in [1, 2, 8] {
            let (host, seen) = fake_host(500);
            crate::Local.run(&spec(500, parallelism), &host).unwrap();
            let mut results = seen.lock().unwrap().results.clone();
            results.sort();
            let mut expected = expected(500);
            expected.sort();
            assert_eq!(results, expected);
        }
    }

    #[test]
    fn no_items_is_a_run_too() {
        let (host, seen) = fake_host(0);
        crate::Local.run(&spec(0, 2), &host).unwrap();
        assert!(seen.lock().unwrap().results.is_empty());
    }

    #[test]
    fn several_nodes_are_refused_with_the_reason() {
        let (host, _) = fake_host(1);
        let mut spec = spec(1, 2);
        spec.extra.push(("nodes".into(), "3".into()));
        assert!(crate::Local.run(&spec, &host).unwrap_err().to_string().contains("3 nodes"));
    }
}
