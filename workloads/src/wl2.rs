//! Workload2: three searches at once, and the join of what they found.
//!
//! ```text
//!                                    ┌─ vdb1 ─────────┐
//! query_source ─ embed_q ─ context ──┼─ vdb2 ─────────┼─ merge ─ dedup ─ rerank ─ mmr ─ generate ─ sink
//!                                    └─ graph_memory ─┘
//! ```

use crate::wl4::Rag;

pub const WORKLOAD: Rag = Rag {
    name: "wl2",
    summary: "multi-stage RAG: three searches at once and a three-way join",
    paths: &[
        "query_source embed_q context vdb1 merge dedup rerank mmr generate sink",
        "context vdb2 merge",
        "context graph_memory merge",
    ],
};
