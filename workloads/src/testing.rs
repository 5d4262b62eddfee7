//! What operator tests share: one operator, fed one record at a time.

use bench_dataflow::frame::{Frame, Header, Kind, Span, frames, push};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::operator::{Operator, Output, Owed};

/// A data header on `port` with event time 0.
pub fn header(port: u8, seq: u64) -> Header {
    Header { port, kind: Kind::Data, seq, key: 0, event_time_ns: 0, watermark_ns: i64::MIN }
}

/// An operator under test.
pub struct Harness(Box<dyn Operator>);

/// A frame that came out, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    pub header: Header,
    pub body: Vec<u8>,
}

impl Emitted {
    pub fn decode<T: DeserializeOwned>(&self) -> T {
        postcard::from_bytes(&self.body).unwrap()
    }
}

impl Harness {
    pub fn new(operator: impl Operator + 'static) -> Self {
        Self(Box::new(operator))
    }

    /// Sends one record and decodes the bodies of the data frames it causes.
    pub fn send<T: DeserializeOwned>(&mut self, header: Header, body: &impl Serialize) -> Vec<T> {
        let emitted = self.send_bytes(header, &postcard::to_stdvec(body).unwrap());
        emitted.iter().filter(|frame| frame.header.kind == Kind::Data).map(Emitted::decode).collect()
    }

    pub fn send_bytes(&mut self, header: Header, body: &[u8]) -> Vec<Emitted> {
        Self::feed(&mut *self.0, header, body)
    }

    pub fn feed(operator: &mut dyn Operator, header: Header, body: &[u8]) -> Vec<Emitted> {
        let mut input = Vec::new();
        push(&mut input, header, body, b"");
        let inputs: Vec<Frame<'_>> = frames(&input).map(Result::unwrap).collect();
        collect(|output| operator.process(&inputs, output).unwrap())
    }

    pub fn finish(&mut self) -> Vec<Emitted> {
        collect(|output| self.0.finish(output).unwrap())
    }
}

fn collect(call: impl FnOnce(&mut Output<'_>)) -> Vec<Emitted> {
    let mut batch = Vec::new();
    let stamp =
        Span { start_ns: 0, busy_ns: 0, digest: 0, worker: 0, node: 0, instance: 0, place: 0, seal: 0 };
    call(&mut Output::new(&mut batch, &[0], stamp, None, Owed::default()));
    frames(&batch)
        .map(Result::unwrap)
        .map(|frame| Emitted { header: frame.header, body: frame.body.to_vec() })
        .collect()
}
