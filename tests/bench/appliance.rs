//! The daemon of a run: made, started, asked for tokens, stopped, and its log verified.

use super::process::Process;
use super::reference::Reference;
use super::{Outcome, Plan, http, load, token};
use chancery::sha256::sha256;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the daemon may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// One machine's configuration, as `config/minimal.toml`, with two resource servers and no limit that a load meets.
const CONFIGURATION: &str = r#"version = 1
issuer = "https://as.bench.example"

[http]
listen = "127.0.0.1:0"
operations_listen = "127.0.0.1:0"
{http}[http.limits]
requests_per_second = 1000000
connections_per_source = 1024

[hsm]
module = "{module}"
token = "pkcs11:token={label}"
pin_file = "{pin}"
{hsm}
[[keys]]
purpose = "introspection"
algorithm = "ES256"
[[keys]]
purpose = "introspection"
algorithm = "RS256"
rsa_bits = 2048
[[keys]]
purpose = "access-token"
algorithm = "ES256"
[[keys]]
purpose = "metadata"
algorithm = "ES256"
[[keys]]
purpose = "audit-checkpoint"
algorithm = "ES256"

[audit]
directory = "audit"
origin = "as.bench.example/audit/bench"

[store]
url = "sqlite:state.db"

[log]
lines = "json"

[[resource_servers]]
client_id = "es256"
resource = "https://es256.bench.example"
client_secret_sha256 = "{hash of es256}"
introspection_signed_response_alg = "ES256"
access_token_formats = ["opaque", "at+jwt"]
scopes = ["es256:read"]
claims = ["sub", "client_id"]

[[resource_servers]]
client_id = "rs256"
resource = "https://rs256.bench.example"
client_secret_sha256 = "{hash of rs256}"
introspection_signed_response_alg = "RS256"
scopes = ["rs256:read"]
claims = ["sub", "client_id"]

[[clients]]
client_id = "opaque"
client_secret_sha256 = "{hash of opaque}"
grant_types = ["client_credentials"]
resources = ["https://es256.bench.example", "https://rs256.bench.example"]
scope = "es256:read rs256:read"
access_token_lifetime = "24h"

[[clients]]
client_id = "at-jwt"
client_secret_sha256 = "{hash of at-jwt}"
grant_types = ["client_credentials"]
resources = ["https://es256.bench.example"]
scope = "es256:read"
access_token_format = "at+jwt"
access_token_lifetime = "24h"
"#;

/// Those in the configuration.
const CALLERS: [&str; 4] = ["es256", "rs256", "opaque", "at-jwt"];

/// What stands before the daemon starts: keys, log, configuration.
pub(crate) struct Prepared {
    dir: PathBuf,
    /// Each caller's secret comes from it and the caller's name.
    seed: [u8; 32],
}

/// The running daemon; dropped, it is killed.
pub(crate) struct Appliance {
    prepared: Prepared,
    daemon: Child,
    /// The public listener.
    pub server: SocketAddr,
    /// `chancery serve`.
    pub gateway: Process,
    /// `chancery signer`, its child.
    pub signer: Process,
}

/// Output of `audit verify` at the end.
pub(crate) struct Verified {
    /// Records in it.
    pub records: u64,
    /// Signed answers in it.
    pub signed: u64,
}

impl Prepared {
    /// Makes the directory and everything in it.
    pub(crate) fn make(dir: &Path, plan: &Plan) -> Outcome<Self> {
        fs::create_dir(dir).map_err(|e| format!("{}: {e}; a run makes its own directory", dir.display()))?;
        let dir = dir.canonicalize()?;
        token::make(&dir)?;
        let prepared = Self { dir, seed: chancery::random::bytes() };
        let mut text = CONFIGURATION
            .replace("{module}", &token::module()?.display().to_string())
            .replace("{label}", token::LABEL)
            .replace("{http}", &setting("threads", plan.gateway_threads))
            .replace("{hsm}", &setting("sessions", plan.sessions))
            .replace("{pin}", &token::pin_file(&prepared.dir).display().to_string());
        for caller in CALLERS {
            let hash = hex::encode(sha256(prepared.secret(caller).as_bytes()));
            text = text.replace(&format!("{{hash of {caller}}}"), &hash);
        }
        fs::write(prepared.config(), text)?;
        prepared.run(&["config", "check"])?;
        prepared.run(&["key", "generate"])?;
        prepared.run(&["audit", "init"])?;
        Ok(prepared)
    }

    fn secret(&self, caller: &str) -> String {
        hex::encode(sha256(&[&self.seed, caller.as_bytes()].concat()))
    }

    fn config(&self) -> PathBuf {
        self.dir.join("chancery.toml")
    }

    fn chancery(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        command.env("SOFTHSM2_CONF", token::softhsm_conf(&self.dir)).stdin(Stdio::null());
        command
    }

    /// A command with this configuration; its standard output.
    fn run(&self, words: &[&str]) -> Outcome<String> {
        self.finished(self.chancery().args(words).arg("--config").arg(self.config()), &words.join(" "))
    }

    #[expect(clippy::unused_self, reason = "a command of this run")]
    fn finished(&self, command: &mut Command, words: &str) -> Outcome<String> {
        let done = command.output()?;
        if done.status.success() {
            return Ok(String::from_utf8(done.stdout)?);
        }
        let said = String::from_utf8_lossy(if done.stderr.is_empty() { &done.stdout } else { &done.stderr });
        Err(format!("chancery {words} ended with {}: {}", done.status, said.trim()).into())
    }

    /// `C_Sign` alone with these keys. Before the daemon starts: two logins at the same moment can fail.
    pub(crate) fn reference(&self) -> Outcome<Reference> {
        Reference::start(&self.dir)
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(self) -> Outcome<Appliance> {
        let log = self.dir.join("daemon.log");
        let mut daemon = self
            .chancery()
            .args(["serve", "--config"])
            .arg(self.config())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let ready = ready(&mut daemon, &log);
        let found = ready.and_then(|server| {
            let gateway = Process::new(daemon.id())?;
            Ok((server, gateway, gateway.child()?))
        });
        match found {
            Ok((server, gateway, signer)) => {
                Ok(Appliance { prepared: self, daemon, server, gateway, signer })
            }
            Err(error) => {
                // Nothing can be done about a daemon that is gone already.
                let _ = daemon.kill();
                let _ = daemon.wait();
                Err(error)
            }
        }
    }
}

/// One line of the configuration; none for a default.
fn setting(name: &str, value: Option<usize>) -> String {
    value.map_or_else(String::new, |value| format!("{name} = {value}\n"))
}

/// The public listener's address, once the operations listener says ready.
fn ready(daemon: &mut Child, log: &Path) -> Outcome<SocketAddr> {
    let began = Instant::now();
    let mut why = "it does not listen".to_owned();
    while began.elapsed() < PATIENCE {
        if let Some(status) = daemon.try_wait()? {
            return Err(
                format!("chancery serve ended with {status}: {}", fs::read_to_string(log)?.trim()).into()
            );
        }
        let said = fs::read_to_string(log)?;
        let bound = |setting: &str| said.lines().find_map(|line| listening(line, setting));
        if let (Some(server), Some(operations)) = (bound("http.listen"), bound("http.operations_listen")) {
            match load::once(operations, &http::get("/readyz")) {
                Ok(_) => return Ok(server),
                Err(error) => why = error.to_string(),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("the daemon was not ready in {} s: {why}", PATIENCE.as_secs()).into())
}

fn listening(line: &str, setting: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is = |name: &str, value: &str| line.get(name).and_then(Value::as_str) == Some(value);
    if is("message", "listening") && is("setting", setting) {
        line.get("address")?.as_str()?.parse().ok()
    } else {
        None
    }
}

impl Appliance {
    /// Where everything lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.prepared.dir
    }

    /// A caller's secret.
    pub(crate) fn secret(&self, caller: &str) -> String {
        self.prepared.secret(caller)
    }

    /// The published keys.
    pub(crate) fn jwks(&self) -> Outcome<Vec<u8>> {
        load::once(self.server, &http::get("/jwks"))
    }

    /// A new opaque token for both resource servers.
    pub(crate) fn opaque_token(&self) -> Outcome<String> {
        let form = "grant_type=client_credentials";
        let request = http::post("/token", "opaque", &self.secret("opaque"), "application/json", form);
        let answer: Value = serde_json::from_slice(&load::once(self.server, &request)?)?;
        Ok(answer.get("access_token").and_then(Value::as_str).ok_or("no access_token")?.to_owned())
    }

    /// Stops the daemon in order, exports its log and verifies the export, with a record of every one of `jwts`.
    pub(crate) fn verify(mut self, jwts: &[String]) -> Outcome<Verified> {
        kill(self.gateway.pid(), Signal::SIGTERM)?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.daemon.try_wait()? {
                break status;
            }
            if began.elapsed() > PATIENCE {
                return Err(
                    format!("the daemon did not end in {} s after SIGTERM", PATIENCE.as_secs()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        if !status.success() {
            return Err(format!("the daemon ended with {status}; see daemon.log").into());
        }
        let (export, samples) = (self.directory().join("export"), self.directory().join("samples.jwt"));
        fs::write(&samples, jwts.join("\n"))?;
        self.prepared.run(&["audit", "export", "--out", &export.display().to_string()])?;
        let mut verify = self.prepared.chancery();
        verify.args(["audit", "verify", "--json"]).arg(&export).arg("--jwt").arg(&samples);
        let report: Value = serde_json::from_str(&self.prepared.finished(&mut verify, "audit verify")?)?;
        let number = |name: &str| {
            report.get(name).and_then(Value::as_u64).ok_or_else(|| format!("audit verify says no {name}"))
        };
        Ok(Verified { records: number("size")?, signed: number("signed_answers")? })
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // After `verify` there is nothing left to kill; the signer ends with its gateway.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
