//! The plugin `driven`, whose environment holds one tiny wheel: what `bench backends install` does, in seconds and
//! without a network.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::skip::skip;
use crate::{folder, staged};

/// Writes `tiny-1.0-py3-none-any.whl`, a wheel with one empty module.
const WHEEL: &str = "
import sys, zipfile
name = 'tiny-1.0.dist-info/'
with zipfile.ZipFile(sys.argv[1] + '/tiny-1.0-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('tiny.py', '')
    wheel.writestr(name + 'METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n')
    wheel.writestr(name + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(name + 'RECORD', '')
";

/// A user with a data directory of their own, and the plugin `driven` in a folder that has to be named.
pub struct User {
    pub place: TempDir,
    pub plugins: TempDir,
}

impl User {
    /// `None` where Python cannot make environments.
    #[must_use]
    pub fn new() -> Option<Self> {
        let place = TempDir::new().expect("a temporary folder");
        let script = format!("import venv, ensurepip\n{WHEEL}");
        let wheel = Command::new("python3").args(["-c", &script]).arg(place.path()).status();
        if !wheel.is_ok_and(|status| status.success()) {
            skip("python3 cannot make virtual environments", "");
            return None;
        }
        Some(Self { place, plugins: folder(&[("driven", "driven")]) })
    }

    /// The wheel, as pip takes it.
    #[must_use]
    pub fn wheel(&self) -> String {
        format!("tiny @ file://{}/tiny-1.0-py3-none-any.whl", self.place.path().display())
    }

    /// Where environments are.
    #[must_use]
    pub fn venvs(&self) -> PathBuf {
        self.place.path().join("data/venvs")
    }

    /// What is installed or half installed for `driven`.
    #[must_use]
    pub fn environments(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.venvs()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("driven")).collect()
    }

    /// A shell in the user's place, with `bench` on the path.
    #[must_use]
    pub fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        let path = std::env::var("PATH").expect("a shell finds its programs");
        shell.args(["-c", script]).current_dir(self.place.path());
        shell.env("PATH", format!("{}:{path}", staged().join("bin").display())).env("NO_COLOR", "1");
        shell
            .env("BENCH_DATA_DIR", self.place.path().join("data"))
            .env("BENCH_CACHE_DIR", staged().join("cache"));
        shell.env("DRIVEN_REQUIREMENT", self.wheel()).env("PIP_NO_INDEX", "1").env("NO_PROXY", "127.0.0.1");
        shell.env_remove("BENCH_PLUGINS_PATH").env_remove("BENCH_PYTHON_DRIVEN").env_remove("RUST_BACKTRACE");
        shell
    }

    /// What `script` came to.
    ///
    /// # Panics
    /// When the shell does not start.
    #[must_use]
    pub fn type_in(&self, script: &str) -> Output {
        self.shell(script).output().expect("sh starts")
    }

    /// The flag that leads to the plugin.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--plugins-dir {}", self.plugins.path().display())
    }

    /// A small run of `driven`.
    #[must_use]
    pub fn run(&self) -> String {
        format!("bench run --backend driven {} --workload null --num-tasks 20 -o results", self.flag())
    }
}
