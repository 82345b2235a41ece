//! A token for one test: the test runs again as a child of this binary, with a fresh token in its environment.

use crate::hsm::{Hsm, KeySpec, OpenError, Pin, Settings};
use crate::jose::Algorithm;
use cryptoki::context::Pkcs11;
use cryptoki::session::{Session, UserType};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const SPIES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/pkcs11-spy.so", "/usr/lib/aarch64-linux-gnu/pkcs11-spy.so"];
const DIR: &str = "CHANCERY_TEST_TOKEN";

/// `test!(fn name(token) { … })`: one test with a process and a token of its own.
macro_rules! test {
    ($(#[$attribute:meta])* fn $name:ident($token:ident) $body:block) => {
        $(#[$attribute])*
        #[test]
        fn $name() {
            fixture::run(concat!(module_path!(), "::", stringify!($name)), |$token: &fixture::Token| $body);
        }
    };
}
pub(crate) use test;

/// The token of this process.
pub(crate) struct Token {
    dir: PathBuf,
    uri: &'static str,
}

/// In the parent: makes a token and runs the test `name` again. In the child: runs `body`.
pub(crate) fn run(name: &str, body: impl FnOnce(&Token)) {
    if let Some(dir) = std::env::var_os(DIR) {
        return body(&Token { dir: dir.into(), uri: "pkcs11:token=test%20token" });
    }
    assert!(Path::new(MODULE).exists(), "{MODULE} is missing: apt-get install softhsm2 opensc openssl");
    let spy = SPIES.into_iter().find(|path| Path::new(path).exists());
    let spy = spy.expect("pkcs11-spy.so is missing: apt-get install opensc");
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("softhsm/token.sh");
    let made = Command::new(script).arg(dir.path()).arg("test token").output().unwrap();
    assert!(made.status.success(), "token.sh: {}", String::from_utf8_lossy(&made.stderr));
    let (_krate, test) = name.split_once("::").unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir.path())
        .env("SOFTHSM2_CONF", dir.path().join("softhsm2.conf"))
        .env("PKCS11SPY", MODULE)
        .env("PKCS11SPY_OUTPUT", dir.path().join("spy.log"))
        .env("CHANCERY_TEST_SPY", spy)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    // A filter that matches no test would succeed as well.
    assert!(child.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", child.status);
}

impl Token {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn pin(&self) -> Pin {
        Pin::from_file(&self.path("pin")).unwrap()
    }

    pub(super) fn settings(&self) -> Settings {
        Settings { module: MODULE.into(), token: self.uri.parse().unwrap() }
    }

    /// Through a module that logs every call.
    pub(super) fn spied(&self) -> Settings {
        Settings { module: std::env::var_os("CHANCERY_TEST_SPY").unwrap().into(), ..self.settings() }
    }

    /// How often a function was called through [`Token::spied`].
    pub(super) fn calls(&self, function: &str) -> usize {
        let log = fs::read_to_string(self.path("spy.log")).unwrap();
        log.lines().filter(|line| line.split_once(": ").is_some_and(|(_, name)| name == function)).count()
    }

    pub(crate) fn open(&self) -> Hsm {
        self.try_open(&self.pin()).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn try_open(&self, pin: &Pin) -> Result<Hsm, OpenError> {
        Hsm::open(&self.settings(), pin, Box::new(|_| ()))
    }

    /// A logged-in session that bypasses the room, after [`Token::open`] initialized the module.
    pub(super) fn raw(&self, hsm: &Hsm) -> Session {
        let module = Pkcs11::new(MODULE).unwrap();
        let slot = hsm.token_info().slot_id.try_into().unwrap();
        let session = module.open_rw_session(slot).unwrap();
        let _already_logged_in = session.login_with_raw(UserType::User, self.pin().as_raw());
        session
    }
}

pub(crate) fn spec(label: &str, algorithm: Algorithm) -> KeySpec {
    KeySpec { label: label.to_owned(), algorithm, rsa_bits: 2048, id: label.as_bytes().to_vec() }
}
