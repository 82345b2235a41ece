//! Verifies kept answers as a resource server would.

use super::Outcome;
use super::scenario::Scenario;
use chancery::jose::{Algorithm, Jwk, PublicKey, from_base64url};
use serde_json::Value;

/// The daemon's public keys, as it publishes them.
pub(crate) struct Verifiers(Vec<PublicKey>);

impl Verifiers {
    /// Reads a JWK set (RFC 7517 §5).
    pub(crate) fn read(jwks: &[u8]) -> Outcome<Self> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<Jwk>,
        }
        let set: Set = serde_json::from_slice(jwks)?;
        let read = |jwk: &Jwk| -> Outcome<PublicKey> {
            let algorithm: Algorithm = jwk.alg.as_deref().ok_or("a published key without alg")?.parse()?;
            Ok(PublicKey::from_jwk(algorithm, jwk)?)
        };
        Ok(Self(set.keys.iter().map(read).collect::<Outcome<_>>()?))
    }

    /// The key of a compact JWS, its signing input and its signature.
    pub(crate) fn parts<'j>(&self, jwt: &'j str) -> Outcome<(&PublicKey, &'j str, Vec<u8>)> {
        let (input, signature) = jwt.rsplit_once('.').ok_or("an answer that is no compact JWS")?;
        let header = object(input.split('.').next().unwrap_or_default())?;
        let kid = header.get("kid").and_then(Value::as_str).ok_or("an answer without kid")?;
        let key =
            self.0.iter().find(|key| key.kid() == kid).ok_or("an answer of a key that is not published")?;
        Ok((key, input, from_base64url(signature).ok_or("a signature that is no base64url")?))
    }

    /// The JWT in an answer's body, if it is what `scenario` asked for and its signature verifies.
    pub(crate) fn check(&self, scenario: Scenario, body: &[u8]) -> Outcome<String> {
        let text = std::str::from_utf8(body)?;
        let jwt = match scenario {
            Scenario::Es256 | Scenario::Rs256 => text.to_owned(),
            Scenario::AtJwt => {
                let answer: Value = serde_json::from_str(text)?;
                answer.get("access_token").and_then(Value::as_str).ok_or("no access_token")?.to_owned()
            }
        };
        let (key, input, signature) = self.parts(&jwt)?;
        key.verify(input.as_bytes(), &signature)?;
        let (header, claims) = input.split_once('.').ok_or("an answer that is no compact JWS")?;
        let (header, claims) = (object(header)?, object(claims)?);
        let active = claims.pointer("/token_introspection/active") == Some(&Value::Bool(true));
        let wanted = match scenario {
            Scenario::Es256 | Scenario::Rs256 => active,
            Scenario::AtJwt => claims.get("jti").is_some(),
        };
        if header.get("typ").and_then(Value::as_str) != Some(scenario.typ())
            || header.get("alg").and_then(Value::as_str) != Some(scenario.algorithm().name())
            || !wanted
        {
            return Err(format!("an answer that was not asked for: {header} {claims}").into());
        }
        Ok(jwt)
    }
}

fn object(part: &str) -> Outcome<Value> {
    Ok(serde_json::from_slice(&from_base64url(part).ok_or("a part that is no base64url")?)?)
}
