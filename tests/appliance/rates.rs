//! Limits of rate: row 51; one caller's haste is no other caller's.

use crate::harness::{Answer, Appliance, Party, Settings, Way, unique};
use std::time::Duration;

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
fn whoever_guesses_secrets_is_stopped() {
    let appliance = Appliance::start(Settings::new(Way::Child).limit("failures_per_second", "4"));
    let path = appliance.endpoint("token");
    let good = appliance.settings.party("shop").clone();
    let ask = |party: &Party| {
        appliance.call("POST", &path).by_party(party).form("grant_type", "client_credentials").send()
    };
    assert_eq!(ask(&good).status, 200);
    let guesses: Vec<u16> =
        (0..12).map(|_| ask(&Party { secret: unique(), ..good.clone() }).status).collect();
    assert!(guesses[..4].iter().all(|status| *status == 401), "{guesses:?}");
    assert!(guesses.iter().filter(|status| **status == 429).count() >= 6, "{guesses:?}");
    is_too_many(&ask(&good));
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(ask(&good).status, 200);
    appliance.finish();
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
