//! The command line: arguments to plans, results to the screen, errors to exit codes.

mod again;
mod audit;
mod backends;
mod capacity;
mod check;
mod compare;
mod config;
mod exit;
mod find;
mod gate;
mod generate;
mod output;
mod pack;
mod pair;
mod places;
mod plan;
mod recover;
mod resume;
mod run;
mod runner;
mod scaffold;
mod screen;
mod server;
mod shipped;
mod signals;
mod soak;
mod sweep;
mod top;
mod trust;
mod workload_args;
mod workloads;

use std::ffi::OsString;
use std::panic::{catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use exit::{EXIT_CODES, Exit, Stopped};
pub use plan::RunArgs;

use config::{ConfigFile, Unreadable};

use bench_isolate::install::{self, venvs_dir};
use bench_isolate::isolate::{Stop, remove_leftovers};
use bench_isolate::text::shell_word;
use bench_isolate::{limits, room};
use bench_measure::plan::Plan;

/// Raised by Ctrl-C, SIGTERM and SIGHUP: once to drain, twice to stop.
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

impl Cli {
    /// The flags of a run, where the command has them.
    fn run_args(&mut self) -> Option<&mut RunArgs> {
        match &mut self.command {
            None => Some(&mut self.run),
            Some(Command::Run(run)) => Some(run),
            Some(Command::Pair(args)) => Some(&mut args.run),
            Some(Command::Capacity(args)) => Some(&mut args.run),
            Some(Command::Sweep(args)) => Some(&mut args.run),
            Some(Command::Soak(args)) => Some(&mut args.run),
            Some(Command::Recover(args)) => Some(&mut args.run),
            Some(_) => None,
        }
    }
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
    /// Kill a worker under a steady load; how soon the backend recovers, and what it lost.
    Recover(Box<recover::RecoverArgs>),
    /// Compare results and write a report.
    Compare(compare::CompareArgs),
    /// Say whether two results are comparable and equal.
    Verify(compare::VerifyArgs),
    /// Say whether results are slower than a baseline allows.
    Gate(Box<gate::GateArgs>),
    /// Repeat recorded runs with other inputs, and say whether their backend takes shortcuts.
    Audit(audit::AuditArgs),
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

impl Command {
    fn starts_processes(&self) -> bool {
        match self {
            Self::Run(_) | Self::Pair(_) | Self::Capacity(_) | Self::Sweep(_) => true,
            Self::Soak(_) | Self::Recover(_) => true,
            Self::Backends(_) | Self::Audit(_) => true,
            Self::Gate(args) => args.until_known,
            Self::Compare(_) | Self::Verify(_) | Self::Workloads(_) => false,
            Self::Schema { .. } | Self::Completions { .. } | Self::Man => false,
        }
    }

    fn makes_temporary_files(&self) -> bool {
        match self {
            Self::Backends(command) => command.makes_temporary_files(),
            other => other.starts_processes(),
        }
    }
}

/// Where plugins are looked for.
#[derive(Debug, Clone, Args)]
pub struct PluginArgs {
    /// Look for plugins here first (repeatable); the folder of an engine in Python is packed. Then follow BENCH_PLUGINS_PATH, `plugins/` beside the
    /// executable, and the user's data directory.
    #[arg(long, value_name = "DIR", help_heading = "Plugins")]
    pub plugins_dir: Vec<PathBuf>,
    /// Leave out the user's data directory.
    #[arg(long, help_heading = "Plugins")]
    pub no_user_plugins: bool,
    /// Load only files that `bench backends trust` put on the list.
    #[arg(long, env = bench_isolate::trust::ONLY_TRUSTED, help_heading = "Plugins",
          value_parser = clap::builder::FalseyValueParser::new())]
    pub only_trusted: bool,
}

impl PluginArgs {
    /// As they stand on a command line, with a space before each.
    #[must_use]
    pub fn flags(&self) -> String {
        let folders = self.plugins_dir.iter();
        let mut flags: String =
            folders.map(|folder| format!(" --plugins-dir {}", shell_word(folder))).collect();
        for (given, flag) in
            [(self.no_user_plugins, " --no-user-plugins"), (self.only_trusted, " --only-trusted")]
        {
            flags.push_str(if given { flag } else { "" });
        }
        flags
    }
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
        .mut_subcommand("recover", of_one)
}

/// Parses, runs, prints, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let stopped = |cause: &str, remedy: String| {
        output::conclude(Err(Stopped::new(Exit::RunFailed, cause, remedy))).into()
    };
    if let Err((cause, remedy)) = limits::enough() {
        return stopped(&cause, remedy);
    }
    // Nothing of a command is used after it panicked.
    catch_unwind(work).unwrap_or_else(|panic| match limits::no_thread(&*panic) {
        Some(cause) => stopped(&cause, room::remedy(&cause, "").unwrap_or_default()),
        None => resume_unwind(panic),
    })
}

fn work() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let (cli, file) = match parse(&words) {
        Ok(read) => read,
        Err(Unreadable::Words(said)) => return help(&said).into(),
        Err(Unreadable::File(stopped)) => return output::conclude(Err(stopped)).into(),
    };
    // What starts no process keeps nothing either, and may end at once.
    let starts_processes = match &cli.command {
        None => true,
        Some(command) => command.starts_processes(),
    };
    if starts_processes && let Err(error) = signals::watch() {
        screen::warning(&format!("Ctrl-C will stop bench at once: {error}"));
    }
    // What killed commands left, and nobody uses any more.
    if starts_processes {
        remove_leftovers();
        venvs_dir().iter().for_each(|venvs| install::clear(venvs));
    }
    let makes_temporary_files = match &cli.command {
        None => true,
        Some(command) => command.makes_temporary_files(),
    };
    if makes_temporary_files && let Err(stopped) = places::temporary() {
        return output::conclude(Err(stopped)).into();
    }
    let result = match cli.command {
        None => run::run(&cli.run),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Pair(args)) => pair::pair(&args),
        Some(Command::Capacity(args)) => capacity::capacity(&args),
        Some(Command::Sweep(args)) => sweep::sweep(&args),
        Some(Command::Soak(args)) => soak::soak(&args),
        Some(Command::Recover(args)) => recover::recover(&args),
        Some(Command::Compare(args)) => compare::compare(&args),
        Some(Command::Verify(args)) => compare::verify(&args),
        Some(Command::Gate(args)) => gate::gate(&args),
        Some(Command::Audit(args)) => audit::audit(&args),
        Some(Command::Backends(command)) => backends::backends(&command),
        Some(Command::Workloads(command)) => workloads::workloads(&command),
        Some(Command::Schema { of }) => generate::schema(of),
        Some(Command::Completions { shell }) => generate::completions(shell, &mut command()),
        Some(Command::Man) => generate::man(command()),
    };
    server::end();
    output::conclude(result.map_err(|stopped| file.located(stopped))).into()
}

fn parse(words: &[OsString]) -> Result<(Cli, ConfigFile), Unreadable> {
    let (matches, file) = config::read(&command(), words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let Some(run) = cli.run_args() {
        run.params.clone_from(&file.params);
    }
    Ok((cli, file))
}

/// The plan that a run makes of a command line and the file that it names; nothing where one of them is refused. It is
/// what the fuzzer of configuration files calls.
#[must_use]
pub fn plan_of(words: &[OsString]) -> Option<Plan> {
    let (mut cli, _) = parse(words).ok()?;
    let run = cli.run_args()?;
    // A file of anybody's starts nothing.
    run.server = Default::default();
    run.plan().ok()
}

/// What clap has to say instead of a command line: help, the version, or what is wrong.
fn help(said: &clap::Error) -> Exit {
    let text = said.render();
    if said.use_stderr() {
        output::err(format_args!("{}", text.ansi()));
        return output::conclude(Ok(Exit::Usage));
    }
    output::out(format_args!("{}", text.ansi()));
    output::conclude(Ok(Exit::Ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    /// Every command that has flags of its own.
    fn commands(of: clap::Command, found: &mut Vec<clap::Command>) {
        for command in of.get_subcommands() {
            commands(command.clone(), found);
        }
        found.push(of);
    }

    #[test]
    fn every_flag_of_a_kind_takes_every_form_of_it_in_every_command() {
        let times = ["90", "90s", "1m30s", "90000ms", "PT1M30S", "9e1", "1.5m"];
        let counts = ["100", "1e2", "1_00", "0.1k"];
        let sizes = ["100", "1e2", "1_00", "100M", "0.125G"];
        let mut all = Vec::new();
        commands(command(), &mut all);
        let (mut seen_times, mut seen_counts) = (0, 0);
        for command in all {
            let command = command.mut_args(|arg| arg.required(false));
            let flags =
                command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg.get_value_names()?)));
            let flags: Vec<(String, String)> =
                flags.map(|(flag, names)| (format!("--{flag}"), names[0].to_string())).collect();
            for (flag, value) in flags {
                let (forms, seen) = match value.as_str() {
                    "TIME" => (&times[..], &mut seen_times),
                    "N" | "P" | "R" | "SEED" | "MS" => (&counts[..], &mut seen_counts),
                    "MIB" => (&sizes[..], &mut seen_counts),
                    _ => continue,
                };
                *seen += 1;
                let read = |form: &str| {
                    let positional = command.get_positionals().next().map(|_| "x");
                    let words = [command.get_name(), &flag, form].into_iter().chain(positional);
                    command.clone().try_get_matches_from(words).map(drop).map_err(|error| error.to_string())
                };
                for form in forms {
                    assert_eq!(read(form), Ok(()), "{} {flag} {form}", command.get_name());
                }
                for wrong in ["-5", "1e999", "many", ""] {
                    let said = read(wrong).unwrap_err();
                    assert!(
                        said.starts_with(&format!("error: invalid value '{wrong}' for '{flag} <{value}>': ")),
                        "{said}"
                    );
                }
            }
        }
        assert!(seen_times >= 9 && seen_counts >= 70, "{seen_times} {seen_counts}");
    }

    #[test]
    fn without_a_subcommand_bench_runs() {
        let cli = Cli::try_parse_from(["bench", "--backend", "my_backend", "-n", "5"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!((cli.run.backend.as_deref(), cli.run.num_tasks), (Some("my_backend"), Some(5)));
    }
}
