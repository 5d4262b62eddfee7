//! `local`: the whole graph in one process, on tokio.
//!
//! Each chain of operators runs as many tasks as it may have instances; tasks are connected by
//! bounded channels, so a slow operator holds back its producers and, in the end, the source. There
//! are exactly `parallelism` worker threads. Keyed edges send equal keys to one task.

mod engine;

use bench_plugin_api::prelude::*;

/// The backend.
#[derive(Default)]
pub struct Local;

impl Backend for Local {
    const NAME: &'static str = "local";

    fn is_available(&self) -> Availability {
        Availability::ready(format!("in-process, {}", env!("CARGO_PKG_VERSION")))
    }

    fn options(&self) -> Option<&'static [BackendOption]> {
        Some(&[])
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        let nodes = spec.number("nodes", 1);
        if nodes > 1 {
            return Err(Error::Unsupported(format!(
                "local runs in one process and cannot use {nodes} nodes: leave --nodes at 1, or choose a distributed backend"
            )));
        }
        engine::run(spec, host)?;
        Ok(Finished::default())
    }
}

export_backend!(Local);
