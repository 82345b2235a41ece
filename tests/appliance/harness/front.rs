//! The bank's front server, which signs customers in and issues grants (RFC 7523).

use super::settings::{ACCOUNTS, LOGIN, PAYMENTS, SIGNING};
use super::{base64url, now, unique};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// One of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Es256,
    Rs256,
}

/// Its keys; every test may use the same.
pub(crate) struct FrontServer {
    es256: EcdsaKeyPair,
    rs256: rsa::KeyPair,
    stranger: EcdsaKeyPair,
}

impl FrontServer {
    /// The one front server of this run.
    pub(crate) fn get() -> &'static Self {
        static FRONT: OnceLock<FrontServer> = OnceLock::new();
        FRONT.get_or_init(|| Self {
            es256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            rs256: rsa::KeyPair::generate(KeySize::Rsa2048).unwrap(),
            stranger: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        })
    }

    /// Content of `jwks_file`.
    pub(crate) fn jwks(&self) -> Value {
        let point = self.es256.public_key().as_ref();
        let public = self.rs256.public_key();
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "login-ec",
                "x": base64url(&point[1..33]), "y": base64url(&point[33..65])},
            {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "login-rsa",
                "n": base64url(public.modulus().big_endian_without_leading_zero()),
                "e": base64url(public.exponent().big_endian_without_leading_zero())},
        ]})
    }

    /// The modulus, for the attack that uses it as an HMAC secret.
    pub(crate) fn modulus(&self) -> Vec<u8> {
        self.rs256.public_key().modulus().big_endian_without_leading_zero().to_vec()
    }

    fn sign(&self, key: Key, input: &str) -> Vec<u8> {
        match key {
            Key::Es256 => self.es256.sign(&SystemRandom::new(), input.as_bytes()).unwrap().as_ref().to_vec(),
            Key::Rs256 => {
                let mut signature = vec![0; self.rs256.public_modulus_len()];
                self.rs256
                    .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        }
    }

    /// Signed with an unknown key.
    pub(crate) fn sign_as_stranger(&self, header: &Value, claims: &Value) -> String {
        let input = signing_input(header, claims);
        let signature = self.stranger.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", base64url(signature))
    }
}

/// `header.payload`.
pub(crate) fn signing_input(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()))
}

/// One approved grant; each assertion made of it has its own `jti` unless the test sets one.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    key: Key,
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
}

impl Grant {
    /// The case of the design: a contract to sign, and the payment that goes with it.
    pub(crate) fn of_the_case(issuer: &str) -> Self {
        Self::bare(issuer)
            .with("scope", json!("payments:initiate payments:status credential"))
            .with("resource", json!([PAYMENTS, SIGNING]))
            .with("authorization_details", json!([payment(), contract()]))
            .with("acr", json!("psd2_sca"))
            .with("amr", json!(["hwk", "pin"]))
            .with("auth_time", json!(now() - 30))
            .with("given_name", json!("Aleksandra"))
            .with("shoe_size", json!("forty-two"))
    }

    /// A grant of one scope.
    pub(crate) fn of_scope(issuer: &str, scope: &str) -> Self {
        Self::bare(issuer).with("scope", json!(scope))
    }

    fn bare(issuer: &str) -> Self {
        let grant = Self { key: Key::Es256, header: Map::new(), claims: Map::new() };
        grant
            .signed_with(Key::Es256)
            .with("iss", json!(LOGIN))
            .with("sub", json!(CUSTOMER))
            .with("aud", json!(issuer))
            .with("iat", json!(now()))
            .with("exp", json!(now() + 120))
    }

    /// With another key.
    pub(crate) fn signed_with(mut self, key: Key) -> Self {
        let (alg, kid) = match key {
            Key::Es256 => ("ES256", "login-ec"),
            Key::Rs256 => ("RS256", "login-rsa"),
        };
        self.key = key;
        self.header("alg", json!(alg)).header("kid", json!(kid))
    }

    /// With another claim.
    pub(crate) fn with(mut self, claim: &str, value: Value) -> Self {
        self.claims.insert(claim.to_owned(), value);
        self
    }

    /// Without a claim.
    pub(crate) fn without(mut self, claim: &str) -> Self {
        self.claims.remove(claim);
        self
    }

    /// With another member of the header.
    pub(crate) fn header(mut self, name: &str, value: Value) -> Self {
        self.header.insert(name.to_owned(), value);
        self
    }

    /// The claims, with a `jti`.
    pub(crate) fn named(&self) -> Value {
        let mut claims = self.claims.clone();
        claims.entry("jti").or_insert_with(|| json!(unique()));
        Value::Object(claims)
    }

    /// The assertion.
    pub(crate) fn text(&self) -> String {
        self.text_of(&self.named().to_string())
    }

    /// The assertion without a `jti`.
    pub(crate) fn text_unnamed(&self) -> String {
        self.text_of(&Value::Object(self.claims.clone()).to_string())
    }

    /// An assertion with exactly this payload.
    pub(crate) fn text_of(&self, payload: &str) -> String {
        let header = Value::Object(self.header.clone()).to_string();
        let input = format!("{}.{}", base64url(header), base64url(payload));
        let signature = FrontServer::get().sign(self.key, &input);
        format!("{input}.{}", base64url(signature))
    }
}

/// The customer: a name that must not appear in a log line.
pub(crate) const CUSTOMER: &str = "customer-4711-aleksandra";

/// The account to be paid.
pub(crate) const IBAN: &str = "DE02100100109307118603";

/// The payment of the case.
pub(crate) fn payment() -> Value {
    json!({
        "type": "payment_initiation",
        "actions": ["initiate", "status"],
        "locations": [PAYMENTS],
        "instructedAmount": {"currency": "EUR", "amount": "123.50"},
        "creditorName": "Merchant A",
        "creditorAccount": {"iban": IBAN},
        "remittanceInformationUnstructured": "Ref Number Merchant",
    })
}

/// The contract of the case: two documents.
pub(crate) fn contract() -> Value {
    json!({
        "type": "credential",
        "credentialID": "GX0112348",
        "documentDigests": [
            {"hash": "sTOgwOm+474gFj0q0x1iSNspKqbcse4IeiqlDg/HWuI=", "label": "Mortgage contract"},
            {"hash": "HZQzZmMAIWekfGH0/ZKW1nsdt0xg3H6bZYztgsMTLw0=", "label": "Payment protection"},
        ],
        "hashAlgorithmOID": "2.16.840.1.101.3.4.2.1",
        "locations": [SIGNING],
    })
}

/// A payment for the owner of the type at the accounts API.
pub(crate) fn payment_at_accounts() -> Value {
    let mut detail = payment();
    detail["locations"] = json!([ACCOUNTS]);
    detail
}
