//! What can go wrong in a call, with the service's own words and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

use super::KEY_VARIABLE;
use super::breaker::Resting;
use super::said::Said;

/// What went wrong in a call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error("the address is not usable ({0}). Give it as http://host:port/v1")]
    Address(String),
    /// A variable of the environment says something that cannot be followed.
    #[error("{variable}={value}: {why}")]
    Environment { variable: String, value: String, why: String },
    #[error(
        "the host name is not known ({0}). Check the spelling of the address, and the network of this machine"
    )]
    Name(String),
    #[error("no connection ({0}). Is the service running, and is the address right?")]
    Connection(String),
    /// Somebody is there, and what came is not a whole answer.
    #[error("the answer broke off, or is not HTTP ({0}). See the log of the service, and check the port")]
    Broken(String),
    #[error("{KEY_VARIABLE} {0}. Set it to the key alone")]
    Key(&'static str),
    #[error("the certificate of the service is refused: {why}. {remedy}")]
    Certificate { why: String, remedy: &'static str },
    #[error("no encrypted connection ({why}). {remedy}")]
    Tls { why: String, remedy: &'static str },
    #[error("the proxy {proxy} (from {variable}) {why}. Correct {variable}, or name the host in no_proxy")]
    Proxy { proxy: String, variable: &'static str, why: String, may_pass: bool },
    #[error("no {0}. Is the host up, and does no firewall drop what is sent to it?")]
    ConnectTimeout(String),
    #[error("no answer within {0:?}. Raise request_timeout_ms, lower the batch size or use a faster service")]
    Timeout(Duration),
    #[error(
        "what it gave cannot be kept in {} ({why}). Make room there, or name another folder with --cache-dir",
        path.display()
    )]
    Unkept { path: PathBuf, why: String },
    #[error("not asked: the last {in_a_row} requests in a row had no answer ({why})")]
    Resting { in_a_row: u32, why: String },
    #[error("access refused with status {status}{}. Set {KEY_VARIABLE} to a key of this service", quoted(.said))]
    Access { status: u16, said: String },
    #[error("the quota is used up (status {status}{}). Trying again does not help: look at the account", quoted(.said))]
    Quota { status: u16, said: String },
    #[error("the service is busy (status {status}{}){}. Lower the rate or the parallelism", quoted(.said), asked(*.wait))]
    Busy { status: u16, said: String, wait: Option<Duration> },
    #[error("the service failed with status {status}{}. See the log of the service", quoted(.said))]
    Server { status: u16, said: String, wait: Option<Duration> },
    #[error("the request was refused with status {status}{}. {remedy}", quoted(.said))]
    Refused { status: u16, said: String, remedy: String },
    #[error("the answer is not what the protocol says ({why}){}. Is this an OpenAI-compatible address?", quoted(.said))]
    Protocol { why: String, said: String },
    #[error(
        "vectors have dimension {found}, expected {expected}. Set the dimension to that of the model: --set embedding_dimension={found}"
    )]
    Dimension { expected: usize, found: usize },
}

impl From<Resting> for Fault {
    fn from(resting: Resting) -> Self {
        Fault::Resting { in_a_row: resting.in_a_row, why: resting.why }
    }
}

impl Fault {
    /// An answer that says no.
    pub(super) fn refusal(status: u16, said: Said, wait: Option<Duration>) -> Self {
        // Some services answer 200 and write the true status into the error.
        let status = said.status.filter(|_| status == 200).unwrap_or(status);
        let used_up = said.is_about_quota() && wait.is_none();
        let said = said.text;
        match status {
            401 | 403 => Fault::Access { status, said },
            402 => Fault::Quota { status, said },
            429 if used_up => Fault::Quota { status, said },
            408 => Fault::Server { status, said, wait },
            429 => Fault::Busy { status, said, wait },
            501 => Fault::refused(status, said),
            500.. => Fault::Server { status, said, wait },
            _ if used_up => Fault::Quota { status, said },
            _ => Fault::refused(status, said),
        }
    }

    pub(super) fn refused(status: u16, said: String) -> Self {
        Fault::Refused { status, said, remedy: "Check the address and the model's name".to_owned() }
    }

    /// Something is there, and it is no answer of this protocol.
    pub(super) fn protocol(why: impl Into<String>) -> Self {
        Fault::Protocol { why: why.into(), said: String::new() }
    }

    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Fault::Connection(_)
            | Fault::Broken(_)
            | Fault::ConnectTimeout(_)
            | Fault::Timeout(_)
            | Fault::Busy { .. }
            | Fault::Server { .. } => true,
            Fault::Proxy { may_pass, .. } => *may_pass,
            // A resolver that is out of reach says so in other words than for a name that is not there.
            Fault::Name(why) => why.to_lowercase().contains("temporary"),
            _ => false,
        }
    }

    /// Whether nobody answered: as against an answer that says no.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            Fault::Name(_)
                | Fault::Connection(_)
                | Fault::Broken(_)
                | Fault::Certificate { .. }
                | Fault::Tls { .. }
                | Fault::Proxy { .. }
                | Fault::ConnectTimeout(_)
                | Fault::Timeout(_)
        )
    }

    /// Whether fewer or shorter texts might have been taken.
    pub(super) fn may_be_the_size(&self) -> bool {
        matches!(self, Fault::Refused { status: 400 | 413 | 422, .. })
    }

    /// How long the service asked to wait.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            Fault::Busy { wait, .. } | Fault::Server { wait, .. } => *wait,
            _ => None,
        }
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said:?}") }
}

fn asked(wait: Option<Duration>) -> String {
    wait.map(|wait| format!(" and asks to wait {} s", wait.as_secs_f64().ceil())).unwrap_or_default()
}

fn repeated(attempts: u32) -> String {
    if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() }
}

/// A failed call: where, after how many attempts, why, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{url}{}: {fault}{}", via.as_ref().map(|via| format!(" by way of {via}")).unwrap_or_default(), repeated(*.attempts))]
pub struct EndpointError {
    pub url: String,
    /// The proxy that was asked, where one was.
    pub via: Option<String>,
    pub fault: Box<Fault>,
    pub attempts: u32,
}
