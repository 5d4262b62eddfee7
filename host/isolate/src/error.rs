//! What a plugin, or the code that handles it in the child process, says went wrong.

use bench_plugin_api::v1;
use serde::{Deserialize, Serialize};

use super::text;

/// Bytes of a cause, or of a remedy, in a plugin's own words.
const LONGEST: usize = 64 << 10;

/// A cause and what to do about it, fit to cross a process boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", text::one_line(message))]
pub struct Error {
    /// Decides the exit code of the host.
    pub kind: ErrorKind,
    /// The cause, one sentence.
    pub message: String,
    /// What mends it; may be empty.
    pub remedy: String,
}

/// What sort of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The runtime behind the backend failed.
    Runtime,
    /// The runtime behind the backend is missing.
    Unavailable,
    /// The backend cannot do what was asked.
    Unsupported,
    /// The user cancelled.
    Cancelled,
    /// The plugin panicked, and its own side of the boundary contained the panic.
    Panic,
    /// Something was called, answered or configured wrongly.
    Invalid,
    /// The plugin was built against another API or ABI, or cannot be opened.
    Incompatible,
    /// The host's own code failed in the child process.
    Host,
}

impl Error {
    /// An error with a remedy.
    pub fn new(kind: ErrorKind, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: remedy.into() }
    }

    /// The same with no more words than travel in one message: it is told to people.
    #[must_use]
    pub fn bounded(self) -> Self {
        let text = |text: String| text::bounded(&text, LONGEST);
        Self { message: text(self.message), remedy: text(self.remedy), ..self }
    }
}

impl From<v1::BackendError> for Error {
    fn from(error: v1::BackendError) -> Self {
        let kind = match error.kind {
            v1::ERROR_UNAVAILABLE => ErrorKind::Unavailable,
            v1::ERROR_UNSUPPORTED => ErrorKind::Unsupported,
            v1::ERROR_CANCELLED => ErrorKind::Cancelled,
            v1::ERROR_PANIC => ErrorKind::Panic,
            v1::ERROR_INVALID => ErrorKind::Invalid,
            _ => ErrorKind::Runtime,
        };
        Self::new(kind, error.message, error.remedy).bounded()
    }
}
