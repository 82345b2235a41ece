//! Limits of rate: row 51; one caller's requests do not limit another caller.

use crate::harness::{Answer, Appliance, Party, Settings, Way, send, unique, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

#[track_caller]
fn is_too_many(answer: &Answer) {
    answer.is_refused(429, "temporarily_unavailable", "too many");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn a_caller_that_asks_too_often_waits_and_others_do_not() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("requests_per_second", "5"));
    let token = appliance.token_of_the_case();
    let answers: Vec<Answer> =
        (0..20).map(|_| appliance.introspection("payments-api", &token).send()).collect();
    assert!(answers[..5].iter().all(|answer| answer.status == 200), "a burst of a second's worth is served");
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() >= 10, "{} of 20", refused.len());
    for answer in refused {
        is_too_many(answer);
    }
    assert_eq!(appliance.introspect("signing-service", &token).inner()["active"], true, "another caller");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(appliance.introspection("payments-api", &token).send().status, 200, "and later it may again");
    appliance.finish();
}

#[test]
fn a_greedy_caller_waits_for_its_own_asks_and_another_caller_waits_for_few_of_them() {
    let settings = Settings::new(Way::Child).limit("in_flight", "8").limit("in_flight_per_caller", "3");
    let appliance =
        Appliance::start(settings.limit("signer_wait", "\"60s\"").limit("answer_time", "\"60s\""));
    let token = appliance.token_of_the_case();
    let (served, asked) =
        ("chancery_http_connections{state=\"service\"}", "chancery_signer_requests_in_flight");
    let signer = appliance.signer_id().unwrap();
    send(signer, Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let ask = |caller| {
            let call = appliance.introspection(caller, &token);
            scope.spawn(|| call.send().status)
        };
        let greedy: Vec<_> = (0..20).map(|_| ask("signing-service")).collect();
        until("20 requests under way", || (appliance.metric(served) == 20).then_some(()));
        assert_eq!(appliance.metric(asked), 3, "the others of the same caller wait outside");
        let other = ask("payments-api");
        until("another caller's ask", || (appliance.metric(asked) == 4).then_some(()));
        send(signer, Signal::SIGCONT);
        assert_eq!(other.join().unwrap(), 200);
        for request in greedy {
            assert_eq!(request.join().unwrap(), 200, "it waits, and is answered");
        }
    });
    assert_eq!(appliance.metric(asked), 0);
    appliance.finish();
}

#[test]
fn a_request_that_waits_too_long_for_those_of_its_own_caller_is_refused() {
    let settings = Settings::new(Way::Child).limit("in_flight_per_caller", "1");
    let appliance = Appliance::start(settings.limit("answer_time", "\"500ms\""));
    let token = appliance.token_of_the_case();
    let signer = appliance.signer_id().unwrap();
    send(signer, Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let ask = || scope.spawn(|| appliance.introspection("signing-service", &token).send());
        for request in [ask(), ask(), ask()] {
            request.join().unwrap().is_unavailable();
        }
    });
    send(signer, Signal::SIGCONT);
    until("service", || {
        (appliance.introspection("signing-service", &token).send().status == 200).then_some(())
    });
    appliance.finish();
}

#[test]
fn guesses_are_answered_with_429_and_the_right_secret_always_gets_in() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("failures_per_second", "4"));
    let path = appliance.endpoint("token");
    let good = appliance.settings.party("shop").clone();
    let ask = |party: &Party| {
        let call = appliance.call("POST", &path).by_party(party).form("grant_type", "client_credentials");
        call.form("scope", "payments:status").send()
    };
    let wrong = || Party { secret: unique(), ..good.clone() };
    let guesses: Vec<Answer> = (0..12).map(|_| ask(&wrong())).collect();
    let statuses: Vec<u16> = guesses.iter().map(|answer| answer.status).collect();
    assert!(statuses[..4].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 429).count() >= 6, "{statuses:?}");
    guesses.iter().filter(|answer| answer.status == 429).for_each(is_too_many);
    // Unknown names are treated alike, and each name has its own budget.
    let unknown: Vec<u16> = (0..12).map(|_| ask(&Party { id: "nobody", ..wrong() }).status).collect();
    assert!(unknown[..4].iter().all(|status| *status == 401), "{unknown:?}");
    assert!(unknown.contains(&429), "{unknown:?}");
    assert_eq!(ask(&good).status, 200, "behind the same address, at the same time");
    let shop_jwt = appliance.settings.party("shop-jwt").clone();
    assert_eq!(ask(&shop_jwt).status, 200);
    assert_eq!(ask(&Party { secret: unique(), ..shop_jwt }).status, 401);
    let said = appliance.finish().said;
    assert!(said.contains("failed-authentications"), "{said}");
}

#[test]
fn guesses_that_arrive_together_pass_no_more_often_than_one_after_the_other() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("failures_per_second", "10"));
    let body = format!("grant_type=client_credentials&client_id=shop&client_secret={}", unique());
    let (first, last) = body.split_at(body.len() - 1);
    let head = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{first}",
        body.len()
    );
    let mut guesses: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(appliance.public.trim_start_matches("http://")).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // All heads are processed before the first secret arrives.
    let metrics = || appliance.operation("/metrics").send().text().to_owned();
    let waiting = "chancery_http_connections{state=\"body\"} 200";
    until(waiting, || metrics().lines().any(|line| line == waiting).then_some(()));
    let began = Instant::now();
    for stream in &mut guesses {
        stream.write_all(last.as_bytes()).unwrap();
    }
    let mut compared = 0;
    for stream in &mut guesses {
        let mut answer = [0; 4_096];
        let length = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 401 ") || answer.starts_with("HTTP/1.1 429 "), "{answer}");
        compared += u64::from(answer.starts_with("HTTP/1.1 401 "));
    }
    assert!(compared <= 10 * (began.elapsed().as_secs() + 2), "{compared} of 200");
    drop(guesses);
    appliance.finish();
}

/// Bytes that the files below a directory take on the disk.
fn on_disk(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => on_disk(&entry.path()),
            Ok(found) => found.blocks() * 512,
            // Renamed meanwhile: a checkpoint that was replaced.
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn inactive_answers_take_no_more_of_the_log_in_a_day_than_their_budget() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("inactive_bytes_per_day", "\"1MiB\""));
    let token = appliance.token_of_the_case();
    let before = on_disk(&appliance.audit());
    let answers: Vec<Answer> =
        (0..300).map(|_| appliance.introspection("payments-api", &unique()).send()).collect();
    assert!(answers[..256].iter().all(|answer| answer.status == 200), "4,096 bytes each");
    // The charge covers the used space: segments grow by one MiB each here.
    let grown = on_disk(&appliance.audit()) - before;
    assert!(grown <= 2 << 20, "256 answers took {grown} bytes");
    for answer in &answers[256..] {
        answer.is_refused(429, "temporarily_unavailable", "beyond the budget");
        let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((200..=338).contains(&wait), "a 256th of a day: {wait}");
    }
    assert_eq!(
        appliance.introspect("payments-api", &token).inner()["active"],
        true,
        "it goes on being served"
    );
    assert_eq!(
        *appliance.introspect("signing-service", &unique()).inner(),
        json!({"active": false}),
        "another's"
    );
    let metrics = appliance.operation("/metrics").send();
    for line in [
        "chancery_introspection_inactive_log_bytes_total{client_id=\"payments-api\"} 1048576",
        "chancery_introspection_inactive_log_bytes_total{client_id=\"signing-service\"} 4096",
        "chancery_refused_total{rule=\"inactive-bytes\"} 44",
    ] {
        assert!(metrics.text().lines().any(|found| found == line), "{line} is not in\n{}", metrics.text());
    }
    assert!(appliance.finish().said.contains("inactive-bytes"));
}

#[test]
fn a_resource_server_cannot_scan_for_tokens_and_its_real_ones_go_on_working() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("inactive_per_second", "10"));
    let token = appliance.token_of_the_case();
    let scan: Vec<Answer> =
        (0..60).map(|_| appliance.introspection("payments-api", &unique()).send()).collect();
    let stopped: Vec<&Answer> = scan.iter().filter(|answer| answer.status == 429).collect();
    assert!(stopped.len() >= 20, "row 51: {} of 60", stopped.len());
    for answer in stopped {
        is_too_many(answer);
    }
    for _ in 0..5 {
        assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    }
    let metrics = appliance.operation("/metrics").send();
    assert!(metrics.text().contains("chancery_refused_total{rule=\"token-scanning\"}"), "it is counted");
    appliance.finish();
}

#[test]
fn a_stranger_fills_no_operational_log() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let path = appliance.endpoint("introspect");
    for _ in 0..400 {
        assert_eq!(appliance.call("GET", "/nowhere").send().status, 404);
        assert_eq!(appliance.call("POST", &path).form("token", "x").send().status, 400);
    }
    let said = appliance.finish().said;
    for rule in ["unknown-path", "authentication-missing"] {
        let lines: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &Value| line["rule"] == rule)
            .collect();
        assert!((1..300).contains(&lines.len()), "{} lines for 400 requests by rule {rule}", lines.len());
        assert!(lines.iter().all(|line| line.get("stands_for").is_none_or(|n| n.as_u64() > Some(1))));
    }
}
