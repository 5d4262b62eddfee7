//! What an operator is: a pure transformation of records with declared state.
//!
//! Operators see no threads, no clock and no runtime. [`crate::instance::Instance`] wraps one for
//! execution: it stamps spans, contains panics and turns failures into tombstones, in one place for
//! every engine.

use bench_dataflow::frame::{self, Frame, Header, Kind, Span};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

/// Why an operator could not process a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OperatorError(pub String);

impl OperatorError {
    /// From anything that can be shown.
    pub fn new(cause: impl std::fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// One instance of an operator.
pub trait Operator: Send {
    /// Processes `inputs` in order. Records that fail alone are reported with [`Output::fail`];
    /// an error fails them all.
    ///
    /// # Errors
    /// When none of the inputs could be processed.
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError>;

    /// Flushes what is held, once all inputs have ended.
    ///
    /// # Errors
    /// When what is held cannot be written.
    fn finish(&mut self, output: &mut Output<'_>) -> Result<(), OperatorError> {
        let _ = output;
        Ok(())
    }

    /// Most records worth processing together. Operators with state take one at a time.
    fn batch_limit(&self) -> usize {
        1
    }

    /// True when tombstones and heartbeats matter to the operator (ordering, pairing). Otherwise
    /// they pass it by.
    fn sees_every_frame(&self) -> bool {
        false
    }
}

/// Where a record came from: what its descendants inherit.
#[derive(Clone, Copy)]
pub struct Lineage<'a> {
    /// Sequence number, key and times.
    pub header: Header,
    /// Spans so far.
    pub spans: &'a [u8],
}

impl<'a> From<Frame<'a>> for Lineage<'a> {
    fn from(frame: Frame<'a>) -> Self {
        Self { header: frame.header, spans: frame.spans }
    }
}

/// A frame that an operator holds on to.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: Vec<u8>,
    /// Its spans.
    pub spans: Vec<u8>,
}

impl From<Frame<'_>> for Kept {
    fn from(frame: Frame<'_>) -> Self {
        Self { header: frame.header, body: frame.body.to_vec(), spans: frame.spans.to_vec() }
    }
}

impl Kept {
    /// The frame as it was.
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        Frame { header: self.header, body: &self.body, spans: &self.spans }
    }
}

/// Body of a tombstone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Tombstone {
    /// Node where the record failed.
    pub node: u16,
    /// Why.
    pub reason: String,
}

/// Collects what an operator emits and stamps each record with its span.
pub struct Output<'a> {
    batch: &'a mut Vec<u8>,
    ports: &'a [u8],
    stamp: Span,
    /// Offsets of the spans written since the last [`Output::settle`].
    open: Vec<usize>,
    owed: Owed,
}

/// What calls that emitted nothing owe to the next record that is emitted.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// Their time.
    busy_ns: u64,
    /// Spans of what they absorbed.
    adopted: Vec<u8>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(batch: &'a mut Vec<u8>, ports: &'a [u8], stamp: Span, owed: Owed) -> Self {
        Self { batch, ports, stamp, open: Vec::new(), owed }
    }

    /// Emits `body` as a descendant of `parent`.
    ///
    /// # Errors
    /// When `body` cannot be encoded.
    pub fn emit<'p>(
        &mut self,
        parent: impl Into<Lineage<'p>>,
        port: u8,
        body: &impl Serialize,
    ) -> Result<(), OperatorError> {
        self.write(parent.into(), port, None, |batch| {
            postcard::to_extend(body, Tail(batch)).map(|_| ()).map_err(OperatorError::new)
        })
    }

    /// Emits bytes that are encoded already. `digest` stands for their meaning where the bytes
    /// themselves hold timings; otherwise it is taken of the bytes.
    ///
    /// # Errors
    /// None today; the signature equals [`Output::emit`]'s.
    pub fn emit_bytes<'p>(
        &mut self,
        parent: impl Into<Lineage<'p>>,
        port: u8,
        body: &[u8],
        digest: Option<u64>,
    ) -> Result<(), OperatorError> {
        self.write(parent.into(), port, digest, |batch| {
            batch.extend_from_slice(body);
            Ok(())
        })
    }

    /// Passes a frame on unchanged, to every output port, without a span.
    pub fn forward(&mut self, frame: Frame<'_>) {
        for &port in self.ports {
            frame::push_to_port(self.batch, frame, port);
        }
    }

    /// Turns `parent` into a tombstone on every output port.
    pub fn fail<'p>(&mut self, parent: impl Into<Lineage<'p>>, reason: impl std::fmt::Display) {
        let parent = parent.into();
        let tombstone = Tombstone { node: self.stamp.node, reason: reason.to_string() };
        let body = postcard::to_stdvec(&tombstone).expect("a tombstone is plain data");
        for &port in self.ports {
            let header = Header { port, kind: Kind::Failed, ..parent.header };
            frame::push(self.batch, header, &body, parent.spans);
        }
    }

    /// Lets spans of absorbed records (documents in a window) ride on the next record emitted.
    pub fn adopt(&mut self, spans: &[u8]) {
        self.owed.adopted.extend_from_slice(spans);
    }

    fn write(
        &mut self,
        parent: Lineage<'_>,
        port: u8,
        digest: Option<u64>,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), OperatorError>,
    ) -> Result<(), OperatorError> {
        let mut stamp = self.stamp;
        let adopted = std::mem::take(&mut self.owed.adopted);
        let inherited = parent.spans.len() + adopted.len();
        let at = frame::push_with(
            self.batch,
            Header { port, kind: Kind::Data, ..parent.header },
            body,
            |batch, body| {
                stamp.digest = digest.unwrap_or_else(|| xxh3_64(&batch[body]));
                batch.extend_from_slice(parent.spans);
                batch.extend_from_slice(&adopted);
                batch.extend_from_slice(bytemuck::bytes_of(&stamp));
            },
        )?;
        self.open.push(at + inherited);
        Ok(())
    }

    /// Length of the batch, to come back to with [`Output::rewind`].
    pub(crate) fn mark(&self) -> usize {
        self.batch.len()
    }

    /// Forgets what was emitted since `mark`.
    pub(crate) fn rewind(&mut self, mark: usize) {
        self.batch.truncate(mark);
        self.open.clear();
    }

    pub(crate) fn start_at(&mut self, start_ns: u64) {
        self.stamp.start_ns = start_ns;
    }

    /// Shares `busy_ns` out over the records emitted since the last call.
    pub(crate) fn settle(&mut self, busy_ns: u64) {
        let total = busy_ns + self.owed.busy_ns;
        if self.open.is_empty() {
            self.owed.busy_ns = total;
            return;
        }
        let share = total / self.open.len() as u64;
        self.owed.busy_ns = total % self.open.len() as u64;
        let field = std::mem::offset_of!(Span, busy_ns);
        for at in self.open.drain(..) {
            self.batch[at + field..at + field + 8].copy_from_slice(&share.to_le_bytes());
        }
    }

    pub(crate) fn into_owed(self) -> Owed {
        self.owed
    }
}

/// Lets postcard append to the batch in place.
struct Tail<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Tail<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

/// Decodes the body of a frame.
///
/// # Errors
/// When the body is not a `T`: the record went to the wrong port.
pub fn decode<T: DeserializeOwned>(frame: &Frame<'_>) -> Result<T, OperatorError> {
    postcard::from_bytes(frame.body)
        .map_err(|cause| OperatorError(format!("record {} cannot be decoded: {cause}", frame.header.seq)))
}
