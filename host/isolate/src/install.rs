//! Managed virtual environments, from what a plugin says it needs.
//!
//! One folder per backend below the user's data directory. A new environment is built under a name
//! of its own and then put in place by renaming a link, so an interrupted installation leaves the
//! old one, or none, and never a half.

mod build;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use build::{Install, InstallRequest};

use super::isolate::{Cause, Directive, Limits, Notice, Runner, Stop, scratch_path};
use super::vet::noexec;
use bench_record::found::Found;

/// What a plugin answers to `bench.requirements/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirements {
    /// Bounds of the Python version, for example `>=3.10`.
    pub python: String,
    /// Pinned requirements, as pip reads them.
    pub requirements: Vec<String>,
}

/// An installation failed. The environment that was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Python, venv or pip failed.
    #[error("{cause}")]
    Failed { cause: String, remedy: String },
    /// The user stopped it.
    #[error("the installation for '{0}' was stopped; nothing was changed")]
    Stopped(String),
    /// Someone else is at it.
    #[error("another installation for '{0}' is under way")]
    Busy(String),
    /// What is installed there could not be loaded.
    #[error("{} lies on {}, which is mounted noexec: no library in it could be loaded", folder.display(), mount.display())]
    NoExec { folder: PathBuf, mount: PathBuf },
    /// Files could not be read or written.
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
}

impl InstallError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Failed { remedy, .. } => remedy.clone(),
            Self::Stopped(backend) => format!("bench backends install {backend}"),
            Self::Busy(_) => "wait until it is done".to_owned(),
            Self::NoExec { .. } => {
                "set BENCH_DATA_DIR to a folder on a file system without noexec".to_owned()
            }
            Self::Io { .. } => "set BENCH_DATA_DIR to a folder that you may write".to_owned(),
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { path, cause }
    }
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

/// How the name of an environment goes on behind the backend's and a dash; six letters follow. Earlier versions had no
/// word here and locked nothing: theirs may be in the making though no lock says so.
const ENVIRONMENT: &str = "env-";

/// `venvs` below [`data_dir`].
#[must_use]
pub fn venvs_dir() -> Option<PathBuf> {
    data_dir().map(|data| data.join("venvs"))
}

/// Installs `requirements` for `backend` with the interpreter `python`; `progress` hears what pip says. The first
/// Ctrl-C ends it.
///
/// # Errors
/// When there is no such interpreter, venv or pip fail, or the user stops it.
pub fn install(
    venvs: &Path,
    backend: &str,
    python: &str,
    requirements: &Requirements,
    progress: &mut dyn FnMut(&str),
    stop: &Stop,
) -> Result<PathBuf, InstallError> {
    let io = InstallError::io;
    fs::create_dir_all(venvs).map_err(io(venvs))?;
    if let Some(mount) = noexec(venvs) {
        return Err(InstallError::NoExec { folder: venvs.to_owned(), mount });
    }
    let _lock = lock(venvs, backend)?;
    let link = venvs.join(backend);
    remove_leftovers(venvs, backend).map_err(io(venvs))?;
    let built = tempfile::Builder::new()
        .prefix(&format!("{backend}-{ENVIRONMENT}"))
        .tempdir_in(venvs)
        .map_err(io(venvs))?;
    build(backend, python, requirements, built.path(), progress, stop)?;
    let next = next_link(venvs, backend);
    let folder = built.keep();
    let target = folder.file_name().map(PathBuf::from).unwrap_or_default();
    std::os::unix::fs::symlink(&target, &next).map_err(io(&next))?;
    if link.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        // Not of our making, and no link can take its place.
        fs::remove_dir_all(&link).map_err(io(&link))?;
    }
    fs::rename(&next, &link).map_err(io(&link))?;
    remove_leftovers(venvs, backend).map_err(io(venvs))?;
    Ok(link)
}

fn build(
    backend: &str,
    python: &str,
    requirements: &Requirements,
    folder: &Path,
    progress: &mut dyn FnMut(&str),
    stop: &Stop,
) -> Result<(), InstallError> {
    let scratch = scratch_path();
    let request = InstallRequest {
        backend: backend.to_owned(),
        python: python.to_owned(),
        requirements: requirements.clone(),
        folder: folder.to_owned(),
        temporary: scratch.clone(),
    };
    let limits = Limits { cancel_grace: std::time::Duration::ZERO, ..Limits::default() };
    let runner = Runner { scratch: vec![scratch], ..Runner::with(limits) };
    let watch = &mut |notice: Notice<'_, String>| {
        if let Notice::Event(line) = notice {
            progress(&line);
        }
        Directive::Continue
    };
    runner.call::<Install>(request, watch, stop).map(drop).map_err(|failure| match &failure.cause {
        Cause::Stopped => InstallError::Stopped(backend.to_owned()),
        Cause::Plugin(error) => {
            InstallError::Failed { cause: error.to_string(), remedy: error.remedy.clone() }
        }
        _ => InstallError::Failed {
            cause: format!("{} {}", failure.subject, failure.reason()),
            remedy: "see what it said above, then run the same command again".to_owned(),
        },
    })
}

/// What is to become the link of `backend`: a link is replaced in one step by another one.
fn next_link(venvs: &Path, backend: &str) -> PathBuf {
    venvs.join(format!(".{backend}.new"))
}

/// Keeps other installations for `backend` out until it is dropped.
fn lock(venvs: &Path, backend: &str) -> Result<File, InstallError> {
    let path = venvs.join(format!(".{backend}.lock"));
    let options = &mut File::options();
    let file = Found::LEFT.open_with(options.write(true).create(true).truncate(false), &path);
    let file = file.map_err(InstallError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(InstallError::Busy(backend.to_owned())),
        Err(TryLockError::Error(cause)) => Err(InstallError::Io { path, cause }),
    }
}

/// Removes environments of `backend` that no link leads to: older ones, and what a killed installation left.
fn remove_leftovers(venvs: &Path, backend: &str) -> io::Result<()> {
    // No name of a backend holds a dash.
    remove_unused(venvs, backend, &format!("{backend}-"))
}

/// Removes environments whose names begin like this and that the link of `backend` does not lead to.
fn remove_unused(venvs: &Path, backend: &str, beginning: &str) -> io::Result<()> {
    let used = fs::read_link(venvs.join(backend)).ok();
    let _ = fs::remove_file(next_link(venvs, backend));
    for entry in fs::read_dir(venvs)?.flatten() {
        let name = entry.file_name();
        let meant = name.to_str().is_some_and(|name| name.starts_with(beginning));
        if meant && used.as_deref() != Some(Path::new(&name)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Removes what killed installations left, of every backend for which none is under way. It is housekeeping: what
/// cannot be removed is left alone.
pub fn clear(venvs: &Path) {
    let entries = fs::read_dir(venvs).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let drawn = |end: &str| {
        end.strip_prefix(ENVIRONMENT)
            .is_some_and(|end| end.len() == 6 && end.bytes().all(|c| c.is_ascii_alphanumeric()))
    };
    let backends: BTreeSet<String> = names
        .filter_map(|name| {
            name.split_once('-').filter(|(_, end)| drawn(end)).map(|(backend, _)| backend.to_owned())
        })
        .collect();
    for backend in backends {
        if let Ok(_lock) = lock(venvs, &backend) {
            let _ = remove_unused(venvs, &backend, &format!("{backend}-{ENVIRONMENT}"));
        }
    }
}

/// Removes the environment of `backend`. False when there was none.
///
/// # Errors
/// When something cannot be removed.
pub fn uninstall(venvs: &Path, backend: &str) -> Result<bool, InstallError> {
    let link = venvs.join(backend);
    if fs::read_link(&link).is_err() {
        return Ok(false);
    }
    let _lock = lock(venvs, backend)?;
    let remove = || -> io::Result<()> {
        fs::remove_file(&link)?;
        remove_leftovers(venvs, backend)
    };
    remove().map_err(InstallError::io(&link))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uninstalling_what_is_not_there_says_so() {
        assert!(!uninstall(tempfile::tempdir().unwrap().path(), "x").unwrap());
    }

    #[test]
    fn environments_that_no_link_leads_to_are_removed_and_others_stay() {
        let venvs = tempfile::tempdir().unwrap();
        for folder in ["ray-old111", "ray-new222", "ray_two-aaa333", "dask-bbb444"] {
            fs::create_dir_all(venvs.path().join(folder).join("bin")).unwrap();
        }
        std::os::unix::fs::symlink("ray-new222", venvs.path().join("ray")).unwrap();
        remove_leftovers(venvs.path(), "ray").unwrap();
        let left = |name: &str| venvs.path().join(name).exists();
        assert!(!left("ray-old111") && left("ray-new222") && left("ray_two-aaa333") && left("dask-bbb444"));
        assert!(uninstall(venvs.path(), "ray").unwrap());
        assert!(!left("ray-new222") && left("ray_two-aaa333"));
    }

    #[test]
    fn a_killed_installation_is_cleared_and_one_under_way_is_not() {
        let venvs = tempfile::tempdir().unwrap();
        for folder in
            ["ray-env-killed", "dask-env-UnderW", "sage-env-inUse1", "not-an-environment", "ray-older1"]
        {
            fs::create_dir_all(venvs.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("sage-env-inUse1", venvs.path().join("sage")).unwrap();
        std::os::unix::fs::symlink("ray-env-killed", venvs.path().join(".ray.new")).unwrap();
        let under_way = lock(venvs.path(), "dask").unwrap();
        clear(venvs.path());
        let left = |name: &str| venvs.path().join(name).exists();
        assert!(venvs.path().join(".ray.new").symlink_metadata().is_err());
        assert!(!left("ray-env-killed") && left("dask-env-UnderW") && left("sage-env-inUse1"));
        assert!(left("not-an-environment") && left("ray-older1"));
        drop(under_way);
        clear(venvs.path());
        assert!(!left("dask-env-UnderW") && left("sage/"));
    }

    #[test]
    fn two_installations_for_one_backend_do_not_meet() {
        let venvs = tempfile::tempdir().unwrap();
        let first = lock(venvs.path(), "ray").unwrap();
        assert!(matches!(lock(venvs.path(), "ray"), Err(InstallError::Busy(_))));
        lock(venvs.path(), "dask").unwrap();
        drop(first);
        lock(venvs.path(), "ray").unwrap();
    }
}
