//! A record for tests, here and in other crates.

use serde_json::Value;

use crate::Record;

pub fn example() -> Record {
    Record::for_writing(example_value()).unwrap()
}

pub fn example_value() -> Value {
    serde_json::json!({
        "backend": "sage", "workload": "wl4", "run_id": "7f2c", "seed": 42, "nodes": 1, "parallelism": 4,
        "throughput": 125.0, "latency_p50": 1.5, "latency_p95": 2.25, "latency_p99": null,
        "success_rate": 1.0, "duration_seconds": 0.16, "timestamp": "2026-01-31T12:00:00.000000+00:00",
        "config_hash": "a3f1", "extra": {"scheduler": "fifo", "note": "ü, \"quoted\"\nsecond line"},
    })
}
