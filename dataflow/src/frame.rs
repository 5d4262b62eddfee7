//! A record as bytes: header, body, spans.
//!
//! ```text
//! offset  size  field
//!      0     4  body length in bytes (u32, little endian like everything here)
//!      4     1  port: the output port when an operator wrote it, the input port when one reads it
//!      5     1  kind: 0 data, 1 failed, 2 heartbeat
//!      6     2  number of spans
//!      8     8  sequence number, dense per stream from 0
//!     16     8  partition key: equal keys must meet at the same instance of a keyed operator
//!     24     8  event time, nanoseconds since the start of the schedule (i64)
//!     32     8  watermark: no query with an earlier event time is outstanding (i64)
//!     40     …  body, then 32 bytes per span
//! ```
//!
//! A *batch* is a plain concatenation of frames, so that a runtime can ship many records as one
//! object. Spans ride behind the body so that adding one never re-encodes the record.

use std::fmt;
use std::ops::Range;

/// Bytes before the body.
pub const HEADER_LEN: usize = 40;
/// Where the port lies in a header.
const PORT: usize = 4;
/// Bytes of one [`Span`].
pub const SPAN_LEN: usize = 32;

/// What a frame stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An ordinary record.
    Data = 0,
    /// A tombstone: the record failed upstream. It keeps its place in every sequence, so that
    /// ordered operators do not wait for it, and the sink counts it.
    Failed = 1,
    /// Event time moved on although no record was due. Has a place in the query sequence.
    Heartbeat = 2,
}

/// The fixed-size part of a frame that routing needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Output port when written by an operator, input port when read by one.
    pub port: u8,
    /// What the frame stands for.
    pub kind: Kind,
    /// Place in its stream, dense from 0.
    pub seq: u64,
    /// Partition key.
    pub key: u64,
    /// Event time in nanoseconds since the start of the schedule; negative before it.
    pub event_time_ns: i64,
    /// No query with an event time before this is outstanding.
    pub watermark_ns: i64,
}

/// Where and for how long one operator worked on a record.
///
/// ```text
/// offset  size  field
///      0     8  start
///      8     6  time inside
///     14     2  seal
///     16     8  digest
///     24     4  worker, 22 bits, and the lower 10 bits of the place
///     28     2  node
///     30     2  instance, 10 bits, and the upper 6 bits of the place
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Monotonic clock of the place, nanoseconds.
    pub start_ns: u64,
    /// Time spent inside the operator, nanoseconds, at most [`Span::MOST_BUSY_NS`].
    pub busy_ns: u64,
    /// xxh3 of the body the operator wrote: two backends that agree have equal digests here.
    pub digest: u64,
    /// Thread id of the worker, which on Linux is unique across the processes of a place, and has 22 bits at most.
    pub worker: u32,
    /// Node of the graph.
    pub node: u16,
    /// Which of the node's instances; at most [`Span::MOST_INSTANCES`] can be told apart.
    pub instance: u16,
    /// Tag of the place where the worker ran: whose clock `start_ns` is of, and whose thread `worker` is.
    pub place: u16,
    /// What ties it to its run and record: set by the operator, compared by the sink, nobody else's concern.
    pub seal: u16,
}

/// Numbers of threads are below 2^22 on every Linux.
const WORKER_BITS: u32 = 22;
const MOST_WORKER: u32 = (1 << WORKER_BITS) - 1;
const INSTANCE_BITS: u32 = 10;

impl Span {
    /// Most time that a span holds: 78 hours.
    pub const MOST_BUSY_NS: u64 = (1 << 48) - 1;
    /// Most instances of a node: there are no more than the largest parallelism.
    pub const MOST_INSTANCES: u16 = 1 << INSTANCE_BITS;
    /// Where the seal lies in a span's bytes.
    pub const SEAL: Range<usize> = 14..16;

    /// As it lies behind a body.
    #[must_use]
    #[inline]
    pub fn to_bytes(&self) -> [u8; SPAN_LEN] {
        let mut bytes = [0; SPAN_LEN];
        let busy = self.busy_ns.min(Self::MOST_BUSY_NS) | u64::from(self.seal) << 48;
        bytes[..8].copy_from_slice(&self.start_ns.to_le_bytes());
        bytes[8..16].copy_from_slice(&busy.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.digest.to_le_bytes());
        let worker = (self.worker & MOST_WORKER) | (u32::from(self.place) << WORKER_BITS);
        let place_above = self.place >> (u32::BITS - WORKER_BITS);
        let instance = (self.instance & (Self::MOST_INSTANCES - 1)) | (place_above << INSTANCE_BITS);
        bytes[24..28].copy_from_slice(&worker.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.node.to_le_bytes());
        bytes[30..].copy_from_slice(&instance.to_le_bytes());
        bytes
    }

    /// Sets the time inside of one that lies behind a body; its seal is gone with the old one.
    #[inline]
    pub fn set_busy(bytes: &mut [u8; SPAN_LEN], busy_ns: u64) {
        bytes[8..16].copy_from_slice(&busy_ns.min(Self::MOST_BUSY_NS).to_le_bytes());
    }

    /// Reads one that lies behind a body.
    #[must_use]
    #[inline]
    pub fn read(bytes: &[u8; SPAN_LEN]) -> Self {
        let busy = u64::from_le_bytes(take(bytes, 8));
        let worker = u32::from_le_bytes(take(bytes, 24));
        let instance = u16::from_le_bytes(take(bytes, 30));
        let place_above = (instance >> INSTANCE_BITS) << (u32::BITS - WORKER_BITS);
        Self {
            start_ns: u64::from_le_bytes(take(bytes, 0)),
            busy_ns: busy & Self::MOST_BUSY_NS,
            digest: u64::from_le_bytes(take(bytes, 16)),
            worker: worker & MOST_WORKER,
            node: u16::from_le_bytes(take(bytes, 28)),
            instance: instance & (Self::MOST_INSTANCES - 1),
            place: (worker >> WORKER_BITS) as u16 | place_above,
            seal: (busy >> 48) as u16,
        }
    }
}

/// One record, borrowed from a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Routing fields.
    pub header: Header,
    /// The record itself, encoded by the workload.
    pub body: &'a [u8],
    /// Raw spans, a multiple of [`SPAN_LEN`] bytes.
    pub spans: &'a [u8],
}

/// The bytes were not a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Offset of the frame that could not be read.
    pub at: usize,
    /// What was wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed batch at byte {}: {}", self.at, self.why)
    }
}

impl std::error::Error for Malformed {}

impl<'a> Frame<'a> {
    /// Decodes the spans, oldest first.
    pub fn spans(&self) -> impl Iterator<Item = Span> + use<'a> {
        spans(self.spans).iter().map(Span::read)
    }

    /// Length of the whole frame in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.body.len() + self.spans.len()
    }

    /// Reads the first frame of `bytes`; `at` is only for the error.
    fn read(bytes: &'a [u8], at: usize) -> Result<Self, Malformed> {
        let fail = |why| Malformed { at, why };
        let head = bytes.first_chunk::<HEADER_LEN>().ok_or(fail("the header is cut short"))?;
        let body_len = u32::from_le_bytes(take(head, 0)) as usize;
        let kind = match head[5] {
            0 => Kind::Data,
            1 => Kind::Failed,
            2 => Kind::Heartbeat,
            _ => return Err(fail("unknown kind")),
        };
        let spans_len = u16::from_le_bytes(take(head, 6)) as usize * SPAN_LEN;
        let rest = &bytes[HEADER_LEN..];
        if rest.len() < body_len || rest.len() - body_len < spans_len {
            return Err(fail("the body or its spans are cut short"));
        }
        let (body, rest) = rest.split_at(body_len);
        let header = Header {
            port: head[PORT],
            kind,
            seq: u64::from_le_bytes(take(head, 8)),
            key: u64::from_le_bytes(take(head, 16)),
            event_time_ns: i64::from_le_bytes(take(head, 24)),
            watermark_ns: i64::from_le_bytes(take(head, 32)),
        };
        Ok(Self { header, body, spans: &rest[..spans_len] })
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:?}, {} body bytes, {} span bytes)", self.header, self.body.len(), self.spans.len())
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range has N bytes by construction")
}

/// Spans as they lie behind a body, one by one.
#[must_use]
#[inline]
pub fn spans(bytes: &[u8]) -> &[[u8; SPAN_LEN]] {
    bytes.as_chunks().0
}

/// The spans of `second` that `first` does not start with too: two records forked from one share the
/// spans from before the fork, and these must count once when the records meet again.
#[must_use]
pub fn own_spans<'a>(first: &[u8], second: &'a [u8]) -> &'a [u8] {
    let pairs = first.chunks_exact(SPAN_LEN).zip(second.chunks_exact(SPAN_LEN));
    let shared = pairs.take_while(|(a, b)| a == b).count();
    &second[shared * SPAN_LEN..]
}

/// Walks the frames of a batch. Stops after the first malformed one.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    batch: &'a [u8],
    at: usize,
}

/// Reads `batch` as a concatenation of frames.
#[must_use]
pub fn frames(batch: &[u8]) -> Frames<'_> {
    Frames { batch, at: 0 }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.batch.len() {
            return None;
        }
        let frame = Frame::read(&self.batch[self.at..], self.at);
        self.at = match &frame {
            Ok(frame) => self.at + frame.encoded_len(),
            Err(_) => self.batch.len(),
        };
        Some(frame)
    }
}

/// Appends one frame to a batch.
///
/// # Panics
/// If the body exceeds 4 GiB or there are more than 65,535 spans: no workload comes near either.
pub fn push(batch: &mut Vec<u8>, header: Header, body: &[u8], spans: &[u8]) {
    let body_len = u32::try_from(body.len()).expect("a body is smaller than 4 GiB");
    push_header(batch, header, body_len, spans.len() / SPAN_LEN);
    batch.extend_from_slice(body);
    batch.extend_from_slice(spans);
}

/// Appends a frame unchanged but for its port.
pub fn push_to_port(batch: &mut Vec<u8>, frame: Frame<'_>, port: u8) {
    push(batch, Header { port, ..frame.header }, frame.body, frame.spans);
}

/// Puts every frame of a batch on port `to` where it lies, if all are on port `from`. Otherwise nothing is changed, and
/// this is false.
///
/// # Errors
/// When the bytes are not a batch.
pub fn readdress(batch: &mut [u8], from: u8, to: u8) -> Result<bool, Malformed> {
    let mut alike = true;
    for frame in frames(batch) {
        alike &= frame?.header.port == from;
    }
    if alike && from != to {
        let mut at = 0;
        while let Some(Ok(frame)) = frames(&batch[at..]).next() {
            let next = at + frame.encoded_len();
            batch[at + PORT] = to;
            at = next;
        }
    }
    Ok(alike)
}

/// Appends a frame whose body `write` appends to the batch itself, and whose spans `spans` appends behind
/// it: no copy. The spans may depend on the body just written, which lies at the given place. Returns the
/// offset of the first span.
///
/// # Errors
/// When `write` fails; the batch is then as it was.
///
/// # Panics
/// As [`push`].
pub fn push_with<E>(
    batch: &mut Vec<u8>,
    header: Header,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    spans: impl FnOnce(&mut Vec<u8>, Range<usize>),
) -> Result<usize, E> {
    let start = batch.len();
    push_header(batch, header, 0, 0);
    if let Err(error) = write(batch) {
        batch.truncate(start);
        return Err(error);
    }
    let body = start + HEADER_LEN..batch.len();
    let body_len = u32::try_from(body.len()).expect("a body is smaller than 4 GiB");
    let at = batch.len();
    spans(batch, body);
    let count = (batch.len() - at) / SPAN_LEN;
    let count = u16::try_from(count).expect("a record passes fewer than 65,536 operators");
    batch[start..start + 4].copy_from_slice(&body_len.to_le_bytes());
    batch[start + 6..start + 8].copy_from_slice(&count.to_le_bytes());
    Ok(at)
}

fn push_header(batch: &mut Vec<u8>, header: Header, body_len: u32, spans: usize) {
    let spans = u16::try_from(spans).expect("a record passes fewer than 65,536 operators");
    batch.reserve(HEADER_LEN);
    batch.extend_from_slice(&body_len.to_le_bytes());
    batch.extend_from_slice(&[header.port, header.kind as u8]);
    batch.extend_from_slice(&spans.to_le_bytes());
    batch.extend_from_slice(&header.seq.to_le_bytes());
    batch.extend_from_slice(&header.key.to_le_bytes());
    batch.extend_from_slice(&header.event_time_ns.to_le_bytes());
    batch.extend_from_slice(&header.watermark_ns.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(seq: u64) -> Header {
        Header { port: 3, kind: Kind::Data, seq, key: 7, event_time_ns: -5, watermark_ns: -9 }
    }

    fn span(node: u16) -> Span {
        Span { start_ns: 1, busy_ns: 2, digest: 3, worker: 4, node, instance: 5, place: 7, seal: 6 }
    }

    #[test]
    fn a_batch_is_put_on_another_port_whole_or_not_at_all() {
        let mut batch = Vec::new();
        (0..3).for_each(|seq| push(&mut batch, header(seq), b"body", &span(1).to_bytes()));
        let ports = |batch: &[u8]| frames(batch).map(|frame| frame.unwrap().header.port).collect::<Vec<_>>();
        assert_eq!((readdress(&mut batch, 3, 9), ports(&batch)), (Ok(true), vec![9; 3]));
        push(&mut batch, header(3), b"", b"");
        assert_eq!((readdress(&mut batch, 9, 1), ports(&batch)), (Ok(false), vec![9, 9, 9, 3]));
        let cut = batch.len() - 1;
        assert!(readdress(&mut batch[..cut], 9, 1).is_err());
    }

    #[test]
    fn a_span_reads_back_as_it_was_written() {
        let largest = Span {
            start_ns: u64::MAX,
            busy_ns: Span::MOST_BUSY_NS,
            digest: u64::MAX,
            worker: (1 << WORKER_BITS) - 1,
            node: u16::MAX,
            instance: Span::MOST_INSTANCES - 1,
            place: u16::MAX,
            seal: u16::MAX,
        };
        let none =
            Span { start_ns: 0, busy_ns: 0, digest: 0, worker: 0, node: 0, instance: 0, place: 0, seal: 0 };
        // One field at a time, so that none runs into its neighbour.
        for span in [
            largest,
            none,
            Span { worker: largest.worker, ..none },
            Span { place: largest.place, ..none },
            Span { instance: largest.instance, ..none },
            Span { place: 0, ..largest },
            Span { worker: 0, ..largest },
            Span { instance: 0, ..largest },
        ] {
            assert_eq!(Span::read(&span.to_bytes()), span);
        }
    }

    #[test]
    fn a_batch_reads_back_as_the_frames_that_were_pushed() {
        let mut batch = Vec::new();
        push(&mut batch, header(0), b"alpha", &span(9).to_bytes());
        push(&mut batch, header(1), b"", b"");
        let read: Vec<_> = frames(&batch).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].header, read[0].body), (header(0), &b"alpha"[..]));
        assert_eq!(read[0].spans().collect::<Vec<_>>(), [span(9)]);
        assert_eq!((read[1].header, read[1].body.len(), read[1].spans.len()), (header(1), 0, 0));
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_panic() {
        let mut batch = Vec::new();
        push(&mut batch, header(0), b"alpha", &span(9).to_bytes());
        for len in 1..batch.len() {
            assert!(frames(&batch[..len]).next().unwrap().is_err(), "{len} bytes");
        }
    }

    #[test]
    fn spans_from_before_a_fork_count_once() {
        let bytes =
            |nodes: &[u16]| -> Vec<u8> { nodes.iter().flat_map(|&node| span(node).to_bytes()).collect() };
        assert_eq!(own_spans(&bytes(&[1, 2, 3]), &bytes(&[1, 2, 4])), bytes(&[4]));
        assert_eq!(own_spans(&bytes(&[]), &bytes(&[4])), bytes(&[4]));
    }

    #[test]
    fn an_unknown_kind_names_its_offset() {
        let mut batch = Vec::new();
        push(&mut batch, header(0), b"", b"");
        let second = batch.len();
        push(&mut batch, header(1), b"", b"");
        batch[second + 5] = 9;
        let error = frames(&batch).find_map(Result::err).unwrap();
        assert_eq!(error, Malformed { at: second, why: "unknown kind" });
    }
}
