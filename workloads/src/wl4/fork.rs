//! Sends each query to both vector databases.
//!
//! `vdb1`'s copy carries everything found so far; `vdb2`'s only the query, because the halves meet
//! again in the merge and one copy is enough.

use bench_dataflow::frame::Frame;

use crate::operator::{Operator, OperatorError, Output, decode};
use crate::wl4::records::Enriched;

/// The fork operator: port 0 to `vdb1`, port 1 to `vdb2`.
pub struct Fork;

impl Operator for Fork {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            let enriched: Enriched = decode(input)?;
            output.emit_bytes(*input, 0, input.body, None)?;
            output.emit(*input, 1, &enriched.joined.query)?;
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}
