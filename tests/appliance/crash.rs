//! SIGKILL of all processes under load, repeatedly on the same directories: every answer is in the log, no number is
//! used twice, no used assertion is accepted again (B17, B18).

use crate::harness::{Appliance, Grant, JWT_BEARER, Settings, Way};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const ROUNDS: u64 = 10;

/// Results that callers got before the crash, which must hold after it.
#[derive(Default)]
struct Told {
    active: Vec<String>,
    revoked: Vec<String>,
    used: Vec<String>,
}

/// One caller: sends requests and keeps the results, until the server is gone.
struct Caller<'a> {
    appliance: &'a Appliance,
    told: &'a Mutex<Told>,
    /// Issued and about to be revoked.
    doomed: Option<String>,
}

impl Caller<'_> {
    fn work(mut self, i: usize, token: &str, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let done = match i % 4 {
                0 => self.appliance.introspection("payments-api", token).try_send().map(drop),
                1 => self.appliance.introspection("signing-service", token).try_send().map(drop),
                2 => self.hand_over(),
                _ => self.issue_or_revoke(),
            };
            if done.is_err() {
                return;
            }
        }
    }

    fn hand_over(&self) -> Result<(), ureq::Error> {
        let assertion = Grant::of_scope(&self.appliance.settings.issuer, "payments:status").text();
        let call = self.appliance.call("POST", &self.appliance.endpoint("token")).by("shop");
        let answer = call.form("grant_type", JWT_BEARER).form("assertion", &assertion).try_send()?;
        if answer.status == 200 {
            let mut told = self.told.lock().unwrap();
            told.used.push(assertion);
            told.active.push(answer.token());
        }
        Ok(())
    }

    fn issue_or_revoke(&mut self) -> Result<(), ureq::Error> {
        let call = |endpoint| self.appliance.call("POST", &self.appliance.endpoint(endpoint)).by("shop-jwt");
        if let Some(token) = &self.doomed {
            if call("revoke").form("token", token).try_send()?.status == 200 {
                self.told.lock().unwrap().revoked.extend(self.doomed.take());
            }
        } else {
            let call =
                call("token").form("grant_type", "client_credentials").form("scope", "payments:status");
            let answer = call.try_send()?;
            self.doomed = (answer.status == 200).then(|| answer.token());
        }
        Ok(())
    }
}

fn crash_again_and_again(way: Way) {
    let mut appliance = Appliance::start(Settings::new(way));
    let token = appliance.token_of_the_case();
    let told = Mutex::new(Told::default());
    for round in 0..ROUNDS {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for i in 0..8 {
                let caller = Caller { appliance: &appliance, told: &told, doomed: None };
                let (token, over) = (&token, &over);
                scope.spawn(move || caller.work(i, token, over));
            }
            std::thread::sleep(Duration::from_millis(150 + 40 * round));
            appliance.kill_now();
            over.store(true, Ordering::Relaxed);
        });
        appliance.buried();
        appliance.keep_checkpoint();
        appliance.run();
        let told = told.lock().unwrap();
        for active in told.active.iter().rev().take(3) {
            assert_eq!(appliance.introspect("payments-api", active).inner()["active"], true, "round {round}");
        }
        for revoked in told.revoked.iter().rev().take(3) {
            assert_eq!(
                appliance.introspect("payments-api", revoked).inner()["active"],
                false,
                "round {round}"
            );
        }
        for used in told.used.iter().rev().take(3) {
            appliance.assert("shop", used, &[]).is_refused(
                400,
                "invalid_grant",
                "it was used before the crash",
            );
        }
    }
    let told = told.into_inner().unwrap();
    assert!(
        told.active.len() >= 10 && told.revoked.len() >= 5,
        "{} {}",
        told.active.len(),
        told.revoked.len()
    );
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("started").count() as u64, ROUNDS + 1);
}

#[test]
fn ten_crashes_under_load_lose_nothing_when_the_signer_is_a_child() {
    crash_again_and_again(Way::Child);
}

#[test]
fn ten_crashes_under_load_lose_nothing_when_the_signer_is_separate() {
    crash_again_and_again(Way::Separate);
}
