#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use bench::cli;
use bench_check::Conform;
use bench_isolate::describe::Describe;
use bench_isolate::install::Install;
use bench_isolate::isolate::{Handler, SUBCOMMAND, serve};
use bench_measure::operation::Run;

fn main() -> ExitCode {
    // Before anything else: a runner process must not have started a thread.
    if std::env::args_os().nth(1).is_some_and(|first| first == SUBCOMMAND) {
        serve(&[
            Handler::of::<Describe>(),
            Handler::of::<Install>(),
            Handler::of::<Run>(),
            Handler::of::<Conform>(),
        ]);
    }
    cli::main()
}
