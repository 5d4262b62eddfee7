//! `cargo xtask bench-listing`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;

use super::table::{Spread, Table, figure};
use super::{json as json_of, machine, verdict, write};
use crate::Done;
use crate::cargo::target;
use crate::ci::compile;
use crate::stage::{Profile, place, stage};

/// Most milliseconds that listing healthy plugins may take.
const MOST_MS: f64 = 300.0;
/// Most seconds beyond the time-out that a listing with one that hangs may take.
const MOST_BEYOND_S: f64 = 1.0;

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many plugins.
    #[arg(long, default_value_t = 50)]
    plugins: u32,
    /// How often to list them.
    #[arg(long, default_value_t = 11)]
    repeats: usize,
    /// Time-out of a plugin, seconds.
    #[arg(long, default_value_t = 3.0)]
    timeout: f64,
}

/// Lists many plugins, all healthy and then one hanging, as a user does: a new process each time.
///
/// # Errors
/// When something does not build, or a healthy plugin is not listed as ready.
pub fn run(args: &Args) -> Done {
    let staged = stage(Profile::Release)?;
    let built = compile(&staged, "tests/plugins/many/many.c", "many")?;
    let folder = target().join("bench-listing");
    // A folder of an earlier run with another number of plugins.
    let _ = fs::remove_dir_all(&folder);
    for number in 0..args.plugins {
        place(&built, &folder.join(format!("libbackend_plugin{number}.so")))?;
    }
    let bench = staged.join("bin/bench");
    let healthy = times(args, &bench, &folder, args.plugins as usize)?;
    place(&built, &folder.join("libbackend_hanging.so"))?;
    fs::remove_file(folder.join("libbackend_plugin0.so")).map_err(|cause| cause.to_string())?;
    let one = Args { repeats: 3, ..*args };
    let hanging = times(&one, &bench, &folder, args.plugins as usize - 1)?;
    let (all, beyond) = (healthy.median * 1e3, hanging.most - args.timeout);
    let mut table = Table::new(&["listing", "median", "least", "most", "aim", ""]);
    let row = |what: String, spread: Spread, scale: f64, aim: String, met: bool| {
        let cells = [spread.median, spread.least, spread.most].map(|value| figure(Some(value * scale)));
        [what].into_iter().chain(cells).chain([aim, verdict(met).to_owned()]).collect::<Vec<_>>()
    };
    let (n, aim) = (args.plugins, format!("< {MOST_MS}"));
    table.row(row(format!("{n} healthy, ms"), healthy, 1e3, aim, all < MOST_MS));
    let aim = format!("< {}", args.timeout + MOST_BEYOND_S);
    table.row(row(format!("{n}, one hanging, s"), hanging, 1.0, aim, beyond < MOST_BEYOND_S));
    table.print();
    let figures = json!({
        "machine": machine(),
        "plugins": n,
        "healthy_ms": {"median": all, "least": healthy.least * 1e3, "most": healthy.most * 1e3},
        "hanging_seconds_beyond_timeout": beyond,
        "timeout": args.timeout,
    });
    write(&target().join("bench-listing.json"), &figures)
}

fn times(args: &Args, bench: &Path, folder: &Path, ready: usize) -> Result<Spread, String> {
    let list = || {
        let mut command = Command::new(bench);
        command.args([
            "backends",
            "list",
            "--json",
            "--no-user-plugins",
            "--timeout",
            &args.timeout.to_string(),
        ]);
        command.arg("--plugins-dir").arg(folder).stderr(Stdio::null());
        command
    };
    let listed = json_of(&mut list())?;
    let available =
        |listing: &&serde_json::Value| listing["description"]["availability"]["detail"] == "one of many";
    let found = listed.as_array().map_or(0, |all| all.iter().filter(available).count());
    if found != ready {
        return Err(format!("{found} plugins are listed as ready where {ready} are"));
    }
    let mut seconds = Vec::new();
    for _ in 0..args.repeats {
        let started = Instant::now();
        let status = list().stdout(Stdio::null()).status().map_err(|cause| cause.to_string())?;
        if !status.success() {
            return Err(format!("listing: {status}"));
        }
        seconds.push(started.elapsed().as_secs_f64());
    }
    Ok(Spread::of(seconds))
}
