//! `dask`: the workload on Dask (PyPI `distributed`), on worker processes of its own or on a cluster
//! that the user runs. `driver.py` says how the graph is mapped.

use bench_plugin_api::prelude::*;
use bench_python_engine::{Engine, Import, Launch};

const ENGINE: Engine = Engine {
    name: "dask",
    display: "Dask",
    requirements: &["distributed==2026.8.0"],
    imports: &[Import { module: "distributed", distribution: "distributed", accepts: ">=2026.1,<2027" }],
    driver: include_str!("../driver.py"),
    plain_pip: Some("pip install \"distributed>=2026.1,<2027\""),
    options: &[BackendOption {
        name: "dask_address",
        meaning: "the scheduler of a cluster that you run; without it workers are started on this machine",
        default: None,
        takes: Takes::Like {
            pattern: r"[a-z]+://[^\s/]+:[0-9]+/?|[^\s/:]+:[0-9]+",
            form: "a scheduler as tcp://HOST:PORT",
        },
    }],
    starts_processes: true,
};

/// The backend.
#[derive(Default)]
pub struct Dask;

impl Backend for Dask {
    const NAME: &'static str = ENGINE.name;

    fn is_available(&self) -> Availability {
        ENGINE.availability()
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        // No settings but ours: those of a user would make runs differ from machine to machine.
        let own = |name: &str| (name.to_owned(), "{dir}".to_owned());
        let launch = Launch {
            env: vec![own("DASK_CONFIG"), own("DASK_ROOT_CONFIG")],
            files: vec![
                ("compat.py", include_str!("../compat.py")),
                ("dask_worker.py", include_str!("../dask_worker.py")),
            ],
            ..Launch::default()
        };
        ENGINE.run(spec, host, launch)
    }

    fn extension(&self, id: &str, request: &str) -> Option<String> {
        ENGINE.extension(id, request)
    }
}

export_backend!(Dask);
