//! How a connection is made: straight, or by way of a proxy.
//!
//! The client library asks every proxy for a tunnel. Proxies commonly refuse a tunnel to anything but port
//! 443, and want a request for an `http` address in absolute form instead (RFC 9112, 3.2.2). So the
//! connection goes to the proxy's address, and the first line of each request is completed on its way out.

use std::fmt::{self, Display};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, Either, NextTimeout, Transport,
};

/// An agent whose requests go to `by`, where that is given, as requests for whole addresses.
pub fn agent(config: Config, by: Option<Uri>) -> ureq::Agent {
    let connector = DefaultConnector::new().chain(AbsoluteForm { wanted: by.is_some() });
    ureq::Agent::with_parts(config, connector, Names { by, default: DefaultResolver::default() })
}

/// A host name that could not be resolved.
#[derive(Debug)]
pub struct Unresolved {
    pub host: String,
    pub why: String,
}

impl Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.host, self.why)
    }
}

impl std::error::Error for Unresolved {}

/// Resolves host names, and says of a failure which name it was.
#[derive(Debug)]
struct Names {
    by: Option<Uri>,
    default: DefaultResolver,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let uri = self.by.as_ref().unwrap_or(uri);
        self.default.resolve(uri, config, timeout).map_err(|error| {
            let why = match error {
                ureq::Error::Timeout(_) => return error,
                ureq::Error::Io(cause) => {
                    cause.to_string().replace("failed to lookup address information: ", "")
                }
                other => other.to_string(),
            };
            let host = uri.host().unwrap_or_default().to_owned();
            ureq::Error::Other(Box::new(Unresolved { host, why }))
        })
    }
}

/// Wraps connections to a proxy.
#[derive(Debug)]
struct AbsoluteForm {
    wanted: bool,
}

impl<In: Transport> Connector<In> for AbsoluteForm {
    type Out = Either<In, ToProxy<In>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(inner) = chained else { return Ok(None) };
        if !self.wanted {
            return Ok(Some(Either::A(inner)));
        }
        let authority = details.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Ok(Some(Either::B(ToProxy { inner, prefix: format!("http://{host}"), begins: true })))
    }
}

/// A connection to a proxy.
#[derive(Debug)]
struct ToProxy<In> {
    inner: In,
    /// What the path of a request has to begin with.
    prefix: String,
    /// Whether what is sent next is the beginning of a request.
    begins: bool,
}

impl<In: Transport> Transport for ToProxy<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !std::mem::replace(&mut self.begins, false) {
            return self.inner.transmit_output(amount, timeout);
        }
        let request = completed(&self.inner.buffers().output()[..amount], &self.prefix);
        for part in request.chunks(self.inner.buffers().output().len().max(1)) {
            self.inner.buffers().output()[..part.len()].copy_from_slice(part);
            self.inner.transmit_output(part.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        // Only an answer is waited for; after it comes the next request.
        self.begins = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// A request with the whole address in its first line.
fn completed(request: &[u8], prefix: &str) -> Vec<u8> {
    let path = request.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
    [&request[..path], prefix.as_bytes(), &request[path..]].concat()
}
