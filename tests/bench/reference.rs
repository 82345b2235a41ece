//! `C_Sign` alone, straight through cryptoki, with the daemon's keys.
//!
//! It lives in a process of its own: `SOFTHSM2_CONF` is read from the environment of the process that loads SoftHSM.
//! The process logs in once, before the daemon does (two logins at the same moment can fail), and then measures when
//! its standard input says so: one line in, one line of JSON out.

use super::cost::{self, Cost, Pace};
use super::{Outcome, token};
use chancery::jose::Algorithm;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// `DigestInfo` of a SHA-256 hash up to the hash itself (RFC 8017 §9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

#[derive(Serialize, Deserialize)]
struct Order {
    algorithm: Algorithm,
    threads: usize,
    time: Duration,
    pace: Pace,
}

/// The process, as the benchmark sees it.
pub(crate) struct Reference {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reference {
    /// Starts it and waits until it has logged in.
    pub(crate) fn start(run: &Path) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--reference")
            .arg(run)
            .env("SOFTHSM2_CONF", token::softhsm_conf(run))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the reference process has no pipes".into());
        };
        let mut reference = Self { child, orders, answers: BufReader::new(answers) };
        reference.answer()?;
        Ok(reference)
    }

    /// Measures `C_Sign` with `threads` threads, each with a session of its own.
    pub(crate) fn measure(
        &mut self,
        algorithm: Algorithm,
        threads: usize,
        time: Duration,
        pace: Pace,
    ) -> Outcome<Cost> {
        let order = serde_json::to_string(&Order { algorithm, threads, time, pace })?;
        writeln!(self.orders, "{order}")?;
        Ok(serde_json::from_str(&self.answer()?)?)
    }

    fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            return Err(format!("the process that measures C_Sign alone ended: {status}").into());
        }
        Ok(line)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // Nothing can be done about a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The task of the process.
pub(crate) fn serve(run: &Path) -> Outcome<()> {
    let module = Pkcs11::new(token::module()?)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slot = slot(&module)?;
    let pin = std::fs::read_to_string(token::pin_file(run))?;
    let login = module.open_ro_session(slot)?;
    login.login(UserType::User, Some(&AuthPin::new(pin.trim().into())))?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let threads = (0..order.threads)
            .map(|_| signer(&module, slot, order.algorithm))
            .collect::<Outcome<Vec<_>>>()?;
        let cost = cost::measure(threads, order.time, order.pace)?;
        println!("{}", serde_json::to_string(&cost)?);
    }
    Ok(())
}

fn slot(module: &Pkcs11) -> Outcome<Slot> {
    for slot in module.get_slots_with_token()? {
        if module.get_token_info(slot)?.label().trim_end() == token::LABEL {
            return Ok(slot);
        }
    }
    Err(format!("no token is labelled {}", token::LABEL).into())
}

/// Signs another digest at each call, as the daemon does.
fn signer(module: &Pkcs11, slot: Slot, algorithm: Algorithm) -> Outcome<impl FnMut() -> Outcome<()> + Send> {
    let session = module.open_ro_session(slot)?;
    let key = key(&session, algorithm)?;
    // A mechanism does not go from thread to thread, so it is made where it is used.
    let (mechanism, mut input): (fn() -> Mechanism<'static>, _) = match algorithm {
        Algorithm::ES256 => (|| Mechanism::Ecdsa, Vec::new()),
        Algorithm::RS256 => (|| Mechanism::RsaPkcs, SHA256_DIGEST_INFO.to_vec()),
        other => return Err(format!("C_Sign alone is measured for ES256 and RS256, not for {other}").into()),
    };
    let prefix = input.len();
    input.extend(chancery::random::bytes::<32>());
    Ok(move || {
        if let Some(byte) = input.get_mut(prefix) {
            *byte = byte.wrapping_add(1);
        }
        session.sign(&mechanism(), key, &input)?;
        Ok(())
    })
}

fn key(session: &Session, algorithm: Algorithm) -> Outcome<ObjectHandle> {
    let label = format!("introspection-{}-1", algorithm.name().to_ascii_lowercase());
    let found = session.find_objects(&[
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Label(label.clone().into_bytes()),
    ])?;
    found.first().copied().ok_or_else(|| format!("the token holds no private key {label}").into())
}
