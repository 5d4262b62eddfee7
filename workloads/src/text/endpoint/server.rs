//! A server that follows a script, for the tests of the client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::transport::Environment;
use super::{ChatFields, Endpoint, Fault, Patience};

/// What the server does with one request.
pub enum Step {
    Answer(u16, &'static str),
    AnswerWith(u16, &'static str, &'static str),
    Truncate(&'static str),
    /// These bytes and no more.
    Raw(&'static str),
    Hang,
    HangUp,
}
use Step::{Answer, AnswerWith, Hang, HangUp, Raw, Truncate};

pub struct Request {
    pub head: String,
    pub body: serde_json::Value,
}

/// A server that follows its script, one connection a step, and reports what it was asked.
pub fn server(script: Vec<Step>) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let (seen, requests) = channel();
    std::thread::spawn(move || {
        let mut hanging = Vec::new();
        for step in script {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = seen.send(receive(&mut stream));
            match step {
                Answer(status, body) => send(&mut stream, status, "", body, body.len()),
                AnswerWith(status, header, body) => send(&mut stream, status, header, body, body.len()),
                Truncate(body) => send(&mut stream, 200, "", body, body.len() + 100),
                Raw(bytes) => drop(stream.write_all(bytes.as_bytes())),
                Hang => hanging.push(stream),
                HangUp => drop(stream),
            }
        }
        // Connections that hang stay open until the test is over.
        if !hanging.is_empty() {
            std::thread::park();
        }
    });
    (base, requests)
}

pub fn receive(stream: &mut TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0);
    }
    let lower = head.to_lowercase();
    let length = lower.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Request { head, body: serde_json::from_slice(&body).unwrap() }
}

pub fn send(stream: &mut TcpStream, status: u16, header: &str, body: &str, length: usize) {
    let head =
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{header}\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// Ends a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Three attempts without a pause; the time-out only ends what hangs.
pub fn patient(timeout: Duration) -> Patience {
    Patience { timeout, attempts: 3, ..Patience::default() }
}

/// A client in an environment that holds nothing but `variables`.
pub fn within(base: &str, patience: Patience, variables: &[(&'static str, &str)]) -> Endpoint {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let environment = Environment(Box::new(move |wanted| {
        variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone())
    }));
    Endpoint { pause: |_| (), ..Endpoint::within(base, "a-model", patience, &environment).unwrap() }
}

pub fn endpoint(base: &str) -> Endpoint {
    within(base, patient(PATIENCE), &[])
}

pub fn with_fields(base: &str, fields: ChatFields) -> Endpoint {
    endpoint(base).with_chat_fields(fields)
}

/// What comes of asking for a vector.
pub fn fault(script: Vec<Step>) -> Fault {
    *endpoint(&server(script).0).embeddings(&["a"]).unwrap_err().fault
}
