//! `bench run` on plugins that misbehave, as a user sees it: one line that names the plugin, the phase and
//! the cause, one that says what to do, nothing left behind, and the next backend runs.

use std::fs;
use std::path::Path;

use bench_tests::pairs::files;
use bench_tests::rows::all_hold;
use bench_tests::{bench, eventually, folder, mark, marked, stderr};
use tempfile::TempDir;

/// What is wrong with a library, and how the run then ends.
struct Row {
    library: &'static str,
    wish: &'static str,
    exit: i32,
    says: &'static str,
    mends: &'static str,
}

/// How a run ends that takes longer than it may.
const TIMED_OUT: i32 = 5;
const REPORT: &str = "report this to the plugin's author";
const LOG: &str = "run.log";
const CHECK: &str = "bench backends check hostile_c";
/// Bytes that a run may say to whoever types the command.
const MOST_SAID: usize = 1 << 20;
/// What no plugin may carry into the results.
const SECRET: &str = "of nobody's business";

const fn row(
    library: &'static str,
    wish: &'static str,
    exit: i32,
    says: &'static str,
    mends: &'static str,
) -> Row {
    Row { library, wish, exit, says, mends }
}

const CHANNEL_CLOSED: &str =
    "backend `hostile` broke the protocol in `run`: it closed the descriptor on which its answer was due";
const NAN: &str =
    "backend `hostile_c` failed in `measure`: its result states the metric `speed` as NaN, which is not JSON";
const HUGE: &str =
    "backend `hostile_c` failed in `measure`: its result has 104857605 bytes of metrics, more than 1048576";
const CUT_SHORT: &str =
    "backend `hostile_c` failed in `run`: malformed batch at byte 0: the header is cut short";

const ROWS: &[Row] = &[
    // Before the run: a plugin that cannot be described is not run.
    row("hostile", "load:segfault", 8, "backend 'hostile': crashed with SIGSEGV in `load`", REPORT),
    row("hostile", "load:panic", 8, "backend 'hostile': crashed with SIGABRT in `load`", REPORT),
    row(
        "hostile",
        "load:exit0",
        8,
        "backend 'hostile': ended its process in `load` (exit code 0) without an answer",
        REPORT,
    ),
    row("hostile", "create:panic", 8, "backend 'hostile': panicked in `create`: hostile on purpose", REPORT),
    row(
        "hostile",
        "is_available:panic",
        4,
        "backend 'hostile' is not available: is_available failed: panic: hostile on purpose",
        REPORT,
    ),
    row(
        "hostile_cpp",
        "is_available:throw",
        8,
        "backend 'hostile_cpp': crashed with SIGABRT in `is_available`",
        REPORT,
    ),
    row(
        "hostile",
        "is_available:hang",
        8,
        "backend 'hostile': did not finish `is_available` within 10 s and was killed",
        "see how long it needs: bench backends info hostile --plugins-dir ",
    ),
    row(
        "hostile_c",
        "table:no_run",
        8,
        "backend 'hostile_c': failed in `load`: its table lacks `run`",
        "fill in every member that bench_backend.h does not call optional",
    ),
    row(
        "hostile_c",
        "table:abi",
        8,
        "backend 'hostile_c': failed in `load`: it speaks C ABI 2, this host 1",
        "rebuild it with the bench_backend.h of this bench",
    ),
    // In the run.
    row("hostile", "run:panic", 1, "backend `hostile` panicked in `run`: hostile on purpose", REPORT),
    row("hostile", "run:abort", 1, "backend `hostile` crashed with SIGABRT in `run`", REPORT),
    row("hostile", "run:segfault", 1, "backend `hostile` crashed with SIGSEGV in `run`", REPORT),
    row("hostile", "run:overflow", 1, "backend `hostile` crashed with SIGABRT in `run`", REPORT),
    row("hostile", "run:sigterm", 1, "backend `hostile` crashed with SIGTERM in `run`", REPORT),
    row(
        "hostile",
        "run:exit0",
        1,
        "backend `hostile` ended its process in `run` (exit code 0) without an answer",
        REPORT,
    ),
    row(
        "hostile",
        "run:hang",
        5,
        "backend `hostile` did not finish `run` within 10 s and was killed",
        "allow it more time with --timeout, or report this to the plugin's author",
    ),
    row(
        "hostile_c",
        "run:deaf",
        5,
        "backend `hostile_c` did not finish `run` within 10 s and was killed",
        "allow it more time with --timeout, or report this to the plugin's author",
    ),
    row(
        "hostile",
        "run:memory",
        1,
        "backend `hostile` ran out of memory in `run` under a limit of 256 MiB",
        "raise --memory-limit",
    ),
    row("hostile", "run:closefds", 1, CHANNEL_CLOSED, REPORT),
    row("hostile", "run:replacefds", 1, CHANNEL_CLOSED, REPORT),
    row("hostile_cpp", "run:throw", 1, "backend `hostile_cpp` crashed with SIGABRT in `run`", REPORT),
    row(
        "hostile",
        "run:flood",
        6,
        "backend `hostile` did not answer in `run` as it must: 20 queries were never read from the source",
        "bench backends check hostile",
    ),
    row(
        "hostile_c",
        "run:drop",
        6,
        "backend `hostile_c` did not answer in `run` as it must: 1 queries were never answered",
        "bench backends check hostile_c",
    ),
    row(
        "hostile_c",
        "run:duplicate",
        6,
        "backend `hostile_c` did not answer in `run` as it must: 1 answers were duplicates",
        "bench backends check hostile_c",
    ),
    row(
        "hostile_c",
        "run:count",
        6,
        "backend `hostile_c` did not answer in `run` as it must: it counted 7 results where the sink got 20",
        "bench backends check hostile_c",
    ),
    row("hostile_c", "run:garbage", 1, CUT_SHORT, LOG),
    row("hostile_c", "run:invalid_utf8", 1, "backend `hostile_c` failed in `run`: broken \u{fffd} text", LOG),
    row("hostile_c", "run:nan_metric", 1, NAN, REPORT),
    row("hostile_c", "run:huge_metric", 1, HUGE, REPORT),
    // What a plugin makes grow has an end, and the folder of results survives it.
    row(
        "hostile_c",
        "run:workers",
        6,
        "spans that no operator of this run left on it",
        "bench backends check hostile_c",
    ),
    row("hostile_c", "run:reasons", 0, "", ""),
    row("hostile_c", "run:log_flood", 0, "", ""),
    row("hostile_c", "run:warn_flood", 0, "more than 100 warnings; the others are in run.log", ""),
    row("hostile_c", "run:warn_codes", 0, "all is well", ""),
    row("hostile_c", "run:long_words", 0, "", ""),
    row("hostile_c", "is_available:long", 0, "", ""),
    row("hostile_c", "table:long_version", 0, "", ""),
    row("hostile_c", "extension:long", 8, "its answer to bench.requirements/1 is not JSON", REPORT),
    row("hostile_c", "run:many_metrics", 1, "its result has 100000 metrics, more than 10000", REPORT),
    row("hostile_c", "run:deep_metric", 1, "its result nests the metric `deep` deeper than 64", REPORT),
    row("hostile_c", "run:long_error", 1, "backend `hostile_c` failed in `run`: xxx", "xxx"),
    row("hostile_c", "run:log_files", 1, "backend `hostile_c` failed in `run`: xxx", "xxx"),
    row("hostile_c", "run:log_link", 1, "backend `hostile_c` failed in `run`: xxx", "xxx"),
    row(
        "hostile_c",
        "run:chatter",
        5,
        "backend `hostile_c` did not finish `run` within 10 s and was killed",
        LOG,
    ),
    // What it leaves is not opened blindly.
    row("hostile_c", "run:fifo_items", 6, "cannot be read: it is a FIFO, not a regular file", CHECK),
    row("hostile_c", "run:link_items", 6, "cannot be read: it is a symbolic link, not a regular file", CHECK),
    row("hostile_c", "run:folder_items", 6, "cannot be read: it is a directory, not a regular file", CHECK),
    row("hostile_c", "load:link_items", 1, "items.bin", ""),
    row("hostile_c", "drop:fifo_items", 6, "cannot be read: it is a FIFO, not a regular file", CHECK),
    row(
        "hostile_c",
        "drop:link_items",
        6,
        "cannot be read: it is a symbolic link, not a regular file",
        CHECK,
    ),
    row("hostile_c", "drop:folder_items", 6, "cannot be read: it is a directory, not a regular file", CHECK),
    row("hostile_c", "drop:huge_items", 6, "the items that it replies about cannot be read: ", CHECK),
    // Nobody reads a log of latencies from there.
    row("hostile_c", "drop:fifo_hlog", 0, "", ""),
    row("hostile_c", "drop:link_hlog", 0, "", ""),
    row("hostile_c", "drop:huge_hlog", 0, "", ""),
    // What costs no answer is said all the same.
    row(
        "hostile_c",
        "run:children",
        0,
        "warning: backend `hostile_c`: it left processes running: 50 × sleep",
        "",
    ),
    row("hostile_c", "run:outlive", 0, "warning: backend `hostile_c`: it left processes running: sleep", ""),
    row("hostile_c", "drop:hang", 0, "warning: backend `hostile_c`: its destructors did not end in time", ""),
    row(
        "hostile_c",
        "drop:abort",
        0,
        "warning: backend `hostile_c`: its process ended badly after the answer: SIGABRT",
        "",
    ),
];

#[test]
fn each_misbehaviour_in_a_run_is_said_in_one_line_and_harms_nobody() {
    all_hold(ROWS, wrong);
}

/// What is not as the row says.
fn wrong(row: &Row) -> Result<(), String> {
    let plugins = folder(&[("healthy", "healthy"), (row.library, row.library)]);
    let (temp, output, mark) = (TempDir::new().unwrap(), TempDir::new().unwrap(), mark());
    let secret = plugins.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let run = |backend: &str, output: &Path| {
        let mut command = bench(&["run", "--backend", backend, "--workload", "null", "--num-tasks", "20"]);
        // What hangs is given up on soon; nothing else is told to hurry.
        if row.exit == TIMED_OUT && backend == row.library {
            command.args(["--timeout", "10"]);
        }
        command.args(["--memory-limit", "256", "--no-user-plugins", "--plugins-dir"]);
        command.arg(plugins.path()).arg("--output-dir").arg(output);
        command.env("SECRET", &secret);
        command.env("HOSTILE", row.wish).env("MARK", &mark).env("TMPDIR", temp.path()).output().unwrap()
    };
    let ended = run(row.library, output.path());
    let said = stderr(&ended);
    let has = |part: &str| part.is_empty() || said.lines().any(|line| line.contains(part));
    let fine = ended.status.code() == Some(row.exit)
        && has(row.says)
        && has(row.mends)
        && !said.contains("panicked at ")
        && said.len() < MOST_SAID
        && !said.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}'))
        && output.path().join("unified_results.jsonl").exists() == (row.exit == 0);
    if !fine {
        return Err(format!("{} {}: {:?}\n{said}", row.library, row.wish, ended.status.code()));
    }
    eventually("no process is left", || marked(&mark).is_empty());
    eventually("no file is left", || fs::read_dir(temp.path()).unwrap().next().is_none());
    small_enough(output.path()).map_err(|what| format!("{} {}: {what}", row.library, row.wish))?;
    // The folder takes and gives what it did before.
    let next = run("healthy", output.path());
    if !next.status.success() {
        return Err(format!("after {}: {}", row.wish, stderr(&next)));
    }
    let report = temp.path().join("report");
    let mut compare = bench(&["compare", output.path().to_str().unwrap(), "-o", report.to_str().unwrap()]);
    let compared = compare.output().unwrap();
    match compared.status.code() {
        // Whatever the comparison found, it read every record.
        Some(0 | 11 | 13) => Ok(()),
        _ => Err(format!("compared after {}: {}", row.wish, stderr(&compared))),
    }
}

/// What a run left is of a size that can be looked at, and nothing that is nobody's business.
fn small_enough(output: &Path) -> Result<(), String> {
    for file in files(output) {
        let bytes = fs::read(output.join(&file)).unwrap();
        let most = if file.ends_with(LOG) { 66 << 20 } else { 4 << 20 };
        if bytes.len() > most {
            return Err(format!("{} has {} bytes", file.display(), bytes.len()));
        }
        if bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()) {
            return Err(format!("{} has what was behind the link", file.display()));
        }
    }
    Ok(())
}
