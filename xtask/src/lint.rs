//! The checks of form: Rust, Python, Markdown and licences, without running a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args as ClapArgs;

use crate::Done;
use crate::bench::python::LINT;
use crate::cargo::{cargo, root, run, target};
use crate::ci::in_ci;

/// What to check, or to mend.
#[derive(ClapArgs)]
pub struct Args {
    /// Mend what the tools can mend by themselves, then check.
    #[arg(long)]
    fix: bool,
}

/// A name and a check.
type Check = (&'static str, fn() -> Result<Outcome, String>);

/// How a check that found nothing wrong ended.
enum Outcome {
    Clean,
    /// It could not be made here, for the lack of something that it names.
    Skipped(String),
}

const CHECKS: [Check; 7] = [
    ("the form of Rust", rust_form),
    ("clippy", clippy),
    ("Rust's documentation", documentation),
    ("packages for authors of plugins", packages),
    ("Python", python),
    ("Markdown", markdown),
    ("licences and sources of dependencies", dependencies),
];

/// The crates that authors of plugins depend on.
const FOR_AUTHORS: [&str; 2] = ["bench-dataflow", "bench-plugin-api"];

/// Makes every check, also after one that failed: what is red is worth knowing as a whole.
///
/// # Errors
/// Names the checks that failed; in CI also those that could not be made.
pub fn lint(args: &Args) -> Done {
    if args.fix {
        mend()?;
    }
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        eprintln!("checking {name}");
        match check() {
            Ok(Outcome::Clean) => {}
            Ok(Outcome::Skipped(why)) => eprintln!("skipped, {name}: {why}"),
            Err(why) => {
                eprintln!("{why}");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("these checks failed: {}", failed.join(", "))) }
}

fn mend() -> Done {
    run(&mut cargo(["fmt", "--all"]))?;
    match LINT.python() {
        Ok(python) => {
            ruff(&python, &["check", "--fix-only"])?;
            ruff(&python, &["format"])
        }
        Err(why) => {
            eprintln!("skipped, Python: {why}");
            Ok(())
        }
    }
}

fn clean(done: Done) -> Result<Outcome, String> {
    done.map(|()| Outcome::Clean)
}

fn rust_form() -> Result<Outcome, String> {
    clean(run(&mut cargo(["fmt", "--all", "--check"])))
}

fn clippy() -> Result<Outcome, String> {
    clean(run(&mut cargo(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])))
}

fn documentation() -> Result<Outcome, String> {
    let mut doc = cargo(["doc", "--workspace", "--no-deps", "--quiet"]);
    clean(run(doc.env("RUSTDOCFLAGS", "-D warnings")))
}

/// What authors of plugins depend on can be packaged, and builds from its packages alone.
///
/// The packages are unpacked and built here, not by Cargo's own check: that one keeps what it unpacks in the
/// user's Cargo home by name and version, and builds an earlier commit's package of the same version again.
fn packages() -> Result<Outcome, String> {
    let folder = target().join("package");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    }
    let mut package = cargo(["package", "--no-verify", "--quiet", "--offline", "--allow-dirty"]);
    run(package.args(FOR_AUTHORS.iter().flat_map(|name| ["--package", name])))?;
    let mut manifest =
        "[workspace]\nresolver = \"3\"\nmembers = [\"bench-*\"]\n\n[patch.crates-io]\n".to_owned();
    for name in FOR_AUTHORS {
        let package = packaged(&folder, name)?;
        run(Command::new("tar").arg("-xzf").arg(format!("{package}.crate")).current_dir(&folder))?;
        let _ = writeln!(manifest, "{name} = {{ path = \"{package}\" }}");
    }
    fs::write(folder.join("Cargo.toml"), manifest)
        .and_then(|()| fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")))
        .map_err(|cause| format!("{}: {cause}", folder.display()))?;
    clean(run(cargo(["check", "--workspace", "--quiet", "--offline"]).current_dir(&folder)))
}

/// The name and version that the package of a crate was written under.
fn packaged(folder: &Path, name: &str) -> Result<String, String> {
    let entries = fs::read_dir(folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut packages = names.filter_map(|file| file.strip_suffix(".crate").map(str::to_owned));
    packages
        .find(|package| package.starts_with(name))
        .ok_or_else(|| format!("cargo package wrote no package of {name} into {}", folder.display()))
}

/// `ruff` and `mypy --strict`, as pyproject.toml has them, on every Python file of the repository.
fn python() -> Result<Outcome, String> {
    let python = match LINT.python() {
        Ok(python) => python,
        Err(why) if in_ci() => return Err(why),
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let mut done = ruff(&python, &["check", "--quiet"]).and(ruff(&python, &["format", "--check", "--quiet"]));
    for files in by_crate(&sources(&root(), "py")?).into_values() {
        let mut mypy = Command::new(&python);
        mypy.args(["-m", "mypy", "--no-error-summary"]).args(files).current_dir(root());
        // Every driver is put beside the SDK where it runs, and its tests beside what the SDK's tests share.
        let sdk = root().join("plugins/python");
        let path = std::env::join_paths([&sdk, &sdk.join("tests")]).map_err(|cause| cause.to_string())?;
        mypy.env("MYPYPATH", path);
        done = done.and(run(&mut mypy));
    }
    clean(done)
}

fn ruff(python: &Path, args: &[&str]) -> Done {
    run(Command::new(python).args(["-m", "ruff"]).args(args).arg(".").current_dir(root()))
}

/// Files that are run together, by the folder of their crate or engine: two may have modules of one name.
fn by_crate(files: &BTreeSet<PathBuf>) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut groups: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        let is_own =
            |folder: &&Path| ["engine.toml", "Cargo.toml"].iter().any(|own| folder.join(own).is_file());
        let own = file.ancestors().skip(1).find(is_own);
        groups.entry(own.unwrap_or(file).to_owned()).or_default().push(file.clone());
    }
    groups
}

/// Every file of the repository whose name ends so.
fn sources(root: &Path, extension: &str) -> Result<BTreeSet<PathBuf>, String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // What is built, what is hidden, and what other projects made.
            let foreign = name.starts_with('.') || ["target", "results", "artifacts"].contains(&&*name);
            if path.is_dir() && !foreign && !path.is_symlink() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == extension) {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

/// Longest line of prose. Tables, code and addresses cannot be broken.
const LONGEST: usize = 120;

fn markdown() -> Result<Outcome, String> {
    let mut long = Vec::new();
    for file in sources(&root(), "md")? {
        let text = std::fs::read_to_string(&file).map_err(|cause| format!("{}: {cause}", file.display()))?;
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        long.extend(too_long(&text).map(|(line, length)| format!("{name}:{line}: {length} characters")));
    }
    if long.is_empty() {
        return Ok(Outcome::Clean);
    }
    Err(format!("{}\nlines of Markdown have {LONGEST} characters at most, tables aside", long.join("\n")))
}

/// Number and length of each line of prose that is too long.
fn too_long(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        let breakable = !in_code && !fence && !line.starts_with('|') && line.trim().contains(' ');
        let length = line.chars().count();
        (breakable && length > LONGEST).then_some((number + 1, length))
    })
}

/// `cargo deny`, as deny.toml has it. Advisories need a database from the network: see the workflow of CI.
fn dependencies() -> Result<Outcome, String> {
    if !cargo(["deny", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return Ok(Outcome::Skipped(
            "there is no cargo-deny: cargo install --locked cargo-deny (a few minutes)".to_owned(),
        ));
    }
    let parts = ["bans", "licenses", "sources"];
    clean(run(cargo(["deny", "--workspace", "check", "--hide-inclusion-graph"]).args(parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_prose_are_measured_and_tables_and_code_are_not() {
        let long = "word ".repeat(30);
        let text = format!("short\n{long}\n| {long} |\n```sh\n{long}\n```\n{long}\n{}\n", "x".repeat(200));
        assert_eq!(too_long(&text).collect::<Vec<_>>(), [(2, 150), (7, 150)]);
        assert_eq!(too_long(&"ä ".repeat(60)).count(), 0, "bytes were counted");
    }

    #[test]
    fn every_python_file_belongs_to_the_crate_it_lies_in() {
        let files = sources(&root(), "py").unwrap();
        let groups = by_crate(&files);
        let ray = &groups[&root().join("plugins/ray")];
        assert!(ray.contains(&root().join("plugins/ray/driver.py")));
        assert!(ray.contains(&root().join("plugins/ray/tests/compat_test.py")));
        assert_eq!(groups.values().map(Vec::len).sum::<usize>(), files.len());
        assert!(files.iter().all(|file| !file.starts_with(root().join("target"))));
    }
}
