//! Workloads as dataflow graphs of operators, independent of any runtime.
//!
//! * [`workload`] says what a workload is: its parameters, graph, operators and schedule. Start there.
//! * [`list`] has those there are: [`wl4`] is the main one, [`null`] the same graph without the work.
//! * [`open`] makes one ready to run. [`parameters`] is the table of each.
//! * [`operator`] says what an operator is; [`instance`] and [`chain`] make it ready to run.
//! * [`judge`] scores rankings where the corpus has judgements, by the measures of [`quality`].
//! * [`text`], [`vector`], [`index`], [`corpus`] are what the operators are made of.
//! * [`drawing`] shows a graph as text and as SVG.
//! * [`ffi`] is all of it for other languages.
//!
//! Operators have no clock, and no threads but those that wait for a service; every result is the same on every machine, at every
//! batch size and in every order of arrival.

pub mod chain;
pub mod corpus;
pub mod drawing;
pub mod fault;
pub mod ffi;
pub mod index;
pub mod instance;
pub mod judge;
pub mod list;
pub mod null;
pub mod open;
pub mod operator;
pub mod parameters;
pub mod parts;
pub mod place;
pub mod quality;
pub mod random;
pub mod records;
mod regular;
pub mod schedule;
pub mod seal;
pub mod shuffle;
mod slots;
pub mod text;
pub mod truncation;
mod unfinished;
pub mod vector;
pub mod wl1;
pub mod wl2;
pub mod wl3;
pub mod wl4;
pub mod workload;

#[cfg(test)]
mod testing;
