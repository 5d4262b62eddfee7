//! Which interpreter runs Dask.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What mends a missing Dask.
pub const REMEDY: &str = "bench backends install dask";

/// An interpreter that has Dask.
pub struct Python {
    pub interpreter: PathBuf,
    pub version: String,
}

/// The interpreter that the user named, else the one that `bench backends install` made.
///
/// # Errors
/// The missing part and where it was looked for.
pub fn find() -> Result<Python, String> {
    let interpreter = match std::env::var_os("BENCH_PYTHON_DASK") {
        Some(named) => PathBuf::from(named),
        None => managed().filter(|python| python.exists()).ok_or("no Python with Dask was installed")?,
    };
    let version = version(&interpreter)?;
    Ok(Python { interpreter, version })
}

fn managed() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("BENCH_DATA_DIR")?).join("venvs/dask/bin/python"))
}

fn version(interpreter: &Path) -> Result<String, String> {
    let script = "import importlib.metadata as m; print(m.version('distributed'))";
    let output = Command::new(interpreter)
        .args(["-c", script])
        .output()
        .map_err(|cause| format!("{} does not run: {cause}", interpreter.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{} has no module `distributed`", interpreter.display()))
}
