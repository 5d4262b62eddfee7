//! Standard output and standard error that cannot be written: a reader that went away, a disk that is full.

use std::fs::File;
use std::path::Path;
use std::process::{Output, Stdio};

use bench_tests::{bench, records, small_run, stderr, succeed};
use tempfile::TempDir;

const BROKEN: i32 = 7;

/// A pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

/// A disk without room.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A result to compare.
fn result() -> TempDir {
    let folder = TempDir::new().unwrap();
    succeed(&mut small_run("local", folder.path(), &["--workload", "null"]));
    folder
}

/// One of each command that prints without measuring anything.
fn printing(result: &Path, output: &Path) -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = [
        "--help",
        "-h",
        "--version",
        "help",
        "help run",
        "run --help",
        "backends --help",
        "schema record",
        "completions bash",
        "completions zsh",
        "man",
        "workloads list",
        "workloads list --json",
        "workloads describe wl4",
        "workloads describe wl4 --format svg",
        "backends check --list",
        "backends check --list --json",
        "backends list --no-user-plugins",
        "backends list --json --no-user-plugins",
        "backends info local --no-user-plugins",
        "run --backend local --no-user-plugins --quick --dry-run",
    ]
    .map(|words| words.split(' ').map(str::to_owned).collect())
    .to_vec();
    let (result, output) = (result.to_str().unwrap(), output.to_str().unwrap());
    for command in [
        &["compare", result, "--output-dir", output][..],
        &["verify", result, result],
        &["gate", "--baseline", result, result],
    ] {
        for more in [&[][..], &["--json"]] {
            commands.push([command, more].concat().into_iter().map(str::to_owned).collect());
        }
    }
    commands
}

/// Runs each command as it is, and with `stdout`; says how both ended.
fn each(stdout: fn() -> Stdio, check: impl Fn(&[&str], Option<i32>, &Output)) {
    let (result, output) = (result(), TempDir::new().unwrap());
    for words in printing(result.path(), output.path()) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let as_it_is = bench(&words).output().unwrap();
        assert!(!as_it_is.stdout.is_empty(), "{words:?}");
        check(&words, as_it_is.status.code(), &bench(&words).stdout(stdout()).output().unwrap());
    }
}

#[test]
fn a_reader_that_went_away_is_no_error_in_any_command() {
    each(closed_pipe, |words, code, ended| {
        assert_eq!((ended.status.code(), stderr(ended).as_str()), (code, ""), "{words:?}");
    });
}

#[test]
fn a_full_disk_is_one_sentence_and_an_exit_code_in_every_command() {
    each(full, |words, code, ended| {
        // What a verdict says is not taken back because nobody could read it.
        let code = if code == Some(0) { Some(BROKEN) } else { code };
        let said = stderr(ended);
        assert_eq!(ended.status.code(), code, "{words:?}\n{said}");
        assert!(
            said.starts_with("error: standard output cannot be written: No space left"),
            "{words:?}\n{said}"
        );
        assert_eq!(said.lines().count(), 1, "{words:?}\n{said}");
    });
}

#[test]
fn a_run_keeps_its_results_wherever_its_words_go() {
    for (stdout, stderr_to, code) in [
        (full as fn() -> Stdio, Stdio::piped as fn() -> Stdio, BROKEN),
        (closed_pipe, closed_pipe, 0),
        (Stdio::piped, full, 0),
    ] {
        let output = TempDir::new().unwrap();
        let mut run = small_run("local", output.path(), &["--verbose"]);
        let ended = run.stdout(stdout()).stderr(stderr_to()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{}", stderr(&ended));
        assert!(!stderr(&ended).contains("panicked"), "{}", stderr(&ended));
        assert_eq!(records(output.path()).len(), 1);
        assert!(output.path().join("unified_results.csv").is_file());
    }
}

#[test]
fn an_error_that_nobody_can_read_has_its_exit_code_all_the_same() {
    for stderr_to in [closed_pipe as fn() -> Stdio, full] {
        for (words, code) in
            [(vec!["run", "--nonsense"], 2), (vec!["backends", "info", "nothing", "--no-user-plugins"], 3)]
        {
            let ended = bench(&words).stderr(stderr_to()).stdout(Stdio::null()).status().unwrap();
            assert_eq!(ended.code(), Some(code), "{words:?}");
        }
    }
}
