//! A host in memory, so that a plugin can be tested without `bench`.
//!
//! Its workload is one operator, `upper`, between a source and a sink. Item 7 carries text that is
//! not ASCII, because someone's backend always assumes it is.

use std::sync::{Arc, Mutex, PoisonError};

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString, RVec};

use crate::dataflow::frame::{self, Header, Kind, frames};
use crate::dataflow::graph::{Edge, Graph, Node, Ordering, Partition, Role, State};
use crate::sdk::{Host, Spec};
use crate::v1;

/// What a test can see of a run.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Bodies that reached the sink, with their sequence numbers, in order of arrival.
    pub results: Vec<(u64, String)>,
    /// Log lines the plugin wrote.
    pub log: Vec<String>,
    /// Phases the plugin reported.
    pub phases: Vec<String>,
}

/// A fake host that offers `items` events.
pub struct FakeHost {
    items: u64,
    next: Mutex<u64>,
    seen: Arc<Mutex<Seen>>,
}

/// A host with `items` events, and the view of what happens to them.
#[must_use]
pub fn fake_host(items: u64) -> (Host, Arc<Mutex<Seen>>) {
    let (host, seen) = fake_host_box(items);
    (Host::new(host), seen)
}

/// The same as the object that crosses the ABI.
#[must_use]
pub fn fake_host_box(items: u64) -> (v1::HostBox, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let host = FakeHost { items, next: Mutex::new(0), seen: Arc::clone(&seen) };
    (v1::Host_TO::from_value(host, TD_Opaque), seen)
}

/// A spec that fits [`fake_host`].
#[must_use]
pub fn spec(items: u64, parallelism: u32) -> Spec {
    Spec {
        name: "upper".into(),
        total_items: items,
        parallelism,
        scheduler_name: "default".into(),
        extra: vec![("parity_batch_size".into(), "16".into())],
    }
}

/// What the sink should hold after a run of `items` events, in sequence order.
#[must_use]
pub fn expected(items: u64) -> Vec<(u64, String)> {
    (0..items).map(|seq| (seq, text(seq).to_uppercase())).collect()
}

fn text(seq: u64) -> String {
    if seq == 7 { "straße nº 7".to_owned() } else { format!("item {seq}") }
}

fn graph() -> Graph {
    let node = |id, name: &str, role| Node {
        id,
        name: name.to_owned(),
        role,
        state: State::None,
        key: None,
        max_parallelism: None,
        ordering: Ordering::None,
        blocking: false,
        concurrency: None,
        affinity: None,
        summary: format!("the {name} of the test kit"),
    };
    let edge = |from, to| Edge { from, from_port: 0, to, to_port: 0, partition: Partition::Any };
    Graph {
        workload: "upper".into(),
        nodes: vec![
            node(0, "source", Role::Source),
            node(1, "upper", Role::Operator),
            node(2, "sink", Role::Sink),
        ],
        edges: vec![edge(0, 1), edge(1, 2)],
        min_in_flight: 1,
    }
}

fn invalid(message: String) -> v1::BackendError {
    v1::BackendError { kind: v1::ERROR_INVALID, message: message.into(), remedy: RString::new() }
}

impl FakeHost {
    fn see(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl v1::Host for FakeHost {
    fn graph(&self) -> RString {
        serde_json::to_string(&graph()).expect("the graph is plain data").into()
    }

    fn operator(&self, node: u32, _: u32, _: u32) -> RResult<v1::OperatorBox, v1::BackendError> {
        match node {
            1 => RResult::ROk(v1::Operator_TO::from_value(Upper, TD_Opaque)),
            _ => RResult::RErr(invalid(format!("node {node} is not an operator"))),
        }
    }

    fn next_events(&self, max_items: u32) -> RResult<ROption<RVec<u8>>, v1::BackendError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if *next == self.items {
            return RResult::ROk(ROption::RNone);
        }
        let mut batch = Vec::new();
        for _ in 0..max_items.max(1) {
            if *next == self.items {
                break;
            }
            let header = Header {
                port: 0,
                kind: Kind::Data,
                seq: *next,
                key: *next,
                event_time_ns: *next as i64,
                watermark_ns: 0,
            };
            frame::push(&mut batch, header, text(*next).as_bytes(), b"");
            *next += 1;
        }
        RResult::ROk(ROption::RSome(batch.into()))
    }

    fn emit(&self, batch: RSlice<'_, u8>) -> RResult<(), v1::BackendError> {
        for record in frames(batch.as_slice()) {
            match record {
                Ok(record) => {
                    let body = String::from_utf8_lossy(record.body).into_owned();
                    self.see().results.push((record.header.seq, body));
                }
                Err(cause) => return RResult::RErr(invalid(cause.to_string())),
            }
        }
        RResult::ROk(())
    }

    fn progress(&self, phase: RStr<'_>, _: RStr<'_>) {
        self.see().phases.push(phase.into());
    }

    fn log(&self, _: u8, _: RStr<'_>, message: RStr<'_>) {
        self.see().log.push(message.into());
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn extension(&self, _: RStr<'_>, _: RStr<'_>) -> ROption<RString> {
        ROption::RNone
    }
}

struct Upper;

impl v1::Operator for Upper {
    fn process(&mut self, batch: RSlice<'_, u8>) -> RResult<RVec<u8>, v1::BackendError> {
        let mut output = Vec::new();
        for record in frames(batch.as_slice()) {
            match record {
                Ok(record) => {
                    let body = String::from_utf8_lossy(record.body).to_uppercase();
                    let header = Header { port: 0, ..record.header };
                    frame::push(&mut output, header, body.as_bytes(), record.spans);
                }
                Err(cause) => return RResult::RErr(invalid(cause.to_string())),
            }
        }
        RResult::ROk(output.into())
    }

    fn finish(&mut self) -> RResult<RVec<u8>, v1::BackendError> {
        RResult::ROk(RVec::new())
    }
}

#[cfg(test)]
mod tests {
    use abi_stable::std_types::RResult;

    use super::*;
    use crate::sdk::{Backend, Error, Finished, InlinePipeline, runner};

    struct Inline;

    impl Backend for Inline {
        const NAME: &'static str = "inline";

        fn options(&self) -> Option<&'static [crate::sdk::BackendOption]> {
            Some(&[])
        }

        fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
            let mut pipeline = InlinePipeline::new(host)?;
            while let Some(events) = host.next_events(spec.batch_size())? {
                host.emit(&pipeline.process(&events)?)?;
            }
            host.emit(&pipeline.finish()?)?;
            tracing::info!(items = 20, "done");
            Ok(Finished::default())
        }
    }

    struct Panics;

    impl Backend for Panics {
        const NAME: &'static str = "panics";

        fn run(&self, _: &Spec, _: &Host) -> Result<Finished, Error> {
            panic!("on purpose")
        }
    }

    fn v1_spec() -> v1::WorkloadSpec {
        v1::WorkloadSpec {
            name: "upper".into(),
            total_items: 20,
            parallelism: 1,
            scheduler_name: "default".into(),
            extra: RVec::new(),
        }
    }

    #[test]
    fn the_inline_pipeline_delivers_every_item_and_counts_it() {
        let runner = runner(|| Ok(Inline)).unwrap();
        let (host, seen) = fake_host_box(20);
        let result = runner.run(v1_spec(), host).unwrap();
        assert_eq!(result.items_processed, 20);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.results, expected(20));
        assert!(seen.log.contains(&"done items=20".to_owned()), "{:?}", seen.log);
    }

    #[test]
    fn options_are_answered_unless_nothing_is_declared() {
        use abi_stable::std_types::{ROption, RString};
        let answer = |runner: v1::RunnerBox| match runner.extension("bench.options/1".into(), "".into()) {
            ROption::RSome(answer) => Some(RString::into_string(answer)),
            ROption::RNone => None,
        };
        assert_eq!(answer(runner(|| Ok(Inline)).unwrap()), Some("[]".to_owned()));
        assert_eq!(answer(runner(|| Ok(Panics)).unwrap()), None);
    }

    #[test]
    fn a_panic_in_run_becomes_an_error_that_names_it() {
        let runner = runner(|| Ok(Panics)).unwrap();
        let RResult::RErr(error) = runner.run(v1_spec(), fake_host_box(1).0) else { panic!("no error") };
        assert_eq!((error.kind, error.message.as_str()), (v1::ERROR_PANIC, "on purpose"));
    }

    #[test]
    fn a_panic_in_the_constructor_becomes_an_error() {
        let created = runner(|| -> Result<Inline, Error> { panic!("cannot start") });
        assert!(matches!(created, RResult::RErr(error) if error.message == "cannot start"));
    }
}
