//! Mistakes of the entries that name each other: keys, resource servers, front servers, clients.

use super::mistakes::check;
use super::{GOOD, read};

const PAY: &str = "client_id = \"pay\"\n";
const SHOP: &str = "client_id = \"shop\"\n";

#[test]
fn keys() {
    let metadata = "[[keys]]\npurpose = \"metadata\"\nalgorithm = \"EdDSA\"\n";
    let checkpoint = "purpose = \"audit-checkpoint\"\nalgorithm = \"ES256\"\n";
    let first = "purpose = \"introspection\"\nalgorithm = \"ES256\"\n";
    let rsa = "algorithm = \"RS256\"\n";
    check(&[
        (metadata, "", "keys", "exactly one key with purpose = \"metadata\", found none"),
        (
            metadata,
            "[[keys]]\npurpose = \"metadata\"\nalgorithm = \"EdDSA\"\n[[keys]]\npurpose = \"metadata\"\nalgorithm = \"ES256\"\n",
            "keys[5]",
            "found another",
        ),
        (
            checkpoint,
            "purpose = \"audit-checkpoint\"\nalgorithm = \"ES384\"\n",
            "keys[5].algorithm",
            "checkpoint signatures",
        ),
        (
            "algorithm = \"ES384\"\n",
            "algorithm = \"ES256\"\n",
            "keys[3]",
            "one series for access-token ES256",
        ),
        (
            first,
            "purpose = \"introspection\"\nalgorithm = \"ES256\"\nrsa_bits = 2048\n",
            "keys[0].rsa_bits",
            "no such key for ES256",
        ),
        (rsa, "algorithm = \"RS256\"\nrsa_bits = 1024\n", "keys[1].rsa_bits", "2048, 3072 or 4096"),
        (rsa, "algorithm = \"RS256\"\nrsa_bits = 2560\n", "keys[1].rsa_bits", "found 2560"),
        (
            rsa,
            "algorithm = \"RS256\"\nuri = \"pkcs11:object=a\"\n",
            "keys[1].uri",
            "a later version reads it",
        ),
        (
            rsa,
            "algorithm = \"HS256\"\n",
            "keys[1].algorithm",
            "\"ES256\", \"ES384\", \"RS256\", \"PS256\" or \"EdDSA\"",
        ),
        (rsa, "algorithm = \"none\"\n", "keys[1].algorithm", "found \"none\""),
        (
            rsa,
            "algorithm = \"PS256\"\n",
            "resource_servers[1].introspection_signed_response_alg",
            "(ES256, PS256), found \"RS256\"",
        ),
        (
            "purpose = \"metadata\"\n",
            "purpose = \"security-event\"\n",
            "keys[4].purpose",
            "a later version knows it",
        ),
    ]);
}

#[test]
fn resource_servers() {
    let formats = "access_token_formats = [\"opaque\", \"at+jwt\"]\n";
    let claims = "claims = [\"sub\", \"openbanking_intent_id\"]\n";
    let secret = "\"1000000000000000000000000000000000000000000000000000000000000000\"";
    check(&[
        (
            "introspection_signed_response_alg = \"ES256\"",
            "introspection_signed_response_alg = \"ES384\"",
            "resource_servers[0].introspection_signed_response_alg",
            "(ES256, RS256)",
        ),
        (
            formats,
            "access_token_formats = []\n",
            "resource_servers[0].access_token_formats",
            "a list of 1 to 2",
        ),
        (
            formats,
            "access_token_formats = [\"jwt\"]\n",
            "resource_servers[0].access_token_formats[0]",
            "found \"jwt\"",
        ),
        (
            formats,
            "access_token_formats = [\"opaque\", \"opaque\"]\n",
            "resource_servers[0].access_token_formats[1]",
            "each value once",
        ),
        (
            formats,
            "access_token_signing_alg = \"RS256\"\n",
            "resource_servers[0].access_token_signing_alg",
            "(ES384, ES256)",
        ),
        (claims, "claims = [\"scope\"]\n", "resource_servers[0].claims[0]", "has a meaning of its own"),
        (claims, "claims = [\"act\"]\n", "resource_servers[0].claims[0]", "has a meaning of its own"),
        (claims, "claims = [\"a b\"]\n", "resource_servers[0].claims[0]", "1 to 64 of"),
        (claims, "claims = \"sub\"\n", "resource_servers[0].claims", "a list of 0 to 64"),
        (
            secret,
            "\"hunter2\"",
            "resource_servers[0].client_secret_sha256",
            "found another text of 7 characters",
        ),
        (secret, "[]", "resource_servers[0].client_secret_sha256", "found a list of 0"),
        (secret, "12345678", "resource_servers[0].client_secret_sha256", "found another type"),
        (
            secret,
            "\"3000000000000000000000000000000000000000000000000000000000000000\"",
            "clients[0].client_secret_sha256",
            "a secret that nobody else has",
        ),
        (
            PAY,
            "client_id = \"pay\"\ntoken_endpoint_auth_method = \"private_key_jwt\"\n",
            "resource_servers[0].token_endpoint_auth_method",
            "a later version knows it",
        ),
        (
            PAY,
            "client_id = \"pay\"\nintrospection_encrypted_response_alg = \"ECDH-ES\"\n",
            "resource_servers[0].introspection_encrypted_response_alg",
            "a later version reads it",
        ),
        (
            PAY,
            "client_id = \"pay\"\nrequire_signed_response = \"yes\"\n",
            "resource_servers[0].require_signed_response",
            "true or false",
        ),
        (
            PAY,
            "client_id = \"pay\"\nresponse_audience = \"both\"\n",
            "resource_servers[0].response_audience",
            "\"client_id\" or \"resource\"",
        ),
        (
            PAY,
            "client_id = \"sign\"\n",
            "resource_servers[1].client_id",
            "a client_id of its own, found that of resource_servers[0].client_id",
        ),
        (
            PAY,
            "client_id = \"https://sign.example\"\n",
            "resource_servers[1].resource",
            "another text than every client_id",
        ),
        (PAY, "client_id = \"\"\n", "resource_servers[0].client_id", "an empty text"),
        (
            "scopes = [\"credential\", \"status\"]",
            "scopes = [\"credential\", \"a b\"]",
            "resource_servers[1].scopes[1]",
            "RFC 6749",
        ),
    ]);
}

#[test]
fn no_caller_is_without_credentials() {
    for (caller, key) in [(PAY, "resource_servers[0]"), (SHOP, "clients[0]")] {
        let text = GOOD.replace(caller, &format!("{caller}token_endpoint_auth_method = \"none\"\n"));
        let mistakes = read(&text).unwrap_err().to_string();
        assert!(mistakes.contains(&format!("{key}.token_endpoint_auth_method: ")), "{mistakes}");
        assert!(mistakes.contains("found \"none\""), "{mistakes}");
    }
}

#[test]
fn names_that_could_be_taken_for_another() {
    let sign = "client_id = \"sign\"\nresource = \"https://sign.example\"\n";
    let shop =
        "resources = [\"https://pay.example\", \"https://sign.example\"]\nscope = \"pay:start credential\"\n";
    let base = GOOD.replace(shop, "resources = [\"https://pay.example\"]\n");
    for (to, says) in [
        ("https://as.example", "another URI than the issuer"),
        ("https://pay.example", "a resource of its own"),
        ("shop:", "another text than every client_id"),
    ] {
        let text = base.replace(sign, &format!("client_id = \"shop:\"\nresource = \"{to}\"\n"));
        let mistakes = read(&text).unwrap_err();
        assert_eq!(mistakes.list().len(), 1, "{mistakes}");
        assert!(mistakes.to_string().contains(says), "{mistakes}");
    }
}

#[test]
fn front_servers() {
    let issuer = "issuer = \"https://login.example\"";
    let types =
        "resources = [\"https://pay.example\"]\nauthorization_details_types = [\"payment_initiation\"]\n";
    check(&[
        (issuer, "issuer = \"https://as.example\"", "grant_issuers[0].issuer", "found our own"),
        (issuer, "issuer = \"login\"", "grant_issuers[0].issuer", "no scheme"),
        (
            types,
            "resources = [\"https://pay.exampel\"]\n",
            "grant_issuers[0].resources[0]",
            "the resource of an entry in [[resource_servers]]",
        ),
        (types, "resources = []\n", "grant_issuers[0].resources", "a list of 1 to 256"),
        (
            types,
            "resources = [\"https://pay.example\"]\nauthorization_details_types = [\"credential\"]\n",
            "grant_issuers[0].authorization_details_types[0]",
            "a type that one of its resources owns",
        ),
        (
            types,
            "resources = [\"https://pay.example\"]\nauthorization_details_types = [\"account\"]\n",
            "grant_issuers[0].authorization_details_types[0]",
            "found \"account\"",
        ),
        (
            types,
            "resources = [\"https://pay.example\"]\nmax_assertion_lifetime = \"2h\"\n",
            "grant_issuers[0].max_assertion_lifetime",
            "from 1s to 1h",
        ),
        ("jwks_file = \"login.jwks\"\n", "", "grant_issuers[0].jwks_file", "found nothing"),
    ]);
    let again = "[[grant_issuers]]\nissuer = \"https://login.example\"\njwks_file = \"b\"\nresources = [\"https://sign.example\"]\n[[clients]]\n";
    check(&[("[[clients]]\n", again, "grant_issuers[1].issuer", "an issuer of its own")]);
}

#[test]
fn a_scope_pattern_of_a_client_belongs_to_one_resource() {
    let with = |pay: &str, sign: &str, client: &str| {
        let text = GOOD
            .replace("scopes = [\"pay:start\", \"status\"]", &format!("scopes = [{pay:?}]"))
            .replace("scopes = [\"credential\", \"status\"]", &format!("scopes = [{sign:?}]"))
            .replace("scope = \"pay:start credential\"", &format!("scope = {client:?}"));
        read(&text).map(drop).map_err(|mistakes| mistakes.to_string())
    };
    for (pay, sign, client) in [("a:*", "b:*", "a:1 b:c:*"), ("a:*", "b", "a:* b"), ("a:*", "a:b", "a:c")] {
        with(pay, sign, client).unwrap();
    }
    for (pay, sign, client) in [("a:*", "a:b", "a:b"), ("a:*", "a:b:*", "a:b:c"), ("a:*", "a:b", "a:*")] {
        let mistakes = with(pay, sign, client).unwrap_err();
        assert!(mistakes.contains("scopes that one of its resources owns"), "{mistakes}");
    }
}

#[test]
fn clients() {
    let grants = "grant_types = [\"client_credentials\"]";
    let resources = "resources = [\"https://pay.example\", \"https://sign.example\"]";
    let scope = "scope = \"pay:start credential\"";
    let life = "access_token_lifetime = \"90s\"";
    check(&[
        (grants, "grant_types = []", "clients[0].grant_types", "a list of 1 to 2"),
        (grants, "grant_types = [\"password\"]", "clients[0].grant_types[0]", "found \"password\""),
        (
            grants,
            "grant_types = [\"urn:ietf:params:oauth:grant-type:token-exchange\"]",
            "clients[0].grant_types[0]",
            "a later version knows it",
        ),
        (
            resources,
            "resources = [\"https://other.example\"]",
            "clients[0].resources[0]",
            "the resource of an entry",
        ),
        (resources, "", "clients[0].resources", "found nothing"),
        (
            scope,
            "scope = \"pay:start write\"",
            "clients[0].scope",
            "a scope that one of its resources owns, found \"write\"",
        ),
        (
            scope,
            "scope = \"status\"",
            "clients[0].scope",
            "\"status\" of https://pay.example and https://sign.example",
        ),
        (scope, "scope = \"a  b\"", "clients[0].scope", "found \"a  b\""),
        (
            scope,
            "scope = \"pay:*\"",
            "clients[0].scope",
            "a scope that one of its resources owns, found \"pay:*\"",
        ),
        (scope, "scope = \"*\"", "clients[0].scope", "* alone"),
        (
            "access_token_format = \"opaque\"",
            "access_token_format = \"at+jwt\"",
            "clients[0].access_token_format",
            "a format that https://sign.example takes (opaque)",
        ),
        (life, "access_token_lifetime = \"25h\"", "clients[0].access_token_lifetime", "from 1s to 24h"),
        (life, "access_token_lifetime = \"250ms\"", "clients[0].access_token_lifetime", "from 1s to 24h"),
        (life, "access_token_lifetime = \"1500ms\"", "clients[0].access_token_lifetime", "whole seconds"),
        (
            life,
            "access_token_lifetme = \"1h\"",
            "clients[0].access_token_lifetme",
            "did you mean \"access_token_lifetime\"?",
        ),
        (
            SHOP,
            "client_id = \"pay\"\n",
            "clients[0].client_id",
            "found that of resource_servers[0].client_id",
        ),
        (SHOP, "", "clients[0].client_id", "found nothing"),
        (
            SHOP,
            "client_id = \"shop\"\nauthorization_details_type = []\n",
            "clients[0].authorization_details_type",
            "did you mean",
        ),
    ]);
    let text = GOOD.replace(
        "authorization_details_types = [\"payment_initiation\"]\naccess_token_format",
        "authorization_details_types = [\"credential\"]\naccess_token_format",
    );
    assert!(
        read(&text)
            .unwrap_err()
            .to_string()
            .contains("clients[0].authorization_details_types[0]: expected a type")
    );
}

#[test]
fn a_resource_server_of_at_jwt_needs_an_access_token_key() {
    let text = GOOD.replace("[[keys]]\npurpose = \"access-token\"\nalgorithm = \"ES384\"\n", "");
    let text = text.replace("[[keys]]\npurpose = \"access-token\"\nalgorithm = \"ES256\"\n", "");
    let mistakes = read(&text).unwrap_err();
    assert_eq!(mistakes.list().len(), 1, "{mistakes}");
    assert_eq!(mistakes.list()[0].key, "resource_servers[0].access_token_formats[1]");
}
