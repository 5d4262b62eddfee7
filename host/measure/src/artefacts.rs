//! What a run leaves in its folder. Each file is whole or not there, and one that could not be written costs no other.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;

use bench_record::digest::Hashed;
use bench_record::found::Found;
use bench_record::{self as results, atomic, histogram, spreadsheet, vectors};
use bench_workloads::judge::RUN_FILES;

use super::answers;
use super::completions;
use super::course::Cut;
use super::item::read_items;
use super::operation::{ANSWERS, ITEMS_FILE, TRACE_FILE};
use super::plan::Plan;
use super::received::Received;
use super::trace;

/// One row a query, one column a stage.
pub const ITEMS: &str = "items.csv";

/// Writes them, from what the runner left in its scratch folder. Each comes back as its SHA-256, or not at all.
pub struct Artefacts<'a> {
    scratch: &'a Path,
    folder: &'a Path,
    /// What could not be written, each with its cause.
    pub unwritten: Vec<String>,
}

impl<'a> Artefacts<'a> {
    /// In `folder`, where so much could not be written before.
    #[must_use]
    pub fn of(scratch: &'a Path, folder: &'a Path, unwritten: Vec<String>) -> Self {
        Self { scratch, folder, unwritten }
    }

    fn kept(&mut self, what: &str, done: io::Result<String>) -> Option<String> {
        done.map_err(|cause| self.unwritten.push(format!("{what}: {cause}"))).ok()
    }

    /// The items, those before `cut` as warm-up.
    pub fn items(&mut self, plan: &Plan, cut: Option<Cut>) -> Option<String> {
        let done = keep_items(self.scratch, self.folder, plan, cut);
        self.kept("the items file", done)
    }

    /// The latencies of a run that took so long.
    pub fn latencies(&mut self, received: &Received, wall_seconds: f64) -> Option<String> {
        let log = received.latencies(wall_seconds).map_err(io::Error::other);
        let path = self.folder.join(histogram::FILE_NAME);
        let done = log.and_then(|log| write_hashed(&path, |file| file.write_all(&log)));
        self.kept("the latency histogram", done)
    }

    /// The trace, at `path`, if the run made one.
    pub fn trace(&mut self, path: &Path) {
        let made = self.scratch.join(TRACE_FILE);
        if made.symlink_metadata().is_ok() {
            // Where the user wants it, which may be behind a link.
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            self.kept("the trace", keep(&made, &path, trace::LARGEST));
        }
    }

    /// What was answered, word for word.
    pub fn answers(&mut self) -> Option<String> {
        let (from, to) = (self.scratch.join(answers::FILE_NAME), self.folder.join(answers::FILE_NAME));
        self.kept(ANSWERS, keep(&from, &to, answers::LARGEST))
    }

    /// The judged rankings, if there are any.
    pub fn rankings(&mut self) {
        for name in RUN_FILES {
            let ranking = self.scratch.join(name);
            if ranking.exists() {
                self.kept(name, keep(&ranking, &self.folder.join(name), RUN_FILE_LARGEST));
            }
        }
    }

    /// The vectors that an endpoint gave, where one was asked: by them it is told whether answers differ because of it.
    pub fn vectors(&mut self, plan: &Plan) -> Option<String> {
        let done = keep_vectors(plan, self.folder).transpose()?;
        self.kept("the vectors of texts", done)
    }
}

/// Every answer that came, whatever became of the run.
///
/// # Errors
/// When they cannot be copied.
pub fn completions(scratch: &Path, folder: &Path) -> io::Result<()> {
    let (from, to) = (scratch.join(completions::FILE_NAME), folder.join(completions::FILE_NAME));
    keep(&from, &to, completions::LARGEST).map(drop)
}

/// More than the rankings of any published collection take.
const RUN_FILE_LARGEST: u64 = 1 << 30;

/// Copies a file of the runner's, and returns its SHA-256. A plugin shares the runner's process: it could have put
/// anything there.
fn keep(from: &Path, to: &Path, largest: u64) -> io::Result<String> {
    let mut from = Found::LEFT.at_most(largest).open(from)?.take(largest);
    write_hashed(to, |file| io::copy(&mut from, file).map(drop))
}

/// Writes a file whole or not at all, and returns its SHA-256.
fn write_hashed(
    path: &Path,
    fill: impl FnOnce(&mut Hashed<&mut File>) -> io::Result<()>,
) -> io::Result<String> {
    let mut sha256 = String::new();
    let written = atomic::write_own_with(path, |file| {
        let mut file = Hashed::new(file);
        fill(&mut file).map_err(results::Error::io("write", path))?;
        sha256 = file.sha256();
        Ok(())
    });
    written.map(|()| sha256).map_err(io::Error::other)
}

/// Turns the runner's items into the file people read: one row a query, one column a stage.
fn keep_items(scratch: &Path, folder: &Path, plan: &Plan, cut: Option<Cut>) -> io::Result<String> {
    let graph = plan.graph().map_err(io::Error::other)?;
    let items = read_items(Found::LEFT.open(&scratch.join(ITEMS_FILE))?);
    let most = u64::from(plan.num_tasks);
    let nodes: Vec<(usize, &str)> =
        graph.operators().map(|node| (node.id as usize, node.name.as_str())).collect();
    write_hashed(&folder.join(ITEMS), |file| {
        let mut writer = ::csv::Writer::from_writer(io::BufWriter::new(file));
        let fixed = ["query_id", "ok", "digest", "latency_ms"];
        writer.write_record(fixed.into_iter().chain(nodes.iter().map(|(_, name)| *name)))?;
        for (number, item) in (0_u64..).zip(items) {
            let item = item?;
            if number == most {
                return Err(io::Error::other(format!("there are more items than the {most} queries")));
            }
            let digest = hex::encode(item.digest);
            // Warm-up items have no latency: whoever reads the column reads the timed ones.
            let latency_ms = if item.timed && !cut.is_some_and(|cut| cut.takes(number)) {
                format!("{:.3}", item.response().as_nanos() as f64 / 1e6)
            } else {
                String::new()
            };
            let id = spreadsheet::cell(&item.query_id).into_owned();
            let fixed = [id, item.ok.to_string(), digest, latency_ms];
            let stages = nodes.iter().map(|(node, _)| stage_digest(&item.stages, *node));
            writer.write_record(fixed.into_iter().chain(stages))?;
        }
        writer.flush()
    })
}

fn keep_vectors(plan: &Plan, folder: &Path) -> io::Result<Option<String>> {
    let stored = plan.workload.vectors(&plan.open_spec()).map_err(io::Error::other)?;
    let Some(stored) = stored else { return Ok(None) };
    let dimension = stored.dimension();
    let lowest = stored.lowest(vectors::Vectors::most(dimension))?;
    let by_key = lowest.into_iter().map(|(key, vector)| (key, vector.dims)).collect();
    let kept = vectors::Vectors { dimension, by_key };
    write_hashed(&folder.join(vectors::FILE_NAME), |file| kept.write(file)).map(Some)
}

fn stage_digest(stages: &[u64], node: usize) -> String {
    match stages.get(node) {
        Some(0) | None => String::new(),
        Some(digest) => format!("{digest:016x}"),
    }
}
