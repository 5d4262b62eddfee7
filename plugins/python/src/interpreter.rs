//! Which Python, and what is installed in it, found without starting it.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::requirement;

/// A Python interpreter and where its packages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The variable by which the user chose it.
    chosen_by: Option<String>,
    /// The program, links not followed: a virtual environment is known by its own path.
    pub program: PathBuf,
    /// Such as `3.11`, as far as it can be told.
    pub version: Option<String>,
    site_packages: Vec<PathBuf>,
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.display())?;
        self.chosen_by.as_ref().map_or(Ok(()), |variable| write!(f, " (named by {variable})"))
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

/// What that variable says, if it says anything.
pub(crate) fn chosen(name: &str) -> Option<PathBuf> {
    std::env::var_os(variable(name)).filter(|chosen| !chosen.is_empty()).map(PathBuf::from)
}

impl Interpreter {
    /// The interpreter that the user chose for the backend `name` by its variable; why it is none otherwise.
    pub(crate) fn chosen(name: &str, program: &Path) -> Result<Self, String> {
        let wrong = |why: &str| format!("{} names {}, {why}", variable(name), program.display());
        let found = on_path(program).map_err(wrong)?;
        Ok(Self { chosen_by: Some(variable(name)), ..Self::at(found) })
    }

    /// The first `python3` on the path; why there is none otherwise.
    pub(crate) fn of_the_system() -> Result<Self, String> {
        on_path(Path::new("python3")).map(Self::at).map_err(|_| "there is no python3 on the PATH".to_owned())
    }

    /// The interpreter that `bench backends install` made for the backend `name`; why there is none otherwise.
    pub(crate) fn managed(name: &str, venvs: &Path) -> Result<Self, String> {
        let place = venvs.join(name);
        let program = place.join("bin/python");
        if place.symlink_metadata().is_err() {
            return Err(format!(
                "there is no managed Python environment for `{name}` at {}",
                program.display()
            ));
        }
        let broken =
            |why: String| Err(format!("the managed Python environment of `{name}` is broken: {why}"));
        if let Some(missing) = dangling(&program) {
            return broken(format!(
                "{} leads to {}, which is not there",
                program.display(),
                missing.display()
            ));
        }
        if let Err(why) = on_path(&program) {
            return broken(format!("there should be a Python at {}, {why}", program.display()));
        }
        let python = Self::at(program);
        match (&python.version, version_of(&python.program)) {
            (Some(made_for), Some(is)) if *made_for != is => {
                broken(format!("it was made for Python {made_for}, and its bin/python is now {is}"))
            }
            _ => Ok(python),
        }
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
        let version =
            setting("version").or(setting("version_info")).and_then(minor).or_else(|| version_of(&program));
        let mut prefixes: Vec<PathBuf> = venv.into_iter().collect();
        if prefixes.is_empty() || setting("include-system-site-packages") == Some("true") {
            prefixes.extend(base);
            prefixes.push("/usr/local".into());
        }
        let site_packages =
            prefixes.iter().flat_map(|prefix| site_packages(prefix, version.as_deref())).collect();
        Self { chosen_by: None, program, version, site_packages }
    }

    /// What to ask about a program of which no version can be told: a script that starts another Python, or no Python.
    pub(crate) fn doubt(&self) -> &'static str {
        match self.version {
            Some(_) => "",
            None => {
                ": is that the interpreter itself, as python3 -c \"import sys; print(sys.executable)\" prints it?"
            }
        }
    }

    /// Refuses packages that could be read but not loaded.
    pub(crate) fn check_mount(&self) -> Result<(), String> {
        let noexec = |dir: &&PathBuf| {
            rustix::fs::statvfs(dir.as_path())
                .is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
        };
        let found = self.site_packages.iter().find(noexec);
        found.map_or(Ok(()), |dir| {
            Err(format!(
                "{} lies on a file system that is mounted noexec: no library in it can be loaded",
                dir.display()
            ))
        })
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

/// A program by path, or searched for in `PATH` when it is a bare name; why it is none otherwise.
fn on_path(program: &Path) -> Result<PathBuf, &'static str> {
    if program.components().count() > 1 {
        return match fs::metadata(program) {
            Err(_) => Err("which is not there"),
            Ok(found) if found.is_dir() => Err("which is a directory"),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => Err("which is not executable"),
            Ok(_) => std::path::absolute(program).map_err(|_| "which is not there"),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(program));
    found.find(|candidate| candidate.is_file()).ok_or("which is not on the PATH")
}

/// Where a chain of links ends in nothing; `None` when it ends in something.
fn dangling(path: &Path) -> Option<PathBuf> {
    let mut at = path.to_owned();
    // As many links as the kernel follows.
    for _ in 0..40 {
        match fs::read_link(&at) {
            Ok(target) => at = at.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return (at != path && at.symlink_metadata().is_err()).then_some(at),
        }
    }
    Some(at)
}

/// `3.11`, from the name of the real file behind an interpreter.
fn version_of(program: &Path) -> Option<String> {
    let real = fs::canonicalize(program).ok()?;
    minor(real.file_name()?.to_str()?.strip_prefix("python")?)
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
        fs::copy("/bin/sh", dir.path().join("bin/python")).unwrap();
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
        assert!(on_path(Path::new("sh")).is_ok_and(|found| found.is_absolute()));
        assert_eq!(on_path(Path::new("no-such-python")), Err("which is not on the PATH"));
        assert_eq!(on_path(Path::new("/no/such/python")), Err("which is not there"));
    }

    #[test]
    fn what_the_variable_names_is_named_with_what_is_wrong_with_it() {
        let dir = venv("3.11.7");
        let wrong = |program: &Path| Interpreter::chosen("some", program).unwrap_err();
        let (nothing, packages, file) =
            (dir.path().join("bin/nothing"), dir.path().join("lib"), dir.path().join("pyvenv.cfg"));
        assert_eq!(
            wrong(&nothing),
            format!("BENCH_PYTHON_SOME names {}, which is not there", nothing.display())
        );
        assert!(wrong(&packages).ends_with("which is a directory"));
        assert!(wrong(&file).ends_with("which is not executable"));
    }

    #[test]
    fn a_script_that_starts_a_python_is_asked_about() {
        let (dir, real) = (tempfile::tempdir().unwrap(), venv("3.11.7"));
        let shim = dir.path().join("python3");
        fs::write(&shim, "#!/bin/sh\nexec python3.11 \"$@\"\n").unwrap();
        assert!(Interpreter::at(shim).doubt().starts_with(": is that the interpreter itself"));
        assert!(Interpreter::at("/bin/sh".into()).doubt().starts_with(": is that the interpreter itself"));
        assert_eq!(Interpreter::at(real.path().join("bin/python")).doubt(), "");
    }

    #[test]
    fn a_managed_environment_is_missing_or_broken_or_there() {
        let (venvs, real) = (tempfile::tempdir().unwrap(), venv("3.11.7"));
        let managed = || Interpreter::managed("some", venvs.path());
        assert!(managed().unwrap_err().contains("no managed Python environment for `some` at"));
        std::os::unix::fs::symlink(real.path(), venvs.path().join("some")).unwrap();
        assert_eq!(managed().unwrap().version.as_deref(), Some("3.11"));
        let python = real.path().join("bin/python");
        let replace = |target: &str| {
            fs::remove_file(&python).unwrap();
            std::os::unix::fs::symlink(target, &python).unwrap();
            managed().unwrap_err()
        };
        assert!(replace("python3").contains("bin/python3, which is not there"));
        assert!(replace("/gone/python3").contains("leads to /gone/python3, which is not there"));
        fs::copy("/bin/sh", real.path().join("bin/python3.12")).unwrap();
        assert!(replace("python3.12").contains("was made for Python 3.11, and its bin/python is now 3.12"));
        fs::remove_dir_all(real.path().join("bin")).unwrap();
        assert!(managed().unwrap_err().contains("broken: there should be a Python at"));
    }
}
