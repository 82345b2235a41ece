//! A bank as the tests of this room know it: a payment API, a signing service, a shop, and a front server.

use crate::claims::{Authentication, Grant, NumericDate, Origin, TokenFacts, TokenFormat};
pub(crate) use crate::config::testing::{LOGIN, bank, client, grant_issuer, server};
use serde_json::{Value, json};

pub(crate) const NOW: NumericDate = NumericDate(1_795_000_000);
pub(crate) const PAYMENTS: &str = "https://payments.bank.example";
pub(crate) const SIGNING: &str = "https://sign.bank.example";

pub(crate) fn payment() -> Value {
    json!({"type": "payment_initiation", "actions": ["initiate"],
        "instructedAmount": {"currency": "EUR", "amount": "123.50"}, "creditorName": "Merchant A",
        "creditorAccount": {"iban": "DE02100100109307118603"}, "remittanceInformationUnstructured": "Ref 1"})
}

pub(crate) fn contract() -> Value {
    json!({"type": "credential", "credentialID": "key-1", "hashAlgorithmOID": "2.16.840.1.101.3.4.2.1",
        "documentDigests": [{"hash": "sTOgwOm+474gFj0q0x1iSNspKqbcse4IeiqlDg/HWuI=", "label": "Contract"}]})
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
            authentication: Authentication {
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
