//! P threads, each with an instance of every operator, each calling them one after the other.
//!
//! A thread takes the next batch of queries from the source and brings it through the whole graph; two
//! halves of a query meet where they were parted. Documents are embedded once, by the thread that takes
//! them and before another may take the next batch, and go to the joins of all threads: so the documents
//! that a query must see are always there before it. The two batch operators exist once, behind a lock.
//! That is the schedule and the operators of a run, with no queue between operators and no boundary.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use bench_dataflow::frame::{Kind, frames};
use bench_dataflow::graph::{Partition, Role};
use bench_dataflow::route::{Delivery, Router};
use bench_measure::clocks::Clocks;
use bench_measure::digest::output_digest;
use bench_measure::emitter::Emitter;
use bench_measure::guest::Edge;
use bench_measure::item::read_items;
use bench_measure::ledger::{Ledger, Settled};
use bench_measure::monitor::TreeMonitor;
use bench_measure::outcome::SinkOutcome;
use bench_measure::plan::Plan;
use bench_measure::proof::Proof;
use bench_measure::sink::Sink;
use bench_workloads::instance::{Instance, monotonic_ns};
use bench_workloads::open::OpenWorkload;
use bench_workloads::seal::Key;
use bench_workloads::workload::OpenSpec;
use serde_json::{Value, json};

use crate::Failure;

/// What measures while the work goes on.
#[derive(Clone, Copy)]
pub struct Observed {
    /// Spans are sealed, and seals are checked.
    proof: bool,
    /// The sink accounts for every answer; otherwise it counts them.
    sink: bool,
    /// Process tree and machine are looked at.
    sampling: bool,
}

impl Default for Observed {
    fn default() -> Self {
        Self { proof: true, sink: true, sampling: true }
    }
}

impl Observed {
    /// The same without one of them.
    pub fn without(self, what: &str) -> Result<Self, Failure> {
        match what {
            "proof" => Ok(Self { proof: false, ..self }),
            "sink" => Ok(Self { sink: false, ..self }),
            "sampling" => Ok(Self { sampling: false, ..self }),
            other => Err(format!("nothing that measures is called {other}").into()),
        }
    }
}

/// Where answers end.
enum End {
    Sink(Box<Sink>),
    /// Who knows how many there were and when the last came, and nothing else.
    Count {
        ledger: Arc<Ledger>,
        completed: AtomicU64,
        last_ns: AtomicU64,
    },
}

impl End {
    fn take(&self, batch: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Sink(sink) => sink.take(batch)?,
            Self::Count { ledger, completed, last_ns } => {
                for frame in frames(batch) {
                    let header = frame?.header;
                    if header.kind != Kind::Heartbeat
                        && matches!(ledger.settle(header.seq), Settled::First(_))
                    {
                        completed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                last_ns.fetch_max(monotonic_ns(), Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// A batch for the node of another thread.
type Letter = (u32, Arc<Vec<u8>>);

/// What all threads share.
struct Common {
    router: Router,
    /// Instances that may exist only once.
    single: Vec<Option<Mutex<Instance>>>,
    emitter: Emitter,
    /// Held while a batch is taken and its documents are handed out.
    source: Mutex<()>,
    end: End,
    batch_size: u32,
}

/// One thread's instances and its letters.
struct Worker<'a> {
    common: &'a Common,
    own: Vec<Option<Instance>>,
    inbox: Receiver<Letter>,
    others: Vec<Sender<Letter>>,
}

pub fn run(plan: &Plan, observed: Observed) -> Result<Value, Failure> {
    let key = observed.proof.then(Key::random);
    let workload = OpenWorkload::with_texts(OpenSpec { key, ..plan.open_spec() })?;
    let graph = workload.graph();
    let ledger = Arc::new(Ledger::default());
    let items = tempfile::NamedTempFile::new()?;
    let single = |id: u32| graph.nodes[id as usize].max_parallelism == Some(1);
    let instance = |id: u32, thread: u32| workload.operator(id, thread, plan.parallelism);
    let operator = |id: u32| graph.nodes[id as usize].role == Role::Operator;
    let ids = 0..graph.nodes.len() as u32;
    let mut sink = Sink::new(Arc::clone(&ledger), vec![true; graph.nodes.len()], items.reopen()?, None);
    if let Some(key) = key {
        sink = sink.wanting(Proof::of(graph, key)).with_clocks(Clocks::new(key));
    }
    let end = match observed.sink {
        true => End::Sink(Box::new(sink)),
        false => {
            let (ledger, completed, last_ns) = (Arc::clone(&ledger), AtomicU64::new(0), AtomicU64::new(0));
            End::Count { ledger, completed, last_ns }
        }
    };
    let common = Common {
        // Every thread routes among its own instances, so to it there is one of each.
        router: Router::new(graph.clone(), 1),
        single: (ids.clone())
            .map(|id| (operator(id) && single(id)).then(|| instance(id, 0).map(Mutex::new)).transpose())
            .collect::<Result<_, _>>()?,
        emitter: Emitter::new(plan, workload.schedule()?, Arc::clone(&ledger)),
        source: Mutex::new(()),
        end,
        batch_size: plan.parity_batch_size,
    };
    let (doors, inboxes): (Vec<_>, Vec<_>) = (0..plan.parallelism).map(|_| channel()).unzip();
    let mut workers = Vec::new();
    for (thread, inbox) in (0..plan.parallelism).zip(inboxes) {
        let own = (ids.clone())
            .map(|id| (operator(id) && !single(id)).then(|| instance(id, thread)).transpose())
            .collect::<Result<_, _>>()?;
        let others = doors.iter().enumerate().filter(|(other, _)| *other as u32 != thread);
        let others = others.map(|(_, door)| door.clone()).collect();
        workers.push(Worker { common: &common, own, inbox, others });
    }
    drop(doors);
    let mut monitor = observed.sampling.then(|| TreeMonitor::start(std::process::id(), Vec::new()));
    monitor.iter_mut().for_each(|monitor| monitor.edge(Edge::Began));
    let cpu = cpu_seconds();
    let started = monotonic_ns();
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(|| worker.work())).collect();
        let mut workers = Vec::new();
        for thread in threads {
            workers.push(thread.join().map_err(|_| "a thread panicked")??);
        }
        flush(&common, workers)
    })?;
    let wall_seconds = (monotonic_ns() - started) as f64 / 1e9;
    let cpu_seconds = cpu_seconds() - cpu;
    if let Some(mut monitor) = monitor {
        monitor.edge(Edge::Ended);
        drop(monitor.finish(&[]));
    }
    let emitted = common.emitter.emitted();
    let sunk = match &common.end {
        End::Sink(sink) => sink.close()?,
        End::Count { completed, last_ns, .. } => {
            let completed = completed.load(Ordering::Relaxed);
            let last_ns = Some(last_ns.load(Ordering::Relaxed));
            SinkOutcome { completed, timed_completed: completed, last_ns, ..SinkOutcome::default() }
        }
    };
    if sunk.completed != u64::from(plan.num_tasks) || !ledger.unanswered().is_empty() {
        return Err(format!("{} of {} queries were answered", sunk.completed, plan.num_tasks).into());
    }
    let (Some(first), Some(last)) = (emitted.first_timed_ns, sunk.last_ns) else {
        return Err("nothing was timed".into());
    };
    let pairs = read_items(File::open(items.path())?).map(|item| item.map(|i| (i.query_id, i.digest)));
    Ok(json!({
        "throughput": sunk.timed_completed as f64 * 1e9 / (last - first) as f64,
        "wall_seconds": wall_seconds,
        "cpu_seconds": cpu_seconds,
        "operator_seconds": sunk.operators.iter().map(|usage| usage.busy_ns).sum::<u64>() as f64 / 1e9,
        "output_digest": output_digest(pairs, &std::env::temp_dir())?,
    }))
}

fn cpu_seconds() -> f64 {
    bench_measure::monitor::own_usage().0
}

impl Worker<'_> {
    fn work(mut self) -> Result<Self, Failure> {
        while let Some(queries) = self.take()? {
            self.read_letters()?;
            self.deliver(queries)?;
        }
        // Nothing more comes from here; what the others still send is read to its end.
        self.others.clear();
        while let Ok((node, batch)) = self.inbox.recv() {
            self.process(node, &batch)?;
        }
        Ok(self)
    }

    /// Takes the next batch, embeds its documents and sends them to everyone; returns the rest.
    fn take(&mut self) -> Result<Option<Vec<Delivery>>, Failure> {
        let Common { router, emitter, source, batch_size, .. } = self.common;
        let _held = source.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(events) = emitter.next(*batch_size)? else { return Ok(None) };
        let for_all = |delivery: &Delivery| {
            router.graph().outputs(delivery.node).any(|edge| edge.partition == Partition::Broadcast)
        };
        let (documents, rest) = router.route_events(&events, 0)?.into_iter().partition(for_all);
        self.deliver(documents)?;
        Ok(Some(rest))
    }

    fn read_letters(&mut self) -> Result<(), Failure> {
        while let Ok((node, batch)) = self.inbox.try_recv() {
            self.process(node, &batch)?;
        }
        Ok(())
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) -> Result<(), Failure> {
        let router = &self.common.router;
        let mut to_the_sink = Vec::new();
        for Delivery { node, batch, .. } in deliveries {
            if router.graph().nodes[node as usize].role == Role::Sink {
                to_the_sink.extend_from_slice(&batch);
            } else if is_broadcast(router, node, &batch) {
                let batch = Arc::new(batch);
                for other in &self.others {
                    other.send((node, Arc::clone(&batch))).map_err(|_| "a thread is gone")?;
                }
                self.process(node, &batch)?;
            } else {
                self.process(node, &batch)?;
            }
        }
        if !to_the_sink.is_empty() {
            self.common.end.take(&to_the_sink)?;
        }
        Ok(())
    }

    fn process(&mut self, node: u32, batch: &[u8]) -> Result<(), Failure> {
        let mut output = Vec::new();
        match &mut self.own[node as usize] {
            Some(own) => own.process(batch, &mut output)?,
            None => {
                let single = self.common.single[node as usize].as_ref().ok_or("no such operator")?;
                single.lock().unwrap_or_else(PoisonError::into_inner).process(batch, &mut output)?;
            }
        }
        let next = self.common.router.route(node, &output, 0)?;
        self.deliver(next)
    }
}

/// Whether a batch came over a broadcast edge: one output of one operator never mixes the two.
fn is_broadcast(router: &Router, node: u32, batch: &[u8]) -> bool {
    let Some(Ok(first)) = frames(batch).next() else { return false };
    let mut inputs = router.graph().inputs(node);
    inputs.any(|edge| edge.to_port == first.header.port && edge.partition == Partition::Broadcast)
}

/// At the end every instance is flushed, in the order of the graph; the first worker takes it from there.
fn flush(common: &Common, mut workers: Vec<Worker<'_>>) -> Result<(), Failure> {
    for node in 0..common.single.len() {
        let mut flushed: Vec<Vec<u8>> = Vec::new();
        for worker in &mut workers {
            if let Some(own) = &mut worker.own[node] {
                let mut output = Vec::new();
                own.finish(&mut output)?;
                flushed.push(output);
            }
        }
        if let Some(single) = &common.single[node] {
            let mut output = Vec::new();
            single.lock().unwrap_or_else(PoisonError::into_inner).finish(&mut output)?;
            flushed.push(output);
        }
        for output in flushed {
            let deliveries = common.router.route(node as u32, &output, 0)?;
            workers[0].deliver(deliveries)?;
        }
    }
    Ok(())
}
