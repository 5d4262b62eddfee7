//! `engine.toml`: everything about an engine that is no code.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

/// The file that makes a folder an engine.
pub const FILE: &str = "engine.toml";
/// What runs when the manifest names nothing else.
pub const DRIVER: &str = "driver.py";

/// Variables that each run has of its own, whatever the user's are.
const OF_THE_RUN: [&str; 6] = ["HOME", "TMPDIR", "LC_ALL", "PYTHONUNBUFFERED", "PYTHONNOUSERSITE", "PATH"];
/// And what begins like this.
const PREFIXES: [&str; 2] = ["BENCH_", "XDG_"];

/// A runtime for Python as a backend of bench. The folder that this file lies in is the engine: its Python files are
/// packed with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(title = "bench engine.toml"))]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What users type after --backend: 1 to 64 of a-z, 0-9 and _. The environment that `bench backends install` makes
    /// and the variable `BENCH_PYTHON_<NAME>` are called after it.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[a-z0-9_]{1,64}$")))]
    pub name: String,
    /// The engine's own version, as semantic versioning has it.
    pub version: String,
    /// How people write the name; the name itself when it is not given.
    #[serde(default)]
    pub display: String,
    /// The file that is run, beside this one. Its folder is the first of those that Python imports from.
    #[serde(default = "driver")]
    pub driver: String,
    /// What is packed, as patterns such as `parts/*.py` or `model.json`. Without it every Python file below the folder,
    /// tests and hidden folders left out.
    #[serde(default)]
    pub files: Vec<String>,
    /// What `bench backends install` gives to pip: every package pinned, so that two users compare the same runtime.
    /// When it is empty nothing has to be installed, and the `python3` on the PATH is used.
    #[serde(default)]
    pub requirements: Vec<String>,
    /// What the driver imports that is not in Python itself.
    #[serde(default)]
    pub imports: Vec<Import>,
    /// A line for people who install into an environment of their own.
    #[serde(default)]
    pub plain_pip: Option<String>,
    /// Whether the runtime starts processes, which must not outlive a bench that was killed.
    #[serde(default = "yes")]
    pub starts_processes: bool,
    /// Variables of the driver. `{dir}` stands for the private folder of the run.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables that the driver gets from whoever starts bench, such as JAVA_HOME. Others it does not see, because
    /// they would make runs differ from user to user.
    #[serde(default)]
    pub inherit: Vec<String>,
    /// Whether operators can run on more than one machine: `true`, `false`, or the name of the option that makes it
    /// possible, such as the address of a cluster.
    #[serde(default)]
    pub nodes: Nodes,
    /// Log files of the runtime whose ends are kept of a run that failed: patterns below the private folder of the run.
    #[serde(default)]
    pub logs: Vec<String>,
    /// What `--backend-option` takes.
    #[serde(default)]
    pub options: Vec<EngineOption>,
}

/// A module that the driver imports, and the distribution that brings it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// What the driver imports.
    pub module: String,
    /// Its name on the package index; the module's when it is not given.
    #[serde(default)]
    pub distribution: String,
    /// Versions that are known to work, such as `>=2.9,<3.0`: wider than what is installed, for people who bring their
    /// own Python. Without it any.
    #[serde(default)]
    pub accepts: String,
}

/// Whether operators can run on more than one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(untagged)]
pub enum Nodes {
    /// Always, or never.
    Possible(bool),
    /// When this option is given.
    With(String),
}

/// By hand, because of what a derived one says about anything else.
impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Nodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or the name of an option")
            }

            fn visit_bool<E>(self, possible: bool) -> Result<Nodes, E> {
                Ok(Nodes::Possible(possible))
            }

            fn visit_str<E>(self, option: &str) -> Result<Nodes, E> {
                Ok(Nodes::With(option.to_owned()))
            }
        }
        from.deserialize_any(Either)
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self::Possible(false)
    }
}

/// A setting of the engine, given as `--backend-option NAME=VALUE` and found in the driver's configuration. At most one
/// of `values`, `number` and `pattern`; with none of them it takes any text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EngineOption {
    /// Lower-case letters, digits and _. Begin it with the engine's name: options of all backends of a comparison are
    /// given side by side.
    pub name: String,
    /// What it does, in a sentence.
    pub meaning: String,
    /// What holds when it is not given, as it would be written.
    #[serde(default)]
    pub default: Option<String>,
    /// All that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// Or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Range>,
    /// Or text that a regular expression describes as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The pattern in words, such as `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<String>,
}

/// Numbers that an option takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Without a fraction.
    #[serde(default)]
    pub whole: bool,
    /// The least.
    #[serde(default)]
    pub minimum: Option<f64>,
    /// The most.
    #[serde(default)]
    pub maximum: Option<f64>,
}

fn driver() -> String {
    DRIVER.to_owned()
}

fn yes() -> bool {
    true
}

impl Manifest {
    /// The same with what follows from the rest filled in: the display name, and what a module's distribution is.
    #[must_use]
    pub fn completed(mut self) -> Self {
        if self.display.trim().is_empty() {
            self.display.clone_from(&self.name);
        }
        for import in &mut self.imports {
            if import.distribution.is_empty() {
                // The distribution of `a.b` is more likely called `a`.
                import.distribution = import.module.split('.').next().unwrap_or_default().to_owned();
            }
        }
        self
    }

    /// What is wrong with it beyond its form. The name and the options are the host's to judge.
    ///
    /// # Errors
    /// The first thing that is wrong, beginning with its key.
    pub fn check(&self) -> Result<(), String> {
        let plain = |text: &str| !text.trim().is_empty() && !text.chars().any(char::is_control);
        for (key, text) in [("display", &self.display), ("version", &self.version)] {
            if !plain(text) {
                return Err(format!("`{key}` is empty, or more than one line"));
            }
        }
        super::path_is_fine(&self.driver).map_err(|why| format!("`driver`: {why}"))?;
        if !self.driver.ends_with(".py") || self.driver.contains('/') {
            return Err(format!("`driver`: '{}' is no Python file beside {FILE}", self.driver));
        }
        for requirement in &self.requirements {
            if !plain(requirement) || requirement.trim_start().starts_with('-') {
                return Err(format!(
                    "`requirements`: '{}' is not a package as pip takes it, such as \"ray==2.60.0\"",
                    requirement.escape_default()
                ));
            }
        }
        for import in &self.imports {
            if !plain(&import.module) || !plain(&import.distribution) {
                return Err("`imports`: a module or a distribution has no name".to_owned());
            }
            if let Err(cause) = import.accepts.parse::<pep440_rs::VersionSpecifiers>() {
                let cause = cause.to_string();
                let first = cause.lines().next().unwrap_or_default();
                return Err(format!(
                    "`imports`: '{}' of {} says no versions: {first}",
                    import.accepts, import.module
                ));
            }
        }
        for (key, name) in
            self.env.keys().map(|name| ("env", name)).chain(self.inherit.iter().map(|name| ("inherit", name)))
        {
            variable_is_fine(name).map_err(|why| format!("`{key}`: {why}"))?;
        }
        match &self.nodes {
            Nodes::With(name) if !self.options.iter().any(|option| option.name == *name) => Err(format!(
                "`nodes`: there is no option `{name}`; it is true, false or the name of an option"
            )),
            _ => Ok(()),
        }
    }
}

/// Whether an engine may set or inherit a variable.
fn variable_is_fine(name: &str) -> Result<(), String> {
    let mut letters = name.chars();
    let begins = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !begins || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("'{}' is not the name of a variable", name.escape_default()));
    }
    if OF_THE_RUN.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(format!("{name} is set by bench, for each run anew"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(more: &str) -> Result<Manifest, String> {
        let text = format!(r#"{{"name": "x", "version": "1.0.0"{more}}}"#);
        let manifest: Manifest = serde_json::from_str(&text).map_err(|cause| cause.to_string())?;
        let manifest = manifest.completed();
        manifest.check().map(|()| manifest)
    }

    #[test]
    fn a_name_and_a_version_are_enough() {
        let smallest = manifest("").unwrap();
        assert_eq!((smallest.display.as_str(), smallest.driver.as_str()), ("x", "driver.py"));
        assert!(smallest.starts_processes && smallest.nodes == Nodes::Possible(false));
        let import = manifest(r#", "imports": [{"module": "sage.runtime"}]"#).unwrap().imports.remove(0);
        assert_eq!(import.distribution, "sage");
    }

    #[test]
    fn whether_nodes_are_possible_may_hang_on_an_option() {
        let option = r#", "options": [{"name": "x_address", "meaning": "m"}], "nodes": "x_address""#;
        assert_eq!(manifest(option).unwrap().nodes, Nodes::With("x_address".to_owned()));
        assert!(manifest(r#", "nodes": "x_adress""#).unwrap_err().contains("there is no option `x_adress`"));
    }

    #[test]
    fn each_key_says_what_is_wrong_with_it() {
        for (more, why) in [
            (r#", "display": "a\nb""#, "`display` is empty, or more than one line"),
            (r#", "driver": "../driver.py""#, "`driver`: '../driver.py' is not a path below"),
            (r#", "driver": "driver.sh""#, "`driver`: 'driver.sh' is no Python file"),
            (r#", "driver": "parts/driver.py""#, "`driver`: 'parts/driver.py' is no Python file beside"),
            (r#", "requirements": ["--index-url=x"]"#, "`requirements`: '--index-url=x' is not a package"),
            (r#", "requirements": [" "]"#, "`requirements`: ' ' is not a package"),
            (r#", "imports": [{"module": ""}]"#, "`imports`: a module or a distribution has no name"),
            (r#", "imports": [{"module": "a", "accepts": "~2"}]"#, "`imports`: '~2' of a says no versions"),
            (r#", "env": {"A B": "x"}"#, "`env`: 'A B' is not the name of a variable"),
            (r#", "env": {"HOME": "x"}"#, "`env`: HOME is set by bench"),
            (r#", "inherit": ["BENCH_DATA_DIR"]"#, "`inherit`: BENCH_DATA_DIR is set by bench"),
            (r#", "inherit": ["JAVA_HOME", ""]"#, "`inherit`: '' is not the name of a variable"),
        ] {
            let error = manifest(more).unwrap_err();
            assert!(error.starts_with(why), "{more}: {error}");
        }
    }
}
