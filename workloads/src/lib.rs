//! Workloads as dataflow graphs of operators, independent of any runtime.
//!
//! * [`workload`] opens a workload: its graph, operators and schedule. Start there.
//! * [`wl4`] is the main one; [`null`] the same graph without the work.
//! * [`operator`] says what an operator is; [`instance`] and [`chain`] make it ready to run.
//! * [`judge`] scores rankings where the corpus has judgements, by the measures of [`quality`].
//! * [`text`], [`vector`], [`index`], [`corpus`] are what the operators are made of.
//! * [`drawing`] shows a graph as text and as SVG.
//! * [`ffi`] is all of it for other languages.
//!
//! Operators have no threads and no clock, and every result is the same on every machine, at every
//! batch size and in every order of arrival.

pub mod chain;
pub mod corpus;
pub mod drawing;
pub mod fault;
pub mod ffi;
pub mod index;
pub mod instance;
pub mod judge;
pub mod null;
pub mod operator;
pub mod parts;
pub mod quality;
pub mod random;
pub mod schedule;
pub mod search;
pub mod shuffle;
pub mod text;
pub mod vector;
pub mod wl4;
pub mod workload;

#[cfg(test)]
mod testing;
