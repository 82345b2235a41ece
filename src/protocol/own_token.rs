//! An `at+jwt` issued here, presented for introspection or revocation (RFC 9068 §4).

use crate::claims::{ClaimValue, Jti};
use crate::config::Config;
use crate::jose::{PublicKey, Received};
use serde_json::Value;

/// Depth limit for the claims of such an `at+jwt`. Not `http.limits.json_depth`, the limit for other parties' JSON: a
/// lower one would make issued tokens unknown, and `/revoke` would answer 200 without revoking. Raise it before deeper
/// tokens are issued.
const DEPTH: usize = 32;
const _: () = assert!(1 + ClaimValue::MAX_DEPTH < DEPTH, "whatever is issued can be read");

/// The `jti` of an `at+jwt` that this server signed: `typ` is `at+jwt`, `iss` is the issuer, and one of `keys` (all
/// that sign or signed access tokens) verifies it. `None` for anything else, without a reason for the caller.
///
/// Audience, expiry and other facts come from the token's row, which was durable before the token was released: a JWT
/// without a row is inactive, whatever key signed it.
pub fn own_access_token(config: &Config, keys: &[PublicKey], jwt: &str) -> Option<Jti> {
    let received = Received::parse(jwt, DEPTH).ok()?;
    // An ES256 signature has a second form, which each holder can make: that JWT is not the issued one.
    if received.claimed_issuer() != Some(config.issuer.as_str()) || !received.has_low_s() {
        return None;
    }
    let verified = received.verify(keys.iter().map(|key| (Some(key.kid()), key))).ok()?;
    if !verified.has_type("at+jwt") {
        return None;
    }
    verified.claims().get("jti").and_then(Value::as_str)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::bank;
    use super::*;
    use crate::jose::testing::TestKey;
    use crate::jose::{Algorithm, other_form};
    use serde_json::json;

    #[test]
    fn the_nesting_limit_for_input_does_not_decide_which_tokens_are_known() {
        let mut config = bank();
        config.http.limits.json_depth = 1;
        let ours = TestKey::new(Algorithm::ES256);
        let deepest = (0..ClaimValue::MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
        assert!(serde_json::from_value::<ClaimValue>(deepest.clone()).is_ok());
        let claims = json!({"iss": "https://as.bank.example", "jti": "t-1", "groups": deepest});
        let jwt = ours.sign(Some("at+jwt"), &claims);
        assert_eq!(
            own_access_token(&config, &[ours.public()], &jwt).map(String::from).as_deref(),
            Some("t-1")
        );
    }

    #[test]
    fn only_an_access_token_that_we_signed_has_a_name() {
        let config = bank();
        let ours = TestKey::new(Algorithm::ES256);
        let other = TestKey::new(Algorithm::ES256);
        let keys = [TestKey::new(Algorithm::RS256).public(), ours.public()];
        let name = |jwt: &str| own_access_token(&config, &keys, jwt).map(String::from);
        let claims = json!({"iss": "https://as.bank.example", "jti": "t-1"});
        assert_eq!(name(&ours.sign(Some("at+jwt"), &claims)).as_deref(), Some("t-1"));
        for typ in
            [None, Some("JWT"), Some("token-introspection+jwt"), Some("secevent+jwt"), Some("jwk-set+jwt")]
        {
            assert_eq!(name(&ours.sign(typ, &claims)), None, "{typ:?}");
        }
        assert_eq!(name(&other.sign(Some("at+jwt"), &claims)), None, "a foreign key");
        for claims in [
            json!({"iss": "https://login.bank.example", "jti": "t-1"}),
            json!({"iss": "https://as.bank.example/", "jti": "t-1"}),
            json!({"jti": "t-1"}),
            json!({"iss": "https://as.bank.example"}),
            json!({"iss": "https://as.bank.example", "jti": 7}),
            json!({"iss": "https://as.bank.example", "jti": ""}),
        ] {
            assert_eq!(name(&ours.sign(Some("at+jwt"), &claims)), None, "{claims}");
        }
        let good = ours.sign(Some("at+jwt"), &claims);
        assert_eq!(name(&other_form(&good).unwrap()), None, "the other form of our signature");
        for bad in
            ["", "x", "a.b.c", &good[1..], &good[..good.len() - 1], &format!("{good}A"), &"x".repeat(100_000)]
        {
            assert_eq!(name(bad), None);
        }
        assert!(own_access_token(&config, &[], &good).is_none());
    }
}
