//! A Python engine in one piece: what its `engine.toml` says, its sources, and how both lie in the reserved section
//! of a library.
//!
//! `bench backends pack` writes with this crate, and the library that results reads with it. Nothing here knows a
//! workload, a runtime or the host.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod manifest;
pub mod section;

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

pub use manifest::{DRIVER, EngineOption, FILE, Import, Manifest, Nodes, Range};

/// Names at the top of a run's folder that are not the engine's: folders of the run, and the SDK.
pub const OURS: [&str; 4] = ["home", "tmp", "run", "bench_engine"];

/// An engine: what it says about itself, and its sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// What `engine.toml` says.
    pub manifest: Manifest,
    /// Each file by its path below the engine's folder, with `/` between the parts.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Whether something is the path of a file that an engine may bring.
///
/// # Errors
/// With the reason why not.
pub fn path_is_fine(path: &str) -> Result<(), String> {
    let parts: Vec<Component<'_>> = Path::new(path).components().collect();
    let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    let shown = path.chars().all(|c| !c.is_control() && c != '\\');
    if parts.is_empty() || !plain || !shown || path.ends_with('/') {
        return Err(format!("'{}' is not a path below the engine's folder", path.escape_default()));
    }
    let first = path.split('/').next().unwrap_or_default();
    if OURS.contains(&first) {
        return Err(format!("'{path}' is taken: bench puts a {first} of its own there in each run"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_below_the_folder_and_beside_what_is_ours() {
        for fine in ["driver.py", "parts/deep/er.py", "homes.py", "parts/tmp/x.py", "data.json"] {
            assert_eq!(path_is_fine(fine), Ok(()));
        }
        for wrong in ["", ".", "..", "/etc/x.py", "../x.py", "a/../../x.py", "a\\b.py", "a\nb.py", "a/"] {
            assert!(path_is_fine(wrong).unwrap_err().contains("is not a path below"), "{wrong}");
        }
        for taken in ["bench_engine/more.py", "tmp/x.py", "home"] {
            assert!(path_is_fine(taken).unwrap_err().contains("is taken"), "{taken}");
        }
    }
}
