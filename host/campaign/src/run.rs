//! A run that a campaign wants, and who does it.

use std::path::{Path, PathBuf};

use bench_isolate::isolate::Stop;
use bench_judge::capacity::Report;
use bench_measure::loss::Loss;
use bench_measure::plan::Plan;
use bench_measure::supervise::{Finished, Watcher};
use bench_record::evidence::Place;

/// One run.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub backend: &'a str,
    pub plan: &'a Plan,
    pub run_id: &'a str,
    pub repeat_index: u32,
    /// Where its record goes.
    pub output_dir: &'a Path,
    /// Its own folder, which is claimed.
    pub folder: &'a Path,
    /// Where in the campaign it belongs.
    pub place: Place,
    /// What to call it while it goes on.
    pub label: String,
    /// A run that is cut short is worth nothing here: the first stop lets it end.
    pub to_its_end: bool,
    /// What is killed on the way.
    pub loss: Option<&'a Loss>,
}

/// Does runs and shows them.
pub trait Runner {
    type Failure: Failure;

    /// Runs to the record.
    ///
    /// # Errors
    /// When there is none, or it is not where it should be.
    fn run(&mut self, wanted: &Wanted<'_>, watcher: &mut dyn Watcher) -> Result<Finished, Self::Failure>;

    /// Builds what a plan needs and its cache lacks.
    ///
    /// # Errors
    /// When that cannot be built.
    fn prepare(&mut self, plan: &Plan) -> Result<(), Self::Failure>;

    /// # Errors
    /// When not one timed query was answered.
    fn answered(&self, run: &Finished) -> Result<(), Self::Failure>;

    /// How much the user wants it to be over.
    fn stop(&self) -> &Stop;

    /// Something that the user may want to know.
    fn note(&mut self, text: &str);

    /// A step failed; the others go on.
    fn trouble(&mut self, failure: &Self::Failure);

    /// Keeps what a search for capacity found, and says in which files.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep(&mut self, folder: &Path, found: &Report) -> Result<Vec<PathBuf>, Self::Failure>;
}

/// Why a run came to nothing, in the words of whoever does the runs.
pub trait Failure: From<bench_record::Error> {
    /// The user stopped a search.
    fn interrupted() -> Self;

    /// Whether the user stopped it.
    fn is_interrupted(&self) -> bool;

    /// How the backend broke, if that is why.
    fn broken(&self) -> Option<&str>;

    /// The exit code and the words for a log.
    fn logged(&self) -> (u8, String);
}
