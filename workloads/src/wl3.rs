//! Workload3: questions meet a stream of documents in a window.
//!
//! ```text
//! query_source ─ embed_q ─┬─ join ─ fork ─┬─ vdb1 ─┬─ merge ─ dedup ─ rerank ─ generate ─ sink
//! doc_source ─── embed_d ─┘               └─ vdb2 ─┘
//! ```

use crate::wl4::Rag;

pub const WORKLOAD: Rag = Rag {
    name: "wl3",
    summary: "dual-stream RAG: a window join with a document stream, and two searches",
    paths: &[
        "query_source embed_q join fork vdb1 merge dedup rerank generate sink",
        "doc_source embed_d join",
        "fork vdb2 merge",
    ],
};
