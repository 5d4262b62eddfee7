//! Endpoints behind `https`: whose certificate is believed, and what is told when it is not.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bench_tests::{stderr, succeed};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::service::{DIMENSION, Service, embeddings, run};

/// A company's authority and a service with a certificate of it, made out for `name`.
struct Company {
    service: Service,
    authority: TempDir,
}

impl Company {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Self::with(&params.signed_by(&key, &authority).unwrap(), &key, &authority.pem())
    }

    /// Nobody but the service itself, whose certificate is that of an authority, or says that it is none.
    fn of_one(is_ca: IsCa) -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self::with(&certificate, &key, &certificate.pem())
    }

    /// A service with this certificate, and a file of what is to be believed.
    fn with(certificate: &Certificate, key: &KeyPair, believed: &str) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap());
        let config = Arc::new(config.unwrap());
        let secure = move |stream: TcpStream| {
            StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
        };
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("company.pem"), believed).unwrap();
        Self { service: Service::over(embeddings, secure), authority: folder }
    }

    fn run(&self, output: &Path) -> Command {
        let port = self.service.address.rsplit_once(':').unwrap().1;
        let url = format!("https://localhost:{port}/v1");
        // With many attempts, what is tried again would be seen.
        run(output, 5, &["--embedding-url", &url, "--set", DIMENSION])
    }

    fn pem(&self) -> std::path::PathBuf {
        self.authority.path().join("company.pem")
    }
}

#[test]
fn an_authority_of_one_s_own_is_believed_when_a_variable_names_it() {
    let company = Company::new("localhost");
    let output = TempDir::new().unwrap();
    succeed(company.run(output.path()).env("SSL_CERT_FILE", company.pem()));
    succeed(company.run(output.path()).env("SSL_CERT_DIR", company.authority.path()));
}

#[test]
fn a_certificate_of_an_unknown_authority_is_called_that_and_not_asked_for_again() {
    let company = Company::new("localhost");
    let output = TempDir::new().unwrap();
    let refused = company.run(output.path()).output().unwrap();
    let told = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(
        told.contains("the certificate of the service is refused: UnknownIssuer. Set SSL_CERT_FILE"),
        "{told}"
    );
    assert!(!told.contains("attempts"), "{told}");
    assert!(company.service.asked().is_empty());
}

#[test]
fn a_certificate_for_another_host_is_called_that() {
    let company = Company::new("elsewhere.example");
    let output = TempDir::new().unwrap();
    let refused = company.run(output.path()).env("SSL_CERT_FILE", company.pem()).output().unwrap();
    let told = stderr(&refused);
    assert!(
        told.contains("the certificate of the service is refused: certificate not valid for name"),
        "{told}"
    );
    assert!(told.contains("Use a host name that the certificate is made out for"), "{told}");
}

#[test]
fn a_service_that_signs_for_itself_is_believed_when_named_but_not_as_an_authority() {
    let output = TempDir::new().unwrap();
    let own = Company::of_one(IsCa::ExplicitNoCa);
    succeed(own.run(output.path()).env("SSL_CERT_FILE", own.pem()));
    let authority = Company::of_one(IsCa::Ca(BasicConstraints::Unconstrained));
    let mut run = authority.run(output.path());
    // Named or not: it is the same mistake.
    for refused in [run.output().unwrap(), run.env("SSL_CERT_FILE", authority.pem()).output().unwrap()] {
        let told = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{told}");
        assert!(told.contains("refused: it is the certificate of an authority (CA:TRUE)"), "{told}");
        assert!(told.contains("-addext basicConstraints=critical,CA:FALSE"), "{told}");
        assert!(!told.contains("attempts") && !told.contains("CaUsedAsEndEntity"), "{told}");
    }
}

#[test]
fn a_variable_that_names_no_certificate_is_told() {
    let company = Company::new("localhost");
    let output = TempDir::new().unwrap();
    let empty = company.authority.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (variable, value, why) in [
        ("SSL_CERT_FILE", Path::new("/nowhere/ca.pem"), "No such file or directory"),
        ("SSL_CERT_FILE", &empty, "it holds no certificate in PEM form"),
        ("SSL_CERT_DIR", Path::new("/nowhere"), "No such file or directory"),
    ] {
        let refused = company.run(output.path()).env(variable, value).output().unwrap();
        let told = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{told}");
        assert!(told.contains(&format!("{variable}={}: ", value.display())) && told.contains(why), "{told}");
    }
}
