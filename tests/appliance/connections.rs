//! Open connections: limits for each source, and closing of idle ones.

use crate::harness::{Appliance, Settings, Way, send, until};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

const GET: &str = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";

/// A connection from 127.0.0.`host`.
fn from(host: u8, appliance: &Appliance) -> TcpStream {
    between(host, &appliance.public)
}

fn between(host: u8, url: &str) -> TcpStream {
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let own = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0);
    bind(fd.as_raw_fd(), &SockaddrIn::from(own)).unwrap();
    connect(fd.as_raw_fd(), &SockaddrIn::from(server)).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Requests an unknown path; returns whether it was answered.
fn is_served(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4_096];
    stream.write_all(GET.as_bytes()).is_ok()
        && stream.read(&mut answer).is_ok_and(|length| answer[..length].starts_with(b"HTTP/1.1 404 "))
}

/// Whether the server has closed it; an open connection stays silent for a while.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let closed = match stream.read(&mut [0; 4_096]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    closed
}

fn metric(appliance: &Appliance, name: &str) -> u64 {
    let metrics = appliance.operation("/metrics").send();
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{}", metrics.text())).parse().unwrap()
}

const HEAD: &str = "POST /introspect HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\
                    Content-Type: application/x-www-form-urlencoded\r\n\r\nt";

#[test]
fn a_host_that_opens_more_connections_than_there_are_shuts_out_no_other() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("request_time", "\"60s\""));
    for (state, beginning) in [("resting", GET), ("head", "GET /"), ("body", HEAD)] {
        let open = |n: usize| {
            let mut stream = from(1, &appliance);
            stream.write_all(beginning.as_bytes()).unwrap();
            if state == "resting" {
                assert!(stream.read(&mut [0; 4_096]).is_ok_and(|length| length > 0), "connection {n}");
            }
            stream
        };
        let held: Vec<TcpStream> = (0..1_100).map(open).collect();
        assert!(is_served(&mut from(2, &appliance)), "{state}");
        assert!(appliance.is_ready(), "{state}");
        let kept = format!("chancery_http_connections{{state=\"{state}\"}}");
        until(&kept, || (250..=258).contains(&metric(&appliance, &kept)).then_some(()));
        assert!(metric(&appliance, "chancery_http_connections_closed_for_room_total") >= 844, "{state}");
        drop(held);
    }
    assert_eq!(metric(&appliance, "chancery_http_connections_refused_total"), 0);
    assert_eq!(metric(&appliance, "chancery_http_connections_limit"), 1_024);
    let said = appliance.finish().said;
    let lines = said.lines().filter(|line| line.contains("closed to make room")).count();
    assert!((1..20).contains(&lines), "{lines} lines about 2,500 connections");
}

#[test]
fn a_source_over_its_budget_loses_its_own_oldest_connection_and_no_other() {
    let appliance = Appliance::start(
        Settings::new(Way::Child).limit("connections_per_source", "3").limit("connections", "6"),
    );
    let served = |host| {
        let mut stream = from(host, &appliance);
        assert!(is_served(&mut stream));
        stream
    };
    let mut oldest = served(2);
    let mut own: Vec<TcpStream> = (0..4).map(|_| served(3)).collect();
    assert!(is_closed(&mut own[0]), "its own oldest");
    assert!(own[1..].iter_mut().all(is_served));
    assert!(is_served(&mut oldest));
    // The pool is full: the source with most connections loses an idle one, also to an unauthenticated client.
    let mut others = [served(4), served(5)];
    let mut stranger = served(6);
    assert!(is_closed(&mut own[1]));
    for stream in own[2..].iter_mut().chain(&mut others).chain([&mut oldest, &mut stranger]) {
        assert!(is_served(stream));
    }
    drop((own, others, oldest, stranger));
    appliance.finish();
}

#[test]
fn a_body_that_dribbles_is_idle_since_its_head() {
    let appliance = Appliance::start(
        Settings::new(Way::Child).limit("connections_per_source", "2").limit("request_time", "\"60s\""),
    );
    let mut dribbles = from(1, &appliance);
    dribbles.write_all(HEAD.as_bytes()).unwrap();
    let body = "chancery_http_connections{state=\"body\"}";
    until(body, || (metric(&appliance, body) == 1).then_some(()));
    let mut rests = from(1, &appliance);
    assert!(is_served(&mut rests));
    dribbles.write_all(b"o").unwrap();
    assert!(is_served(&mut from(1, &appliance)));
    assert!(is_closed(&mut dribbles));
    drop(rests);
    appliance.finish();
}

#[test]
fn connections_that_never_agree_on_tls_make_room_too() {
    let settings = Settings::new(Way::Child).with_tls().limit("request_time", "\"60s\"");
    let appliance = Appliance::start(settings.limit("connections_per_source", "8"));
    let silent: Vec<TcpStream> = (0..40).map(|_| from(1, &appliance)).collect();
    let handshake = "chancery_http_connections{state=\"handshake\"}";
    until(handshake, || (metric(&appliance, handshake) == 8).then_some(()));
    let token = appliance.token_of_the_case();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true, "from the same address");
    drop(silent);
    appliance.finish();
}

#[test]
fn operators_have_places_of_their_own_and_none_of_them_is_held_forever() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let public: Vec<TcpStream> = (0..300).map(|_| from(1, &appliance)).collect();
    let held: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = between(1, &appliance.operations);
            assert!(is_served(&mut stream));
            stream
        })
        .collect();
    assert!(appliance.is_ready());
    drop((public, held));
    appliance.finish();
}

#[test]
fn a_request_at_the_signer_keeps_its_connection_and_a_full_pool_is_not_ready() {
    let appliance = Appliance::start(
        Settings::new(Way::Child).limit("connections_per_source", "3").limit("connections", "3"),
    );
    let token = appliance.token_of_the_case();
    let party = appliance.settings.party("payments-api").clone();
    let body = format!("token={token}");
    let request = format!(
        "POST /introspect HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: {}\r\n\
         Accept: application/token-introspection+jwt\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n{body}",
        crate::harness::basic(party.id, &party.secret),
        body.len()
    );
    let signer = appliance.signer_id().unwrap();
    let service = "chancery_http_connections{state=\"service\"}";
    // The harness's own client has idle connections, which are closed.
    send(signer, Signal::SIGSTOP);
    let mut asking: Vec<TcpStream> = (1..=3)
        .map(|host| {
            let mut stream = from(host, &appliance);
            stream.write_all(request.as_bytes()).unwrap();
            until(service, || (metric(&appliance, service) == u64::from(host)).then_some(()));
            stream
        })
        .collect();
    assert!(!is_served(&mut from(1, &appliance)), "of a source with a request under way");
    assert!(!is_served(&mut from(9, &appliance)), "of any other");
    assert_eq!(metric(&appliance, "chancery_http_connections_refused_total"), 2);
    let ready = appliance.operation("/readyz").send();
    assert_eq!(ready.status, 503);
    let why = ready.json()["connections"].as_str().unwrap().to_owned();
    assert!(why.starts_with("3 of 3 open: full; each has a request"), "{why}");
    send(signer, Signal::SIGCONT);
    for stream in &mut asking {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        appliance.kept_elsewhere(body);
    }
    assert!(is_served(&mut from(9, &appliance)));
    until("readiness", || appliance.is_ready().then_some(()));
    appliance.finish();
}

#[test]
fn a_gateway_without_open_files_logs_it_once_and_accepts_again_later() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Child));
    let command = appliance.command(&["serve"]);
    let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    // Enough for the gateway itself and a few connections.
    let mut few = std::process::Command::new("sh");
    few.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", crate::harness::CHANCERY]).args(arguments);
    few.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    appliance.meet_gateway(crate::harness::Process::start(&mut few));
    appliance.wait_until_ready();
    // Operators keep their connection, and so can read the metrics.
    let failures = |appliance: &Appliance| metric(appliance, "chancery_http_accept_failures_total");
    assert_eq!(failures(&appliance), 0);
    let held: Vec<TcpStream> = (0..100).map(|_| from(1, &appliance)).collect();
    until("many failures", || (failures(&appliance) > 20).then_some(()));
    drop(held);
    until("service", || is_served(&mut from(2, &appliance)).then_some(()));
    appliance.wait_until_ready();
    let said = appliance.finish().said;
    let lines = said.lines().filter(|line| line.contains("no connection can be accepted")).count();
    assert!((1..=3).contains(&lines), "{lines} lines");
}

#[test]
fn strangers_from_many_addresses_cut_no_connection_of_a_caller() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("connections", "64"));
    let token = appliance.token_of_the_case();
    let party = appliance.settings.party("payments-api").clone();
    let request = format!(
        "POST /introspect HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: {}\r\n\
         Accept: application/token-introspection+jwt\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken={token}",
        crate::harness::basic(party.id, &party.secret),
        token.len() + 6
    );
    let ask = |stream: &mut TcpStream| {
        let mut answer = [0; 16_384];
        let served = stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut answer));
        let answer = String::from_utf8_lossy(&answer[..served.unwrap_or(0)]).into_owned();
        if let Some((_, body)) = answer.split_once("\r\n\r\n") {
            appliance.kept_elsewhere(body);
        }
        answer.starts_with("HTTP/1.1 200 ")
    };
    let mut kept: Vec<TcpStream> = (0..8).map(|_| from(1, &appliance)).collect();
    assert!(kept.iter_mut().all(ask));
    let refused = "chancery_http_connections_refused_total";
    let closed = "chancery_http_connections_closed_for_room_total";
    let strangers: Vec<TcpStream> = (0..250).map(|n| from(2 + n % 120, &appliance)).collect();
    until("the strangers", || (metric(&appliance, refused) + metric(&appliance, closed) > 180).then_some(()));
    assert!(kept.iter_mut().all(ask), "each on the connection that it had");
    drop(strangers);
    appliance.finish();
}

#[test]
fn strangers_with_half_a_request_do_not_hold_up_the_end_of_the_service() {
    for tls in [false, true] {
        let settings = Settings::new(Way::Separate).limit("request_time", "\"5m\"");
        let mut appliance = Appliance::start(if tls { settings.with_tls() } else { settings });
        let beginnings: &[&[u8]] =
            if tls { &[b"", b"\x16\x03\x01\x02\x00\x01"] } else { &[b"", b"GET / HT", HEAD.as_bytes()] };
        let strangers: Vec<TcpStream> = beginnings
            .iter()
            .map(|beginning| {
                let mut stream = from(1, &appliance);
                stream.write_all(beginning).unwrap();
                stream
            })
            .collect();
        let (body, waits) = ("chancery_http_connections{state=\"body\"}", !tls);
        until(body, || (metric(&appliance, body) == u64::from(waits)).then_some(()));
        let mut gateway = appliance.gateway.take().unwrap();
        gateway.signal(Signal::SIGTERM);
        assert!(gateway.wait_all().success());
        appliance.ended(&gateway);
        assert!(!gateway.said().contains("connections were cut"), "{}", gateway.said());
        drop(strangers);
        appliance.run_gateway();
        appliance.wait_until_ready();
        appliance.finish();
    }
}
