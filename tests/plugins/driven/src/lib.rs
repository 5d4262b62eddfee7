//! A Python engine that needs next to nothing, and whose driver behaves as `--backend-option behave=…` says.
//!
//! `DRIVEN_REQUIREMENT` is what it gives to pip; then it needs the distribution `tiny` of version 1 or later.

use bench_plugin_api::prelude::*;
use bench_python_engine::{Engine, Import, Launch};

const TINY: &[Import] = &[Import { module: "tiny", distribution: "tiny", accepts: ">=1" }];

fn engine() -> Engine {
    let requirement = std::env::var("DRIVEN_REQUIREMENT").ok();
    // An engine is a constant of its plugin everywhere else.
    let requirements: Vec<&'static str> = requirement.into_iter().map(|text| &*text.leak()).collect();
    Engine {
        name: "driven",
        display: "Driven",
        imports: if requirements.is_empty() { &[] } else { TINY },
        requirements: requirements.leak(),
        driver: include_str!("driver.py"),
        plain_pip: None,
        options: &[BackendOption {
            name: "behave",
            meaning: "what goes wrong",
            default: None,
            takes: Takes::Text,
        }],
        starts_processes: true,
    }
}

/// The backend.
#[derive(Default)]
pub struct Driven;

impl Backend for Driven {
    const NAME: &'static str = "driven";

    fn is_available(&self) -> Availability {
        engine().availability()
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        engine().run(spec, host, Launch { logs: vec!["session_*/*.err"], ..Launch::default() })
    }

    fn extension(&self, id: &str, request: &str) -> Option<String> {
        engine().extension(id, request)
    }
}

export_backend!(Driven);
