//! What clap's own crates and the results module can print by themselves.

use std::io::{self, Write};

use clap::ValueEnum;

use super::{Exit, Stopped};
use crate::results::schema;
use crate::run::capacity::Report;

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
}

fn output(error: io::Error) -> Stopped {
    Stopped::new(Exit::Output, format!("writing to standard output: {error}"), "")
}

pub fn schema(of: SchemaOf) -> Result<Exit, Stopped> {
    let schema = match of {
        SchemaOf::Record => schema::record_schema(),
        SchemaOf::Manifest => schema::manifest_schema(),
        SchemaOf::PairManifest => schema::pair_manifest_schema(),
        SchemaOf::FailureReport => schema::failure_report_schema(),
        SchemaOf::Capacity => schema::schema_of::<Report>(),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(|cause| output(cause.into()))?;
    writeln!(io::stdout(), "{text}").map_err(output)?;
    Ok(Exit::Ok)
}

pub fn completions(shell: clap_complete::Shell, command: &mut clap::Command) -> Result<Exit, Stopped> {
    clap_complete::generate(shell, command, "bench", &mut io::stdout());
    Ok(Exit::Ok)
}

pub fn man(command: clap::Command) -> Result<Exit, Stopped> {
    clap_mangen::Man::new(command).render(&mut io::stdout()).map_err(output)?;
    Ok(Exit::Ok)
}
