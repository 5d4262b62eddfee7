//! Hashes, digests and graphs as they were first recorded, in `goldens.json`. Results of different versions can be
//! compared for as long as these stay: whoever changes one on purpose says so in the changelog, and takes the new
//! value from what the failing test prints.

use std::fs;
use std::path::Path;

use bench_record::canonical_json::config_hash;
use bench_tests::{bench, records, small_run, stderr, stdout, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{Service, embeddings};

fn recorded(of: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/goldens.json");
    let text = fs::read_to_string(path).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    all[of].as_array().unwrap().clone()
}

/// Compares every entry with what `now` makes of its arguments. `CORPUS` among them is a small collection,
/// and `SERVICE` the address of one.
fn stay_as_recorded(of: &str, now: impl Fn(&[&str]) -> Value) {
    let (corpus, service) = (collection(), Service::start(embeddings));
    let mut all = Vec::new();
    for entry in recorded(of) {
        let args: Vec<&str> =
            entry["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        let place = corpus.path().to_str().unwrap();
        let stands_for = |arg: &&str| match *arg {
            "CORPUS" => place.to_owned(),
            "SERVICE" => service.url(),
            arg => arg.to_owned(),
        };
        let given: Vec<String> = args.iter().map(stands_for).collect();
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        all.push((entry.clone(), json!({"args": args, "is": now(&given)})));
    }
    let changed: Vec<_> =
        all.iter().filter(|(then, now)| then != now).map(|(_, now)| now.to_string()).collect();
    assert!(!all.is_empty() && changed.is_empty(), "{of} are now\n{}", changed.join(",\n"));
}

/// Thirty documents and ten questions, eight of them judged.
fn collection() -> TempDir {
    let folder = TempDir::new().unwrap();
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let doc = |i| {
        let text = format!("word{i} wing lift plate {} boundary layer{}", i % 3, i % 5);
        format!("{}\n", json!({"_id": format!("d{i}"), "title": format!("t{i}"), "text": text}))
    };
    let query =
        |i| format!("{}\n", json!({"_id": format!("q{i}"), "text": format!("word{i} wing boundary")}));
    let judgement = |i| format!("q{i}\td{i}\t1\n");
    fs::create_dir(folder.path().join("qrels")).unwrap();
    fs::write(folder.path().join("corpus.jsonl"), lines(30, &doc)).unwrap();
    fs::write(folder.path().join("queries.jsonl"), lines(10, &query)).unwrap();
    let judgements = format!("query-id\tcorpus-id\tscore\n{}", lines(8, &judgement));
    fs::write(folder.path().join("qrels/test.tsv"), judgements).unwrap();
    folder
}

/// What stays the same in every run of the same work: no time, no machine, no id. The span of a document rides on
/// whichever query comes next, so what it wrote stands in no row for sure.
fn answers(args: &[&str]) -> Value {
    let output = TempDir::new().unwrap();
    succeed(&mut small_run("local", output.path(), args));
    let record = records(output.path()).remove(0);
    let extra = &record["extra"];
    let mut items =
        csv::Reader::from_path(output.path().join(extra["items_file"].as_str().unwrap())).unwrap();
    let varies = |name: &str| ["latency_ms", "embed_d"].contains(&name);
    let names: Vec<String> = items.headers().unwrap().iter().map(str::to_owned).collect();
    let row = |row: csv::StringRecord| {
        names.iter().zip(&row).filter(|(name, _)| !varies(name)).map(|(_, cell)| cell.to_owned()).collect()
    };
    let mut rows: Vec<Vec<String>> = items.records().map(|record| row(record.unwrap())).collect();
    rows.sort();
    json!({
        "config_hash": record["config_hash"],
        "output_digest": extra["output_digest"],
        "items": extra["items"],
        "failure_reasons": extra["failure_reasons"],
        "quality": extra["quality"],
        "corpus": extra["corpus"],
        "columns": names.join(","),
        "rows": config_hash(&json!(rows)),
    })
}

#[test]
fn answers_and_what_every_operator_wrote_stay_as_recorded() {
    stay_as_recorded("answers", answers);
}

#[test]
fn hashes_of_configurations_stay_as_recorded() {
    stay_as_recorded("configurations", |args| {
        let fixed = ["run", "--backend", "local", "--no-user-plugins", "--dry-run", "--json"];
        let shown = bench(&[&fixed, args].concat()).output().unwrap();
        match serde_json::from_str::<Value>(&stdout(&shown)) {
            Ok(plan) => json!([plan["config_hash"], plan["input_plan_digest"]]),
            Err(_) => stderr(&shown).trim().into(),
        }
    });
}

#[test]
fn graphs_as_plugins_get_them_stay_as_recorded() {
    stay_as_recorded("graphs", |args| {
        let fixed = ["workloads", "describe", "--format", "json"];
        let graph = stdout(&succeed(&mut bench(&[&fixed, args].concat())));
        config_hash(&serde_json::from_str(&graph).unwrap()).into()
    });
}
