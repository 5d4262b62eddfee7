//! Records for tests, here and in the crates that report on them.

use std::path::Path;

use bench_record::testing::example_value;
use serde_json::{Value, json};

use crate::{Collected, Options, collect};

/// A record whose timestamp is `second` seconds after noon.
pub fn record(backend: &str, run: &str, second: u32) -> Value {
    let mut value = example_value();
    value["backend"] = json!(backend);
    value["run_id"] = json!(run);
    value["timestamp"] = json!(format!("2026-01-31T12:{:02}:{:02}Z", second / 60, second % 60));
    value
}

/// A paired run: `speeds[backend][pair]`.
pub fn paired(speeds: &[(&str, &[f64])]) -> Vec<Value> {
    let mut records = Vec::new();
    for (backend, values) in speeds {
        for (pair, throughput) in values.iter().enumerate() {
            let mut value = record(backend, "run", records.len() as u32);
            value["throughput"] = json!(throughput);
            value["extra"] = json!({"pair_index": pair, "items": {"timed": 400}, "output_digest": "d1"});
            records.push(value);
        }
    }
    records
}

/// The same with a seed for each pair, drawn from 42.
pub fn drawn(speeds: &[(&str, &[f64])]) -> Vec<Value> {
    let mut records = paired(speeds);
    for record in &mut records {
        let pair = record["extra"]["pair_index"].as_u64().unwrap_or_default();
        record["extra"]["drawn_from"] = json!({"seed": 42, "config_hash": "c0"});
        (record["seed"], record["config_hash"]) = (json!(42 + pair), json!(format!("c{pair}")));
        record["extra"]["output_digest"] = json!(format!("d{pair}"));
    }
    records
}

pub fn write(folder: &Path, records: &[Value]) {
    std::fs::create_dir_all(folder).unwrap();
    let lines: Vec<String> = records.iter().map(|record| format!("{record}\n")).collect();
    std::fs::write(folder.join("unified_results.jsonl"), lines.concat()).unwrap();
}

pub fn collected(records: &[Value]) -> Collected {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), records);
    collect(&[dir.path().to_path_buf()], &Options::default()).unwrap()
}
