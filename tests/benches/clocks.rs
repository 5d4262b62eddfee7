//! `cargo xtask bench-clocks`: where the time of runs on three hosts went, with one clock and with clocks days apart.
//!
//! Both clusters are there all the while, and take turns. Prints, as JSON, each run's attribution: of each backend, and of
//! each round, that with one clock and that with several.

use std::path::{Path, PathBuf};

use bench_tests::clusters::{dask, ray, run_there};
use bench_tests::hosts::Hosts;
use bench_tests::{records, succeed};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// By how many seconds each host's clock is ahead.
const CLOCKS: [[u32; 3]; 2] = [[0, 0, 0], [0, 100_000, 250_000]];

fn main() {
    let rounds = number("BENCH_ROUNDS", 8);
    let backends = std::env::var("BENCH_BACKENDS").unwrap_or_else(|_| "dask,ray".to_owned());
    let found = backends.split(',').map(|backend| (backend.to_owned(), rounds_of(backend, rounds)));
    println!("{}", Value::Object(Map::from_iter(found)));
}

fn number(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).map_or(otherwise, |number| number.parse().expect("a number"))
}

fn rounds_of(backend: &str, rounds: u32) -> Value {
    let folder = TempDir::new().expect("a folder for the results");
    let clusters = CLOCKS.map(|ahead| {
        let hosts =
            Hosts::start(&ahead, &[folder.path().to_owned()]).expect("hosts can be made here, as root");
        let option = match backend {
            "dask" => dask(&hosts, 0, &[1, 2]),
            "ray" => ray(&hosts, 0, &[1, 2], "RAY_AUTH_MODE=disabled"),
            other => panic!("{other} has no clusters of several hosts"),
        };
        (hosts, option)
    });
    let rounds = (0..=rounds).map(|round| {
        let mut pair = [Value::Null, Value::Null];
        // Whoever goes first has the quieter machine, or the colder one.
        for turn in 0..2 {
            let number = ((round + turn) % 2) as usize;
            let (hosts, option) = &clusters[number];
            pair[number] =
                attribution(hosts, backend, option, &folder.path().join(format!("{round}-{number}")));
            eprintln!(
                "{backend}, round {round}, {}",
                if number == 0 { "one clock" } else { "several clocks" }
            );
        }
        json!(pair)
    });
    // The first of each prepares the indexes.
    rounds.skip(1).collect()
}

fn attribution(hosts: &Hosts, backend: &str, option: &str, output: &Path) -> Value {
    let tasks = number("BENCH_TASKS", 600).to_string();
    let flags = ["--parallelism", "3", "--nodes", "3", "--num-tasks", &tasks, "--backend-option", option];
    let output = PathBuf::from(output);
    succeed(&mut run_there(hosts, backend, &output, &flags));
    records(&output).remove(0)["extra"]["attribution"].clone()
}
