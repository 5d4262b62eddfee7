//! One attempt: a request out, an answer or a named fault back.

use std::io;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ureq::http::{Response, Uri};
use ureq::tls::TlsConfig;

use super::proxy::{Proxy, proxy_for};
use super::retry::retry_after;
use super::route::{self, Unresolved};
use super::said::{self, Said};
use super::{Fault, KEY_VARIABLE, address, tls};

/// Longer answers are refused: 64 texts x 65,536 numbers fit easily in compact JSON of this size.
const LONGEST_ANSWER: u64 = 128 * 1024 * 1024;
/// A host that is up answers a connection at once.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);

/// Connections that are kept for the next calls.
const IDLE_CONNECTIONS: usize = 256;

/// Gives variables by their names.
type Variables = dyn Fn(&str) -> Option<String>;

/// What a client takes from its environment.
pub struct Environment(pub Box<Variables>);

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        Self(Box::new(|name| std::env::var(name).ok()))
    }

    fn key(&self) -> Option<String> {
        (self.0)(KEY_VARIABLE).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty())
    }
}

/// Sends requests to one service.
pub struct Transport {
    agent: ureq::Agent,
    timeout: Duration,
    key: Option<String>,
    /// What no message repeats.
    secrets: Vec<String>,
    proxy: Option<Proxy>,
    /// Whether requests are written to the proxy itself: those of an `http` address are.
    to_proxy: bool,
}

impl Transport {
    /// For the service at `base`.
    ///
    /// # Errors
    /// When the address, the key, a proxy's address or the certificates cannot be used.
    pub fn new(base: &str, timeout: Duration, environment: &Environment) -> Result<Self, Fault> {
        let refuse = |why: &str| Err(Fault::Address(why.to_owned()));
        let scheme = match base.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) if !rest.is_empty() && !rest.starts_with('/') => scheme,
            Some(("http" | "https", _)) => return refuse("it names no host"),
            _ => return refuse("it does not begin with http:// or https://"),
        };
        if base.contains('#') {
            return refuse("it holds a #, and what follows one is never sent");
        }
        if let Some(why) = address::wrong_port(base) {
            return refuse(&why);
        }
        let uri: Uri = base.parse().map_err(|e| Fault::Address(format!("{e}")))?;
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return refuse("it names no host");
        };
        let key = environment.key();
        if key.as_ref().is_some_and(|k| !k.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Fault::Key("holds a character that no header may hold, such as a space"));
        }
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let proxy = proxy_for(scheme, host, port, &environment.0)?;
        let is_http = |proxy: &Proxy| proxy.proxy.protocol() == ureq::ProxyProtocol::Http;
        let to_proxy = scheme == "http" && proxy.as_ref().is_some_and(is_http);
        let secured = scheme == "https"
            || proxy.as_ref().is_some_and(|p| p.proxy.protocol() == ureq::ProxyProtocol::Https);
        let tunnel = proxy.as_ref().filter(|_| !to_proxy).map(|proxy| proxy.proxy.clone());
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(LONGEST_CONNECT)))
            .http_status_as_error(false)
            // As many calls as may be under way keep their connections.
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .proxy(tunnel)
            // A POST that is redirected would arrive as a GET without its body.
            .max_redirects(0)
            .max_redirects_will_error(false);
        if secured {
            config = config.tls_config(TlsConfig::builder().root_certs(tls::roots()?).build());
        }
        let by = proxy.as_ref().filter(|_| to_proxy).map(|proxy| proxy.proxy.uri().clone());
        let mut secrets: Vec<String> = key.iter().cloned().collect();
        if let Some(user) = address::user(base) {
            secrets.push(BASE64_STANDARD.encode(user));
            let password = user.split_once(':').map(|(_, password)| password);
            // A shorter one stands in many a word.
            secrets.extend(password.filter(|password| password.len() >= 4).map(str::to_owned));
        }
        Ok(Self { agent: route::agent(config.build(), by), timeout, key, secrets, proxy, to_proxy })
    }

    /// The proxy that is asked, as it is shown.
    pub fn via(&self) -> Option<String> {
        self.proxy.as_ref().map(|proxy| format!("the proxy {} of {}", proxy.shown, proxy.variable))
    }

    /// Posts once; the body of an answer that says yes.
    ///
    /// # Errors
    /// Whatever else happens.
    pub fn post(&self, url: &str, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let request = self.with_keys(self.agent.post(url).header("Content-Type", "application/json"));
        self.whole(self.accepted(url, request.send(body))?)
    }

    /// Posts once; an answer that says yes, of which the body is still to come.
    ///
    /// # Errors
    /// As [`Transport::post`].
    pub fn open(&self, url: &str, body: &[u8]) -> Result<Response<ureq::Body>, Fault> {
        let request = self.with_keys(self.agent.post(url).header("Content-Type", "application/json"));
        self.accepted(url, request.send(body))
    }

    /// Asks once for what is at an address, and soon gives up.
    ///
    /// # Errors
    /// As [`Transport::post`].
    pub fn get(&self, url: &str) -> Result<Vec<u8>, Fault> {
        let timeout = self.timeout.min(LONGEST_CONNECT);
        let request = self.agent.get(url).config().timeout_global(Some(timeout)).build();
        let answer = self.accepted(url, self.with_keys(request).call()).and_then(|answer| self.whole(answer));
        answer.map_err(|fault| match fault {
            Fault::Timeout(_) => Fault::Timeout(timeout),
            other => other,
        })
    }

    fn with_keys<B>(&self, mut request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        if let Some(credentials) = self.credentials() {
            request = request.header("Proxy-Authorization", credentials);
        }
        request
    }

    /// The body of an answer.
    ///
    /// # Errors
    /// When it breaks off, or is too long.
    pub fn whole(&self, mut answer: Response<ureq::Body>) -> Result<Vec<u8>, Fault> {
        let body = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec();
        body.map(|body| said::unmarked(&body).to_vec()).map_err(|error| self.fault(&error))
    }

    /// The body of an answer as it comes.
    pub fn as_it_comes(answer: Response<ureq::Body>) -> impl io::Read {
        answer.into_body().into_with_config().limit(LONGEST_ANSWER).reader()
    }

    /// What it is that ended such a body.
    pub fn broken_off(&self, error: io::Error) -> Fault {
        self.fault(&ureq::Error::from(error))
    }

    /// An answer that says yes.
    fn accepted(
        &self,
        url: &str,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Response<ureq::Body>, Fault> {
        let mut response = answer.map_err(|error| self.fault(&error))?;
        let status = response.status().as_u16();
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        let wait = header("retry-after-ms").and_then(|ms| retry_after(&ms, SystemTime::now()));
        let wait = wait.map(|ms| ms / 1000);
        let wait = wait.or_else(|| retry_after(&header("retry-after")?, SystemTime::now()));
        let moved = header("location").filter(|_| (300..400).contains(&status));
        if (200..300).contains(&status) {
            return Ok(response);
        }
        let answer = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec();
        let said = self.said(&answer.unwrap_or_default());
        if let Some(place) = moved {
            return Err(redirected(status, url, &place));
        }
        if status == 407 {
            return Err(self.proxy_fault(&format!("refused access (status 407: {:?})", said.text), false));
        }
        Err(Fault::refusal(status, said, wait))
    }

    /// A service's words, without the key.
    pub fn said(&self, body: &[u8]) -> Said {
        let said = Said::of(body);
        Said { text: self.hide(&said.text), ..said }
    }

    fn credentials(&self) -> Option<String> {
        let proxy = &self.proxy.as_ref().filter(|_| self.to_proxy)?.proxy;
        let (user, password) = (proxy.username(), proxy.password());
        user.or(password)?;
        let both = format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default());
        Some(format!("Basic {}", BASE64_STANDARD.encode(both)))
    }

    fn fault(&self, error: &ureq::Error) -> Fault {
        let proxied = self.proxy.is_some();
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) if proxied => {
                self.proxy_fault("did not connect in time", true)
            }
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Fault::ConnectTimeout(format!("connection within {:?}", self.timeout.min(LONGEST_CONNECT)))
            }
            ureq::Error::Timeout(_) => Fault::Timeout(self.timeout),
            ureq::Error::ConnectProxyFailed(why) => {
                let why = why.trim_start_matches("proxy server ");
                self.proxy_fault(&format!("refused the way to the service ({why})"), false)
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Fault::Address(self.hide(&error.to_string())),
            ureq::Error::BodyExceedsLimit(_) => Fault::protocol(error.to_string()),
            ureq::Error::Rustls(cause) => tls::fault(cause),
            ureq::Error::Io(cause) => self.io_fault(cause, proxied),
            ureq::Error::Other(cause) => match cause.downcast_ref::<Unresolved>() {
                Some(name) if proxied => self.proxy_fault(&format!("is not known ({name})"), false),
                Some(name) => Fault::Name(name.to_string()),
                None => Fault::Connection(self.hide(&cause.to_string())),
            },
            // An answer that breaks off shows as an input error or as a protocol error.
            other => Fault::Broken(self.hide(&other.to_string())),
        }
    }

    fn io_fault(&self, cause: &io::Error, proxied: bool) -> Fault {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
        let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(inner) = inner {
            return tls::fault(inner);
        }
        match cause.kind() {
            ConnectionRefused if proxied => {
                self.proxy_fault(&format!("refused the connection to it ({cause})"), true)
            }
            HostUnreachable | NetworkUnreachable if proxied => {
                self.proxy_fault(&format!("cannot be reached ({cause})"), true)
            }
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => {
                Fault::Broken(self.hide(&cause.to_string()))
            }
            _ => Fault::Connection(self.hide(&cause.to_string())),
        }
    }

    fn proxy_fault(&self, why: &str, may_pass: bool) -> Fault {
        let (proxy, variable) = self.proxy.as_ref().map_or(("", ""), |p| (p.shown.as_str(), p.variable));
        Fault::Proxy { proxy: proxy.to_owned(), variable, why: why.to_owned(), may_pass }
    }

    fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

/// An answer that sends elsewhere, with the address to give instead.
fn redirected(status: u16, from: &str, to: &str) -> Fault {
    let place = address::shown(&address::led(from, to));
    let flags = [("embeddings", "--embedding-url"), ("chat/completions", "--llm-url")];
    let given = flags.iter().find_map(|(path, flag)| {
        let there = address::base_of(&place, path).filter(|_| place != address::shown(from));
        there.map(|base| format!("Give that address: {flag} {base}"))
    });
    let remedy = given.unwrap_or_else(|| "Check the address: it should end with /v1".to_owned());
    Fault::Refused { status, said: format!("redirects to {place}"), remedy }
}
