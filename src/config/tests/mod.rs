//! Valid and invalid configurations.

mod entries;
mod examples;
mod mistakes;

use super::grant_keys::tests::KEYS;
use super::{Config, Mistakes, load, parse};
use std::io;
use std::path::Path;

/// A valid configuration, whose lines tests replace.
pub(super) const GOOD: &str = r#"version = 1
issuer = "https://as.example"
[http]
listen = "127.0.0.1:8443"
operations_listen = "127.0.0.1:9443"
[hsm]
module = "/usr/lib/softhsm/libsofthsm2.so"
token = "pkcs11:token=chancery"
pin_file = "pin"
[[keys]]
purpose = "introspection"
algorithm = "ES256"
[[keys]]
purpose = "introspection"
algorithm = "RS256"
[[keys]]
purpose = "access-token"
algorithm = "ES384"
[[keys]]
purpose = "access-token"
algorithm = "ES256"
[[keys]]
purpose = "metadata"
algorithm = "EdDSA"
[[keys]]
purpose = "audit-checkpoint"
algorithm = "ES256"
[audit]
directory = "/var/lib/chancery/audit"
origin = "as.example/audit/node-a"
[store]
url = "sqlite:///var/lib/chancery/state.db"
[[grant_issuers]]
issuer = "https://login.example"
jwks_file = "login.jwks"
resources = ["https://pay.example"]
authorization_details_types = ["payment_initiation"]
[[resource_servers]]
client_id = "pay"
resource = "https://pay.example"
client_secret_sha256 = "1000000000000000000000000000000000000000000000000000000000000000"
introspection_signed_response_alg = "ES256"
access_token_formats = ["opaque", "at+jwt"]
scopes = ["pay:start", "status"]
authorization_details_types = ["payment_initiation"]
claims = ["sub", "openbanking_intent_id"]
[[resource_servers]]
client_id = "sign"
resource = "https://sign.example"
client_secret_sha256 = ["20000000000000000000000000000000000000000000000000000000000000AB"]
scopes = ["credential", "status"]
[[clients]]
client_id = "shop"
client_secret_sha256 = "3000000000000000000000000000000000000000000000000000000000000000"
grant_types = ["client_credentials"]
resources = ["https://pay.example", "https://sign.example"]
scope = "pay:start credential"
authorization_details_types = ["payment_initiation"]
access_token_format = "opaque"
access_token_lifetime = "90s"
"#;

/// Parses `text` as the content of `file`, with one set of keys for every front server.
pub(super) fn read_at(file: &Path, text: &str) -> Result<Config, Mistakes> {
    parse(file, text.as_bytes(), &|_| Ok(KEYS.as_bytes().to_vec()))
}

fn read(text: &str) -> Result<Config, Mistakes> {
    read_at(Path::new("/etc/chancery/chancery.toml"), text)
}

#[test]
fn defaults_are_filled_in_and_paths_start_at_the_file() {
    use super::{AuthMethod, LogLines, PinSource, ResponseAudience, SignerMode};
    use crate::claims::TokenFormat;
    use crate::jose::Algorithm;
    use std::time::Duration;

    let config = read(GOOD).unwrap();
    assert!(matches!(config.signer, SignerMode::Child));
    assert!(matches!(&config.hsm.pin, PinSource::File(path) if path == Path::new("/etc/chancery/pin")));
    assert_eq!((config.hsm.sessions, config.hsm.deadline), (2, Duration::from_secs(10)));
    assert_eq!((config.audit.node.as_str(), config.audit.segment_bytes), ("node-a", 64 << 20));
    assert_eq!(config.log, LogLines::Auto);
    assert_eq!(config.http.limits.introspection_body_bytes, 256 << 10);
    assert_eq!(config.http.limits.request_time, Duration::from_secs(10));
    let bits: Vec<u32> = config.keys.iter().map(|k| k.rsa_bits).collect();
    assert_eq!(bits, [0, 3072, 0, 0, 0, 0]);
    let [pay, sign] = config.resource_servers.as_slice() else { panic!("two resource servers") };
    assert_eq!(pay.access_token_alg, Algorithm::ES384, "the first access-token key");
    assert_eq!(pay.access_token_formats, [TokenFormat::Opaque, TokenFormat::AtJwt]);
    assert_eq!(sign.introspection_alg, Algorithm::RS256, "RFC 9701 §6");
    assert_eq!(sign.access_token_formats, [TokenFormat::Opaque]);
    assert_eq!(sign.authentication.method, AuthMethod::ClientSecretBasic);
    assert_eq!(sign.authentication.secrets.0[0][31], 0xab);
    assert_eq!(sign.response_audience, ResponseAudience::ClientId);
    assert!(!sign.require_signed_response && sign.response_jti && sign.claims.is_empty());
    assert_eq!(config.grant_issuers[0].keys.len(), 2);
    assert_eq!(config.grant_issuers[0].max_assertion_lifetime, Duration::from_secs(300));
    assert_eq!(config.clients[0].access_token_lifetime, Duration::from_secs(90));
}

#[test]
fn an_unreadable_file_differs_from_one_with_mistakes() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path().join("chancery.toml");
    assert_eq!(load(&at).unwrap_err().exit_status(), 66);
    assert_eq!(load(home.path()).unwrap_err().exit_status(), 66);
    std::fs::write(&at, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_eq!(load(&at).unwrap_err().exit_status(), 66);
    std::fs::write(&at, "version = 1").unwrap();
    assert_eq!(load(&at).unwrap_err().exit_status(), 78);
    std::fs::write(&at, GOOD).unwrap();
    let mistakes = load(&at).unwrap_err();
    assert_eq!(mistakes.list().len(), 1, "{mistakes}");
    assert!(mistakes.to_string().contains("login.jwks"), "{mistakes}");
    std::fs::write(home.path().join("login.jwks"), KEYS).unwrap();
    assert!(load(&at).is_ok());
}

#[test]
fn keys_that_cannot_be_read_are_a_mistake_of_the_line_that_names_them() {
    let mistakes =
        parse(Path::new("c.toml"), GOOD.as_bytes(), &|_| Err(io::Error::other("gone"))).unwrap_err();
    let line = 1 + GOOD.lines().position(|l| l.starts_with("jwks_file")).unwrap();
    let text = mistakes.to_string();
    assert!(
        text.starts_with(&format!("c.toml:{line}: grant_issuers[0].jwks_file: expected a readable file")),
        "{text}"
    );
}
