//! `cargo xtask runtime-versions`: does a backend run on the versions that it accepts?
//!
//! What a plugin accepts is read from the plugin (`bench backends info`), what there is for this Python and platform
//! from the package index. The oldest, the newest and one between are installed, each into an environment of its own
//! below `target/`, and run through the staged bench; the answers must be those of `local`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr as _;

use pep440_rs::{Version, VersionSpecifiers};
use serde_json::{Value, json};

use crate::Done;
use crate::bench::table::{Table, figure};
use crate::bench::{cache_dir, machine, write};
use crate::cargo::target;
use crate::stage::{Profile, stage};

const WORKLOADS: [&str; 2] = ["null", "wl4"];

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Backends to try.
    #[arg(long, value_delimiter = ',', default_value = "sage,ray,dask")]
    backend: Vec<String>,
}

/// What else a backend can do that rests on its runtime's unstable parts. It may be refused, aloud, on a version that
/// lacks it; where it runs, its answers are held to the same digest.
fn arrangements(backend: &str) -> &'static [&'static [&'static str]] {
    match backend {
        "ray" => &[
            &["--nodes", "2"],
            &["--backend-option", "ray_mode=naive"],
            &["--backend-option", "ray_mode=compiled"],
        ],
        "sage" => &[&["--backend-option", "sage_engine=flow"]],
        _ => &[],
    }
}

/// Tries every backend on its versions and prints one table.
///
/// # Errors
/// When something does not build or install, or a run on an accepted version fails or answers otherwise than `local`.
pub fn run(args: &Args) -> Done {
    let staged = stage(Profile::Release)?;
    let trial = Trial { bench: staged.join("bin/bench"), folder: target().join("runtime-versions") };
    let expected = WORKLOADS.map(|workload| trial.run("local", None, workload, &[]));
    let mut tried = Vec::new();
    let mut said = Vec::new();
    for backend in &args.backend {
        let (backend_tried, gaps) = trial.backend(backend, &expected)?;
        tried.extend(backend_tried);
        said.extend(gaps);
    }
    println!("\nEach with --quick; answers compared with those of local:");
    let mut table = Table::new(&["backend", "versions", "work", "items/s", "result"]);
    for one in &tried {
        let verdict = one.verdict().to_owned();
        table.row([one.backend.clone(), one.versions.clone(), one.work.clone(), figure(one.rate), verdict]);
    }
    table.print();
    for (one, reason) in tried.iter().filter_map(|one| Some((one, one.reason()?))) {
        println!("{}, {}, {}: {reason}", one.backend, one.versions, one.work);
    }
    said.iter().for_each(|gap| println!("{gap}"));
    let path = target().join("runtime-versions.json");
    let rows: Vec<Value> = tried.iter().map(VersionRun::json).collect();
    write(
        &path,
        &json!({"machine": machine(), "python": python_here()?, "not_available": said, "tried": rows}),
    )?;
    println!("\n{}", path.display());
    match tried.iter().filter(|one| !one.is_fine()).count() {
        0 => Ok(()),
        bad => Err(format!("{bad} of {} runs on accepted versions did not do what they must", tried.len())),
    }
}

/// The version of `python3`, and the platform.
fn python_here() -> Result<String, String> {
    let script =
        "import platform, sysconfig; print(platform.python_version(), 'on', sysconfig.get_platform())";
    text(Command::new("python3").args(["-c", script]))
}

/// One run.
struct VersionRun {
    backend: String,
    versions: String,
    work: String,
    rate: Option<f64>,
    outcome: Outcome,
}

enum Outcome {
    /// The answers of `local`.
    Equal,
    /// A part that may be absent is, and the backend says so.
    Refused(String),
    Wrong(String),
}

impl VersionRun {
    fn is_fine(&self) -> bool {
        !matches!(self.outcome, Outcome::Wrong(_))
    }

    fn verdict(&self) -> &'static str {
        match &self.outcome {
            Outcome::Equal => "equal",
            Outcome::Refused(_) => "refused",
            Outcome::Wrong(_) => "FAILED",
        }
    }

    /// Why it is not equal.
    fn reason(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Equal => None,
            Outcome::Refused(why) | Outcome::Wrong(why) => Some(why),
        }
    }

    fn json(&self) -> Value {
        json!({
            "backend": self.backend,
            "versions": self.versions,
            "work": self.work,
            "items_per_second": self.rate,
            "fine": self.is_fine(),
            "result": self.verdict(),
            "reason": self.reason(),
        })
    }
}

/// Rate and digest.
type Ran = Result<(f64, String), Failed>;

/// A run that ended with an error.
struct Failed {
    /// The exit code of a user's mistake: something was asked for that there is not.
    refused: bool,
    why: String,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { refused: false, why }
    }
}

/// The exit code of `bench` for what a backend cannot do.
const REFUSED: i32 = 2;

/// The bench to try with, and where environments go.
struct Trial {
    bench: PathBuf,
    folder: PathBuf,
}

impl Trial {
    fn run(&self, backend: &str, python: Option<&Path>, workload: &str, extra: &[&str]) -> Ran {
        let mut command = Command::new(&self.bench);
        command
            .args(["run", "--json", "--quick", "--no-user-plugins", "--timeout", "300"])
            .args(["--backend", backend, "--workload", workload])
            .args(extra)
            .arg("--output-dir")
            .arg(self.folder.join("results"))
            .env("BENCH_CACHE_DIR", cache_dir());
        if let Some(python) = python {
            command.env(format!("BENCH_PYTHON_{}", backend.to_uppercase()), python);
        }
        let output = command.output().map_err(|cause| format!("{}: {cause}", self.bench.display()))?;
        if !output.status.success() {
            let refused = output.status.code() == Some(REFUSED);
            return Err(Failed { refused, why: error_of(&String::from_utf8_lossy(&output.stderr)) });
        }
        let record = serde_json::from_slice::<Value>(&output.stdout).map_err(|cause| cause.to_string())?;
        let digest = record[0]["extra"]["output_digest"]
            .as_str()
            .ok_or_else(|| "the record has no digest".to_owned())?;
        Ok((record[0]["throughput"].as_f64().unwrap_or_default(), digest.to_owned()))
    }

    /// Every version to try, and what the index lacks.
    fn backend(&self, backend: &str, expected: &[Ran]) -> Result<(Vec<VersionRun>, Vec<String>), String> {
        let mut info = Command::new(&self.bench);
        info.args(["backends", "info", backend, "--json", "--no-user-plugins"]);
        let info: Value = serde_json::from_str(&text(&mut info)?).map_err(|cause| cause.to_string())?;
        let requirements = &info["description"]["requirements"];
        let mut imports = Vec::new();
        let mut gaps = Vec::new();
        for import in requirements["imports"].as_array().into_iter().flatten() {
            let [distribution, accepts] =
                ["distribution", "accepts"].map(|key| import[key].as_str().unwrap_or(""));
            let available = self.available(distribution, accepts)?;
            if available.is_empty() {
                return Err(format!(
                    "{distribution}: the index has nothing of {accepts} for {}",
                    python_here()?
                ));
            }
            gaps.extend(gap(distribution, accepts, &available, &python_here()?));
            imports.push((distribution.to_owned(), available));
        }
        let others: Vec<&str> = requirements["requirements"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|requirement| !imports.iter().any(|(name, _)| is_of(requirement, name)))
            .collect();
        let mut tried = Vec::new();
        for pins in picks(&imports) {
            let label = pins.join(" ");
            eprintln!("{backend}: {label}");
            let row = |work: String, rate, outcome| {
                let (backend, versions) = (backend.to_owned(), label.clone());
                VersionRun { backend, versions, work, rate, outcome }
            };
            let python = match self.environment(backend, &pins, &others) {
                Ok(python) => python,
                Err(why) => {
                    tried.push(row("installation".to_owned(), None, Outcome::Wrong(why)));
                    continue;
                }
            };
            for (workload, expected) in WORKLOADS.iter().zip(expected) {
                let ran = self.run(backend, Some(&python), workload, &[]);
                let (rate, outcome) = judged(ran, expected, false);
                tried.push(row((*workload).to_owned(), rate, outcome));
            }
            for extra in arrangements(backend) {
                let ran = self.run(backend, Some(&python), WORKLOADS[0], extra);
                let (rate, outcome) = judged(ran, &expected[0], true);
                let how =
                    extra.iter().filter(|word| **word != "--backend-option").copied().collect::<Vec<_>>();
                tried.push(row(format!("{} {}", WORKLOADS[0], how.join(" ")), rate, outcome));
            }
        }
        Ok((tried, gaps))
    }

    /// Versions within `accepts` that the index has wheels of for this Python and platform, oldest first.
    fn available(&self, distribution: &str, accepts: &str) -> Result<Vec<Version>, String> {
        let python = self.venv("index")?;
        let listing = text(Command::new(python).args([
            "-m",
            "pip",
            "index",
            "versions",
            distribution,
            "--only-binary",
            ":all:",
            "--disable-pip-version-check",
        ]))?;
        let accepts = VersionSpecifiers::from_str(accepts).map_err(|cause| cause.to_string())?;
        let line = listing.lines().find_map(|line| line.strip_prefix("Available versions: "));
        let versions =
            line.unwrap_or_default().split(", ").filter_map(|version| version.parse::<Version>().ok());
        let mut versions: Vec<Version> = versions.filter(|version| accepts.contains(version)).collect();
        versions.sort();
        Ok(versions)
    }

    /// An environment with exactly these, made unless it is there.
    fn environment(&self, backend: &str, pins: &[String], others: &[&str]) -> Result<PathBuf, String> {
        let name = format!("{backend}-{}", pins[0].rsplit("==").next().unwrap_or_default());
        let stamp = self.folder.join(&name).join("installed.txt");
        let wanted = pins.iter().map(String::as_str).chain(others.iter().copied()).collect::<Vec<_>>();
        let python = self.folder.join(&name).join("bin/python");
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted.join("\n")) {
            return Ok(python);
        }
        let python = self.venv(&name)?;
        let install =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"];
        text(Command::new(&python).args(install).args(&wanted))?;
        std::fs::write(&stamp, wanted.join("\n")).map_err(|cause| format!("{}: {cause}", stamp.display()))?;
        Ok(python)
    }

    fn venv(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.join(name);
        let python = folder.join("bin/python");
        if !python.exists() {
            text(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        }
        Ok(python)
    }
}

/// The oldest of everything, one between of everything, and the newest of everything, as pip reads them.
fn picks(imports: &[(String, Vec<Version>)]) -> Vec<Vec<String>> {
    let place = |of: usize, which: usize| [0, (of - 1) / 2, of - 1][which];
    let pick = |which: usize| -> Vec<String> {
        let pin = |(name, versions): &(String, Vec<Version>)| {
            format!("{name}=={}", versions[place(versions.len(), which)])
        };
        imports.iter().map(pin).collect()
    };
    let mut picks: Vec<Vec<String>> = (0..3).map(pick).collect();
    picks.dedup();
    picks
}

/// Said when the oldest version of a range is not to be had here.
fn gap(distribution: &str, accepts: &str, available: &[Version], python: &str) -> Option<String> {
    let accepts = VersionSpecifiers::from_str(accepts).ok()?;
    let oldest = available.first()?;
    let bound = accepts.iter().find(|bound| {
        let from = bound.version().release();
        bound.operator().to_string() == ">=" && !oldest.release().starts_with(from)
    })?;
    Some(format!(
        "{distribution}: {accepts} is accepted, but of {} up to {oldest} the index has nothing for Python {python}; \
         {oldest} was tried as the oldest",
        bound.version()
    ))
}

/// Whether a requirement such as `isage==0.3.2.4` is of this distribution.
fn is_of(requirement: &str, distribution: &str) -> bool {
    let name = requirement.split(['=', '<', '>', '!', '~', '[', ' ']).next().unwrap_or_default();
    name.to_lowercase().replace(['_', '.'], "-") == distribution.to_lowercase().replace(['_', '.'], "-")
}

fn judged(ran: Ran, expected: &Ran, may_be_absent: bool) -> (Option<f64>, Outcome) {
    let expected = match expected {
        Ok((_, digest)) => digest,
        Err(failed) => return (None, Outcome::Wrong(format!("local itself failed: {}", failed.why))),
    };
    match ran {
        Ok((rate, digest)) if digest == *expected => (Some(rate), Outcome::Equal),
        Ok((rate, digest)) => (Some(rate), Outcome::Wrong(format!("other answers than local: {digest}"))),
        Err(Failed { refused: true, why }) if may_be_absent => (None, Outcome::Refused(why)),
        Err(Failed { why, .. }) => (None, Outcome::Wrong(why)),
    }
}

/// The line that says what went wrong.
fn error_of(stderr: &str) -> String {
    let line = stderr.lines().find(|line| line.starts_with("error:"));
    let line = line.map_or(stderr.lines().last(), |line| Some(line.trim_start_matches("error: ")));
    line.unwrap_or("it failed without a word").to_owned()
}

/// What a command prints.
fn text(command: &mut Command) -> Result<String, String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|cause| format!("{shown}: {cause}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(list: &[&str]) -> Vec<Version> {
        list.iter().map(|version| version.parse().unwrap()).collect()
    }

    #[test]
    fn the_oldest_the_newest_and_one_between_are_picked() {
        let imports = [
            ("ray".to_owned(), versions(&["2.9.0", "2.9.3", "2.31.0", "2.60.0"])),
            ("yaml".to_owned(), versions(&["6.0.1"])),
        ];
        let expected =
            [["ray==2.9.0", "yaml==6.0.1"], ["ray==2.9.3", "yaml==6.0.1"], ["ray==2.60.0", "yaml==6.0.1"]];
        assert_eq!(picks(&imports), expected);
        let single = [("isage".to_owned(), versions(&["0.3.2.4"]))];
        assert_eq!(picks(&single), [["isage==0.3.2.4"]]);
    }

    #[test]
    fn a_range_whose_oldest_is_not_to_be_had_is_said() {
        let said = |oldest: &str| gap("ray", ">=2.9,<3.0", &versions(&[oldest]), "3.12 on linux-x86_64");
        assert_eq!(said("2.9.0"), None);
        assert_eq!(said("2.9.3"), None);
        let said = said("2.20.0").unwrap();
        assert!(said.contains("of 2.9 up to 2.20.0") && said.contains("3.12 on linux-x86_64"), "{said}");
    }

    #[test]
    fn requirements_are_told_apart_by_the_name_of_the_distribution() {
        assert!(is_of("PyYAML==6.0.2", "pyyaml") && is_of("some_package>=1", "some-package"));
        assert!(!is_of("ray-something==1", "ray"));
    }
}
