//! Python programs to compare with, and those that check Python, each in a virtual environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{root, target};

/// An environment below `target/` and the pinned packages it holds.
pub struct Environment {
    folder: &'static str,
    requirements: &'static str,
}

/// For `bench-operators`.
pub const NUMPY: Environment = Environment { folder: "bench-python", requirements: "requirements.txt" };

/// For `bench-compare`.
pub const PANDAS: Environment =
    Environment { folder: "bench-python-compare", requirements: "compare_requirements.txt" };

/// For `encoder`, and for the test of a real encoder.
pub const ENCODER: Environment =
    Environment { folder: "encoder-python", requirements: "encoder_requirements.txt" };

/// For `lint`.
pub const LINT: Environment = Environment { folder: "lint-python", requirements: "lint_requirements.txt" };

impl Environment {
    /// The interpreter, with everything installed when it is not there yet.
    ///
    /// # Errors
    /// What is missing, in words for the table's reader.
    pub fn python(&self) -> Result<PathBuf, String> {
        let folder = target().join(self.folder);
        let python = folder.join("bin/python");
        let requirements = root().join("xtask/python").join(self.requirements);
        let wanted = std::fs::read_to_string(&requirements).map_err(|cause| cause.to_string())?;
        // A copy of what was installed, written last.
        let stamp = folder.join(self.requirements);
        if python.exists() && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(python);
        }
        let packages = wanted.split_whitespace().collect::<Vec<_>>().join(", ");
        eprintln!("installing {packages} into {}", folder.display());
        let venv = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
        if !venv.is_ok_and(|status| status.success()) {
            return Err(
                "python3 -m venv does not work here: install Python 3.11 or later, with venv".to_owned()
            );
        }
        let pip = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--requirement"])
            .arg(&requirements)
            .status();
        if !pip.is_ok_and(|status| status.success()) {
            return Err(format!(
                "{packages} could not be installed: PyPI is not reachable, or has no wheels of them"
            ));
        }
        std::fs::write(&stamp, wanted).map_err(|cause| format!("{}: {cause}", stamp.display()))?;
        Ok(python)
    }
}

/// `python script` with one thread of arithmetic and nothing else changed about it.
#[must_use]
pub fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(root().join("xtask/python").join(name));
    for threads in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(threads, "1");
    }
    // Settings that would slow numpy down, or speed it up, unlike on its users' machines.
    command.env_remove("OPENBLAS_CORETYPE").env_remove("OPENBLAS_L2_SIZE");
    command
}
