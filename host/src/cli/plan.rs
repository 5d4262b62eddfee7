//! From arguments to a plan: defaults, then preset, configuration file, flags and `--set`, each
//! beating the one before.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench_workloads::corpus::Corpus;
use bench_workloads::list::{self, Listed};
use bench_workloads::parameters::{ATTEMPTS, CORPUS, Preset, Table, Values};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::server::ServerArgs;
use super::workload_args::WorkloadArgs;
use super::{Exit, PluginArgs, Stopped, screen};
use bench_isolate::options::{FROM_THE_PLAN, Given};
use bench_measure::machine::default_memory_limit;
use bench_measure::plan::{Arrivals, Load, Plan, Variation, default_cache_dir};
use bench_measure::trace::Format;
use bench_record::quantity::{self, count, duration};

/// The backend that runs when none is named.
pub const DEFAULT_BACKEND: &str = "sage";

/// The backends that are compared when none are named.
pub const DEFAULT_PAIR: [&str; 2] = [DEFAULT_BACKEND, "ray"];

/// What a command takes where neither flags nor file say anything.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    pub num_tasks: u32,
    pub scheduler: &'static str,
    pub warmup: Warmup,
}

/// Those of `bench run`.
const RUN: Defaults = Defaults { num_tasks: 100, scheduler: "default", warmup: Warmup::Items };

/// How events arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LoadModel {
    /// As fast as the in-flight limit allows: for throughput. Latency is then the queries in flight divided by the
    /// throughput (Little's law), and says nothing of the runtime.
    Closed,
    /// At --rate, whatever the backend does: for latency.
    Open,
    /// At the workload's own query rate.
    Nominal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalKind {
    Fixed,
    Poisson,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// Trace Event Format: chrome://tracing, Perfetto
    #[default]
    Chrome,
    /// OpenTelemetry: OTLP in JSON, a message a line, for a collector's otlpjsonfile receiver
    Otlp,
}

impl From<TraceFormat> for Format {
    fn from(format: TraceFormat) -> Self {
        match format {
            TraceFormat::Chrome => Self::Chrome,
            TraceFormat::Otlp => Self::Otlp,
        }
    }
}

/// The schedulers that the interface of plugins knows.
const SCHEDULERS: [&str; 3] = ["fifo", "load_aware", "default"];

/// What of a run is warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Warmup {
    /// The first --warmup-items.
    Items,
    /// What comes before the run is steady, by its own completions. A run that never is, is INVALID.
    Auto,
}

/// A number, or several separated by commas for `bench sweep`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMore<T>(pub Vec<T>);

fn counts(text: &str) -> Result<OneOrMore<u32>, String> {
    quantity::counts(text).map(OneOrMore)
}

fn rates(text: &str) -> Result<OneOrMore<f64>, String> {
    let rates = quantity::numbers(text)?;
    let negative = rates.iter().find(|rate| **rate < 0.0);
    negative.map_or(Ok(OneOrMore(rates.clone())), |rate| Err(format!("'{rate}' is below zero")))
}

/// A folder, by a flag or by a variable: one that is empty is as good as none.
fn folder() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// What `--set KEY=VALUE` asks for.
pub fn set_parameter(table: &Table, params: &mut Values, set: &str) -> Result<(), Stopped> {
    let pair = set.split_once('=');
    let (key, value) = pair.ok_or_else(|| Stopped::usage(format!("--set {set}: write it as KEY=VALUE")))?;
    let (key, value) = (key.trim(), value.trim());
    let wrong = |cause: &dyn std::fmt::Display| Stopped::usage(format!("--set {set}: {cause}"));
    match read_as(params.get(key), key, value).map_err(|cause| wrong(&cause))? {
        Some(number) => table.set(params, key, number).map_err(|cause| wrong(&cause)),
        None => table.set_text(params, key, value).map_err(|cause| wrong(&cause)),
    }
}

/// What people wrote for a parameter: a number in the way of flags of its kind, text as it stands; nothing for
/// a parameter of another kind.
fn read_as(now: Option<&Value>, key: &str, text: &str) -> Result<Option<Value>, String> {
    let now = match now {
        Some(Value::Number(now)) => now,
        // A name may look like a number, and may be quoted as in JSON.
        Some(Value::String(_)) => {
            return Ok(Some(serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned()).into()));
        }
        _ => return Ok(None),
    };
    let number = match key.rsplit(['_', '.']).next() {
        Some("ms") => quantity::milliseconds(text)?.into(),
        // Also where it may be 0, which no duration is.
        Some("seconds") => match quantity::number(text) {
            Ok(seconds) => seconds.into(),
            Err(_) => quantity::duration(text)?.as_secs_f64().into(),
        },
        _ if now.is_f64() => quantity::number(text)?.into(),
        _ => quantity::count::<u64>(text)?.into(),
    };
    Ok(Some(number))
}

/// A value of a configuration file as it would stand behind its flag.
fn as_written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => {
            values.iter().map(as_written).collect::<Option<Vec<_>>>().map(|all| all.join(","))
        }
        _ => None,
    }
}

/// Takes a parameter as a configuration file has it.
pub fn set_written(table: &Table, params: &mut Values, key: &str, value: Value) -> Result<(), String> {
    let number = match as_written(&value) {
        Some(text) => {
            read_as(params.get(key), key, &text).map_err(|cause| format!("parameter '{key}': {cause}"))?
        }
        None => None,
    };
    table.set(params, key, number.unwrap_or(value)).map_err(|cause| cause.to_string())
}

/// The collection that the parameters name, with a warning for each kind of oddity in it.
fn corpus(workload: Listed, params: &Values, cache_dir: &Path) -> Result<Option<Corpus>, Stopped> {
    let corpus = workload.corpus(params, cache_dir).map_err(Stopped::usage)?;
    let Some(corpus) = corpus else { return Ok(None) };
    let folder = params.get(CORPUS).and_then(Value::as_str).unwrap_or_default();
    let facts = corpus.facts();
    for remark in &facts.remarks {
        screen::warning(&format!("corpus {folder}: {remark}"));
    }
    match facts.split.as_deref() {
        Some("test") => {}
        Some(split) => screen::note(&format!("corpus {folder}: judged by its split {split}")),
        None => screen::note(&format!("corpus {folder}: not judged, since it has no qrels/NAME.tsv")),
    }
    Ok(Some(corpus))
}

/// The only value of a flag.
fn one<T: Copy>(flag: &str, values: Option<&OneOrMore<T>>) -> Result<Option<T>, Stopped> {
    match values.map(|values| &values.0[..]) {
        None => Ok(None),
        Some([value]) => Ok(Some(*value)),
        Some(_) => Err(Stopped::usage(format!("{flag} takes one value here; `bench sweep` takes several"))),
    }
}

/// A limit on memory: below the least, not even the process that loads a plugin gets to its feet.
pub fn mebibytes(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 64;
    let size = quantity::mebibytes(text)?;
    if size >= LEAST { Ok(size) } else { Err(format!("'{text}' is too little, {LEAST} MiB is the least")) }
}

/// Flags of `bench run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Backend to run on; see `bench backends list` [default: sage]
    #[arg(short, long, value_name = "NAME")]
    pub backend: Option<String>,
    /// Workload: wl1 to wl4 (RAG pipelines, each harder to run than the one before) or null (wl4 without the
    /// work); see `bench workloads list` [default: wl4]
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Number of queries, warm-up included [default: 100; with --quick 20; with --corpus all its queries]
    #[arg(short, long, value_name = "N", visible_alias = "items", value_parser = count::<u32>, allow_hyphen_values = true)]
    pub num_tasks: Option<u32>,
    /// Operator-level parallelism [default: 2]
    #[arg(long, value_name = "P", value_parser = counts, allow_hyphen_values = true)]
    pub parallelism: Option<OneOrMore<u32>>,
    /// Worker nodes [default: 1]
    #[arg(long, value_name = "N", value_parser = counts, allow_hyphen_values = true)]
    pub nodes: Option<OneOrMore<u32>>,
    /// Independent repetitions, one record each [default: 1]
    #[arg(long, value_name = "R", value_parser = count::<u32>, allow_hyphen_values = true)]
    pub repeat: Option<u32>,
    /// Seed of everything random; must match across backends [default: 42]
    #[arg(long, value_name = "SEED", value_parser = count::<u64>, allow_hyphen_values = true)]
    pub seed: Option<u64>,
    /// Scheduler hint that the backend maps to what its runtime has: fifo, load_aware, default [default: default]
    #[arg(short, long, value_name = "NAME", value_parser = SCHEDULERS, hide_possible_values = true)]
    pub scheduler: Option<String>,
    /// Items processed before timing begins, out of --num-tasks [default: 0]
    #[arg(long, value_name = "N", value_parser = count::<u32>, allow_hyphen_values = true)]
    pub warmup_items: Option<u32>,
    /// What is not timed: the first --warmup-items, or with auto all that comes before the run is steady [default:
    /// items; of `pair` and `sweep` auto, unless --warmup-items is given]
    #[arg(long, value_enum, value_name = "WHICH")]
    pub warmup: Option<Warmup>,
    /// Queries per input batch, equal for every backend [default: 16]
    #[arg(long, value_name = "N", value_parser = count::<u32>, allow_hyphen_values = true)]
    pub parity_batch_size: Option<u32>,
    /// Reduced scale for a smoke test
    #[arg(long, help = quick_help())]
    pub quick: bool,

    /// Folder for all results [default: results]
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    pub output_dir: Option<PathBuf>,
    /// Run id instead of a new UUID
    #[arg(long, value_name = "ID", help_heading = "Output")]
    pub run_id: Option<String>,
    /// Validate the configuration, show it with its hash and whether the backend is ready; run nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// Write every operator call of every worker to FILE, for chrome://tracing and Perfetto
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub trace: Option<PathBuf>,
    /// What to write to the file of --trace
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        requires = "trace",
        help_heading = "Output"
    )]
    pub trace_format: TraceFormat,
    /// Keep every answer with what it cites, as answers.jsonl beside the items
    #[arg(long, help_heading = "Output")]
    pub save_answers: bool,
    /// Show what each stage does while the run goes on: rate, queue, share of time busy
    #[arg(long, help_heading = "Output")]
    pub top: bool,
    /// Print the records as JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Show phases and the backend's log
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,

    #[command(flatten)]
    pub of_workload: WorkloadArgs,

    /// How events arrive. Latency under a closed load follows from the throughput: to compare latencies, give all
    /// backends one rate with open [default: closed]
    #[arg(long, value_enum, value_name = "MODEL", help_heading = "Load")]
    pub load: Option<LoadModel>,
    /// Arrivals per second of an open load
    #[arg(long, value_name = "R", value_parser = rates, allow_hyphen_values = true, help_heading = "Load")]
    pub rate: Option<OneOrMore<f64>>,
    /// Gaps between arrivals of an open load [default: fixed]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Load")]
    pub arrivals: Option<ArrivalKind>,
    /// Most queries under way at once; under an open load the others wait at the source, and their wait
    /// is part of the response time [default: 128]
    #[arg(long, value_name = "N", value_parser = count::<u32>, allow_hyphen_values = true, help_heading = "Load")]
    pub max_in_flight: Option<u32>,

    /// End the run after this time: seconds, or with units as in 90s, 1m30s, 2h
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true, help_heading = "Limits")]
    pub timeout: Option<Duration>,
    /// Most private memory of each process of the run, in MiB [default: three quarters of the machine's]
    #[arg(long, value_name = "MIB", value_parser = mebibytes, allow_hyphen_values = true, help_heading = "Limits")]
    pub memory_limit: Option<u64>,
    /// How often a failing record of a stateless operator is tried again [default: 0]
    #[arg(long, value_name = "N", value_parser = count::<u32>, allow_hyphen_values = true, help_heading = "Limits")]
    pub retries: Option<u32>,
    /// Where prepared indexes are kept [default: the user's cache directory]
    #[arg(long, value_name = "DIR", env = "BENCH_CACHE_DIR", value_parser = folder(), help_heading = "Limits")]
    pub cache_dir: Option<PathBuf>,

    /// Setting of the backend itself (repeatable); `bench backends info NAME` lists them. Of several backends each
    /// gets its own. Recorded, but no part of the configuration's hash
    #[arg(long = "backend-option", value_name = "KEY=VALUE", help_heading = "Backend")]
    pub backend_options: Vec<String>,

    #[command(flatten)]
    pub server: ServerArgs,

    #[command(flatten)]
    pub plugins: PluginArgs,

    /// Parameters of the workload in the file of --config.
    #[arg(skip)]
    pub params: Vec<(String, Value)>,
}

fn quick_help() -> String {
    let table = list::default().parameters();
    let tasks = table.quick.tasks.unwrap_or(RUN.num_tasks);
    format!("Reduced scale for a smoke test: {tasks} tasks, {}", table.quick_says)
}

impl RunArgs {
    /// A command of several runs has no one run to look at.
    ///
    /// # Errors
    /// When it was asked to.
    pub fn refuse_views_of_one_run(&self) -> Result<(), Stopped> {
        match (&self.trace, self.top) {
            (None, false) => Ok(()),
            (Some(_), _) => Err(Stopped::usage("--trace holds one run: use it with `bench run`")),
            (None, true) => Err(Stopped::usage("--top shows one run: use it with `bench run`")),
        }
    }

    /// The backend's own settings, each key once. What a backend takes of them it says itself.
    ///
    /// # Errors
    /// When one is not KEY=VALUE, is given twice, or belongs to a flag.
    pub fn backend_options(&self) -> Result<Given, Stopped> {
        let mut options = Given::new();
        for option in &self.backend_options {
            let wrong = |why: &str| Err(Stopped::usage(format!("--backend-option {option}: {why}")));
            let Some((key, value)) = option.split_once('=') else { return wrong("write it as KEY=VALUE") };
            let (key, value) = (key.trim(), value.trim());
            if key.is_empty() {
                return wrong("write it as KEY=VALUE");
            }
            if FROM_THE_PLAN.contains(&key) {
                return wrong("this belongs to the plan, which has a flag for it");
            }
            if options.iter().any(|(known, _)| known == key) {
                return wrong("it is given twice");
            }
            options.push((key.to_owned(), value.to_owned()));
        }
        Ok(options)
    }

    /// The backend to run on.
    #[must_use]
    pub fn backend(&self) -> String {
        self.backend.clone().unwrap_or_else(|| DEFAULT_BACKEND.to_owned())
    }

    /// Where results go.
    #[must_use]
    pub fn output_dir(&self) -> PathBuf {
        self.output_dir.clone().unwrap_or_else(|| PathBuf::from("results"))
    }

    /// The validated plan.
    ///
    /// # Errors
    /// The first thing that is wrong, with the flag or the file that says so.
    pub fn plan(&self) -> Result<Plan, Stopped> {
        self.plan_with(RUN)
    }

    /// The validated plan of a command with `defaults`.
    ///
    /// # Errors
    /// As [`RunArgs::plan`].
    pub fn plan_with(&self, defaults: Defaults) -> Result<Plan, Stopped> {
        let args = self;
        let workload =
            args.workload.as_deref().map_or(Ok(list::default()), list::find).map_err(Stopped::usage)?;
        let table = workload.parameters();
        let preset = args.of_workload.preset.as_deref().map(|name| table.preset(name)).transpose();
        let preset = preset.map_err(Stopped::usage)?;
        let quick = args.quick.then_some(&table.quick);
        let mut params = table.defaults();
        for scale in preset.into_iter().chain(quick) {
            table.set_together(&mut params, scale.sets).map_err(Stopped::usage)?;
        }
        args.of_workload.set_places(workload, &mut params)?;
        for (key, value) in &args.params {
            set_written(table, &mut params, key, value.clone()).map_err(Stopped::usage)?;
        }
        args.of_workload.set_others(workload, &mut params)?;
        if let Some(retries) = args.retries {
            let attempts = retries.saturating_add(1).into();
            table.set(&mut params, ATTEMPTS, attempts).map_err(Stopped::usage)?;
        }
        for set in &args.of_workload.sets {
            set_parameter(table, &mut params, set)?;
        }
        let usual = if args.warmup_items.is_some() { Warmup::Items } else { defaults.warmup };
        let warmup = args.warmup.unwrap_or(usual);
        if warmup == Warmup::Auto && args.warmup_items.is_some() {
            return Err(Stopped::usage("--warmup auto finds the number of items: leave --warmup-items out"));
        }
        // Drivers and their workers run in directories of their own.
        let cache_dir = args.cache_dir.clone().filter(|dir| !dir.as_os_str().is_empty());
        let cache_dir = std::path::absolute(cache_dir.unwrap_or_else(default_cache_dir))
            .map_err(|cause| Stopped::usage(format!("--cache-dir: {cause}")))?;
        let corpus = corpus(workload, &params, &cache_dir)?;
        let num_tasks = args.num_tasks.or_else(|| {
            let queries = corpus.as_ref().map(|corpus| corpus.queries.len() as u32);
            let tasks = |preset: &Preset| preset.tasks;
            quick.and_then(tasks).or(queries).or(preset.and_then(tasks))
        });
        let mut plan = Plan {
            workload,
            seed: args.seed.unwrap_or(42),
            nodes: one("--nodes", args.nodes.as_ref())?.unwrap_or(1),
            parallelism: one("--parallelism", args.parallelism.as_ref())?.unwrap_or(2),
            num_tasks: num_tasks.unwrap_or(defaults.num_tasks),
            warmup_items: args.warmup_items.unwrap_or(0),
            warmup_auto: warmup == Warmup::Auto,
            bounds: Default::default(),
            parity_batch_size: args.parity_batch_size.unwrap_or(16),
            repeat: args.repeat.unwrap_or(1),
            quick: args.quick,
            scheduler: args.scheduler.clone().unwrap_or_else(|| defaults.scheduler.to_owned()),
            max_in_flight: args.max_in_flight.unwrap_or(128),
            load: args.load_model(workload, &params)?,
            corpus_digest: corpus.map(|corpus| corpus.digest().to_owned()),
            served: None,
            params,
            variation: Variation::default(),
            cache_dir,
            timeout: args.timeout,
        };
        plan.validate().map_err(Stopped::usage)?;
        plan.served = args.server.served(&plan)?;
        Ok(plan)
    }

    /// Gaps between the arrivals of an open load.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        match self.arrivals {
            Some(ArrivalKind::Poisson) => Arrivals::Poisson,
            _ => Arrivals::Fixed,
        }
    }

    /// What to say of gaps between arrivals where nothing arrives. A file of flags may be for other commands too.
    #[must_use]
    pub fn idle_arrivals(&self, is_open: bool) -> Option<&'static str> {
        const SAID: &str = "--arrivals changes nothing under a closed load: add --load open with a --rate";
        (self.arrivals.is_some() && !is_open).then_some(SAID)
    }

    fn load_model(&self, workload: Listed, params: &Values) -> Result<Load, Stopped> {
        let arrivals = self.arrivals();
        match (self.load, one("--rate", self.rate.as_ref())?) {
            (None | Some(LoadModel::Closed), None) => Ok(Load::Closed),
            (Some(LoadModel::Closed), Some(_)) => {
                Err(Stopped::usage("--rate belongs to an open load: add --load open, or leave --rate out"))
            }
            (Some(LoadModel::Nominal), None) => {
                let source = workload.source(params).map_err(Stopped::usage)?;
                Ok(Load::Open { rate: source.rate, arrivals })
            }
            (Some(LoadModel::Nominal), Some(_)) => {
                Err(Stopped::usage("--load nominal has the workload's own rate: use --load open for another"))
            }
            (Some(LoadModel::Open), None) => Err(Stopped::usage("--load open needs a --rate")),
            (_, Some(rate)) => Ok(Load::Open { rate, arrivals }),
        }
    }

    /// Most private memory of each process, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_limit.map_or_else(default_memory_limit, |mib| mib << 20)
    }

    /// The id of this run: given, or new.
    ///
    /// # Errors
    /// When a given id could not be part of a file name.
    pub fn run_id(&self) -> Result<String, Stopped> {
        let Some(id) = &self.run_id else { return Ok(bench_record::schema::new_run_id()) };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if id.is_empty() || id.len() > 100 || id.starts_with('.') || !id.chars().all(plain) {
            let text = "--run-id may hold letters, digits, '.', '_' and '-', must not start with '.', and is at most 100 long";
            return Err(Stopped::new(Exit::Usage, text, ""));
        }
        Ok(id.clone())
    }
}

#[cfg(test)]
mod tests;
