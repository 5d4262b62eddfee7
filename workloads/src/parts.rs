//! The parts of a query that went separate ways and meet again in one operator.
//!
//! Each part comes on an input port of its own, in any order, and perhaps twice.

use std::collections::HashMap;

use bench_dataflow::frame::{Frame, Kind};

use crate::operator::{Kept, OperatorError, Output};

/// What has arrived of the queries that are not complete.
pub struct Parts {
    of: usize,
    waiting: HashMap<u64, Vec<Kept>>,
}

impl Parts {
    /// Queries come in `of` parts.
    #[must_use]
    pub fn new(of: usize) -> Self {
        Self { of, waiting: HashMap::new() }
    }

    /// Takes a part. `unite` gets all parts of its query, in the order of their ports, once the last of them
    /// is there; if one of them has failed or is a heartbeat, it stands for all and goes on as it is.
    ///
    /// # Errors
    /// Those of `unite`.
    pub fn take(
        &mut self,
        part: Frame<'_>,
        output: &mut Output<'_>,
        unite: impl FnOnce(&[Frame<'_>], &mut Output<'_>) -> Result<(), OperatorError>,
    ) -> Result<(), OperatorError> {
        let seq = part.header.seq;
        let known = self.waiting.get(&seq).map_or(&[][..], Vec::as_slice);
        // The same part again, after a retry, changes nothing.
        if known.iter().any(|known| known.header.port == part.header.port) {
            return Ok(());
        }
        if known.len() + 1 < self.of {
            self.waiting.entry(seq).or_default().push(Kept::from(part));
            return Ok(());
        }
        let kept = self.waiting.remove(&seq).unwrap_or_default();
        let mut all: Vec<Frame<'_>> = kept.iter().map(Kept::frame).chain([part]).collect();
        all.sort_by_key(|part| part.header.port);
        match all.iter().find(|part| part.header.kind != Kind::Data) {
            Some(part) => output.forward(*part),
            None => unite(&all, output)?,
        }
        Ok(())
    }

    /// The stream has ended: what still waits for a part has failed.
    pub fn finish(&mut self, output: &mut Output<'_>) {
        for part in self.waiting.drain().filter_map(|(_, parts)| parts.into_iter().next()) {
            output.fail(part.frame(), "the other parts never arrived");
        }
    }
}
