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
    /// With exit code 6 and these words.
    Dishonest(&'static str),
    /// With a record that has this finding, whose message says this.
    Invalid(&'static str, &'static str),
}

use Ends::{Dishonest, Invalid};

const fn row(library: &'static str, wish: &'static str, ends: Ends) -> Row {
    Row { library, wish, ends }
}

const ROWS: &[Row] = &[
    // A reply of its own, with the nonce from its memory.
    row(
        "hostile",
        "run:reply",
        Dishonest("its reply came before the host's own code in its process had measured it"),
    ),
    row("hostile", "run:reply", Dishonest("its reply states 40 answers, and bench received 0")),
    row(
        "hostile",
        "run:measured",
        Dishonest("its reply states 9900000000 answers a second, and bench received 0"),
    ),
    // A clock that is slower than the kernel's.
    row(
        "hostile_c",
        "run:clock",
        Dishonest("the clock of its process is not the kernel's: something has replaced it"),
    ),
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
        let said = stderr(&ended);
        let fine = match row.ends {
            Dishonest(says) => {
                ended.status.code() == Some(6)
                    && said.contains(says)
                    && said.contains("did not answer in `run` as it must")
            }
            Invalid(code, says) => {
                ended.status.success() && is_invalid(&records(output.path())[0], code, says)
            }
        };
        if fine { Ok(()) } else { Err(format!("{}: {:?}\n{said}", row.wish, ended.status.code())) }
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
