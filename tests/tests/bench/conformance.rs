//! `bench backends check`: passes on what is right, and fails what is wrong for the right reason.

use std::path::Path;

use bench_tests::rows::all_hold;
use bench_tests::runtimes::runtimes;
use bench_tests::skip::leave_out;
use bench_tests::{bench, eventually, folder, mark, marked, staged, stderr, stdout};
use serde_json::Value;
use tempfile::TempDir;

/// Runs `check` on a file, and returns its exit code and report.
fn check(plugin: &Path, wish: &str, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = bench(&["backends", "check", plugin.to_str().unwrap(), "--json"]);
    let data = std::env::var_os("BENCH_DATA_DIR").unwrap_or_default();
    let output = command.args(more).env("HOSTILE", wish).env("BENCH_DATA_DIR", data).output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code(), report.unwrap_or_else(|_| panic!("{}{}", stdout(&output), stderr(&output))))
}

fn tests(report: &Value) -> &[Value] {
    report["report"]["tests"].as_array().unwrap()
}

/// A plugin that is right: nothing is bad and nothing warns, but of the time that something took, which is the
/// machine's as much as the plugin's.
fn conforms(plugin: &Path, more: &[&str]) {
    let (code, report) = check(plugin, "", &[&["--timeout", "300"], more].concat());
    let slow = |test: &&Value| is_about_time(test);
    let fine = |test: &&Value| ["success", "skipped"].contains(&test["status"].as_str().unwrap());
    let wrong: Vec<_> = tests(&report).iter().filter(|test| !fine(test) && !slow(test)).collect();
    assert!(wrong.is_empty(), "{}: {wrong:#?}", plugin.display());
    let slow = tests(&report).iter().filter(|test| test["status"] == "failed").count();
    assert_eq!(code, Some(if slow == 0 { 0 } else { 14 }), "{}", plugin.display());
    let offline =
        |test: &&Value| test["name"] == "availability-needs-no-network" && test["status"] == "skipped";
    if let Some(test) = tests(&report).iter().find(offline) {
        leave_out(&format!("availability without a network could not be tried: {}", test["message"]));
    }
}

/// Whether a test found nothing wrong but how long it took.
fn is_about_time(test: &Value) -> bool {
    let begins = |with: &str| test["message"].as_str().unwrap().starts_with(with);
    match test["name"].as_str().unwrap() {
        "availability-is-quick" => begins("is_available took "),
        "cancellation-is-prompt" => begins("it ended ") && !begins("it ended before "),
        _ => false,
    }
}

#[test]
fn local_conforms() {
    conforms(&staged().join("plugins/libbackend_local.so"), &[]);
}

#[test]
fn the_examples_conform() {
    let names = ["example_c", "example_cpp", "example_rust"];
    let folder = folder(&names.map(|name| (name, name)));
    for name in names {
        conforms(&folder.path().join(format!("libbackend_{name}.so")), &[]);
    }
}

/// The example in Rust once more, exported by the C table instead of by abi_stable.
#[test]
fn a_plugin_in_rust_conforms_behind_the_c_table_too() {
    let folder = folder(&[("example_rust_by_c", "example_rust")]);
    let plugins = folder.path().to_str().unwrap();
    conforms(&folder.path().join("libbackend_example_rust.so"), &[]);
    let args = ["backends", "info", "example_rust", "--json", "--no-user-plugins", "--plugins-dir", plugins];
    let info: Value =
        serde_json::from_slice(&bench_tests::succeed(&mut bench_tests::bench(&args)).stdout).unwrap();
    assert_eq!(info["description"]["abi"], "c/1");
}

/// What is wrong with `wish`, as one test of the suite finds it.
struct Row(&'static str, &'static str, &'static str, &'static str, &'static str);

const GROWTH: &str = "create-and-drop-do-not-grow";
const NODES: &str = "several-nodes-or-a-clear-no";
const LOSS: &str = "a-lost-worker-is-no-lost-item";
const GOOD: &str = "retries-make-good-a-lost-worker";

/// Library, wish, test, status, and how the message begins or what it holds.
const MATRIX: &[Row] = &[
    // A Rust plugin: panics are contained by the SDK, everything else by the process.
    Row("hostile", "load:segfault", "loads", "crashed", "crashed with SIGSEGV in `load`"),
    Row(
        "hostile",
        "load:exit0",
        "loads",
        "crashed",
        "ended its process in `load` (exit code 0) without an answer",
    ),
    Row("hostile", "load:hang", "loads", "timed_out", "did not finish `load` within 10 s"),
    Row("hostile", "create:panic", "loads", "failed", "panicked in `create`: hostile on purpose"),
    Row("hostile", "load:panic", "loads", "crashed", "crashed with SIGABRT in `load`"),
    Row("hostile", "create:abort", "loads", "crashed", "crashed with SIGABRT in `create`"),
    Row("hostile", "create:hang", "loads", "timed_out", "did not finish `create` within 10 s"),
    Row(
        "hostile",
        "is_available:abort",
        "availability-is-quick",
        "crashed",
        "crashed with SIGABRT in `is_available`",
    ),
    Row(
        "hostile",
        "is_available:overflow",
        "availability-is-quick",
        "crashed",
        "crashed with SIGABRT in `is_available`",
    ),
    Row(
        "hostile",
        "is_available:hang",
        "availability-is-quick",
        "timed_out",
        "did not finish `is_available` within 10 s",
    ),
    Row(
        "hostile",
        "is_available:panic",
        "availability-explains-itself",
        "failed",
        "is_available failed: panic: hostile on purpose",
    ),
    Row("hostile", "is_available:children", "availability-starts-nothing", "failed", "processes"),
    Row(
        "hostile",
        "is_available:outlive",
        "availability-is-quick",
        "failed",
        "it left processes running: sleep",
    ),
    Row(
        "hostile",
        "is_available:closefds",
        "availability-is-quick",
        "crashed",
        "it closed the descriptor on which its answer was due",
    ),
    Row(
        "hostile",
        "is_available:garbage",
        "availability-is-quick",
        "crashed",
        "it sent a line that is not a message",
    ),
    Row("hostile", "is_available:sigterm", "availability-is-quick", "crashed", "crashed with SIGTERM"),
    Row("hostile", "extension:notjson", "requirements-are-readable", "failed", "is not of that form: EOF"),
    Row("hostile", "extension:panic", "loads", "success", ""),
    Row("hostile", "run:panic", "every-item-once", "failed", "panicked in `run`: hostile on purpose"),
    Row("hostile", "run:segfault", "every-item-once", "crashed", "crashed with SIGSEGV in `run`"),
    Row("hostile", "run:overflow", "every-item-once", "crashed", "crashed with SIGABRT in `run`"),
    Row("hostile", "run:abort", "every-item-once", "crashed", "crashed with SIGABRT in `run`"),
    Row("hostile", "run:sigterm", "every-item-once", "crashed", "crashed with SIGTERM in `run`"),
    // Which of the host's own files is missed first depends.
    Row("hostile", "run:closefds", "every-item-once", "crashed", "in `run`"),
    Row("hostile", "run:replacefds", "every-item-once", "crashed", "in `run`"),
    Row("hostile", "run:exit0", "every-item-once", "crashed", "ended its process in `run` (exit code 0)"),
    Row("hostile", "run:hang", "every-item-once", "timed_out", "did not finish `run` within 10 s"),
    Row("hostile", "run:spin", "every-item-once", "timed_out", "did not finish `run` within 10 s"),
    Row(
        "hostile",
        "run:memory",
        "every-item-once",
        "crashed",
        "ran out of memory in `run` under a limit of 256 MiB",
    ),
    Row(
        "hostile",
        "run:nothing",
        "every-item-once",
        "failed",
        "of 200 queries, 200 queries were never read from the source",
    ),
    Row("hostile", "run:flood", "prints-nothing", "warning", "it printed"),
    Row("hostile", "drop:hang", "loads", "timed_out", "its destructors did not end"),
    Row("hostile", "drop:panic", "loads", "crashed", "its process ended badly after the answer"),
    Row("hostile", "drop:segfault", "loads", "crashed", "its process ended badly after the answer: SIGSEGV"),
    // A C plugin: nothing is contained but by the process.
    Row("hostile_c", "load:abort", "loads", "crashed", "crashed with SIGABRT in `load`"),
    Row("hostile_c", "load:sigkill", "loads", "crashed", "crashed with SIGKILL in `load`"),
    Row("hostile_c", "create:refuse", "loads", "failed", "no licence found"),
    Row("hostile_c", "create:exit0", "loads", "crashed", "ended its process in `create` (exit code 0)"),
    Row("hostile_c", "is_available:invalid_utf8", "availability-explains-itself", "success", ""),
    Row(
        "hostile_c",
        "is_available:hang",
        "availability-is-quick",
        "timed_out",
        "did not finish `is_available`",
    ),
    Row("hostile_c", "is_available:handlers", "availability-is-quick", "success", ""),
    Row("hostile_c", "extension:invalid_utf8", "requirements-are-readable", "failed", "is not of that form"),
    Row("hostile_c", "run:invalid_utf8", "every-item-once", "failed", "broken \u{fffd} text"),
    Row("hostile_c", "run:status", "every-item-once", "failed", "it returned the status 4711 and no message"),
    Row("hostile_c", "run:count", "counts-are-true", "failed", "it counted 7 results where the sink got 77"),
    Row(
        "hostile_c",
        "run:drop",
        "every-item-once",
        "failed",
        "of 200 queries, 1 queries were never answered",
    ),
    Row("hostile_c", "run:duplicate", "every-item-once", "failed", "answers were duplicates"),
    Row(
        "hostile_c",
        "run:invent",
        "every-item-once",
        "failed",
        "answers were to queries that were never asked",
    ),
    Row(
        "hostile_c",
        "run:digest",
        "answers-are-right",
        "failed",
        "the answers differ from those of the reference engine, first at",
    ),
    // Reordering is allowed, everywhere and always. What is not: an answer under another query's number,
    // and operators that are finished before their inputs are.
    Row("hostile_c", "run:reorder", "every-item-once", "success", ""),
    Row("hostile_c", "run:reorder", "every-stage-is-right", "success", ""),
    Row(
        "hostile_c",
        "run:renumber",
        "answers-are-right",
        "failed",
        "a runtime may reorder records, not renumber them",
    ),
    Row("hostile_c", "run:finish_backwards", "answers-are-right", "failed", "queries were never answered"),
    Row("hostile_c", "run:garbage", "every-item-once", "failed", "malformed batch at byte 0"),
    Row(
        "hostile_c",
        "run:nan_metric",
        "account-is-readable",
        "failed",
        "states the metric `speed` as NaN, which is not JSON",
    ),
    Row(
        "hostile_c",
        "run:infinite_metric",
        "account-is-readable",
        "failed",
        "states the metric `speed` as Infinity",
    ),
    Row(
        "hostile_c",
        "run:huge_metric",
        "account-is-readable",
        "failed",
        "has 104857605 bytes of metrics, more than 1048576",
    ),
    Row(
        "hostile_c",
        "run:infinite_time",
        "account-is-readable",
        "failed",
        "states elapsed_seconds = inf, which is not a time",
    ),
    Row(
        "hostile_c",
        "run:many_metrics",
        "account-is-readable",
        "failed",
        "has 100000 metrics, more than 10000",
    ),
    Row(
        "hostile_c",
        "run:deep_metric",
        "account-is-readable",
        "failed",
        "nests the metric `deep` deeper than 64",
    ),
    Row("hostile_c", "run:long_error", "every-item-once", "failed", "xxx"),
    Row("hostile_c", "run:log_files", "every-item-once", "failed", "xxx"),
    Row("hostile_c", "run:log_link", "every-item-once", "failed", "xxx"),
    Row("hostile_c", "run:chatter", "every-item-once", "timed_out", "did not finish `run` within 10 s"),
    // Work that was not done, and times that did not pass.
    Row("hostile_c", "run:spans_none", "every-item-once", "failed", " of this run has worked on it"),
    Row(
        "hostile_c",
        "run:spans_now",
        "every-item-once",
        "failed",
        "spans that no operator of this run left on it",
    ),
    Row(
        "hostile_c",
        "run:workers",
        "every-item-once",
        "failed",
        "spans that no operator of this run left on it",
    ),
    Row(
        "hostile_c",
        "run:clock",
        "every-item-once",
        "failed",
        "the clock of its process is not the kernel's",
    ),
    Row("hostile", "run:reply", "every-item-once", "crashed", "it sent a line that is not a message"),
    Row("hostile_c", "run:children", "every-item-once", "failed", "it left processes running: 50 × sleep"),
    Row("hostile_c", "run:outlive", "every-item-once", "failed", "it left processes running: sleep"),
    Row("hostile_c", "run:handlers", "every-item-once", "success", ""),
    Row("hostile_c", "run:deaf", "every-item-once", "timed_out", "did not finish `run` within 10 s"),
    Row("hostile_c", "run:forgotten_thread", "one-item", "success", ""),
    Row("hostile_c", "drop:abort", "loads", "crashed", "its process ended badly after the answer: SIGABRT"),
    Row("hostile_c", "table:null", "loads", "failed", "bench_backend_entry_v1 returned no table"),
    Row("hostile_c", "table:magic", "loads", "failed", "and not with BENCH_BACKEND_MAGIC"),
    Row("hostile_c", "table:abi", "loads", "failed", "it speaks C ABI 2, this host 1"),
    Row("hostile_c", "table:bits", "loads", "failed", "its pointers have 32 bits, this host's 64"),
    Row("hostile_c", "table:short", "loads", "failed", "its table has"),
    // It is the ABI that decides, whatever version of the API a plugin was built against.
    Row("hostile_c", "table:older", "every-item-once", "success", ""),
    Row("hostile_c", "table:newer", "every-item-once", "success", ""),
    Row("hostile_c", "table:no_run", "loads", "failed", "its table lacks `run`"),
    Row("hostile_c", "table:no_name", "loads", "failed", "its table lacks `name`"),
    Row("hostile_c", "table:invalid_utf8", "loads", "failed", "`name` in its table is not UTF-8"),
    Row("hostile_c", "table:control", "loads", "failed", "it calls itself `../\\u{1b}[2Jevil`"),
    // What is taken each time, and what only the first times.
    Row("hostile_c", "create:descriptors", GROWTH, "failed", "open descriptors in 275 times"),
    Row("hostile_c", "create:memory", GROWTH, "failed", "KiB of memory each time"),
    Row("hostile_c", "create:warm", GROWTH, "success", ""),
    // Nodes that were asked for and not there.
    Row("hostile_c", "", NODES, "failed", "it took --nodes 3 and does not say in the metric `nodes`"),
    Row("workers_c", "", NODES, "success", ""),
    Row(
        "workers_c",
        "nodes:take",
        NODES,
        "failed",
        "it took --nodes 3 and does not say in the metric `nodes`",
    ),
    Row("workers_c", "nodes:one", NODES, "failed", "is on two nodes, `b` and another"),
    Row("workers_c", "nodes:invent", NODES, "failed", "operators ran on `b`, and no result came from there"),
    Row(
        "workers_c",
        "nodes:idle",
        NODES,
        "failed",
        "it was asked for 3 nodes, and operators ran on 2: `a`, `b`",
    ),
    // Workers that are killed.
    Row("hostile_c", "", LOSS, "skipped", "its operators run in its own process"),
    Row("workers_c", "lost:again", LOSS, "success", ""),
    Row("workers_c", "lost:say", LOSS, "success", ""),
    Row(
        "workers_c",
        "lost:mumble",
        LOSS,
        "warning",
        "does not say that a process was lost: something went wrong",
    ),
    Row(
        "workers_c",
        "lost:ignore",
        LOSS,
        "failed",
        "it reported success, but of 2000 queries, 16 queries were never",
    ),
    Row("workers_c", "lost:again", GOOD, "success", ""),
    Row(
        "workers_c",
        "lost:say",
        GOOD,
        "skipped",
        "it ends a run that lost a worker, with --retries 3 as without",
    ),
    Row(
        "workers_c",
        "lost:ignore",
        GOOD,
        "failed",
        "it reported success, but of 2000 queries, 16 queries were never",
    ),
    Row("workers_c", "lost:wait", LOSS, "timed_out", "did not finish `run` within"),
    // A C++ plugin that lets exceptions out.
    Row("hostile_cpp", "load:throw", "loads", "crashed", "crashed with SIGABRT in `load`"),
    Row(
        "hostile_cpp",
        "extension:throw",
        "requirements-are-readable",
        "crashed",
        "crashed with SIGABRT in `bench.requirements/1`",
    ),
    Row("hostile_cpp", "drop:throw", "loads", "crashed", "its process ended badly after the answer: SIGABRT"),
    Row("hostile_cpp", "create:throw", "loads", "crashed", "crashed with SIGABRT in `create`"),
    Row(
        "hostile_cpp",
        "is_available:throw",
        "availability-is-quick",
        "crashed",
        "crashed with SIGABRT in `is_available`",
    ),
    Row("hostile_cpp", "run:throw", "every-item-once", "crashed", "crashed with SIGABRT in `run`"),
    // An ABI laid out differently.
    Row(
        "stranger",
        "",
        "loads",
        "failed",
        "its types are laid out differently: mismatched type, expected RResult",
    ),
];

#[test]
fn each_misbehaviour_fails_the_right_test_for_the_right_reason_and_harms_nobody() {
    all_hold(MATRIX, wrong);
}

/// What is not as the row says.
fn wrong(Row(library, wish, test, status, message): &Row) -> Result<(), String> {
    let folder = folder(&[("healthy", "healthy"), (library, library)]);
    let (mark, temp) = (mark(), TempDir::new().unwrap());
    let plugin = folder.path().join(format!("libbackend_{library}.so"));
    let only = format!("^{test}$");
    let mut command = bench(&["backends", "check", plugin.to_str().unwrap(), "--json"]);
    // What hangs is given up on soon; what does not gets time, because the machine may be busy.
    let timeout = if *status == "timed_out" { "10" } else { "300" };
    command.args(["--only", &only, "--timeout", timeout, "--memory-limit", "256", "--seed", "1"]);
    command.env("HOSTILE", wish).env("MARK", &mark).env("TMPDIR", temp.path());
    let output = command.output().unwrap();
    let report = serde_json::from_slice::<Value>(&output.stdout).map_err(|_| stderr(&output))?;
    let found = &tests(&report)[0];
    let said = found["message"].as_str().unwrap();
    let bad = ["failed", "crashed", "timed_out"].contains(status);
    let fine = found["status"] == *status
        && said.contains(message)
        && !said.contains(['\n', '\u{1b}'])
        && output.status.code() == Some(if bad { 14 } else { 0 });
    eventually("no process is left", || marked(&mark).is_empty());
    eventually("no file is left", || std::fs::read_dir(temp.path()).unwrap().next().is_none());
    others_still_work(folder.path(), library, wish);
    if fine { Ok(()) } else { Err(format!("{library} {wish}: wanted {status} `{message}`, got {found}")) }
}

/// Beside a hostile plugin every other one is still listed as ready; that it runs too, `hostile.rs` shows.
fn others_still_work(folder: &Path, hostile: &str, wish: &str) {
    // Nothing of a run happens while plugins are listed.
    if wish.starts_with("run:") {
        return;
    }
    let plugins = folder.to_str().unwrap();
    let timeout = if wish.ends_with(":hang") { "10" } else { "300" };
    let list =
        ["backends", "list", "--json", "--no-user-plugins", "--timeout", timeout, "--plugins-dir", plugins];
    let output = bench(&list).env("HOSTILE", wish).output().unwrap();
    assert!(output.status.success(), "{hostile} {wish}: {}", stderr(&output));
    let listings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let healthy = listings.as_array().unwrap().iter().find(|listing| listing["name"] == "healthy").unwrap();
    assert_eq!(healthy["description"]["availability"]["available"], true, "{hostile} {wish}");
}

#[test]
fn a_file_that_is_no_plugin_fails_the_tests_of_the_file_and_the_rest_is_skipped() {
    let folder = folder(&[]);
    let plugin = folder.path().join("libbackend_text.so");
    std::fs::write(&plugin, [b'x'; 100]).unwrap();
    let (code, report) = check(&plugin, "", &[]);
    assert_eq!(code, Some(14));
    let by_name = |name: &str| tests(&report).iter().find(|test| test["name"] == name).unwrap().clone();
    assert_eq!(by_name("image-fits")["status"], "failed");
    assert_eq!(by_name("loads")["status"], "skipped");
    let not_run = tests(&report).iter().filter(|test| test["status"] == "skipped").count();
    assert!(not_run > 30, "{not_run}");
}

#[test]
fn a_backend_that_is_not_available_is_not_called_conformant() {
    let folder = folder(&[("hostile", "hostile")]);
    let plugin = folder.path().join("libbackend_hostile.so");
    let (code, report) = check(&plugin, "", &["--only", "every-item|loads"]);
    assert_eq!(code, Some(4));
    let skipped = tests(&report).iter().find(|test| test["status"] == "skipped").unwrap();
    assert_eq!(skipped["message"], "not available: it is hostile; rm libbackend_hostile.so");
}

/// What `check` says to a person.
fn said(plugin: &Path, wish: &str, more: &[&str]) -> String {
    let mut command = bench(&["backends", "check", plugin.to_str().unwrap()]);
    stdout(&command.args(more).env("HOSTILE", wish).output().unwrap())
}

#[test]
fn what_keeps_every_test_from_running_is_said_once_with_its_remedy_and_their_number() {
    let folder = folder(&[("hostile_c", "hostile_c")]);
    let plugin = folder.path().join("libbackend_hostile_c.so");
    let cause = "it speaks C ABI 2, this host 1";
    let text = said(&plugin, "table:abi", &[]);
    assert_eq!(text.matches(cause).count(), 1, "{text}");
    assert_eq!(text.matches("  try: rebuild it with the bench_backend.h ").count(), 1, "{text}");
    let (code, report) = check(&plugin, "table:abi", &[]);
    let (skipped, others): (Vec<&Value>, Vec<&Value>) =
        tests(&report).iter().partition(|test| test["status"] == "skipped");
    assert_eq!(code, Some(14));
    assert!(
        skipped.len() > 30
            && text.contains(&format!("{} tests\n           not run: see loads\n", skipped.len()))
    );
    assert!(skipped.iter().all(|test| test["message"].as_str().unwrap().contains(cause)));
    let bad: Vec<&Value> = others.into_iter().filter(|test| test["status"] != "success").collect();
    assert!(bad.len() == 1 && bad[0]["name"] == "loads" && bad[0]["status"] == "failed", "{bad:?}");
    // A choice of tests does not hide it.
    let (code, report) = check(&plugin, "table:abi", &["--only", "zero-items"]);
    assert_eq!((code, &report["conforms"]), (Some(14), &Value::Bool(false)));
    assert!(report["report"]["obstacle"]["remedy"].as_str().unwrap().starts_with("rebuild it"));
}

#[test]
fn what_is_not_installed_is_said_once_with_what_installs_it() {
    let folder = folder(&[("driven", "driven")]);
    let plugin = folder.path().join("libbackend_driven.so");
    let nothing = TempDir::new().unwrap();
    let mut command = bench(&["backends", "check", plugin.to_str().unwrap()]);
    command.env("BENCH_DATA_DIR", nothing.path()).env("DRIVEN_REQUIREMENT", "tiny");
    let output = command.output().unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert_eq!(text.matches("there is no managed Python environment for `driven`").count(), 1, "{text}");
    let install = format!("; bench backends install driven --plugins-dir {}\n", folder.path().display());
    assert_eq!(text.matches(&install).count(), 1, "{text}");
}

#[test]
fn what_many_tests_fail_of_is_said_at_the_first_of_them() {
    let folder = folder(&[("hostile", "hostile")]);
    let plugin = folder.path().join("libbackend_hostile.so");
    let text = said(&plugin, "is_available:exit7", &["--only", "availab"]);
    assert_eq!(text.matches("ended its process in `is_available` (exit code 7)").count(), 1, "{text}");
    assert!(text.matches("as in availability-is-quick").count() >= 3, "{text}");
}

#[test]
fn what_was_compiled_against_the_first_v1_still_loads_and_finds_every_method() {
    let folder = folder(&[("old_api", "old_api")]);
    let plugin = folder.path().join("libbackend_old_api.so");
    let (code, report) = check(&plugin, "", &["--only", "loads|name|version|availab|extension|zero-items"]);
    assert_eq!(code, Some(14), "it counts one result where there is none, so zero-items fails");
    for test in tests(&report) {
        let expected = if test["name"] == "zero-items" { "failed" } else { "success" };
        let fine = test["status"] == expected || is_about_time(test);
        assert!(fine, "{test:#}");
    }
    let zero = tests(&report).iter().find(|test| test["name"] == "zero-items").unwrap();
    assert_eq!(zero["message"], "failed in `run`: it counted 1 results where the sink got 0");
}

#[test]
fn the_tests_are_listed_with_what_each_is_for() {
    let output = bench_tests::succeed(&mut bench(&["backends", "check", "--list"]));
    let text = stdout(&output);
    assert!(text.contains("every-item-once\n    Each query is read, and answered exactly once"));
    let none = bench(&["backends", "check", "--list", "--only", "no such test"]).output().unwrap();
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn in_process_the_same_tests_pass() {
    let plugin = staged().join("plugins/libbackend_local.so");
    conforms(&plugin, &["--in-process", "--only", "loads|every-item-once|one-item"]);
}

#[test]
fn a_seed_repeats_the_random_tests() {
    let plugin = staged().join("plugins/libbackend_local.so");
    let (_, report) = check(&plugin, "", &["--only", "random", "--seed", "7"]);
    assert_eq!(report["report"]["seed"], 7);
}

/// Checks a real runtime, if it is installed.
fn real(name: &str, more: &[&str]) {
    let plugin = staged().join(format!("plugins/libbackend_{name}.so"));
    let Some(_alone) = runtimes(&[name]) else { return };
    conforms(&plugin, more);
}

#[test]
fn sage_conforms() {
    real("sage", &[]);
}

#[test]
fn dask_keeps_its_items_and_its_nodes() {
    real("dask", &["--only", "every-item|nodes|no-lost-item|cancellation|draining"]);
}

/// One that only says that a worker was lost conforms too; these promise more.
#[test]
fn dask_and_ray_make_good_what_a_worker_loses() {
    for name in ["dask", "ray"] {
        let Some(_alone) = runtimes(&[name]) else { continue };
        let plugin = staged().join(format!("plugins/libbackend_{name}.so"));
        let (_, report) = check(&plugin, "", &["--timeout", "300", "--only", GOOD]);
        let [test] = tests(&report) else { panic!("{report:#}") };
        assert_eq!(test["status"], "success", "{name}: {test:#}");
    }
}

/// Ray takes seconds to start: every test that does not start it, and of the others one for each thing
/// that only a distributed runtime can get wrong. `bench backends check ray` runs them all.
#[test]
fn ray_conforms() {
    let without_a_run =
        "file|image|entry|stack|paths|exports|loads|name|version|same-twice|extension|requirements|availab";
    let with_a_run = "in-parallel|stage|backpressure|zero-items|huge|failed-sink|cancellation|draining|temp-dir|nodes|no-lost-item";
    real("ray", &["--only", &format!("{without_a_run}|{with_a_run}")]);
}
