//! A client for services that speak the OpenAI protocol.
//!
//! A call either gives what was asked for or an error with the service's own words; nothing is filled in.
//! What nobody needs of an answer may be missing or odd: services in the wild differ. What may pass by
//! itself (a full queue, a restart, a broken connection) is tried again; a refusal, a used-up quota, a
//! certificate or a wrong answer is not. The key comes from the environment only, and no message repeats it.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

mod address;
mod breaker;
mod chat;
mod embeddings;
mod fault;
mod proxy;
mod retry;
mod route;
mod said;
mod served;
#[cfg(test)]
mod server;
mod stream;
mod tls;
mod transport;

use address::shown;
use breaker::Breaker;
pub use chat::{ChatAnswer, ChatFields, ChatRequest, OPTIONAL as OPTIONAL_PARAMETERS, Pieces};
pub use embeddings::Embedded;
pub use fault::{EndpointError, Fault};
pub use retry::Patience;
use said::Said;
pub use served::{Fingerprint, Served};
use transport::{Environment, Transport};

/// Pieces in which an answer may come: the time of each is kept.
pub const MOST_PIECES: usize = 1 << 18;

/// The variable that holds the bearer key.
pub const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// One service and one of its models.
pub struct Endpoint {
    base: String,
    model: String,
    patience: Patience,
    fields: ChatFields,
    transport: Transport,
    breaker: Breaker,
    /// How many texts the service takes at a time, as far as is known.
    most_texts: AtomicUsize,
    /// Whether it gave vectors before.
    has_answered: AtomicBool,
    /// Whether it wants the limit on an answer's length under its other name.
    renamed: AtomicBool,
    /// Whether it takes no wish about what a stream ends with.
    without_options: AtomicBool,
    /// How time is passed between attempts.
    pause: fn(Duration),
    /// What time it is.
    now: fn() -> Instant,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (base, model) = (shown(&self.base), &self.model);
        f.debug_struct("Endpoint").field("base", &base).field("model", model).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// `base` is the address up to `/v1`. Key, proxy and certificates are read from the environment here.
    ///
    /// # Errors
    /// When the address or the environment cannot be used.
    pub fn new(base: &str, model: &str, patience: Patience) -> Result<Self, EndpointError> {
        Self::within(base, model, patience, &Environment::of_process())
    }

    fn within(
        base: &str,
        model: &str,
        patience: Patience,
        environment: &Environment,
    ) -> Result<Self, EndpointError> {
        let base = base.trim();
        // Schemes are the same in capitals.
        let base = match base.split_once("://") {
            Some((scheme, rest)) => format!("{}://{}", scheme.to_lowercase(), rest.trim_end_matches('/')),
            None => base.to_owned(),
        };
        let transport = Transport::new(&base, patience.timeout, environment);
        let transport = transport.map_err(|fault| EndpointError {
            url: if base.is_empty() { "an empty address".to_owned() } else { shown(&base) },
            via: None,
            fault: fault.into(),
            attempts: 1,
        })?;
        Ok(Self {
            base,
            model: model.to_owned(),
            patience,
            fields: ChatFields::default(),
            transport,
            breaker: Breaker::new(patience.attempts),
            most_texts: AtomicUsize::new(usize::MAX),
            has_answered: AtomicBool::new(false),
            renamed: AtomicBool::new(false),
            without_options: AtomicBool::new(false),
            pause: std::thread::sleep,
            now: Instant::now,
        })
    }

    /// Calls the parameters of a chat as the service wants them.
    #[must_use]
    pub fn with_chat_fields(self, fields: ChatFields) -> Self {
        Self { fields, ..self }
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    /// An error of this service's `path`.
    pub(crate) fn error(&self, path: &str, fault: Fault, attempts: u32) -> EndpointError {
        let url = shown(&self.url(path));
        // A proxy at fault is named there.
        let via = self.transport.via().filter(|_| !matches!(fault, Fault::Proxy { .. }));
        EndpointError { url, via, fault: fault.into(), attempts }
    }

    /// Where `path` is asked for: before what the address asks of every call.
    fn url(&self, path: &str) -> String {
        match self.base.split_once('?') {
            Some((base, query)) => format!("{}/{path}?{query}", base.trim_end_matches('/')),
            None => format!("{}/{path}", self.base),
        }
    }

    /// Whether somebody answers there, asked with a question that costs nothing: what the answer says hardly matters,
    /// since not every service has a list of its models.
    ///
    /// # Errors
    /// When nobody answers yet, or the key is refused.
    pub fn is_there(&self) -> Result<(), EndpointError> {
        const PATH: &str = "models";
        match self.transport.get(&self.url(PATH)) {
            Ok(_) => Ok(()),
            // A server that still loads its model says 503.
            Err(fault)
                if fault.is_silence()
                    || matches!(
                        fault,
                        Fault::Access { status: 401, .. } | Fault::Server { status: 503, .. }
                    ) =>
            {
                Err(self.error(PATH, fault, 1))
            }
            Err(_) => Ok(()),
        }
    }

    /// Sends until there is an answer, patience ends, or trying again is no use.
    fn call<T>(
        &self,
        path: &str,
        request: &impl Serialize,
        send: impl Fn(&str, &[u8]) -> Result<T, Fault>,
    ) -> Result<T, EndpointError> {
        let body = serde_json::to_vec(request)
            .map_err(|e| self.error(path, Fault::protocol(format!("the request is not JSON: {e}")), 1))?;
        let url = self.url(path);
        let mut attempt = 1;
        loop {
            if let Err(resting) = self.breaker.ask((self.now)()) {
                return Err(self.error(path, resting.into(), attempt - 1));
            }
            let answer = send(&url, &body);
            match &answer {
                Err(fault) if fault.is_silence() => self.breaker.unanswered((self.now)(), fault),
                _ => self.breaker.answered(),
            }
            let fault = match answer {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            if attempt >= self.patience.attempts || !fault.may_pass() {
                return Err(self.error(path, fault, attempt));
            }
            (self.pause)(self.patience.wait(attempt, fault.wait()));
            attempt += 1;
        }
    }

    /// What an answer is that came with a status that says yes and holds nothing that was asked for.
    fn no_answer(&self, answer: &[u8], why: &str) -> Fault {
        let said = self.transport.said(answer);
        let is_error = serde_json::from_slice::<Value>(answer).is_ok_and(|value| Said::is_error(&value));
        if is_error {
            return Fault::refusal(200, said, None);
        }
        Fault::Protocol { why: why.to_owned(), said: said.text }
    }
}

#[cfg(test)]
mod tests;
