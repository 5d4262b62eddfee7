//! The sink alone: what it costs to take one finished query.

use std::sync::Arc;

use bench_dataflow::frame::{Header, Kind, SPAN_LEN, push};
use bench_measure::ledger::{Ledger, Pending};
use bench_measure::plan::Plan;
use bench_measure::sink::Sink;
use bench_workloads::instance::monotonic_ns;
use bench_workloads::records::{Answer, Reference};
use bench_workloads::schedule::query_key;
use serde_json::{Value, json};

use crate::Failure;

/// Answers that reach the sink together: a global batch.
const TOGETHER: u64 = 12;

/// Median over batches of the time per answer, in microseconds.
pub fn time(plan: &Plan) -> Result<Value, Failure> {
    let nodes = plan.graph()?.nodes.len();
    let ledger = Arc::new(Ledger::default());
    let items = tempfile::NamedTempFile::new()?;
    let sink = Sink::new(Arc::clone(&ledger), vec![true; nodes], items.reopen()?, None);
    let mut samples = Vec::new();
    for group in 0..u64::from(plan.num_tasks) / TOGETHER {
        let mut batch = Vec::new();
        for seq in group * TOGETHER..(group + 1) * TOGETHER {
            let key = query_key(&answer(seq).query_id);
            let pending = Pending { intended_ns: 0, emitted_ns: 0, event_time_ns: 0, key, timed: true };
            ledger.emit(&[(seq, pending)], 0);
            let header =
                Header { port: 0, kind: Kind::Data, seq, key: seq, event_time_ns: 0, watermark_ns: 0 };
            push(&mut batch, header, &postcard::to_stdvec(&answer(seq))?, &vec![0; nodes * SPAN_LEN]);
        }
        let start = monotonic_ns();
        sink.take(&batch)?;
        samples.push((monotonic_ns() - start) as f64 / 1e3 / TOGETHER as f64);
    }
    samples.sort_by(f64::total_cmp);
    let median = samples.get(samples.len() / 2).copied().ok_or("too few tasks to time the sink")?;
    Ok(json!({"median_us": median, "min_us": samples[0], "samples": samples.len()}))
}

/// An answer of the usual size.
fn answer(seq: u64) -> Answer {
    let text = "the report shows a steady increase in demand and ".repeat(12);
    let reference = |n: u32| Reference {
        doc_id: format!("v1_{n:06}"),
        source: "synthetic".into(),
        snippet: text[..200].to_owned(),
    };
    Answer {
        query_id: format!("q_{seq:06}"),
        response: text.clone(),
        references: (0..3).map(reference).collect(),
        ranking: (0..10).map(|n| format!("v1_{n:06}")).collect(),
        ..Answer::default()
    }
}
