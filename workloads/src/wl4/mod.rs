//! Workload4: a distributed retrieval-augmented generation pipeline.
//!
//! ```text
//! query_source ─ embed_q ─┐
//!                         ├─ join ─ graph_memory ─ fork ─┬─ vdb1 ─┐
//! doc_source ─── embed_d ─┘                              └─ vdb2 ─┴─ merge ─ dedup ─ rerank ─ mmr
//!                                    ─ category_batch ─ global_batch ─ generate ─ sink
//! ```
//!
//! One module per operator, its goldens beside it. `graph` declares what each needs of a runtime; [`Rag`] is what
//! the workloads of these operators have in common.

#![allow(missing_docs, reason = "record fields and constructor arguments are named after the specification")]

pub mod batch;
pub mod carried;
pub mod cascade;
pub mod dedup;
pub mod embed;
pub mod fork;
pub mod fusion;
pub mod generate;
pub mod graph_memory;
pub mod join;
pub mod lookup;
pub mod merge;
pub mod mmr;
pub mod order;
pub mod params;
pub mod records;
pub mod rerank;
pub mod vdb;
pub mod views;

mod graph;
mod operators;
mod own;
mod prepare;
mod rag;
pub mod shared;

pub use rag::{Rag, open_shared};

pub const WORKLOAD: Rag = Rag {
    name: "wl4",
    summary: "distributed RAG: window join, graph memory, two searches, keyed and global batches",
    paths: &[
        "query_source embed_q join graph_memory fork vdb1 merge dedup rerank mmr category_batch global_batch generate sink",
        "doc_source embed_d join",
        "fork vdb2 merge",
    ],
};
