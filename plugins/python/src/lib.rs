//! What the plugins for Python runtimes share.
//!
//! A plugin declares an [`Engine`]: what to install and the driver to run. Everything else is here:
//! finding the interpreter, checking what is installed without starting it, starting the driver in a
//! session of its own, the channel to it, and making sure that nothing of it survives the run.
//! Adapters only: no workload and no runtime is known here by name.
//!
//! ```no_run
//! use bench_python_engine::{Engine, Import, Launch};
//! # use bench_plugin_api::prelude::*;
//! const ENGINE: Engine = Engine {
//!     name: "dask",
//!     display: "Dask",
//!     requirements: &["distributed==2026.1.0"],
//!     imports: &[Import { module: "distributed", distribution: "distributed", accepts: ">=2024.1" }],
//!     driver: "import bench_engine\n…",
//!     plain_pip: None,
//!     options: &[],
//!     starts_processes: true,
//! };
//!
//! #[derive(Default)]
//! struct Dask;
//!
//! impl Backend for Dask {
//!     const NAME: &'static str = ENGINE.name;
//!     fn is_available(&self) -> Availability {
//!         ENGINE.availability()
//!     }
//!     fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
//!         ENGINE.run(spec, host, Launch::default())
//!     }
//!     fn extension(&self, id: &str, request: &str) -> Option<String> {
//!         ENGINE.extension(id, request)
//!     }
//! }
//! ```

#![warn(missing_docs)]

mod channel;
mod config;
mod driver;
mod engine;
mod interpreter;
mod packed;
mod requirement;
mod run;
mod session;

pub use engine::{Engine, Import, Launch};
pub use interpreter::{Interpreter, data_dir};
pub use packed::Packed;
