//! The house: which crate may use which, that no module needs itself, and what no room of the host may name.

mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use bench_plugin_api::dataflow::graph::Role;
use bench_tests::succeed;
use bench_workloads::list::WORKLOADS;
use bench_workloads::parameters::ATTEMPTS;
use serde_json::Value;

/// The rooms of the host and what of ours each may use. Whoever adds an arrow changes this table, and says why.
const ROOMS: [(&str, &[&str]); 9] = [
    ("bench-record", &[]),
    ("bench-stats", &[]),
    ("bench-isolate", &["bench-plugin-api", "bench-record"]),
    ("bench-measure", &["bench-isolate", "bench-record", "bench-stats", "bench-workloads", "bench-dataflow"]),
    ("bench-judge", &["bench-record", "bench-stats"]),
    ("bench-report", &["bench-judge", "bench-record"]),
    (
        "bench-check",
        &[
            "bench-measure",
            "bench-judge",
            "bench-isolate",
            "bench-record",
            "bench-stats",
            // What an engine in Python is made of: `pack` writes it.
            "bench-engine-package",
        ],
    ),
    ("bench-campaign", &["bench-measure", "bench-judge", "bench-isolate", "bench-record", "bench-stats"]),
    (
        "bench",
        &[
            "bench-record",
            "bench-stats",
            "bench-isolate",
            "bench-measure",
            "bench-judge",
            "bench-report",
            "bench-check",
            "bench-campaign",
            "bench-workloads",
            "bench-dataflow",
            "bench-plugin-api",
            // For its schema.
            "bench-engine-package",
        ],
    ),
];

/// Libraries that never come into a room, not even through another: charts and pages, the stable ABI, the terminal.
const CHARTS: [&str; 2] = ["kuva", "minijinja"];
const ABI: [&str; 1] = ["abi_stable"];
const TERMINAL: [&str; 5] = ["anstream", "clap", "comfy-table", "indicatif", "signal-hook"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn cargo(args: &[&str]) -> Vec<u8> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    succeed(command.args(args).arg("--offline").current_dir(root())).stdout
}

fn metadata() -> Value {
    serde_json::from_slice(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap()
}

/// The crates below `host/`, by name.
fn rooms(metadata: &Value) -> BTreeMap<&str, &Value> {
    let host = root().join("host");
    let packages = metadata["packages"].as_array().unwrap().iter();
    let inside = |package: &&Value| Path::new(package["manifest_path"].as_str().unwrap()).starts_with(&host);
    packages.filter(inside).map(|package| (package["name"].as_str().unwrap(), package)).collect()
}

#[test]
fn every_room_uses_what_it_may_and_no_more() {
    let metadata = metadata();
    let rooms = rooms(&metadata);
    let known: BTreeSet<&str> = ROOMS.iter().map(|room| room.0).collect();
    assert_eq!(
        rooms.keys().copied().collect::<BTreeSet<_>>(),
        known,
        "say in the table what each room may use"
    );
    for (room, may_use) in ROOMS {
        for dependency in rooms[room]["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            let ours = dependency["path"].is_string();
            assert!(!ours || may_use.contains(&name), "{room} must not use {name}");
        }
    }
}

#[test]
fn nobody_uses_the_binary() {
    for package in metadata()["packages"].as_array().unwrap() {
        let uses = package["dependencies"].as_array().unwrap().iter().any(|used| used["name"] == "bench");
        assert!(!uses, "{} uses bench, which is no library", package["name"]);
    }
}

#[test]
fn heavy_libraries_stay_in_their_rooms() {
    let comes_with = |room: &str, library: &str| {
        let tree = cargo(&["tree", "--package", room, "--edges", "normal", "--prefix", "none"]);
        String::from_utf8(tree).unwrap().lines().any(|line| line.split(' ').next() == Some(library))
    };
    assert!(comes_with("bench-report", "kuva") && comes_with("bench-isolate", "abi_stable"));
    for room in ["bench-isolate", "bench-measure", "bench-campaign", "bench-check"] {
        for library in CHARTS.iter().chain(&TERMINAL) {
            assert!(!comes_with(room, library), "{room} comes with {library}");
        }
    }
    for room in ["bench-record", "bench-stats", "bench-judge", "bench-report"] {
        assert!(ABI.iter().all(|library| !comes_with(room, library)), "{room} comes with {ABI:?}");
    }
}

#[test]
fn only_isolate_and_the_binary_may_be_unsafe() {
    for (room, package) in rooms(&metadata()) {
        if ["bench", "bench-isolate"].contains(&room) {
            continue;
        }
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let text = std::fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{room} does not forbid unsafe code");
    }
}

#[test]
fn no_module_needs_itself() {
    let mut circles = modules::circles(&root().join("workloads/src"));
    for package in rooms(&metadata()).values() {
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        circles.extend(modules::circles(&folder.join("src")));
    }
    assert!(circles.is_empty(), "modules that need each other:\n{}", circles.join("\n"));
}

/// Which backend is meant when none is named is said once, and so is which pair.
const MAY_NAME_BACKENDS: [&str; 2] = ["pub const DEFAULT_BACKEND: ", "pub const DEFAULT_PAIR: "];

#[test]
fn no_room_knows_a_backend_by_name() {
    let plugins = std::fs::read_dir(root().join("plugins")).unwrap().map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| ["Cargo.toml", "engine.toml"].iter().any(|file| path.join(file).is_file());
    let backends = plugins.filter(|path| is_one(path) && !path.ends_with("python"));
    let names: BTreeSet<String> =
        backends.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(names.contains("ray"), "{names:?}");
    let mut found = Vec::new();
    for file in modules::sources(&root().join("host")) {
        for line in modules::code(&file).lines() {
            let allowed = MAY_NAME_BACKENDS.iter().any(|start| line.starts_with(start));
            let texts = line.split('"').skip(1).step_by(2).flat_map(modules::words);
            let named = texts.filter(|word| names.contains(*word)).count();
            if named > 0 && !allowed {
                found.push(format!("{}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rooms_that_contributors_are_sent_to_are_there() {
    let text = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    let named =
        table.iter().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(|word| word.contains('/'));
    let missing: Vec<&str> = named.clone().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "CONTRIBUTING.md sends people to {missing:?}");
    let rooms = ROOMS.iter().filter_map(|(name, _)| name.strip_prefix("bench-"));
    let unmentioned: Vec<&str> =
        rooms.filter(|room| !named.clone().any(|path| path.starts_with(&format!("host/{room}/")))).collect();
    assert!(unmentioned.is_empty(), "CONTRIBUTING.md does not say what goes into {unmentioned:?}");
}

/// Operators, sources and parameters of every workload there is, whatever its shards.
fn names_of_workloads() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for workload in WORKLOADS {
        let table = workload.parameters();
        let graph = workload.graph(&table.defaults()).unwrap();
        names.extend(graph.nodes.into_iter().filter(|node| node.role != Role::Sink).map(|node| node.name));
        names.extend(table.rows.iter().map(|row| row.name.to_owned()));
    }
    // The contract with plugins has a key of this name: see the entries of a spec that come from the plan.
    names.remove(ATTEMPTS);
    names
}

#[test]
fn no_room_knows_an_operator_or_a_parameter_by_name() {
    let names = names_of_workloads();
    assert!(names.contains("embed_q") && names.contains("mmr_lambda"), "{names:?}");
    // A name that is a word of English is one only where it is all of a text.
    let is_a_word = |name: &str| name.chars().all(|c| c.is_ascii_lowercase());
    let mut found = Vec::new();
    for file in modules::sources(&root().join("host")) {
        for line in modules::code(&file).lines() {
            let named = names.iter().find(|name| match is_a_word(name) {
                true => line.contains(&format!("\"{name}\"")),
                false => modules::words(line).any(|word| word == **name),
            });
            found.extend(named.map(|name| format!("{}: {name}: {}", file.display(), line.trim())));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
