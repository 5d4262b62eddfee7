//! What a run says of itself and of the machine it ran on.

use std::fs;
use std::path::Path;

use bench_tests::pairs::json;
use bench_tests::{bench, folder, records, small_run, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

fn run(more: &[&str]) -> (TempDir, Value) {
    let output = TempDir::new().unwrap();
    succeed(&mut small_run("local", output.path(), more));
    let record = records(output.path()).remove(0);
    (output, record)
}

/// As few queries as a valid run can have.
fn short() -> Value {
    let output = TempDir::new().unwrap();
    let folder = output.path().to_str().unwrap();
    let args =
        ["run", "--backend", "local", "--no-user-plugins", "--num-tasks", "20", "--output-dir", folder];
    succeed(&mut bench(
        &[&args[..], &["--set", "vdb1_corpus_size=1000", "--set", "vdb2_corpus_size=1000"]].concat(),
    ));
    records(output.path()).remove(0)
}

#[test]
fn what_disturbed_a_run_is_a_share_or_has_a_reason() {
    for record in [short(), run(&[]).1] {
        let disturbance = &record["extra"]["disturbance"];
        assert!(disturbance["window_seconds"].as_f64() > Some(0.0), "{disturbance}");
        assert!(disturbance["own"].as_f64() > Some(0.0), "{disturbance}");
        for figure in ["steal", "others"] {
            let within = disturbance["resolution"][figure].as_f64().unwrap();
            let share = disturbance[figure].as_f64();
            let reason = disturbance["unknown"][figure].as_str();
            assert!((0.0..=1.0).contains(&within), "{disturbance}");
            assert!(share.is_none_or(|share| (0.0..=1.0).contains(&share)), "{disturbance}");
            assert_eq!(share.is_none(), reason.is_some(), "{disturbance}");
            assert!(reason.is_none_or(|reason| reason.contains("too short")), "{disturbance}");
        }
    }
}

#[test]
fn a_short_run_was_looked_at_and_used_something() {
    let record = short();
    let extra = &record["extra"];
    assert!(extra["processes_peak"].as_u64() >= Some(1), "{extra}");
    assert!(extra["memory_peak_bytes"].as_u64() > Some(1 << 20), "{extra}");
    assert!(extra["cpu_seconds"].as_f64() > Some(0.0), "{extra}");
    // Every process of `local` has a parent that waits for it.
    assert_eq!(extra["cpu_seconds_sampled"], 0.0);
}

#[test]
fn the_manifest_counts_the_items_of_the_plan_and_the_batches_of_those_that_are_timed() {
    let (output, _) = run(&["--warmup-items", "20"]);
    let plan = &json(&output.path().join("repro_manifest.json"))["input_plan"];
    // 120 queries, 100 of them timed, in batches of 16.
    assert_eq!((plan["items"].as_u64(), plan["batches"].as_u64()), (Some(120), Some(7)));
    let schema: Value = serde_json::from_str(&stdout(&succeed(&mut bench(&["schema", "manifest"])))).unwrap();
    let text = schema.to_string();
    assert!(text.contains("warm-up and timed ones"), "{text}");
}

#[test]
fn a_report_draws_its_latencies_from_the_histogram_log() {
    let (output, record) = run(&[]);
    fs::remove_file(output.path().join(record["extra"]["items_file"].as_str().unwrap())).unwrap();
    let report = TempDir::new().unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    succeed(&mut bench(&["compare", &path(output.path()), "--output-dir", &path(report.path())]));
    let summary = fs::read_to_string(report.path().join("summary.md")).unwrap();
    let (_, latencies) = summary.split_once("Latency Percentiles").expect("there are latencies");
    assert!(latencies.contains("| local | 120 |"), "{summary}");
}

/// A run whose first 25 batches of 250 take twenty times as long as the others, and its latencies in the order of its
/// answers, as its items file has them.
fn slow_start(more: &[&str]) -> (Value, Vec<String>) {
    let (output, plugins) = (TempDir::new().unwrap(), folder(&[("healthy", "healthy")]));
    let plugins = ["--plugins-dir", plugins.path().to_str().unwrap()];
    let args = [&["--workload", "null", "--num-tasks", "4000"], &plugins[..], more].concat();
    succeed(small_run("healthy", output.path(), &args).env("SLOW_START", "25"));
    let record = records(output.path()).remove(0);
    let items =
        fs::read_to_string(output.path().join(record["extra"]["items_file"].as_str().unwrap())).unwrap();
    let latencies = items.lines().skip(1).map(|row| row.split(',').nth(3).unwrap().to_owned()).collect();
    (record, latencies)
}

#[test]
fn with_warmup_auto_only_what_follows_the_warm_up_is_timed() {
    // How long a batch takes is the machine's: what holds is that the figures follow from where the run says it ended.
    let cut = |record: &Value| record["extra"]["steady"]["warmup_items"].as_u64().filter(|items| *items > 0);
    let runs = (0..10).map(|_| slow_start(&["--warmup", "auto"]));
    let (record, latencies) =
        runs.into_iter().find(|(record, _)| cut(record).is_some()).expect("a slow start");
    let (warmup, extra) = (cut(&record).unwrap(), &record["extra"]);
    assert_eq!((extra["steady"]["verdict"].as_str(), latencies.len()), (Some("steady"), 4000), "{extra}");
    assert_eq!(extra["items"]["warmup"].as_u64(), Some(warmup));
    assert_eq!(extra["items"]["timed"].as_u64(), Some(4000 - warmup));
    let (before, after) = latencies.split_at(warmup as usize);
    assert!(before.iter().all(String::is_empty), "warm-up has no latency");
    assert!(after.iter().all(|latency| latency.parse::<f64>().is_ok()), "what follows has one");
    let whole = 4000.0 / record["duration_seconds"].as_f64().unwrap();
    assert!(record["throughput"].as_f64() > Some(whole), "the slow start is in the throughput: {record}");
    assert_eq!(extra["effective_config"]["warmup"], "auto");
}

#[test]
fn without_it_all_is_timed_and_the_record_says_what_was_warm_up() {
    let (record, latencies) = slow_start(&[]);
    let extra = &record["extra"];
    assert_eq!((extra["items"]["warmup"].as_u64(), extra["items"]["timed"].as_u64()), (Some(0), Some(4000)));
    assert!(latencies.iter().all(|latency| !latency.is_empty()));
    assert_ne!(extra["steady"]["verdict"], "too_short", "it takes 0.7 s at least: {extra}");
    assert_eq!(extra["effective_config"].get("warmup"), None);
}
