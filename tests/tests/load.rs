//! Load models: a schedule that no backend can bend, and the search for what a backend sustains.

use std::fs;
use std::time::Duration;

use bench::results::histogram::{self, LatencyHistogram};
use bench_tests::{bench, folder, records, small_run, stderr, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

fn above(latencies: &LatencyHistogram, limit: Duration) -> u64 {
    let limit = limit.as_secs_f64() * 1e3;
    latencies.buckets().filter(|(ms, _)| ms.get() > limit).map(|(_, count)| count).sum()
}

/// 100 queries a second, and a backend that stands still for one second after the hundredth: a hundred
/// queries arrive meanwhile. All of them waited, though the backend was asked to work on only one.
#[test]
fn a_stall_shows_in_the_latency_of_everyone_who_waited() {
    let (output, plugins) = (TempDir::new().unwrap(), folder(&[("healthy", "healthy")]));
    let [dir, plugins] = [output.path(), plugins.path()].map(|path| path.to_str().unwrap());
    let load = ["run", "--load", "open", "--rate", "100", "--num-tasks", "300", "--workload", "null"];
    let plugin = ["--backend", "healthy", "--plugins-dir", plugins, "--backend-option", "stall_ms=1000"];
    let rest = ["--no-user-plugins", "--output-dir", dir];
    succeed(&mut bench(&[&load[..], &plugin, &rest].concat()));
    let record = records(output.path()).remove(0);
    let file = output.path().join(record["extra"]["latency_histogram"].as_str().unwrap());
    let intervals = histogram::load(&file).unwrap();
    let of = |tag: &str| &intervals.iter().find(|i| i.tag.as_deref() == Some(tag)).unwrap().latencies;
    let (response, service) = (of("response"), of("service"));
    assert_eq!((response.len(), service.len()), (300, 300));
    // Of 100 that arrived during the stall, those of its first half waited for longer than its second.
    let half = Duration::from_millis(500);
    assert!(above(response, half) >= 45, "{}", above(response, half));
    assert!(response.max().unwrap().get() >= 990.0);
    // From when they were handed over, only the batch that the backend held was slow.
    assert!(above(service, half) <= 16, "{}", above(service, half));
    // The arrivals that nobody took in time are counted, and the run says that it is no measurement.
    assert!(record["extra"]["late_arrivals"].as_u64().unwrap() >= 95, "{}", record["extra"]["late_arrivals"]);
    let findings = record["extra"]["validity"]["findings"].to_string();
    assert!(findings.contains("late_generator"), "{findings}");
}

#[test]
fn an_open_load_says_how_well_it_kept_to_its_schedule() {
    for arrivals in ["fixed", "poisson"] {
        let output = TempDir::new().unwrap();
        let more = ["--load", "open", "--rate", "400", "--arrivals", arrivals, "--workload", "null"];
        succeed(&mut small_run("local", output.path(), &more));
        let generator = records(output.path())[0]["extra"]["generator"].clone();
        let number = |key: &str| generator[key].as_f64().unwrap();
        if arrivals == "fixed" {
            assert!((number("offered_rate") - 400.0).abs() < 0.1, "{generator}");
        }
        // The schedule ends with its last arrival, so lateness moves the rate by the last one's at most.
        assert!(number("achieved_rate") > 0.0 && number("lateness_p50_ms") <= number("lateness_p99_ms"));
        assert!(number("lateness_p99_ms") <= number("lateness_max_ms") * 1.01, "{generator}");
    }
}

#[test]
fn a_closed_load_has_no_schedule_to_keep_to() {
    let output = TempDir::new().unwrap();
    succeed(&mut small_run("local", output.path(), &["--workload", "null"]));
    assert!(records(output.path())[0]["extra"].get("generator").is_none());
}

#[test]
fn capacity_is_searched_kept_and_explained() {
    let output = TempDir::new().unwrap();
    let dir = output.path().to_str().unwrap();
    let mut args = vec!["capacity", "--slo", "p90=30s", "--trial", "1", "--precision", "0.4"];
    args.extend([
        "--backend",
        "local",
        "--workload",
        "wl1",
        "--quick",
        "--no-user-plugins",
        "--output-dir",
        dir,
    ]);
    let said = succeed(&mut bench(&args));
    assert!(
        stdout(&said).contains("capacity of local") && stdout(&said).contains("stopped: "),
        "{}",
        stdout(&said)
    );
    let report: Value =
        serde_json::from_slice(&fs::read(output.path().join("capacity.json")).unwrap()).unwrap();
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["phase"], "confirm");
    assert!(
        report["capacity"].as_f64().unwrap() > 0.0
            && report["closed_loop_throughput"].as_f64().unwrap() > 0.0
    );
    // Each trial is a record of its own, the two closed ones included.
    let records = records(output.path());
    assert_eq!(records.len(), steps.len() + 2);
    assert!(records.iter().all(|record| record["extra"]["trial"]["phase"].is_string()));
    let schema = succeed(&mut bench(&["schema", "capacity"]));
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    for required in schema["required"].as_array().unwrap() {
        assert!(report.get(required.as_str().unwrap()).is_some(), "{required}");
    }
}

#[test]
fn a_goal_that_makes_no_sense_is_refused_with_how_to_write_it() {
    for (flags, words) in [
        (&["--slo", "fast"][..], "p99=200ms"),
        (&["--slo", "p99=1s", "--rate", "5"], "leave --load and --rate out"),
        (&["--slo", "p99=1s", "--success", "2"], "--success must be"),
    ] {
        let output = bench(&[&["capacity", "--backend", "local"], flags].concat()).output().unwrap();
        assert!(!output.status.success() && stderr(&output).contains(words), "{}", stderr(&output));
    }
}
