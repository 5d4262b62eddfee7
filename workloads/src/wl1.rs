//! Workload1: one line of operators, without state.
//!
//! ```text
//! query_source ─ embed_q ─ context ─ vdb1 ─ collect ─ dedup ─ rerank ─ generate ─ sink
//! ```

use crate::wl4::Rag;

pub const WORKLOAD: Rag = Rag {
    name: "wl1",
    summary: "single-stream RAG: one line of operators, no state",
    paths: &["query_source embed_q context vdb1 collect dedup rerank generate sink"],
};
