//! A second generation of a key: tokens of the first one stay valid.

use crate::harness::{Appliance, Settings, Way};
use chancery::hsm::{Hsm, KeyLabel, KeySpec, Pin};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const LABEL: &str = "CHANCERY_TEST_LABEL";
const PIN: &str = "CHANCERY_TEST_PIN_FILE";

/// Helper process: a module serves one token in a process, so keys are made in another one.
#[test]
#[ignore = "makes a key for the other tests, in a process of its own"]
fn makes_a_key() {
    let label: KeyLabel = std::env::var(LABEL).unwrap().parse().unwrap();
    let pin = Pin::from_file(&PathBuf::from(std::env::var_os(PIN).unwrap())).unwrap();
    let settings =
        chancery::hsm::Settings { module: MODULE.into(), token: "pkcs11:token=chancery".parse().unwrap() };
    let spec = KeySpec {
        label: label.to_string(),
        algorithm: label.algorithm(),
        rsa_bits: 2048,
        id: chancery::random::bytes::<8>().to_vec(),
    };
    Hsm::open(&settings, &pin, Box::new(|_| ())).unwrap().generate(&spec).unwrap();
}

/// Makes a key as `key generate` would.
pub(crate) fn make(appliance: &Appliance, label: &str) {
    let made = Command::new(std::env::current_exe().unwrap())
        .args(["generations::makes_a_key", "--exact", "--ignored", "--nocapture"])
        .env("SOFTHSM2_CONF", appliance.path("token/softhsm2.conf"))
        .env(LABEL, label)
        .env(PIN, appliance.path("token/pin"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stdout);
    assert!(made.status.success() && said.contains("1 passed"), "{said}");
}

/// Deletes both halves of a key.
pub(crate) fn forget(appliance: &Appliance, label: &str) {
    let pin = std::fs::read_to_string(appliance.path("token/pin")).unwrap();
    for half in ["privkey", "pubkey"] {
        let deleted = Command::new("pkcs11-tool")
            .args(["--module", MODULE, "--login", "--pin", pin.trim()])
            .args(["--delete-object", "--type", half, "--label", label])
            .env("SOFTHSM2_CONF", appliance.path("token/softhsm2.conf"))
            .output()
            .unwrap();
        assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    }
}

/// `kid`s of `/jwks`.
pub(crate) fn kids(jwks: &Value) -> Vec<&str> {
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect()
}

#[test]
fn tokens_of_the_first_generation_stay_valid_and_the_second_one_signs() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let issue = |appliance: &Appliance| {
        appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).token()
    };
    let (old, bystander) = (issue(&appliance), issue(&appliance));
    let before = appliance.jwks();
    let answered = appliance.introspect("payments-api", &old);
    appliance.stop();
    appliance.keep_checkpoint();
    for series in ["access-token", "introspection", "metadata", "audit-checkpoint"] {
        make(&appliance, &format!("{series}-es256-2"));
    }
    appliance.run();

    let after = appliance.jwks();
    assert_eq!(kids(&after).len(), 6, "three series, two generations: {after}");
    assert!(kids(&before).iter().all(|kid| kids(&after).contains(kid)), "{before} {after}");
    answered.verify(&after);
    let kid = |jwt: &str| crate::harness::Jwt::read(jwt).header["kid"].as_str().unwrap().to_owned();
    let new = issue(&appliance);
    assert!(kids(&before).contains(&kid(&old).as_str()) && !kids(&before).contains(&kid(&new).as_str()));
    let again = appliance.introspect("payments-api", &old);
    assert!(!kids(&before).contains(&again.header["kid"].as_str().unwrap()), "the second generation answers");
    for (token, active) in [(&old, true), (&new, true)] {
        assert_eq!(appliance.introspect("payments-api", token).inner()["active"], active);
    }
    assert_eq!(appliance.revoke("shop-jwt", &old).status, 200);
    assert_eq!(appliance.introspect("payments-api", &old).inner()["active"], false, "it is revoked for real");
    assert_eq!(appliance.introspect("payments-api", &bystander).inner()["active"], true);
    // Checkpoints of both generations are in one log; an auditor with one of the first pins both keys.
    let pinned = appliance.path("pinned-keys");
    let keys = std::fs::read_to_string(appliance.audit().join("published/log-keys")).unwrap();
    assert!(keys.lines().count() == 2 && keys.starts_with(&appliance.log_key), "{keys}");
    std::fs::write(&pinned, keys).unwrap();
    appliance.log_key = pinned.to_str().unwrap().to_owned();
    let evidence = appliance.finish().evidence;
    let signed: Vec<_> = evidence.events("key-activated").map(|r| r["key_label"].to_string()).collect();
    assert_eq!(signed.iter().filter(|label| label.contains("es256-2")).count(), 4, "{signed:?}");
    let revoked: Vec<_> = evidence.events("revoked").collect();
    assert_eq!(revoked.len(), 1);
}

#[test]
fn an_earlier_generation_that_may_do_more_than_sign_is_not_published_and_the_newest_signs() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Child));
    make(&appliance, "access-token-es256-3");
    // As made by a tool without attributes that restrict the key: it recovers and decrypts as well.
    let pin = std::fs::read_to_string(appliance.path("token/pin")).unwrap();
    let made = Command::new("pkcs11-tool")
        .args([
            "--module",
            MODULE,
            "--login",
            "--pin",
            pin.trim(),
            "--keypairgen",
            "--key-type",
            "EC:prime256v1",
        ])
        .args(["--label", "access-token-es256-2", "--id", "02", "--usage-sign", "--sensitive"])
        .env("SOFTHSM2_CONF", appliance.path("token/softhsm2.conf"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    appliance.run();
    assert_eq!(kids(&appliance.jwks()).len(), 4);
    appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).token();
    let evidence = appliance.finish().evidence;
    let refused = evidence.events("key-refused").next().expect("a record of it");
    let why = refused["reason"].as_str().unwrap();
    assert!(why.contains("access-token-es256-2") && why.contains("CKA_SIGN_RECOVER"), "{why}");
}

#[test]
fn a_gateway_that_runs_follows_the_checkpoint_key_to_its_next_generation_and_past_the_one_before() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let token = appliance.token_of_the_case();
    let pins = |appliance: &Appliance| {
        let state = rusqlite::Connection::open(appliance.path("state.db")).unwrap();
        state.query_row("SELECT keys FROM checkpoint", [], |row| row.get::<_, String>(0)).unwrap()
    };
    let first = pins(&appliance);
    let restart = |appliance: &mut Appliance, change: &dyn Fn(&Appliance)| {
        let mut signer = appliance.signer.take().unwrap();
        signer.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(signer.wait_all().success(), "{}", signer.said());
        appliance.ended(&signer);
        change(appliance);
        appliance.run_signer();
        appliance.wait_until_ready();
        assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    };
    restart(&mut appliance, &|appliance| make(appliance, "audit-checkpoint-es256-2"));
    // The gateway pins the new key because the pinned one has signed the same checkpoint.
    crate::harness::until("both keys are pinned", || (pins(&appliance).lines().count() == 2).then_some(()));
    assert!(pins(&appliance).contains(first.trim()), "{first} {}", pins(&appliance));
    let keys = std::fs::read_to_string(appliance.audit().join("published/log-keys")).unwrap();
    let pinned = appliance.path("pinned-keys");
    std::fs::write(&pinned, &keys).unwrap();
    // The first generation is deleted: the gateway accepts signatures of the new one alone.
    restart(&mut appliance, &|appliance| forget(appliance, "audit-checkpoint-es256-1"));
    appliance.log_key = pinned.to_str().unwrap().to_owned();
    let said = appliance.finish().said;
    assert!(!said.contains("was refused"), "no handshake failed: {said}");
}

#[test]
fn a_generation_that_did_not_pass_its_proof_at_a_start_is_named_in_the_log_when_it_is_taken_later() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Separate).with_faults("deadline = \"30s\""));
    appliance.run();
    appliance.stop();
    make(&appliance, "introspection-es256-2");
    appliance.fault("C_Sign", "lie");
    let fails = |appliance: &mut Appliance| {
        let mut signer = appliance.process("signer");
        assert_eq!(signer.wait_all().code(), Some(75), "{}", signer.said());
        appliance.ended(&signer);
    };
    fails(&mut appliance);
    appliance.mend("C_Sign");
    // A later failure does not hide this one.
    appliance.fault("C_OpenSession", "fail 30");
    fails(&mut appliance);
    appliance.mend("C_OpenSession");
    appliance.run();
    let evidence = appliance.finish().evidence;
    let told: Vec<_> =
        evidence.events("token-recovered").map(|record| record["reason"].to_string()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    for why in ["introspection-es256-2", "CKR_DEVICE_ERROR to C_OpenSession"] {
        assert!(told[0].contains(why), "{told:?}");
    }
}
