//! Which Python, and what is installed in it, found without starting it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::requirement;

/// A Python interpreter and where its packages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program, links not followed: a virtual environment is known by its own path.
    pub program: PathBuf,
    /// Such as `3.11`, as far as it can be told.
    pub version: Option<String>,
    site_packages: Vec<PathBuf>,
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.display())
    }
}

/// Where bench keeps what it installs: `BENCH_DATA_DIR`, or the user's data directory. Managed
/// environments are `<data dir>/venvs/<name>`.
#[must_use]
pub fn data_dir() -> Option<PathBuf> {
    match std::env::var_os("BENCH_DATA_DIR").filter(|dir| !dir.is_empty()) {
        // Drivers run in a directory of their own.
        Some(dir) => std::path::absolute(dir).ok(),
        None => directories::ProjectDirs::from("", "", "bench").map(|dirs| dirs.data_dir().to_owned()),
    }
}

/// The variable that selects an interpreter for the backend `name`.
pub(crate) fn variable(name: &str) -> String {
    format!("BENCH_PYTHON_{}", name.to_uppercase())
}

impl Interpreter {
    /// The interpreter of the backend `name`; why there is none otherwise.
    pub(crate) fn find(name: &str) -> Result<Self, String> {
        if let Some(chosen) = std::env::var_os(variable(name)).filter(|chosen| !chosen.is_empty()) {
            let chosen = PathBuf::from(chosen);
            let program = on_path(&chosen)
                .ok_or_else(|| format!("{} says {}, which is not there", variable(name), chosen.display()))?;
            return Ok(Self::at(program));
        }
        let data_dir = data_dir().ok_or("there is no user data directory: set BENCH_DATA_DIR")?;
        let program = data_dir.join("venvs").join(name).join("bin/python");
        if program.exists() {
            return Ok(Self::at(program));
        }
        Err(format!("there is no managed Python environment for `{name}` at {}", program.display()))
    }

    pub(crate) fn at(program: PathBuf) -> Self {
        let prefix = |program: &Path| program.parent().and_then(Path::parent).map(Path::to_owned);
        let venv = prefix(&program).filter(|prefix| prefix.join("pyvenv.cfg").is_file());
        let settings = venv.as_ref().and_then(|venv| fs::read_to_string(venv.join("pyvenv.cfg")).ok());
        let setting = |key: &str| settings.as_deref().and_then(|text| value(text, key));
        let real = fs::canonicalize(&program).unwrap_or_else(|_| program.clone());
        let base = match setting("home") {
            Some(home) => Path::new(home).parent().map(Path::to_owned),
            None => prefix(&real),
        };
        let version = setting("version").or(setting("version_info")).and_then(minor).or_else(|| {
            let name = real.file_name()?.to_str()?;
            minor(name.strip_prefix("python")?)
        });
        let mut prefixes: Vec<PathBuf> = venv.into_iter().collect();
        if prefixes.is_empty() || setting("include-system-site-packages") == Some("true") {
            prefixes.extend(base);
            prefixes.push("/usr/local".into());
        }
        let site_packages =
            prefixes.iter().flat_map(|prefix| site_packages(prefix, version.as_deref())).collect();
        Self { program, version, site_packages }
    }

    /// Refuses a Python that is known to be outside `bounds`.
    pub(crate) fn check(&self, bounds: &str) -> Result<(), String> {
        match &self.version {
            Some(version) if !requirement::accepts(bounds, version) => {
                Err(format!("{self} is Python {version}, but {bounds} is needed"))
            }
            _ => Ok(()),
        }
    }

    /// Version of an installed distribution, from the name of its metadata directory.
    #[must_use]
    pub fn distribution(&self, name: &str) -> Option<String> {
        let wanted = normal(name);
        self.site_packages.iter().find_map(|dir| {
            let entries = fs::read_dir(dir).ok()?;
            entries.flatten().find_map(|entry| {
                let file_name = entry.file_name();
                let (found, version) = file_name.to_str()?.strip_suffix(".dist-info")?.split_once('-')?;
                (normal(found) == wanted).then(|| version.to_owned())
            })
        })
    }
}

/// A program by path, or searched for in `PATH` when it is a bare name.
fn on_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| std::path::absolute(program).ok()).flatten();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

/// A value of `pyvenv.cfg`.
fn value<'a>(settings: &'a str, key: &str) -> Option<&'a str> {
    let pair = |line: &'a str| line.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
    settings.lines().filter_map(pair).find(|(found, _)| *found == key).map(|(_, value)| value)
}

/// `3.11` of `3.11.7`.
fn minor(version: &str) -> Option<String> {
    let mut parts = version.splitn(3, '.');
    let (major, minor) = (parts.next()?, parts.next()?);
    [major, minor].iter().all(|part| part.parse::<u32>().is_ok()).then(|| format!("{major}.{minor}"))
}

/// Package directories below `prefix`, for one version or, when that is not known, for all.
fn site_packages(prefix: &Path, version: Option<&str>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in ["lib", "lib64"] {
        let lib = prefix.join(lib);
        let Ok(entries) = fs::read_dir(&lib) else { continue };
        for entry in entries.flatten() {
            let file_name = entry.file_name();
            let Some(of) = file_name.to_str().and_then(|name| name.strip_prefix("python")) else { continue };
            // Debian keeps packages of every Python 3 in lib/python3.
            if version.is_some_and(|version| of != version && of != "3") {
                continue;
            }
            for packages in ["site-packages", "dist-packages"] {
                let dir = entry.path().join(packages);
                if dir.is_dir() {
                    found.push(dir);
                }
            }
        }
    }
    found
}

/// Distribution names compare without case, and with `-`, `_` and `.` equal.
fn normal(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn venv(version: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let packages = dir.path().join("lib/python3.11/site-packages");
        fs::create_dir_all(packages.join("Some_Package-2.60.0.dist-info")).unwrap();
        fs::create_dir_all(dir.path().join("lib/python3.12/site-packages/other-1.0.dist-info")).unwrap();
        fs::create_dir_all(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/python"), "").unwrap();
        fs::write(dir.path().join("pyvenv.cfg"), format!("home = /nowhere/bin\nversion = {version}\n"))
            .unwrap();
        dir
    }

    #[test]
    fn packages_of_a_virtual_environment_are_read_off_its_folders() {
        let dir = venv("3.11.7");
        let python = Interpreter::at(dir.path().join("bin/python"));
        assert_eq!(python.version.as_deref(), Some("3.11"));
        assert_eq!(python.distribution("some-package").as_deref(), Some("2.60.0"));
        assert_eq!(python.distribution("other"), None, "of another Python");
        assert!(python.check(">=3.10").is_ok());
        assert!(python.check(">=3.12").unwrap_err().contains("Python 3.11"));
    }

    #[test]
    fn a_bare_name_is_searched_for_and_nonsense_is_not_found() {
        assert!(on_path(Path::new("sh")).is_some_and(|found| found.is_absolute()));
        assert_eq!(on_path(Path::new("no-such-python")), None);
        assert_eq!(on_path(Path::new("/no/such/python")), None);
    }
}
