//! `--config FILE`: flags, written down.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bench_tests::pairs::{json, text, tree};
use bench_tests::{bench, records, stderr, succeed};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a file in it.
fn with_file(content: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bench.toml");
    fs::write(&file, content).unwrap();
    (folder, file)
}

#[test]
fn a_run_can_be_written_down_whole() {
    let (folder, file) = with_file("");
    let (output, trace) = (folder.path().join("out"), folder.path().join("trace.json"));
    let content = format!(
        "backend = \"local\"\nitems = 30\nquick = true\nload = \"open\"\nrate = 200.0\narrivals = \"poisson\"\n\
         corpus_shards = 2\nmemory_limit = 4000\nretries = 1\nrun_id = \"abc\"\nno_user_plugins = true\n\
         output_dir = {output:?}\ntrace = {trace:?}\nset = {{ mmr_lambda = 0.25 }}\n",
    );
    fs::write(&file, content).unwrap();
    // Also without a subcommand.
    succeed(&mut bench(&["--config", text(&file)]));
    let record = records(&output).remove(0);
    assert_eq!((&record["run_id"], &record["extra"]["items"]["emitted"]), (&"abc".into(), &30.into()));
    let config = &record["extra"]["effective_config"];
    assert_eq!(config["load"], serde_json::json!({"model": "open", "rate": 200.0, "arrivals": "poisson"}));
    assert_eq!(
        (&config["parameters"]["vdb_shards"], &config["parameters"]["mmr_lambda"]),
        (&2.into(), &0.25.into())
    );
    assert!(trace.is_file());
}

#[test]
fn one_file_serves_several_commands_and_a_sweep_takes_its_lists() {
    let (folder, file) =
        with_file("backends = [\"local\"]\nparallelism = [1, 2]\nquick = true\nworkload = \"wl1\"\n");
    let root = folder.path().join("root");
    succeed(&mut bench(&["sweep", "--config", text(&file), "--run-id", "s", "--output-root", text(&root)]));
    let scales: Vec<Value> = json(&tree(&root, "s").join("sweep.json"))["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["parallelism"].clone())
        .collect();
    assert_eq!(scales, [1, 2]);
    fs::write(&file, "backends = [\"local\"]\naa = true\nquick = true\nworkload = \"wl1\"\n").unwrap();
    succeed(&mut bench(&["pair", "--config", text(&file), "--run-id", "p", "--output-root", text(&root)]));
    assert_eq!(records(&tree(&root, "p").join("backends/local")).len(), 2);
}

#[test]
fn what_a_goal_or_a_duration_needs_may_be_in_the_file() {
    let (folder, file) =
        with_file("duration = \"1s\"\nquick = true\nbackend = \"local\"\nworkload = \"wl1\"\n");
    let mut soak = bench(&["soak", "--config", text(&file), "--output-dir", text(folder.path())]);
    let ended = soak.output().unwrap();
    // On a busy machine a steady backend may look like one that is not.
    assert!(matches!(ended.status.code(), Some(0 | 10)), "{}", stderr(&ended));
    fs::write(&file, "slo = \"fast\"\nbackend = \"local\"\n").unwrap();
    let refused = bench(&["capacity", "--config", text(&file)]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("bench.toml:1: slo: 'fast' is not a goal"), "{}", stderr(&refused));
}

#[test]
fn what_is_wrong_in_a_file_is_one_error_with_its_line() {
    let (_folder, file) = with_file("seed = 1\n\nnum_taks = 5\n");
    let refused = bench(&["run", "--backend", "local", "--config", text(&file)]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    assert!(
        said.contains("bench.toml:3: `num_taks`") && said.contains("did you mean `num_tasks`?"),
        "{said}"
    );
    fs::write(&file, "seed = 1\nnum_tasks = 0\n").unwrap();
    let refused = bench(&["run", "--backend", "local", "--config", text(&file)]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("(num_tasks is set in"), "{}", stderr(&refused));
}

#[test]
fn what_is_no_file_or_has_no_end_is_not_read() {
    let folder = TempDir::new().unwrap();
    let (fifo, link) = (folder.path().join("fifo"), folder.path().join("link"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    for (path, says) in
        [(&fifo, "it is a FIFO, not a regular file"), (&link, "it is a device, not a regular file")]
    {
        let refused = bench(&["run", "--backend", "local", "--config", text(path)]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(says), "{}", stderr(&refused));
    }
}
