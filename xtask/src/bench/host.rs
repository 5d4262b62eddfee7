//! `cargo xtask bench-host`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::quiet;
use super::table::{Spread, Table, figure};
use super::{cache_dir, executable, json as json_of, machine, verdict, write};
use crate::Done;
use crate::cargo::{cargo, run as run_command, target};
use crate::stage::{Profile, place, stage};

/// Least throughput of `local` as a share of that of direct calls.
const LEAST_RATIO: f64 = 0.90;
/// Most microseconds that a null item may cost through the boundary.
const MOST_NULL_US: f64 = 1.0;
/// Least queries per second of one core, and what the Python original's operators allow.
const LEAST_RATE: f64 = 250.0;
const ORIGINAL_RATE: [f64; 2] = [27.0, 32.0];
/// Most memory at the defaults.
const MOST_BYTES: f64 = 300e6;

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Parts to measure, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "direct,boundary,one-core,quiet")]
    only: Vec<Part>,
    /// How often to measure each thing; they take turns.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Queries of each Workload4 run.
    #[arg(long, default_value_t = 2_000)]
    num_tasks: u32,
    /// Queries of each null run.
    #[arg(long, default_value_t = 20_000)]
    null_tasks: u32,
    /// Threads of the comparison with direct calls.
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    #[command(flatten)]
    quiet: quiet::Quiet,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// `local` against the same operators called directly.
    Direct,
    /// The plugin boundary alone.
    Boundary,
    /// Throughput and memory on one core.
    OneCore,
    /// Is an idle machine called idle, a busy one busy, and CPU time what the kernel counted?
    Quiet,
}

/// The programs that take turns.
struct Bench {
    staged: PathBuf,
    plugins: PathBuf,
    direct: PathBuf,
}

/// What to run.
#[derive(Clone, Copy)]
struct Load {
    workload: &'static str,
    num_tasks: u32,
    parallelism: u32,
    one_core: bool,
}

/// What came of it.
struct Outcome {
    throughput: f64,
    digest: String,
    bytes: Option<f64>,
}

/// Measures and compares.
///
/// # Errors
/// When something does not build or run, or two ways of running the same gave different answers.
pub fn run(args: &Args) -> Done {
    let bench = Bench::build()?;
    println!("\nEach figure: the median of {} repeats that took turns, least .. most.", args.repeats);
    let mut figures = Map::from_iter([("machine".to_owned(), machine())]);
    for part in &args.only {
        let (name, value) = match part {
            Part::Direct => ("wl4", bench.against_direct(args)?),
            Part::Boundary => ("null", bench.boundary(args)?),
            Part::OneCore => ("one_core", bench.one_core(args)?),
            Part::Quiet => ("quiet", quiet::measure(&bench.staged.join("bin/bench"), &args.quiet)?),
        };
        figures.insert(name.to_owned(), value);
    }
    let path = target().join("bench-host.json");
    write(&path, &Value::Object(figures))?;
    println!("\n{}", path.display());
    Ok(())
}

impl Bench {
    fn build() -> Result<Self, String> {
        let staged = stage(Profile::Release)?;
        run_command(&mut cargo(["build", "--release", "--package", "backend-healthy"]))?;
        // A backend that is nothing but the inline pipeline: what is left is the boundary.
        let file = "libbackend_healthy.so";
        let plugins = target().join("bench-host-plugins");
        place(&target().join("release").join(file), &plugins.join(file))?;
        Ok(Self { staged, plugins, direct: executable("bench-measure", "direct")? })
    }

    /// `local` through the boundary against the same operators called in a loop.
    fn against_direct(&self, args: &Args) -> Result<Value, String> {
        let load = Load {
            workload: "wl4",
            num_tasks: args.num_tasks,
            parallelism: args.parallelism,
            one_core: false,
        };
        let [direct, local] = turns(args.repeats, [&|| self.direct(load), &|| self.through("local", load)])?;
        let ratio = Spread::of(local.iter().zip(&direct).map(|(l, d)| l.throughput / d.throughput));
        let rates = [("called directly", rate(&direct)), ("local, through the boundary", rate(&local))];
        println!("\nWorkload4, {} queries, parallelism {}:", load.num_tasks, load.parallelism);
        let mut table = Table::new(&["", "queries/s", "least .. most"]);
        for (name, spread) in rates {
            table.row([vec![name.to_owned()], spread.show().to_vec()].concat());
        }
        table.print();
        let met = ratio.median >= LEAST_RATIO;
        let [median, range] = ratio.show();
        println!("ratio {median} ({range}), aim at least {LEAST_RATIO}: {}", verdict(met));
        println!(
            "The direct loop: {} threads with an instance of every operator each; a thread brings every",
            load.parallelism
        );
        println!(
            "batch of 16 that it takes from the source through the whole graph. Same source, sink, limit."
        );
        Ok(json!({
            "direct_per_second": rates[0].1.json(),
            "local_per_second": rates[1].1.json(),
            "ratio": ratio.json(),
            "met": met,
        }))
    }

    /// What the boundary costs when the operators cost nothing, all on one core.
    fn boundary(&self, args: &Args) -> Result<Value, String> {
        let load = Load { workload: "null", num_tasks: args.null_tasks, parallelism: 1, one_core: true };
        let [direct, inline, local] = turns(
            args.repeats,
            [&|| self.direct(load), &|| self.through("healthy", load), &|| self.through("local", load)],
        )?;
        let cost = |outcome: &Outcome| 1e6 / outcome.throughput;
        let all = |outcomes: &[Outcome]| Spread::of(outcomes.iter().map(cost));
        let beyond = |outcomes: &[Outcome]| {
            Spread::of(outcomes.iter().zip(&direct).map(|(one, direct)| cost(one) - cost(direct)))
        };
        let rows = [
            ("called directly", all(&direct)),
            ("inline plugin, through the boundary", all(&inline)),
            ("local, through the boundary", all(&local)),
            ("the boundary: inline plugin - direct", beyond(&inline)),
            ("boundary and engine: local - direct", beyond(&local)),
        ];
        println!("\nNull workload, {} queries, one core:", load.num_tasks);
        let mut table = Table::new(&["", "us per item", "least .. most"]);
        for (name, spread) in rows {
            table.row([vec![name.to_owned()], spread.show().to_vec()].concat());
        }
        table.print();
        let met = rows[3].1.median <= MOST_NULL_US;
        let engine = rows[4].1.median <= MOST_NULL_US;
        println!(
            "aim at most {MOST_NULL_US} us: boundary {}, with the engine {}",
            verdict(met),
            verdict(engine)
        );
        Ok(json!({
            "direct_us": rows[0].1.json(),
            "inline_us": rows[1].1.json(),
            "local_us": rows[2].1.json(),
            "boundary_us": rows[3].1.json(),
            "boundary_and_engine_us": rows[4].1.json(),
            "met": met,
            "met_with_engine": engine,
        }))
    }

    /// Everything on one core, and the memory it takes.
    fn one_core(&self, args: &Args) -> Result<Value, String> {
        let load = Load { workload: "wl4", num_tasks: args.num_tasks, parallelism: 1, one_core: true };
        let [runs] = turns(args.repeats.min(3), [&|| self.through("local", load)])?;
        let rate = rate(&runs);
        let bytes = runs.iter().filter_map(|run| run.bytes).fold(0.0, f64::max);
        let ratios = ORIGINAL_RATE.map(|original| rate.median / original);
        let [median, range] = rate.show();
        println!("\nOne core, {} queries: {median} queries/s ({range})", load.num_tasks);
        println!("  aim at least {LEAST_RATE}: {}", verdict(rate.median >= LEAST_RATE));
        println!(
            "  {} to {} times the {} to {} queries/s that the Python original's operators allow",
            figure(Some(ratios[1])),
            figure(Some(ratios[0])),
            ORIGINAL_RATE[0],
            ORIGINAL_RATE[1]
        );
        println!(
            "  peak memory {:.0} MB, aim at most {:.0}: {}",
            bytes / 1e6,
            MOST_BYTES / 1e6,
            verdict(bytes <= MOST_BYTES)
        );
        Ok(json!({
            "per_second": rate.json(),
            "times_original": ratios,
            "memory_peak_bytes": bytes,
            "met": rate.median >= LEAST_RATE,
            "memory_met": bytes <= MOST_BYTES,
        }))
    }

    fn direct(&self, load: Load) -> Result<Outcome, String> {
        let answer = json_of(&mut load.command(&self.direct, &["run"]))?;
        Outcome::read(&answer, &answer["output_digest"], None)
    }

    fn through(&self, backend: &str, load: Load) -> Result<Outcome, String> {
        let mut command = load.command(
            &self.staged.join("bin/bench"),
            &["run", "--json", "--no-user-plugins", "--backend", backend],
        );
        command.arg("--output-dir").arg(target().join("bench-host")).arg("--plugins-dir").arg(&self.plugins);
        let answer = json_of(&mut command)?;
        let record = &answer[0];
        let extra = &record["extra"];
        Outcome::read(record, &extra["output_digest"], extra["memory_peak_bytes"].as_f64())
    }
}

impl Load {
    fn command(self, program: &Path, args: &[&str]) -> Command {
        let mut command = if self.one_core {
            let mut pinned = Command::new("taskset");
            pinned.args(["-c", "0"]).arg(program);
            pinned
        } else {
            Command::new(program)
        };
        let flags: [(&str, OsString); 4] = [
            ("--workload", self.workload.into()),
            ("--num-tasks", self.num_tasks.to_string().into()),
            ("--parallelism", self.parallelism.to_string().into()),
            ("--cache-dir", cache_dir().into()),
        ];
        command.args(args);
        flags.iter().for_each(|(flag, value)| {
            command.arg(flag).arg(value);
        });
        command
    }
}

impl Outcome {
    fn read(answer: &Value, digest: &Value, bytes: Option<f64>) -> Result<Self, String> {
        let throughput = answer["throughput"].as_f64().ok_or("a run without throughput")?;
        let digest = digest.as_str().ok_or("a run without digest")?.to_owned();
        Ok(Self { throughput, digest, bytes })
    }
}

fn rate(outcomes: &[Outcome]) -> Spread {
    Spread::of(outcomes.iter().map(|outcome| outcome.throughput))
}

/// Runs each of `ways` so many times, in turns, every second round backwards. All must agree.
fn turns<const N: usize>(
    repeats: usize,
    ways: [&dyn Fn() -> Result<Outcome, String>; N],
) -> Result<[Vec<Outcome>; N], String> {
    let mut outcomes: [Vec<Outcome>; N] = std::array::from_fn(|_| Vec::new());
    for round in 0..repeats.max(1) {
        for step in 0..N {
            let way = if round % 2 == 0 { step } else { N - 1 - step };
            outcomes[way].push(ways[way]()?);
        }
    }
    let mut digests = outcomes.iter().flatten().map(|outcome| &outcome.digest);
    let first = digests.next().cloned();
    match digests.find(|digest| Some(*digest) != first.as_ref()) {
        None => Ok(outcomes),
        Some(other) => Err(format!("the answers differ: {} and {other}", first.unwrap_or_default())),
    }
}
