//! Managed virtual environments, from what a plugin says it needs.
//!
//! One folder per backend below the user's data directory. A new environment is built under a name
//! of its own and then put in place by renaming a link, so an interrupted installation leaves the
//! old one, or none, and never a half.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// What a plugin answers to `bench.requirements/1`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Requirements {
    /// Bounds of the Python version, for example `>=3.10`.
    pub python: String,
    /// Pinned requirements, as pip reads them.
    pub requirements: Vec<String>,
}

/// An installation failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("there is no Python interpreter '{0}'")]
    NoPython(String),
    #[error("{command} failed ({status}): {tail}")]
    Command { command: String, status: String, tail: String },
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
}

/// Where bench keeps what it installs and whom the user trusts: `BENCH_DATA_DIR`, or the user's data
/// directory.
#[must_use]
pub fn data_dir() -> Option<PathBuf> {
    match std::env::var_os("BENCH_DATA_DIR").filter(|dir| !dir.is_empty()) {
        // Drivers run in directories of their own.
        Some(dir) => std::path::absolute(dir).ok(),
        None => directories::ProjectDirs::from("", "", "bench").map(|dirs| dirs.data_dir().to_owned()),
    }
}

/// `venvs` below [`data_dir`].
#[must_use]
pub fn venvs_dir() -> Option<PathBuf> {
    data_dir().map(|data| data.join("venvs"))
}

/// Installs `requirements` for `backend` with the interpreter `python`; `progress` hears what pip says.
///
/// # Errors
/// When there is no such interpreter, or venv or pip fail.
pub fn install(
    venvs: &Path,
    backend: &str,
    python: &str,
    requirements: &Requirements,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, InstallError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |cause| InstallError::Io { path, cause }
    };
    fs::create_dir_all(venvs).map_err(io(venvs))?;
    let built =
        tempfile::Builder::new().prefix(&format!("{backend}-")).tempdir_in(venvs).map_err(io(venvs))?;
    progress("creating a virtual environment");
    call(Command::new(python).args(["-m", "venv"]).arg(built.path()), progress)?;
    let pip = built.path().join("bin/python");
    let install =
        ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"];
    call(Command::new(pip).args(install).args(&requirements.requirements), progress)?;
    let link = venvs.join(backend);
    let old = fs::read_link(&link).ok();
    let next = venvs.join(format!(".{backend}.new"));
    // A leftover of an installation that was interrupted between these two lines.
    let _ = fs::remove_file(&next);
    let folder = built.keep();
    let target = folder.file_name().map(PathBuf::from).unwrap_or_default();
    std::os::unix::fs::symlink(&target, &next).map_err(io(&next))?;
    fs::rename(&next, &link).map_err(io(&link))?;
    if let Some(old) = old.filter(|old| *old != target) {
        fs::remove_dir_all(venvs.join(&old)).map_err(io(&venvs.join(old)))?;
    }
    Ok(link)
}

/// Removes the environment of `backend`. False when there was none.
///
/// # Errors
/// When something cannot be removed.
pub fn uninstall(venvs: &Path, backend: &str) -> Result<bool, InstallError> {
    let link = venvs.join(backend);
    let Ok(target) = fs::read_link(&link) else { return Ok(false) };
    let remove = || -> io::Result<()> {
        fs::remove_file(&link)?;
        fs::remove_dir_all(venvs.join(target))
    };
    remove().map_err(|cause| InstallError::Io { path: link.clone(), cause })?;
    Ok(true)
}

fn call(command: &mut Command, progress: &mut dyn FnMut(&str)) -> Result<(), InstallError> {
    let shown = format!("{command:?}").replace('"', "");
    let program = command.get_program().to_string_lossy().into_owned();
    let (reader, writer) =
        io::pipe().map_err(|cause| InstallError::Io { path: PathBuf::from("pipe"), cause })?;
    let second =
        writer.try_clone().map_err(|cause| InstallError::Io { path: PathBuf::from("pipe"), cause })?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second)
        .spawn()
        .map_err(|_| InstallError::NoPython(program))?;
    // The command keeps the writing ends; without this the pipe would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tail = std::collections::VecDeque::new();
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        progress(&line);
        tail.push_back(line);
        if tail.len() > 8 {
            tail.pop_front();
        }
    }
    let status = child.wait().map_err(|cause| InstallError::Io { path: PathBuf::from("wait"), cause })?;
    if status.success() {
        return Ok(());
    }
    let tail = tail.into_iter().collect::<Vec<_>>().join(" / ");
    Err(InstallError::Command { command: shown, status: status.to_string(), tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interpreter_is_named_and_nothing_is_left() {
        let venvs = tempfile::tempdir().unwrap();
        let requirements = Requirements { python: ">=3.10".into(), requirements: vec![] };
        let error = install(venvs.path(), "x", "no-such-python", &requirements, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "there is no Python interpreter 'no-such-python'");
        assert_eq!(fs::read_dir(venvs.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failing_command_shows_what_it_said_last() {
        let mut seen = Vec::new();
        let error = call(Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]), &mut |line| {
            seen.push(line.to_owned());
        })
        .unwrap_err();
        assert!(error.to_string().contains("exit status: 3): one / two"), "{error}");
        assert_eq!(seen, ["one", "two"]);
    }

    #[test]
    fn uninstalling_what_is_not_there_says_so() {
        assert!(!uninstall(tempfile::tempdir().unwrap().path(), "x").unwrap());
    }
}
