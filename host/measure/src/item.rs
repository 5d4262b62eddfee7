//! What the sink keeps of each answer, in the order in which they came, for the supervisor to count.

use std::fs::File;
use std::io;
use std::time::Duration;

use bench_workloads::records::Call;
use serde::{Deserialize, Serialize};

/// Bytes of an item as it is kept: an id, an answer's digest, and one number a stage.
const LONGEST_ITEM: u32 = 16 << 20;

/// One line of the items file, before it is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub query_id: String,
    pub ok: bool,
    /// SHA-256 of the answer.
    pub digest: [u8; 32],
    /// When it was to be handed out, when it was, and when it was answered. Monotonic nanoseconds.
    pub intended_ns: u64,
    pub emitted_ns: u64,
    pub answered_ns: u64,
    pub timed: bool,
    /// Digest of what each node wrote, by node id; 0 where it wrote nothing.
    pub stages: Vec<u64>,
    /// How a language model was heard for it, where one was called.
    pub call: Option<Call>,
    /// An answer that holds no words.
    pub wordless: bool,
}

impl Item {
    /// Latency from the intended arrival.
    #[must_use]
    pub fn response(&self) -> Duration {
        Duration::from_nanos(self.answered_ns.saturating_sub(self.intended_ns))
    }

    /// Latency from the emission.
    #[must_use]
    pub fn service(&self) -> Duration {
        Duration::from_nanos(self.answered_ns.saturating_sub(self.emitted_ns))
    }
}

/// An item as it is kept, in the memory of the one before it.
///
/// # Errors
/// When it cannot be encoded.
pub fn encode<'a>(item: &Item, line: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    line.clear();
    line.extend_from_slice(&[0; 4]);
    *line = postcard::to_extend(item, std::mem::take(line)).map_err(io::Error::other)?;
    let len = (line.len() - 4) as u32;
    line[..4].copy_from_slice(&len.to_le_bytes());
    Ok(line)
}

/// Reads back what a sink kept.
///
/// # Errors
/// When the file cannot be read or is cut short.
pub fn read_items(file: File) -> impl Iterator<Item = io::Result<Item>> {
    let mut reader = io::BufReader::new(file);
    std::iter::from_fn(move || read_item(&mut reader).transpose())
}

fn read_item(reader: &mut impl io::Read) -> io::Result<Option<Item>> {
    let mut len = [0; 4];
    match reader.read_exact(&mut len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let len = u32::from_le_bytes(len);
    if len > LONGEST_ITEM {
        return Err(io::Error::other(format!("an item of {len} bytes is none")));
    }
    let mut bytes = vec![0; len as usize];
    reader.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}
