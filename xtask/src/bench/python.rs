//! numpy in a virtual environment of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cargo::{root, target};

/// The interpreter of the managed environment, installed when it is not there yet.
///
/// # Errors
/// What is missing, in words for the table's reader.
pub fn numpy() -> Result<PathBuf, String> {
    let folder = target().join("bench-python");
    let python = folder.join("bin/python");
    let requirements = root().join("xtask/python/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).map_err(|cause| cause.to_string())?;
    let wanted = wanted.trim().trim_start_matches("numpy==");
    let installed = Command::new(&python)
        .args(["-c", "import numpy; print(numpy.__version__)"])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == wanted);
    if installed {
        return Ok(python);
    }
    eprintln!("installing numpy {wanted} into {}", folder.display());
    let venv = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
    if !venv.is_ok_and(|status| status.success()) {
        return Err("python3 -m venv does not work here: install Python 3.11 or later".to_owned());
    }
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--requirement"])
        .arg(&requirements)
        .status();
    if pip.is_ok_and(|status| status.success()) {
        Ok(python)
    } else {
        Err(format!("numpy {wanted} could not be installed: PyPI is not reachable, or has no wheel of it"))
    }
}

/// `python script` with one thread of arithmetic and nothing else changed about it.
#[must_use]
pub fn script(python: &PathBuf, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(root().join("xtask/python").join(name));
    for threads in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(threads, "1");
    }
    // Settings that would slow numpy down, or speed it up, unlike on its users' machines.
    command.env_remove("OPENBLAS_CORETYPE").env_remove("OPENBLAS_L2_SIZE");
    command
}
