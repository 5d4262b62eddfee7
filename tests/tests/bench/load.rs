//! Load models: a schedule that no backend can bend, and the search for what a backend sustains.

use std::fs;
use std::time::Duration;

use bench_record::histogram::{self, LatencyHistogram};
use bench_tests::{bench, folder, records, small_run, stderr, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

fn above(latencies: &LatencyHistogram, limit: Duration) -> u64 {
    let limit = limit.as_secs_f64() * 1e3;
    latencies.buckets().filter(|(ms, _)| ms.get() > limit).map(|(_, count)| count).sum()
}

/// Of all latencies.
fn sum_seconds(latencies: &LatencyHistogram) -> f64 {
    latencies.buckets().map(|(ms, count)| ms.get() / 1e3 * count as f64).sum()
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
    // A busy machine makes waits longer and never shorter, so all that follows are least values.
    // Of 100 that arrived during the stall, those of its first half waited for longer than its second.
    let half = Duration::from_millis(500);
    assert!(above(response, half) >= 45, "{}", above(response, half));
    assert!(response.max().unwrap().get() >= 990.0);
    // Their service begins when they are handed over: what they waited before, half a second each on average, is
    // in the response alone. The batch of 16 at most that the backend held was handed over before.
    let waited = sum_seconds(response) - sum_seconds(service);
    assert!(waited >= 30.0, "{waited} s");
    // They are counted as what the backend did not take in time. (What the generator is late for, the emitter's own
    // tests show, by a clock of theirs.)
    let generator = &record["extra"]["generator"];
    assert!(generator["backpressured"].as_u64().unwrap() >= 80, "{generator}");
}

/// Below the workload's own rate of 40 batches close by arrival, above it by event time, and no answer by either.
#[test]
fn answers_do_not_depend_on_the_rate() {
    let answers = |more: &[&str]| {
        let output = TempDir::new().unwrap();
        succeed(&mut small_run("local", output.path(), &[&["--num-tasks", "24"], more].concat()));
        let record = records(output.path()).remove(0);
        [record["extra"]["output_digest"].clone(), record["extra"]["items"]["completed"].clone()]
    };
    let closed = answers(&[]);
    for rate in ["10", "39", "400"] {
        for arrivals in ["fixed", "poisson"] {
            let open = answers(&["--load", "open", "--rate", rate, "--arrivals", arrivals]);
            assert_eq!(open, closed, "{rate} a second, {arrivals}");
        }
    }
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
    let mut args =
        vec!["capacity", "--slo", "p90=30s", "--slo", "p50=20s", "--trial", "1", "--precision", "0.4"];
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
    let said = bench(&args).output().unwrap();
    assert!(
        stdout(&said).contains("capacity of local") && stdout(&said).contains("stopped: "),
        "{}{}",
        stdout(&said),
        stderr(&said)
    );
    let report: Value =
        serde_json::from_slice(&fs::read(output.path().join("capacity.json")).unwrap()).unwrap();
    let steps = report["steps"].as_array().unwrap();
    // On a machine that others slow down now and then there may be no rate that two trials agree on.
    let found = report["capacity"].as_f64();
    assert_eq!(said.status.code(), Some(if found.is_some() { 0 } else { 1 }));
    if let Some(capacity) = found {
        let confirmed = steps.last().unwrap();
        assert_eq!((&confirmed["phase"], &confirmed["limit"]), (&"confirm".into(), &Value::Null));
        assert_eq!(confirmed["trial"]["rate"].as_f64(), Some(capacity));
    }
    assert_eq!(report["goal"]["and"][0]["limit_ms"], 20_000.0);
    assert!(stdout(&said).contains("for p90=30000ms and p50=20000ms"), "{}", stdout(&said));
    assert!(steps.iter().all(|step| step["trial"]["and_ms"].as_array().unwrap().len() == 1), "{report}");
    assert!(report["closed_loop_throughput"].as_f64() > Some(0.0));
    // Each trial is a record of its own, the three closed ones included.
    let records = records(output.path());
    assert_eq!(records.len(), steps.len() + 3);
    assert!(records.iter().all(|record| record["extra"]["trial"]["phase"].is_string()));
    let schema = succeed(&mut bench(&["schema", "capacity"]));
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    for required in schema["required"].as_array().unwrap() {
        assert!(report.get(required.as_str().unwrap()).is_some(), "{required}");
    }
}

#[test]
fn a_trial_that_cannot_meet_its_goal_any_more_is_ended_there_and_says_so() {
    let output = TempDir::new().unwrap();
    let dir = output.path().to_str().unwrap();
    // Nothing is answered within a microsecond: 1 % may take longer, and one item more ends the trial.
    let args =
        ["capacity", "--slo", "p99=0.001ms", "--trial", "1", "--backend", "local", "--workload", "null"];
    let said = bench(&[&args[..], &["--no-user-plugins", "--output-dir", dir]].concat()).output().unwrap();
    assert_eq!(said.status.code(), Some(1), "{}", stderr(&said));
    let report: Value =
        serde_json::from_slice(&fs::read(output.path().join("capacity.json")).unwrap()).unwrap();
    let records = records(output.path());
    let open = |record: &&Value| record["extra"]["load"]["model"] == "open";
    let trials: Vec<&Value> = records.iter().filter(open).collect();
    assert_eq!(trials.len(), report["steps"].as_array().unwrap().len());
    for (step, record) in report["steps"].as_array().unwrap().iter().zip(&trials) {
        let (ended, extra) = (&step["trial"]["ended"], &record["extra"]);
        // On a busy machine the generator may have been too late for a microsecond, too.
        assert!(["latency", "generator"].contains(&step["limit"].as_str().unwrap()), "{step}");
        let planned = extra["effective_config"]["num_tasks"].as_u64().unwrap();
        let warm_up = extra["effective_config"]["warmup_items"].as_u64().unwrap();
        let allowed = (planned - warm_up) - ((planned - warm_up) as f64 * 0.99).ceil() as u64;
        assert_eq!((ended["goal"].as_u64(), ended["allowed"].as_u64()), (Some(0), Some(allowed)));
        assert_eq!(ended["after"].as_u64(), Some(allowed + 1));
        assert!(extra["items"]["completed"].as_u64() < Some(planned), "{extra}");
        assert_eq!(
            (&extra["partial"], &extra["validity"]["findings"][0]["code"]),
            (&true.into(), &"ended_early".into())
        );
    }
}

fn sweep(root: &str, more: &[&str]) -> std::process::Command {
    bench(&[&["sweep", "--output-root", root, "--no-user-plugins"], more].concat())
}

#[test]
fn a_sweep_visits_every_point_and_resumes_only_what_is_missing() {
    let root = TempDir::new().unwrap();
    let dir = root.path().to_str().unwrap();
    let flags =
        ["--backends", "local", "--parallelism", "1,2,4", "--run-id", "s", "--quick", "--workload", "wl1"];
    let said = stdout(&succeed(&mut sweep(dir, &flags)));
    assert!(said.contains("speed-up") && said.contains("efficiency"), "{said}");
    let tree = fs::read_dir(root.path().join("run_id=s")).unwrap().next().unwrap().unwrap().path();
    let read = || -> Value { serde_json::from_slice(&fs::read(tree.join("sweep.json")).unwrap()).unwrap() };
    let points = read()["points"].as_array().unwrap().clone();
    let scales: Vec<u64> = points.iter().map(|point| point["parallelism"].as_u64().unwrap()).collect();
    assert_eq!((scales, points[0]["speed_up"].as_f64()), (vec![1, 2, 4], Some(1.0)));
    for file in ["throughput_over_parallelism.svg", "report.html", "comparison/report.html"] {
        assert!(tree.join(file).is_file(), "{file}");
    }
    // The answers are the same at every scale.
    let results = tree.join("backends/local");
    let before = records(&results);
    assert!(
        before.iter().all(|record| record["extra"]["output_digest"] == before[0]["extra"]["output_digest"])
    );
    // As if it had been stopped before its last point.
    let file = results.join("unified_results.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.lines().take(2).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    succeed(&mut sweep(dir, &["--resume", "s"]));
    let after = records(&results);
    assert_eq!(after.len(), 3);
    assert_eq!(after[..2], before[..2]);
    assert_eq!(after[2]["parallelism"], before[2]["parallelism"]);
    let again = sweep(dir, &flags).output().unwrap();
    assert!(
        !again.status.success() && stderr(&again).contains("bench sweep --resume s"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn only_a_sweep_takes_several_scales() {
    let output = bench(&["run", "--backend", "local", "--parallelism", "1,2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`bench sweep` takes several"), "{}", stderr(&output));
}

#[test]
fn a_soak_keeps_its_course_and_a_verdict_for_each_measure() {
    let output = TempDir::new().unwrap();
    let dir = output.path().to_str().unwrap();
    let flags = [
        "soak",
        "--duration",
        "6s",
        "--backend",
        "local",
        "--workload",
        "wl1",
        "--quick",
        "--no-user-plugins",
    ];
    let ended = bench(&[&flags[..], &["--output-dir", dir]].concat()).output().unwrap();
    // On a busy machine a steady backend may look like one that is not.
    assert!(matches!(ended.status.code(), Some(0 | 10)), "{}", stderr(&ended));
    let soak: Value = serde_json::from_slice(&fs::read(output.path().join("soak.json")).unwrap()).unwrap();
    let windows = soak["windows"].as_array().unwrap();
    let remembered = windows.iter().filter(|window| window["memory_mib"].as_f64() > Some(1.0)).count();
    assert!(remembered > 0, "{windows:?}");
    let measures = soak["measures"].as_array().unwrap();
    let names: Vec<&str> = measures.iter().map(|m| m["measure"].as_str().unwrap()).collect();
    assert_eq!(names, ["throughput", "latency", "memory"]);
    assert_eq!(soak["verdict"] == "worse", ended.status.code() == Some(10));
    for file in ["soak.csv", "report.html", "soak_throughput.svg", "soak_latency.svg"] {
        assert!(output.path().join(file).is_file(), "{file}");
    }
    // How often memory is looked at depends on how busy the machine is, and one point is no curve.
    assert_eq!(output.path().join("soak_memory.svg").is_file(), remembered > 1);
}

#[test]
fn a_trace_holds_the_time_of_every_operator_on_every_worker() {
    let output = TempDir::new().unwrap();
    let trace = output.path().join("trace.json");
    succeed(&mut small_run("local", output.path(), &["--trace", trace.to_str().unwrap()]));
    let record = records(output.path()).remove(0);
    let trace: Value = serde_json::from_slice(&fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    for (name, usage) in record["extra"]["operators"].as_object().unwrap() {
        let calls = events.iter().filter(|event| event["ph"] == "X" && event["name"] == name.as_str());
        let busy: f64 = calls.map(|call| call["dur"].as_f64().unwrap() / 1e6).sum();
        let wanted = usage["busy_seconds"].as_f64().unwrap();
        assert!((busy - wanted).abs() <= 1e-6 + wanted * 1e-6, "{name}: {busy} {wanted}");
    }
    let lanes = |of: &str| events.iter().filter(|event| event["name"] == of).count();
    assert!(lanes("process_name") == 1 && lanes("thread_name") >= 14);
}

#[test]
fn a_trace_for_opentelemetry_holds_the_same_calls() {
    let output = TempDir::new().unwrap();
    let file = output.path().join("trace.jsonl");
    let flags = ["--trace", file.to_str().unwrap(), "--trace-format", "otlp"];
    succeed(&mut small_run("local", output.path(), &flags));
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let spans =
        lines.iter().flat_map(|line| line["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap());
    let names: std::collections::BTreeSet<&str> = spans.map(|span| span["name"].as_str().unwrap()).collect();
    let record = records(output.path()).remove(0);
    for name in record["extra"]["operators"].as_object().unwrap().keys() {
        assert!(names.contains(name.as_str()), "{name} of {names:?}");
    }
}

#[test]
fn the_stages_of_a_run_can_be_watched() {
    let output = TempDir::new().unwrap();
    let said = stderr(&succeed(&mut small_run("local", output.path(), &["--top"])));
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("busy")).collect();
    for stage in ["embed_q", "vdb1", "join", "rerank"] {
        assert!(lines.iter().any(|line| line.trim_start().starts_with(stage)), "{stage}: {said}");
    }
    let refused = bench(&["capacity", "--slo", "p99=1s", "--backend", "local", "--top"]).output().unwrap();
    assert!(stderr(&refused).contains("use it with `bench run`"), "{}", stderr(&refused));
}

#[test]
fn a_goal_that_makes_no_sense_is_refused_with_how_to_write_it() {
    for (flags, words) in [
        (&["--slo", "fast"][..], "p99=200ms"),
        (&[], "needs a goal: --slo p99=200ms"),
        (&["--slo", "p99=1s", "--rate", "5"], "leave --load and --rate out"),
        (&["--slo", "p99=1s", "--success", "2"], "is not a share"),
    ] {
        let output = bench(&[&["capacity", "--backend", "local"], flags].concat()).output().unwrap();
        assert!(!output.status.success() && stderr(&output).contains(words), "{}", stderr(&output));
    }
}
