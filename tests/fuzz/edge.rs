//! What strangers send over HTTP: forms, `Accept`, Basic, JWTs.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery::claims::{AnswerFormat, NumericDate, TokenFacts};
use chancery::client::{Directory, Presented, authenticate};
use chancery::config::{Client, Config, parse};
use chancery::jose::{Received, base64url, strict_json};
use chancery::protocol::{
    Parameters, TokenRequest, Wanted, at_jwt_grant, jwt_bearer, negotiate, own_access_token, token_response,
    verify_assertion, view,
};
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;

pub const NOW: NumericDate = NumericDate(1_790_000_000);

/// The front server's key: the fuzzer writes claims, this signs them.
static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key of 32 bytes"));

/// The configuration that is shipped, with that front server.
pub static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text = include_str!("../../config/chancery.toml").replace(
        "\"sub\", \"client_id\", \"acr\", \"auth_time\"]",
        "\"sub\", \"client_id\", \"acr\", \"auth_time\", \"groups\"]",
    );
    let x = base64url(KEY.public_key());
    let keys = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":"{x}"}}]}}"#);
    parse(Path::new("/etc/chancery/chancery.toml"), text.as_bytes(), &|_| Ok(keys.clone().into_bytes()))
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
});

fn client() -> &'static Client {
    CONFIG.clients.first().expect("the shop")
}

pub fn form(bytes: &[u8]) {
    let Ok(parameters) = Parameters::parse(bytes, 100) else { return };
    assert!(parameters.all("resource").count() <= 100);
    assert_eq!(parameters.get("scope").is_some(), parameters.all("scope").count() == 1);
    drop(parameters.client());
    if let Ok(TokenRequest::JwtBearer { wanted, .. } | TokenRequest::ClientCredentials(wanted)) =
        TokenRequest::parse(client(), &parameters, 32)
    {
        assert!(wanted.authorization_details.is_none_or(|details| (1..=16).contains(&details.len())));
    }
}

pub fn accept(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    let signed = negotiate(&lines, true);
    assert!(!matches!(signed, Ok(AnswerFormat::Json)), "invariant 2");
    let open = negotiate(&lines, false);
    assert!(signed.is_err() || open.is_ok());
}

pub fn basic(bytes: &[u8]) {
    static CALLERS: LazyLock<Directory> = LazyLock::new(|| Directory::new(&CONFIG));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines: Vec<&str> = text.split('\n').take(3).collect();
    let presented = Presented { authorization: &lines, client_id: None, client_secret: None };
    assert!(authenticate(&CALLERS, &presented).is_err(), "the secrets of the example are known to nobody");
    let (client_id, client_secret) = (lines.first().copied(), lines.get(1).copied());
    let presented = Presented { authorization: &[], client_id, client_secret };
    assert!(authenticate(&CALLERS, &presented).is_err());
}

pub fn jwt(bytes: &[u8]) {
    let strict = strict_json(bytes, 32);
    if let Ok(value) = &strict {
        let lax: Value =
            serde_json::from_slice(bytes).expect("what the strict reader takes, any reader takes");
        assert_eq!(*value, lax);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(received) = Received::parse(text, 32) {
        let _ = received.claimed_issuer();
    }
    drop(own_access_token(&CONFIG, &[], text));
    assert!(
        verify_assertion(&CONFIG, &client().client_id, text, NOW).is_err(),
        "only `assertion` has the key"
    );
}

/// The bytes are the claims of a grant; a signed one of its issuer.
pub fn assertion(bytes: &[u8]) {
    let input = format!("{}.{}", base64url(r#"{"alg":"EdDSA"}"#), base64url(bytes));
    let jwt = format!("{input}.{}", base64url(KEY.sign(input.as_bytes())));
    let Ok(assertion) = verify_assertion(&CONFIG, &client().client_id, &jwt, NOW) else { return };
    assert!(assertion.expires_at > NOW && assertion.grant.extra.len() <= 32);
    let claims: Value = serde_json::from_slice(bytes).expect("claims that were read");
    for (name, value) in &assertion.grant.extra {
        assert_eq!(serde_json::to_value(value).ok().as_ref(), claims.get(name.as_str()), "carried as it is");
    }
    let wanted = Wanted { resources: Vec::new(), scope: None, authorization_details: None };
    let jti = "t-1".parse().expect("a jti");
    let Ok(issue) = jwt_bearer(&CONFIG, client(), &assertion, &wanted, jti, NOW) else { return };
    drop(token_response(&issue, "x"));
    narrowed(&issue.facts);
}

/// Invariant 5: a resource server sees nothing beyond its own entry.
fn narrowed(facts: &TokenFacts) {
    drop(at_jwt_grant(&CONFIG, &facts.grant));
    for rs in &CONFIG.resource_servers {
        let Some(told) = view(rs, &CONFIG, Some(facts), NOW).active else { continue };
        assert!(told.grant.scope.iter().all(|scope| rs.scopes.contains(scope)));
        assert!(told.grant.extra.keys().all(|name| rs.claims.contains(name)));
        for detail in &told.grant.authorization_details {
            assert!(rs.authorization_details_types.contains(&detail.detail_type()));
            assert!(detail.locations().iter().all(|place| *place == rs.resource));
        }
    }
}
