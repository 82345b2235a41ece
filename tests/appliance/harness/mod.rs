//! A whole appliance for one test: a token, a configuration, the real program, and callers that keep their results.
//!
//! Every test ends with [`Appliance::finish`]: it stops the service in order, exports the log, has it verified, and
//! compares it with every answer that a caller received.

mod appliance;
mod asks;
mod calls;
mod faults;
mod front;
mod jwt;
mod log;
mod process;
mod settings;
mod template;

pub(crate) use appliance::{Appliance, CHANCERY};
pub(crate) use calls::{Answer, Call, basic};
pub(crate) use faults::disk_faults;
pub(crate) use front::{CUSTOMER, FrontServer, Grant, IBAN, Key, contract, payment, payment_at_accounts};
pub(crate) use jwt::{Jwt, base64url, from_base64url, sha256_hex};
pub(crate) use log::{Evidence, verify};
pub(crate) use process::{Process, send};
pub(crate) use settings::{ACCOUNTS, ALGORITHMS, JWT_BEARER, PAYMENTS, Party, SIGNING, Settings, Way};

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Longest wait for an expected event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until there is a value.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Names of an object's members, sorted.
pub(crate) fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Copies a directory recursively.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp -a {} {}", from.display(), to.display());
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    chancery::clock::wall_unchecked().unix_seconds()
}

/// A unique text.
pub(crate) fn unique() -> String {
    base64url(chancery::random::bytes::<16>())
}
