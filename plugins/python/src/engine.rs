use bench_plugin_api::sdk::{
    Availability, BackendOption, Error, Finished, Host, OPTIONS, Spec, options_answer,
};
use serde_json::{Map, Value, json};

use crate::interpreter::{self, Interpreter};
use crate::{requirement, run};

/// Each distribution with the version that is installed.
pub(crate) type Versions = Vec<(&'static str, String)>;

/// The oldest Python that the drivers are written for.
pub(crate) const PYTHON: &str = ">=3.10";

/// A runtime for Python, as its plugin declares it.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// The backend's name; `BENCH_PYTHON_<NAME>` and the managed environment are called after it.
    pub name: &'static str,
    /// How people write it.
    pub display: &'static str,
    /// What `bench backends install` gives to pip: every package pinned, so that two users compare
    /// the same runtime.
    pub requirements: &'static [&'static str],
    /// What must be importable.
    pub imports: &'static [Import],
    /// Source of `driver.py`.
    pub driver: &'static str,
    /// A line for people who install into an environment of their own.
    pub plain_pip: Option<&'static str>,
    /// Settings of its own, which the driver finds in `config["extra"]`.
    pub options: &'static [BackendOption],
    /// The runtime starts processes, which must not outlive a host that was killed.
    pub starts_processes: bool,
}

/// A module the driver imports and the distribution that brings it.
#[derive(Debug, Clone, Copy)]
pub struct Import {
    /// For the message when it is missing.
    pub module: &'static str,
    /// Name on the package index.
    pub distribution: &'static str,
    /// Versions that are known to work, such as `>=2.9,<3.0`: wider than what gets installed, for
    /// people who bring their own interpreter. `cargo xtask runtime-versions` tries the oldest, the newest
    /// and one between. Empty for any.
    pub accepts: &'static str,
}

/// What one run adds to the engine.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// Environment of the driver beyond the minimal one. `{dir}` stands for its private directory.
    pub env: Vec<(String, String)>,
    /// Entries of the driver's configuration beyond the common ones.
    pub config: Map<String, Value>,
    /// Modules that lie beside `driver.py`: name and source.
    pub files: Vec<(&'static str, &'static str)>,
    /// Files of a packed engine, its driver among them.
    pub sources: Vec<(&'static str, &'static [u8])>,
    /// Which of them is run; `driver.py` when it is not said.
    pub driver: Option<&'static str>,
    /// Log files of the runtime whose ends the host is to keep of a run that failed: shell patterns below the private
    /// directory. What is printed is kept in any case.
    pub logs: Vec<&'static str>,
}

impl Engine {
    /// Whether the runtime is installed, by looking at files only.
    #[must_use]
    pub fn availability(&self) -> Availability {
        match self.resolve() {
            Ok((python, versions)) => Availability::ready(match versions.first() {
                Some((_, version)) => version.clone(),
                None => format!("Python {}", python.version.as_deref().unwrap_or("3")),
            }),
            Err(Error::Unavailable { reason, remedy }) => Availability::missing(reason, remedy),
            Err(other) => Availability::missing(other.to_string(), self.install_remedy()),
        }
    }

    /// Answers `bench.requirements/1`, from which the host makes the managed environment, and `bench.options/1`.
    #[must_use]
    pub fn extension(&self, id: &str, _request: &str) -> Option<String> {
        if id == OPTIONS {
            return Some(options_answer(self.options));
        }
        let imports = self.imports.iter().map(
            |import| json!({"module": import.module, "distribution": import.distribution, "accepts": import.accepts}),
        );
        (id == "bench.requirements/1" && !self.requirements.is_empty()).then(|| {
            json!({
                "python": PYTHON,
                "requirements": self.requirements,
                "imports": imports.collect::<Vec<_>>(),
                "plain": self.plain_pip,
            })
            .to_string()
        })
    }

    /// Runs the workload through the driver.
    ///
    /// # Errors
    /// When the runtime is missing, the driver reports an error, or it ends before it is done.
    pub fn run(&self, spec: &Spec, host: &Host, launch: Launch) -> Result<Finished, Error> {
        run::run(self, spec, host, launch)
    }

    /// The interpreter and the version of each import.
    pub(crate) fn resolve(&self) -> Result<(Interpreter, Versions), Error> {
        let Some(chosen) = interpreter::chosen(self.name) else {
            return if self.requirements.is_empty() { self.of_the_system() } else { self.managed() };
        };
        let found = Interpreter::chosen(self.name, &chosen).and_then(|python| self.examine(python));
        found.map_err(|reason| Error::Unavailable { reason, remedy: self.choice_remedy() })
    }

    /// The Python that is there anyway, for an engine that has nothing installed.
    fn of_the_system(&self) -> Result<(Interpreter, Versions), Error> {
        let found = Interpreter::of_the_system().and_then(|python| self.examine(python));
        found.map_err(|reason| Error::Unavailable { reason, remedy: self.system_remedy() })
    }

    /// What `bench backends install` made.
    fn managed(&self) -> Result<(Interpreter, Versions), Error> {
        let Some(venvs) = interpreter::data_dir().map(|data| data.join("venvs")) else {
            let reason = "there is no user data directory".to_owned();
            return Err(Error::Unavailable { reason, remedy: "set BENCH_DATA_DIR to a folder".to_owned() });
        };
        let found = Interpreter::managed(self.name, &venvs);
        let found = found.map_err(|reason| (reason, self.install_remedy())).and_then(|python| {
            python.check_mount().map_err(|reason| (reason, self.mount_remedy()))?;
            self.examine(python).map_err(|reason| (reason, self.install_remedy()))
        });
        found.map_err(|(reason, remedy)| Error::Unavailable { reason, remedy })
    }

    /// An interpreter with the version of each import; what it lacks otherwise.
    fn examine(&self, interpreter: Interpreter) -> Result<(Interpreter, Versions), String> {
        let versions = self.versions(&interpreter)?;
        Ok((interpreter, versions))
    }

    /// The version of each import, if all are there and in their ranges.
    fn versions(&self, interpreter: &Interpreter) -> Result<Versions, String> {
        interpreter.check(PYTHON)?;
        interpreter.check_mount()?;
        let mut versions = Versions::new();
        for import in self.imports {
            let Some(version) = interpreter.distribution(import.distribution) else {
                return Err(format!(
                    "{} needs the Python module `{}`, which is not installed in {interpreter}{}",
                    self.display,
                    import.module,
                    interpreter.doubt()
                ));
            };
            if !requirement::accepts(import.accepts, &version) {
                return Err(format!(
                    "{} needs {} {}, but {interpreter} has {version}",
                    self.display, import.distribution, import.accepts
                ));
            }
            versions.push((import.distribution, version));
        }
        Ok(versions)
    }

    /// For what is not installed, or not whole.
    fn install_remedy(&self) -> String {
        let install = format!("bench backends install {}", self.name);
        match self.plain_pip {
            Some(plain) => format!(
                "{install}    (or, in an environment of your own: {plain}, and set {} to its python)",
                interpreter::variable(self.name)
            ),
            None => install,
        }
    }

    /// For a system without the Python that is needed.
    fn system_remedy(&self) -> String {
        let variable = interpreter::variable(self.name);
        match self.imports {
            [] => format!("install Python 3.10 or newer, or set {variable} to the path of one"),
            _ => format!("set {variable} to the python of an environment that has {}", self.needs()),
        }
    }

    /// What must be importable, with its versions.
    fn needs(&self) -> String {
        let needs = self.imports.iter().map(|import| format!("{}{}", import.distribution, import.accepts));
        needs.collect::<Vec<String>>().join(", ")
    }

    /// For a variable that names the wrong Python: whatever is installed, it is the variable that counts.
    fn choice_remedy(&self) -> String {
        let variable = interpreter::variable(self.name);
        let otherwise = if self.requirements.is_empty() { self.of_the_system() } else { self.managed() };
        let install = match otherwise {
            Ok(_) => String::new(),
            Err(_) if self.requirements.is_empty() => "; install Python 3.10 or newer".to_owned(),
            Err(_) => format!("; bench backends install {}", self.name),
        };
        let that = match self.imports {
            [] => "a Python 3.10 or newer".to_owned(),
            _ => format!("the python of an environment that has {}", self.needs()),
        };
        format!("unset {variable}{install}    (or set it to {that})")
    }

    fn mount_remedy(&self) -> String {
        let install = format!("bench backends install {}", self.name);
        format!("set BENCH_DATA_DIR to a folder on a file system without noexec, then {install}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: Engine = Engine {
        name: "no_such_engine",
        display: "Nothing",
        requirements: &["nothing==1.0"],
        imports: &[Import { module: "nothing", distribution: "nothing", accepts: "==1.0" }],
        driver: "",
        plain_pip: Some("pip install \"nothing>=1\""),
        options: &[],
        starts_processes: false,
    };

    #[test]
    fn a_missing_environment_is_explained_with_the_command() {
        let Availability::Missing { reason, remedy } = ENGINE.availability() else { panic!("not missing") };
        assert!(reason.contains("venvs/no_such_engine"), "{reason}");
        assert!(remedy.starts_with("bench backends install no_such_engine"), "{remedy}");
        assert!(remedy.contains("pip install \"nothing>=1\""), "{remedy}");
        assert!(remedy.contains("BENCH_PYTHON_NO_SUCH_ENGINE"), "{remedy}");
    }

    /// An environment with `nothing` of some version in it.
    fn installed(version: &str) -> (tempfile::TempDir, Interpreter) {
        let venv = tempfile::tempdir().unwrap();
        let packages = venv.path().join("lib/python3.11/site-packages");
        std::fs::create_dir_all(packages.join(format!("nothing-{version}.dist-info"))).unwrap();
        std::fs::create_dir_all(venv.path().join("bin")).unwrap();
        std::fs::write(venv.path().join("pyvenv.cfg"), "version = 3.11.7\n").unwrap();
        let interpreter = Interpreter::at(venv.path().join("bin/python"));
        (venv, interpreter)
    }

    #[test]
    fn a_version_out_of_range_is_named_beside_the_range() {
        let engine = Engine {
            imports: &[Import { module: "nothing", distribution: "nothing", accepts: ">=2.9,<3.0" }],
            ..ENGINE
        };
        for version in ["2.8.1", "2.9.0rc1", "3.0.0.dev0"] {
            let (_venv, interpreter) = installed(version);
            let Err(reason) = engine.versions(&interpreter) else { panic!("{version}") };
            assert!(reason.contains(">=2.9,<3.0") && reason.ends_with(&format!("has {version}")), "{reason}");
        }
        let (_venv, interpreter) = installed("2.9.0");
        assert_eq!(engine.versions(&interpreter).unwrap(), [("nothing", "2.9.0".to_owned())]);
    }

    #[test]
    fn requirements_and_options_are_json_and_all_there_is() {
        let answer: Value =
            serde_json::from_str(&ENGINE.extension("bench.requirements/1", "").unwrap()).unwrap();
        assert_eq!(answer["requirements"][0], "nothing==1.0");
        assert_eq!(answer["imports"][0]["module"], "nothing");
        assert_eq!(ENGINE.extension("bench.options/1", "").unwrap(), "[]");
        assert!(ENGINE.extension("bench.requirements/2", "").is_none());
    }
}
