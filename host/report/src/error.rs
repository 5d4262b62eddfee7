//! Why a report could not be written, and what to do about it.

/// Everything that stops a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to report, or it cannot be read.
    #[error(transparent)]
    Judge(#[from] bench_judge::Error),

    /// A report cannot be written.
    #[error(transparent)]
    Results(#[from] bench_record::Error),

    /// A chart could not be drawn.
    #[error("cannot draw {chart}: {reason}")]
    Chart {
        /// Its file name.
        chart: String,
        /// What the library said.
        reason: String,
    },

    /// The page could not be put together. A fault of ours.
    #[error("cannot render report.html: {0}")]
    Page(#[from] minijinja::Error),
}

/// What every function of a report returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the user can do about it.
    pub fn help(&self) -> String {
        match self {
            Error::Judge(cause) => cause.help(),
            Error::Results(cause) => cause.help(),
            Error::Chart { .. } | Error::Page(_) => {
                "The tables are complete without it. Please report this with the records that caused it."
                    .into()
            }
        }
    }
}
