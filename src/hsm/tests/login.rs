//! Finding the token, and the PIN that is tried once.

use super::fixture::{self, test};
use crate::hsm::{Hsm, OpenError, Pin, PinProblem, Settings};
use std::process::Command;

test! {
    fn a_wrong_pin_is_tried_once_and_the_token_warns_from_then_on(token) {
        let wrong = Hsm::open(&token.spied(), &Pin::from_bytes(b"000000"), Box::new(|_| ()));
        assert!(matches!(wrong, Err(OpenError::Pin(PinProblem::Incorrect))));
        assert_eq!(token.calls("C_Login"), 1);

        // Not even the right PIN is tried while the token warns.
        let warned = Hsm::open(&token.spied(), &token.pin(), Box::new(|_| ()));
        assert!(matches!(warned, Err(OpenError::Pin(PinProblem::CountLow))));
        assert_eq!(token.calls("C_Login"), 1);

        let mut tool = Command::new("pkcs11-tool");
        let pin = std::fs::read_to_string(token.path("pin")).unwrap();
        tool.args(["--module", fixture::MODULE, "--token-label", "test token"]);
        let cleared = tool.args(["--login", "--pin", "env:TOKEN_PIN", "--list-objects"]).env("TOKEN_PIN", pin).output();
        assert!(cleared.expect("pkcs11-tool is missing: apt-get install opensc").status.success());
        assert!(Hsm::open(&token.spied(), &token.pin(), Box::new(|_| ())).is_ok());
        assert_eq!(token.calls("C_Login"), 2);
    }
}

test! {
    fn a_token_that_is_not_there_is_looked_for_again_and_then_named(token) {
        let settings = Settings { token: "pkcs11:token=another".parse().unwrap(), ..token.spied() };
        let error = Hsm::open(&settings, &token.pin(), Box::new(|_| ())).err().unwrap();
        assert!(matches!(error, OpenError::NoToken { .. }));
        assert!(error.to_string().contains("test token"), "{error}");
        // Each attempt initializes the module again: a module finds its tokens then.
        assert_eq!(token.calls("C_Initialize"), 5);
        assert_eq!(token.calls("C_Finalize"), 5);
        assert_eq!(token.calls("C_Login"), 0);
        // A later attempt succeeds.
        assert!(Hsm::open(&token.spied(), &token.pin(), Box::new(|_| ())).is_ok());
    }
}

test! {
    fn the_token_is_known_by_each_of_its_properties(token) {
        let info = token.open().token_info();
        assert_eq!(info.label, "test token");
        assert!(!info.serial.is_empty() && !info.firmware.is_empty());
        let settings = |uri: String| Settings { token: uri.parse().unwrap(), ..token.settings() };
        let whole = format!("pkcs11:serial={};manufacturer=SoftHSM%20project;slot-id={}", info.serial, info.slot_id);
        assert_eq!(Hsm::open(&settings(whole), &token.pin(), Box::new(|_| ())).unwrap().token_info(), info);
        let other = format!("pkcs11:token=test%20token;serial={}0", info.serial);
        assert!(matches!(Hsm::open(&settings(other), &token.pin(), Box::new(|_| ())), Err(OpenError::NoToken { .. })));
    }
}

test! {
    fn a_library_that_is_no_module_is_named(token) {
        for module in ["/nowhere/module.so", "/etc/passwd", "/usr/lib/x86_64-linux-gnu/libc.so.6"] {
            let settings = Settings { module: module.into(), ..token.settings() };
            let error = Hsm::open(&settings, &token.pin(), Box::new(|_| ())).err().unwrap();
            assert!(matches!(error, OpenError::Load { .. }) && error.to_string().contains(module), "{error}");
        }
    }
}

test! {
    fn the_script_refuses_a_directory_that_holds_a_token(token) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/softhsm/token.sh");
        let again = Command::new(script).arg(token.path("")).arg("second").output().unwrap();
        assert_eq!(again.status.code(), Some(73), "{}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(token.open().token_info().label, "test token");
        // bash by path, since env finds none without PATH.
        let mut bash = Command::new("/bin/bash");
        let bash = bash.arg(script).arg(token.path("other")).arg("x").env("PATH", "/nowhere").output().unwrap();
        assert_eq!(bash.status.code(), Some(69), "{}", String::from_utf8_lossy(&bash.stderr));
        assert!(String::from_utf8_lossy(&bash.stderr).contains("apt-get install softhsm2"));
    }
}
