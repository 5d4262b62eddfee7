use std::any::Any;

use crate::dataflow::frame::Malformed;
use crate::v1;

/// Why a backend could not do something. Each kind is a distinct exit code of the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The runtime behind the backend failed.
    #[error("{0}")]
    Runtime(String),
    /// The runtime behind the backend is missing.
    #[error("{reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
        /// The command that mends it.
        remedy: String,
    },
    /// The backend cannot do what was asked.
    #[error("{0}")]
    Unsupported(String),
    /// The user cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The plugin panicked.
    #[error("panic: {0}")]
    Panic(String),
    /// A call was made with wrong arguments.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// A failure of the runtime, from anything that can be shown.
    pub fn runtime(cause: impl std::fmt::Display) -> Self {
        Self::Runtime(cause.to_string())
    }

    pub(crate) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panic(text.unwrap_or_else(|| "with a payload that is not text".to_owned()))
    }
}

impl From<Malformed> for Error {
    fn from(cause: Malformed) -> Self {
        Self::Invalid(cause.to_string())
    }
}

impl From<Error> for v1::BackendError {
    fn from(error: Error) -> Self {
        let (kind, remedy) = match &error {
            Error::Runtime(_) => (v1::ERROR_RUNTIME, ""),
            Error::Unavailable { remedy, .. } => (v1::ERROR_UNAVAILABLE, remedy.as_str()),
            Error::Unsupported(_) => (v1::ERROR_UNSUPPORTED, ""),
            Error::Cancelled => (v1::ERROR_CANCELLED, ""),
            Error::Panic(_) => (v1::ERROR_PANIC, ""),
            Error::Invalid(_) => (v1::ERROR_INVALID, ""),
        };
        let message = match &error {
            Error::Panic(text) => text.clone(),
            other => other.to_string(),
        };
        Self { kind, message: message.into(), remedy: remedy.into() }
    }
}

impl From<v1::BackendError> for Error {
    fn from(error: v1::BackendError) -> Self {
        let message = error.message.into_string();
        match error.kind {
            v1::ERROR_UNAVAILABLE => {
                Self::Unavailable { reason: message, remedy: error.remedy.into_string() }
            }
            v1::ERROR_UNSUPPORTED => Self::Unsupported(message),
            v1::ERROR_CANCELLED => Self::Cancelled,
            v1::ERROR_PANIC => Self::Panic(message),
            v1::ERROR_INVALID => Self::Invalid(message),
            _ => Self::Runtime(message),
        }
    }
}
