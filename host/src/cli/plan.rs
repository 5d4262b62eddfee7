//! From arguments to a plan: defaults, then preset, configuration file, flags and `--set`, each
//! beating the one before.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bench_workloads::corpus::Corpus;
use bench_workloads::wl4::params::{EmbedderKind, Params, preset_tasks};
use bench_workloads::workload::WORKLOADS;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::Value;

use super::{Exit, PluginArgs, Stopped};
use crate::run::machine::default_memory_limit;
use crate::run::plan::{Arrivals, Load, Plan, default_cache_dir};
use crate::run::trace::Format;

/// The backend that runs when none is named.
pub const DEFAULT_BACKEND: &str = "sage";

/// What a command takes where neither flags nor file say anything.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    pub num_tasks: u32,
    pub scheduler: &'static str,
}

/// Those of `bench run`.
const RUN: Defaults = Defaults { num_tasks: 100, scheduler: "default" };

/// How events arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LoadModel {
    /// As fast as the in-flight limit allows.
    Closed,
    /// At --rate, whatever the backend does.
    Open,
    /// At the workload's own query rate.
    Nominal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalKind {
    Fixed,
    Poisson,
}

/// A number, or several separated by commas for `bench sweep`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Written<T>")]
pub struct OneOrMore<T>(pub Vec<T>);

/// As it stands in a configuration file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written<T> {
    One(T),
    More(Vec<T>),
}

impl<T> From<Written<T>> for OneOrMore<T> {
    fn from(written: Written<T>) -> Self {
        match written {
            Written::One(value) => Self(vec![value]),
            Written::More(values) => Self(values),
        }
    }
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for OneOrMore<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let values = text.split(',').map(|part| part.trim().parse::<T>());
        values.collect::<Result<_, _>>().map(Self).map_err(|cause| cause.to_string())
    }
}

/// What `--set KEY=VALUE` asks for.
pub fn set_parameter(params: &mut Params, set: &str) -> Result<(), Stopped> {
    let pair = set.split_once('=');
    let (key, value) = pair.ok_or_else(|| Stopped::usage(format!("--set {set}: write it as KEY=VALUE")))?;
    params.set_text(key.trim(), value.trim()).map_err(Stopped::usage)
}

/// A number of documents, in whatever way it is written: 1000000 or 1e6.
fn corpus_size(text: &str) -> Result<u32, String> {
    let number: f64 = text.parse().map_err(|_| format!("'{text}' is not a number"))?;
    let fine = number >= 1.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0;
    if fine { Ok(number as u32) } else { Err("it must be a whole number from 1 to 4294967295".to_owned()) }
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
pub fn mebibytes() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(64..=1 << 40)
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
    #[arg(short, long, value_name = "N", visible_alias = "items")]
    pub num_tasks: Option<u32>,
    /// Operator-level parallelism [default: 2]
    #[arg(long, value_name = "P")]
    pub parallelism: Option<OneOrMore<u32>>,
    /// Worker nodes [default: 1]
    #[arg(long, value_name = "N")]
    pub nodes: Option<OneOrMore<u32>>,
    /// Independent repetitions, one record each [default: 1]
    #[arg(long, value_name = "R")]
    pub repeat: Option<u32>,
    /// Seed of everything random; must match across backends [default: 42]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Scheduler hint that the backend maps to what its runtime has: fifo, load_aware, default [default: default]
    #[arg(short, long, value_name = "NAME")]
    pub scheduler: Option<String>,
    /// Items processed before timing begins, out of --num-tasks [default: 0]
    #[arg(long, value_name = "N")]
    pub warmup_items: Option<u32>,
    /// Queries per input batch, equal for every backend [default: 16]
    #[arg(long, value_name = "N")]
    pub parity_batch_size: Option<u32>,
    /// Reduced scale for a smoke test: 20 tasks, 1,000-document indexes, a 10 s window
    #[arg(long)]
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
    pub trace_format: Format,
    /// Show what each stage does while the run goes on: rate, queue, share of time busy
    #[arg(long, help_heading = "Output")]
    pub top: bool,
    /// Print the records as JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Show phases and the backend's log
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,

    /// Folder in BEIR form (corpus.jsonl, queries.jsonl, qrels/test.tsv) instead of synthetic text
    #[arg(long, value_name = "DIR", help_heading = "Workload")]
    pub corpus: Option<PathBuf>,
    /// Synthetic documents in each of the vector databases; 1e6 works, built in a stream and mapped
    /// [default: 10000]
    #[arg(long, value_name = "N", conflicts_with = "corpus", value_parser = corpus_size, help_heading = "Workload")]
    pub corpus_size: Option<u32>,
    /// Shards of each vector database, searched by an operator each; the answers stay the same [default: 1]
    #[arg(long, value_name = "N", help_heading = "Workload")]
    pub corpus_shards: Option<u32>,
    /// Parameter preset: default, light, extreme, cpu_optimized
    #[arg(long, value_name = "NAME", help_heading = "Workload")]
    pub preset: Option<String>,
    /// TOML file with any workload parameter or run flag (flags beat the file)
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    pub config: Option<PathBuf>,
    /// Set one workload parameter (repeatable): --set mmr_lambda=0.5
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Workload")]
    pub sets: Vec<String>,
    /// OpenAI-compatible endpoint for embeddings, up to /v1; the key comes from OPENAI_API_KEY
    #[arg(long, value_name = "URL", help_heading = "Workload")]
    pub embedding_url: Option<String>,
    /// OpenAI-compatible endpoint for generation, up to /v1; the key comes from OPENAI_API_KEY
    #[arg(long, value_name = "URL", help_heading = "Workload")]
    pub llm_url: Option<String>,
    /// Service time added to each generation batch, as a timer [default: 0]
    #[arg(long, value_name = "MS", help_heading = "Workload")]
    pub llm_latency_ms: Option<u32>,

    /// How events arrive [default: closed]
    #[arg(long, value_enum, value_name = "MODEL", help_heading = "Load")]
    pub load: Option<LoadModel>,
    /// Arrivals per second of an open load
    #[arg(long, value_name = "R", help_heading = "Load")]
    pub rate: Option<OneOrMore<f64>>,
    /// Gaps between arrivals of an open load [default: fixed]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Load")]
    pub arrivals: Option<ArrivalKind>,
    /// Most queries under way at once; under an open load the others wait at the source, and their wait
    /// is part of the response time [default: 128]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub max_in_flight: Option<u32>,

    /// End the run after this many seconds
    #[arg(long, value_name = "SECONDS", help_heading = "Limits")]
    pub timeout: Option<f64>,
    /// Most private memory of each process of the run, in MiB [default: three quarters of the machine's]
    #[arg(long, value_name = "MIB", value_parser = mebibytes(), help_heading = "Limits")]
    pub memory_limit: Option<u64>,
    /// How often a failing record of a stateless operator is tried again [default: 0]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub retries: Option<u32>,
    /// Where prepared indexes are kept [default: the user's cache directory]
    #[arg(long, value_name = "DIR", env = "BENCH_CACHE_DIR", help_heading = "Limits")]
    pub cache_dir: Option<PathBuf>,

    /// Setting of the backend itself (repeatable); the backend's documentation lists them. Recorded, but
    /// no part of the configuration's hash
    #[arg(long = "backend-option", value_name = "KEY=VALUE", help_heading = "Backend")]
    pub backend_options: Vec<String>,

    #[command(flatten)]
    pub plugins: PluginArgs,
}

/// Entries of a plugin's spec that come from the plan: an option must not contradict it.
const FROM_THE_PLAN: [&str; 7] =
    ["nodes", "parity_batch_size", "max_in_flight", "seed", "run_id", "temp_dir", "operator_attempts"];

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

    /// The backend's own settings, each key once.
    ///
    /// # Errors
    /// When one is not KEY=VALUE, is given twice, or belongs to a flag.
    pub fn backend_options(&self) -> Result<Vec<(String, String)>, Stopped> {
        let mut options: Vec<(String, String)> = Vec::new();
        for option in &self.backend_options {
            let wrong = |why: &str| Err(Stopped::usage(format!("--backend-option {option}: {why}")));
            let Some((key, value)) = option.split_once('=') else { return wrong("write it as KEY=VALUE") };
            let (key, value) = (key.trim(), value.trim());
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if key.is_empty() || !key.chars().all(plain) {
                return wrong("a key holds lower-case letters, digits and '_'");
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

    /// Fills in what was not given from the configuration file.
    ///
    /// # Errors
    /// When the file is unreadable, not TOML, or names an unknown key.
    fn with_config_file(&self) -> Result<(Self, Vec<(String, Value)>), Stopped> {
        let mut args = self.clone();
        let mut params = Vec::new();
        let Some(path) = &self.config else { return Ok((args, params)) };
        let wrong = |cause: &dyn std::fmt::Display| Stopped::usage(format!("{}: {cause}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|cause| wrong(&cause))?;
        let table: toml::Table = toml::from_str(&text).map_err(|cause| wrong(&cause))?;
        for (key, value) in table {
            let value = serde_json::to_value(&value).map_err(|cause| wrong(&cause))?;
            let bad = |cause: serde_json::Error| wrong(&format!("{key}: {cause}"));
            fn fill<T: serde::de::DeserializeOwned>(
                slot: &mut Option<T>,
                value: Value,
            ) -> serde_json::Result<()> {
                let parsed = serde_json::from_value(value)?;
                slot.get_or_insert(parsed);
                Ok(())
            }
            match key.as_str() {
                "backend" => fill(&mut args.backend, value).map_err(bad)?,
                "workload" => fill(&mut args.workload, value).map_err(bad)?,
                "num_tasks" => fill(&mut args.num_tasks, value).map_err(bad)?,
                "parallelism" => fill(&mut args.parallelism, value).map_err(bad)?,
                "nodes" => fill(&mut args.nodes, value).map_err(bad)?,
                "repeat" => fill(&mut args.repeat, value).map_err(bad)?,
                "seed" => fill(&mut args.seed, value).map_err(bad)?,
                "scheduler" => fill(&mut args.scheduler, value).map_err(bad)?,
                "warmup_items" => fill(&mut args.warmup_items, value).map_err(bad)?,
                "parity_batch_size" => fill(&mut args.parity_batch_size, value).map_err(bad)?,
                "max_in_flight" => fill(&mut args.max_in_flight, value).map_err(bad)?,
                "output_dir" => fill(&mut args.output_dir, value).map_err(bad)?,
                "corpus" => fill(&mut args.corpus, value).map_err(bad)?,
                "preset" => fill(&mut args.preset, value).map_err(bad)?,
                "embedding_url" => fill(&mut args.embedding_url, value).map_err(bad)?,
                "llm_url" => fill(&mut args.llm_url, value).map_err(bad)?,
                "timeout" => fill(&mut args.timeout, value).map_err(bad)?,
                _ => params.push((key.clone(), value)),
            }
        }
        Ok((args, params))
    }

    /// The backend to run on.
    ///
    /// # Errors
    /// As the configuration file's.
    pub fn backend(&self) -> Result<String, Stopped> {
        let (args, _) = self.with_config_file()?;
        Ok(args.backend.unwrap_or_else(|| DEFAULT_BACKEND.to_owned()))
    }

    /// Where results go.
    ///
    /// # Errors
    /// As the configuration file's.
    pub fn output_dir(&self) -> Result<PathBuf, Stopped> {
        let (args, _) = self.with_config_file()?;
        Ok(args.output_dir.unwrap_or_else(|| PathBuf::from("results")))
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
        let (args, from_file) = self.with_config_file()?;
        let workload = args.workload.clone().unwrap_or_else(|| WORKLOADS[0].to_owned());
        let mut params = Params::default();
        if let Some(preset) = &args.preset {
            params.use_preset(preset).map_err(Stopped::usage)?;
        }
        if args.quick {
            params.use_quick();
        }
        let corpus = args.corpus.as_deref().map(Corpus::load).transpose().map_err(Stopped::usage)?;
        if let Some(folder) = &args.corpus {
            let folder = folder
                .canonicalize()
                .map_err(|cause| Stopped::usage(format!("{}: {cause}", folder.display())))?;
            params.use_corpus(folder);
        }
        for (key, value) in from_file {
            params.set(&key, value).map_err(Stopped::usage)?;
        }
        if let Some(size) = args.corpus_size {
            (params.vdb1_corpus_size, params.vdb2_corpus_size) = (size, size);
        }
        params.vdb_shards = args.corpus_shards.unwrap_or(params.vdb_shards);
        if let Some(url) = &args.embedding_url {
            params.embedder = EmbedderKind::Http;
            params.embedding_url = Some(url.clone());
        }
        params.llm_url = args.llm_url.clone().or(params.llm_url);
        params.llm_latency_ms = args.llm_latency_ms.unwrap_or(params.llm_latency_ms);
        if let Some(retries) = args.retries {
            params.operator_attempts = retries.saturating_add(1);
        }
        for set in &args.sets {
            set_parameter(&mut params, set)?;
        }
        let num_tasks = args.num_tasks.or_else(|| {
            let queries = corpus.as_ref().map(|corpus| corpus.queries.len() as u32);
            let preset = args.preset.as_deref().and_then(preset_tasks).map(|tasks| tasks as u32);
            if args.quick { Some(20) } else { queries.or(preset) }
        });
        let plan = Plan {
            workload,
            seed: args.seed.unwrap_or(42),
            nodes: one("--nodes", args.nodes.as_ref())?.unwrap_or(1),
            parallelism: one("--parallelism", args.parallelism.as_ref())?.unwrap_or(2),
            num_tasks: num_tasks.unwrap_or(defaults.num_tasks),
            warmup_items: args.warmup_items.unwrap_or(0),
            parity_batch_size: args.parity_batch_size.unwrap_or(16),
            repeat: args.repeat.unwrap_or(1),
            quick: args.quick,
            scheduler: args.scheduler.clone().unwrap_or_else(|| defaults.scheduler.to_owned()),
            max_in_flight: args.max_in_flight.unwrap_or(128),
            load: args.load_model(&params)?,
            corpus_digest: corpus.map(|corpus| corpus.digest().to_owned()),
            params,
            // Drivers and their workers run in directories of their own.
            cache_dir: std::path::absolute(args.cache_dir.clone().unwrap_or_else(default_cache_dir))
                .map_err(|cause| Stopped::usage(format!("--cache-dir: {cause}")))?,
            timeout: args.timeout()?,
        };
        plan.validate().map_err(Stopped::usage)?;
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

    fn load_model(&self, params: &Params) -> Result<Load, Stopped> {
        let arrivals = self.arrivals();
        match (self.load, one("--rate", self.rate.as_ref())?) {
            (None | Some(LoadModel::Closed), None) => Ok(Load::Closed),
            (Some(LoadModel::Closed), Some(_)) => {
                Err(Stopped::usage("--rate belongs to an open load: add --load open, or leave --rate out"))
            }
            (Some(LoadModel::Nominal), None) => Ok(Load::Open { rate: params.query_qps, arrivals }),
            (Some(LoadModel::Nominal), Some(_)) => {
                Err(Stopped::usage("--load nominal has the workload's own rate: use --load open for another"))
            }
            (Some(LoadModel::Open), None) => Err(Stopped::usage("--load open needs a --rate")),
            (_, Some(rate)) => Ok(Load::Open { rate, arrivals }),
        }
    }

    fn timeout(&self) -> Result<Option<Duration>, Stopped> {
        let parse = |seconds: f64| {
            let fine = seconds > 0.0 && seconds <= 1e7;
            let duration = fine.then(|| Duration::from_secs_f64(seconds));
            duration.ok_or_else(|| Stopped::usage("--timeout must be above 0 seconds"))
        };
        self.timeout.map(parse).transpose()
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
        let Some(id) = &self.run_id else { return Ok(crate::results::schema::new_run_id()) };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if id.is_empty() || id.len() > 100 || id.starts_with('.') || !id.chars().all(plain) {
            let text = "--run-id may hold letters, digits, '.', '_' and '-', must not start with '.', and is at most 100 long";
            return Err(Stopped::new(Exit::Usage, text, ""));
        }
        Ok(id.clone())
    }
}
