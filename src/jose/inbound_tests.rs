//! Accepted and refused inbound JWTs.

use super::super::base64url;
use super::super::testing::TestKey;
use super::*;
use proptest::prelude::*;
use serde_json::json;

const CLAIMS: &str = r#"{"iss":"https://login.bank.example","n":1}"#;

fn verifies(text: &str, key: &PublicKey) -> bool {
    Received::parse(text, 32).and_then(|r| r.verify([(Some(key.kid()), key)])).is_ok()
}

#[test]
fn each_algorithm_verifies_with_its_own_key_and_no_other() {
    let keys: Vec<TestKey> = Algorithm::ALL.into_iter().map(TestKey::new).collect();
    for signer in &keys {
        let text = signer.sign(Some("JWT"), &json!({"a": 1}));
        for key in &keys {
            let own = key.algorithm() == signer.algorithm();
            let public = key.public();
            let received = Received::parse(&text, 32).unwrap();
            assert_eq!(received.verify([(None, &public)]).is_ok(), own, "{public:?}");
        }
    }
}

#[test]
fn the_header_cannot_choose_the_algorithm() {
    let key = TestKey::new(Algorithm::RS256);
    let public = key.public();
    let pss = key.used_with(Algorithm::PS256);
    assert!(!verifies(&pss.sign_texts(r#"{"alg":"PS256"}"#, CLAIMS), &public));
    assert!(!verifies(&pss.sign_texts(r#"{"alg":"RS256"}"#, CLAIMS), &public));

    let ec = TestKey::new(Algorithm::ES256);
    let public = ec.public();
    let input = format!("{}.{}", base64url(r#"{"alg":"HS256"}"#), base64url(CLAIMS));
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public.spki());
    let mac = aws_lc_rs::hmac::sign(&secret, input.as_bytes());
    assert!(!verifies(&format!("{input}.{}", base64url(mac)), &public), "the public key as a secret");
    for alg in [json!("none"), json!("None"), json!(""), json!(null), json!(1), json!("es256")] {
        let header = json!({"alg": alg}).to_string();
        assert!(!verifies(&ec.sign_texts(&header, CLAIMS), &public), "{header}");
        let bare = format!("{}.{}.", base64url(&header), base64url(CLAIMS));
        assert!(!verifies(&bare, &public), "{header} without signature");
    }
    assert!(!verifies(&ec.sign_texts("{}", CLAIMS), &public), "without alg");
}

#[test]
fn an_extension_is_refused_and_a_key_in_the_header_is_ignored() {
    let key = TestKey::new(Algorithm::ES256);
    let other = TestKey::new(Algorithm::ES256);
    for crit in [json!([]), json!(["b64"]), json!(["exp"]), json!("x"), json!(null)] {
        let header = json!({"alg": "ES256", "crit": crit, "b64": false}).to_string();
        assert!(!verifies(&key.sign_texts(&header, CLAIMS), &key.public()), "{header}");
    }
    let header = json!({"alg": "ES256", "jwk": other.public().jwk(), "jku": "https://attacker.example/keys",
        "x5u": "https://attacker.example/cert", "x5c": ["AAAA"]})
    .to_string();
    assert!(!verifies(&other.sign_texts(&header, CLAIMS), &key.public()), "signed by the embedded key");
    assert!(verifies(&key.sign_texts(&header, CLAIMS), &key.public()), "signed by the known key");
}

#[test]
fn the_kid_only_chooses_among_known_keys() {
    let (one, two) = (TestKey::new(Algorithm::ES256), TestKey::new(Algorithm::ES256));
    let (a, b) = (one.public(), two.public());
    let text = two.sign_texts(r#"{"alg":"ES256","kid":"same"}"#, CLAIMS);
    let verify = |keys: Vec<(Option<&'static str>, &PublicKey)>| {
        Received::parse(&text, 32).unwrap().verify(keys).map(drop).map_err(|e| e.to_string())
    };
    assert!(verify(vec![(Some("same"), &a), (Some("same"), &b)]).is_ok(), "two keys with one kid");
    assert!(verify(vec![(None, &b)]).is_ok(), "a key without kid");
    assert!(verify(vec![(Some("other"), &b)]).unwrap_err().contains("no key"));
    assert!(verify(vec![(Some("same"), &a)]).unwrap_err().contains("does not verify"));
    assert!(verify(vec![]).is_err());
    for kid in ["../../etc/passwd", "' OR 1=1 --", &"k".repeat(10_000)] {
        let text = two.sign_texts(&json!({"alg": "ES256", "kid": kid}).to_string(), CLAIMS);
        assert!(!verifies(&text, &b), "a kid that nobody has");
    }
}

#[test]
fn the_encoding_is_strict() {
    let key = TestKey::new(Algorithm::ES256);
    let public = key.public();
    let good = key.sign_texts(r#"{"alg":"ES256"}"#, CLAIMS);
    assert!(verifies(&good, &public));
    let (input, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b".to_owned(),
        input.to_owned(),
        format!("{input}."),
        format!("{good}="),
        format!("{good}.{signature}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}.a.b"),
        good.replace('.', ".."),
        good.replacen("ey", "e+", 1),
    ] {
        assert!(!verifies(&bad, &public), "{bad}");
    }
    for (header, payload) in [
        (r#"{"alg":"ES256","alg":"ES256"}"#, CLAIMS),
        (r#"{"alg":"ES256"}"#, r#"{"iss":"a","iss":"b"}"#),
        (r#"{"alg":"ES256"}"#, r#"{"a":{"b":1,"b":2}}"#),
        (r#"{"alg":"ES256"}"#, "[]"),
        (r#"{"alg":"ES256"}"#, "7"),
        (r#"["ES256"]"#, CLAIMS),
        (r#"{"alg":"ES256","kid":7}"#, CLAIMS),
        (r#"{"alg":"ES256","typ":["JWT"]}"#, CLAIMS),
    ] {
        assert!(!verifies(&key.sign_texts(header, payload), &public), "{header} {payload}");
    }
    let long = key.sign_texts(r#"{"alg":"ES256"}"#, &json!({"a": "x".repeat(MAX_COMPACT)}).to_string());
    assert!(matches!(Received::parse(&long, 32), Err(InboundError::TooLong)));
    let nested = format!("{{\"a\":{}{}}}", "[".repeat(32), "]".repeat(32));
    assert!(!verifies(&key.sign_texts(r#"{"alg":"ES256"}"#, &nested), &public), "too deep");
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let key = TestKey::new(Algorithm::EdDSA);
    let public = key.public();
    let good = key.sign_texts(r#"{"alg":"EdDSA"}"#, CLAIMS);
    for place in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(!verifies(&changed, &public), "byte {place}");
    }
}

#[test]
fn a_type_is_a_media_type_with_or_without_its_prefix() {
    for (typ, name, same) in [
        ("at+jwt", "at+jwt", true),
        ("application/at+jwt", "at+jwt", true),
        ("Application/AT+JWT", "at+jwt", true),
        ("jwt", "JWT", true),
        ("at+jwt", "jwt", false),
        ("text/at+jwt", "at+jwt", false),
        ("", "jwt", false),
    ] {
        assert_eq!(is_type(typ, name), same, "{typ} {name}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-zA-Z0-9._=-]{0,300}") {
        prop_assert!(Received::parse(&text, 32).is_err() || text.matches('.').count() == 2);
    }
}
