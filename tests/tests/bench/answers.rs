//! Runs in which nothing is answered. No answers is not an answer: not a success, not equal to anything.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bench_tests::pairs::{json, resume, tree};
use bench_tests::{bench, records, small_run, stderr, stdout, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{Asked, Reply, Service};

fn unauthorized(_: &Asked) -> Reply {
    (401, json!({"error": {"message": "the key is unknown"}}).to_string())
}

/// A page to sign in at, as proxies send it.
fn no_completion(_: &Asked) -> Reply {
    (200, "<!DOCTYPE html><html><body>Please sign in</body></html>".to_owned())
}

/// Answers once.
fn exhausted(_: &Asked) -> Reply {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    match ASKED.fetch_add(1, Ordering::Relaxed) {
        0 => (200, json!({"choices": [{"message": {"content": "An answer."}}]}).to_string()),
        _ => (401, json!({"error": {"message": "no credit left"}}).to_string()),
    }
}

fn url(answer: fn(&Asked) -> Reply) -> String {
    Service::start(answer).url()
}

const ONCE: [&str; 2] = ["--set", "request_attempts=1"];

/// A run that nothing answers, and its record.
fn unanswered(output: &Path, url: &str, more: &[&str]) -> Value {
    let failed = small_run("local", output, &["--llm-url", url]).args(ONCE).args(more).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("answered none of"), "{}", stderr(&failed));
    records(output).pop().unwrap()
}

#[test]
fn a_run_without_answers_fails_and_its_record_says_why() {
    for (answer, reason) in [(unauthorized as fn(&Asked) -> Reply, "401"), (no_completion, "sign in")] {
        let output = TempDir::new().unwrap();
        let record = unanswered(output.path(), &url(answer), &["--repeat", "3"]);
        assert_eq!((&record["success_rate"], &record["throughput"]), (&json!(0.0), &json!(0.0)));
        assert_eq!((&record["latency_p50"], &record["extra"]["output_digest"]), (&Value::Null, &Value::Null));
        let finding = &record["extra"]["validity"]["findings"][0];
        assert_eq!(finding["code"], "no_answers");
        assert!(finding["message"].as_str().unwrap().contains(reason), "{finding}");
        // Whoever answers nothing is not asked again.
        assert_eq!(records(output.path()).len(), 1);
    }
}

#[test]
fn answers_to_the_warm_up_alone_are_none() {
    let output = TempDir::new().unwrap();
    let record = unanswered(output.path(), &url(exhausted), &["--warmup-items", "100"]);
    assert!(record["extra"]["items"]["completed"].as_u64().unwrap() > 0, "{record}");
    assert_eq!(record["extra"]["output_digest"], Value::Null);
}

#[test]
fn nothing_is_concluded_from_runs_without_answers() {
    let folder = TempDir::new().unwrap();
    let [a, b, good, report] = ["a", "b", "good", "report"].map(|name| folder.path().join(name));
    unanswered(&a, &url(unauthorized), &[]);
    unanswered(&b, &url(no_completion), &[]);
    succeed(&mut small_run("local", &good, &[]));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    for (a, b) in [(&a, &b), (&a, &good), (&good, &a)] {
        let verified = bench(&["verify", &path(a), &path(b)]).output().unwrap();
        assert_eq!(verified.status.code(), Some(13), "{}", stdout(&verified));
        assert!(stdout(&verified).starts_with("not comparable: without answers"), "{}", stdout(&verified));
        let gated = bench(&["gate", "--baseline", &path(a), &path(b)]).output().unwrap();
        assert!(matches!(gated.status.code(), Some(11 | 12)), "{}", stdout(&gated));
    }
    let audited = bench(&["audit", &path(&a)]).output().unwrap();
    assert_eq!(audited.status.code(), Some(2), "{}", stderr(&audited));
    assert!(stderr(&audited).contains("came to its end with answers"), "{}", stderr(&audited));
    let compared = bench(&["compare", &path(&a), &path(&b), "-o", &path(&report)]).output().unwrap();
    assert_eq!(compared.status.code(), Some(13), "{}", stdout(&compared));
    let summary = fs::read_to_string(report.join("summary.md")).unwrap();
    assert!(summary.contains("answered no query at all") && !summary.contains(": equal"), "{summary}");
}

#[test]
fn a_pair_without_answers_fails_and_is_run_again_when_it_is_resumed() {
    let (root, plugins) = (TempDir::new().unwrap(), bench_tests::folder(&[("healthy", "healthy")]));
    let url = url(unauthorized);
    let more = ["--workload", "wl1", "--llm-url", &url, "--set", "request_attempts=1"];
    let mut command = bench(&["pair", "--backends", "local,healthy", "--run-id", "p", "--quick"]);
    command
        .args(["--no-user-plugins", "--output-root"])
        .arg(root.path())
        .arg("--plugins-dir")
        .arg(plugins.path());
    let failed = command.args(more).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    let tree = tree(root.path(), "p");
    assert!(!tree.join("manifest.json").exists() && !tree.join("comparison").exists());
    let report = json(&tree.join("failure_report.json"));
    assert_eq!(report["failed"], json!(["healthy", "local"]));
    assert_eq!(resume(root.path(), "p").output().unwrap().status.code(), Some(1));
    for backend in ["local", "healthy"] {
        let records = records(&tree.join("backends").join(backend));
        assert!(records.len() == 2 && records.iter().all(|record| record["success_rate"] == 0.0));
    }
}

#[test]
fn neither_sweep_nor_capacity_nor_soak_measures_without_answers() {
    let url = url(unauthorized);
    let common = [
        "--backend",
        "local",
        "--no-user-plugins",
        "--quick",
        "--llm-url",
        &url,
        "--set",
        "request_attempts=1",
    ];
    let open = ["--load", "open", "--rate", "20"];
    let commands: [(&[&str], &[&str]); 4] = [
        (&["sweep", "--backends", "local", "--parallelism", "1,2", "--output-root"], &common[2..]),
        (&["capacity", "--slo", "p99=1s", "--trial", "1", "--output-dir"], &common),
        (&["soak", "--duration", "2s", "--output-dir"], &common),
        (&["soak", "--duration", "2s", "--load", open[1], "--rate", open[3], "--output-dir"], &common),
    ];
    for (command, rest) in commands {
        let output = TempDir::new().unwrap();
        let failed = bench(command).arg(output.path()).args(rest).output().unwrap();
        assert_eq!(failed.status.code(), Some(1), "{command:?}: {}", stderr(&failed));
        assert!(stderr(&failed).contains("answered none of"), "{command:?}: {}", stderr(&failed));
        for file in bench_tests::pairs::files(output.path()) {
            if file.ends_with("sweep.json") {
                assert_eq!(json(&output.path().join(file))["points"], json!([]));
            } else if file.ends_with("soak.json") {
                assert_eq!(json(&output.path().join(file))["verdict"], "unknown");
            }
        }
    }
}
