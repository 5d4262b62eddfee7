//! Queries that were worked on in other places than the sink's: kept until the end, because only then is it known how
//! their clocks went, and whose their threads are.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};

use bench_dataflow::frame::{SPAN_LEN, Span};

use super::attribution::{Attribution, Step};
use super::clocks::Clocks;

/// Most bytes of them on disk.
const MOST: u64 = 1 << 30;

/// Timed queries, in a file that has no name.
#[derive(Debug, Default)]
pub struct Faraway {
    kept: Option<BufWriter<File>>,
    bytes: u64,
    failure: Option<String>,
}

impl Faraway {
    /// Keeps a query.
    pub fn keep(&mut self, emitted_ns: u64, answered_ns: u64, spans: &[Span]) {
        if self.failure.is_none() {
            self.failure = self.write(emitted_ns, answered_ns, spans).err().map(|cause| cause.to_string());
        }
    }

    fn write(&mut self, emitted_ns: u64, answered_ns: u64, spans: &[Span]) -> io::Result<()> {
        self.bytes += (24 + spans.len() * SPAN_LEN) as u64;
        if self.bytes > MOST {
            return Err(io::Error::other(format!("the spans of queries take more than {MOST} bytes")));
        }
        let kept = match &mut self.kept {
            Some(kept) => kept,
            none => none.insert(BufWriter::new(tempfile::tempfile_in(bench_isolate::isolate::temp_dir())?)),
        };
        for number in [emitted_ns, answered_ns, spans.len() as u64] {
            kept.write_all(&number.to_le_bytes())?;
        }
        spans.iter().try_for_each(|span| kept.write_all(&span.to_bytes()))
    }

    /// Adds all that were kept, by the clocks as they are known now. Where the clock of a span is not, `clocks` remembers
    /// that, and the query counts for nothing.
    ///
    /// # Errors
    /// Why they could not all be kept, in words.
    pub fn settle(self, clocks: &mut Clocks, own: u16, attribution: &mut Attribution) -> Result<(), String> {
        if let Some(failure) = self.failure {
            return Err(format!("queries could not be kept until the end: {failure}"));
        }
        let Some(kept) = self.kept else { return Ok(()) };
        let read = || -> io::Result<()> {
            let mut file = kept.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            let mut file = BufReader::new(file);
            let mut head = [0; 24];
            while file.read_exact(&mut head).is_ok() {
                let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
                let mut spans = Vec::new();
                for _ in 0..number(16) {
                    let mut span = [0; SPAN_LEN];
                    file.read_exact(&mut span)?;
                    spans.push(Span::read(&span));
                }
                if let Some(mut steps) = steps(&spans, clocks, attribution) {
                    attribution.add(number(0), number(8), own, &mut steps);
                }
            }
            Ok(())
        };
        read().map_err(|cause| format!("queries that were kept until the end cannot be read again: {cause}"))
    }
}

/// Spans by the sink's clock; nothing where one of them cannot be told by it.
pub fn steps(spans: &[Span], clocks: &mut Clocks, attribution: &mut Attribution) -> Option<Vec<Step>> {
    let mut steps = Vec::with_capacity(spans.len());
    for span in spans {
        let Some(start) = clocks.start(span) else {
            clocks.miss(span);
            return None;
        };
        let process = attribution.process(clocks, span);
        steps.push(Step { node: span.node, start, busy_ns: span.busy_ns, process });
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::super::attribution::Parts;
    use super::super::clocks::tests::{clocks, tag, told};
    use super::*;

    const DAY: u64 = 100_000_000_000_000;

    /// A query of 100 that takes `way` from here to machine b, works there for 20, and comes back; the span as stamped.
    fn query(number: u64, stamped: impl Fn(u64) -> u64) -> (u64, u64, [Span; 2]) {
        let (emitted, way) = (1_000 + number * 200, 10 + number % 5);
        let span = |node, place, start_ns| Span {
            start_ns,
            busy_ns: 20,
            digest: 0,
            worker: 7,
            node,
            instance: 0,
            place,
            seal: 0,
        };
        let spans = [span(0, tag("here"), emitted + 5), span(1, tag("b"), stamped(emitted + 25 + way))];
        (emitted, emitted + 45 + 2 * way, spans)
    }

    fn parts(clocks: &mut Clocks, stamped: impl Fn(u64) -> u64) -> Vec<Parts> {
        let (mut faraway, mut attribution) = (Faraway::default(), Attribution::new(vec![true; 3]));
        for number in 0..100 {
            let (emitted, answered, spans) = query(number, &stamped);
            faraway.keep(emitted, answered, &spans);
        }
        faraway.settle(clocks, tag("here"), &mut attribution).unwrap();
        attribution.parts()
    }

    #[test]
    fn where_time_went_is_the_same_by_a_clock_that_is_a_day_ahead_and_gains() {
        let mut equal = clocks();
        equal.take(told("b", &[(0, 0, 0)]));
        equal.take(told("b", &[(100_000, 100_000, 100_000)]));
        let one_clock = parts(&mut equal, |ns| ns);
        // It gains a thousandth, which is known only at the end.
        let there = |ns: u64| DAY + ns + ns / 1_000;
        let mut apart = clocks();
        apart.take(told("b", &[(0, there(0), 0)]));
        apart.take(told("b", &[(100_000, there(100_000), 100_000)]));
        let two_clocks = parts(&mut apart, there);
        let all = |parts: &[Parts]| parts.iter().copied().sum::<Parts>();
        let (one, two) = (all(&one_clock), all(&two_clocks));
        assert_eq!(one.operator_ns, two.operator_ns);
        assert!(one.transfer_ns.abs_diff(two.transfer_ns) <= 200, "{one:?} {two:?}");
        assert!(one.queueing_ns.abs_diff(two.queueing_ns) <= 200, "{one:?} {two:?}");
        assert_eq!(apart.unknown(), None);
    }

    #[test]
    fn queries_by_a_clock_that_is_not_known_count_for_nothing_and_say_so() {
        let mut clocks = clocks();
        let parts = parts(&mut clocks, |ns| ns);
        assert_eq!(parts.into_iter().sum::<Parts>(), Parts::default());
        assert!(clocks.unknown().is_some());
    }
}
