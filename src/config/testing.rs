//! Configurations for the tests of every room, read from TOML like an operator's file.

use super::{Client, Config, GrantIssuer, ResourceServer};
use crate::jose::Algorithm;
use crate::jose::testing::TestKey;
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// What every file must have and no test of callers looks at.
const REST: &str = r#"
[http]
listen = "127.0.0.1:0"
operations_listen = "127.0.0.1:0"
[hsm]
module = "/nowhere"
token = "pkcs11:token=test"
pin_credential = "pin"
[audit]
directory = "/nowhere"
origin = "as.bank.example/audit/test"
[store]
url = "sqlite:/nowhere"
[[keys]]
purpose = "access-token"
algorithm = "ES256"
[[keys]]
purpose = "introspection"
algorithm = "ES256"
[[keys]]
purpose = "introspection"
algorithm = "RS256"
[[keys]]
purpose = "metadata"
algorithm = "ES256"
[[keys]]
purpose = "audit-checkpoint"
algorithm = "ES256"
"#;

/// A bank: a payment API, a signing service, a shop, and a front server with the key [`LOGIN`].
const BANK: &str = r#"
issuer = "https://as.bank.example"
[[grant_issuers]]
issuer = "https://login.bank.example"
jwks_file = "login.jwks"
resources = ["https://payments.bank.example", "https://sign.bank.example"]
authorization_details_types = ["payment_initiation", "credential"]
[[resource_servers]]
client_id = "payments-api"
resource = "https://payments.bank.example"
client_secret_sha256 = "0000000000000000000000000000000000000000000000000000000000000001"
introspection_signed_response_alg = "ES256"
require_signed_response = true
access_token_formats = ["opaque", "at+jwt"]
scopes = ["payments:initiate", "payments:status"]
authorization_details_types = ["payment_initiation"]
claims = ["sub", "client_id", "acr", "auth_time", "consent_id"]
[[resource_servers]]
client_id = "signing-api"
resource = "https://sign.bank.example"
client_secret_sha256 = "0000000000000000000000000000000000000000000000000000000000000002"
introspection_signed_response_alg = "ES256"
require_signed_response = true
access_token_formats = ["opaque", "at+jwt"]
scopes = ["sign:contracts"]
authorization_details_types = ["credential"]
claims = ["amr", "given_name"]
[[clients]]
client_id = "shop"
client_secret_sha256 = "0000000000000000000000000000000000000000000000000000000000000003"
grant_types = ["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"]
resources = ["https://payments.bank.example", "https://sign.bank.example"]
scope = "payments:initiate payments:status sign:contracts"
authorization_details_types = ["payment_initiation", "credential"]
"#;

/// The front server's key.
pub(crate) static LOGIN: LazyLock<TestKey> = LazyLock::new(|| TestKey::new(Algorithm::ES256));

/// `text` is TOML: `issuer`, then tables other than those that every file must have. The keys of its front servers are
/// [`LOGIN`].
pub(crate) fn config(text: &str) -> Config {
    let text = format!("version = 1\n{text}{REST}");
    let keys = json!({"keys": [LOGIN.public().jwk()]}).to_string();
    super::parse(Path::new("/test.toml"), text.as_bytes(), &|_| Ok(keys.clone().into_bytes()))
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

pub(crate) fn bank() -> Config {
    config(BANK)
}

/// Changes the first client.
pub(crate) fn client(config: &mut Config) -> &mut Client {
    Arc::get_mut(&mut config.clients[0]).unwrap()
}

/// Changes the resource server at a place.
pub(crate) fn server(config: &mut Config, place: usize) -> &mut ResourceServer {
    Arc::get_mut(&mut config.resource_servers[place]).unwrap()
}

/// Changes the first front server.
pub(crate) fn grant_issuer(config: &mut Config) -> &mut GrantIssuer {
    Arc::get_mut(&mut config.grant_issuers[0]).unwrap()
}
