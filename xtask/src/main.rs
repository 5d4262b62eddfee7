//! `cargo xtask …`: everything about the project that is not the product itself.

mod cargo;
mod ci;
mod quickstart;
mod stage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, stage, try out, test and measure bench.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build in release mode and stage host, plugins, library and headers under target/bench/.
    Stage,
    /// Stage, then run Workload4 and show the result and where the files are.
    Quickstart {
        /// Backends to install and run, one after the other.
        #[arg(long, value_delimiter = ',', default_value = "local")]
        backends: Vec<String>,
    },
    /// Build everything that tests load, and run all of them.
    Test {
        /// Further arguments for cargo test.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

/// What a task came to: nothing, or why it stopped.
pub type Done = Result<(), String>;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Stage => stage::stage(stage::Profile::Release).map(drop),
        Command::Quickstart { backends } => quickstart::quickstart(&backends),
        Command::Test { rest } => ci::test(&rest),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
