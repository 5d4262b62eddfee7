//! The vocabulary that every part of `bench` shares.
//!
//! A workload is a [`graph::Graph`] of named operators. What travels along its edges is a
//! [`frame::Frame`]: bytes with a fixed header that any runtime can route by without knowing the
//! payload. [`route::Router`] turns the output of one operator into the inputs of the next.
//!
//! This crate exists because the plugin ABI and the workloads both need these three things and
//! neither may depend on the other. It has no threads, no clock and no I/O.

#![warn(missing_docs)]

pub mod frame;
pub mod graph;
pub mod route;
