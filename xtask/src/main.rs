//! `cargo xtask …`: everything about the project that is not the product itself.

mod bench;
mod cargo;
mod ci;
mod encoder;
mod fuzz;
mod lint;
mod quickstart;
mod spark;
mod stage;
mod versions;

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
    /// Time every operator on one thread beside a numpy version of the same formula on the same data.
    ///
    /// Prints a table and writes target/bench-operators.json. numpy is installed, pinned, into a virtual
    /// environment below target/; without PyPI the numpy columns stay empty.
    BenchOperators(bench::operators::Args),
    /// Compare `local` through the plugin boundary with the same operators called directly, measure the
    /// boundary alone with the null workload, and check throughput and memory on one core. Then: is an idle
    /// machine called idle and a busy one busy, and is `cpu_seconds` what the kernel counted?
    ///
    /// Prints tables and writes target/bench-host.json. Installs SAGE, Ray and Dask below target/ for the last
    /// part; --only picks some.
    BenchHost(bench::host::Args),
    /// List many plugins, all healthy and then one hanging, in a new process each time.
    ///
    /// Prints a table and writes target/bench-listing.json.
    BenchListing(bench::listing::Args),
    /// Run the real runtimes side by side: items/s, CPU and memory on null and wl4, and Ray over the naive
    /// dispatch.
    ///
    /// Prints tables and writes target/bench-backends.json. Installs SAGE and Ray below target/.
    BenchBackends(bench::backends::Args),
    /// Time and memory against the number of items and the size of the corpus, on `local`.
    ///
    /// Prints tables and writes target/bench-scale.json.
    BenchScale(bench::scale::Args),
    /// Does the load generator keep to its schedule, does a capacity agree with a closed loop, and what do the
    /// real runtimes sustain?
    ///
    /// Parts, of which --only picks some:
    ///
    ///   accuracy   `local` on null at each of --rates, fixed and Poisson: asked, scheduled and actual rate, how
    ///              late arrivals were (jitter), and how many. Aim: actual within 2 % of the schedule.
    ///   capacity   `bench capacity` on `local` with a generous goal, against the closed loop right after it.
    ///              Aim: within 5 %, each time.
    ///   runtimes   for each of --backends: capacity, latency at 25, 50 and 75 % of it, throughput at
    ///              parallelism 1, 2 and 4, and the path of each report.html.
    ///   digests    wl1 to wl4 on `local` and --backends: are the answers equal?
    ///
    /// Prints tables and writes target/bench-load.json. An aim that is missed is said, and is no error. All of
    /// it takes about 20 minutes; installs the runtimes below target/.
    #[command(verbatim_doc_comment)]
    BenchLoad(bench::load::Args),
    /// Time `bench compare` beside pandas on the same million made-up records, and take its peak memory.
    ///
    /// Prints a table and writes target/bench-compare.json. pandas and matplotlib are installed, pinned,
    /// into a virtual environment below target/.
    BenchCompare(bench::compare::Args),
    /// What measuring itself costs: the same work, called directly, with and without spans, proof, the sink's account
    /// and sampling, in turns.
    ///
    /// Prints tables and writes target/bench-observer.json.
    BenchObserver(bench::observer::Args),
    /// Runs of real runtimes against themselves, looked at after every pair: does any campaign find a difference?
    ///
    /// Prints a table and writes target/bench-same.json after every campaign; what is there is not done again. 60
    /// campaigns on three runtimes take most of a day on a machine that has nothing else to do. Installs SAGE and Ray
    /// below target/.
    BenchSame(bench::same::Args),
    /// Run Dask and Ray on three hosts with one clock, and on three whose clocks are days apart, in turns: is the time
    /// attributed alike?
    ///
    /// Prints a table and writes target/bench-clocks.json. The hosts are namespaces of this machine, so it needs root.
    /// Installs the runtimes below target/; takes some ten minutes.
    BenchClocks(bench::clocks::Args),
    /// Run the real runtimes on the oldest, the newest and one more of the versions that their plugins accept,
    /// and compare the answers with those of `local`.
    ///
    /// Prints a table and writes target/runtime-versions.json. Installs each version into an environment of its own
    /// below target/, about 0.4 GB in all.
    RuntimeVersions(versions::Args),
    /// Pack the example of an engine for Apache Spark, install Spark below target/ (456 MB), compare its answers with
    /// those of `local`, and run the conformance suite on it.
    ///
    /// Needs a Java of version 17 or 21, and half an hour on two cores.
    Spark,
    /// Pairs of all engines over a real encoder (multilingual-e5-small in 4 bits, on the CPU) behind its own server,
    /// which bench starts and ends: are all digests equal?
    ///
    /// Installs the encoder (91 MB) and the runtimes below target/. Ten pairs take some ten minutes on two cores.
    Encoder(encoder::Args),
    /// Run the tests on several hosts, which are namespaces of this machine, those that take minutes too: Ray and Dask on
    /// clocks that are days apart, and every way in which a cluster cannot be joined or used.
    ///
    /// Needs root. Installs the runtimes below target/.
    Hosts,
    /// Run the fuzz targets (nightly and cargo-fuzz), each for a while.
    Fuzz(fuzz::Args),
    /// Run the tests of the plugin API and of the C ABI under Miri (nightly).
    Miri,
    /// Run the conformance suite on plugins in C and C++ in a host with the address sanitiser (nightly).
    Asan,
    /// Check the form of Rust, Python and Markdown, and the licences of what is used. Runs no test.
    ///
    /// ruff and mypy are installed, pinned, into a virtual environment below target/. What cannot be checked here is
    /// skipped and named; in CI that is a failure.
    Lint(lint::Args),
    /// Kill commands at any moment, many times, and look at what is left.
    Kills {
        /// How often, over all commands that write but `install`, which is killed besides, as often as any of them.
        #[arg(default_value_t = 200)]
        kills: u32,
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
        Command::BenchOperators(args) => bench::operators::run(&args),
        Command::BenchHost(args) => bench::host::run(&args),
        Command::BenchListing(args) => bench::listing::run(&args),
        Command::BenchBackends(args) => bench::backends::run(&args),
        Command::BenchScale(args) => bench::scale::run(&args),
        Command::BenchLoad(args) => bench::load::run(&args),
        Command::BenchCompare(args) => bench::compare::run(&args),
        Command::BenchObserver(args) => bench::observer::run(&args),
        Command::BenchClocks(args) => bench::clocks::run(&args),
        Command::BenchSame(args) => bench::same::run(&args),
        Command::RuntimeVersions(args) => versions::run(&args),
        Command::Spark => spark::spark(),
        Command::Encoder(args) => encoder::encoder(&args),
        Command::Hosts => ci::hosts(),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Miri => fuzz::miri(),
        Command::Asan => fuzz::asan(),
        Command::Lint(args) => lint::lint(&args),
        Command::Kills { kills } => ci::kills(kills),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_of_every_task_can_be_built() {
        super::Cli::command().debug_assert();
    }
}
