//! `bench pair`, `compare`, `verify` and `gate` on backends that need nothing installed.

use std::fs;
use std::path::Path;

use bench_tests::pairs::{json, pair, resume, text, tree};
use bench_tests::{bench, digest, folder, records, small_run, stderr, stdout, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

fn output() -> TempDir {
    TempDir::new().unwrap()
}

fn write(folder: &Path, records: &[Value]) {
    fs::create_dir_all(folder).unwrap();
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    fs::write(folder.join("unified_results.jsonl"), lines).unwrap();
}

#[test]
fn a_pair_until_it_is_known_ends_at_its_largest_number_and_its_records_say_how_they_came_about() {
    let (root, plugins) = (output(), folder(&[("healthy", "healthy")]));
    let known = |id, flags: &[&str]| pair(root.path(), plugins.path(), "local,healthy", id, flags);
    let mut watched = known("p", &["--until-known", "--max-repeat", "2", "--json"]);
    let found: Value = serde_json::from_str(&stdout(&succeed(&mut watched))).unwrap();
    let tree = tree(root.path(), "p");
    for backend in ["local", "healthy"] {
        let records = records(&tree.join("backends").join(backend));
        assert_eq!(records.len(), 2);
        assert!(records.iter().all(|record| record["extra"]["until_known"] == true));
    }
    let summary = fs::read_to_string(tree.join("comparison/summary.md")).unwrap();
    assert!(summary.contains("hold at every look"), "{summary}");
    assert_eq!(found["config"]["repeat"], 2);
    let both = known("q", &["--until-known", "--repeat", "2"]).output().unwrap();
    assert_eq!(both.status.code(), Some(2));
    assert!(stderr(&both).contains("give --max-repeat instead"), "{}", stderr(&both));
    let alone = known("q", &["--max-repeat", "2"]).output().unwrap();
    assert!(alone.status.code() == Some(2) && stderr(&alone).contains("--until-known"), "{}", stderr(&alone));
}

#[test]
fn until_it_is_known_nobody_runs_on_alone_when_the_other_failed() {
    let (root, plugins) = (output(), folder(&[("hostile", "hostile")]));
    let mut command = pair(root.path(), plugins.path(), "local,hostile", "w", &["--until-known"]);
    let failed = command.env("HOSTILE", "run:exit0").output().unwrap();
    let said = stderr(&failed);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("failed: hostile; so that nothing can be known any more"), "{said}");
    let kept = tree(root.path(), "w").join("backends/local/unified_results.jsonl");
    let runs = fs::read_to_string(kept).unwrap_or_default().lines().count();
    assert!(runs <= 1, "of sixty pairs {runs} were run");
}

#[test]
fn a_pair_leaves_the_whole_tree_with_equal_answers() {
    let (root, plugins) = (output(), folder(&[("healthy", "healthy")]));
    succeed(&mut pair(root.path(), plugins.path(), "local,healthy", "p", &["--repeat", "2"]));
    let tree = tree(root.path(), "p");
    let files = [
        "backends/local/unified_results.jsonl",
        "backends/local/unified_results.csv",
        "backends/healthy/unified_results.jsonl",
        "backends/healthy/unified_results.csv",
        "comparison/summary.md",
        "comparison/comparison.csv",
        "comparison/report.html",
        "comparison/throughput_comparison.png",
        "comparison/latency_p95_p99_comparison.png",
        "logs/local.log",
        "logs/healthy.log",
        "logs/compare.log",
        "manifest.json",
    ];
    for file in files {
        assert!(fs::metadata(tree.join(file)).unwrap().len() > 0, "{file}");
    }
    assert!(!tree.join("failure_report.json").exists());
    let hash = tree.file_name().unwrap().to_str().unwrap().strip_prefix("config_hash=").unwrap().to_owned();
    assert_eq!(hash.len(), 12);
    let of = |backend: &str| records(&tree.join("backends").join(backend));
    let (local, healthy) = (of("local"), of("healthy"));
    for (pair, both) in local.iter().zip(&healthy).enumerate() {
        let [first, second] = [both.0, both.1].map(|record| {
            let extra = &record["extra"];
            assert_eq!(
                (record["run_id"].as_str(), extra["pair_index"].as_u64()),
                (Some("p"), Some(pair as u64))
            );
            assert_eq!(extra["scheduler"], "fifo");
            assert!(extra["drawn_from"]["config_hash"].as_str().unwrap().starts_with(&hash));
            assert!(extra["layout"]["environment_bytes"].as_u64() < Some(4096), "{extra}");
            // The first pair has the seed that was given, and another its own.
            assert_eq!(record["seed"] == 42, pair == 0);
            assert_eq!(record["config_hash"].as_str().unwrap().starts_with(&hash), pair == 0);
            [&record["seed"], &record["config_hash"], &extra["output_digest"]]
        });
        assert_eq!(first, second, "both sides do the same");
    }
    assert_eq!((local.len(), healthy.len()), (2, 2));
    let turns: std::collections::BTreeSet<_> =
        [&local[0], &healthy[0]].map(|record| record["extra"]["layout"]["turn"].as_u64()).into();
    assert_eq!(turns, [Some(0), Some(1)].into());
    let manifest = json(&tree.join("manifest.json"));
    let keys: Vec<&str> = manifest.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["status", "started_at", "finished_at", "run_id", "config_hash", "config", "paths"]);
    assert_eq!((&manifest["status"], &manifest["config"]["items"]), (&json!("success"), &json!(20)));
    for (name, path) in manifest["paths"].as_object().unwrap() {
        assert!(Path::new(path.as_str().unwrap()).is_file(), "{name}");
    }
    let log = fs::read_to_string(tree.join("logs/local.log")).unwrap();
    assert!(log.starts_with("$ bench pair "), "{log}");
    for part in ["\n\n[stdout]\n", "\n[stderr]\n", "\n[returncode] 0\n"] {
        assert_eq!(log.matches(part).count(), 2, "{part:?} in {log}");
    }
    let again = pair(root.path(), plugins.path(), "local,healthy", "p", &["--repeat", "2"]).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", stderr(&again));
    assert!(stderr(&again).contains("--resume p"), "{}", stderr(&again));
    // Nothing is left to run: the same records, and the reports anew.
    succeed(&mut resume(root.path(), "p"));
    assert_eq!(records(&tree.join("backends/local")).len(), 2);
}

#[test]
fn one_backend_against_itself_has_two_arms() {
    let (root, plugins) = (output(), output());
    succeed(&mut pair(root.path(), plugins.path(), "local", "aa", &["--aa", "--repeat", "3"]));
    let records = records(&tree(root.path(), "aa").join("backends/local"));
    let mut places: Vec<_> = records
        .iter()
        .map(|r| (r["extra"]["pair_index"].as_u64().unwrap(), r["extra"]["arm"].as_str().unwrap()))
        .collect();
    places.sort_unstable();
    assert_eq!(places, [(0, "a"), (0, "b"), (1, "a"), (1, "b"), (2, "a"), (2, "b")]);
    let summary = fs::read_to_string(tree(root.path(), "aa").join("comparison/summary.md")).unwrap();
    assert!(summary.contains("seeds drawn from 42"), "{summary}");
}

#[test]
fn after_the_pairs_the_latency_of_both_is_measured_at_one_rate() {
    let (root, plugins) = (output(), folder(&[("healthy", "healthy")]));
    // One of them stands still in each run, so that their rates are far apart.
    let flags =
        ["--repeat", "2", "--latency-at", "50%", "--num-tasks", "2000", "--backend-option", "stall_ms=500"];
    succeed(&mut pair(root.path(), plugins.path(), "local,healthy", "l", &flags));
    let tree = tree(root.path(), "l");
    let of = |backend: &str| records(&tree.join("backends").join(backend));
    let mean = |records: &[Value]| {
        let closed = records.iter().filter(|record| record["extra"]["load"]["model"] == "closed");
        let rates: Vec<f64> = closed.map(|record| record["throughput"].as_f64().unwrap()).collect();
        assert_eq!(rates.len(), 2);
        rates.iter().sum::<f64>() / 2.0
    };
    let (local, healthy) = (of("local"), of("healthy"));
    let slowest = mean(&local).min(mean(&healthy));
    let open = local.iter().chain(&healthy).filter(|record| record["extra"]["equal_rate"] == true);
    let rates: Vec<f64> = open.map(|record| record["extra"]["load"]["rate"].as_f64().unwrap()).collect();
    assert!(rates.len() == 4 && rates.iter().all(|rate| *rate == rates[0]), "{rates:?}");
    assert!((rates[0] / slowest - 0.5).abs() < 0.005, "{} of {slowest}", rates[0]);
    // Whoever resumes has nothing left to do.
    succeed(&mut resume(root.path(), "l"));
    assert_eq!((of("local").len(), of("healthy").len()), (4, 4));
    let refused =
        pair(root.path(), plugins.path(), "local,healthy", "m", &["--latency-at", "100%"]).output().unwrap();
    assert!(refused.status.code() == Some(2) && stderr(&refused).contains("below 1"), "{}", stderr(&refused));
}

#[test]
fn with_the_same_seed_all_pairs_are_the_same_work() {
    let (root, plugins) = (output(), output());
    let flags = ["--aa", "--repeat", "2", "--same-seed"];
    succeed(&mut pair(root.path(), plugins.path(), "local", "same", &flags));
    let tree = tree(root.path(), "same");
    let records = records(&tree.join("backends/local"));
    let same = |record: &Value| {
        let keys = [&record["seed"], &record["config_hash"], &record["extra"]["output_digest"]];
        keys.map(Value::clone)
    };
    assert!(
        records.len() == 4 && records.iter().all(|record| same(record) == same(&records[0])),
        "{records:?}"
    );
    assert!(records.iter().all(|record| record["extra"]["drawn_from"].is_null() && record["seed"] == 42));
    let summary = fs::read_to_string(tree.join("comparison/summary.md")).unwrap();
    assert!(summary.contains(", seed 42, config "), "{summary}");
}

#[test]
fn what_cannot_run_is_refused_before_anything_runs() {
    let (root, plugins) = (output(), folder(&[("healthy", "healthy")]));
    for (backends, more, code) in [
        ("local,nobody", &[][..], 3),
        ("local,local", &[], 2),
        ("local", &[], 2),
        ("local,healthy", &["--aa"], 2),
        ("local,healthy", &["--backend", "local"], 2),
        ("local,healthy", &["--output-dir", "x"], 2),
    ] {
        let refused = pair(root.path(), plugins.path(), backends, "no", more).output().unwrap();
        assert_eq!(refused.status.code(), Some(code), "{backends} {more:?}: {}", stderr(&refused));
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    for id in ["nothing", "../x"] {
        assert_eq!(resume(root.path(), id).output().unwrap().status.code(), Some(2));
    }
}

#[test]
fn a_backend_that_fails_leaves_the_others_records_and_a_report() {
    let (root, plugins) = (output(), folder(&[("hostile", "hostile")]));
    let mut command = pair(root.path(), plugins.path(), "local,hostile", "f", &["--repeat", "2"]);
    let failed = command.env("HOSTILE", "run:exit0").output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    let tree = tree(root.path(), "f");
    assert_eq!(records(&tree.join("backends/local")).len(), 2);
    assert!(!tree.join("manifest.json").exists());
    let report = json(&tree.join("failure_report.json"));
    assert_eq!((&report["status"], &report["failed"]), (&json!("failed"), &json!(["hostile"])));
    for key in ["started_at", "failed_at", "run_id", "config_hash", "config", "error", "logs_dir", "resume"] {
        assert!(!report[key].is_null(), "{key}");
    }
    assert!(report["error"].as_str().unwrap().starts_with("hostile: "), "{report}");
    let log = fs::read_to_string(tree.join("logs/hostile.log")).unwrap();
    assert!(log.contains("[returncode] 1\n") && tree.join("logs/local.log").is_file(), "{log}");
}

#[test]
fn compare_reads_two_runs_once_each() {
    let (runs, report) = (output(), output());
    let sub = |name: &str| runs.path().join(name);
    let plugins = folder(&[("healthy", "healthy")]);
    succeed(&mut small_run("local", &sub("a"), &["--workload", "null"]));
    let dir = text(plugins.path());
    succeed(&mut small_run("healthy", &sub("b"), &["--workload", "null", "--plugins-dir", dir]));
    // The same runs three times over, and a copy as CSV only.
    fs::create_dir(sub("copy")).unwrap();
    fs::copy(sub("a").join("unified_results.csv"), sub("copy").join("unified_results.csv")).unwrap();
    let (all, a) = (text(runs.path()).to_owned(), sub("a"));
    let args = ["compare", &all, text(&a), &all, "--output-dir", text(report.path()), "--json"];
    // On a machine with other work to do runs are INVALID.
    let price = ["--price-per-core-hour", "0.05", "--include-invalid"];
    let shown: Value = serde_json::from_slice(&succeed(bench(&args).args(price)).stdout).unwrap();
    let cost = shown["cost"].as_array().unwrap();
    assert!(cost.len() == 2 && cost[0].as_str().unwrap().starts_with("A million items cost "), "{cost:?}");
    assert_eq!(shown["principles"].as_array().unwrap().len(), 8);
    assert_eq!((&shown["records"], &shown["backends"]), (&json!(2), &json!(["healthy", "local"])));
    for file in ["summary.md", "comparison.csv", "report.html", "throughput_comparison.png"] {
        assert!(report.path().join(file).is_file(), "{file}");
    }
    let summary = fs::read_to_string(report.path().join("summary.md")).unwrap();
    for part in
        ["A million items cost ", "CPU time (s per million items)", "Principles of the SPEC Research Group"]
    {
        assert!(summary.contains(part), "{part} in {summary}");
    }
    let csv = fs::read_to_string(report.path().join("comparison.csv")).unwrap();
    assert_eq!(csv.lines().count(), 3);
    let nothing = bench(&["compare", text(report.path()), "/no/such/folder"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn verify_tells_equal_from_different_and_from_incomparable() {
    let runs = output();
    let sub = |name: &str| runs.path().join(name);
    succeed(&mut small_run("local", &sub("a"), &[]));
    succeed(&mut small_run("local", &sub("b"), &[]));
    succeed(&mut small_run("local", &sub("seed"), &["--seed", "43"]));
    let mut doctored = records(&sub("a"));
    doctored[0]["extra"]["output_digest"] = json!("0".repeat(digest(&sub("a")).len()));
    write(&sub("other"), &doctored);
    for (b, code, word) in [("b", 0, "equal"), ("seed", 13, "not comparable"), ("other", 11, "different")] {
        let (a, b) = (sub("a"), sub(b));
        let verified = bench(&["verify", text(&a), text(&b)]).output().unwrap();
        assert_eq!(verified.status.code(), Some(code), "{}", stdout(&verified));
        assert!(stdout(&verified).starts_with(word), "{}", stdout(&verified));
    }
}

#[test]
fn a_gate_until_it_is_known_runs_the_baselines_work_again_and_looks_after_every_run() {
    let runs = output();
    let sub = |name: &str| runs.path().join(name);
    succeed(&mut small_run("local", &sub("real"), &["--workload", "null"]));
    write(&sub("baseline"), &doctored(&records(&sub("real"))[0], 1.0)[..2]);
    let (baseline, current) = (sub("baseline"), sub("current"));
    let gate = |more: &[&str]| {
        let args = ["gate", "--baseline", text(&baseline), text(&current), "--no-user-plugins", "--json"];
        bench(&args).args(more).output().unwrap()
    };
    let known = gate(&["--until-known", "--max-repeat", "4"]);
    let report: Value = serde_json::from_str(&stdout(&known)).unwrap();
    let current = records(&current);
    let valid = current.iter().filter(|record| record["extra"]["validity"]["verdict"] == "VALID").count();
    // On a machine with other work to do runs are INVALID, and others are made in their place.
    match valid {
        0 => assert_eq!((known.status.code(), current.len()), (Some(12), 4), "{report}"),
        1 => assert_eq!((known.status.code(), current.len()), (Some(13), 4), "{report}"),
        _ => {
            assert_eq!(
                (known.status.code(), valid),
                (Some(13), 2),
                "no more than there are to compare with: {report}"
            );
            let check = &report["checks"][0];
            let why = check["explanation"].as_str().unwrap();
            assert!(
                check["until_known"] == true && why.contains("the 2 runs of the baseline are used up"),
                "{why}"
            );
        }
    }
    for record in current {
        assert_eq!(record["extra"]["until_known"], true);
        assert_eq!(record["config_hash"], records(&baseline)[0]["config_hash"]);
    }
    let refused = gate(&["--max-repeat", "3"]);
    assert!(
        refused.status.code() == Some(2) && stderr(&refused).contains("--until-known"),
        "{}",
        stderr(&refused)
    );
}

/// Eight runs around 100 items a second times `factor`.
fn doctored(record: &Value, factor: f64) -> Vec<Value> {
    let one = |(n, throughput): (usize, f64)| {
        let mut record = record.clone();
        record["throughput"] = json!(throughput * factor);
        record["run_id"] = json!(format!("run-{n}"));
        for latency in ["latency_p50", "latency_p95", "latency_p99"] {
            record[latency] = json!(1000.0 / (throughput * factor));
        }
        record["extra"]["validity"] = json!({"verdict": "VALID", "findings": []});
        record
    };
    [100.0, 101.0, 99.0, 100.5, 98.5, 101.5, 100.0, 99.5].into_iter().enumerate().map(one).collect()
}

#[test]
fn the_gate_has_an_exit_code_for_each_answer() {
    let runs = output();
    let sub = |name: &str| runs.path().join(name);
    succeed(&mut small_run("local", &sub("real"), &["--workload", "null"]));
    let record = records(&sub("real")).remove(0);
    let baseline = doctored(&record, 1.0);
    write(&sub("baseline"), &baseline);
    write(&sub("slow"), &doctored(&record, 0.9));
    write(&sub("one"), &doctored(&record, 0.9)[..1]);
    let change = |name: &str, change: fn(&mut Value)| {
        let mut records = baseline.clone();
        records.iter_mut().for_each(change);
        write(&sub(name), &records);
    };
    change("wrong", |record| record["extra"]["output_digest"] = json!("0"));
    change("invalid", |record| record["extra"]["validity"]["verdict"] = json!("INVALID"));
    for (current, limit, code) in [
        ("baseline", "5%", 0),
        ("slow", "5%", 10),
        ("slow", "0.15", 0),
        ("wrong", "5%", 11),
        ("invalid", "5%", 12),
        ("one", "5%", 13),
        ("slow", "5", 2),
    ] {
        let (base, now, junit) = (sub("baseline"), sub(current), sub("junit.xml"));
        let args = [
            "gate",
            "--baseline",
            text(&base),
            text(&now),
            "--max-regression",
            limit,
            "--junit",
            text(&junit),
        ];
        let judged = bench(&args).output().unwrap();
        assert_eq!(judged.status.code(), Some(code), "{current}: {}{}", stdout(&judged), stderr(&judged));
        if code == 10 {
            assert!(fs::read_to_string(junit).unwrap().contains("<failure type=\"regression\""));
        }
    }
}
