//! The system clock is set while tokens live: no purge, decision or record uses a time in doubt.
//!
//! A preloaded library shifts the wall clock by the value in a file, and reads the boot id from a file.

use crate::harness::{Appliance, Process, Settings, Way, now, until};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, t);
    const char *path = getenv("CHANCERY_TEST_CLOCK");
    if (result != 0 || id != CLOCK_REALTIME || !path) return result;
    char text[32] = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return result;
    if (read(file, text, sizeof text - 1) > 0) t->tv_sec += atol(text);
    close(file);
    return result;
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    const char *boot = getenv("CHANCERY_TEST_BOOT");
    if (boot && !strcmp(path, "/proc/sys/kernel/random/boot_id")) path = boot;
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return real(path, flags, mode);
}
"#;

const TWO_HOURS: i64 = 7_200;

/// Control of one appliance's wall clock.
struct Hands(PathBuf);

impl Hands {
    /// An appliance with this clock.
    fn start(way: Way) -> (Appliance, Self) {
        let mut appliance = Appliance::prepare(Settings::new(way));
        let (source, library) = (appliance.path("shim.c"), appliance.path("shim.so"));
        std::fs::write(&source, SHIM).unwrap();
        let made =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output();
        let made = made.expect("a C compiler");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let hands = Self(appliance.path("shift"));
        hands.set(0);
        // The log was made on this boot.
        hands.boot(&std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap());
        appliance.environment.push(("CHANCERY_TEST_BOOT".to_owned(), hands.boot_id().display().to_string()));
        appliance.environment.push(("LD_PRELOAD".to_owned(), library.display().to_string()));
        appliance.environment.push(("CHANCERY_TEST_CLOCK".to_owned(), hands.0.display().to_string()));
        appliance.run();
        (appliance, hands)
    }

    /// Reboots, with this boot id.
    fn boot(&self, id: &str) {
        std::fs::write(self.boot_id(), id).unwrap();
    }

    fn boot_id(&self) -> PathBuf {
        self.0.with_extension("boot")
    }

    /// Sets the clock to this many seconds ahead of the real time, at once.
    fn set(&self, seconds: i64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

/// Requests that depend on time get 503, and operators see the reason.
fn is_in_doubt(appliance: &Appliance, token: &str, side: &str) {
    appliance.introspection("payments-api", token).send().is_unavailable();
    appliance.client_credentials("shop", &[("scope", "payments:status")]).is_unavailable();
    let readiness = appliance.operation("/readyz").send();
    assert_eq!(readiness.status, 503);
    let why = readiness.json()["clock"].as_str().unwrap().to_owned();
    assert!(why.contains(side) && why.contains("chancery clock accept"), "{why}");
    let metrics = appliance.operation("/metrics").send();
    assert!(metrics.text().contains("\nchancery_clock_trusted 0\n"), "{}", metrics.text());
}

fn told(process: &mut Process, word: &str) {
    process.wait_for(word, |line| line["message"].as_str().unwrap_or_default().contains(word).then_some(()));
}

fn seconds(record: &Value, member: &str) -> Option<i64> {
    let time = chancery::clock::Timestamp::parse(record[member].as_str()?).expect("a time");
    Some(time.unix_seconds())
}

#[test]
fn a_jump_forward_and_a_restart_meanwhile_destroy_nothing_and_date_no_record() {
    let (mut appliance, hands) = Hands::start(Way::Separate);
    let assertion = appliance.the_case().text();
    let token = appliance.assert("shop", &assertion, &[]).token();
    let [stolen, other] = [(), ()].map(|()| appliance.token_of_the_case());
    appliance.introspect("payments-api", &token);

    hands.set(TWO_HOURS);
    is_in_doubt(&appliance, &token, "ahead of");
    told(appliance.gateway.as_mut().unwrap(), "is in doubt");
    told(appliance.signer.as_mut().unwrap(), "is in doubt");
    assert_eq!(appliance.revoke("shop", &stolen).status, 200, "needs no time");

    // A gateway purges when it starts.
    appliance.stop();
    appliance.run_signer();
    appliance.run_gateway();
    // Needs the signer, but no time.
    until("the connection", || (appliance.revoke("shop", &other).status == 200).then_some(()));
    is_in_doubt(&appliance, &token, "ahead of");

    hands.set(0);
    appliance.wait_until_ready();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    assert_eq!(appliance.introspect("payments-api", &stolen).inner()["active"], false);
    appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", "used before the jump");
    appliance.token_of_the_case();

    let evidence = appliance.finish().evidence;
    let latest = now();
    for record in &evidence.records {
        let time = seconds(record, "time").unwrap();
        assert!((latest - 600..=latest).contains(&time), "{record}");
        if let (Some(raw), Some(expected)) = (seconds(record, "clock_raw"), seconds(record, "clock_expected"))
        {
            // `None` when the clock is right again before the watch, once a second, has noticed it.
            assert!([0, TWO_HOURS].iter().any(|jump| (raw - expected).abs_diff(*jump) <= 2), "{record}");
        }
    }
    let in_doubt = evidence.records.iter().filter(|record| record["clock_expected"].is_string()).count();
    assert!(in_doubt > 4, "revocation, stop and start: {in_doubt}");
    assert_eq!(evidence.events("clock-lost").count(), 2, "once by each signer");
    assert_eq!(evidence.events("clock-restored").count(), 1);
}

#[test]
fn a_jump_back_is_in_doubt_as_well() {
    let (mut appliance, hands) = Hands::start(Way::Child);
    let assertion = appliance.the_case().text();
    let token = appliance.assert("shop", &assertion, &[]).token();
    hands.set(-TWO_HOURS);
    is_in_doubt(&appliance, &token, "behind");
    appliance.assert("shop", &assertion, &[]).is_unavailable();
    // The signer checks once a second by itself.
    told(appliance.gateway.as_mut().unwrap(), "until then nothing that ends at a time is signed");
    // A small step causes no doubt.
    hands.set(4);
    appliance.wait_until_ready();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", "used before the jump");
    told(appliance.gateway.as_mut().unwrap(), "was set forward by");
    hands.set(0);
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("clock-lost").count(), 1);
}

#[test]
fn a_new_time_that_an_operator_accepts_holds_for_both_processes_and_after_a_restart() {
    let (mut appliance, hands) = Hands::start(Way::Separate);
    let token = appliance.client_credentials("shop", &[("scope", "payments:status")]).token();
    let accept = ["clock", "accept", "--reason", "the machine was restored from a snapshot"];
    assert_eq!(appliance.output(&accept).status.code(), Some(69), "nothing to accept");
    hands.set(TWO_HOURS);
    is_in_doubt(&appliance, &token, "ahead of");
    appliance.must(&accept);
    appliance.wait_until_ready();
    let short = appliance.client_credentials("shop", &[("scope", "payments:status")]).token();
    assert_eq!(appliance.introspect("payments-api", &short).inner()["active"], true);
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], false, "it has ended");
    appliance.stop();
    appliance.run();

    // With a stopped signer: a restart alone ends no doubt.
    appliance.stop();
    hands.set(TWO_HOURS / 2);
    appliance.run_signer();
    appliance.run_gateway();
    is_in_doubt(&appliance, &short, "behind");
    appliance.stop();
    appliance.must(&accept);
    appliance.run();

    let evidence = appliance.finish().evidence;
    let accepted: Vec<&Value> = evidence.events("clock-accepted").collect();
    let jump =
        |record: &Value| seconds(record, "clock_raw").unwrap() - seconds(record, "clock_expected").unwrap();
    assert!((jump(accepted[0]) - TWO_HOURS).abs() <= 2, "{}", accepted[0]);
    assert!((jump(accepted[1]) + TWO_HOURS / 2).abs() <= 2, "{}", accepted[1]);
    assert!(accepted.iter().all(|record| record["operator"].is_string() && record["reason"].is_string()));
}

#[test]
fn a_machine_that_starts_with_its_clock_ahead_forgets_no_used_assertion_and_needs_no_operator() {
    let (mut appliance, hands) = Hands::start(Way::Child);
    let assertion = appliance.the_case().text();
    let token = appliance.assert("shop", &assertion, &[]).token();
    appliance.stop();
    hands.boot("bbbbbbbb-7659-4a9e-aa4a-abf0c16830e3");
    hands.set(TWO_HOURS);
    // A gateway purges when it starts.
    appliance.run();
    let ahead = appliance.client_credentials("shop", &[("scope", "payments:status")]).token();
    assert_eq!(
        appliance.introspect("payments-api", &token).inner()["active"],
        false,
        "by the clock it has ended"
    );

    // NTP sets the clock.
    hands.set(0);
    appliance.wait_until_ready();
    told(appliance.gateway.as_mut().unwrap(), "was set back by");
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    assert_eq!(
        appliance.introspect("payments-api", &ahead).inner()["active"],
        false,
        "it is dated in the future"
    );
    appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", "used before the start");
    // Once more, before the clock has settled.
    appliance.stop();
    appliance.run();
    appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", "used before the start");

    let evidence = appliance.finish().evidence;
    let latest = now();
    assert!(
        evidence.records.iter().all(|record| seconds(record, "time").unwrap() <= latest),
        "none is dated ahead"
    );
    assert!(evidence.records.iter().filter(|record| record["clock_at_least"].is_string()).count() > 4);
    assert_eq!(evidence.events("clock-lost").count(), 0);
}
