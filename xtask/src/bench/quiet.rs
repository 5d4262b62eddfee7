//! Part of `cargo xtask bench-host`: is an idle machine called idle and a busy one busy, however short the run,
//! and is `cpu_seconds` what the kernel counted?

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value, json};

use super::kernel::{Account, Cgroup};
use super::table::{Spread, Table, figure};
use super::{cache_dir, data_dir, verdict};
use crate::cargo::target;

/// Most that others may seem to use of an idle machine.
const MOST_IDLE: f64 = 0.03;
/// Least that they are to use when a busy loop runs for each core. How much loops are given beside a runtime of
/// many processes is the kernel's choice, so that a smaller figure can be true: `LEAST_KNOWN` tells.
const LEAST_BUSY: f64 = 0.30;
/// Least that the run and others together must be seen to use then, for with such loops no core is ever idle.
const LEAST_KNOWN: f64 = 0.97;
/// Most that `cpu_seconds` may be off the kernel's account.
const MOST_OFF: f64 = 0.02;

/// Flags.
#[derive(Debug, Clone, clap::Args)]
pub struct Quiet {
    /// Backends whose account of the machine is looked at; installed below target/.
    #[arg(long, value_delimiter = ',', default_value = "local,sage,ray,dask")]
    quiet_backends: Vec<String>,
    /// Queries of those runs.
    #[arg(long, value_delimiter = ',', default_value = "20,100,1000")]
    quiet_tasks: Vec<u32>,
    /// How often each of them runs, on an idle machine and beside busy loops.
    #[arg(long, default_value_t = 3)]
    quiet_repeats: usize,
}

/// One run's account, and the kernel's.
struct Outcome {
    others: Option<f64>,
    /// What the run and others used together, where both are of the same window.
    together: Option<f64>,
    resolution: Option<f64>,
    /// `cpu_seconds` less the kernel's, as a share of it.
    off: Option<f64>,
    valid: bool,
}

/// Measures and prints a table.
///
/// # Errors
/// When a runtime cannot be installed or a run fails.
pub fn measure(bench: &Path, args: &Quiet) -> Result<Value, String> {
    for backend in args.quiet_backends.iter().filter(|backend| *backend != "local") {
        crate::ci::provide(bench, &data_dir(), backend)?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let before = busy_share();
    println!("\nThe machine beside a run: idle, and with {cores} busy loops.");
    println!(
        "Before, {:.1} % of its CPU time was used; the first columns mean what they say at 0 %.",
        before * 100.0
    );
    let mut table = Table::new(&[
        "",
        "queries",
        "others, idle: most",
        "within",
        "others, busy: least",
        "within",
        "with the run's: least",
        "CPU off the kernel's",
        "INVALID, idle",
    ]);
    let mut rows = Map::new();
    for backend in &args.quiet_backends {
        let vetting = vetting(bench, backend)?;
        for &queries in &args.quiet_tasks {
            let runs = || {
                (0..args.quiet_repeats.max(1))
                    .map(|_| once(bench, backend, queries, vetting))
                    .collect::<Result<Vec<_>, _>>()
            };
            let idle = runs()?;
            let busy = {
                let _loops = Loops::start(cores)?;
                runs()?
            };
            let row = Row::of(&idle, &busy);
            table.row(row.cells(backend, queries));
            rows.insert(format!("{backend}, {queries}"), row.json());
        }
    }
    table.print();
    println!(
        "Shares of all CPU time while queries were timed; - where a window was too short to tell. Aims: at most {MOST_IDLE}, \
         at least {LEAST_BUSY}, at least {LEAST_KNOWN} (loops leave no core idle, so that less means somebody was \
         overlooked), within {MOST_OFF}."
    );
    println!(
        "The kernel's account: {}.",
        Cgroup::make().map_or("wait4, which misses what nobody waits for", |_| "a cgroup")
    );
    Ok(json!({"busy_before": before, "cores": cores, "rows": rows}))
}

/// What came of the same run a few times.
struct Row {
    idle: Figures,
    busy: Figures,
    together: Option<f64>,
    off: Spread,
    invalid: usize,
    runs: usize,
}

struct Figures {
    others: Vec<Option<f64>>,
    resolution: Option<f64>,
}

impl Figures {
    fn of(runs: &[Outcome]) -> Self {
        let resolution = runs.iter().filter_map(|run| run.resolution).reduce(f64::max);
        Self { others: runs.iter().map(|run| run.others).collect(), resolution }
    }

    /// `None` when one of them is not known.
    fn extreme(&self, pick: fn(f64, f64) -> f64) -> Option<f64> {
        self.others.iter().copied().reduce(|a, b| Some(pick(a?, b?))).flatten()
    }
}

impl Row {
    fn of(idle: &[Outcome], busy: &[Outcome]) -> Self {
        Self {
            idle: Figures::of(idle),
            busy: Figures::of(busy),
            together: busy.iter().filter_map(|run| run.together).reduce(f64::min),
            off: Spread::of(idle.iter().chain(busy).filter_map(|run| run.off)),
            invalid: idle.iter().filter(|run| !run.valid).count(),
            runs: idle.len(),
        }
    }

    fn most_idle(&self) -> Option<f64> {
        self.idle.extreme(f64::max)
    }

    fn least_busy(&self) -> Option<f64> {
        self.busy.extreme(f64::min)
    }

    fn is_met(&self) -> [bool; 4] {
        [
            self.most_idle().is_some_and(|share| share <= MOST_IDLE),
            self.least_busy().is_some_and(|share| share >= LEAST_BUSY),
            self.together.is_some_and(|share| share + self.busy.resolution.unwrap_or(0.0) >= LEAST_KNOWN),
            self.off.median.abs() <= MOST_OFF,
        ]
    }

    fn cells(&self, backend: &str, queries: u32) -> Vec<String> {
        let [idle, busy, together, off] = self.is_met().map(verdict);
        let share = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.3}"));
        vec![
            backend.to_owned(),
            queries.to_string(),
            format!("{} {idle}", share(self.most_idle())),
            share(self.idle.resolution),
            format!("{} {busy}", figure(self.least_busy())),
            share(self.busy.resolution),
            format!("{} {together}", share(self.together)),
            format!(
                "{:+.1} % ({:+.1} .. {:+.1}) {off}",
                self.off.median * 100.0,
                self.off.least * 100.0,
                self.off.most * 100.0
            ),
            format!("{} of {}", self.invalid, self.runs),
        ]
    }

    fn json(&self) -> Value {
        let [idle_met, busy_met, known_met, cpu_met] = self.is_met();
        json!({
            "others_idle": self.idle.others, "resolution_idle": self.idle.resolution, "idle_met": idle_met,
            "others_busy": self.busy.others, "resolution_busy": self.busy.resolution, "busy_met": busy_met,
            "together_busy": self.together, "known_met": known_met,
            "cpu_off": self.off.json(), "cpu_met": cpu_met,
            "invalid_idle": self.invalid,
        })
    }
}

fn command(bench: &Path, backend: &str, queries: u32) -> Command {
    let mut command = Command::new(bench);
    command
        .args(["run", "--json", "--no-user-plugins", "--timeout", "600", "--backend", backend])
        .args(["--num-tasks", &queries.to_string()])
        .arg("--output-dir")
        .arg(target().join("bench-host"))
        .env("BENCH_CACHE_DIR", cache_dir())
        .env("BENCH_DATA_DIR", data_dir());
    command
}

/// CPU seconds of asking the plugin what it is, which every command does before it starts a run, in processes
/// that are no part of the run.
fn vetting(bench: &Path, backend: &str) -> Result<f64, String> {
    let once = || Ok::<_, String>(Account::of(command(bench, backend, 20).arg("--dry-run"))?.0.below);
    let several: Vec<f64> = (0..5).map(|_| once()).collect::<Result<_, _>>()?;
    Ok(Spread::of(several).median)
}

fn once(bench: &Path, backend: &str, queries: u32, vetting: f64) -> Result<Outcome, String> {
    eprintln!("{backend}, {queries} queries");
    let (account, printed) = Account::of(&mut command(bench, backend, queries))?;
    let printed: Value = serde_json::from_slice(&printed).map_err(|cause| format!("{backend}: {cause}"))?;
    let extra = &printed[0]["extra"];
    let disturbance = &extra["disturbance"];
    // Without a cgroup the kernel's account lacks what nobody waited for.
    let waited_by_all = extra["cpu_seconds_sampled"] == 0.0;
    let kernel = (account.below - vetting).max(1e-9);
    let off = extra["cpu_seconds"].as_f64().map(|seconds| seconds / kernel - 1.0);
    let others = disturbance["others"].as_f64();
    // Of a window too short to tell, others are those of the whole run, and the run's own are of the window.
    let own = disturbance["own"].as_f64().filter(|_| disturbance["others_window_seconds"].is_null());
    Ok(Outcome {
        others,
        together: others.zip(own).map(|(others, own)| others + own),
        resolution: disturbance["resolution"]["others"].as_f64(),
        off: off.filter(|_| account.is_complete || waited_by_all),
        valid: extra["validity"]["verdict"] == "VALID",
    })
}

/// Processes that do nothing, busily, until this is dropped.
struct Loops(Vec<Child>);

impl Loops {
    fn start(count: usize) -> Result<Self, String> {
        let mut loops = Self(Vec::new());
        for _ in 0..count {
            // A session each: where the kernel shares cores out by session, loops in one of them would be
            // given as much as any single process of a runtime that has many.
            let mut shell = Command::new("setsid");
            let child = shell.args(["sh", "-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
            loops.0.push(child.map_err(|cause| format!("setsid: {cause}"))?);
        }
        Ok(loops)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Both fail only for one that has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Share of the machine's CPU time that was used in the last second.
fn busy_share() -> f64 {
    let idle_and_all = || {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let numbers = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let numbers: Vec<f64> = numbers.filter_map(|number| number.parse().ok()).collect();
        (numbers.get(3).unwrap_or(&0.0) + numbers.get(4).unwrap_or(&0.0), numbers.iter().sum::<f64>())
    };
    let before = idle_and_all();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let after = idle_and_all();
    1.0 - (after.0 - before.0) / (after.1 - before.1).max(1.0)
}
