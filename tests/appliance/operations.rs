//! The operations listener, log lines, and the messages to the service manager.

use crate::harness::{Appliance, Settings, Way, send, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

#[test]
fn operators_see_life_readiness_and_numbers_where_the_public_sees_nothing() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    appliance.introspect("payments-api", &token);
    appliance.introspect("payments-api", "unknown");
    let live = appliance.operation("/livez").send();
    assert_eq!((live.status, live.header("content-type")), (200, Some("application/json")));
    let ready = appliance.operation("/readyz").send();
    assert_eq!((ready.status, ready.header("content-type")), (200, Some("application/json")));
    let metrics = appliance.operation("/metrics").send();
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    for line in [
        "chancery_http_requests_total{endpoint=\"introspect\",status=\"200\"} 2",
        "chancery_http_requests_total{endpoint=\"token\",status=\"200\"} 1",
        "chancery_introspection_inactive_total 1",
    ] {
        assert!(metrics.text().lines().any(|found| found == line), "{line} is not in\n{}", metrics.text());
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(appliance.call("GET", path).send().status, 404, "{path} is not public");
    }
    for path in ["/jwks", "/introspect", "/nowhere"] {
        assert_eq!(appliance.operation(path).send().status, 404, "{path} is not the operators'");
    }
    appliance.finish();
}

#[test]
fn a_request_is_one_line_of_json_with_its_name_in_the_record() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let jwt = appliance.introspect("payments-api", &token);
    appliance.revoke("shop-jwt", &token).is_refused(400, "unauthorized_client", "another client's");
    let finished = appliance.finish();
    let lines: Vec<Value> = finished
        .said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("no JSON ({why}): {line}")))
        .collect();
    let of = |endpoint: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["endpoint"] == endpoint).collect()
    };
    assert_eq!((of("token").len(), of("introspect").len(), of("revoke").len()), (1, 1, 1));
    let line = of("introspect")[0];
    assert_eq!(
        (&line["message"], &line["status"], &line["client_id"]),
        (&"request".into(), &200.into(), &"payments-api".into())
    );
    assert_eq!(line.get("peer"), None, "no address in the line of an answer");
    assert_eq!(line["request_id"], finished.evidence.record_of(&jwt.text)["request_id"]);
    let refused = of("revoke")[0];
    assert_eq!((&refused["status"], &refused["rule"]), (&400.into(), &"foreign-token".into()));
}

#[test]
fn the_service_manager_gets_ready_watchdog_and_stopping() {
    for way in [Way::Child, Way::Separate] {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut appliance = Appliance::prepare(Settings::new(way));
        // A separate signer would send messages of its own to the same socket.
        if way == Way::Separate {
            appliance.run_signer();
        }
        appliance.environment.push(("NOTIFY_SOCKET".to_owned(), path.display().to_string()));
        appliance.environment.push(("WATCHDOG_USEC".to_owned(), "3000000".to_owned()));
        appliance.run();
        let mut said = String::new();
        let mut hear = |word: &str| {
            until(&format!("{word} in {way:?}"), || {
                let mut buffer = [0; 4096];
                while let Ok(length) = socket.recv(&mut buffer) {
                    said.push_str(&String::from_utf8_lossy(&buffer[..length]));
                    said.push('\n');
                }
                said.contains(word).then_some(())
            });
        };
        hear("READY=1");
        hear("WATCHDOG=1");
        appliance.stop();
        hear("STOPPING=1");
        assert_eq!(said.matches("READY=1").count(), 1, "{said}");
        assert!(said.find("READY=1") < said.find("STOPPING=1"));
        appliance.finish();
    }
}

#[test]
fn sigterm_lets_a_request_under_way_end() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = 0;
                    while let Ok(answer) = appliance.introspection("payments-api", &token).try_send() {
                        assert!(answer.status == 200 || answer.status == 503, "{answer:?}");
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        appliance.gateway.as_ref().unwrap().signal(Signal::SIGTERM);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>()
    });
    assert!(answers > 4, "{answers}");
    appliance.stop();
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("stopped").count(), 1, "the log was closed in order");
}

#[test]
fn sigterm_in_the_first_moments_ends_the_service_in_order_too() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Child));
    for _ in 0..10 {
        // It listens, and may be at any later point.
        appliance.run_gateway();
        appliance.stop();
    }
    appliance.finish();
}

#[test]
fn lines_that_go_to_the_journal_begin_with_their_priority() {
    use std::os::unix::fs::MetadataExt;
    let appliance = Appliance::prepare(Settings::new(Way::Child));
    // A file descriptor of the journal, named in a variable by device and inode.
    let said = appliance.path("said");
    let file = std::fs::File::create(&said).unwrap();
    let of = file.metadata().unwrap();
    let read = || std::fs::read_to_string(&said).unwrap();
    let start = |what: &str, stream: String| {
        let mut command = appliance.command(&[what]);
        command.env("JOURNAL_STREAM", stream).stderr(file.try_clone().unwrap()).spawn().unwrap()
    };
    let journal = format!("{}:{}", of.dev(), of.ino());
    // A signer without `[signer]` has no socket to listen on: it prints the reason and ends.
    assert!(!start("signer", journal.clone()).wait().unwrap().success());
    let mut gateway = start("serve", journal);
    until("a line of the gateway", || read().contains("\"listening\"").then_some(()));
    send(gateway.id(), Signal::SIGTERM);
    assert!(gateway.wait().unwrap().success());
    let lines = read();
    let levels = [("<3>", "ERROR"), ("<4>", "WARN"), ("<6>", "INFO")];
    for line in lines.lines() {
        let fits = levels.iter().any(|(prefix, level)| {
            line.strip_prefix(prefix).is_some_and(|line| {
                serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"] == *level)
            })
        });
        assert!(fits, "{line}");
    }
    assert!(levels.iter().all(|(prefix, _)| lines.contains(prefix)), "{lines}");
    // The variable names another descriptor and is ignored.
    assert!(!start("signer", "1:2".to_owned()).wait().unwrap().success());
    let all = read();
    assert!(all.len() > lines.len() && !all[lines.len()..].contains("<3>"), "{all}");
    appliance.finish();
}
