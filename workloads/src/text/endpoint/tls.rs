//! Whom a client believes: the certificates of this machine, and those that the environment names.

use std::sync::Arc;

use rustls::{CertificateError, Error};
use ureq::tls::{Certificate, RootCerts};

use super::Fault;

const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What many commands make when asked for a certificate that signs itself.
const AUTHORITY: &str =
    "it is the certificate of an authority (CA:TRUE), which no service may show as its own";
/// Believed once it is named, like any other.
const NO_AUTHORITY: &str = "Make another one for the service, with basicConstraints=critical,CA:FALSE (an option of \
    `openssl req -x509` is -addext basicConstraints=critical,CA:FALSE), and set SSL_CERT_FILE to its file";

/// The roots of trust: what `SSL_CERT_FILE` and `SSL_CERT_DIR` name beside what the machine has, or Mozilla's
/// list on a machine that has none.
///
/// # Errors
/// When a variable names what holds no certificate.
pub fn roots() -> Result<RootCerts, Fault> {
    let set = VARIABLES.iter().find_map(|name| Some((name, std::env::var_os(name)?)));
    let mut found = rustls_native_certs::load_native_certs();
    if let Some((name, value)) = set {
        if found.certs.is_empty() {
            let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            let why = match errors.is_empty() {
                true => "it holds no certificate in PEM form".to_owned(),
                false => errors.join("; "),
            };
            let value = value.to_string_lossy().into_owned();
            return Err(Fault::Environment { variable: (*name).to_owned(), value, why });
        }
        // With a variable the machine's own are left out; a service of one's own is rarely the only one.
        for folder in openssl_probe::candidate_cert_dirs() {
            found.certs.extend(rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs);
        }
    }
    if found.certs.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    let owned = found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
    Ok(RootCerts::Specific(Arc::new(owned.collect())))
}

/// What an error of the encryption says, in words.
pub fn fault(error: &Error) -> Fault {
    let Error::InvalidCertificate(cause) = error else {
        let remedy = match error {
            // What answers does not begin like TLS.
            Error::InvalidMessage(_) => "Does the service speak http instead of https?",
            _ => "See the log of the service",
        };
        return Fault::Tls { why: error.to_string(), remedy };
    };
    let why = error.to_string().trim_start_matches("invalid peer certificate: ").to_owned();
    if why.contains("CaUsedAsEndEntity") {
        return Fault::Certificate { why: AUTHORITY.to_owned(), remedy: NO_AUTHORITY };
    }
    let remedy = match cause {
        CertificateError::UnknownIssuer => {
            "Set SSL_CERT_FILE to a file with the certificate of the authority that signed it"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "Renew it, or set the clock of this machine"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "Use a host name that the certificate is made out for"
        }
        _ => "Give the service another one",
    };
    Fault::Certificate { why, remedy }
}
