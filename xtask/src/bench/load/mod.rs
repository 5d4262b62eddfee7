//! `cargo xtask bench-load`: does the load generator keep to its schedule, does a capacity that was found agree
//! with a closed loop, and what do the real runtimes sustain?

mod accuracy;
mod capacity;
mod digests;
mod runtimes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::{cache_dir, data_dir, machine, write};
use crate::Done;
use crate::cargo::target;
use crate::stage::{Profile, stage};

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Parts to measure, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "accuracy,capacity,runtimes,digests")]
    only: Vec<Part>,
    /// Arrivals per second to ask the generator for.
    #[arg(long, value_delimiter = ',', default_value = "2,25,40,200,5000")]
    rates: Vec<f64>,
    /// How often to search the capacity of `local`.
    #[arg(long, default_value_t = 2)]
    repeats: u32,
    /// Real runtimes; they are installed below target/.
    #[arg(long, value_delimiter = ',', default_value = "ray,sage")]
    backends: Vec<String>,
    /// Seconds of a trial of a real runtime. Each starts the runtime anew, which is not counted.
    #[arg(long, default_value_t = 5.0)]
    trial: f64,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Rate and lateness of the open-load generator.
    Accuracy,
    /// `bench capacity` on `local` against closed loops before and after.
    Capacity,
    /// Capacity, demand curve and scaling of the real runtimes.
    Runtimes,
    /// Do all backends give the same answers to every workload?
    Digests,
}

/// Measures.
///
/// # Errors
/// When something does not build, install or run. An aim that is missed is a figure and no error.
pub fn run(args: &Args) -> Done {
    let bench = Bench { program: stage(Profile::Release)?.join("bin/bench") };
    // Records of an earlier measurement would be mixed with these.
    let _ = fs::remove_dir_all(output(""));
    let mut parts = Map::new();
    for part in &args.only {
        let (name, value) = match part {
            Part::Accuracy => ("accuracy", accuracy::measure(&bench, &args.rates)?),
            Part::Capacity => ("capacity", capacity::measure(&bench, args.repeats)?),
            Part::Runtimes => ("runtimes", runtimes::measure(&bench, &args.backends, args.trial)?),
            Part::Digests => ("digests", digests::measure(&bench, &args.backends)?),
        };
        parts.insert(name.to_owned(), value);
    }
    let path = target().join("bench-load.json");
    write(&path, &json!({"machine": machine(), "parts": parts}))?;
    println!("\n{}", path.display());
    Ok(())
}

/// The staged program.
struct Bench {
    program: PathBuf,
}

impl Bench {
    /// What a command prints as JSON. One that found nothing says so with its exit code and in what it prints.
    fn ask(&self, args: &[&str], folder: &Path) -> Result<Value, String> {
        eprintln!("bench {}", args.join(" "));
        // A sweep has a tree of folders.
        let place = if args[0] == "sweep" { "--output-root" } else { "--output-dir" };
        let mut command = Command::new(&self.program);
        command.args(args).args(["--json", "--no-user-plugins"]).arg(place).arg(folder);
        command.env("BENCH_CACHE_DIR", cache_dir()).env("BENCH_DATA_DIR", data_dir());
        let answer = command.stderr(Stdio::inherit()).output();
        let answer = answer.map_err(|cause| format!("{}: {cause}", self.program.display()))?;
        serde_json::from_slice(&answer.stdout)
            .map_err(|_| format!("bench {}: {}, and no figures", args.join(" "), answer.status))
    }

    /// The record of one run.
    fn run(&self, backend: &str, args: &[&str]) -> Result<Value, String> {
        let args = [&["run", "--backend", backend, "--timeout", "300"], args].concat();
        Ok(self.ask(&args, &output("runs"))?[0].take())
    }

    fn provide(&self, backends: &[String]) -> Done {
        let python = backends.iter().filter(|backend| *backend != "local");
        python.into_iter().try_for_each(|backend| crate::ci::provide(&self.program, &data_dir(), backend))
    }
}

fn output(part: &str) -> PathBuf {
    target().join("bench-load").join(part)
}

/// A signed percentage.
fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:+.2} %", share * 100.0))
}
