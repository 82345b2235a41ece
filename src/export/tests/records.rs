//! Contradicting records, which verification refuses even with a valid checkpoint signature.

use super::*;

/// The finding of a log of 300 records in which record 120 was changed before it was chained and signed.
fn with(change: impl Fn(&mut Value)) -> (Kind, Option<u64>) {
    let log = Log::with(300, |sequence, record| {
        if sequence == 120 {
            change(record);
        }
    });
    let (kind, file, record) = finding(&log.bundle());
    assert_eq!(file, "tile/entries/000");
    (kind, record)
}

#[test]
fn gaps_links_times_and_origins_are_checked_though_all_is_signed() {
    assert_eq!(with(|r| r["seq"] = json!(121)), (Kind::SequenceGap, Some(120)));
    assert_eq!(with(|r| r["prev"] = json!(hex::encode([1; 32]))), (Kind::LinkBroken, Some(120)));
    assert_eq!(with(|r| r["time"] = json!("2026-01-01T00:00:00.000000000Z")), (Kind::TimeBack, Some(120)));
    for time in [
        "yesterday",
        "2026-09-21T00:00:00.00000000 Z",
        "2026-13-21T00:00:00.000000000Z",
        "2026-09-21T00:00:00Z",
    ] {
        assert_eq!(with(|r| r["time"] = json!(time)), (Kind::RecordMalformed, Some(120)), "{time}");
    }
    assert_eq!(with(|r| r["origin"] = json!("elsewhere.example")), (Kind::OriginMismatch, Some(120)));
    assert_eq!(with(|r| r["v"] = json!(3)), (Kind::RecordMalformed, Some(120)));
}

#[test]
fn a_step_forward_of_the_clock_is_found_at_the_record_after_it() {
    let found = with(|r| r["time"] = json!("2099-01-01T00:00:00.000000000Z"));
    assert_eq!(found, (Kind::TimeBack, Some(121)));
}

#[test]
fn equal_times_are_no_step_back() {
    let log = Log::with(300, |_, record| record["time"] = json!("2026-01-01T00:00:00.000000000Z"));
    assert!(check(&log.bundle()).is_ok());
}

#[test]
fn a_log_without_its_beginning_is_refused() {
    let log = Log::with(10, |sequence, record| {
        if sequence == 0 {
            record["prev"] = json!(hex::encode([1; 32]));
        }
    });
    assert_eq!(finding(&log.bundle()), (Kind::LinkBroken, "tile/entries/000.p/10".to_owned(), Some(0)));
}

#[test]
fn a_duplicate_member_makes_a_record_malformed() {
    let mut log = Log::new(300);
    let text = String::from_utf8(log.records[299].clone()).unwrap();
    log.records[299] = text.replacen('{', "{\"other\":1,\"other\":2,", 1).into_bytes();
    assert_eq!(
        finding(&log.bundle()),
        (Kind::RecordMalformed, "tile/entries/001.p/44".to_owned(), Some(299))
    );
    log.records[299] = b"no JSON".to_vec();
    assert_eq!(finding(&log.bundle()).0, Kind::RecordMalformed);
}

#[test]
fn a_signature_needs_a_key_record_before_it_with_its_algorithm_and_purpose() {
    let other = Signer::new("introspection");
    assert_eq!(with(|r| r["kid"] = json!(other.public.kid())), (Kind::KeyUnknown, Some(120)));
    assert_eq!(with(|r| r["alg"] = json!("RS256")), (Kind::KeyMismatch, Some(120)));
    assert_eq!(with(|r| r["purpose"] = json!("access-token")), (Kind::KeyMismatch, Some(120)));
    assert_eq!(with(|r| drop(r.as_object_mut().unwrap().remove("kid"))), (Kind::RecordMalformed, Some(120)));
    assert_eq!(
        with(|r| drop(r.as_object_mut().unwrap().remove("sha256"))),
        (Kind::RecordMalformed, Some(120))
    );
    // The key record comes one position too late.
    let late = |r: &mut Value| merge(r, json!({ "kid": other.public.kid() }));
    let log = Log::with(300, |sequence, record| match sequence {
        120 => late(record),
        121 => merge(record, other.record("key-generated")),
        _ => (),
    });
    assert_eq!(finding(&log.bundle()).2, Some(120));
}

#[test]
fn key_records_must_be_complete_true_and_consistent() {
    let other = Signer::new("introspection");
    let whole = || other.record("key-generated");
    let without = |member: &'static str| {
        with(|r| {
            merge(r, whole());
            r.as_object_mut().unwrap().remove(member);
        })
    };
    for member in ["spki", "kid", "alg", "purpose"] {
        assert_eq!(without(member), (Kind::RecordMalformed, Some(120)), "{member}");
    }
    let changed = |member: &'static str, value: Value| {
        with(|r| {
            merge(r, whole());
            r[member] = value.clone();
        })
    };
    assert_eq!(changed("kid", json!("AAAA")), (Kind::KeyMismatch, Some(120)));
    assert_eq!(changed("alg", json!("RS256")), (Kind::RecordMalformed, Some(120)));
    assert_eq!(changed("spki", json!("AAAA")), (Kind::RecordMalformed, Some(120)));
    let log = Log::with(300, |sequence, record| match sequence {
        120 => merge(record, other.record("key-generated")),
        130 => {
            merge(record, other.record("key-found"));
            record["purpose"] = json!("access-token");
        }
        _ => (),
    });
    assert_eq!(finding(&log.bundle()), (Kind::KeyMismatch, "tile/entries/000".to_owned(), Some(130)));
}

#[test]
fn a_checkpoint_in_a_record_must_be_of_this_tree() {
    let signed = |size: u64, root: Hash| {
        with(|r| {
            r["event"] = json!("checkpoint-signed");
            r["checkpoint"] = reference(size, root);
        })
    };
    assert_eq!(signed(110, [1; 32]), (Kind::RecordedCheckpoint, Some(120)));
    assert_eq!(signed(121, [1; 32]), (Kind::RecordedCheckpoint, Some(120)));
    let missing = with(|r| r["event"] = json!("checkpoint-signed"));
    assert_eq!(missing, (Kind::RecordedCheckpoint, Some(120)));
    let opened = with(|r| merge(r, json!({ "event": "log-opened", "checkpoint": reference(7, [1; 32]) })));
    assert_eq!(opened, (Kind::RecordedCheckpoint, Some(120)));
}

/// A log whose record 120 has the given event and names the true tree of the first `size` records.
fn naming(event: &str, size: usize) -> Log {
    let mut tree = Peaks::new();
    let mut roots = Vec::new();
    Log::with(300, |sequence, record| {
        roots.push(tree.root());
        if sequence == 120 {
            merge(record, json!({ "event": event, "checkpoint": reference(size as u64, roots[size]) }));
        }
        tree.push(leaf_hash(record.to_string().as_bytes()));
    })
}

#[test]
fn a_log_may_name_an_older_checkpoint_but_not_sign_one() {
    assert!(check(&naming("log-opened", 7).bundle()).is_ok());
    assert!(check(&naming("checkpoint-signed", 110).bundle()).is_ok());
    // Record 99 is of a checkpoint of 99 records.
    let back = finding(&naming("checkpoint-signed", 98).bundle());
    assert_eq!((back.0, back.2), (Kind::RecordedCheckpoint, Some(120)));
}
