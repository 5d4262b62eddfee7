//! Dask's `distributed`: stateless operators are tasks, the others actors, on real worker processes.
//!
//! A Python driver (`python/driver.py`) is the client and, unless `dask_address` names a scheduler,
//! the cluster too. This side only finds an interpreter and moves events, results and phases.

mod driver;
mod python;

use bench_plugin_api::prelude::*;
use serde_json::json;

/// Packages that `bench backends install dask` installs, the driver's own among them by dependency.
const REQUIREMENTS: [&str; 1] = ["distributed==2026.8.0"];

#[derive(Default)]
struct Dask;

impl Backend for Dask {
    const NAME: &'static str = "dask";

    fn is_available(&self) -> Availability {
        match python::find() {
            Ok(found) => Availability::ready(found.version),
            Err(missing) => Availability::missing(missing, python::REMEDY),
        }
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        let unavailable = |reason| Error::Unavailable { reason, remedy: python::REMEDY.to_owned() };
        let python = python::find().map_err(unavailable)?;
        let address = spec.extra("dask_address");
        if spec.number("nodes", 1) > 1 && address.is_none() {
            return Err(Error::Unsupported(
                "dask starts workers on this machine only; for more nodes start a scheduler and name it with \
                 --backend-option dask_address=tcp://HOST:PORT"
                    .to_owned(),
            ));
        }
        let workloads = host
            .extension("bench.workloads/1", "")
            .ok_or_else(|| Error::Unsupported("this host does not offer bench.workloads/1".to_owned()))?;
        let workloads: serde_json::Value = serde_json::from_str(&workloads).map_err(Error::runtime)?;
        let config = json!({
            "workloads": workloads,
            "parallelism": spec.parallelism,
            "scheduler": spec.scheduler_name,
            "address": address,
        });
        driver::run(&python, &config, spec, host)
    }

    fn extension(&self, id: &str, _: &str) -> Option<String> {
        (id == "bench.requirements/1")
            .then(|| json!({ "python": ">=3.10", "requirements": REQUIREMENTS }).to_string())
    }
}

export_backend!(Dask);
