//! How a call can end, and the one sentence that says so.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::ending::Ending;
use super::process::Process;
use super::warden::CpuTime;
use crate::room;
use crate::text::{one_line, seconds, telling_line};
use crate::{Error, ErrorKind};

/// The phase in which a plugin does what the user asked for; what comes before is about the plugin itself.
pub const RUN: &str = "run";

/// How a warden begins that could not make the call's temporary directory.
pub(super) const NO_FOLDER: &str = "its temporary directory cannot be made: ";

/// How a warden begins that could not start the runner.
pub(super) const NO_PROCESS: &str = "its process cannot be started: ";

/// What is said of a process that sends more behind its answer. Nothing of the host's own does.
pub const SPOKE_ON: &str = "it went on after its answer";

/// The operation was carried out. The call's scratch directory is there until this is dropped.
#[derive(Debug)]
pub struct Answer<R> {
    /// What it answered.
    pub reply: R,
    /// What was not as it should be all the same.
    pub remarks: Vec<Remark>,
    /// The last 64 KiB of what was printed.
    pub tail: String,
    /// When the call was started and when its answer came.
    pub started: Instant,
    pub answered: Instant,
    /// For how long in all nobody listened to it, because the watcher or the machine was busy with something else.
    pub deaf: Duration,
    /// Whether it was asked to finish what had begun, or to end at once.
    pub stopped: bool,
    /// CPU time that the kernel counted for the call's processes. `None` when it is not known.
    pub cpu: Option<CpuTime>,
    /// The warden that keeps the scratch directory, if there is one.
    pub(super) _keeper: Option<Process>,
}

/// Bad manners that did not cost the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// Processes were still running after the runner ended; they were killed. Their names.
    LeftBehind(Vec<String>),
    /// The runner crashed or exited by itself after its answer.
    EndedBadly(Ending),
    /// Destructors did not finish within their grace.
    SlowToClose,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftBehind(names) => write!(f, "it left processes running: {}", counted(names)),
            Self::EndedBadly(how) => write!(f, "its process ended badly after the answer: {how}"),
            Self::SlowToClose => f.write_str("its destructors did not end in time"),
        }
    }
}

/// Each name once, with how often it occurs: `ray, 50 × sleep`.
fn counted(names: &[String]) -> String {
    let mut counts = BTreeMap::new();
    names.iter().for_each(|name| *counts.entry(one_line(name)).or_insert(0) += 1);
    let shown = |(name, count)| if count == 1 { name } else { format!("{count} × {name}") };
    counts.into_iter().map(shown).collect::<Vec<String>>().join(", ")
}

/// There is no answer.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// What the call was about: ``backend `ray` ``.
    pub subject: String,
    /// The phase the runner reported last; `start` before it reported any.
    pub phase: String,
    /// How far the operation was, by what it told on the way: "start-up: Ray has not answered for 25 s".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whereabouts: Option<String>,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
    /// The last 64 KiB of what was printed.
    pub tail: String,
    /// Names of processes that were still running after the runner ended; they were killed.
    pub left_behind: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "cause", content = "detail", rename_all = "snake_case")]
pub enum Cause {
    /// It took longer than allowed and was killed.
    TimedOut(Duration),
    /// A signal ended it; its name.
    Signalled(String),
    /// It died for want of memory under the limit that was set, in bytes.
    OutOfMemory(u64),
    /// It exited by itself without an answer.
    Exited(i32),
    /// It sent something that is not a message, or closed the channel.
    Protocol(String),
    /// The plugin, or the work in the child, returned an error.
    Plugin(Error),
    /// The user stopped it.
    Stopped,
    /// The host could not start or watch the child.
    Host(String),
}

impl Failure {
    /// What happened and how far it was, without the remedy.
    #[must_use]
    pub fn reason(&self) -> String {
        let phase = one_line(&self.phase);
        let what = match &self.cause {
            Cause::TimedOut(after) => {
                format!("did not finish `{phase}` within {} and was killed", seconds(*after))
            }
            Cause::Signalled(signal) => format!("crashed with {signal} in `{phase}`"),
            Cause::OutOfMemory(limit) => {
                format!("ran out of memory in `{phase}` under a limit of {} MiB", limit >> 20)
            }
            Cause::Exited(code) => {
                format!("ended its process in `{phase}` (exit code {code}) without an answer")
            }
            Cause::Protocol(what) => format!("broke the protocol in `{phase}`: {}", one_line(what)),
            Cause::Plugin(error) => return self.said(&phase, error),
            Cause::Stopped => format!("was stopped by the user in `{phase}`"),
            Cause::Host(what) => return format!("could not be run: {}", one_line(what)),
        };
        let place = self.whereabouts.as_ref().map(|place| format!(", in {place}")).unwrap_or_default();
        let known = matches!(self.cause, Cause::Stopped | Cause::OutOfMemory(_));
        let last = telling_line(&self.tail).filter(|_| !known);
        let last = last.map(|line| format!(" (its last output: {line})")).unwrap_or_default();
        format!("{what}{place}{last}")
    }

    /// An error in the plugin's own words.
    fn said(&self, phase: &str, error: &Error) -> String {
        match error.kind {
            ErrorKind::Panic => format!("panicked in `{phase}`: {error}"),
            ErrorKind::Unsupported => format!("cannot do what was asked: {error}"),
            ErrorKind::Runtime => match telling_line(&self.tail) {
                // A traceback ends with what the error says already.
                Some(line) if !said_in(&error.message, &line) => {
                    format!("failed in `{phase}`: {error} (its last output: {line})")
                }
                _ => format!("failed in `{phase}`: {error}"),
            },
            _ => format!("failed in `{phase}`: {error}"),
        }
    }

    /// What to do about it. Empty where the plugin refused what it was asked for: then its own words say what it
    /// takes, and nobody but the user has to change anything.
    #[must_use]
    pub fn remedy(&self) -> String {
        let report = || "report this to the plugin's author".to_owned();
        let room = |cause: &Cause| match cause {
            Cause::Stopped => None,
            cause => room::remedy(cause.words(), &self.tail),
        };
        match &self.cause {
            Cause::TimedOut(_) => {
                "allow it more time with --timeout, or report this to the plugin's author".into()
            }
            Cause::OutOfMemory(_) => "raise --memory-limit".into(),
            Cause::Plugin(error) if !error.remedy.is_empty() => one_line(&error.remedy),
            // Nobody's fault but the disk's.
            cause if room(cause).is_some() => room(cause).unwrap_or_default(),
            Cause::Plugin(error) if error.kind == ErrorKind::Host => {
                "report this to the authors of bench".into()
            }
            Cause::Plugin(error)
                if matches!(error.kind, ErrorKind::Runtime | ErrorKind::Unsupported)
                    || error.kind == ErrorKind::Invalid && self.phase == RUN =>
            {
                String::new()
            }
            Cause::Signalled(_) | Cause::Exited(_) | Cause::Protocol(_) | Cause::Plugin(_) => report(),
            Cause::Stopped => "run it again".into(),
            Cause::Host(what) if what.starts_with(NO_FOLDER) => {
                "set TMPDIR to a folder that is there and that you may write".into()
            }
            Cause::Host(_) => "check the limits on processes and descriptors (ulimit -a)".into(),
        }
    }
}

impl Cause {
    /// What an error says, where there is one.
    fn words(&self) -> &str {
        match self {
            Self::Plugin(error) => &error.message,
            Self::Host(what) | Self::Protocol(what) => what,
            _ => "",
        }
    }
}

/// Whether `text` has what `line` begins with; either may be cut.
fn said_in(text: &str, line: &str) -> bool {
    let beginning: String = line.chars().take(60).collect();
    text.contains(&beginning)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", one_line(&self.subject), self.reason())?;
        match self.remedy() {
            remedy if remedy.is_empty() => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}

impl std::error::Error for Failure {}
