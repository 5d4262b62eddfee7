//! `bench workloads`.

use bench_workloads::list::{self, WORKLOADS};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::output;
use super::plan::set_parameter;
use super::{Exit, Stopped};
use bench_workloads::drawing;

/// Subcommands of `bench workloads`.
#[derive(Debug, Subcommand)]
pub enum WorkloadsCommand {
    /// List the workloads.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Draw a workload's graph and say what each operator needs.
    Describe {
        /// Name, as `bench workloads list` shows it.
        name: String,
        /// How to draw it.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        /// A parameter that changes the graph; repeatable
        #[arg(long, value_name = "KEY=VALUE", help = set_help())]
        set: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    Text,
    /// A file that needs no other: `bench workloads describe wl4 --format svg > wl4.svg`
    Svg,
    /// The graph as plugins get it.
    Json,
}

fn set_help() -> String {
    let example = list::default().parameters().graph_example;
    format!("A parameter that changes the graph, for example {example}; repeatable")
}

pub fn workloads(command: &WorkloadsCommand) -> Result<Exit, Stopped> {
    match command {
        WorkloadsCommand::List { json } => list(*json),
        WorkloadsCommand::Describe { name, format, set } => describe(name, *format, set),
    }
}

fn list(json: bool) -> Result<Exit, Stopped> {
    let mut workloads = WORKLOADS.map(list::Listed);
    workloads.sort_unstable_by_key(|workload| (*workload == list::without_work(), workload.name()));
    let mut rows: Vec<Value> = Vec::new();
    for workload in workloads {
        let graph = workload.graph(&workload.parameters().defaults()).map_err(Stopped::usage)?;
        rows.push(json!({
            "name": workload,
            "operators": graph.operators().count(),
            "sources": graph.nodes.len() - graph.operators().count() - 1,
            "default": workload == list::default(),
            "summary": workload.summary(),
        }));
    }
    if json {
        output::json(&rows)?;
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    for row in &rows {
        let mark = if row["default"] == true { " (default)" } else { "" };
        let (name, summary) = (row["name"].as_str().unwrap_or(""), row["summary"].as_str().unwrap_or(""));
        text.push_str(&format!(
            "{name:6}{:3} operators  {summary}{mark}\n",
            row["operators"].as_u64().unwrap_or(0)
        ));
    }
    output::out(format_args!("{text}"));
    Ok(Exit::Ok)
}

fn describe(name: &str, format: Format, set: &[String]) -> Result<Exit, Stopped> {
    let workload =
        list::find(name).map_err(|cause| Stopped::new(Exit::Usage, cause, "bench workloads list"))?;
    let table = workload.parameters();
    let mut params = table.defaults();
    set.iter().try_for_each(|set| set_parameter(table, &mut params, set))?;
    table.validate(&params).map_err(Stopped::usage)?;
    let graph = workload.graph(&params).map_err(Stopped::usage)?;
    match format {
        Format::Text => {
            output::out(format_args!("{name}: {}\n\n{}", workload.summary(), drawing::text(&graph)));
        }
        Format::Svg => output::out(format_args!("{}", drawing::svg(&graph))),
        Format::Json => {
            let value =
                serde_json::to_value(&graph).map_err(|cause| Stopped::new(Exit::Output, cause, ""))?;
            output::json(&value)?;
        }
    }
    Ok(Exit::Ok)
}
