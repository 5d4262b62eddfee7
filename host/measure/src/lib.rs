//! A run, from the plan to the record.
//!
//! [`plan`] says what to do; [`supervise`] starts the runner process and keeps its results;
//! [`operation`] is what happens inside that process, with [`emitter`], [`sink`] and [`ledger`] as
//! the measured ends of the plugin's work and [`guest`] as what the plugin can ask for.

#![forbid(unsafe_code)]

mod answered;
pub mod answers;
mod artefacts;
pub mod attribution;
pub mod bounds;
pub mod clocks;
pub mod course;
pub mod doubts;
pub mod emitter;
mod energy;
mod evidence;
mod faraway;
mod generation;
pub mod guest;
pub mod input_plan;
pub mod item;
pub mod ledger;
pub mod machine;
pub mod monitor;
pub mod nodes;
pub mod operation;
pub mod outcome;
pub mod outside;
pub mod plan;
pub mod processes;
pub mod proof;
pub mod received;
pub mod reference;
pub mod runtime_logs;
pub mod series;
pub mod sink;
pub mod supervise;
pub mod trace;
pub mod validity;
mod watched;
pub mod window;

/// The vocabulary of graphs and frames that a run speaks.
pub use bench_dataflow as dataflow;
/// What all answers come to.
pub use bench_record::digest;
/// The work.
pub use bench_workloads as workloads;
