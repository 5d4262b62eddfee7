//! The `bench` binary: arguments to a plan, one call, its result to the screen and the exit code.
//!
//! A library only so that its command line can be fuzzed.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
