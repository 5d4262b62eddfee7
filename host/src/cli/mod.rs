//! The command line: arguments to plans, results to the screen, errors to exit codes.

mod backends;
mod capacity;
mod check;
mod compare;
mod exit;
mod generate;
mod pair;
mod plan;
mod run;
mod scaffold;
mod screen;
mod soak;
mod sweep;
mod top;
mod trust;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use exit::{EXIT_CODES, Exit, Stopped};
pub use plan::RunArgs;

use crate::plugins::isolate::Stop;

/// Raised by Ctrl-C: once to drain, twice to stop.
pub static STOP: Stop = Stop::new();

/// Run the same workload through any distributed runtime, and compare the results.
///
/// Without a subcommand, bench runs: `bench --backend local`.
#[derive(Debug, Parser)]
#[command(name = "bench", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a workload through one backend (the default command).
    Run(Box<RunArgs>),
    /// Run several backends on the same work, in turns, and compare them.
    Pair(Box<pair::PairArgs>),
    /// Find the highest rate that a backend sustains within a latency goal.
    Capacity(Box<capacity::CapacityArgs>),
    /// Run at several parallelisms, nodes and rates; speed-up, efficiency and curves.
    Sweep(Box<sweep::SweepArgs>),
    /// Run for long and say whether memory, latency or throughput creep.
    Soak(Box<soak::SoakArgs>),
    /// Compare results and write a report.
    Compare(compare::CompareArgs),
    /// Say whether two results are comparable and equal.
    Verify(compare::VerifyArgs),
    /// Say whether results are slower than a baseline allows.
    Gate(compare::GateArgs),
    /// List, inspect and install backends.
    #[command(subcommand)]
    Backends(backends::BackendsCommand),
    /// List the workloads and draw their graphs.
    #[command(subcommand)]
    Workloads(workloads::WorkloadsCommand),
    /// Print JSON Schemas of the artefacts.
    Schema {
        /// Which one.
        #[arg(value_enum)]
        of: generate::SchemaOf,
    },
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// Where plugins are looked for.
#[derive(Debug, Clone, Args)]
pub struct PluginArgs {
    /// Look for plugins here first (repeatable). Then follow BENCH_PLUGINS_PATH, `plugins/` beside the
    /// executable, and the user's data directory.
    #[arg(long, value_name = "DIR", help_heading = "Plugins")]
    pub plugins_dir: Vec<PathBuf>,
    /// Leave out the user's data directory.
    #[arg(long, help_heading = "Plugins")]
    pub no_user_plugins: bool,
    /// Load only files that `bench backends trust` put on the list.
    #[arg(long, env = crate::plugins::trust::ONLY_TRUSTED, help_heading = "Plugins",
          value_parser = clap::builder::FalseyValueParser::new())]
    pub only_trusted: bool,
}

/// The command line, without the flags of `run` that `pair` and `sweep` have others for.
fn command() -> clap::Command {
    let without = |command: clap::Command| {
        let hide = |flag: clap::Arg| flag.hide(true);
        command
            .mut_arg("backend", hide)
            .mut_arg("output_dir", hide)
            .mut_arg("trace", hide)
            .mut_arg("trace_format", hide)
            .mut_arg("top", hide)
    };
    let of_one = |command: clap::Command| {
        let hide = |flag: clap::Arg| flag.hide(true);
        command.mut_arg("trace", hide).mut_arg("trace_format", hide).mut_arg("top", hide)
    };
    Cli::command()
        .mut_subcommand("pair", without)
        .mut_subcommand("sweep", without)
        .mut_subcommand("capacity", of_one)
        .mut_subcommand("soak", of_one)
}

/// Parses, runs, prints, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Err(error) = watch_ctrl_c() {
        eprintln!("warning: Ctrl-C will stop bench at once: {error}");
    }
    let result = match cli.command {
        None => run::run(&cli.run),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Pair(args)) => pair::pair(&args),
        Some(Command::Capacity(args)) => capacity::capacity(&args),
        Some(Command::Sweep(args)) => sweep::sweep(&args),
        Some(Command::Soak(args)) => soak::soak(&args),
        Some(Command::Compare(args)) => compare::compare(&args),
        Some(Command::Verify(args)) => compare::verify(&args),
        Some(Command::Gate(args)) => compare::gate(&args),
        Some(Command::Backends(command)) => backends::backends(&command),
        Some(Command::Workloads(command)) => workloads::workloads(&command),
        Some(Command::Schema { of }) => generate::schema(of),
        Some(Command::Completions { shell }) => generate::completions(shell, &mut command()),
        Some(Command::Man) => generate::man(command()),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(stopped) => {
            screen::error(&stopped);
            stopped.exit.into()
        }
    }
}

/// The handler only raises a flag; everything else happens where the flag is read.
fn watch_ctrl_c() -> std::io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // SAFETY: `escalate` is one atomic operation, which a signal handler may do.
        unsafe { signal_hook::low_level::register(signal, || STOP.escalate()) }?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn without_a_subcommand_bench_runs() {
        let cli = Cli::try_parse_from(["bench", "--backend", "my_backend", "-n", "5"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!((cli.run.backend.as_deref(), cli.run.num_tasks), (Some("my_backend"), Some(5)));
    }
}
