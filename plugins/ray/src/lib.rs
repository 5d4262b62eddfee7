//! `ray`: the workload on Ray (PyPI `ray`), in real clusters of real processes.
//!
//! The driver's modules lie in `driver/`; `docs/ray.md` says how the graph is mapped, which options
//! there are and what was measured.

use std::path::Path;

use bench_plugin_api::prelude::*;
use bench_python_engine::{Engine, Import, Launch};

const ENGINE: Engine = Engine {
    name: "ray",
    display: "Ray",
    requirements: &["ray==2.60.0"],
    imports: &[Import { module: "ray", distribution: "ray", accepts: ">=2.9,<3.0" }],
    driver: include_str!("driver/driver.py"),
    plain_pip: Some("pip install \"ray>=2.9,<3.0\""),
    options: &OPTIONS,
    starts_processes: true,
};

/// What `driver.py`, `plan.py`, `workers.py` and `cluster.py` read.
const OPTIONS: [BackendOption; 4] = [
    BackendOption {
        name: "ray_fusion",
        meaning: "what shares an actor: all operators before the center, those that the graph chains (the default of ray_mode=compiled), or none",
        default: Some("all"),
        takes: Takes::OneOf(&["all", "chains", "none"]),
    },
    BackendOption {
        name: "ray_mode",
        meaning: "actors; for comparison two blocking waves of tasks per window; or compiled graphs, experimental",
        default: Some("actors"),
        takes: Takes::OneOf(&["actors", "naive", "compiled"]),
    },
    BackendOption {
        name: "call_timeout_seconds",
        meaning: "a call that takes longer is ended with its worker; without it only --timeout ends it",
        default: None,
        takes: Takes::Number { whole: false, minimum: Some(0.001), maximum: None },
    },
    BackendOption {
        name: "ray_address",
        meaning: "the cluster to join instead of starting one",
        default: None,
        takes: Takes::Like {
            pattern: r"auto|(ray://)?[^\s/]+:[0-9]+",
            form: "the address of a cluster as HOST:PORT, ray://HOST:PORT or auto",
        },
    },
];

/// Modules beside the driver, all of them.
pub const MODULES: [(&str, &str); 20] = [
    ("actors.py", include_str!("driver/actors.py")),
    ("center.py", include_str!("driver/center.py")),
    ("cluster.py", include_str!("driver/cluster.py")),
    ("common.py", include_str!("driver/common.py")),
    ("compat.py", include_str!("driver/compat.py")),
    ("compiled.py", include_str!("driver/compiled.py")),
    ("documents.py", include_str!("driver/documents.py")),
    ("engine.py", include_str!("driver/engine.py")),
    ("environment.py", include_str!("driver/environment.py")),
    ("flush.py", include_str!("driver/flush.py")),
    ("front.py", include_str!("driver/front.py")),
    ("naive.py", include_str!("driver/naive.py")),
    ("plan.py", include_str!("driver/plan.py")),
    ("ray_transport.py", include_str!("driver/ray_transport.py")),
    ("recovery.py", include_str!("driver/recovery.py")),
    ("results.py", include_str!("driver/results.py")),
    ("submission.py", include_str!("driver/submission.py")),
    ("tail.py", include_str!("driver/tail.py")),
    ("transport.py", include_str!("driver/transport.py")),
    ("workers.py", include_str!("driver/workers.py")),
];

/// Where Ray's own processes say why they did not come up or ended.
const LOGS: [&str; 3] =
    ["session_*/logs/*.err", "session_*/logs/*.out", "session_*/logs/python-core-driver-*.log"];

/// How a user authenticates at a cluster of their own.
const AUTHENTICATION: [&str; 3] = ["RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"];

/// The backend.
#[derive(Default)]
pub struct Ray;

impl Backend for Ray {
    const NAME: &'static str = ENGINE.name;

    fn is_available(&self) -> Availability {
        ENGINE.availability()
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        let mut launch = Launch { files: MODULES.to_vec(), logs: LOGS.to_vec(), ..Launch::default() };
        if spec.extra("ray_address").is_some() {
            launch.env = authentication();
        }
        ENGINE.run(spec, host, launch)
    }

    fn extension(&self, id: &str, request: &str) -> Option<String> {
        ENGINE.extension(id, request)
    }
}

/// What the user's own Ray programs would use: the variables, or the token file in the home folder,
/// which the driver does not see.
fn authentication() -> Vec<(String, String)> {
    let variable = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    let mut found: Vec<_> = AUTHENTICATION.iter().filter_map(|name| variable(name)).collect();
    let token = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ray/auth_token"));
    if found.is_empty()
        && let Some(token) = token.filter(|token| token.is_file())
    {
        found.push(("RAY_AUTH_TOKEN_PATH".to_owned(), token.display().to_string()));
        found.push(("RAY_AUTH_MODE".to_owned(), "token".to_owned()));
    }
    if !found.iter().any(|(name, _)| name == "RAY_AUTH_MODE") {
        found.push(("RAY_AUTH_MODE".to_owned(), "disabled".to_owned()));
    }
    found
}

export_backend!(Ray);
