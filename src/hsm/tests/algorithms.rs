//! Each algorithm from the making of a key to an independent verifier.

use super::fixture::{self, spec, test};
use crate::hsm::KeyLabel;
use crate::jose::{Algorithm, PublicKey};
use der::Encode;
use der::asn1::UintRef;
use std::fs;
use std::process::Command;
use x509_cert::spki::der::pem::LineEnding;

test! {
    fn every_algorithm_makes_signatures_that_jose_and_openssl_verify(token) {
        let hsm = token.open();
        let mut session = hsm.session().unwrap();
        for algorithm in Algorithm::ALL {
            let label = KeyLabel::new("introspection", algorithm, 1).unwrap().to_string();
            let made = hsm.generate(&spec(&label, algorithm)).unwrap();
            let found = hsm.find(&label, algorithm).unwrap();
            assert_eq!(found.public().spki(), made.public().spki());
            for message in [&b""[..], b"eyJhbGciOiJFUzI1NiJ9.e30", &vec![0xff; 70_000]] {
                let signature = session.sign(&found, message).unwrap();
                let key = PublicKey::from_spki(algorithm, found.public().spki()).unwrap();
                assert_eq!(key.verify(message, &signature), Ok(()), "{algorithm}");
                assert!(key.verify(b"another message", &signature).is_err(), "{algorithm}");
                if !message.is_empty() {
                    assert!(openssl(token, &key, message, &signature), "{algorithm}");
                    assert!(!openssl(token, &key, b"another message", &signature), "{algorithm}");
                }
            }
        }
        assert_eq!(hsm.labels().unwrap().len(), Algorithm::ALL.len());
    }
}

test! {
    fn threads_sign_side_by_side_with_sessions_of_their_own(token) {
        let hsm = token.open();
        let key = hsm.generate(&spec("introspection-es256-1", Algorithm::ES256)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let (hsm, key) = (hsm.clone(), key.clone());
                scope.spawn(move || {
                    let mut session = hsm.session().unwrap();
                    for round in 0..50_u8 {
                        let message = [thread, round];
                        let signature = session.sign(&key, &message).unwrap();
                        assert_eq!(key.public().verify(&message, &signature), Ok(()));
                    }
                });
            }
        });
    }
}

fn openssl(token: &fixture::Token, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let write = |name: &str, bytes: &[u8]| fs::write(token.path(name), bytes).unwrap();
    let pem = der::pem::encode_string("PUBLIC KEY", LineEnding::LF, key.spki()).unwrap();
    write("key.pem", pem.as_bytes());
    write("message", message);
    write("signature", &openssl_form(key.algorithm(), signature));
    let path = |name: &str| token.path(name).to_str().unwrap().to_owned();
    let mut command = Command::new("openssl");
    if key.algorithm() == Algorithm::EdDSA {
        command.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", &path("key.pem")]);
        command.args(["-in", &path("message"), "-sigfile", &path("signature")]);
    } else {
        let hash = if key.algorithm() == Algorithm::ES384 { "-sha384" } else { "-sha256" };
        command.args(["dgst", hash, "-verify", &path("key.pem"), "-signature", &path("signature")]);
        if key.algorithm() == Algorithm::PS256 {
            command.args(["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]);
        }
        command.arg(path("message"));
    }
    let output = command.output().expect("openssl is missing: apt-get install openssl");
    output.status.success()
}

/// The form that OpenSSL expects: a DER SEQUENCE of two integers (RFC 3279 §2.2.3).
fn openssl_form(algorithm: Algorithm, signature: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => {
            let (r, s) = signature.split_at(signature.len() / 2);
            let body =
                [UintRef::new(r).unwrap(), UintRef::new(s).unwrap()].map(|n| n.to_der().unwrap()).concat();
            [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
        }
        _ => signature.to_vec(),
    }
}
