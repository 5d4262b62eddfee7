//! Workload4: a distributed retrieval-augmented generation pipeline.
//!
//! ```text
//! query_source ─ embed_q ─┐
//!                         ├─ join ─ graph_memory ─ fork ─┬─ vdb1 ─┐
//! doc_source ─── embed_d ─┘                              └─ vdb2 ─┴─ merge ─ dedup ─ rerank ─ mmr
//!                                    ─ category_batch ─ global_batch ─ generate ─ sink
//! ```
//!
//! One module per operator, its goldens beside it. [`graph`] declares what each needs of a runtime.

#![allow(missing_docs, reason = "record fields and constructor arguments are named after the specification")]

pub mod batch;
pub mod cascade;
pub mod dedup;
pub mod embed;
pub mod fork;
pub mod generate;
pub mod graph_memory;
pub mod join;
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
mod prepare;
pub mod shared;

pub use graph::graph;
pub use operators::create;
