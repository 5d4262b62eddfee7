//! Endpoints by way of a proxy, as the environment names one.

use std::process::Command;

use bench_tests::{stderr, succeed};
use tempfile::TempDir;

use crate::service::{DIMENSION, Service, embeddings, run};

fn embedding_run(url: &str, output: &TempDir) -> Command {
    run(output.path(), 2, &["--embedding-url", url, "--set", DIMENSION])
}

#[test]
fn a_proxy_that_refuses_is_named_without_its_password_and_not_the_service_behind_it() {
    let service = Service::start(embeddings);
    for (variable, url) in [
        ("http_proxy", service.url()),
        ("ALL_PROXY", service.url()),
        ("https_proxy", service.url().replace("http://", "https://")),
    ] {
        let output = TempDir::new().unwrap();
        let refused =
            embedding_run(&url, &output).env(variable, "http://me:secret@127.0.0.1:9").output().unwrap();
        let told = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{told}");
        let named = format!("the proxy http://127.0.0.1:9 (from {variable}) refused the connection to it");
        assert!(told.contains(&named), "{told}");
        assert!(!told.contains("secret") && !told.contains("Is the service running"), "{told}");
    }
    assert!(service.asked().is_empty());
}

#[test]
fn a_proxy_carries_every_call() {
    // Nobody but the proxy could know this name.
    let proxy = Service::start(embeddings);
    let output = TempDir::new().unwrap();
    let url = "http://embeddings.invalid:8080/v1";
    succeed(embedding_run(url, &output).env("http_proxy", format!("http://{}", proxy.address)));
    let asked = proxy.asked();
    assert!(!asked.is_empty());
    let whole = "POST http://embeddings.invalid:8080/v1/embeddings HTTP/1.1\r\n";
    assert!(asked.iter().all(|asked| asked.head.starts_with(whole)), "{}", asked[0].head);
}

#[test]
fn an_exception_is_asked_directly() {
    let service = Service::start(embeddings);
    let output = TempDir::new().unwrap();
    let mut run = embedding_run(&service.url(), &output);
    succeed(run.env("http_proxy", "http://127.0.0.1:9").env("no_proxy", "localhost,127.0.0.1"));
    assert!(!service.asked().is_empty());
}
