//! What a run found out, as its record keeps it.

use bench_isolate::isolate::Answer;
use bench_record::canonical_json::sha256_hex;
use bench_record::evidence::{
    Attribution, Evidence, Finding as Found, Items, OperatorTime, Plugin, ServiceLatency, Validity, Worker,
    object,
};
use indexmap::IndexMap;
use serde_json::json;

use super::attribution::Parts;
use super::machine;
use super::monitor::Seen;
use super::operation::{Measured, RunReply};
use super::outcome::OperatorUse;
use super::supervise::Job;
use super::validity::Finding;

impl Job<'_> {
    /// All but the files beside the record.
    pub(super) fn evidence(&self, answer: &Answer<RunReply>, seen: &Seen, findings: &[Finding]) -> Evidence {
        let (plan, about) = (self.plan, self.description);
        let RunReply { backend, measured } = &answer.reply;
        let outside = &measured.outside;
        let cpu =
            answer.cpu.as_ref().map(|cpu| (cpu.waited + seen.unwaited).as_secs_f64() + outside.cpu_seconds);
        let memory = seen.peak_bytes.unwrap_or(0).max(measured.peak_rss_bytes);
        let joules = if outside.any() { Err(OTHER_SOCKETS.to_owned()) } else { seen.joules.clone() };
        let whys = [
            ("attribution", measured.unattributed.clone()),
            ("cpu_seconds", outside.unknown.clone()),
            ("memory_peak_bytes", outside.any().then(|| ELSEWHERE.to_owned())),
            ("energy_joules", joules.as_ref().err().cloned()),
        ];
        Evidence {
            backend_hash: Some(sha256_hex(about.name.to_string().as_bytes())),
            scheduler: Some(plan.scheduler.clone()),
            repeat_index: Some(self.repeat_index.into()),
            repeats: Some(plan.repeat.into()),
            partial: measured.partial,
            output_digest: measured.output_digest.clone(),
            items: Items {
                emitted: Some(measured.emitted),
                completed: Some(measured.completed),
                failed: Some(measured.failed),
                join_empty: Some(measured.join_empty),
                warmup: Some(measured.warmup),
                timed: Some(measured.timed),
            },
            failure_reasons: measured.reasons.clone(),
            failure_reasons_left_out: measured.reasons_left_out,
            operators: operators(measured),
            attribution: attribution(measured),
            service_latency: ServiceLatency { p50: measured.service_p50, p99: measured.service_p99 },
            load: Some(plan.load),
            late_arrivals: Some(measured.late),
            generator: measured.generator,
            memory_peak_bytes: (!outside.any()).then_some(memory),
            cpu_seconds: cpu.filter(|_| outside.unknown.is_none()),
            energy_joules: joules.ok(),
            cpu_seconds_sampled: Some(seen.unwaited.as_secs_f64()),
            processes_peak: seen.processes,
            workers: measured
                .workers
                .iter()
                .map(|used| Worker { host: used.host.clone(), pid: used.process, spans: used.spans })
                .collect(),
            clocks: measured.clocks.clone(),
            unknown: whys.into_iter().filter_map(|(figure, why)| Some((figure.to_owned(), why?))).collect(),
            workers_left_out: measured.workers_left_out,
            machines: outside.machines.clone(),
            quality: measured.scores.as_ref().map(object),
            corpus: measured.corpus.as_ref().map(object),
            embedding_endpoint: plan.served.as_ref().map(object),
            truncation: plan.workload.truncation(&plan.open_spec()).ok().flatten().as_ref().map(object),
            plugin: Plugin {
                version: Some(about.plugin_version.clone()),
                api: Some(about.api_version.clone()),
                abi: Some(about.abi.clone()),
                sha256: Some(about.sha256.clone()),
            },
            runtime_version: Some(about.availability.detail.clone()),
            workloads_sha256: self.library.as_ref().map(|library| library.sha256.clone()),
            bench_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            simd: Some(measured.simd.clone()),
            host: Some(object(&machine::read())),
            disturbance: seen.disturbance.clone(),
            steady: measured.steady,
            validity: Validity::of(findings.iter().map(Found::from).collect()),
            effective_config: object(&plan.fingerprint()),
            backend_options: self.options.iter().cloned().collect(),
            place: self.place.clone(),
            backend_account: Some(backend.clone()),
            remarks: answer.remarks.iter().map(|remark| json!(remark)).collect(),
            ..Evidence::default()
        }
    }
}

/// Why it is not known how much memory there was at most.
const ELSEWHERE: &str =
    "operators ran in processes that bench did not start: `machines` has the largest of each machine";

/// Why it is not known how much energy it took.
const OTHER_SOCKETS: &str = "operators ran in processes that bench did not start, perhaps on other machines";

/// Where spans say what cannot be, the times of the others are not the whole of it.
fn operators(measured: &Measured) -> IndexMap<String, OperatorTime> {
    let time = |usage: &OperatorUse| OperatorTime {
        records: usage.records,
        busy_seconds: (!measured.doubts.any()).then_some(usage.busy_ns as f64 / 1e9),
    };
    measured.operators.iter().map(|(name, usage)| (name.clone(), time(usage))).collect()
}

fn attribution(measured: &Measured) -> Option<Attribution> {
    let stages = measured.attribution.iter();
    (!measured.doubts.any() && measured.unattributed.is_none()).then(|| Attribution {
        all: stages.clone().map(|(_, parts)| *parts).sum::<Parts>().into(),
        stages: stages.map(|(name, parts)| (name.clone(), (*parts).into())).collect(),
    })
}
