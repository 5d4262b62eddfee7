//! From a file on disk to an answer, without ever letting the file bring the host down.
//!
//! The path a plugin takes is the order of the modules:
//!
//! 1. [`discover`] finds `libbackend_<name>.so` along the search path. It only lists directories.
//! 2. [`vet`] decides whether a file may be loaded at all. It only reads bytes.
//! 3. [`isolate`] starts a child process, in which, and only in which,
//! 4. [`load`] opens the library and hides which entry it exports behind [`load::LoadedBackend`].
//! 5. [`describe`] is the first operation done that way: what is this plugin, and is it ready?
//!
//! [`trust`] is what the user vouches for; [`vet`] enforces it. [`install`] makes the environments that plugins of
//! Python engines ask for.
//!
//! A plugin is trusted code: the child process protects against accidents, not against malice.

pub mod demand;
pub mod describe;
pub mod discover;
mod error;
pub mod install;
pub mod isolate;
pub mod limits;
pub mod load;
pub mod offline;
pub mod options;
pub mod room;
pub mod server;
mod temporary;
pub mod text;
pub mod trust;
pub mod vet;

/// The contract that plugins and hosts share.
pub use bench_plugin_api as plugin_api;

pub use error::{Error, ErrorKind};
