use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi_stable::std_types::{ROption, RResult, RSlice};

use super::Error;
use crate::dataflow::frame::{Kind, frames};
use crate::dataflow::graph::Graph;
use crate::v1;

/// The host, as a backend sees it. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Host {
    inner: Arc<v1::HostBox>,
    emitted: Arc<AtomicU64>,
}

impl Host {
    /// Wraps the ABI object.
    #[must_use]
    pub fn new(inner: v1::HostBox) -> Self {
        Self { inner: Arc::new(inner), emitted: Arc::default() }
    }

    /// The workload's graph.
    ///
    /// # Errors
    /// When the host sent something that is not a graph.
    pub fn graph(&self) -> Result<Graph, Error> {
        serde_json::from_str(&self.inner.graph())
            .map_err(|cause| Error::Invalid(format!("the host's graph: {cause}")))
    }

    /// Creates instance `instance` of the `of` instances of `node`.
    ///
    /// # Errors
    /// When the node does not exist or its state cannot be opened.
    pub fn operator(&self, node: u32, instance: u32, of: u32) -> Result<Operator, Error> {
        Ok(Operator { inner: plain(self.inner.operator(node, instance, of))? })
    }

    /// Waits for the next events: at most `max_items` queries with the documents between them.
    /// `None` ends the stream. The port of each frame is the id of its source node.
    ///
    /// # Errors
    /// When the run was cancelled.
    pub fn next_events(&self, max_items: u32) -> Result<Option<Vec<u8>>, Error> {
        Ok(match plain(self.inner.next_events(max_items))? {
            ROption::RSome(batch) => Some(batch.into_vec()),
            ROption::RNone => None,
        })
    }

    /// Hands finished records to the sink, which stamps the time.
    ///
    /// # Errors
    /// When `batch` is not a batch of results.
    pub fn emit(&self, batch: &[u8]) -> Result<(), Error> {
        let results = frames(batch)
            .filter(|record| record.as_ref().is_ok_and(|record| record.header.kind != Kind::Heartbeat));
        self.emitted.fetch_add(results.count() as u64, Ordering::Relaxed);
        plain(self.inner.emit(RSlice::from_slice(batch)))
    }

    /// Results emitted so far, failed ones included.
    #[must_use]
    pub fn emitted(&self) -> u64 {
        self.emitted.load(Ordering::Relaxed)
    }

    /// Reports the phase the backend is in; the host times each and shows it to the user.
    pub fn progress(&self, phase: &str, detail: &str) {
        self.inner.progress(phase.into(), detail.into());
    }

    /// True once the user wants the run to stop at once.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// Calls a host extension; `None` when the host does not have it.
    #[must_use]
    pub fn extension(&self, id: &str, request: &str) -> Option<String> {
        self.inner.extension(id.into(), request.into()).into_option().map(Into::into)
    }

    pub(super) fn log(&self, level: u8, target: &str, message: &str) {
        self.inner.log(level, target.into(), message.into());
    }
}

/// One instance of an operator.
pub struct Operator {
    inner: v1::OperatorBox,
}

impl Operator {
    /// Processes a batch of frames in order. Records that fail come out as tombstones.
    ///
    /// # Errors
    /// When `batch` is not a batch.
    pub fn process(&mut self, batch: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(plain(self.inner.process(RSlice::from_slice(batch)))?.into_vec())
    }

    /// Flushes what the operator holds, once all its inputs have ended.
    ///
    /// # Errors
    /// When it was called twice.
    pub fn finish(&mut self) -> Result<Vec<u8>, Error> {
        Ok(plain(self.inner.finish())?.into_vec())
    }
}

fn plain<T>(result: RResult<T, v1::BackendError>) -> Result<T, Error> {
    result.into_result().map_err(Error::from)
}
