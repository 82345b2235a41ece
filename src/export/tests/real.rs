//! A real log: export and verification accept its records.

use super::*;
use crate::audit::{
    CheckpointRef, Digest, Draft, Entry, Event, Handlers, JwsDigest, LogLock, LogSettings, NewLog, Outcome,
    Payload, SEGMENT_MIN,
};
use crate::clock::{self, TimeSource};
use std::sync::Arc;

type AuditLog = crate::audit::Log<u64>;

fn key_entry(signer: &Signer, event: Event) -> Entry {
    let spki = STANDARD.encode(signer.public.spki());
    let draft = Draft {
        kid: Some(signer.public.kid()),
        alg: Some("ES256"),
        purpose: Some(signer.purpose),
        spki: Some(&spki),
        ..Draft::new(event, Outcome::Success)
    };
    Entry::plain(&draft).unwrap()
}

fn answer_entry(signer: &Signer, number: u64) -> Entry {
    let draft = Draft {
        kid: Some(signer.public.kid()),
        alg: Some("ES256"),
        purpose: Some(signer.purpose),
        client_id: Some("payments-api"),
        active: Some(true),
        ..Draft::new(Event::Signed, Outcome::Success)
    };
    let jws = answer(number);
    let digest = JwsDigest::of_verified(&jws);
    Entry::of_jws(draft.encode().unwrap(), digest, Payload::clear(jws.into_bytes()))
}

fn sign(signer: &Arc<Signer>) -> crate::audit::SignCheckpoint {
    let signer = Arc::clone(signer);
    Box::new(move |text| {
        let signature =
            signer.pair.sign(&SystemRandom::new(), text.as_bytes()).map_err(|why| why.to_string())?;
        Ok(signer.vkey().signature_line(signature.as_ref()))
    })
}

fn open(settings: &LogSettings, checkpoints: &Arc<Signer>) -> AuditLog {
    let handlers = Handlers { on_durable: Box::new(Vec::clear), on_failure: Box::new(|_| ()) };
    let log = AuditLog::open(
        LogLock::take(settings.clone()).unwrap(),
        &[checkpoints.vkey()],
        sign(checkpoints),
        handlers,
    )
    .unwrap()
    .0;
    let newest = log.newest().unwrap();
    log.sign_checkpoints(log.compare(newest.note.as_bytes()).unwrap());
    log
}

#[test]
fn a_log_that_was_opened_twice_is_exported_while_it_runs_and_verifies() {
    let directory = TempDir::new().unwrap();
    let settings = LogSettings {
        directory: directory.path().join("audit"),
        origin: ORIGIN.to_owned(),
        node: "node-a".to_owned(),
        segment_bytes: SEGMENT_MIN,
        sources: TimeSource::system(),
    };
    let checkpoints = Arc::new(Signer::new("audit-checkpoint"));
    let answers = Signer::new("introspection");
    let first = [
        Entry::plain(&Draft::new(Event::LogCreated, Outcome::Success)).unwrap(),
        key_entry(&checkpoints, Event::KeyGenerated),
        key_entry(&answers, Event::KeyFound),
    ];
    let _ =
        crate::audit::create(NewLog::prepare(settings.clone()).unwrap(), &first, sign(&checkpoints)).unwrap();
    let record = |log: &AuditLog, numbers: std::ops::Range<u64>| {
        for number in numbers {
            let _ = log.record(answer_entry(&answers, number)).unwrap();
        }
    };
    let log = open(&settings, &checkpoints);
    record(&log, 0..200);
    let seen = log.checkpoint().unwrap();
    record(&log, 200..400);
    log.close().unwrap();

    let log = open(&settings, &checkpoints);
    let checkpoint = CheckpointRef {
        size: seen.size,
        root: Digest(seen.root),
        sha256: Digest(sha256(seen.note.as_bytes())),
    };
    let opened = Draft { checkpoint: Some(checkpoint), ..Draft::new(Event::LogOpened, Outcome::Success) };
    let _ = log.record(Entry::plain(&opened).unwrap()).unwrap();
    record(&log, 400..450);
    let newest = log.checkpoint().unwrap();
    record(&log, 450..460);
    let out = directory.path().join("export");
    let published = settings.directory.join("published");
    let source = LogSource::published(&published).unwrap();
    let summary =
        write(&out, source, &[checkpoints.vkey()], clock::wall_unchecked(), &mut |_, _| ()).unwrap();
    assert!(summary.size >= newest.size);
    log.close().unwrap();

    let inputs = Inputs {
        keys: vec![checkpoints.vkey()],
        earlier: vec![
            ("seen".into(), seen.note.clone().into_bytes()),
            ("newest".into(), newest.note.clone().into_bytes()),
        ],
        answers: vec![sha256(answer(0).as_bytes()), sha256(answer(449).as_bytes()), [0; 32]],
    };
    let report = verify(&out, &inputs, &mut |_, _| ()).unwrap();
    assert_eq!((report.size, report.root, report.earlier), (summary.size, summary.root, 2));
    assert!(report.signed_answers >= 450 && report.signing_keys == 2);
    assert!(report.events["checkpoint-signed"] >= 3 && report.events["log-opened"] == 1);
    let [Some(first), Some(last), None] = report.answers[..] else { panic!("{:?}", report.answers) };
    assert!(first < last && last < report.size);
}
