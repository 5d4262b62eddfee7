//! Every way in which reading or writing results can fail.
//!
//! One enum, so that a caller can match on the reason and the texts stay in one voice. `Display`
//! gives the cause. [`Error::help`] gives the next step. They are apart because a line number in
//! front of a cause reads well, and the same in front of advice does not.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::found::Odd;
use crate::shell;

/// Why results could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb: "write", "open".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// Another process is writing into the same output directory.
    #[error("{} is in use by another bench process (waited {waited:?})", .directory.display())]
    Locked {
        /// The output directory.
        directory: PathBuf,
        /// How long we waited.
        waited: Duration,
    },

    /// Required fields are absent. The text is the one the guide promises.
    #[error("Missing required fields: {}", .0.join(", "))]
    MissingFields(Vec<&'static str>),

    /// Fields are present but cannot be what they claim.
    #[error("{}", .0.join("; "))]
    WrongFields(Vec<String>),

    /// A JSON document that is not an object where a record or manifest was expected.
    #[error("expected a JSON object, found {0}")]
    NotAnObject(&'static str),

    /// Text that is not JSON, or a value that JSON cannot hold.
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),

    /// Text that is not CSV.
    #[error("not valid CSV: {0}")]
    Csv(String),

    /// A line longer than any record; reading on would exhaust memory.
    #[error("the line is longer than {limit} bytes")]
    LineTooLong {
        /// The longest line that is read.
        limit: u64,
    },

    /// A record that nobody could read again, so that it is not written.
    #[error("the record could not be read back once it is written: {0}")]
    Unreadable(Box<Error>),

    /// One line of a file is at fault.
    #[error("{}:{line}: {cause}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1. In a CSV its row, as a spreadsheet counts.
        line: u64,
        /// What is wrong with it.
        cause: Box<Error>,
    },

    /// A whole file is at fault.
    #[error("{}: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<Error>,
    },

    /// A number that no result may contain.
    #[error("{name} must be a finite number, found {value}")]
    NotFinite {
        /// The field, as a dotted path where it is nested.
        name: String,
        /// NaN or an infinity.
        value: f64,
    },

    /// A number outside what its meaning allows.
    #[error("{name} must be between {min} and {max}, found {value}")]
    OutOfRange {
        /// The quantity.
        name: String,
        /// The least allowed.
        min: f64,
        /// The greatest allowed.
        max: f64,
        /// What was found.
        value: f64,
    },

    /// Text that is not a point in time.
    #[error("{text:?} is not an ISO-8601 time: {reason}")]
    Time {
        /// The text.
        text: String,
        /// The parser's reason.
        reason: String,
    },

    /// A latency log that cannot be read, or a histogram that cannot be written.
    #[error("bad latency histogram: {0}")]
    Histogram(String),

    /// An input plan over nothing.
    #[error("there are no items to plan")]
    NoItems,

    /// An input plan whose batches would be empty.
    #[error("the parity batch size is 0")]
    ZeroBatch,

    /// More items than one shuffle can draw for.
    #[error("{0} items are more than deterministic_shuffle_v1 is defined for (4294967296)")]
    TooManyItems(usize),
}

impl Error {
    /// What the user can do about it, as one or two sentences.
    pub fn help(&self) -> String {
        match self {
            Error::Io { source, path, .. } => io_help(source, path),
            Error::Locked { .. } => "Wait for the other run to end, or choose another --output-dir.".into(),
            Error::MissingFields(_) => "The runner must fill every required field. Latencies and \
                 config_hash may be null, but must be present."
                .into(),
            Error::WrongFields(_) | Error::NotAnObject(_) => {
                "Compare the record with the schema that `results::schema::record_schema` gives.".into()
            }
            Error::Json(_) | Error::Csv(_) | Error::LineTooLong { .. } => {
                "The file was edited, cut short, or is not a results file. Restore it, or choose another \
                 --output-dir."
                    .into()
            }
            Error::Unreadable(_) => {
                "The plugin says more than a record can hold. Report this to its author; nothing was changed."
                    .into()
            }
            Error::Line { path, line, cause } => match **cause {
                Error::Io { .. } => cause.help(),
                _ if path.extension().is_some_and(|ending| ending == "jsonl") => format!(
                    "sed -i.bak {line}d {}    (takes that line out and keeps the file as it was beside; or choose \
                     another folder for results)",
                    shell::word(&path.to_string_lossy())
                ),
                _ => format!(
                    "Nothing was changed. Repair or remove line {line} of {}, or choose another --output-dir.",
                    path.display()
                ),
            },
            Error::File { cause, .. } => cause.help(),
            Error::NotFinite { .. } | Error::OutOfRange { .. } => {
                "The measurement or option that gave this number is at fault. Run again with --verbose."
                    .into()
            }
            Error::Time { .. } => "Write times like 2026-01-31T12:00:00+00:00.".into(),
            Error::Histogram(_) => {
                "The log may be cut short or come from a tool that records fractions. Record it again.".into()
            }
            Error::NoItems => "Ask for at least one item with --num-tasks.".into(),
            Error::ZeroBatch => "Set --parity-batch-size to 1 or more.".into(),
            Error::TooManyItems(_) => "Lower --num-tasks.".into(),
        }
    }

    /// For `map_err`: names what was tried on which path.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// Says in which line of which file this happened.
    pub fn at_line(self, path: &Path, line: u64) -> Error {
        Error::Line { path: path.to_path_buf(), line, cause: Box::new(self) }
    }

    /// Says in which file this happened.
    pub fn in_file(self, path: &Path) -> Error {
        Error::File { path: path.to_path_buf(), cause: Box::new(self) }
    }
}

fn io_help(source: &io::Error, path: &Path) -> String {
    if Odd::of(source).is_some() {
        let odd = shell::word(&path.to_string_lossy());
        let aside = shell::word(&format!("{}.odd", path.display()));
        return format!(
            "mv {odd} {aside}    (bench did not put it there, or somebody changed it; nothing was read)"
        );
    }
    match source.kind() {
        io::ErrorKind::NotFound if path.exists() => {
            format!("No file can be made in {}: choose another --output-dir.", path.display())
        }
        io::ErrorKind::NotFound => format!("Check that {} exists.", path.display()),
        io::ErrorKind::PermissionDenied => {
            format!("Check who may write {}, or choose another --output-dir.", path.display())
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free some space. Earlier results are untouched.".into()
        }
        io::ErrorKind::FileTooLarge => {
            "Raise the limit on the size of files (ulimit -f unlimited). Earlier results are untouched."
                .into()
        }
        _ => "Check the path and the disk. Earlier results are untouched.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_read_as_the_guide_promises() {
        let error = Error::MissingFields(vec!["seed", "nodes"]);
        assert_eq!(error.to_string(), "Missing required fields: seed, nodes");
    }

    #[test]
    fn a_bad_line_is_named_in_cause_and_remedy() {
        let error = Error::NotAnObject("a number").at_line(Path::new("my r.jsonl"), 7);
        assert_eq!(error.to_string(), "my r.jsonl:7: expected a JSON object, found a number");
        assert!(error.help().starts_with("sed -i.bak 7d 'my r.jsonl' "), "{}", error.help());
    }
}
