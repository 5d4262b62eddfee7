//! The overhead workload: Workload4's graph with operators that pass records through.
//!
//! What it costs is what the runtime costs. Every record makes every hop, the two halves of a query
//! still meet in the merge, and the sink still counts and digests; only the work is gone.

use std::collections::HashMap;

use bench_dataflow::frame::{Frame, Kind, own_spans};

use crate::operator::{Kept, Operator, OperatorError, Output, decode};
use crate::wl4::records::{Answer, Query};

/// Emits what it gets, on every output port.
pub struct Pass {
    ports: Vec<u8>,
}

impl Pass {
    pub fn new(ports: Vec<u8>) -> Self {
        Self { ports }
    }
}

impl Operator for Pass {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            for &port in &self.ports {
                output.emit_bytes(*input, port, input.body, None)?;
            }
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}

/// The join without its work: queries pass, documents end here.
pub struct PassQueries;

impl Operator for PassQueries {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs.iter().filter(|input| input.header.port == crate::wl4::join::QUERIES) {
            match input.header.kind {
                Kind::Data => output.emit_bytes(*input, 0, input.body, None)?,
                _ => output.forward(*input),
            }
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }

    fn sees_every_frame(&self) -> bool {
        true
    }
}

/// The merge without its work: the second half of a query lets it pass.
#[derive(Default)]
pub struct PassPairs {
    halves: HashMap<u64, Kept>,
}

impl Operator for PassPairs {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            match self.halves.remove(&input.header.seq) {
                Some(half) if half.header.port != input.header.port => {
                    let failed = [half.frame(), *input].into_iter().find(|f| f.header.kind != Kind::Data);
                    output.adopt(own_spans(input.spans, &half.spans));
                    match failed {
                        Some(failed) => output.forward(failed),
                        None => output.emit_bytes(*input, 0, input.body, None)?,
                    }
                }
                _ => {
                    self.halves.insert(input.header.seq, Kept::from(*input));
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), OperatorError> {
        for (_, half) in self.halves.drain() {
            output.fail(half.frame(), "the other half never arrived");
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }

    fn sees_every_frame(&self) -> bool {
        true
    }
}

/// Turns the query into an answer that repeats it.
pub struct Echo;

impl Operator for Echo {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            let query: Query = decode(input)?;
            let answer = Answer {
                query_id: query.id,
                response: query.text,
                docs_seen: query.docs_before,
                ..Answer::default()
            };
            output.emit(*input, 0, &answer)?;
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}
