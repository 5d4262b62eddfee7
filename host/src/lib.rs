//! The host: finds backends, runs workloads through them in processes of their own, measures, keeps
//! and compares the results. It knows no backend by name but the default's.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod compare;
pub mod conformance;
pub mod plugins;
pub mod report;
pub mod results;
pub mod run;
pub mod scaffold;
