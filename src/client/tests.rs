//! What each kind of credentials leads to.

use super::{AuthError, AuthenticatedClient, Directory, Party, Presented, authenticate};
use crate::claims::ClientId;
use crate::config::testing::{bank, server};
use crate::config::{AuthMethod, Authentication, Client, Config, SecretHashes};
use crate::sha256::sha256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

const BASIC: AuthMethod = AuthMethod::ClientSecretBasic;
const POST: AuthMethod = AuthMethod::ClientSecretPost;
const WRONG_HEADER: AuthError = AuthError::Wrong { header_used: true };
const WRONG_BODY: AuthError = AuthError::Wrong { header_used: false };

fn registered(method: AuthMethod, secrets: &[&str]) -> Authentication {
    let secrets = SecretHashes(secrets.iter().map(|s| sha256(s.as_bytes())).collect());
    Authentication { method, secrets }
}

fn client(client_id: &str, authentication: Authentication) -> Arc<Client> {
    static BANK: LazyLock<Config> = LazyLock::new(bank);
    Arc::new(Client {
        client_id: client_id.parse().unwrap(),
        authentication,
        ..Client::clone(&BANK.clients[0])
    })
}

static CALLERS: LazyLock<Directory> = LazyLock::new(|| {
    let mut config = bank();
    server(&mut config, 0).authentication = registered(BASIC, &["old", "new"]);
    config.clients = vec![
        client("shop", registered(BASIC, &["s3cret"])),
        client("form", registered(POST, &["s3cret"])),
        client("a:b c%", registered(BASIC, &["p:q+r%"])),
        client("six", registered(BASIC, &["1", "2", "3", "4", "5", "6"])),
        client("none", registered(BASIC, &[])),
    ];
    Directory::new(&config)
});

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn call(lines: &[&str], id: Option<&str>, secret: Option<&str>) -> Result<AuthenticatedClient, AuthError> {
    authenticate(&CALLERS, &Presented { authorization: lines, client_id: id, client_secret: secret })
}

fn by_header(line: &str) -> Result<ClientId, AuthError> {
    call(&[line], None, None).map(|who| who.client_id().clone())
}

#[test]
fn each_caller_gets_in_with_its_own_method_and_any_of_its_secrets() {
    for (pair, name) in [
        ("shop:s3cret", "shop"),
        ("payments-api:old", "payments-api"),
        ("payments-api:new", "payments-api"),
        ("six:1", "six"),
        ("six:6", "six"),
    ] {
        assert_eq!(by_header(&basic(pair)).unwrap().as_str(), name, "{pair}");
    }
    let who = call(&[], Some("form"), Some("s3cret")).unwrap();
    assert_eq!((who.client_id().as_str(), who.method()), ("form", POST));
    assert!(matches!(who.party(), Party::Client(_)));
    let who = call(&[&basic("payments-api:old")], None, None).unwrap();
    assert_eq!(who.method(), BASIC);
    assert!(matches!(who.party(), Party::ResourceServer(_)));
}

#[test]
fn a_wrong_secret_an_unknown_caller_and_another_method_look_the_same() {
    for pair in [
        "shop:other",
        "shop:",
        "shop:s3cret ",
        "shop:S3CRET",
        "nobody:s3cret",
        ":s3cret",
        "none:",
        "none:x",
        "form:s3cret",
    ] {
        assert_eq!(by_header(&basic(pair)).unwrap_err(), WRONG_HEADER, "{pair}");
    }
    for (id, secret) in
        [("form", "other"), ("form", ""), ("nobody", "s3cret"), ("", "s3cret"), ("shop", "s3cret")]
    {
        assert_eq!(call(&[], Some(id), Some(secret)).unwrap_err(), WRONG_BODY, "{id}");
    }
}

#[test]
fn one_request_has_one_method() {
    let shop = basic("shop:s3cret");
    let several = Err(AuthError::Several);
    for (lines, id, secret) in [
        (vec![shop.as_str()], Some("shop"), Some("s3cret")),
        (vec![shop.as_str()], None, Some("s3cret")),
        (vec!["Bearer x"], Some("form"), Some("s3cret")),
        (vec![shop.as_str(), shop.as_str()], None, None),
        (vec![shop.as_str(), "Bearer x"], None, None),
        (vec![shop.as_str(), shop.as_str()], Some("form"), Some("s3cret")),
    ] {
        assert_eq!(call(&lines, id, secret).map(drop), several, "{lines:?} {id:?} {secret:?}");
    }
}

#[test]
fn a_client_id_beside_basic_must_be_the_same() {
    let shop = basic("shop:s3cret");
    assert!(call(&[&shop], Some("shop"), None).is_ok());
    assert_eq!(call(&[&shop], Some("form"), None).unwrap_err(), AuthError::Malformed);
    assert_eq!(call(&[&shop], Some("Shop"), None).unwrap_err(), AuthError::Malformed);
}

#[test]
fn a_name_alone_proves_nothing() {
    assert_eq!(call(&[], None, None).unwrap_err(), AuthError::Missing);
    assert_eq!(call(&[], Some("form"), None).unwrap_err(), AuthError::Missing);
    assert_eq!(call(&[], None, Some("s3cret")).unwrap_err(), AuthError::Malformed);
}

#[test]
fn the_scheme_has_no_case_and_other_schemes_are_answered_with_ours() {
    let pair = STANDARD.encode("shop:s3cret");
    for line in
        [format!("basic {pair}"), format!("BASIC {pair}"), format!("bAsIc {pair}"), format!("Basic   {pair}")]
    {
        assert!(by_header(&line).is_ok(), "{line}");
    }
    for line in ["Bearer x", "bearer x", "BEARER", "Bearer "] {
        assert_eq!(by_header(line).unwrap_err(), AuthError::Bearer, "{line}");
    }
    for line in ["Bearers x", "DPoP x", "Digest username=\"shop\"", "Basically x", &pair] {
        assert_eq!(by_header(line).unwrap_err(), WRONG_HEADER, "{line}");
    }
}

#[test]
fn id_and_secret_are_form_encoded_inside_basic() {
    for good in ["a%3Ab+c%25:p%3Aq%2Br%25", "a%3ab%20c%25:p:q%2br%25", "%61%3Ab+c%25:p:q%2Br%25"] {
        assert!(by_header(&basic(good)).is_ok(), "{good}");
    }
    // Not encoded, these mean something else: the plus is a space, the colon parts, `% ` is no escape.
    assert_eq!(by_header(&basic("a%3Ab+c%25:p:q+r%25")).unwrap_err(), WRONG_HEADER);
    assert_eq!(by_header(&basic("a:b+c%25:p:q%2Br%25")).unwrap_err(), WRONG_HEADER);
    assert_eq!(by_header(&basic("a:b c%:p:q+r%")).unwrap_err(), AuthError::Malformed);
}

#[test]
fn what_is_basic_by_name_only_is_malformed() {
    let long = basic(&format!("shop:{}", "x".repeat(4096)));
    let long_secret = basic(&format!("shop:{}", "x".repeat(1025)));
    for line in [
        "",
        " ",
        "Basic",
        "Basic ",
        "Basic ***",
        "Basic c2hvcDpzM2NyZXQ",  // without its padding
        "Basic c2hvcDpzM2NyZXR=", // bits that nothing encodes
        "Basic c2hvcDpzM2NyZXQ= ",
        "Basic c2hvcDpzM2NyZXQ= x",
        "Basic c2hvcDpzM2NyZXQ=, Basic x",
        &basic("shop"),
        &basic(""),
        &basic("shop:%"),
        &basic("shop:%4"),
        &basic("shop:%4g"),
        &basic("shop:%+4"),
        &basic("shop:%00"),
        &basic("shop:\n"),
        &basic("shop:%0a"),
        &basic("shop:%7f"),
        &basic("sh\u{f6}p:x"),
        &basic("shop:%c3%b6"),
        &long,
        &long_secret,
    ] {
        assert_eq!(by_header(line).unwrap_err(), AuthError::Malformed, "{line:?}");
    }
    let long = "x".repeat(1025);
    assert_eq!(call(&[], Some("form"), Some(&long)).unwrap_err(), AuthError::Malformed);
}

/// RFC 6749 appendix B, as an encoder that escapes everything it may.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| if byte == b' ' { "+".to_owned() } else { format!("%{byte:02X}") }).collect()
}

proptest! {
    #[test]
    fn no_header_gets_in_by_accident_or_ends_the_process(line in any::<String>(), tail in any::<Vec<u8>>()) {
        prop_assert!(by_header(&line).is_err());
        let basic = format!("Basic {}", STANDARD.encode(&tail));
        prop_assert!(by_header(&basic).is_err());
        let raw = format!("Basic {line}");
        prop_assert!(by_header(&raw).is_err());
        prop_assert!(call(&[], Some(&line), Some(&line)).is_err());
    }

    #[test]
    fn every_printable_name_and_secret_works_once_encoded(id in "[ -~]{1,64}", secret in "[ -~]{1,64}") {
        let directory = Directory::of(&[], &[client(&id, registered(BASIC, &[&secret]))]);
        let right = basic(&format!("{}:{}", encoded(&id), encoded(&secret)));
        let wrong = basic(&format!("{}:{}", encoded(&id), encoded(&format!("{secret}x"))));
        let who = |line: &str| {
            authenticate(&directory, &Presented { authorization: &[line], client_id: None, client_secret: None })
        };
        prop_assert!(who(&right).is_ok());
        prop_assert_eq!(who(&wrong).unwrap_err(), WRONG_HEADER);
    }
}
