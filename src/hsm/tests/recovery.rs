//! Errors that a signature recovers from, and errors that it must not recover from.

use super::fixture::{self, spec, test};
use crate::hsm::{ErrorClass, Hsm, HsmError, PinProblem, SignError};
use crate::jose::Algorithm;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::Session;

const LABEL: &str = "introspection-es256-1";
const MESSAGE: &[u8] = b"a message";

fn destroy(raw: &Session, label: &str) {
    for object in raw.find_objects(&[Attribute::Label(label.as_bytes().to_vec())]).unwrap() {
        raw.destroy_object(object).unwrap();
    }
}

test! {
    fn a_session_with_an_operation_in_it_is_replaced(token) {
        let hsm = token.open();
        let key = hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let mut session = hsm.session().unwrap();
        let handle = key.handle_in(hsm.access().epoch()).unwrap();
        let stuck = session.session.as_ref().unwrap();
        stuck.sign_init(&Mechanism::Ecdsa, handle).unwrap();
        let before = stuck.handle();
        let signature = session.sign(&key, MESSAGE).unwrap();
        assert_eq!(key.public().verify(MESSAGE, &signature), Ok(()));
        assert_ne!(session.session.as_ref().unwrap().handle(), before);
    }
}

test! {
    fn a_logout_by_another_component_costs_one_login_and_no_signature(token) {
        let hsm = token.open();
        let keys = [
            hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap(),
            hsm.generate(&spec("access-token-rs256-1", Algorithm::RS256)).unwrap(),
        ];
        let mut sessions = [hsm.session().unwrap(), hsm.session().unwrap()];
        let raw = token.raw(&hsm);
        for _ in 0..3 {
            let epoch = hsm.access().epoch();
            raw.logout().unwrap();
            for key in &keys {
                for session in &mut sessions {
                    let signature = session.sign(key, MESSAGE).unwrap();
                    assert_eq!(key.public().verify(MESSAGE, &signature), Ok(()));
                    assert!(key.handle_in(epoch).is_none(), "a handle outlived its epoch");
                }
            }
        }
        raw.logout().unwrap();
        assert_eq!(hsm.labels().unwrap().len(), 2, "a lost login must not read as an empty token");
    }
}

test! {
    fn another_key_under_the_same_label_never_signs_for_the_first(token) {
        let hsm = token.open();
        let first = hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let mut session = hsm.session().unwrap();
        destroy(&token.raw(&hsm), LABEL);
        let second = hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let error = session.sign(&first, MESSAGE).unwrap_err();
        assert!(matches!(&error, SignError::Changed { found, .. } if found == second.public().kid()), "{error}");
        assert!(error.is_alarm());
        assert!(session.sign(&second, MESSAGE).is_ok());
    }
}

test! {
    fn a_signature_of_another_key_is_destroyed_and_raises_an_alarm(token) {
        let hsm = token.open();
        let key = hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let other = hsm.generate(&spec("access-token-es256-1", Algorithm::ES256)).unwrap();
        let epoch = hsm.access().epoch();
        // As with a module that reuses its handles.
        key.found_again(epoch, other.handle_in(epoch).unwrap());
        let mut session = hsm.session().unwrap();
        let error = session.sign(&key, MESSAGE).unwrap_err();
        assert_eq!(error, SignError::Unverified { label: LABEL.to_owned() });
        assert!(error.is_alarm());
        assert!(session.sign(&other, MESSAGE).is_ok(), "the session is usable again");
    }
}

test! {
    fn several_calls_may_wait_for_their_verification_and_a_login_meanwhile_costs_one_more_call(token) {
        let hsm = token.open();
        let key = hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let other = hsm.generate(&spec("access-token-es256-1", Algorithm::ES256)).unwrap();
        let mut session = hsm.session().unwrap();
        let calls = [(&key, MESSAGE), (&other, b"another message"), (&key, b"a third")];
        let waiting = calls.map(|(key, message)| session.call(key, message).unwrap());
        for ((key, message), signature) in calls.into_iter().zip(waiting) {
            assert_eq!(key.public().verify(message, &session.verify(signature).unwrap()), Ok(()));
        }

        // A login in between lets handles name other keys: the signature is made again.
        let epoch = hsm.access().epoch();
        key.found_again(epoch, other.handle_in(epoch).unwrap());
        let of_another_key = session.call(&key, MESSAGE).unwrap();
        hsm.access().log_in_again(epoch).unwrap();
        let signature = session.verify(of_another_key).unwrap();
        assert_eq!(key.public().verify(MESSAGE, &signature), Ok(()));
    }
}

test! {
    fn a_key_that_is_gone_is_lost_after_one_new_login(token) {
        let hsm = token.open();
        let key = hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        destroy(&token.raw(&hsm), LABEL);
        let error = hsm.session().unwrap().sign(&key, MESSAGE).unwrap_err();
        assert!(matches!(error, SignError::Lost(_)), "{error}");
        assert_eq!(error.class(), ErrorClass::Request);
    }
}

test! {
    fn a_pin_that_was_changed_meanwhile_is_tried_once_and_forgotten(token) {
        let hsm = Hsm::open(&token.spied(), &token.pin(), Box::new(|_| ())).unwrap();
        let key = hsm.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let mut sessions = [hsm.session().unwrap(), hsm.session().unwrap()];
        let raw = token.raw(&hsm);
        let old = std::fs::read_to_string(token.path("pin")).unwrap();
        raw.set_pin(&old.as_str().into(), &"another pin".into()).unwrap();
        raw.logout().unwrap();
        let pin = |error: SignError| match error {
            SignError::Call { error: HsmError::Pin(problem), .. } => problem,
            other => panic!("{other}"),
        };
        assert_eq!(pin(sessions[0].sign(&key, MESSAGE).unwrap_err()), PinProblem::Incorrect);
        for session in &mut sessions {
            assert_eq!(pin(session.sign(&key, MESSAGE).unwrap_err()), PinProblem::Forgotten);
        }
        assert_eq!(hsm.labels().unwrap_err().class(), ErrorClass::Pin);
        assert_eq!(token.calls("C_Login"), 2, "one at the start and one with the PIN of yesterday");
        assert_eq!(token.calls("C_Logout"), 0);
    }
}

test! {
    fn a_key_of_one_login_does_not_sign_in_another(token) {
        let (one, other) = (token.open(), token.open());
        let key = one.generate(&spec(LABEL, Algorithm::ES256)).unwrap();
        let error = other.session().unwrap().sign(&key, MESSAGE).unwrap_err();
        assert_eq!(error, SignError::Foreign { label: LABEL.to_owned() });
    }
}
