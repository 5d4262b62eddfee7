#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use bench::cli;
use bench_check::Conform;
use bench_isolate::describe::Describe;
use bench_isolate::install::Install;
use bench_isolate::isolate::{Handler, SUBCOMMAND, serve};
use bench_isolate::limits;
use bench_isolate::server::Serve;
use bench_measure::operation::Run;

fn main() -> ExitCode {
    // A write beyond `ulimit -f` is to be an error that is told, not the end of the process.
    ignore_file_size_signal();
    limits::quiet();
    // Before anything else: a runner process must not have started a thread.
    if std::env::args_os().nth(1).is_some_and(|first| first == SUBCOMMAND) {
        serve(&[
            Handler::of::<Describe>(),
            Handler::of::<Install>(),
            Handler::of::<Run>(),
            Handler::of::<Conform>(),
            Handler::of::<Serve>(),
        ]);
    }
    cli::main()
}

// SAFETY: the signature is that of the C library that std links on every Unix.
unsafe extern "C" {
    /// With no handler this only sets a disposition, which is sound at any time.
    safe fn signal(number: i32, handler: usize) -> usize;
}

fn ignore_file_size_signal() {
    /// `SIG_IGN`.
    const IGNORED: usize = 1;
    signal(signal_hook::consts::SIGXFSZ, IGNORED);
}
