//! Which keys are made, found and refused.

use super::fixture::{self, spec, test};
use crate::hsm::generate::{private_template, public_template};
use crate::hsm::{FindError, GenerateError, KeyLabel, Refusal};
use crate::jose::Algorithm;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};

const LABEL: &str = "introspection-es256-1";

test! {
    fn a_generated_key_proves_that_it_cannot_leave(token) {
        let hsm = token.open();
        for algorithm in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA] {
            let key = hsm.generate(&spec(algorithm.name(), algorithm)).unwrap();
            let told = key.attributes();
            for yes in [told.token, told.private, told.sensitive, told.always_sensitive, told.never_extractable] {
                assert_eq!(yes, Some(true), "{algorithm}: {told:?}");
            }
            for no in [told.extractable, told.decrypt, told.unwrap, told.sign_recover, told.derive] {
                assert_eq!(no, Some(false), "{algorithm}: {told:?}");
            }
            assert_eq!((told.local, told.sign), (Some(true), Some(true)));
            assert_eq!(told.id, Some(hex::encode(algorithm.name())));
        }
    }
}

test! {
    fn a_label_or_an_id_in_use_is_not_used_again(token) {
        let hsm = token.open();
        let first = hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let again = hsm.generate(&spec(LABEL, Algorithm::ES384)).unwrap_err();
        assert!(matches!(again, GenerateError::Exists { .. }), "{again}");
        let mut same_id = spec("introspection-es256-2", Algorithm::ES256);
        same_id.id = LABEL.as_bytes().to_vec();
        assert!(matches!(hsm.generate(&same_id), Err(GenerateError::Exists { .. })));
        assert_eq!(hsm.labels().unwrap(), [LABEL]);
        assert_eq!(hsm.find(LABEL, Algorithm::ES256).unwrap().public().kid(), first.public().kid());
    }
}

test! {
    fn a_request_that_makes_no_sense_makes_nothing(token) {
        let hsm = token.open();
        for bits in [0, 1024, 2047, 2049, 8448] {
            let spec = crate::hsm::KeySpec { rsa_bits: bits, ..spec("rsa", Algorithm::RS256) };
            assert!(matches!(hsm.generate(&spec), Err(GenerateError::Spec(_))), "{bits}");
        }
        assert!(matches!(hsm.generate(&spec("", Algorithm::ES256)), Err(GenerateError::Spec(_))));
        assert!(hsm.labels().unwrap().is_empty());
    }
}

test! {
    fn two_keys_of_one_label_are_refused(token) {
        let hsm = token.open();
        hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let spec = spec(LABEL, Algorithm::ES256);
        let raw = token.raw(&hsm);
        raw.generate_key_pair(&Mechanism::EccKeyPairGen, &public_template(&spec), &private_template(&spec)).unwrap();
        let error = hsm.find(LABEL, Algorithm::ES256).unwrap_err();
        assert_eq!(error, FindError::Ambiguous { label: LABEL.to_owned(), half: "private", count: 2 });
    }
}

test! {
    fn a_missing_key_is_to_be_looked_for_and_not_made_again(token) {
        let hsm = token.open();
        let error = hsm.find(LABEL, Algorithm::ES256).unwrap_err();
        assert_eq!(error, FindError::NotFound { label: LABEL.to_owned(), half: "private" });
        let text = error.to_string();
        assert!(text.contains("backup") && !text.contains("key generate"), "{text}");
    }
}

test! {
    fn objects_written_without_a_login_do_not_hide_the_key_of_the_label(token) {
        let hsm = token.open();
        let key = hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let raw = token.raw(&hsm);
        let (ours, other) = (spec(LABEL, Algorithm::ES256), spec("other", Algorithm::ES256));
        // A forged public key object with the same label and id.
        raw.generate_key_pair(&Mechanism::EccKeyPairGen, &public_template(&ours), &private_template(&other)).unwrap();
        // Private keys that a token shows without a login: with the same label, and as a next generation.
        for label in [LABEL, "introspection-es256-2"] {
            let theirs = spec(label, Algorithm::ES256);
            let mut private = private_template(&theirs);
            let place = private.iter_mut().find(|a| matches!(a, Attribute::Private(_))).unwrap();
            *place = Attribute::Private(false);
            raw.generate_key_pair(&Mechanism::EccKeyPairGen, &public_template(&other), &private).unwrap();
        }
        assert_eq!(hsm.labels().unwrap(), [LABEL, "other"]);
        assert_eq!(hsm.find(LABEL, Algorithm::ES256).unwrap().public().kid(), key.public().kid());
        // Nor after another login, when it is found again.
        hsm.access().log_in_again(hsm.access().epoch()).unwrap();
        assert!(hsm.session().unwrap().sign(&key, b"a message").is_ok());
    }
}

test! {
    fn a_key_that_could_leave_or_do_more_than_sign_is_refused(token) {
        let hsm = token.open();
        let raw = token.raw(&hsm);
        let changes = [
            (Attribute::Extractable(true), "CKA_EXTRACTABLE"),
            (Attribute::Sensitive(false), "CKA_SENSITIVE"),
            (Attribute::Decrypt(true), "CKA_DECRYPT"),
            (Attribute::Unwrap(true), "CKA_UNWRAP"),
            (Attribute::SignRecover(true), "CKA_SIGN_RECOVER"),
            (Attribute::Derive(true), "CKA_DERIVE"),
            (Attribute::Sign(false), "CKA_SIGN"),
            (Attribute::Private(false), "CKA_PRIVATE"),
            (Attribute::AlwaysAuthenticate(true), "CKA_ALWAYS_AUTHENTICATE"),
        ];
        for (change, name) in changes {
            let spec = spec(name, Algorithm::ES256);
            let mut private = private_template(&spec);
            let place = private.iter_mut().find(|a| a.attribute_type() == change.attribute_type()).unwrap();
            *place = change;
            raw.generate_key_pair(&Mechanism::EccKeyPairGen, &public_template(&spec), &private).unwrap();
            let error = hsm.find(name, Algorithm::ES256).unwrap_err();
            assert!(matches!(error, FindError::Refused { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

test! {
    fn a_key_of_another_kind_or_curve_is_refused(token) {
        let hsm = token.open();
        hsm.generate(&spec("p256", Algorithm::ES256)).unwrap();
        hsm.generate(&spec("rsa", Algorithm::PS256)).unwrap();
        hsm.generate(&spec("ed25519", Algorithm::EdDSA)).unwrap();
        for (label, algorithm) in [
            ("p256", Algorithm::ES384),
            ("p256", Algorithm::RS256),
            ("p256", Algorithm::EdDSA),
            ("rsa", Algorithm::ES256),
            ("ed25519", Algorithm::ES256),
        ] {
            let error = hsm.find(label, algorithm).unwrap_err();
            assert!(matches!(error, FindError::Refused { .. }), "{label} as {algorithm}: {error}");
        }
    }
}

test! {
    fn halves_that_do_not_belong_together_are_refused(token) {
        let hsm = token.open();
        let raw = token.raw(&hsm);
        let (one, other) = (spec(LABEL, Algorithm::ES256), spec("other", Algorithm::ES256));
        raw
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public_template(&one), &private_template(&other))
            .unwrap();
        raw.generate_key_pair(&Mechanism::EccKeyPairGen, &public_template(&other), &private_template(&one)).unwrap();
        let error = hsm.find(LABEL, Algorithm::ES256).unwrap_err();
        assert_eq!(error, FindError::Refused { label: LABEL.to_owned(), reason: Refusal::Unverified });
    }
}

test! {
    fn a_small_rsa_key_is_refused(token) {
        let hsm = token.open();
        let spec = crate::hsm::KeySpec { rsa_bits: 1024, ..spec("small", Algorithm::RS256) };
        let raw = token.raw(&hsm);
        raw.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public_template(&spec), &private_template(&spec))
            .unwrap();
        let error = hsm.find("small", Algorithm::RS256).unwrap_err();
        assert!(matches!(error, FindError::Refused { reason: Refusal::PublicKey(_), .. }), "{error}");
    }
}

test! {
    fn the_token_shows_the_generations_of_a_series(token) {
        let hsm = token.open();
        for label in ["introspection-es256-2", "introspection-es256-1", "access-token-es256-1"] {
            hsm.generate(&spec(label, Algorithm::ES256)).unwrap();
        }
        let labels = hsm.labels().unwrap();
        let series = KeyLabel::series(labels.iter().map(String::as_str), "introspection", Algorithm::ES256);
        assert_eq!(series.iter().map(KeyLabel::generation).collect::<Vec<_>>(), [1, 2]);
        assert!(hsm.find(&series[1].to_string(), Algorithm::ES256).is_ok());
    }
}

test! {
    fn a_generation_without_its_private_key_does_not_count(token) {
        let hsm = token.open();
        hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let next = "introspection-es256-2";
        hsm.generate(&spec(next, Algorithm::ES256)).unwrap();
        assert_eq!(hsm.labels().unwrap().len(), 2);
        let raw = token.raw(&hsm);
        let private = [Attribute::Label(next.into()), Attribute::Class(ObjectClass::PRIVATE_KEY)];
        raw.destroy_object(raw.find_objects(&private).unwrap()[0]).unwrap();
        assert_eq!(raw.find_objects(&[Attribute::Label(next.into())]).unwrap().len(), 1, "the public half is there");
        // The newest of these signs.
        assert_eq!(hsm.labels().unwrap(), [LABEL]);
        let error = hsm.find(next, Algorithm::ES256).unwrap_err();
        assert_eq!(error, FindError::NotFound { label: next.to_owned(), half: "private" });
    }
}
