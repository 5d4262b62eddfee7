//! Servers of the user's own, each a process on this machine: one that is killed half-way, one that is declared, and
//! one that a command starts and ends.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bench_tests::following::Following;
use bench_tests::skip::skip;
use bench_tests::{eventually, mark, marked, records, stderr, succeed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::service::{DIMENSION, free_port, run};

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/server.py")
}

/// A server process, and where it listens.
struct Server {
    process: Following,
    url: String,
}

impl Server {
    /// One that gives so many answers; `None` where there is no Python.
    fn start(answers: Option<u32>) -> Option<Self> {
        if Command::new("python3").arg("--version").output().is_err() {
            skip("there is no python3", "");
            return None;
        }
        let mut command = Command::new("python3");
        command.arg(program()).arg("0").args(answers.map(|answers| answers.to_string()));
        let mut process = Following::start(&mut command);
        let said = process.until("listening ");
        let port = said.trim().rsplit(' ').next().unwrap().to_owned();
        Some(Self { process, url: format!("http://127.0.0.1:{port}/v1") })
    }

    /// Kills it; what it embedded, but for the text that shows which model it is.
    fn killed(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        let said = stderr(&self.process.end());
        let lists = said.lines().filter_map(|line| line.strip_prefix("embedded "));
        let texts = lists.flat_map(|list| serde_json::from_str::<Vec<String>>(list).unwrap());
        texts.filter(|text| !text.starts_with("The lift of a wing in a")).collect()
    }
}

/// Forty documents and ten questions.
fn collection() -> TempDir {
    let folder = TempDir::new().unwrap();
    let line = |id: usize, text: String| format!("{}\n", json!({"_id": id.to_string(), "text": text}));
    let docs: String = (0..40).map(|id| line(id, format!("document {id} of wings"))).collect();
    let queries: String = (0..10).map(|id| line(id, format!("question {id}"))).collect();
    fs::write(folder.path().join("corpus.jsonl"), docs).unwrap();
    fs::write(folder.path().join("queries.jsonl"), queries).unwrap();
    folder
}

#[test]
fn after_a_server_was_killed_half_way_only_the_rest_is_embedded() {
    // One text shows the model, twice, and five times four texts are half of them.
    let Some(mut first) = Server::start(Some(7)) else { return };
    let (corpus, output, cache) = (collection(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let embedding = |url: &str| {
        let folder = corpus.path().to_str().unwrap();
        let fixed = ["--set", DIMENSION, "--set", "embed_again=off", "--set", "embedding_batch_size=4"];
        let flags = ["--parallelism", "1", "--embedding-url", url, "--corpus", folder];
        let mut command = run(output.path(), 1, &[&flags[..], &fixed].concat());
        command.env("BENCH_CACHE_DIR", cache.path());
        command
    };
    let interrupted = Following::start(&mut embedding(&first.url));
    first.process.until("answered 7");
    let before: HashSet<String> = first.killed().into_iter().collect();
    let failed = interrupted.end();
    assert_eq!(failed.status.code(), Some(2), "{}", stderr(&failed));
    assert_eq!(before.len(), 20);

    let second = Server::start(None).unwrap();
    let told = stderr(&succeed(&mut embedding(&second.url)));
    assert!(told.contains("the vectors of 20 texts (0 there)"), "{told}");
    let after = second.killed();
    let documents: Vec<&String> = after.iter().filter(|text| text.starts_with("document ")).collect();
    assert_eq!(documents.len(), 20, "{documents:?}");
    assert!(documents.iter().all(|text| !before.contains(*text)), "{documents:?}");
}

#[test]
fn a_server_that_is_declared_is_in_the_record_and_none_of_the_others() {
    let Some(server) = Server::start(None) else { return };
    let output = TempDir::new().unwrap();
    let pid = server.process.id();
    let flags = ["--llm-url", &server.url, "--server-pid", &pid.to_string()];
    succeed(&mut run(output.path(), 1, &flags));
    let extra = &records(output.path())[0]["extra"];
    assert_eq!(extra["servers"][0]["pid"], pid, "{extra}");
    assert!(extra["servers"][0]["name"].as_str().unwrap().starts_with("python3"), "{extra}");
    // What it used, or why that is not known.
    let disturbance = &extra["disturbance"];
    let known = disturbance["servers"].is_number() || disturbance["unknown"]["servers"].is_string();
    assert!(known, "{disturbance}");
}

#[test]
fn no_process_is_declared_that_is_none_or_that_bench_itself_comes_from() {
    let output = TempDir::new().unwrap();
    let us = std::process::id().to_string();
    for (pid, said) in [
        (us.as_str(), "bench itself was started by it"),
        ("1", "bench itself was started by it"),
        ("2147483647", "there is no such process"),
        ("0", "a process has a number from 1"),
    ] {
        let refused = run(output.path(), 1, &["--server-pid", pid]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{pid}");
        assert!(stderr(&refused).contains(said), "{pid}: {}", stderr(&refused));
    }
}

/// A command that starts a server at this port, and a process in a session of its own beside it.
fn command_of(port: u16) -> String {
    format!("setsid sleep 100000 & exec python3 '{}' {port}", program().display())
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        skip("there is no python3", "");
    }
    found
}

#[test]
fn a_server_is_started_waited_for_and_ended_with_everything_it_started() {
    if !has_python() {
        return;
    }
    let (output, mark, port) = (TempDir::new().unwrap(), mark(), free_port());
    let url = format!("http://127.0.0.1:{port}/v1");
    let flags = ["--llm-url", &url, "--server-command", &command_of(port)];
    succeed(run(output.path(), 1, &flags).env("MARK", &mark));
    assert_eq!(marked(&mark), Vec::<String>::new());
    let extra = &records(output.path())[0]["extra"];
    assert_eq!(extra["items"]["completed"], 30, "{extra}");
    assert_eq!(extra["servers"][0]["started"], true, "{extra}");
}

#[test]
fn a_server_ends_with_a_bench_that_is_killed() {
    if !has_python() {
        return;
    }
    let (output, mark, port) = (TempDir::new().unwrap(), mark(), free_port());
    let url = format!("http://127.0.0.1:{port}/v1");
    let held = format!("exec python3 '{}' {port} 0", program().display());
    let flags = ["--embedding-url", &url, "--set", DIMENSION, "--server-command", &held];
    let mut bench = Following::start(run(output.path(), 1, &flags).arg("--verbose").env("MARK", &mark));
    bench.until("waiting for the server");
    eventually("the server runs", || marked(&mark).iter().any(|line| line.contains("server.py")));
    kill_process(Pid::from_child(&bench), Signal::KILL).unwrap();
    bench.end();
    eventually("nothing is left", || marked(&mark).is_empty());
}

#[test]
fn a_server_that_does_not_start_is_told_with_its_last_words() {
    let (output, mark, port) = (TempDir::new().unwrap(), mark(), free_port());
    let url = format!("http://127.0.0.1:{port}/v1");
    let flags = ["--llm-url", &url, "--server-command", "sleep 100000 & echo no model m-7 >&2; exit 3"];
    let failed = run(output.path(), 1, &flags).env("MARK", &mark).output().unwrap();
    assert_eq!(failed.status.code(), Some(2));
    let said = stderr(&failed);
    assert!(said.contains("--server-command: the server ended before it answered"), "{said}");
    assert!(said.contains("exit status: 3") && said.contains("no model m-7"), "{said}");
    assert_eq!(marked(&mark), Vec::<String>::new());
}

#[test]
fn a_server_is_not_started_where_another_answers_or_nobody_asks() {
    let Some(other) = Server::start(None) else { return };
    let output = TempDir::new().unwrap();
    let refused = |more: &[&str]| {
        let flags = [&["--server-command", "sleep 100000"][..], more].concat();
        let refused = run(output.path(), 1, &flags).output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        stderr(&refused)
    };
    assert!(refused(&["--llm-url", &other.url]).contains("somebody answers there already"));
    assert!(refused(&[]).contains("nothing asks a server"));
}
