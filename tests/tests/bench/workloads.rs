//! The family of workloads: what they are, and that their answers depend on nothing but the seed.

use bench_tests::{bench, digest, records, small_run, stderr, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

fn answers(workload: &str, more: &[&str]) -> String {
    let output = TempDir::new().unwrap();
    let args = [&["--workload", workload], more].concat();
    succeed(&mut small_run("local", output.path(), &args));
    let items = records(output.path())[0]["extra"]["items"].clone();
    assert_eq!(
        (items["emitted"].as_u64(), items["completed"].as_u64()),
        (Some(120), Some(120)),
        "{workload}"
    );
    digest(output.path())
}

#[test]
fn the_answers_do_not_depend_on_parallelism_or_batches() {
    for workload in ["wl1", "wl2", "wl3"] {
        let base = answers(workload, &["--parallelism", "1"]);
        for more in [
            &["--parallelism", "2", "--parity-batch-size", "1"][..],
            &["--parallelism", "8", "--parity-batch-size", "16"],
        ] {
            assert_eq!(answers(workload, more), base, "{workload} {more:?}");
        }
    }
}

#[test]
fn searching_more_changes_the_answers_and_batching_does_not() {
    let [one, two, three, four] = ["wl1", "wl2", "wl3", "wl4"].map(|workload| answers(workload, &[]));
    assert!(one != two && two != three && one != three);
    // The same searches and ranking, once over a three-way join and once behind a window join and in
    // batches: what a question matched in the window is recorded, and is no part of its answer.
    assert_eq!(two, four);
}

#[test]
fn the_answers_do_not_depend_on_the_shards() {
    for workload in ["wl1", "wl2", "wl3", "wl4", "null"] {
        let whole = answers(workload, &[]);
        for (shards, parallelism) in [("2", "1"), ("3", "4")] {
            let sharded = answers(workload, &["--corpus-shards", shards, "--parallelism", parallelism]);
            assert_eq!(sharded, whole, "{workload} in {shards} shards");
        }
    }
}

#[test]
fn a_query_that_one_shard_fails_is_one_failed_query() {
    let output = TempDir::new().unwrap();
    let fault = ["--corpus-shards", "3", "--set", "fault=raise:vdb2_shard1:7"];
    succeed(&mut small_run("local", output.path(), &fault));
    let items = &records(output.path())[0]["extra"]["items"];
    assert_eq!((items["completed"].as_u64(), items["failed"].as_u64()), (Some(119), Some(1)));
}

#[test]
fn every_operator_of_a_workload_sees_each_query_once() {
    for (workload, count, joins) in [("wl1", 7, false), ("wl2", 10, false), ("wl3", 10, true)] {
        let output = TempDir::new().unwrap();
        succeed(&mut small_run("local", output.path(), &["--workload", workload]));
        let record = records(output.path()).remove(0);
        let operators = record["extra"]["operators"].as_object().unwrap();
        assert_eq!(operators.len(), count, "{workload}");
        for (name, usage) in operators.iter().filter(|(name, _)| *name != "embed_d") {
            assert_eq!(usage["records"].as_u64(), Some(120), "{workload} {name}");
        }
        assert_eq!(operators.contains_key("embed_d"), joins);
        assert!(joins || record["extra"]["items"]["join_empty"] == 0);
        let items =
            std::fs::read_to_string(output.path().join(record["extra"]["items_file"].as_str().unwrap()));
        let items = items.unwrap();
        let head = items.lines().next().unwrap();
        assert!(head.starts_with("query_id,ok,digest,latency_ms,embed_q,"), "{head}");
        // Every stage of every query left its digest in the column of its own name.
        let empty = items.lines().skip(1).filter(|line| line.split(',').skip(4).any(str::is_empty)).count();
        assert_eq!(empty, if joins { 120 - rows_with_documents(&items) } else { 0 });
    }
}

/// Documents end in the join: their spans ride on some queries only.
fn rows_with_documents(items: &str) -> usize {
    let column = items.lines().next().unwrap().split(',').position(|name| name == "embed_d").unwrap();
    items.lines().skip(1).filter(|line| !line.split(',').nth(column).unwrap().is_empty()).count()
}

#[test]
fn workloads_are_listed_and_drawn() {
    let listed = succeed(&mut bench(&["workloads", "list", "--json"]));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["wl1", "wl2", "wl3", "wl4", "null"]);
    let text = stdout(&succeed(&mut bench(&["workloads", "describe", "wl4"])));
    assert!(
        text.contains("│") && text.contains("category_batch") && text.contains("broadcast from embed_d"),
        "{text}"
    );
    let svg = stdout(&succeed(&mut bench(&["workloads", "describe", "wl2", "--format", "svg"])));
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && !svg.contains("href"), "{svg}");
    for (set, nodes) in [("seed=1", None), ("vdb_shards=1", Some(9)), ("vdb_shards=3", Some(12))] {
        let args = ["workloads", "describe", "wl1", "--format", "json", "--set", set];
        let described = bench(&args).output().unwrap();
        let graph: Option<Value> = serde_json::from_slice(&described.stdout).ok();
        assert_eq!(graph.map(|graph| graph["nodes"].as_array().unwrap().len()), nodes, "{set}");
    }
}

#[test]
fn an_unknown_workload_is_answered_with_those_there_are() {
    let output = bench(&["workloads", "describe", "wl9"]).output().unwrap();
    let text = stderr(&output);
    assert!(
        !output.status.success() && text.contains("wl1") && text.contains("bench workloads list"),
        "{text}"
    );
}
