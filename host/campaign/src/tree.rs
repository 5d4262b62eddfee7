//! The folder of a campaign that can be resumed, and its plan.
//!
//! `plan.json` is written first and holds everything that whoever resumes needs; a run is finished when its backend's
//! results hold its record, so nothing else has to be kept.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use bench_measure::plan::Plan;
use bench_record::canonical_json::short;
use bench_record::evidence::Place;
use bench_record::found::Found;
use bench_record::pair::{FAILURE_NAME, MANIFEST_NAME};
use bench_record::time::UtcTime;
use bench_record::{self as results, OutputLock, Record, atomic, bom, folder, jsonl};

/// Which campaign it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    pub run_id: String,
    pub config_hash: String,
    pub started_at: UtcTime,
}

impl Started {
    /// It starts now.
    #[must_use]
    pub fn now(run_id: String, config_hash: String) -> Self {
        Self { run_id, config_hash, started_at: UtcTime::now() }
    }
}

/// What its runs are done with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Means {
    /// In bytes.
    pub memory_limit: Option<u64>,
    pub backend_options: Vec<(String, String)>,
    pub plugins_dir: Vec<PathBuf>,
    pub no_user_plugins: bool,
    #[serde(default)]
    pub only_trusted: bool,
    /// Whether every answer is saved.
    #[serde(default)]
    pub save_answers: bool,
    /// The command, for the logs.
    pub command: String,
}

/// What is kept in `plan.json`.
pub trait Kept: Serialize + DeserializeOwned {
    /// What people call such a campaign; its command.
    const NAME: &'static str;

    fn started(&self) -> &Started;

    fn means(&self) -> &Means;

    /// The fingerprint, made anew.
    fn hash(&self) -> String;

    /// The plan of which all others are variants.
    fn plan(&self) -> &Plan;

    /// Every plan that will run.
    fn plans(&self) -> Vec<Plan>;

    /// The backends of its runs.
    fn backends(&self) -> Vec<&str>;

    /// Folders that results go to.
    fn folders(&self, tree: &Tree) -> Vec<PathBuf>;
}

/// The folder of a campaign.
#[derive(Debug, Clone)]
pub struct Tree(PathBuf);

impl Tree {
    /// `run_id=…/config_hash=…` below `root`.
    #[must_use]
    pub fn new(root: &Path, run_id: &str, config_hash: &str) -> Self {
        let hash = format!("config_hash={}", short(config_hash));
        Self(root.join(format!("run_id={run_id}")).join(hash))
    }

    /// The folder of an earlier campaign: the only one of its id that has a `plan.json`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn find(root: &Path, run_id: &str) -> results::Result<Option<Self>> {
        let folder = root.join(format!("run_id={run_id}"));
        let entries = match fs::read_dir(&folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(results::Error::io("list", &folder))?,
        };
        let mut trees: Vec<Self> = entries.flatten().map(|entry| Self(entry.path())).collect();
        trees.retain(|tree| tree.plan_file().is_file());
        trees.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(if trees.len() == 1 { trees.pop() } else { None })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    fn plan_file(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// Whether a campaign was begun here.
    #[must_use]
    pub fn has_plan(&self) -> bool {
        self.plan_file().is_file()
    }

    /// All results.
    #[must_use]
    pub fn backends(&self) -> PathBuf {
        self.0.join("backends")
    }

    /// One backend's results.
    #[must_use]
    pub fn backend(&self, name: &str) -> PathBuf {
        self.backends().join(name)
    }

    #[must_use]
    pub fn comparison(&self) -> PathBuf {
        self.0.join("comparison")
    }

    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.0.join(MANIFEST_NAME)
    }

    #[must_use]
    pub fn failure_report(&self) -> PathBuf {
        self.0.join(FAILURE_NAME)
    }

    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// Whether nobody else is at work here and results can be added to `folders`; see [`folder::check`]. A tree
    /// that is not there is not made.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check(&self, mut folders: impl Iterator<Item = PathBuf>) -> results::Result<()> {
        folder::check(&self.0, std::time::Duration::ZERO)?;
        folders.try_for_each(|folder| folder::check(&folder, results::lock::DEFAULT_WAIT))
    }

    /// Makes the folders and keeps the plan.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn begin(&self, plan: &impl Serialize) -> results::Result<()> {
        for folder in [self.backends(), self.logs()] {
            fs::create_dir_all(&folder).map_err(results::Error::io("create", &folder))?;
        }
        atomic::write_json(&self.plan_file(), plan)
    }

    /// The plan that was kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn plan<P: DeserializeOwned>(&self) -> results::Result<P> {
        read_json(&self.plan_file())
    }

    /// Keeps others out of the folder until it is dropped, and clears what a killed one left half
    /// written. Results folders have locks of their own, which do the same.
    ///
    /// # Errors
    /// When another holds it.
    pub fn lock(&self) -> results::Result<OutputLock> {
        let lock = OutputLock::acquire(&self.0, std::time::Duration::ZERO)?;
        clear(&self.0);
        // Another campaign below the same root may have been killed for good: nobody resumes it, and nobody owns what it
        // had half written. Files that are being written are locked, and stay.
        let root = self.0.parent().and_then(Path::parent).unwrap_or(&self.0);
        let campaigns = fs::read_dir(root).into_iter().flatten().flatten();
        let campaigns = campaigns.filter(|entry| entry.file_name().to_string_lossy().starts_with("run_id="));
        campaigns.for_each(|campaign| clear(&campaign.path()));
        Ok(lock)
    }

    /// Whether a backend has a whole record, with answers, at the place that is wanted.
    pub fn has_record(&self, backend: &str, wanted: impl Fn(&Place) -> bool) -> bool {
        let is_it = |record: Record| {
            let evidence = record.evidence();
            wanted(&evidence.place) && !evidence.partial && record.success_rate.get() != 0.0
        };
        jsonl::read(&self.backend(backend).join(jsonl::FILE_NAME))
            .is_ok_and(|mut records| records.any(|record| record.is_ok_and(is_it)))
    }

    /// Adds a section to the log of `name`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn log(
        &self,
        name: &str,
        command: &str,
        stdout: &str,
        stderr: &str,
        code: u8,
    ) -> results::Result<()> {
        let path = self.logs().join(format!("{name}.log"));
        let end = |text: &str| if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let (out, err) = (end(stdout), end(stderr));
        let section = format!(
            "$ {command}\n\n[stdout]\n{stdout}{out}\n[stderr]\n{stderr}{err}\n[returncode] {code}\n\n"
        );
        let file = Found::SHARED.open_with(File::options().append(true).create(true), &path);
        file.and_then(|mut file| file.write_all(section.as_bytes()))
            .map_err(results::Error::io("write", &path))
    }
}

/// Removes what was half written, in all folders. What a killed or failed run left whole stays: its log says why.
fn clear(folder: &Path) {
    atomic::remove_leftovers(folder);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path());
        }
    }
}

/// Bytes of the beginning and of the end of a run's log that go into the log of its backend: a plugin may print as much
/// as it likes, and the whole is in the run's own folder.
const EXCERPT: u64 = 256 << 10;

/// What a log says, or of a long one its beginning and its end.
pub(super) fn excerpt(path: &Path) -> io::Result<String> {
    let mut file = Found::SHARED.open(path)?;
    let size = file.metadata()?.len();
    let mut text = Vec::new();
    (&mut file).take(EXCERPT).read_to_end(&mut text)?;
    let left_out = size.saturating_sub(2 * EXCERPT);
    if left_out > 0 {
        write!(text, "\n[bench: {left_out} bytes are left out here; all of it is in {}]\n", path.display())?;
    }
    file.seek(SeekFrom::Start(EXCERPT + left_out))?;
    file.take(EXCERPT).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A plan or a manifest has some kilobytes.
pub(super) const LARGEST: u64 = 16 << 20;

fn read_json<T: DeserializeOwned>(path: &Path) -> results::Result<T> {
    let bytes = Found::NAMED.at_most(LARGEST).read(path).map_err(results::Error::io("read", path))?;
    Ok(bom::json(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_beginning_and_the_end_are_told_and_of_a_short_one_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.log");
        let told = |text: &str| {
            fs::write(&path, text).unwrap();
            excerpt(&path).unwrap()
        };
        let half = "x".repeat(EXCERPT as usize);
        for short in ["", "short\n", &half, &format!("{half}y"), &format!("{half}{half}")] {
            assert!(told(short) == short, "{} bytes", short.len());
        }
        let long = told(&format!("first\n{}\nlast\n", half.repeat(10)));
        assert!(long.starts_with("first\n") && long.ends_with("\nlast\n") && long.len() < 600 << 10);
        assert!(
            long.contains("[bench: 2097164 bytes are left out here; all of it is in /"),
            "{}",
            long.len()
        );
    }
}
