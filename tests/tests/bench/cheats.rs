//! `bench run` on plugins that would have their work look better than it is: a run ends with exit code 6, or its record
//! is INVALID and says why. What cannot be seen stands in docs/security.md.

use std::path::Path;
use std::process::Output;

use bench_tests::rows::all_hold;
use bench_tests::{bench, folder, records, stderr};
use serde_json::Value;
use tempfile::TempDir;

/// A lie, and what becomes of it.
struct Row {
    library: &'static str,
    wish: &'static str,
    ends: Ends,
}

enum Ends {
    /// With a record that has this finding, whose message says this.
    Invalid(&'static str, &'static str),
}

use Ends::Invalid;

const fn row(library: &'static str, wish: &'static str, ends: Ends) -> Row {
    Row { library, wish, ends }
}

const ROWS: &[Row] = &[
    // What operators say of their times cannot be.
    row("hostile_c", "run:spans_wrap", Invalid("operator_times", "` was busy for 288230376.1")),
    row(
        "hostile_c",
        "run:spans_long",
        Invalid("operator_times", "` was busy for 3600.000000 s in the first "),
    ),
    row("hostile_c", "run:spans_before", Invalid("operator_times", " before its query was handed out")),
    row("hostile_c", "run:spans_after", Invalid("operator_times", " after its query was answered")),
    row("hostile_c", "run:spans_sum", Invalid("operator_times", "operators say that they were busy for ")),
];

#[test]
fn each_lie_ends_with_exit_code_6_or_in_an_invalid_record() {
    all_hold(ROWS, |row| {
        let output = TempDir::new().unwrap();
        let ended = run(row, output.path());
        let Invalid(code, says) = row.ends;
        let record = (ended.status.success()).then(|| records(output.path()).remove(0));
        match record {
            Some(record) if is_invalid(&record, code, says) => Ok(()),
            _ => Err(format!("{}: {:?} {record:?}\n{}", row.wish, ended.status.code(), stderr(&ended))),
        }
    });
}

fn run(row: &Row, output: &Path) -> Output {
    let plugins = folder(&[(row.library, row.library)]);
    let mut command = bench(&["run", "--backend", row.library, "--workload", "null", "--num-tasks", "40"]);
    command.args(["--no-user-plugins", "--plugins-dir"]).arg(plugins.path()).arg("--output-dir").arg(output);
    command.env("HOSTILE", row.wish).output().unwrap()
}

/// Whether a record is INVALID for a reason, and has no figure that the lie is in.
fn is_invalid(record: &Value, code: &str, says: &str) -> bool {
    let extra = &record["extra"];
    let findings = extra["validity"]["findings"].as_array().unwrap();
    let found = findings.iter().any(|finding| {
        finding["code"] == code && finding["message"].as_str().is_some_and(|message| message.contains(says))
    });
    let times = extra["operators"].as_object().unwrap().values().map(|operator| &operator["busy_seconds"]);
    found
        && extra["validity"]["verdict"] == "INVALID"
        && extra["attribution"].is_null()
        && times.into_iter().all(Value::is_null)
}
