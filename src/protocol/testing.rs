//! A bank as the tests of this room know it: a payment API, a signing service, a shop, and a front server.

use crate::claims::{
    Authentication as SignedIn, Grant, NumericDate, Origin, Purpose, TokenFacts, TokenFormat,
};
use crate::config::{
    Audit, AuthMethod, Authentication, Client, Config, GrantIssuer, GrantKey, GrantType, Hsm, Http,
    KeySeries, Limits, LogLines, PinSource, ResourceServer, ResponseAudience, SecretHashes, SignerMode,
    Store,
};
use crate::jose::Algorithm;
use crate::jose::testing::TestKey;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub(crate) const NOW: NumericDate = NumericDate(1_795_000_000);
pub(crate) const PAYMENTS: &str = "https://payments.bank.example";
pub(crate) const SIGNING: &str = "https://sign.bank.example";

/// The front server's key.
pub(crate) static LOGIN: LazyLock<TestKey> = LazyLock::new(|| TestKey::new(Algorithm::ES256));

pub(crate) fn payment() -> Value {
    json!({"type": "payment_initiation", "actions": ["initiate"],
        "instructedAmount": {"currency": "EUR", "amount": "123.50"}, "creditorName": "Merchant A",
        "creditorAccount": {"iban": "DE02100100109307118603"}, "remittanceInformationUnstructured": "Ref 1"})
}

pub(crate) fn contract() -> Value {
    json!({"type": "credential", "credentialID": "key-1", "hashAlgorithmOID": "2.16.840.1.101.3.4.2.1",
        "documentDigests": [{"hash": "sTOgwOm+474gFj0q0x1iSNspKqbcse4IeiqlDg/HWuI=", "label": "Contract"}]})
}

fn words<T: std::str::FromStr<Err: std::fmt::Debug> + Ord>(texts: &[&str]) -> BTreeSet<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn secret() -> Authentication {
    Authentication { method: AuthMethod::ClientSecretBasic, secrets: SecretHashes(vec![[1; 32]]) }
}

fn resource_server(
    name: &str,
    resource: &str,
    scopes: &[&str],
    kind: &str,
    claims: &[&str],
) -> Arc<ResourceServer> {
    Arc::new(ResourceServer {
        client_id: name.parse().unwrap(),
        resource: resource.parse().unwrap(),
        authentication: secret(),
        introspection_alg: Algorithm::ES256,
        require_signed_response: true,
        response_jti: true,
        response_audience: ResponseAudience::ClientId,
        access_token_formats: vec![TokenFormat::Opaque, TokenFormat::AtJwt],
        access_token_alg: Algorithm::ES256,
        scopes: scopes.iter().map(|s| (*s).to_owned().try_into().unwrap()).collect(),
        authorization_details_types: [serde_json::from_value(json!(kind)).unwrap()].into(),
        claims: words(claims),
    })
}

pub(crate) fn bank() -> Config {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let series = |purpose, algorithm| KeySeries { purpose, algorithm, rsa_bits: 3072 };
    Config {
        issuer: "https://as.bank.example".parse().unwrap(),
        http: Http {
            listen: loopback,
            operations_listen: loopback,
            tls: None,
            threads: 1,
            limits: Limits {
                body_bytes: 65_536,
                introspection_body_bytes: 262_144,
                header_bytes: 16_384,
                parameters: 100,
                json_depth: 32,
                request_time: Duration::from_secs(10),
                connections: 16,
                connections_per_source: 16,
                requests_per_second: 100,
                failures_per_second: 10,
                address_failures_per_second: 100,
                inactive_per_second: 10,
                inactive_bytes_per_day: 1 << 20,
                in_flight: 16,
                in_flight_per_caller: 16,
                answer_time: Duration::from_secs(10),
                signer_wait: Duration::ZERO,
            },
        },
        signer: SignerMode::Child,
        signer_state: "signer".into(),
        hsm: Hsm {
            module: "/dev/null".into(),
            token: "pkcs11:token=test".to_owned(),
            pin: PinSource::File("/dev/null".into()),
            sessions: 1,
            deadline: Duration::from_secs(10),
        },
        keys: vec![
            series(Purpose::AccessToken, Algorithm::ES256),
            series(Purpose::Introspection, Algorithm::ES256),
            series(Purpose::Introspection, Algorithm::RS256),
            series(Purpose::Metadata, Algorithm::ES256),
        ],
        auditors: None,
        audit: Audit {
            directory: "/dev/null".into(),
            origin: "as.bank.example/audit/test".to_owned(),
            node: "test".to_owned(),
            segment_bytes: 1 << 26,
        },
        store: Store { path: "/dev/null".into() },
        grant_issuers: vec![Arc::new(GrantIssuer {
            issuer: "https://login.bank.example".parse().unwrap(),
            keys: vec![GrantKey { kid: Some(LOGIN.public().kid().to_owned()), key: LOGIN.public() }],
            resources: vec![PAYMENTS.parse().unwrap(), SIGNING.parse().unwrap()],
            authorization_details_types: crate::claims::DetailType::ALL.into(),
            max_assertion_lifetime: Duration::from_secs(300),
        })],
        resource_servers: vec![
            resource_server(
                "payments-api",
                PAYMENTS,
                &["payments:initiate", "payments:status"],
                "payment_initiation",
                &["sub", "client_id", "acr", "auth_time", "consent_id"],
            ),
            resource_server(
                "signing-api",
                SIGNING,
                &["sign:contracts"],
                "credential",
                &["amr", "given_name"],
            ),
        ],
        clients: vec![Arc::new(Client {
            client_id: "shop".parse().unwrap(),
            authentication: secret(),
            grant_types: GrantType::ALL.into(),
            resources: vec![PAYMENTS.parse().unwrap(), SIGNING.parse().unwrap()],
            scope: "payments:initiate payments:status sign:contracts".parse().unwrap(),
            authorization_details_types: crate::claims::DetailType::ALL.into(),
            access_token_format: None,
            access_token_lifetime: Duration::from_secs(300),
        })],
        log: LogLines::Human,
    }
}

/// The shop's opaque token for both services.
pub(crate) fn facts() -> TokenFacts {
    TokenFacts {
        format: TokenFormat::Opaque,
        jti: "jti-1".parse().unwrap(),
        grant: Grant {
            client_id: "shop".parse().unwrap(),
            subject: "alice".parse().unwrap(),
            origin: Origin::Assertion("https://login.bank.example".parse().unwrap()),
            audience: vec![PAYMENTS.parse().unwrap(), SIGNING.parse().unwrap()],
            scope: "payments:initiate sign:contracts".parse().unwrap(),
            authorization_details: serde_json::from_value(json!([payment(), contract()])).unwrap(),
            authentication: SignedIn {
                acr: Some("psd2_sca".parse().unwrap()),
                amr: vec!["pwd".parse().unwrap(), "otp".parse().unwrap()],
                auth_time: Some(NumericDate(NOW.0 - 60)),
            },
            extra: [("consent_id", "c-1"), ("given_name", "Alice")]
                .map(|(name, value)| (name.parse().unwrap(), value.into()))
                .into(),
        },
        issued_at: NumericDate(NOW.0 - 10),
        not_before: None,
        expires_at: NumericDate(NOW.0 + 290),
        revoked: false,
    }
}

/// Changes the only client, or the resource server at a place.
pub(crate) fn client(config: &mut Config) -> &mut Client {
    Arc::get_mut(&mut config.clients[0]).unwrap()
}

pub(crate) fn server(config: &mut Config, place: usize) -> &mut ResourceServer {
    Arc::get_mut(&mut config.resource_servers[place]).unwrap()
}

pub(crate) fn grant_issuer(config: &mut Config) -> &mut GrantIssuer {
    Arc::get_mut(&mut config.grant_issuers[0]).unwrap()
}
