//! `bench run` on the backends that need nothing installed.

use std::fs;
use std::path::Path;

use bench_tests::{bench, digest, folder, records, small_run, staged, stderr, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

fn output() -> TempDir {
    TempDir::new().unwrap()
}

fn run(more: &[&str]) -> (TempDir, Value) {
    let output = output();
    succeed(&mut small_run("local", output.path(), more));
    let record = records(output.path()).remove(0);
    (output, record)
}

#[test]
fn a_run_leaves_the_three_artefacts_with_measured_values() {
    let (output, record) = run(&[]);
    let keys: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "backend",
        "workload",
        "run_id",
        "seed",
        "nodes",
        "parallelism",
        "throughput",
        "latency_p50",
        "latency_p95",
        "latency_p99",
        "success_rate",
        "duration_seconds",
        "timestamp",
        "config_hash",
        "extra",
    ];
    assert_eq!(keys, expected);
    let number = |key: &str| record[key].as_f64().unwrap();
    assert!(number("throughput") > 0.0);
    assert!(0.0 < number("latency_p50") && number("latency_p50") <= number("latency_p95"));
    assert!(number("latency_p95") <= number("latency_p99"));
    assert_eq!(number("success_rate"), 1.0);

    let manifest = fs::read_to_string(output.path().join("repro_manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["config_hash"], record["config_hash"]);
    let first: Vec<&str> = manifest.as_object().unwrap().keys().take(5).map(String::as_str).collect();
    assert_eq!(
        first,
        ["seed", "config_hash", "warmup_items", "parity_batch_size", "deterministic_shuffle_version"]
    );

    let csv = fs::read_to_string(output.path().join("unified_results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 2);
    assert!(csv.starts_with("backend,workload,run_id,seed,nodes,parallelism,throughput,"));
    for file in ["items_file", "latency_histogram"] {
        assert!(output.path().join(record["extra"][file].as_str().unwrap()).is_file());
    }
}

#[test]
fn items_in_equal_items_out_and_every_operator_saw_each_query_once() {
    let (_output, record) = run(&[]);
    let items = &record["extra"]["items"];
    assert_eq!((items["emitted"].as_u64(), items["completed"].as_u64()), (Some(120), Some(120)));
    let operators = record["extra"]["operators"].as_object().unwrap();
    assert_eq!(operators.len(), 14);
    for (name, usage) in operators.iter().filter(|(name, _)| *name != "embed_d") {
        assert_eq!(usage["records"].as_u64(), Some(120), "{name}");
    }
    // 119 / 40 s of event time at 25 documents a second, and the one at time 0.
    assert_eq!(operators["embed_d"]["records"].as_u64(), Some(75));
}

#[test]
fn the_time_of_a_query_is_attributed_once_in_all_and_per_stage() {
    let (_output, record) = run(&[]);
    let attribution = &record["extra"]["attribution"];
    let stages = attribution["stages"].as_object().unwrap();
    assert_eq!(stages.len(), 15, "14 operators and the sink");
    for part in ["operator_seconds", "queueing_seconds", "transfer_seconds", "overhead_seconds"] {
        let sum: f64 = stages.values().map(|stage| stage[part].as_f64().unwrap()).sum();
        assert!((sum - attribution[part].as_f64().unwrap()).abs() < 1e-9, "{part}");
    }
    assert!(attribution["operator_seconds"].as_f64() > Some(0.0));
    assert_eq!(attribution["transfer_seconds"], 0.0, "`local` is one process");
}

#[test]
fn the_answers_do_not_depend_on_parallelism_batches_cores_or_simd() {
    let base = digest(run(&[]).0.path());
    for more in [["--parallelism", "1"], ["--parallelism", "8"], ["--parity-batch-size", "1"]] {
        assert_eq!(digest(run(&more).0.path()), base, "{more:?}");
    }
    for kernel in bench_workloads::vector::kernel_names() {
        let forced = output();
        succeed(small_run("local", forced.path(), &[]).env("BENCH_SIMD", kernel));
        assert_eq!(digest(forced.path()), base, "{kernel}");
        assert_eq!(records(forced.path())[0]["extra"]["simd"], kernel);
    }
    let one_core = output();
    let inner = small_run("local", one_core.path(), &[]);
    let mut pinned = std::process::Command::new("taskset");
    pinned.args(["-c", "0"]).arg(inner.get_program()).args(inner.get_args());
    pinned.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    succeed(&mut pinned);
    assert_eq!(digest(one_core.path()), base);
}

#[test]
fn another_seed_gives_other_answers() {
    let (one, a) = run(&[]);
    let (two, b) = run(&["--seed", "43"]);
    assert_ne!(digest(one.path()), digest(two.path()));
    assert_ne!(a["config_hash"], b["config_hash"]);
}

#[test]
fn repeats_share_a_configuration_and_a_run_id() {
    let output = output();
    succeed(&mut small_run("local", output.path(), &["--repeat", "3", "--run-id", "three"]));
    let records = records(output.path());
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|r| r["run_id"] == "three" && r["config_hash"] == records[0]["config_hash"]));
    let csv = fs::read_to_string(output.path().join("unified_results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 4);
}

#[test]
fn warm_up_items_are_processed_and_not_timed() {
    let (_output, record) = run(&["--warmup-items", "40"]);
    let items = &record["extra"]["items"];
    assert_eq!((items["completed"].as_u64(), items["timed"].as_u64()), (Some(120), Some(80)));
}

#[test]
fn the_null_workload_passes_every_query_through_the_same_graph() {
    let (_output, record) = run(&["--workload", "null"]);
    assert_eq!(record["workload"], "null");
    let operators = record["extra"]["operators"].as_object().unwrap();
    assert!(operators.iter().filter(|(name, _)| *name != "embed_d").all(|(_, u)| u["records"] == 120));
}

#[test]
fn a_third_partys_plugin_is_listed_and_runs_without_rebuilding_the_host() {
    let plugins = folder(&[("healthy", "healthy")]);
    let dir = plugins.path().to_str().unwrap();
    let listed = succeed(&mut bench(&["backends", "list", "--no-user-plugins", "--plugins-dir", dir]));
    assert!(stdout(&listed).contains("healthy") && stdout(&listed).contains("local"), "{}", stdout(&listed));
    let theirs = output();
    succeed(&mut small_run("healthy", theirs.path(), &["--plugins-dir", dir]));
    assert_eq!(digest(theirs.path()), digest(run(&[]).0.path()));
}

#[test]
fn without_a_subcommand_bench_runs() {
    let output = output();
    let dir = output.path().to_str().unwrap();
    succeed(&mut bench(&["--backend", "local", "--quick", "-o", dir, "--no-user-plugins"]));
    assert_eq!(records(output.path())[0]["extra"]["items"]["emitted"], 20);
}

#[test]
fn an_unknown_backend_names_the_nearest_and_has_its_own_exit_code() {
    let refused = bench(&["run", "--backend", "locl", "--no-user-plugins"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("local"), "{}", stderr(&refused));
}

#[test]
fn wrong_values_are_one_clear_error() {
    for (args, expected) in [
        (["--num-tasks", "0"], "--num-tasks must be at least 1"),
        (["--set", "mmr_lamda=0.5"], "did you mean 'mmr_lambda'"),
        (["--set", "dbscan_eps=9"], "must be above 0 and below 2"),
        (["--warmup-items", "100"], "nothing is left to time"),
        (["--run-id", "../escape"], "--run-id may hold"),
        (["--corpus", "/no/such/folder"], "/no/such/folder"),
        (["--config", "/no/such/file.toml"], "/no/such/file.toml"),
        (["--workload", "wl9"], "there is no workload 'wl9'"),
        (["--max-in-flight", "10"], "--max-in-flight must be at least"),
        (["--memory-limit", "0"], "'0' is too little, 64 MiB is the least"),
        (["--memory-limit", "99999999999999999"], "too large, 1099511627776 MiB is the most"),
    ] {
        let mut command = bench(&["run", "--backend", "local", "--no-user-plugins"]);
        let refused = command.args(args).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(expected), "{args:?}: {}", stderr(&refused));
        assert!(!stderr(&refused).contains("panicked"), "{}", stderr(&refused));
    }
}

#[test]
fn flags_beat_the_file_and_the_file_beats_the_defaults() {
    let folder = output();
    let file = folder.path().join("bench.toml");
    fs::write(&file, "num_tasks = 7\nseed = 5\nmmr_lambda = 0.25\njoin_threshold = 0.5\n").unwrap();
    let mut command = bench(&["run", "--backend", "local", "--no-user-plugins", "--dry-run", "--seed", "6"]);
    command.args(["--set", "join_threshold=0.75", "--config"]).arg(&file);
    let shown: Value = serde_json::from_slice(&succeed(&mut command).stdout).unwrap();
    let config = &shown["effective_config"];
    assert_eq!((config["num_tasks"].as_u64(), config["seed"].as_u64()), (Some(7), Some(6)));
    assert_eq!(config["parameters"]["mmr_lambda"], 0.25);
    assert_eq!(config["parameters"]["join_threshold"], 0.75);
    assert_eq!(shown["backend"]["ready"], true);
    assert_eq!(shown["config_hash"].as_str().unwrap().len(), 64);
}

#[test]
fn a_failing_record_fails_alone_and_a_second_attempt_saves_it() {
    let (_failing, record) = run(&["--set", "fault=raise:vdb1:7"]);
    assert_eq!(record["extra"]["items"]["failed"], 1);
    assert!((record["success_rate"].as_f64().unwrap() - 119.0 / 120.0).abs() < 1e-12);
    assert!(record["extra"]["failure_reasons"][0].as_str().unwrap().contains("injected fault at record 7"));
    let (saved, record) = run(&["--set", "fault=raise:vdb1:7:2", "--retries", "2"]);
    assert_eq!(record["extra"]["items"]["failed"], 0);
    assert_eq!(digest(saved.path()), digest(run(&[]).0.path()));
}

#[test]
fn an_operator_that_never_returns_ends_with_the_time_out() {
    let output = output();
    let mut command = small_run("local", output.path(), &["--set", "fault=hang:dedup:3", "--timeout", "10"]);
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(5), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("did not finish `run`"), "{}", stderr(&ended));
    assert!(!output.path().join("unified_results.jsonl").exists());
}

#[test]
fn an_open_load_reports_its_rate() {
    let (_output, record) = run(&["--load", "open", "--rate", "200", "--workload", "null"]);
    let offered = record["extra"]["generator"]["offered_rate"].as_f64().unwrap();
    assert!((offered - 200.0).abs() < 0.1, "{offered}");
    assert_eq!(
        (&record["extra"]["load"]["model"], &record["extra"]["load"]["rate"]),
        (&"open".into(), &200.0.into())
    );
}

#[test]
fn json_output_is_the_record() {
    let output = output();
    let printed = succeed(&mut small_run("local", output.path(), &["--json"]));
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed[0], records(output.path())[0]);
}

#[test]
fn the_staged_folder_holds_what_a_user_needs() {
    for file in
        ["bin/bench", "plugins/libbackend_local.so", "lib/libbench_workloads.so", "include/bench_workloads.h"]
    {
        assert!(Path::new(&staged()).join(file).is_file(), "{file}");
    }
}

#[test]
fn nodes_that_a_backend_has_not_are_refused_as_the_users_mistake() {
    let output = output();
    let run = small_run("local", output.path(), &["--nodes", "3"]).output().unwrap();
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert!(stderr(&run).contains("cannot use 3 nodes: leave --nodes at 1"), "{}", stderr(&run));
    assert!(!stderr(&run).contains("plugin's author"), "{}", stderr(&run));
}

#[test]
fn nodes_that_were_not_there_are_in_no_record() {
    let (folder, output) = (folder(&[("workers_c", "workers_c")]), output());
    let plugins = folder.path().to_str().unwrap();
    for (lie, told) in [
        ("nodes:take", "does not say in the metric `nodes`"),
        ("nodes:one", "is on two nodes"),
        ("nodes:idle", "operators ran on 2: `a`, `b`"),
    ] {
        let mut run = small_run("workers_c", output.path(), &["--nodes", "3", "--plugins-dir", plugins]);
        let run = run.env("HOSTILE", lie).output().unwrap();
        assert_eq!(run.status.code(), Some(6), "{lie}: {}", stderr(&run));
        assert!(stderr(&run).contains(told), "{lie}: {}", stderr(&run));
        assert!(!output.path().join("unified_results.jsonl").exists(), "{lie}");
    }
}
