//! Token and log together, with a real SoftHSM: one process and one token for each test.

mod contract;

use super::calls::Calls;
use super::checkpoint_key::{log_keys_path, read_log_keys};
use super::generate_keys;
use super::kept::{self, Basis, Refused, Why};
use super::release::Sealed;
use super::service::Service;
use super::start::{Appliance, StartError, init_log};
use crate::audit::{
    Committed, Covered, Draft, Entry, Event, LogError, OpenError, Outcome, Payload, RecordView,
    tiles::TileReader,
};
use crate::claims::{NumericDate, Purpose, TokenHash};
use crate::config::{self, Config, PinSource};
use crate::door::frame;
use crate::door::message::{self, Hello, PROTOCOL_VERSION, Welcome};
use crate::hsm::tests::fixture::{self, Token, test};
use crate::hsm::{FindError, HsmError, PinProblem};
use crate::jose::{Algorithm, PublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// The shipped example with the test's token, keys and log.
fn made(token: &Token) -> Arc<Config> {
    let config = configured(token);
    generate_keys(&config, None, "operator", &calls(), &mut |_, _, new| assert!(new)).unwrap();
    init_log(&config, "operator", &calls()).unwrap();
    config
}

/// With one signing thread.
fn configured(token: &Token) -> Arc<Config> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/minimal.toml");
    let text = std::fs::read_to_string(example).unwrap();
    let text = text.replace("token=chancery\"", "token=test%20token\"\nsessions = 1");
    let path = token.path("chancery.toml");
    std::fs::write(&path, text).unwrap();
    Arc::new(config::load(&path).map_err(|mistakes| panic!("{mistakes}")).unwrap())
}

fn calls() -> Calls {
    Calls::watch(Duration::from_secs(60), |what| panic!("{what}")).unwrap()
}

fn open(config: &Arc<Config>) -> Result<Appliance, StartError> {
    let (ending, _ended) = channel();
    Appliance::open(Arc::clone(config), &ending, calls())
}

/// The result for a gateway with this checkpoint.
fn confirm(appliance: &Appliance, kept: Option<&str>) -> Result<Basis, Refused> {
    kept::confirm(&appliance.log, &appliance.own, &appliance.memory, kept)
}

/// Closes the log in order, as the service does.
fn close(mut appliance: Appliance) {
    let made = appliance.log.checkpoint();
    assert!(matches!(made, Ok(_) | Err(LogError::Unconfirmed)), "{made:?}");
    appliance.memory.follow(&appliance.log);
    appliance.log.close().unwrap();
}

/// Event, label of the key and size of the checkpoint of every published record.
fn published(config: &Config) -> Vec<(String, String)> {
    let tiles = TileReader::open(config.audit.directory.join("published"));
    let size = crate::audit::note::Checkpoint::from_note_unverified(&tiles.checkpoint().unwrap().unwrap());
    tiles
        .records(0, size.unwrap().size)
        .map(|record| {
            let record = record.unwrap();
            let label = serde_json::from_slice::<Value>(&record).unwrap();
            let label = label["key_label"].as_str().unwrap_or_default().to_owned();
            (RecordView::parse(&record).unwrap().event.into_owned(), label)
        })
        .collect()
}

test! {
fn a_new_generation_of_a_key_has_its_record_before_its_first_use(token) {
    let config = made(token);
    let appliance = open(&config).unwrap();
    confirm(&appliance, None).unwrap();
    close(appliance);
    let before = published(&config).len();

    // Made by any tool while the signer is stopped. A crash has left records that no checkpoint covers.
    for label in ["audit-checkpoint-es256-2", "metadata-es256-2"] {
        token.open().generate(&fixture::spec(label, Algorithm::ES256)).unwrap();
    }
    drop(open(&config).unwrap());
    let appliance = open(&config).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(published(&config).len(), before, "nothing was signed by a key without a record");
    confirm(&appliance, None).unwrap();
    close(appliance);

    let records = published(&config);
    let place = |event: &str, label: &str| {
        let found = records.iter().position(|(e, l)| e == event && l == label);
        found.unwrap_or_else(|| panic!("no {event} {label} in {records:?}"))
    };
    assert!(place("key-activated", "metadata-es256-2") < place("signed", "metadata-es256-2"));
    assert!(place("key-activated", "audit-checkpoint-es256-2") > before);
    assert_eq!(read_log_keys(&log_keys_path(&config)).unwrap().len(), 2);

    // The segments suffice to verify the signatures of both generations.
    std::fs::remove_dir_all(config.audit.directory.join("published")).unwrap();
    close(open(&config).unwrap());
    assert_eq!(read_log_keys(&log_keys_path(&config)).unwrap().len(), 2);
    std::fs::write(log_keys_path(&config), "no key").unwrap();
    close(open(&config).unwrap());
    assert_eq!(read_log_keys(&log_keys_path(&config)).unwrap().len(), 2);
}
}

test! {
fn nothing_is_signed_over_a_log_that_does_not_extend_a_memory(token) {
    let config = made(token);
    let copy = |from: &Path, to: &Path| {
        let _ = std::fs::remove_dir_all(to);
        assert!(std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    let (audit, state) = (config.audit.directory.clone(), config.signer_state.clone());
    let (old_audit, old_state) = (token.path("old-audit"), token.path("old-state"));
    copy(&audit, &old_audit);
    copy(&state, &old_state);
    let appliance = open(&config).unwrap();
    confirm(&appliance, None).unwrap();
    let kept = appliance.log.checkpoint().unwrap();
    close(appliance);

    let appliance = open(&config).unwrap();
    confirm(&appliance, Some(&kept.note)).unwrap();
    close(appliance);

    // Only the log is restored: the signer's own memory detects it before anything is appended.
    copy(&old_audit, &audit);
    let refused = open(&config).err().unwrap();
    assert!(matches!(refused, StartError::NotExtended { .. }), "{refused}");
    assert_eq!(refused.exit_status(), 65);
    let size = |audit: &Path| std::fs::read(audit.join("segments/00000000000000000000.seg")).unwrap();
    assert!(size(&audit) == size(&old_audit));

    // The log is restored with the signer's memory: the gateway's detects it.
    copy(&old_state, &state);
    let appliance = open(&config).unwrap();
    let refused = confirm(&appliance, Some(&kept.note)).unwrap_err();
    assert_eq!(refused.why, Why::RolledBack, "{refused}");
    assert!(matches!(appliance.log.checkpoint(), Err(LogError::Unconfirmed)));
    // Appending as many records as were lost does not help.
    for _ in 0..3 {
        let _ = appliance.log.record(super::record::system(
            Event::TokenLost, Outcome::Success, None, None, &appliance.identity(), None,
        ).unwrap()).unwrap();
    }
    close(appliance);
    let refused = confirm(&open(&config).unwrap(), Some(&kept.note)).unwrap_err();
    assert_eq!(refused.why, Why::RolledBack, "{refused}");

    // Both memories are lost: that is not a match.
    std::fs::remove_dir_all(&state).unwrap();
    let appliance = open(&config).unwrap();
    let refused = confirm(&appliance, None).unwrap_err();
    assert_eq!(refused.why, Why::Unknown, "{refused}");
    assert!(refused.to_string().contains("chancery audit adopt"));
    assert!(matches!(appliance.log.checkpoint(), Err(LogError::Unconfirmed)));
}
}

test! {
fn a_second_signer_is_refused_before_it_touches_the_token(token) {
    let config = made(token);
    let running = open(&config).unwrap();
    // The token would refuse this PIN.
    let PinSource::File(pin) = &config.hsm.pin else { panic!("the PIN is a file") };
    std::fs::write(pin, "wrong-pin").unwrap();
    for refused in [open(&config).err().unwrap(), init_log(&config, "operator", &calls()).unwrap_err()] {
        let held = matches!(
            refused,
            StartError::Log(OpenError::Lock(_)) | StartError::Create(crate::audit::CreateError::Lock(_))
        );
        assert!(held, "{refused}");
    }
    close(running);
}
}

test! {
fn no_key_is_made_while_a_signer_holds_the_log(token) {
    let config = made(token);
    let running = open(&config).unwrap();
    let refused = generate_keys(&config, None, "operator", &calls(), &mut |_, _, _| ()).unwrap_err();
    assert!(matches!(refused, StartError::Log(OpenError::Lock(_))), "{refused}");
    assert_eq!(refused.exit_status(), 75);
    close(running);
    generate_keys(&config, None, "operator", &calls(), &mut |_, _, new| assert!(!new)).unwrap();
}
}

test! {
fn a_log_whose_creation_was_interrupted_is_created_again_or_opened(token) {
    let config = made(token);
    let audit = config.audit.directory.clone();
    // A crash after the point of no return: a log without published files.
    std::fs::remove_dir_all(audit.join("published")).unwrap();
    assert_eq!(init_log(&config, "operator", &calls()).unwrap_err().exit_status(), 78);
    let appliance = open(&config).unwrap();
    confirm(&appliance, None).unwrap();
    close(appliance);
    assert_eq!(published(&config)[0].0, "log-created");

    // A crash before it: the prepared segment has no name yet.
    let segment = audit.join("segments/00000000000000000000.seg");
    std::fs::rename(segment, audit.join("segments/next")).unwrap();
    std::fs::remove_dir_all(audit.join("published")).unwrap();
    assert_eq!(open(&config).err().unwrap().exit_status(), 78);
    // A memory shows that this log is not new.
    assert!(matches!(init_log(&config, "operator", &calls()).unwrap_err(), StartError::Remembered(_)));
    std::fs::remove_dir_all(&config.signer_state).unwrap();
    init_log(&config, "operator", &calls()).unwrap();
    close(open(&config).unwrap());
}
}

test! {
fn a_receipt_releases_exactly_the_bytes_that_its_record_covers(token) {
    let config = made(token);
    let appliance = open(&config).unwrap();
    let body = |text: &str| Sealed::body(text.to_owned()).unwrap();
    let recorded = |sealed: &Sealed| {
        let Covered::Body(body) = sealed.covered() else { panic!("unsigned") };
        let committed = Committed { body: Some(body), ..Committed::default() };
        let draft = Draft { committed, ..Draft::new(Event::Answered, Outcome::Success) }.encode().unwrap();
        appliance.log.record(Entry::new(draft, Payload::none())).unwrap()
    };
    let sealed = body("answer");
    let receipt = recorded(&sealed);
    assert_eq!(sealed.release(receipt).unwrap().as_str(), "answer");
    assert!(body("another answer").release(recorded(&body("answer"))).is_err());
    assert!(body("answer").release(recorded(&body("answer"))).is_err(), "the same text under another salt");
    let plain = Entry::plain(&Draft::new(Event::TokenLost, Outcome::Success)).unwrap();
    let of_nothing = appliance.log.record(plain).unwrap();
    assert!(body("").release(of_nothing).is_err(), "a record that covers nothing releases nothing");
    close(appliance);
}
}

/// The answers of the signer to these requests, which the test sends in one piece.
fn answers(gateway: &mut UnixStream, asks: Vec<Value>) -> Vec<message::Outcome> {
    let mut bytes = Vec::new();
    let count = asks.len();
    for (number, ask) in (1..).zip(asks) {
        frame::append(&mut bytes, &json!({"number": number, "ask": ask})).unwrap();
    }
    gateway.write_all(&bytes).unwrap();
    let mut responses: Vec<message::Response> = Vec::new();
    while responses.len() < count {
        let mut head = [0; 4];
        gateway.read_exact(&mut head).unwrap();
        let mut frame = vec![0; frame::length(head).unwrap()];
        gateway.read_exact(&mut frame).unwrap();
        let response = message::Response::decode(&frame).unwrap();
        // 0 is an unsolicited checkpoint.
        responses.extend((response.number > 0).then_some(response));
    }
    responses.sort_by_key(|response| response.number);
    assert_eq!(
        responses.iter().map(|r| r.number).collect::<Vec<_>>(),
        (1..=count as u64).collect::<Vec<_>>()
    );
    responses.into_iter().map(|response| response.outcome).collect()
}

test! {
fn asks_that_are_done_in_one_round_have_nothing_to_do_with_each_other(token) {
    let config = made(token);
    let appliance = open(&config).unwrap();
    let identity = appliance.identity();
    let (ending, ended) = channel();
    let service = Service::start(appliance, ending).unwrap();
    let (mut gateway, theirs) = UnixStream::pair().unwrap();
    let serving = Arc::clone(&service);
    let serving = std::thread::spawn(move || serving.serve(theirs));
    let hello = Hello { version: PROTOCOL_VERSION, config: config.digest(), rules: config.rules(), checkpoint: None };
    frame::write_one(&gateway, &hello).unwrap();
    let Welcome::Accepted { documents, .. } = frame::read_one(&gateway).unwrap() else { panic!("refused") };
    let key = documents.keys.iter().find(|key| key.purpose == Purpose::Introspection).unwrap();
    let key = PublicKey::from_jwk(Algorithm::ES256, &key.jwk).unwrap();

    let now = NumericDate(crate::clock::wall_unchecked().unix_seconds());
    let context = |caller: &str| {
        json!({"request_id": "r-1", "caller": caller, "method": "client_secret_basic", "peer": "192.0.2.1"})
    };
    let inactive = |caller: &str, format: &str| {
        json!({"introspection": {
            "context": context(caller), "format": format, "token": TokenHash([7; 32]), "known": false, "iat": now, "active": null,
            "reasons": ["unknown-token"],
        }})
    };
    let jwt = || inactive("payments-api", "jwt");
    let refusal = json!({"refusal": {"context": context("shop"), "reason": "assertion-replayed", "jti": "a-1"}});
    // These measure the token's duration. The following asks are one round.
    for _ in 0..10 {
        assert!(matches!(answers(&mut gateway, vec![jwt()])[0], message::Outcome::Done { .. }));
    }
    let answered = answers(&mut gateway, vec![
        jwt(), inactive("nobody", "jwt"), refusal, json!("self-test"), inactive("payments-api", "json"), jwt(),
    ]);
    let body = |n: usize| match &answered[n] {
        message::Outcome::Done { body } => body.as_str(),
        other => panic!("{n}: {other:?}"),
    };
    for n in [0, 5] {
        let parts: Vec<&str> = body(n).rsplitn(2, '.').collect();
        let signature = URL_SAFE_NO_PAD.decode(parts[0]).unwrap();
        key.verify(parts[1].as_bytes(), &signature).unwrap();
    }
    assert_ne!(body(0), body(5), "each has its own signature");
    assert!(matches!(&answered[1], message::Outcome::Forbidden { .. }), "{:?}", answered[1]);
    assert_eq!((body(2), body(3)), ("", ""));
    assert_eq!(body(4), r#"{"active":false}"#);

    // A malformed request ends the connection, and nothing else.
    frame::write_one(&gateway, &"what").unwrap();
    serving.join().unwrap();
    assert!(ended.try_recv().is_err());
    assert!(service.finish(&identity));
    let mut records: Vec<String> = published(&config).into_iter().map(|(event, _)| event).collect();
    records.retain(|event| event != "checkpoint-signed");
    // Asks without a signature were recorded first: the two signatures were one round, whose records came together.
    let round = ["denied", "replay-rejected", "answered", "signed", "signed"];
    let begin = records.iter().position(|event| event == "denied").unwrap();
    assert_eq!(&records[begin..begin + round.len()], round, "{records:?}");
}
}

#[test]
fn exit_statuses_tell_operator_faults_from_temporary_ones() {
    let disk = || crate::audit::FileError {
        path: "segment".into(),
        did: "fdatasync",
        source: std::io::ErrorKind::Other.into(),
    };
    let pin = || HsmError::Pin(PinProblem::Incorrect);
    let find = |error| FindError::Call { label: "key".to_owned(), error };
    let status = |error: StartError| error.exit_status();
    assert_eq!(status(OpenError::from(disk()).into()), 74);
    assert_eq!(status(crate::audit::CreateError::from(disk()).into()), 74);
    assert_eq!(status(LogError::Closed.into()), 74);
    // The next process must not try a PIN that was refused after the first login.
    assert_eq!(status(super::KeyringError::from(find(pin())).into()), 77);
    assert_eq!(status(super::KeyringError::from(pin()).into()), 77);
    assert_eq!(status(pin().into()), 77);
    let refused =
        FindError::Refused { label: "key".to_owned(), reason: crate::hsm::Refusal::AlwaysAuthenticate };
    // This state of the token may change by itself.
    assert_eq!(status(super::KeyringError::from(refused).into()), 75);
    assert_eq!(status(crate::hsm::OpenError::Pin(PinProblem::CountLow).into()), 75);
    assert_eq!(status(crate::hsm::OpenError::Pin(PinProblem::Incorrect).into()), 77);
}
