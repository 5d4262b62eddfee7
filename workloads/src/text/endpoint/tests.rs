//! What is tried again, what is not, and by which way a call goes.

use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use super::server::Step::{self, *};
use super::server::{PATIENCE, endpoint, fault, patient, server, within};
use super::*;
use crate::text::embed::{Embedder, HttpEmbedder};

const GOOD: &str = r#"{"data":[{"index":0,"embedding":[1,0.5]}]}"#;

fn embed(script: Vec<Step>) -> Result<Vec<Vec<f64>>, EndpointError> {
    endpoint(&server(script).0).embeddings(&["a"]).map(|all| all.vectors)
}

fn good() -> Vec<Vec<f64>> {
    vec![vec![1.0, 0.5]]
}

#[test]
fn a_key_is_sent_as_bearer_token_and_none_is_not() {
    let (base, requests) = server(vec![Answer(200, GOOD), Answer(200, GOOD)]);
    let limits = patient(PATIENCE);
    within(&base, limits, &[(KEY_VARIABLE, " sk-secret\n")]).embeddings(&["a"]).unwrap();
    assert!(requests.recv().unwrap().head.to_lowercase().contains("authorization: bearer sk-secret\r\n"));
    endpoint(&base).embeddings(&["a"]).unwrap();
    assert!(!requests.recv().unwrap().head.to_lowercase().contains("authorization"));
}

#[test]
fn no_message_repeats_the_key_or_a_password() {
    let (base, _requests) = server(vec![Answer(401, r#"{"error":"sk-secret is unknown"}"#)]);
    let base = base.replace("http://", "http://user:pass@");
    let endpoint = within(&base, patient(PATIENCE), &[(KEY_VARIABLE, "sk-secret")]);
    let error = endpoint.embeddings(&["a"]).unwrap_err();
    let text = format!("{error} {error:?} {endpoint:?}");
    assert!(!text.contains("sk-secret") && !text.contains("pass"), "{text}");
    assert!(text.contains("*** is unknown") && text.contains(KEY_VARIABLE), "{text}");
}

#[test]
fn a_service_that_repeats_user_and_password_is_not_repeated() {
    let (base, requests) = server(vec![Answer(401, r#"{"error":"no Basic bWU6cGFzc3dvcmQ= (password)"}"#)]);
    let error = endpoint(&base.replace("http://", "http://me:password@")).embeddings(&["a"]).unwrap_err();
    assert!(requests.recv().unwrap().head.contains("Basic bWU6cGFzc3dvcmQ="));
    assert!(error.to_string().contains("\"no Basic *** (***)\""), "{error}");
}

#[test]
fn a_key_that_no_header_may_hold_is_told_with_its_variable() {
    for key in ["a key", "schlüssel", "Bearer\nx"] {
        let environment = Environment(Box::new(move |name| (name == KEY_VARIABLE).then(|| key.to_owned())));
        let error = Endpoint::within("http://h/v1", "m", Patience::default(), &environment).unwrap_err();
        let expected = "http://h/v1: OPENAI_API_KEY holds a character that no header may hold, such as a space. \
            Set it to the key alone";
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_an_address_asks_of_every_call_is_asked_and_not_shown() {
    let (base, requests) = server(vec![Answer(200, GOOD), Answer(404, "")]);
    let endpoint = endpoint(&format!("{base}/?api-version=3&code=hidden"));
    endpoint.embeddings(&["a"]).unwrap();
    let error = endpoint.embeddings(&["a"]).unwrap_err().to_string();
    assert!(requests.recv().unwrap().head.starts_with("POST /v1/embeddings?api-version=3&code=hidden "));
    assert!(error.starts_with(&format!("{base}/embeddings: ")) && !error.contains("hidden"), "{error}");
}

#[test]
fn what_may_pass_is_tried_again() {
    for first in [
        Answer(500, "oops"),
        Answer(429, ""),
        Answer(503, ""),
        Answer(408, ""),
        Answer(200, r#"{"error": {"message": "overloaded", "code": 503}}"#),
        HangUp,
        Truncate(GOOD),
    ] {
        assert_eq!(embed(vec![first, Answer(200, GOOD)]).unwrap(), good());
    }
    let twice = vec![Answer(503, ""), Answer(502, ""), Answer(200, GOOD)];
    assert_eq!(embed(twice).unwrap(), good());
}

#[test]
fn patience_ends() {
    let error = embed(vec![Answer(500, "oops"), Answer(500, "oops"), Answer(500, "oops")]).unwrap_err();
    assert_eq!(error.attempts, 3);
    assert_eq!(*error.fault, Fault::Server { status: 500, said: "oops".into(), wait: None });
    assert!(error.to_string().ends_with("(3 attempts)"), "{error}");
}

#[test]
fn what_breaks_off_or_is_not_http_is_not_called_a_missing_connection() {
    for last in [
        fault(vec![Truncate(GOOD), Truncate(GOOD), Truncate(GOOD)]),
        fault(vec![HangUp, HangUp, HangUp]),
        fault(vec![Raw("SSH-2.0-OpenSSH_9.6\r\n"), Raw("\x16\x03\x01\r\n\r\n"), Raw("hello\r\n\r\n")]),
        fault((0..3).map(|_| Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{")).collect()),
    ] {
        assert!(matches!(last, Fault::Broken(_)), "{last:?}");
    }
}

#[test]
fn a_mark_of_the_order_of_bytes_before_an_answer_is_passed_over() {
    let marked = "\u{feff}{\"data\":[{\"index\":0,\"embedding\":[1,0.5]}]}";
    assert_eq!(embed(vec![Answer(200, marked)]).unwrap(), good());
}

#[test]
fn the_pause_is_what_the_service_asks_for() {
    static PAUSES: Mutex<Vec<Duration>> = Mutex::new(Vec::new());
    let script = vec![
        AnswerWith(429, "Retry-After: 3600\r\n", ""),
        AnswerWith(429, "retry-after-ms: 1500\r\nRetry-After: 2\r\n", ""),
        AnswerWith(429, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", ""),
        AnswerWith(503, "Retry-After: 7\r\n", ""),
        Answer(500, ""),
        Answer(200, GOOD),
    ];
    let (base, _requests) = server(script);
    let limits = Patience { attempts: 6, ..patient(PATIENCE) };
    let endpoint = within(&base, limits, &[]);
    let endpoint = Endpoint { pause: |wait| PAUSES.lock().unwrap().push(wait), ..endpoint };
    assert_eq!(endpoint.embeddings(&["a"]).unwrap().vectors, good());
    let seconds: Vec<f64> = PAUSES.lock().unwrap().iter().map(Duration::as_secs_f64).collect();
    assert_eq!(seconds, [30.0, 1.5, 0.0, 7.0, 16.0]);
}

#[test]
fn silence_is_tried_again_and_then_reported() {
    let limits = patient(Duration::from_millis(100));
    let (base, _requests) = server(vec![Hang, Hang, Hang]);
    let error = within(&base, limits, &[]).embeddings(&["a"]).unwrap_err();
    assert_eq!((*error.fault, error.attempts), (Fault::Timeout(limits.timeout), 3));
}

#[test]
fn a_request_that_is_given_up_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let (closed, ends) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let closed = closed.clone();
            std::thread::spawn(move || {
                // Never answers, and reads until whoever asks hangs up.
                let _ = closed.send(std::io::copy(&mut &stream, &mut std::io::sink()).is_ok());
            });
        }
    });
    let limits = Patience { attempts: 2, ..patient(Duration::from_millis(100)) };
    let error = within(&base, limits, &[]).embeddings(&["a"]).unwrap_err();
    assert_eq!(error.attempts, 2);
    for _ in 0..2 {
        assert!(ends.recv_timeout(PATIENCE).unwrap());
    }
}

#[test]
fn a_service_that_does_not_answer_is_left_alone_and_calls_fail_at_once_with_the_reason() {
    static NOON: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    let (_held, address) = nobody();
    let endpoint = Endpoint { now: || *NOON, ..endpoint(&format!("http://{address}/v1")) };
    let calls = || endpoint.embeddings(&["a"]).unwrap_err();
    assert_eq!([calls(), calls()].map(|error| error.attempts), [3, 2]);
    let error = calls();
    assert!(matches!(*error.fault, Fault::Resting { in_a_row: 5, .. }) && error.attempts == 0, "{error:?}");
    assert!(
        error.to_string().contains("not asked: the last 5 requests in a row had no answer (no connection")
    );
}

#[test]
fn an_answer_that_says_no_is_an_answer() {
    let (base, requests) = server((0..12).map(|_| Answer(500, "oops")).collect());
    let endpoint = endpoint(&base);
    for _ in 0..4 {
        assert_eq!(endpoint.embeddings(&["a"]).unwrap_err().attempts, 3);
    }
    assert_eq!(requests.iter().count(), 12);
}

#[test]
fn whether_somebody_is_there_costs_one_question_and_no_answer_is_wrong_but_a_refused_key() {
    for (status, fine) in [(200, true), (404, true), (500, true), (401, false), (503, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            answer_anything(&listener, &format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}"));
        });
        assert_eq!(endpoint(&base).is_there().is_ok(), fine, "{status}");
    }
    let (_held, address) = nobody();
    let error = endpoint(&format!("http://{address}/v1")).is_there().unwrap_err();
    assert!(error.to_string().starts_with(&format!("http://{address}/v1/models: no connection")), "{error}");
}

#[test]
fn what_does_not_pass_is_told_at_once_with_the_service_s_words() {
    let said = || "no".to_owned();
    let error = embed(vec![Answer(401, "no")]).unwrap_err();
    assert_eq!((error.attempts, *error.fault), (1, Fault::Access { status: 401, said: said() }));
    let error = embed(vec![Answer(404, "no")]).unwrap_err();
    assert_eq!((error.attempts, *error.fault), (1, Fault::refused(404, said())));
    for (status, body) in [
        (402, r#"{"error": "no"}"#),
        (429, r#"{"error": {"message": "no", "type": "insufficient_quota"}}"#),
        (200, r#"{"error": {"message": "no", "code": "insufficient_quota"}}"#),
    ] {
        let error = embed(vec![Answer(status, body)]).unwrap_err();
        assert_eq!((error.attempts, *error.fault), (1, Fault::Quota { status, said: said() }), "{body}");
    }
    let moved = embed(vec![AnswerWith(307, "Location: https://u:p@other/v1\r\n", "")]).unwrap_err();
    assert!(moved.attempts == 1 && moved.to_string().contains("redirects to https://other/v1"), "{moved}");
}

#[test]
fn a_redirection_is_told_with_the_address_to_give() {
    for (to, remedy) in [
        ("Location: https://u:p@other/api/v1/embeddings\r\n", "--embedding-url https://other/api/v1"),
        ("Location: /v2/embeddings/\r\n", "--embedding-url http://127.0.0.1:PORT/v2"),
        // To itself, to a page for people, and nowhere.
        ("Location: /v1/embeddings\r\n", "Check the address: it should end with /v1"),
        ("Location: https://sign.in/here\r\n", "Check the address: it should end with /v1"),
    ] {
        let (base, _requests) = server(vec![AnswerWith(308, to, "")]);
        let port = base.trim_end_matches("/v1").rsplit_once(':').unwrap().1;
        let error = endpoint(&base).embeddings(&["a"]).unwrap_err().to_string();
        assert!(error.ends_with(&remedy.replace("PORT", port)), "{to}: {error}");
    }
}

#[test]
fn a_quota_for_each_minute_is_waited_for() {
    let no = r#"{"error": {"message": "quota of 3 requests per minute", "type": "quota"}}"#;
    let script = vec![AnswerWith(429, "Retry-After: 1\r\n", no), Answer(200, GOOD)];
    assert_eq!(embed(script).unwrap(), good());
}

/// An address where nobody listens, as long as it is held.
fn nobody() -> (rustix::fd::OwnedFd, String) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&held, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: std::net::SocketAddr = getsockname(&held).unwrap().try_into().unwrap();
    (held, address.to_string())
}

#[test]
fn a_service_that_is_not_there_is_reported() {
    let (_held, address) = nobody();
    let error = endpoint(&format!("http://{address}/v1")).embeddings(&["a"]).unwrap_err();
    assert!(matches!(*error.fault, Fault::Connection(_)) && error.attempts == 3, "{error:?}");
}

#[test]
fn a_host_name_that_is_not_known_is_named() {
    let error = endpoint("http://no-such-host.invalid/v1").embeddings(&["a"]).unwrap_err();
    assert!(error.to_string().contains("the host name is not known (no-such-host.invalid: "), "{error}");
}

#[test]
fn an_address_without_scheme_or_host_is_refused() {
    for base in [
        "localhost:8090/v1",
        "ftp://x/v1",
        "http:///v1",
        "http://",
        "http://:8090/v1",
        "http://x:99999/v1",
        "http://x:80a/v1",
        "http://x/v1#here",
        "http://a b/v1",
        "",
    ] {
        let error = Endpoint::new(base, "m", Patience::default()).unwrap_err();
        assert!(matches!(*error.fault, Fault::Address(_)), "{base}: {error}");
        assert!(!error.to_string().starts_with(':'), "{error}");
    }
}

#[test]
fn a_scheme_may_be_in_capitals() {
    let (base, _requests) = server(vec![Answer(200, GOOD)]);
    assert_eq!(endpoint(&base.replace("http", "HTTP")).embeddings(&["a"]).unwrap().vectors, good());
}

/// Answers whatever comes first, and reads on: closing before everything is read would reset the connection.
fn answer_anything(listener: &TcpListener, answer: &str) {
    let (mut stream, _) = listener.accept().unwrap();
    std::io::Read::read(&mut stream, &mut [0]).unwrap();
    std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

#[test]
fn a_service_that_does_not_speak_tls_is_told_apart_from_one_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || answer_anything(&listener, "HTTP/1.1 400 Bad Request\r\n\r\n"));
    let error = endpoint(&base).embeddings(&["a"]).unwrap_err();
    assert!(matches!(*error.fault, Fault::Tls { .. }) && error.attempts == 1, "{error:?}");
    assert!(error.to_string().contains("http instead of https"), "{error}");
}

mod proxies {
    use super::*;

    fn by(proxy: &str, base: &str) -> Endpoint {
        within(base, patient(PATIENCE), &[("http_proxy", proxy), ("https_proxy", proxy)])
    }

    #[test]
    fn an_http_address_is_asked_for_as_a_whole_with_credentials_for_the_proxy_alone() {
        let (proxy, requests) = server(vec![Answer(200, GOOD)]);
        let proxy = proxy.replace("http://", "http://me:pass@").replace("/v1", "");
        let endpoint = by(&proxy, "http://service.invalid:8080/v1");
        assert_eq!(endpoint.embeddings(&["a"]).unwrap().vectors, good());
        let head = requests.recv().unwrap().head;
        assert!(head.starts_with("POST http://service.invalid:8080/v1/embeddings HTTP/1.1\r\n"), "{head}");
        let lower = head.to_lowercase();
        assert!(lower.contains("host: service.invalid:8080\r\n"), "{head}");
        assert!(lower.contains("proxy-authorization: basic bwu6cgfzcw==\r\n"), "{head}");
    }

    #[test]
    fn a_second_request_on_the_same_connection_is_one_too() {
        use std::io::{BufRead as _, Read as _, Write as _};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let first_lines = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = std::io::BufReader::new(stream);
            let mut lines = Vec::new();
            for _ in 0..2 {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    assert!(reader.read_line(&mut head).unwrap() > 0);
                }
                let lower = head.to_lowercase();
                let length = lower.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
                let mut body = vec![0; length.parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                lines.push(head.lines().next().unwrap().to_owned());
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{GOOD}", GOOD.len());
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
            lines
        });
        let endpoint = by(&proxy, "http://service.invalid/v1");
        // Longer than what is sent at once.
        let long = "word ".repeat(100_000);
        endpoint.embeddings(&[&long]).unwrap();
        endpoint.embeddings(&["a"]).unwrap();
        let line = "POST http://service.invalid/v1/embeddings HTTP/1.1";
        assert_eq!(first_lines.join().unwrap(), [line, line]);
    }

    #[test]
    fn a_proxy_that_is_not_there_is_named_without_its_password() {
        let (_held, proxy) = nobody();
        for base in ["http://127.0.0.1:1/v1", "https://127.0.0.1:1/v1"] {
            let error = by(&format!("http://me:pass@{proxy}"), base).embeddings(&["a"]).unwrap_err();
            assert!(matches!(*error.fault, Fault::Proxy { .. }) && error.attempts == 3, "{error:?}");
            let text = error.to_string();
            assert!(text.contains(&format!("the proxy http://{proxy} (from http")), "{text}");
            assert!(text.contains("refused the connection to it") && !text.contains("pass"), "{text}");
        }
    }

    #[test]
    fn a_proxy_whose_name_is_unknown_is_named() {
        let error = by("http://no-proxy.invalid:3128", "http://127.0.0.1:1/v1").embeddings(&["a"]);
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("the proxy http://no-proxy.invalid:3128 (from http_proxy) is not known"),
            "{text}"
        );
    }

    #[test]
    fn a_proxy_that_refuses_is_told_apart_from_the_service() {
        let (proxy, _requests) = server(vec![Answer(407, "log in")]);
        let error = by(proxy.trim_end_matches("/v1"), "http://service.invalid/v1").embeddings(&["a"]);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("refused access (status 407: \"log in\")"), "{text}");
        // A tunnel is asked for without a body.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || answer_anything(&listener, "HTTP/1.1 403 Forbidden\r\n\r\n"));
        let error = by(&proxy, "https://service.invalid/v1").embeddings(&["a"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("(from https_proxy) refused the way to the service"), "{text}");
        assert!(text.contains("403") && error.attempts == 1, "{text}");
    }

    #[test]
    fn an_answer_that_came_by_way_of_a_proxy_says_so() {
        let (proxy, _requests) = server(vec![Answer(404, "what?")]);
        let error = by(proxy.trim_end_matches("/v1"), "http://service.invalid/v1").embeddings(&["a"]);
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("http://service.invalid/v1/embeddings by way of the proxy http://127"),
            "{text}"
        );
    }

    #[test]
    fn an_exception_is_asked_directly() {
        let (base, _requests) = server(vec![Answer(200, GOOD)]);
        let variables = [("http_proxy", "http://127.0.0.1:9"), ("no_proxy", "127.0.0.0/8")];
        let endpoint = within(&base, patient(PATIENCE), &variables);
        assert_eq!(endpoint.embeddings(&["a"]).unwrap().vectors, good());
    }
}

mod embedder {
    use super::*;

    #[test]
    fn another_dimension_than_its_own_is_refused_with_the_setting() {
        let (base, _requests) = server(vec![Answer(200, GOOD)]);
        let error = HttpEmbedder::new(endpoint(&base), 3, 64).embed(&["a"]).unwrap_err();
        assert_eq!(*error.fault, Fault::Dimension { expected: 3, found: 2 });
        assert!(error.to_string().ends_with("--set embedding_dimension=2"), "{error}");
    }

    #[test]
    fn texts_are_sent_in_batches_and_empty_ones_not_at_all() {
        const TWO: &str = r#"{"data":[{"index":0,"embedding":[1,0.5]},{"index":1,"embedding":[0,-2e-1]}]}"#;
        let (base, requests) = server(vec![Answer(200, TWO), Answer(200, GOOD)]);
        let embedder = HttpEmbedder::new(endpoint(&base), 2, 2);
        let vectors = embedder.embed(&["a", "", " \n\u{a0}", "b", "c"]).unwrap();
        let dims: Vec<_> = vectors.iter().map(|v| v.dims.as_slice()).collect();
        assert_eq!(dims, [[127, 64], [0, 0], [0, 0], [0, -127], [127, 64]]);
        assert!(embedder.embed(&["", " "]).unwrap().iter().all(|vector| vector.is_zero()));
        drop(embedder);
        let inputs: Vec<_> = requests.iter().map(|r| r.body["input"].to_string()).collect();
        assert_eq!(inputs, [r#"["a","b"]"#, r#"["c"]"#]);
    }
}
