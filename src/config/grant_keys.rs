//! The keys of a front server: a JWK set (RFC 7517 §5) of public keys, each for one algorithm.

use super::GrantKey;
use super::values::shown_text;
use crate::jose::{Algorithm, Jwk, PublicKey, from_base64url};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The largest file of keys, in bytes.
pub(super) const MAX_BYTES: usize = 256 << 10;

/// The most keys in one set.
const MAX_KEYS: usize = 64;

/// Members that only a private or a shared key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1, RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

#[derive(Deserialize)]
struct Set {
    keys: Vec<Box<RawValue>>,
}

/// Expected and found, without key material.
pub(super) type Wrong = (String, String);

/// Parses a set. Keys may share a `kid` (FAPI 2.0 §5.4.3); encryption keys are skipped.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<GrantKey>, Vec<Wrong>> {
    let one = |expected: &str, found: String| vec![(expected.to_owned(), found)];
    if bytes.len() > MAX_BYTES {
        return Err(one("a JWK set of at most 256 KiB", format!("{} bytes or more", bytes.len())));
    }
    // serde_json's error may repeat its input, so only the position is used.
    let set: Set = serde_json::from_slice(bytes).map_err(|e| {
        one(
            "a JWK set (RFC 7517 §5)",
            format!("other JSON, or none (its line {}, column {})", e.line(), e.column()),
        )
    })?;
    if set.keys.len() > MAX_KEYS {
        return Err(one("at most 64 keys", set.keys.len().to_string()));
    }
    let mut keys = Vec::new();
    let mut wrong = Vec::new();
    for (i, text) in set.keys.iter().enumerate() {
        match key(text.get()) {
            Ok(Some(key)) => keys.push(key),
            Ok(None) => {}
            Err((expected, found)) => wrong.push((expected, format!("keys[{i}]: {found}"))),
        }
    }
    if wrong.is_empty() && keys.is_empty() {
        return Err(one("at least one key for signatures", "none".to_owned()));
    }
    if wrong.is_empty() { Ok(keys) } else { Err(wrong) }
}

fn key(text: &str) -> Result<Option<GrantKey>, Wrong> {
    let object = || ("a JWK (RFC 7517 §4)".to_owned(), "another value, or a member twice".to_owned());
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).map_err(|_| object())?;
    if let Some(name) = PRIVATE.iter().find(|name| members.contains_key(**name)) {
        let expected = "public keys alone: take the private part out of the file and make a new key";
        return Err((expected.to_owned(), format!("the private member {name:?}")));
    }
    // The derived parser refuses duplicate members.
    let jwk: Jwk = serde_json::from_str(text).map_err(|_| object())?;
    if jwk.usage.as_deref() == Some("enc") {
        return Ok(None);
    }
    let algorithm = algorithm(&jwk)?;
    let weak = jwk.n.as_deref().and_then(from_base64url).filter(|n| bits(n) < 2048);
    if let Some(modulus) = weak {
        return Err(("an RSA key of at least 2048 bits".to_owned(), format!("{} bits", bits(&modulus))));
    }
    let key = PublicKey::from_jwk(algorithm, &jwk)
        .map_err(|error| (format!("a public key for {algorithm}"), error.to_string()))?;
    Ok(Some(GrantKey { kid: jwk.kid, key }))
}

/// The algorithm of a key: its `alg`, else by its curve, RS256 for RSA.
fn algorithm(jwk: &Jwk) -> Result<Algorithm, Wrong> {
    if let Some(name) = &jwk.alg {
        return name.parse().map_err(|_| {
            let expected = format!("alg: one of {}", Algorithm::ALL.map(Algorithm::name).join(", "));
            (expected, shown_text(name))
        });
    }
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("EC", Some("P-256")) => Ok(Algorithm::ES256),
        ("EC", Some("P-384")) => Ok(Algorithm::ES384),
        ("OKP", Some("Ed25519")) => Ok(Algorithm::EdDSA),
        ("RSA", _) => Ok(Algorithm::RS256),
        (kty, crv) => {
            let found = format!("kty {}, crv {}", shown_text(kty), shown_text(crv.unwrap_or_default()));
            Err(("an EC (P-256, P-384), OKP (Ed25519) or RSA key".to_owned(), found))
        }
    }
}

/// Significant bits of a big-endian number.
fn bits(bytes: &[u8]) -> usize {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    let first = bytes.get(zeros).map_or(0, |b| b.leading_zeros() as usize);
    (bytes.len() - zeros) * 8 - first
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A P-256 key (RFC 7517 §A.1) and an Ed25519 key (RFC 8037 §A.2).
    pub(in super::super) const KEYS: &str = r#"{"keys":[
        {"kty":"EC","crv":"P-256","kid":"1","use":"sig",
         "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
        {"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn found(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().into_iter().map(|(e, f)| e + "|" + &f + "\n").collect()
    }

    #[test]
    fn keys_without_alg_take_the_one_of_their_curve() {
        let keys = parse(KEYS.as_bytes()).unwrap();
        let algorithms: Vec<Algorithm> = keys.iter().map(|k| k.key.algorithm()).collect();
        assert_eq!(algorithms, [Algorithm::ES256, Algorithm::EdDSA]);
        assert!(keys.iter().all(|k| k.kid.as_deref() == Some("1")), "two keys may share a kid");
    }

    #[test]
    fn private_and_shared_keys_are_refused_without_repeating_them() {
        let secret = KEYS.replace("\"use\":\"sig\"", "\"d\":\"c2VjcmV0\"");
        assert!(found(&secret).contains("keys[0]: the private member \"d\""));
        assert!(!found(&secret).contains("c2VjcmV0"));
        assert!(found(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#).contains("the private member \"k\""));
    }

    #[test]
    fn sets_without_usable_keys_are_refused() {
        for (text, says) in [
            ("", "other JSON"),
            ("[]", "other JSON"),
            (r#"{"keys":[]}"#, "none"),
            (r#"{"keys":[1]}"#, "another value"),
            (r#"{"keys":[{"kty":"EC","crv":"secp256k1","x":"","y":""}]}"#, "secp256k1"),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","alg":"HS256"}]}"#, "HS256"),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","kid":"b"}]}"#, "twice"),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}"#, "keys[0]"),
            (r#"{"keys":[{"kty":"RSA","n":"_______________________________________w","e":"AQAB"}]}"#, "bits"),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","use":"enc","x":"AQ","y":"AQ"}]}"#, "none"),
        ] {
            assert!(found(text).contains(says), "{text}: {}", found(text));
        }
        let many = format!("{{\"keys\":[{}1]}}", "1,".repeat(64));
        assert!(found(&many).contains("65"));
        assert!(found(&" ".repeat(MAX_BYTES + 1)).contains("bytes"));
    }

    #[test]
    fn bits_are_counted_without_leading_zeros() {
        assert_eq!(bits(&[]), 0);
        assert_eq!(bits(&[0, 0]), 0);
        assert_eq!(bits(&[0, 1]), 1);
        assert_eq!(bits(&[0x80, 0]), 16);
    }
}
