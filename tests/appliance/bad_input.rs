//! Hostile input: limits of size, number, depth and time; ambiguous forms.

use crate::harness::{Appliance, Settings, Way, unique};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn connect(appliance: &Appliance) -> TcpStream {
    let stream = TcpStream::connect(appliance.public.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends raw bytes, and reads until the server closes or is silent.
fn say(appliance: &Appliance, bytes: &[u8]) -> String {
    let mut stream = connect(appliance);
    // A server may close before the whole request is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    rest(&mut stream)
}

fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bodies_heads_and_parameters_have_limits() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let post =
        |endpoint: &str, caller: &str| appliance.call("POST", &appliance.endpoint(endpoint)).by(caller);
    // 64 KiB for /token and /revoke.
    let filler = |bytes: usize| "x".repeat(bytes);
    let fits = post("revoke", "shop").form("token", &filler(65_000)).send();
    assert_eq!(fits.status, 200);
    for endpoint in ["token", "revoke"] {
        let answer = post(endpoint, "shop").form("token", &filler(65_536)).send();
        answer.is_refused(413, "invalid_request", endpoint);
    }
    // 256 KiB for /introspect, where oversized tokens are inactive.
    for bytes in [70_000, 200_000, 260_000] {
        let jwt = appliance.introspect("payments-api", &filler(bytes));
        assert_eq!(*jwt.inner(), json!({"active": false}), "{bytes}");
    }
    post("introspect", "payments-api").form("token", &filler(262_200)).send().is_refused(
        413,
        "invalid_request",
        "introspect",
    );
    // 100 parameters.
    let many = |count: usize| {
        let call = post("introspect", "payments-api").form("token", "x");
        (1..count).fold(call, |call, i| call.form(&format!("p{i}"), "y")).send()
    };
    assert_eq!(many(100).status, 200);
    many(101).is_refused(400, "invalid_request", "101 parameters");
    // 16 KiB of head.
    let head = |bytes: usize| {
        post("introspect", "payments-api").form("token", "x").header("x-filler", &filler(bytes)).send()
    };
    assert_eq!(head(15_000).status, 200);
    head(17_000).is_refused(431, "invalid_request", "a head of 17,000 bytes");
    // JSON 32 deep is parsed and refused for its content, 33 for its depth; neither is granted.
    for depth in [32, 33, 5_000] {
        let details = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let answer = appliance.client_credentials("shop", &[("authorization_details", &details)]);
        answer.is_refused(400, "invalid_authorization_details", "depth");
    }
    appliance.finish();
}

#[test]
fn forms_that_two_readers_could_read_in_two_ways_are_refused() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    for endpoint in ["introspect", "token", "revoke"] {
        let caller = if endpoint == "introspect" { "payments-api" } else { "shop" };
        for body in [
            format!("token={token}&token={token}").into_bytes(),
            format!("token={token}&t%6fken={token}").into_bytes(),
            format!("token=&token={token}").into_bytes(),
            format!("token={token}%").into_bytes(),
            format!("token={token}%zz").into_bytes(),
            format!("token={token}&x=%ff").into_bytes(),
            format!("token={token}&x=%C0%80").into_bytes(),
            format!("token={token}&x=%ED%A0%80").into_bytes(),
            [format!("token={token}&x=").as_bytes(), &[0xff, 0xfe]].concat(),
            format!("={token}").into_bytes(),
            format!("token={token}\n").into_bytes(),
        ] {
            let shown = String::from_utf8_lossy(&body).into_owned();
            let call = appliance.call("POST", &appliance.endpoint(endpoint)).by(caller);
            let call = call.header("content-type", "application/x-www-form-urlencoded").body(body);
            call.send().is_refused(400, "invalid_request", &format!("{endpoint}: {shown}"));
        }
        let call = appliance.call("POST", &appliance.endpoint(endpoint)).by(caller);
        let zipped = call.header("content-encoding", "gzip").form("token", &token).send();
        zipped.is_refused(415, "invalid_request", "compressed");
    }
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.finish();
}

#[test]
fn malformed_http_gets_a_refusal_or_nothing_without_effect_on_others() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("request_time", "\"2s\""));
    let token = appliance.token_of_the_case();
    let post = |head: &str| format!("POST /introspect HTTP/1.1\r\nHost: x\r\n{head}\r\ntoken=x");
    let garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\r\n\r\n".to_vec(),
        b"hello\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /\r\n\r\n".to_vec(),
        b"GET /livez HTTP/1.0\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        vec![0xff; 100_000],
        vec![b'A'; 100_000],
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n".to_vec(),
        post("Content-Length: 7\r\nContent-Length: 8\r\n").into_bytes(),
        post("Content-Length: -1\r\n").into_bytes(),
        post("Content-Length: 99999999999999999999\r\n").into_bytes(),
        post("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n").into_bytes(),
        post("Transfer-Encoding: chunked, chunked\r\n").into_bytes(),
        post("Transfer-Encoding: chunked\r\n").into_bytes(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "%00".repeat(20)).into_bytes(),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(500)).into_bytes(),
        b"GET /../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ];
    for bytes in &garbage {
        let answer = say(&appliance, bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert!(!answer.contains(" 200 ") && !answer.contains(" 500 "), "{shown:?}: {answer}");
        assert!(!answer.contains("active"), "{shown:?}: {answer}");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(answer.is_empty() || body.starts_with("{\"error\":"), "{shown:?}: {answer}");
        assert!(answer.is_empty() || answer.contains("cache-control: no-store"), "{shown:?}: {answer}");
    }
    // RFC 9112 §6.1: hyper would treat the body as chunked alone.
    for coding in ["gzip, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked"] {
        let chunked =
            post(&format!("Transfer-Encoding: {coding}\r\n")).replace("token=x", "7\r\ntoken=x\r\n0\r\n\r\n");
        let answer = say(&appliance, chunked.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 501 ") && answer.contains("connection: close"),
            "{coding}: {answer}"
        );
    }
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    assert!(appliance.is_ready());
    appliance.finish();
}

#[test]
fn a_request_names_exactly_one_host() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let public = appliance.public.trim_start_matches("http://").to_owned();
    let operations = appliance.operations.trim_start_matches("http://").to_owned();
    let ask = |address: &str, target: &str, version: &str, hosts: &[&str]| {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = hosts
            .iter()
            .fold(format!("GET {target} HTTP/{version}"), |head, host| format!("{head}\r\nHost: {host}"));
        stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        rest(&mut stream)
    };
    for (address, path) in [(&public, "/jwks"), (&operations, "/livez")] {
        let absolute = format!("http://as.bank.example{path}");
        for target in [path, &absolute] {
            for version in ["1.0", "1.1"] {
                let answer = ask(address, target, version, &["as.bank.example"]);
                assert!(answer.starts_with(&format!("HTTP/{version} 200 ")), "{target}: {answer}");
                for hosts in
                    [&[][..], &["as.bank.example", "as.bank.example"], &["a", "b"], &[""], &["a b"], &["u@a"]]
                {
                    let answer = ask(address, target, version, hosts);
                    assert!(
                        answer.starts_with(&format!("HTTP/{version} 400 ")),
                        "{target} {hosts:?}: {answer}"
                    );
                    assert!(answer.contains("\"error\":\"invalid_request\""), "{answer}");
                    assert!(answer.contains("cache-control: no-store"), "{answer}");
                }
            }
        }
    }
    appliance.finish();
}

#[test]
fn a_request_that_does_not_arrive_in_time_is_cut_off() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("request_time", "\"700ms\""));
    let party = appliance.settings.party("payments-api").clone();
    let token = unique();
    let head = |length: usize| {
        format!(
            "POST /introspect HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n{}: x\r\n\r\n",
            party.id
        )
    };
    let beginnings =
        [String::new(), "POST /intro".to_owned(), head(100), format!("{}token={token}", head(100))];
    for beginning in beginnings {
        let began = Instant::now();
        let mut stream = connect(&appliance);
        stream.write_all(beginning.as_bytes()).unwrap();
        let answer = rest(&mut stream);
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(500) && took < Duration::from_secs(5),
            "{beginning:?}: {took:?}"
        );
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{beginning:?}: {answer}");
    }
    // Single bytes do not extend the time.
    let mut stream = connect(&appliance);
    let began = Instant::now();
    for byte in head(100).bytes().cycle() {
        if stream.write_all(&[byte]).is_err() || began.elapsed() > Duration::from_secs(10) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "a trickle is cut off too");
    appliance.finish();
}
