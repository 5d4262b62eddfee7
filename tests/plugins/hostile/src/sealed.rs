//! Lies about the times of operators by one that has read the key of the run, where a worker of another process would
//! find it, and seals them anew.

use std::collections::HashMap;
use std::time::Duration;

use bench_plugin_api::dataflow::frame::{Frame, Span, frames, push};
use bench_plugin_api::prelude::*;
use bench_workloads::instance::monotonic_ns;
use bench_workloads::seal::Key;

use super::kept;

pub fn run(spec: &Spec, host: &Host, lie: &str) -> Result<Finished, Error> {
    let began_ns = monotonic_ns();
    // Or there is no time that all the spans could claim.
    std::thread::sleep(Duration::from_millis(50));
    let library = host.extension("bench.workloads/1", "").expect("the host has the library");
    let library: serde_json::Value = serde_json::from_str(&library).expect("it is JSON");
    let key: Key = serde_json::from_value(library["open"]["key"].clone()).expect("a run has a key");
    let told = |span: Span| match lie {
        "wrap" => Span { busy_ns: u64::MAX, ..span },
        "long" => Span { busy_ns: 3600 * 1_000_000_000, ..span },
        "before" => Span { start_ns: 1, ..span },
        "after" => Span { start_ns: u64::MAX, ..span },
        "sum" => Span { busy_ns: monotonic_ns() - began_ns, ..span },
        "replay" => span,
        other => panic!("unknown lie {other}"),
    };
    let forged = |batch: &[u8]| {
        let mut out = Vec::new();
        for frame in frames(batch).flatten() {
            let spans = frame.spans().map(|span| key.sealed(frame.header.seq, told(span)).to_bytes());
            push(&mut out, frame.header, frame.body, &spans.flatten().collect::<Vec<u8>>());
        }
        out
    };
    if lie == "replay" {
        return replay(spec, host, key);
    }
    let mut pipeline = InlinePipeline::new(host)?;
    while let Some(events) = host.next_events(spec.batch_size())? {
        host.emit(&forged(&pipeline.process(&events)?))?;
    }
    host.emit(&forged(&pipeline.finish()?))?;
    Ok(Finished::default())
}

/// Answers from the file KEPT, each to the query of its number, with spans of now: no work at all.
fn replay(spec: &Spec, host: &Host, key: Key) -> Result<Finished, Error> {
    let kept = std::fs::read(kept()).expect("an earlier run kept it");
    let answers: HashMap<u64, Frame<'_>> =
        frames(&kept).flatten().map(|frame| (frame.header.seq, frame)).collect();
    while let Some(events) = host.next_events(spec.batch_size())? {
        for query in frames(&events).flatten().filter(|event| event.header.port == 0) {
            let Some(answer) = answers.get(&query.header.seq) else { continue };
            let now = |span| Span { start_ns: monotonic_ns(), busy_ns: 1_000, ..span };
            let spans = answer.spans().map(|span| key.sealed(query.header.seq, now(span)).to_bytes());
            let mut out = Vec::new();
            push(&mut out, answer.header, answer.body, &spans.flatten().collect::<Vec<u8>>());
            host.emit(&out)?;
        }
    }
    Ok(Finished::default())
}
