//! Exit codes, each with one meaning, and the error that carries one.

use std::process::ExitCode;

/// What the exit code of `bench` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// The backend or its runtime failed.
    RunFailed = 1,
    /// The command line, a configuration file or a corpus is wrong.
    Usage = 2,
    /// No backend has this name.
    UnknownBackend = 3,
    /// The backend is there, but what it needs is not.
    Unavailable = 4,
    /// The time-out ended the run.
    TimedOut = 5,
    /// Items were lost, duplicated or invented.
    Dishonest = 6,
    /// Results, or what a command prints, could not be written.
    Output = 7,
    /// A plugin was refused or could not be loaded.
    BadPlugin = 8,
    /// The gate: slower than allowed.
    Regression = 10,
    /// The same work gave other answers, or the gate's baseline has other work.
    Mismatch = 11,
    /// The gate: the measurements cannot be trusted.
    Invalid = 12,
    /// The gate: nothing was shown yet. Verify: not comparable, or without proof.
    Inconclusive = 13,
    /// `backends check`: some test failed.
    NotConformant = 14,
    /// `audit`: the backend takes a shortcut.
    Shortcut = 15,
    /// Stopped by Ctrl-C, SIGTERM or SIGHUP.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What `--help` says about them.
pub const EXIT_CODES: &str = "Exit codes: 0 success; 1 the run failed; 2 wrong usage, configuration or corpus; \
3 unknown backend; 4 backend not available; 5 time-out; 6 the backend lost, duplicated or invented items; \
7 a folder, a file or standard output could not be used; 8 plugin refused; 10 regression; 11 answers or work differ; 12 invalid measurements; \
13 inconclusive or not comparable; 14 a plugin does not conform; 15 the audit found a shortcut; 130 interrupted (Ctrl-C, SIGTERM, SIGHUP).";

/// An error on its way to the user.
#[derive(Debug)]
pub struct Stopped {
    pub exit: Exit,
    pub message: String,
    /// The next command to type; may be empty.
    pub remedy: String,
    /// A record, as JSON, that is nowhere else or not where it should be: it is printed.
    pub rescued: Option<String>,
}

impl Stopped {
    /// An error with a remedy.
    pub fn new(exit: Exit, message: impl std::fmt::Display, remedy: impl Into<String>) -> Self {
        Self { exit, message: message.to_string(), remedy: remedy.into(), rescued: None }
    }

    /// Wrong usage.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self::new(Exit::Usage, message, "")
    }
}

impl From<bench_record::Error> for Stopped {
    fn from(error: bench_record::Error) -> Self {
        Self::new(Exit::Output, &error, error.help())
    }
}
