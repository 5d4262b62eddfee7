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
    /// As if it were true.
    Unseen,
}

use Ends::{Dishonest, Invalid, Unseen};

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
    row("hostile", "run:reply_and_more", Dishonest("it went on after its answer")),
    row(
        "hostile",
        "run:measured",
        Dishonest("its reply states 9900000000 answers a second, and bench received 0"),
    ),
    // One that agrees with items of its own making, but for failures and queries that it keeps silent about.
    row(
        "hostile",
        "run:forged_no_failures",
        Dishonest("its reply states 30 timed items, and bench received 40"),
    ),
    row(
        "hostile",
        "run:forged_untold",
        Dishonest("its reply states 40 queries with an answer, and bench received 10"),
    ),
    row(
        "hostile",
        "run:forged_backwards",
        Dishonest("its reply states a run of -1 s in a process that lived"),
    ),
    row(
        "hostile",
        "run:forged_wrap",
        Dishonest("its reply states 18446744073709552000 answers, and bench received 40"),
    ),
    row(
        "hostile",
        "run:forged_cut_short",
        Dishonest("its reply states a run that was cut short, and nobody asked for that"),
    ),
    row("hostile", "run:forged_large", Dishonest("its reply is larger than 16 MiB")),
    // A clock that is slower than the kernel's.
    row(
        "hostile_c",
        "run:clock",
        Dishonest("the clock of its process is not the kernel's: something has replaced it"),
    ),
    // One that no time of a run is read from.
    row("hostile_c", "run:clock_of_libc", Unseen),
    // Nobody with another clock is there to see it.
    row("hostile", "run:unwatched", Invalid("not_watched", "bench itself was held up for ")),
    // Answers of an earlier run, kept on disk: as they were, and with the time of now in them.
    row("hostile_c", "run:replay", Dishonest(FOREIGN)),
    row("hostile_c", "run:replay_now", Dishonest(FOREIGN)),
    // One of them before its query is there.
    row("hostile_c", "run:early", Dishonest("1 answers were to queries that were never asked")),
    // Work that honest operators did before they were asked.
    row("hostile", "run:ahead", Invalid("operator_times", " before its query was handed out")),
    // Answers that no operator is said to have worked on, or one too few; that nobody wrote; forged times.
    row("hostile_c", "run:spans_none", Dishonest("no `embed_q` of this run has worked on it")),
    row("hostile_c", "run:spans_few", Dishonest("no `generate` of this run has worked on it")),
    row("hostile_c", "run:digest", Dishonest("it is not what the last operator wrote")),
    row("hostile_c", "run:spans_now", Dishonest(FOREIGN)),
    row("hostile_c", "run:spans_wrap", Dishonest(FOREIGN)),
    // Forged times by one that has read the key: they cannot be.
    row(
        "hostile",
        "run:sealed_wrap",
        Invalid("operator_times", "` was busy for 281474.976711 s in the first "),
    ),
    row(
        "hostile",
        "run:sealed_long",
        Invalid("operator_times", "` was busy for 3600.000000 s in the first "),
    ),
    row("hostile", "run:sealed_before", Invalid("operator_times", " before its query was handed out")),
    row("hostile", "run:sealed_after", Invalid("operator_times", " after its query was answered")),
    row("hostile", "run:sealed_sum", Invalid("operator_times", "operators say that they were busy for ")),
    // What cannot be seen, as docs/security.md says: answers of an earlier run, sealed by one that has read the key;
    // and a reply of its own, in accordance with items of its own.
    row("hostile", "run:sealed_replay", Unseen),
    row("hostile", "run:forged_whole", Unseen),
];

/// What replays answers has to have had them, and what works ahead has to know the queries: the plugin and the wish of an
/// honest run that keeps them.
fn earlier(wish: &str) -> Option<(&'static str, &'static str)> {
    match wish {
        "run:replay" | "run:replay_now" | "run:early" | "run:sealed_replay" => {
            Some(("hostile_c", "run:keep"))
        }
        "run:ahead" => Some(("hostile", "run:asked")),
        _ => None,
    }
}

/// Spans of another run, or of none.
const FOREIGN: &str = " spans that no operator of this run left on it";

#[test]
fn each_lie_ends_with_exit_code_6_or_in_an_invalid_record() {
    all_hold(ROWS, |row| {
        let output = TempDir::new().unwrap();
        let kept = output.path().join("kept");
        if let Some((library, wish)) = earlier(row.wish) {
            let honest = run(library, wish, &kept, &output.path().join("earlier"));
            if !honest.status.success() {
                return Err(format!("{}: the honest run before it: {}", row.wish, stderr(&honest)));
            }
        }
        let ended = run(row.library, row.wish, &kept, output.path());
        let said = stderr(&ended);
        let record = || records(output.path()).remove(0);
        let fine = match row.ends {
            Dishonest(says) => {
                ended.status.code() == Some(6)
                    && said.contains(says)
                    && said.contains("did not answer in `run` as it must")
            }
            Unseen => ended.status.success() && !DOUBTS.iter().any(|code| finding(&record(), code).is_some()),
            Invalid(code, says) => ended.status.success() && is_invalid(&record(), code, says),
        };
        if fine { Ok(()) } else { Err(format!("{}: {:?}\n{said}", row.wish, ended.status.code())) }
    });
}

fn run(library: &str, wish: &str, kept: &Path, output: &Path) -> Output {
    let plugins = folder(&[(library, library)]);
    let mut command = bench(&["run", "--backend", library, "--workload", "null", "--num-tasks", "40"]);
    command.args(["--no-user-plugins", "--plugins-dir"]).arg(plugins.path()).arg("--output-dir").arg(output);
    command.env("HOSTILE", wish).env("KEPT", kept).output().unwrap()
}

/// The findings that say that something is not as it seems. That nobody watched is not among them: on a machine that
/// has much to do it is so of an honest run as well.
const DOUBTS: [&str; 2] = ["clocks_differ", "operator_times"];

/// What the finding of this code says.
fn finding(record: &Value, code: &str) -> Option<String> {
    let findings = record["extra"]["validity"]["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["code"] == code)?;
    found["message"].as_str().map(str::to_owned)
}

/// Whether a record is INVALID for a reason, and has no figure that the lie is in.
fn is_invalid(record: &Value, code: &str, says: &str) -> bool {
    let extra = &record["extra"];
    let times = extra["operators"].as_object().unwrap().values().map(|operator| &operator["busy_seconds"]);
    let is_of_times = code == "operator_times";
    finding(record, code).is_some_and(|message| message.contains(says))
        && extra["validity"]["verdict"] == "INVALID"
        && (!is_of_times || extra["attribution"].is_null() && times.into_iter().all(Value::is_null))
}
