//! Sends each query to both vector databases.
//!
//! `vdb1`'s copy carries everything found so far; `vdb2`'s only the query, because the halves meet
//! again in the merge and one copy is enough.

use bench_dataflow::frame::Frame;

use crate::operator::{Operator, OperatorError, Output, decode_start};
use crate::wl4::records::Query;

/// The fork operator: port 0 to `vdb1`, port 1 to `vdb2`.
pub struct Fork;

impl Operator for Fork {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            // An enriched query begins with the query itself.
            let query: Query = decode_start(input)?;
            output.emit_bytes(*input, 0, input.body, None)?;
            output.emit(*input, 1, &query)?;
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}
