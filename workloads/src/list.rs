//! The workloads that there are. Another one is a folder, its `pub mod`, and a line here.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::workload::{Workload, WorkloadError};
use crate::{null, wl1, wl2, wl3, wl4};

/// All of them; the first is the one that runs when none is named.
pub static WORKLOADS: [&dyn Workload; 5] =
    [&wl4::WORKLOAD, &wl1::WORKLOAD, &wl2::WORKLOAD, &wl3::WORKLOAD, &null::WORKLOAD];

/// A workload of the list; written as its name.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listed(pub &'static dyn Workload);

/// The workload that runs when none is named.
#[must_use]
pub fn default() -> Listed {
    Listed(WORKLOADS[0])
}

/// The workload whose work is nothing.
#[must_use]
pub fn without_work() -> Listed {
    Listed(&null::WORKLOAD)
}

/// The workload of this name.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<Listed, WorkloadError> {
    let found = WORKLOADS.into_iter().find(|workload| workload.name() == name);
    found.map(Listed).ok_or_else(|| WorkloadError::UnknownWorkload {
        name: name.to_owned(),
        known: WORKLOADS.map(Workload::name).join(", "),
    })
}

impl Deref for Listed {
    type Target = dyn Workload;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl TryFrom<String> for Listed {
    type Error = WorkloadError;

    fn try_from(name: String) -> Result<Self, WorkloadError> {
        find(&name)
    }
}

impl From<Listed> for String {
    fn from(listed: Listed) -> Self {
        listed.name().to_owned()
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}
