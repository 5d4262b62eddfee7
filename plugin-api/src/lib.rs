//! The contract between `bench` and a backend plugin.
//!
//! * [`v1`] is the ABI itself: `#[repr(C)]` types and trait objects on `abi_stable`. It is frozen:
//!   nothing in it ever changes. Growth goes to named extensions (`bench.<what>/<version>`, JSON in
//!   and out) or to a `v2` beside it.
//! * [`c_v1`] is the same contract for C and every language that can export a C function; its header is
//!   `include/bench_backend.h`.
//! * [`sdk`] is the safe Rust layer that plugin authors use. It is ordinary Rust, compiled into
//!   each plugin, and may change with the API version.
//! * [`testkit`] is a host in memory, for a plugin's own unit tests.
//!
//! Start from the trait [`sdk::Backend`] and the macro [`export_backend!`].

#![warn(missing_docs)]

pub mod c_v1;
pub mod sdk;
pub mod testkit;
pub mod v1;

pub use bench_dataflow as dataflow;

/// Everything a small backend needs.
pub mod prelude {
    pub use crate::export_backend;
    pub use crate::sdk::{
        Availability, Backend, BackendOption, Error, Finished, Host, InlinePipeline, Spec, Takes,
    };
}

/// Semantic version of the API a plugin is compiled against. It is told and recorded, and never a reason to refuse a
/// plugin: that is [`ABI`]'s.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The ABI generation, an integer that changes only when `v1` is superseded.
pub const ABI: u32 = 1;

#[doc(hidden)]
pub mod __private {
    pub use abi_stable;
}
