//! An `at+jwt` of ours that comes back to be introspected or revoked (RFC 9068 §4).

use crate::claims::Jti;
use crate::config::Config;
use crate::jose::{PublicKey, Received};
use serde_json::Value;

/// The name of an `at+jwt` that we signed: `typ` is `at+jwt`, `iss` is ours, one of `keys` (all that sign or signed
/// access tokens and may still stand) verifies it. Everything else is `None`, for which nobody is told a reason.
///
/// Audience, expiry and the rest are those of the row that was durable before the token left: a JWT without a row is
/// inactive, whoever signed it.
pub fn own_access_token(config: &Config, keys: &[PublicKey], jwt: &str) -> Option<Jti> {
    let received = Received::parse(jwt, config.http.limits.json_depth).ok()?;
    // An ES256 signature has a second form, which anybody can write: that JWT is not the one that was issued.
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
