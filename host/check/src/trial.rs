//! A run of a workload inside a test, and what the smallest correct engine makes of the same work.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bench_isolate::plugin_api::sdk::{Host, InlinePipeline};
use bench_isolate::plugin_api::v1;
use bench_measure::workloads::list::{self, Listed};
use bench_measure::workloads::parameters::CORPUS;
use bench_measure::workloads::schedule::QUERY_SOURCE;

use super::case::Case;
use super::probe::{Probe, Seen, Twist};
use bench_isolate::load::LoadedBackend;
use bench_isolate::{Error, ErrorKind};
use bench_measure::digest::output_digest;
use bench_measure::guest::WRONG_CLOCK;
use bench_measure::item::{Item, read_items};
use bench_measure::operation::{Account, ITEMS_FILE, RunRequest, account, guest, spec};
use bench_measure::outcome::SinkOutcome;
use bench_measure::plan::{Load, Plan, Variation};
use bench_record::found::Found;

/// Seed of the runs whose indexes are prepared before the tests.
pub const INDEX_SEED: u64 = 42;

/// Work to do, and how it is disturbed.
#[derive(Debug, Clone)]
pub struct Trial {
    pub plan: Plan,
    pub twist: Twist,
    pub extra: Vec<(String, String)>,
}

/// What became of it.
pub struct Ran {
    pub account: Result<Account, Error>,
    pub sunk: SinkOutcome,
    /// Queries emitted.
    pub emitted: u64,
    /// Emitted and never answered.
    pub missing: u64,
    pub digest: String,
    /// In the order of their ids.
    pub items: Vec<Item>,
    pub seen: Seen,
    pub ended: Instant,
    /// Whether the clock of the process was found to be another than the kernel's.
    pub wrong_clock: bool,
}

/// A plan of `items` queries that any backend gets through in seconds.
pub fn small_plan(workload: Listed, items: u32, seed: u64, cache_dir: &Path) -> Plan {
    let table = workload.parameters();
    let mut params = table.defaults();
    table.set_together(&mut params, table.quick.sets).expect("a workload's own scale fits its parameters");
    Plan {
        workload,
        seed,
        nodes: 1,
        parallelism: 2,
        num_tasks: items,
        warmup_items: 0,
        warmup_auto: false,
        bounds: Default::default(),
        parity_batch_size: 16,
        repeat: 1,
        quick: false,
        scheduler: "default".into(),
        max_in_flight: 128,
        load: Load::Closed,
        params,
        variation: Variation::default(),
        corpus_digest: None,
        served: None,
        cache_dir: cache_dir.to_owned(),
        timeout: None,
    }
}

impl Trial {
    /// `items` queries through the operators that only pass records on.
    pub fn null(case: &Case, items: u32) -> Self {
        let plan = small_plan(list::without_work(), items, case.seed(), &case.request.cache_dir);
        Self { plan, twist: Twist::None, extra: Vec::new() }
    }

    /// `items` queries of the real workload. The seed is fixed: its indexes are prepared beforehand.
    pub fn real(case: &Case, items: u32) -> Self {
        let plan = small_plan(list::default(), items, INDEX_SEED, &case.request.cache_dir);
        Self { plan, twist: Twist::None, extra: Vec::new() }
    }

    pub fn twisted(mut self, twist: Twist) -> Self {
        self.twist = twist;
        self
    }

    pub fn parallel(mut self, parallelism: u32) -> Self {
        self.plan.parallelism = parallelism;
        self
    }

    /// Nodes that a query passes. What others wrote (embeddings of documents) may ride along with any
    /// query that it arrived in time for.
    pub fn nodes_of_queries(&self) -> Vec<usize> {
        let Ok(graph) = self.plan.graph() else { return Vec::new() };
        let mut passed = vec![u32::from(QUERY_SOURCE)];
        for node in &graph.nodes {
            if graph.inputs(node.id).any(|edge| passed.contains(&edge.from)) {
                passed.push(node.id);
            }
        }
        passed.into_iter().map(|node| node as usize).collect()
    }

    /// Queries that say `texts`.
    pub fn saying(mut self, case: &Case, texts: &[String]) -> Result<Self, Error> {
        let folder = case.scratch().join("texts");
        let line = |id: usize, text: &String| serde_json::json!({"_id": format!("q{id}"), "text": text});
        let queries: Vec<String> =
            texts.iter().enumerate().map(|(id, text)| line(id, text).to_string()).collect();
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("corpus.jsonl"), "{\"_id\": \"d0\", \"title\": \"t\", \"text\": \"x\"}\n")?;
            fs::write(folder.join("queries.jsonl"), queries.join("\n"))
        };
        write().map_err(ours)?;
        let (workload, params) = (self.plan.workload, &mut self.plan.params);
        let named = folder.display().to_string().into();
        workload.parameters().set(params, CORPUS, named).map_err(ours)?;
        let corpus = workload.corpus(params, case.scratch()).map_err(ours)?;
        self.plan.num_tasks = texts.len() as u32;
        self.plan.corpus_digest = corpus.map(|corpus| corpus.digest().to_owned());
        Ok(self)
    }

    /// Runs it on the backend.
    pub fn on(&self, case: &Case, backend: &dyn LoadedBackend) -> Result<Ran, Error> {
        self.attempt(case, |spec, host| backend.run(spec, host).and_then(account))
    }

    /// Runs it on one thread in the host's own code: the right answer.
    pub fn oracle(&self, case: &Case) -> Result<Ran, Error> {
        let plain = Self { twist: Twist::None, ..self.clone() };
        let ran = plain.attempt(case, |spec, host| {
            let host = Host::new(host);
            let batch = bench_isolate::plugin_api::sdk::Spec::from(spec).batch_size();
            inline(&host, batch).map_err(|error| ours(format!("the check's own engine: {error}")))?;
            Ok(Account { elapsed_seconds: 0.0, items_processed: host.emitted(), metrics: Default::default() })
        })?;
        ran.account()?;
        Ok(ran)
    }

    fn attempt(
        &self,
        case: &Case,
        run: impl FnOnce(v1::WorkloadSpec, v1::HostBox) -> Result<Account, Error>,
    ) -> Result<Ran, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let scratch = case.scratch().join(format!("run-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&scratch).map_err(ours)?;
        let request = RunRequest {
            answers: false,
            plugin: case.request.plugin.clone(),
            plan: self.plan.clone(),
            run_id: "check".into(),
            library: case.request.library.clone(),
            scratch: scratch.clone(),
            temp_dir: scratch.clone(),
            extra: self.extra.clone(),
            trace: None,
        };
        let guest = Arc::new(guest(&request, &case.channel).map_err(ours)?);
        let probe = Probe::new(Arc::clone(&guest), self.twist, case.seed());
        let account = run(spec(&request), probe.host_box());
        let ended = Instant::now();
        // A backend that failed may have left a thread that waits for events, and holds up whoever asks what was
        // emitted.
        guest.ledger.drain();
        let sunk = guest.sink.close().map_err(ours)?;
        let items = Found::LEFT.open(&scratch.join(ITEMS_FILE)).map_err(ours)?;
        let mut items: Vec<Item> = read_items(items).collect::<std::io::Result<_>>().map_err(ours)?;
        items.sort_by(|a, b| a.query_id.cmp(&b.query_id));
        let good = items.iter().filter(|item| item.ok);
        let pairs = good.map(|item| Ok((item.query_id.clone(), item.digest)));
        let digest = output_digest(pairs, &scratch).map_err(ours)?;
        let missing = guest.ledger.unanswered().len() as u64;
        let emitted = guest.emitter.emitted().queries;
        let wrong_clock = guest.clocks.wrong() > 0;
        Ok(Ran { account, sunk, emitted, missing, digest, items, seen: probe.seen(), ended, wrong_clock })
    }
}

fn inline(host: &Host, batch: u32) -> Result<(), bench_isolate::plugin_api::sdk::Error> {
    let mut pipeline = InlinePipeline::new(host)?;
    while let Some(events) = host.next_events(batch)? {
        host.emit(&pipeline.process(&events)?)?;
    }
    host.emit(&pipeline.finish()?)
}

pub fn ours(cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Host, cause.to_string(), "")
}

impl Ran {
    /// The backend's own account; its error when there is none.
    pub fn account(&self) -> Result<&Account, Error> {
        self.account.as_ref().map_err(Clone::clone)
    }

    /// The first thing that is wrong with what arrived at the sink, given how many should.
    pub fn wrong(&self, wanted: u64) -> Option<String> {
        let sunk = &self.sunk;
        let counted = [
            (wanted.saturating_sub(self.emitted), "queries were never read from the source"),
            (self.missing, "queries were never answered"),
            (sunk.duplicates, "answers were duplicates"),
            (sunk.unexpected, "answers were to queries that were never asked"),
        ];
        let (count, what) = counted.into_iter().find(|(count, _)| *count > 0)?;
        Some(format!("of {wanted} queries, {count} {what}"))
    }

    /// Why it is not the work of the run's operators, or not in the time that passed.
    pub fn imitated(&self) -> Option<String> {
        let wrong_clock = || self.wrong_clock.then(|| WRONG_CLOCK.to_owned());
        self.sunk.unproven.said().or_else(wrong_clock)
    }

    /// How the answers differ from the right ones.
    pub fn differs(&self, oracle: &Self) -> Option<String> {
        if self.sunk.failed != oracle.sunk.failed {
            let reason = self.sunk.reasons.first().map_or("", String::as_str);
            return Some(format!(
                "{} items failed where {} should: {reason}",
                self.sunk.failed, oracle.sunk.failed
            ));
        }
        if self.digest == oracle.digest {
            return None;
        }
        let other = self.items.iter().zip(&oracle.items).find(|(ours, right)| {
            (&ours.query_id, ours.ok, ours.digest) != (&right.query_id, right.ok, right.digest)
        });
        let which = other.map_or("a query that is missing", |(ours, _)| ours.query_id.as_str());
        Some(format!("the answers differ from those of the reference engine, first at {which}"))
    }

    /// The first of `nodes` that wrote something else for a query than in the right run.
    pub fn stage_that_differs(&self, oracle: &Self, nodes: &[usize]) -> Option<(String, usize)> {
        self.items.iter().zip(&oracle.items).find_map(|(ours, right)| {
            let differs = |node: &&usize| ours.stages.get(**node) != right.stages.get(**node);
            nodes.iter().find(differs).map(|node| (ours.query_id.clone(), *node))
        })
    }

    /// From the cancellation to the end.
    pub fn latency_of_cancellation(&self) -> Option<Duration> {
        self.seen.cancelled.map(|at| self.ended.saturating_duration_since(at))
    }
}
