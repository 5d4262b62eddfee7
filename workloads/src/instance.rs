//! An operator ready to run, the same for every engine.
//!
//! Here is everything an engine must not do differently from another: the clock of the spans, what
//! happens to a record that fails, retries, and the faults that tests inject.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bench_dataflow::frame::{Frame, Kind, Malformed, Span, frames};

use crate::fault::Fault;
use crate::operator::{Operator, OperatorError, Output, Owed};
use crate::place::Place;
use crate::records::Batch;
use crate::seal::Key;

/// Nanoseconds of the monotonic clock, which all processes of a [`Place`] share.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Of the calling thread.
#[must_use]
pub fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

/// Which instance of which node, and how it treats failures.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Node of the graph.
    pub node: u16,
    /// Index of this instance.
    pub instance: u16,
    /// Output ports of the node.
    pub ports: Vec<u8>,
    /// Its input ports on which records are batches.
    pub batched: Vec<u8>,
    /// How often a failing record is tried; at least 1. Only operators that take batches are
    /// stateless enough to be tried again.
    pub attempts: u32,
    /// What spans are sealed with; nothing outside of a run.
    pub key: Option<Key>,
    /// A fault to inject, for tests.
    pub fault: Option<Fault>,
}

/// An operator with its instrumentation.
pub struct Instance {
    operator: Box<dyn Operator>,
    placement: Placement,
    /// Tag of the place.
    place: u16,
    owed: Owed,
    finished: bool,
}

/// `finish` was called twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this operator instance has finished already")]
pub struct Finished;

impl Instance {
    /// Wraps `operator`.
    #[must_use]
    pub fn new(operator: Box<dyn Operator>, placement: Placement) -> Self {
        let place = Place::here().tag(placement.key);
        Self { operator, placement, place, owed: Owed::default(), finished: false }
    }

    /// Processes a batch in order, appending what it emits to `batch`.
    ///
    /// # Errors
    /// When `input` is not a batch. Records that fail become tombstones.
    pub fn process(&mut self, input: &[u8], batch: &mut Vec<u8>) -> Result<(), Malformed> {
        let inputs = frames(input).collect::<Result<Vec<_>, _>>()?;
        let every = self.operator.sees_every_frame();
        let limit = self.operator.batch_limit().max(1);
        let ports = std::mem::take(&mut self.placement.ports);
        let mut output = self.output(batch, &ports);
        let mut rest = &inputs[..];
        while let Some(first) = rest.first() {
            if !every && first.header.kind != Kind::Data {
                output.forward(*first);
                rest = &rest[1..];
                continue;
            }
            let alike = |frame: &&Frame<'_>| every || frame.header.kind == Kind::Data;
            let run = rest.iter().take(limit).take_while(alike).count();
            let (group, tail) = rest.split_at(run);
            self.group(group, &mut output);
            rest = tail;
        }
        self.owed = output.into_owed();
        self.placement.ports = ports;
        Ok(())
    }

    /// Flushes the operator, once.
    ///
    /// # Errors
    /// When called twice.
    pub fn finish(&mut self, batch: &mut Vec<u8>) -> Result<(), Finished> {
        if std::mem::replace(&mut self.finished, true) {
            return Err(Finished);
        }
        let ports = std::mem::take(&mut self.placement.ports);
        let mut output = self.output(batch, &ports);
        let start = monotonic_ns();
        output.start_at(start);
        // What could not be flushed is missed by the sink, which counts.
        let _ = contained(|| self.operator.finish(&mut output));
        output.settle(monotonic_ns() - start);
        self.placement.ports = ports;
        Ok(())
    }

    fn output<'a>(&mut self, batch: &'a mut Vec<u8>, ports: &'a [u8]) -> Output<'a> {
        let stamp = Span {
            start_ns: 0,
            busy_ns: 0,
            digest: 0,
            worker: thread_id(),
            node: self.placement.node,
            instance: self.placement.instance,
            place: self.place,
            seal: 0,
        };
        Output::new(batch, ports, stamp, self.placement.key, std::mem::take(&mut self.owed))
    }

    /// Processes a group together; if that fails, each record alone, so that exactly the records
    /// at fault become tombstones.
    fn group(&mut self, group: &[Frame<'_>], output: &mut Output<'_>) {
        let mark = output.mark();
        let Err(error) = self.call(group, output) else { return };
        output.rewind(mark);
        if let [single] = group {
            self.retry(single, error, output);
            return;
        }
        for single in group {
            let mark = output.mark();
            if let Err(error) = self.call(std::slice::from_ref(single), output) {
                output.rewind(mark);
                self.retry(single, error, output);
            }
        }
    }

    fn retry(&mut self, single: &Frame<'_>, mut error: OperatorError, output: &mut Output<'_>) {
        let stateless = !self.operator.sees_every_frame();
        for _ in 1..if stateless { self.placement.attempts } else { 1 } {
            let mark = output.mark();
            match self.call(std::slice::from_ref(single), output) {
                Ok(()) => return,
                Err(again) => {
                    output.rewind(mark);
                    error = again;
                }
            }
        }
        // A batch that fails fails for each of its members: every query has to be answered for.
        let batch = self.placement.batched.contains(&single.header.port).then(|| Batch::of(single)).flatten();
        match batch {
            Some(batch) => frames(&batch.items).flatten().for_each(|member| output.fail(member, &error)),
            None => output.fail(*single, error),
        }
    }

    fn call(&mut self, group: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        let start = monotonic_ns();
        output.start_at(start);
        let result = contained(|| {
            if let Some(fault) = &self.placement.fault {
                for frame in group {
                    fault.strike(frame.header.seq)?;
                }
            }
            self.operator.process(group, output)
        });
        output.settle(monotonic_ns() - start);
        result
    }
}

/// A panic becomes an error.
pub(crate) fn contained<T>(call: impl FnOnce() -> Result<T, OperatorError>) -> Result<T, OperatorError> {
    // The operator may be used again: those with state check what they hold by sequence number.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(OperatorError(format!("panic: {text}")))
    })
}

#[cfg(test)]
mod tests {
    use bench_dataflow::frame::{Header, push};

    use super::*;
    use crate::operator::Tombstone;

    /// Passes records on; record 3 cannot be processed.
    struct Picky;

    impl Operator for Picky {
        fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
            for input in inputs {
                match input.header.seq {
                    3 => return Err(OperatorError("three".into())),
                    5 => panic!("five"),
                    _ => output.emit_bytes(*input, 0, input.body, None)?,
                }
            }
            Ok(())
        }

        fn batch_limit(&self) -> usize {
            4
        }
    }

    fn placement(fault: Option<Fault>, attempts: u32) -> Placement {
        Placement { node: 2, instance: 0, ports: vec![0], batched: Vec::new(), attempts, key: None, fault }
    }

    fn input(seqs: std::ops::Range<u64>) -> Vec<u8> {
        let mut batch = Vec::new();
        for seq in seqs {
            let header = Header { port: 0, kind: Kind::Data, seq, key: 0, event_time_ns: 0, watermark_ns: 0 };
            push(&mut batch, header, b"body", b"");
        }
        batch
    }

    fn run(instance: &mut Instance, input: &[u8]) -> Vec<(u64, Kind, Vec<Span>, Vec<u8>)> {
        let mut batch = Vec::new();
        instance.process(input, &mut batch).unwrap();
        frames(&batch)
            .map(|frame| frame.unwrap())
            .map(|f| (f.header.seq, f.header.kind, f.spans().collect(), f.body.to_vec()))
            .collect()
    }

    #[test]
    fn exactly_the_failing_records_become_tombstones() {
        let mut instance = Instance::new(Box::new(Picky), placement(None, 1));
        let out = run(&mut instance, &input(0..8));
        assert_eq!(out.iter().map(|o| o.0).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        let reasons: Vec<_> = out
            .iter()
            .filter(|o| o.1 == Kind::Failed)
            .map(|o| (o.0, postcard::from_bytes::<Tombstone>(&o.3).unwrap().reason))
            .collect();
        assert_eq!(reasons, [(3, "three".to_owned()), (5, "panic: five".to_owned())]);
    }

    #[test]
    fn a_batch_that_fails_fails_for_each_of_its_members() {
        let items = input(10..13);
        let batch = Batch { id: "batch_0".into(), category: None, closed_ns: 0, items, size: 3 };
        let mut frame = Vec::new();
        let header = Header { port: 0, kind: Kind::Data, seq: 3, key: 0, event_time_ns: 0, watermark_ns: 0 };
        push(&mut frame, header, &postcard::to_stdvec(&batch).unwrap(), b"");
        let failed_on = |batched| {
            let placement = Placement { batched, ..placement(None, 1) };
            let out = run(&mut Instance::new(Box::new(Picky), placement), &frame);
            out.iter().map(|o| (o.0, o.1)).collect::<Vec<_>>()
        };
        assert_eq!(failed_on(vec![0]), (10..13).map(|seq| (seq, Kind::Failed)).collect::<Vec<_>>());
        // Bytes that look like a batch where none is due are a record like others.
        assert_eq!(failed_on(Vec::new()), [(3, Kind::Failed)]);
    }

    #[test]
    fn a_tombstone_passes_by_an_operator_that_does_not_look() {
        let mut instance = Instance::new(Box::new(Picky), placement(None, 1));
        let mut batch = Vec::new();
        instance.process(&input(3..4), &mut batch).unwrap();
        let out = run(&mut instance, &batch);
        assert_eq!((out.len(), out[0].1), (1, Kind::Failed));
    }

    #[test]
    fn a_transient_fault_is_survived_with_a_second_attempt() {
        let with_attempts = |attempts| {
            let fault = "raise:picky:1:1".parse().unwrap();
            Instance::new(Box::new(Picky), placement(Some(fault), attempts))
        };
        assert_eq!(run(&mut with_attempts(1), &input(1..2))[0].1, Kind::Failed);
        assert_eq!(run(&mut with_attempts(2), &input(1..2))[0].1, Kind::Data);
        // In a group the failure costs nothing: the group is tried again record by record.
        assert!(run(&mut with_attempts(1), &input(0..2)).iter().all(|o| o.1 == Kind::Data));
    }

    #[test]
    fn spans_name_the_operator_and_accumulate() {
        let mut instance = Instance::new(Box::new(Picky), placement(None, 1));
        let mut batch = Vec::new();
        instance.process(&input(0..1), &mut batch).unwrap();
        let out = run(&mut instance, &batch);
        assert_eq!(out[0].2.iter().map(|span| span.node).collect::<Vec<_>>(), [2, 2]);
        assert!(out[0].2.iter().all(|span| span.worker == thread_id() && span.start_ns > 0));
    }

    /// Keeps odd records, and lets their spans ride on the next even one.
    struct Absorbing;

    impl Operator for Absorbing {
        fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
            for input in inputs {
                match input.header.seq % 2 {
                    1 => output.adopt(input.header.seq, input.spans),
                    _ => output.emit_bytes(*input, 0, input.body, None)?,
                }
            }
            Ok(())
        }
    }

    #[test]
    fn spans_of_absorbed_records_wait_for_the_next_that_is_emitted() {
        let mut absorbed = Vec::new();
        Instance::new(Box::new(Picky), placement(None, 1)).process(&input(1..2), &mut absorbed).unwrap();
        let mut instance = Instance::new(Box::new(Absorbing), Placement { node: 7, ..placement(None, 1) });
        assert!(run(&mut instance, &absorbed).is_empty());
        let out = run(&mut instance, &input(2..3));
        assert_eq!(out[0].2.iter().map(|span| span.node).collect::<Vec<_>>(), [2, 7]);
    }

    /// Emits all its input, then fails over record 3.
    struct Late;

    impl Operator for Late {
        fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
            for input in inputs {
                output.adopt(input.header.seq, input.spans);
                if input.header.seq == 3 {
                    return Err(OperatorError("three".into()));
                }
                output.emit_bytes(*input, 0, input.body, None)?;
            }
            Ok(())
        }
    }

    #[test]
    fn what_a_record_that_failed_had_absorbed_rides_on_no_other() {
        let mut before = Vec::new();
        Instance::new(Box::new(Absorbing), placement(None, 1)).process(&input(2..5), &mut before).unwrap();
        let before: Vec<Span> = frames(&before).flatten().flat_map(|frame| frame.spans()).collect();
        assert!(!before.is_empty());
        let mut batch = Vec::new();
        let spans: Vec<u8> = before.iter().flat_map(Span::to_bytes).collect();
        for seq in 3..5 {
            let header = Header { port: 0, kind: Kind::Data, seq, key: 0, event_time_ns: 0, watermark_ns: 0 };
            push(&mut batch, header, b"body", if seq == 3 { &spans } else { b"" });
        }
        let out = run(&mut Instance::new(Box::new(Late), placement(None, 1)), &batch);
        assert_eq!((out[0].1, out[1].1, out[1].2.len()), (Kind::Failed, Kind::Data, 1));
    }

    #[test]
    fn every_span_of_a_run_is_sealed_also_of_what_was_absorbed() {
        let key = Key::random();
        let sealed = |node| Placement { node, key: Some(key), ..placement(None, 1) };
        let mut absorbed = Vec::new();
        Instance::new(Box::new(Picky), sealed(2)).process(&input(1..2), &mut absorbed).unwrap();
        let mut instance = Instance::new(Box::new(Absorbing), sealed(7));
        assert!(run(&mut instance, &absorbed).is_empty());
        let out = run(&mut instance, &input(2..3));
        assert_eq!(out[0].2.len(), 2);
        assert!(out[0].2.iter().all(|span| key.fits(2, &span.to_bytes())), "{out:?}");
    }

    #[test]
    fn finishing_twice_is_refused() {
        let mut instance = Instance::new(Box::new(Picky), placement(None, 1));
        assert_eq!(instance.finish(&mut Vec::new()), Ok(()));
        assert_eq!(instance.finish(&mut Vec::new()), Err(Finished));
    }
}
