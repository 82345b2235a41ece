//! JWTs of receivers: parsed, and verified by the room `jose`, by an independent library, and, where a test asks for
//! it, by `openssl`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chancery::jose::{Algorithm, Jwk, PublicKey};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Without padding (RFC 7515 §2).
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url; fails on other text.
pub(crate) fn from_base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap_or_else(|why| panic!("no base64url ({why}): {text}"))
}

/// In hexadecimal digits, as records have it.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

/// A compact JWS, parsed and not verified.
#[derive(Clone, Debug)]
pub(crate) struct Jwt {
    pub(crate) text: String,
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Jwt {
    /// Parses it.
    pub(crate) fn read(text: &str) -> Self {
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, _signature] = parts.as_slice() else { panic!("no compact JWS: {text}") };
        let json = |part: &str| serde_json::from_slice(&from_base64url(part)).unwrap();
        Self { text: text.to_owned(), header: json(header), claims: json(claims) }
    }

    /// The answer inside (RFC 9701 §5).
    pub(crate) fn inner(&self) -> &Value {
        &self.claims["token_introspection"]
    }

    /// The signed bytes, and the signature.
    pub(crate) fn halves(&self) -> (&str, Vec<u8>) {
        let (input, signature) = self.text.rsplit_once('.').unwrap();
        (input, from_base64url(signature))
    }

    /// Its key in a JWK set: the one with its `kid` and `alg`.
    pub(crate) fn jwk<'a>(&self, jwks: &'a Value) -> &'a Value {
        let keys = jwks["keys"].as_array().expect("a JWK set");
        let mut fitting =
            keys.iter().filter(|k| k["kid"] == self.header["kid"] && k["alg"] == self.header["alg"]);
        let key = fitting.next().unwrap_or_else(|| panic!("no key for {}", self.header));
        assert!(fitting.next().is_none(), "two keys for {}", self.header);
        key
    }

    /// Verifies it twice.
    pub(crate) fn verify(&self, jwks: &Value) {
        let (input, signature) = self.halves();
        let jwk = self.jwk(jwks);
        let ours = public_key(jwk).verify(input.as_bytes(), &signature);
        assert_eq!(ours, Ok(()), "{}", self.text);
        let key = jsonwebtoken::DecodingKey::from_jwk(&serde_json::from_value(jwk.clone()).unwrap()).unwrap();
        let algorithm = jwk["alg"].as_str().unwrap().parse().unwrap();
        let theirs = jsonwebtoken::crypto::verify(&base64url(signature), input.as_bytes(), &key, algorithm);
        assert!(theirs.unwrap(), "{}", self.text);
    }

    /// Verifies it a third time, with files in `scratch`.
    pub(crate) fn verify_with_openssl(&self, jwks: &Value, scratch: &Path) {
        let (input, signature) = self.halves();
        let key = public_key(self.jwk(jwks));
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", wrapped(key.spki()));
        let [pem_file, message, signed] = ["key.pem", "message", "signature"].map(|name| scratch.join(name));
        std::fs::write(&pem_file, pem).unwrap();
        std::fs::write(&message, input).unwrap();
        let mut command = Command::new("openssl");
        let alg = self.header["alg"].as_str().unwrap();
        let signature = if alg.starts_with("ES") { der(&signature) } else { signature };
        std::fs::write(&signed, signature).unwrap();
        if alg == "EdDSA" {
            command.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"]).arg(&pem_file);
            command.arg("-in").arg(&message).arg("-sigfile").arg(&signed);
        } else {
            command.args(["dgst", if alg == "ES384" { "-sha384" } else { "-sha256" }]);
            if alg == "PS256" {
                command.args(["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]);
            }
            command.arg("-verify").arg(&pem_file).arg("-signature").arg(&signed).arg(&message);
        }
        let output = command.output().expect("openssl is installed");
        assert!(
            output.status.success(),
            "openssl does not verify {alg}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn public_key(jwk: &Value) -> PublicKey {
    let algorithm: Algorithm = jwk["alg"].as_str().unwrap().parse().unwrap();
    let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
    PublicKey::from_jwk(algorithm, &jwk).unwrap()
}

/// base64 in lines of 64 characters, as PEM has it.
fn wrapped(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\n")
}

/// `r ‖ s` as the SEQUENCE of two INTEGERs that openssl reads.
fn der(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let integer = |half: &[u8]| {
        let mut value: Vec<u8> = half.iter().copied().skip_while(|byte| *byte == 0).collect();
        if value.first().is_none_or(|byte| byte & 0x80 != 0) {
            value.insert(0, 0);
        }
        [vec![2, u8::try_from(value.len()).unwrap()], value].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
}
