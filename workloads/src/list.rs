//! The workloads that there are. Another one is a folder, its `pub mod`, and a line here.

use crate::workload::{Workload, WorkloadError};
use crate::{null, wl1, wl2, wl3, wl4};

/// All of them; the first is the one that runs when none is named.
pub static WORKLOADS: [&dyn Workload; 5] =
    [&wl4::WORKLOAD, &wl1::WORKLOAD, &wl2::WORKLOAD, &wl3::WORKLOAD, &null::WORKLOAD];

/// The workload that runs when none is named.
#[must_use]
pub fn default() -> &'static dyn Workload {
    WORKLOADS[0]
}

/// The workload of this name.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<&'static dyn Workload, WorkloadError> {
    let found = WORKLOADS.into_iter().find(|workload| workload.name() == name);
    found.ok_or_else(|| WorkloadError::UnknownWorkload {
        name: name.to_owned(),
        known: WORKLOADS.map(Workload::name).join(", "),
    })
}
