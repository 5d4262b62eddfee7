//! What an operator is: a pure transformation of records with declared state.
//!
//! Operators see no threads, no clock and no runtime. [`crate::instance::Instance`] wraps one for
//! execution: it stamps spans, contains panics and turns failures into tombstones, in one place for
//! every engine.

use bench_dataflow::frame::{self, Frame, Header, Kind, Span};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::seal::{Key, digest};

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
    key: Option<Key>,
    /// The spans written since the last [`Output::settle`]: where, and on which record.
    open: Vec<(usize, u64)>,
    owed: Owed,
}

/// A place to come back to.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    batch: usize,
    adopted: usize,
}

/// What calls that emitted nothing owe to the next record that is emitted.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// Their time.
    busy_ns: u64,
    /// Spans of what they absorbed, as they lay there.
    adopted: Vec<u8>,
    /// Of which records those are: the number of each, and where its spans end.
    absorbed: Vec<(u64, usize)>,
}

impl Owed {
    /// Appends the spans of what was absorbed as they belong to record `seq`, and forgets them.
    fn settle(&mut self, seq: u64, key: Option<Key>, batch: &mut Vec<u8>) {
        let (mut at, from) = (0, batch.len());
        batch.extend_from_slice(&self.adopted);
        for (of, end) in self.absorbed.drain(..) {
            // Mostly they are parts of the same query, and sealed for it.
            if let Some(key) = key.filter(|_| of != seq) {
                for span in batch[from + at..from + end].as_chunks_mut().0 {
                    *span = key.shared(Span::read(span), of, seq, 1).to_bytes();
                }
            }
            at = end;
        }
        self.adopted.clear();
    }

    /// Forgets what was absorbed when there were more spans than these.
    fn rewind(&mut self, adopted: usize) {
        while self.absorbed.pop_if(|(_, end)| *end > adopted).is_some() {}
        self.adopted.truncate(self.absorbed.last().map_or(0, |(_, end)| *end));
    }
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        batch: &'a mut Vec<u8>,
        ports: &'a [u8],
        stamp: Span,
        key: Option<Key>,
        owed: Owed,
    ) -> Self {
        Self { batch, ports, stamp, key, open: Vec::new(), owed }
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

    /// Lets spans of absorbed record `seq` (a document in a window) ride on the next record emitted.
    pub fn adopt(&mut self, seq: u64, spans: &[u8]) {
        self.owed.adopted.extend_from_slice(spans);
        self.owed.absorbed.push((seq, self.owed.adopted.len()));
    }

    /// A share of a span of record `from`, one of so many, as it belongs to record `to`.
    #[must_use]
    pub fn share(&self, span: Span, from: u64, to: u64, of: u32) -> Span {
        match self.key {
            Some(key) => key.shared(span, from, to, of),
            None => Span { busy_ns: span.busy_ns / u64::from(of.max(1)), ..span },
        }
    }

    fn write(
        &mut self,
        parent: Lineage<'_>,
        port: u8,
        meaning: Option<u64>,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), OperatorError>,
    ) -> Result<(), OperatorError> {
        if cfg!(feature = "unobserved") {
            let header = Header { port, kind: Kind::Data, ..parent.header };
            return frame::push_with(self.batch, header, body, |_, _| ()).map(drop);
        }
        let mut stamp = self.stamp;
        let inherited = parent.spans.len() + self.owed.adopted.len();
        let (key, seq, owed) = (self.key, parent.header.seq, &mut self.owed);
        let at = frame::push_with(
            self.batch,
            Header { port, kind: Kind::Data, ..parent.header },
            body,
            |batch, body| {
                stamp.digest = meaning.unwrap_or_else(|| digest(&batch[body]));
                batch.extend_from_slice(parent.spans);
                owed.settle(seq, key, batch);
                batch.extend_from_slice(&stamp.to_bytes());
            },
        )?;
        self.open.push((at + inherited, seq));
        Ok(())
    }

    /// Where the batch ends now, to come back to with [`Output::rewind`].
    pub(crate) fn mark(&self) -> Mark {
        Mark { batch: self.batch.len(), adopted: self.owed.adopted.len() }
    }

    /// Forgets what was emitted and absorbed since `mark`.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.batch.truncate(mark.batch);
        self.owed.rewind(mark.adopted);
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
        for (at, seq) in self.open.drain(..) {
            let Some(span) = self.batch[at..].first_chunk_mut() else { continue };
            Span::set_busy(span, share);
            if let Some(key) = self.key {
                key.seal(seq, span);
            }
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
