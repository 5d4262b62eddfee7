//! `cargo xtask bench-same`: real runtimes against themselves, watched.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::table::{Spread, Table, figure};
use super::{cache_dir, data_dir, json as json_of, machine, verdict, write};
use crate::Done;
use crate::cargo::target;
use crate::stage::{Profile, stage};

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to run against itself.
    #[arg(long, value_delimiter = ',', default_value = "local,sage,ray")]
    backends: Vec<String>,
    /// Campaigns of all backends together; they take turns.
    #[arg(long, default_value_t = 60)]
    campaigns: u64,
    /// Most pairs of a campaign.
    #[arg(long, default_value_t = 60)]
    max_repeat: u32,
    /// Queries of each run.
    #[arg(long, default_value_t = 2_000)]
    num_tasks: u32,
    /// The workload.
    #[arg(long, default_value = "null")]
    workload: String,
}

/// What a campaign came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Campaign {
    backend: String,
    seed: u64,
    pairs: u64,
    /// As the comparison has it.
    ranking: Value,
    p: Option<f64>,
}

impl Campaign {
    /// A difference was found where there is none.
    fn is_false(&self) -> bool {
        ["faster_by", "slower_by"].iter().any(|kind| self.ranking["verdict"]["verdict"] == **kind)
    }

    fn is_equivalent(&self) -> bool {
        self.ranking["verdict"]["verdict"] == "equivalent_within"
    }
}

/// Does the campaigns that are not done yet.
///
/// # Errors
/// When something does not build, install or run.
pub fn run(args: &Args) -> Done {
    let staged = stage(Profile::Release)?;
    let bench = staged.join("bin/bench");
    for runtime in args.backends.iter().filter(|name| *name != "local") {
        crate::ci::provide(&bench, &data_dir(), runtime)?;
    }
    let path = target().join("bench-same.json");
    let setting =
        json!({"workload": args.workload, "num_tasks": args.num_tasks, "max_repeat": args.max_repeat});
    let mut done = kept(&path, &setting);
    for seed in 1..=args.campaigns {
        let backend = &args.backends[(seed as usize - 1) % args.backends.len()];
        if done.iter().any(|known| (known.seed, &known.backend) == (seed, backend)) {
            continue;
        }
        eprintln!("campaign {seed} of {}: {backend}", args.campaigns);
        done.push(campaign(&bench, backend, seed, args)?);
        write(&path, &json!({"machine": machine(), "setting": setting, "campaigns": done}))?;
    }
    show(&done);
    println!("\n{}", path.display());
    Ok(())
}

/// Campaigns of the same setting that an earlier call has done.
fn kept(path: &Path, setting: &Value) -> Vec<Campaign> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let file: Value = serde_json::from_str(&text).unwrap_or_default();
    let same = file["setting"] == *setting;
    same.then(|| serde_json::from_value(file["campaigns"].clone()).ok()).flatten().unwrap_or_default()
}

fn campaign(bench: &Path, backend: &str, seed: u64, args: &Args) -> Result<Campaign, String> {
    let root = target().join("bench-same");
    // Only what they came to is kept.
    let _ = fs::remove_dir_all(&root);
    let mut command = Command::new(bench);
    command
        .args(["pair", "--aa", "--until-known", "--json", "--no-user-plugins", "--timeout", "300"])
        .args(["--backends", backend, "--workload", &args.workload, "--seed", &seed.to_string()])
        .args(["--max-repeat", &args.max_repeat.to_string(), "--num-tasks", &args.num_tasks.to_string()])
        .arg("--output-root")
        .arg(&root)
        .env("BENCH_CACHE_DIR", cache_dir())
        .env("BENCH_DATA_DIR", data_dir());
    let found = json_of(&mut command)?;
    let comparisons = found["comparison"]["comparisons"].as_array().cloned().unwrap_or_default();
    let throughput = comparisons.into_iter().find(|comparison| comparison["metric"] == "throughput");
    let throughput = throughput.ok_or_else(|| format!("{backend}: nothing was compared"))?;
    let pairs = throughput["pairs"].as_u64().unwrap_or(0);
    let (ranking, p) = (throughput["ranking"].clone(), throughput["p"].as_f64());
    Ok(Campaign { backend: backend.to_owned(), seed, pairs, ranking, p })
}

fn show(done: &[Campaign]) {
    let mut by_backend: BTreeMap<&str, Vec<&Campaign>> = BTreeMap::new();
    done.iter().for_each(|campaign| by_backend.entry(&campaign.backend).or_default().push(campaign));
    let mut table = Table::new(&[
        "against itself",
        "campaigns",
        "a difference",
        "equivalent",
        "neither",
        "pairs",
        "least .. most",
    ]);
    for (backend, campaigns) in by_backend {
        let count = |is: &dyn Fn(&Campaign) -> bool| campaigns.iter().filter(|campaign| is(campaign)).count();
        let (wrong, equivalent) = (count(&Campaign::is_false), count(&Campaign::is_equivalent));
        let pairs = Spread::of(campaigns.iter().map(|campaign| campaign.pairs as f64));
        let [_, range] = pairs.show();
        let neither = campaigns.len() - wrong - equivalent;
        let mut row = vec![backend.to_owned()];
        row.extend([campaigns.len(), wrong, equivalent, neither].map(|count| count.to_string()));
        row.extend([figure(Some(pairs.median)), range]);
        table.row(row);
    }
    table.print();
    let wrong = done.iter().filter(|campaign| campaign.is_false()).count();
    println!(
        "campaigns that find a difference: {wrong} of {}, aim none: {}",
        done.len(),
        verdict(wrong == 0)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_from_what_is_none() {
        let of = |ranking: Value| Campaign { backend: "local".into(), seed: 1, pairs: 6, ranking, p: None };
        let faster = of(json!({"verdict": {"verdict": "faster_by", "share": 0.1}}));
        let equal = of(json!({"verdict": {"verdict": "equivalent_within", "margin": 0.05}}));
        let open = of(json!({"verdict": {"verdict": "inconclusive", "more": 3}}));
        assert_eq!([&faster, &equal, &open].map(Campaign::is_false), [true, false, false]);
        assert_eq!([&faster, &equal, &open].map(Campaign::is_equivalent), [false, true, false]);
        assert!(!of(json!("no_valid_runs")).is_false());
    }
}
