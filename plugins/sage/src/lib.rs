//! `sage`: the workload on SAGE (PyPI `isage`), single node, threads in one Python process.
//!
//! The driver beside this file maps the graph; what is SAGE's own doing and what is measured about it
//! is in `docs/engines.md`.

use bench_plugin_api::prelude::*;
use bench_python_engine::{Engine, Import, Launch};

/// What SAGE needs. `isage` declares neither a pin nor all it imports: `cloudpickle` is imported by
/// its FlowNet engine, `yaml` by its configuration.
const ENGINE: Engine = Engine {
    name: "sage",
    display: "SAGE",
    requirements: &["isage==0.3.2.4", "cloudpickle==3.1.3", "pyyaml==6.0.2"],
    imports: &[
        Import { module: "sage.runtime", distribution: "isage", accepts: "==0.3.2.4" },
        Import { module: "cloudpickle", distribution: "cloudpickle", accepts: ">=3.0,<4" },
        Import { module: "yaml", distribution: "PyYAML", accepts: ">=6.0,<7" },
    ],
    driver: include_str!("driver.py"),
    plain_pip: None,
    options: &[BackendOption {
        name: SAGE_ENGINE,
        meaning: "how the graph runs on SAGE: its public FlowNetEnvironment, or the flow engine below it",
        default: Some(DEFAULT_ENGINE),
        takes: Takes::OneOf(&["environment", "flow"]),
    }],
    starts_processes: false,
};

/// Spec entry that chooses how the graph runs on SAGE: `flow` or `environment`.
const SAGE_ENGINE: &str = "sage_engine";
/// SAGE's public interface. The flow engine below it costs less; `docs/engines.md` has the numbers.
const DEFAULT_ENGINE: &str = "environment";

/// The backend.
#[derive(Default)]
pub struct Sage;

impl Backend for Sage {
    const NAME: &'static str = ENGINE.name;

    fn is_available(&self) -> Availability {
        ENGINE.availability()
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        let nodes = spec.number("nodes", 1);
        if nodes > 1 {
            return Err(Error::Unsupported(format!(
                "SAGE cannot use {nodes} nodes: in isage 0.3.2.4 nodes find each other, but operators and flows \
                 are created in the submitting process only. Leave --nodes at 1"
            )));
        }
        let mut launch =
            Launch { files: vec![("compat.py", include_str!("compat.py"))], ..Launch::default() };
        let engine = spec.extra(SAGE_ENGINE).unwrap_or(DEFAULT_ENGINE);
        launch.config.insert(SAGE_ENGINE.to_owned(), engine.into());
        ENGINE.run(spec, host, launch)
    }

    fn extension(&self, id: &str, request: &str) -> Option<String> {
        ENGINE.extension(id, request)
    }
}

export_backend!(Sage);
