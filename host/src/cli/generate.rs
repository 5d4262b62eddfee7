//! What clap's own crates and the results module can print by themselves.

use clap::ValueEnum;

use super::{Exit, Stopped, output};
use bench_dataflow::graph::Graph;
use bench_engine_package::Manifest;
use bench_judge::{capacity, recovery};
use bench_record::schema;

/// Artefacts that have a schema.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SchemaOf {
    /// One line of unified_results.jsonl.
    Record,
    /// repro_manifest.json.
    Manifest,
    /// manifest.json of a pair.
    PairManifest,
    /// failure_report.json of a pair.
    FailureReport,
    /// capacity.json.
    Capacity,
    /// recovery.json.
    Recovery,
    /// engine.toml of an engine in Python.
    Engine,
    /// The graph of a workload, as plugins get it.
    Graph,
}

pub fn schema(of: SchemaOf) -> Result<Exit, Stopped> {
    let schema = match of {
        SchemaOf::Record => schema::record_schema(),
        SchemaOf::Manifest => schema::manifest_schema(),
        SchemaOf::PairManifest => schema::pair_manifest_schema(),
        SchemaOf::FailureReport => schema::failure_report_schema(),
        SchemaOf::Capacity => schema::schema_of::<capacity::Report>(),
        SchemaOf::Recovery => schema::schema_of::<recovery::Report>(),
        SchemaOf::Graph => schema::schema_of::<Graph>(),
        SchemaOf::Engine => schema::schema_of_input::<Manifest>(),
    };
    output::json(&schema)?;
    Ok(Exit::Ok)
}

// Both are written to memory first: clap_complete panics where it cannot write.
pub fn completions(shell: clap_complete::Shell, command: &mut clap::Command) -> Result<Exit, Stopped> {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, "bench", &mut text);
    output::out(format_args!("{}", String::from_utf8_lossy(&text)));
    Ok(Exit::Ok)
}

pub fn man(command: clap::Command) -> Result<Exit, Stopped> {
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut text);
    rendered.map_err(|cause| Stopped::new(Exit::Output, cause, ""))?;
    output::out(format_args!("{}", String::from_utf8_lossy(&text)));
    Ok(Exit::Ok)
}
