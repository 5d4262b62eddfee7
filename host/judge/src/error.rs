//! Why a comparison could not be made, and what to do about it.

use std::path::PathBuf;

/// Everything that stops a comparison. What merely weakens one is reported inside it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path that was named does not exist.
    #[error("{} does not exist", .0.display())]
    MissingPath(PathBuf),

    /// The paths exist but hold no results.
    #[error("no unified_results.jsonl or unified_results.csv under {}", list(.0))]
    NothingFound(Vec<PathBuf>),

    /// Results files were found, and none of them has a record.
    #[error("the results files under {} hold no records", list(.0))]
    NoRecords(Vec<PathBuf>),

    /// There are records, and none of a run that could be repeated.
    #[error("no run under {} came to its end with answers", list(.0))]
    NoneWhole(Vec<PathBuf>),

    /// A results file cannot be read, or a row cannot be written.
    #[error(transparent)]
    Results(#[from] bench_record::Error),
}

/// What every function of a comparison returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the user can do about it.
    pub fn help(&self) -> String {
        match self {
            Error::MissingPath(_) => "Check the path. It is taken from the current directory.".into(),
            Error::NothingFound(_) => {
                "Name the --output-dir of a run, a folder above it, or a results file itself.".into()
            }
            Error::NoRecords(_) => {
                "Run the workload again, or name a folder of results that has records.".into()
            }
            Error::NoneWhole(_) => "Run the workload again, and let it come to its end.".into(),
            Error::Results(cause) => cause.help(),
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
