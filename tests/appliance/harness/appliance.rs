//! The appliance of one test, from its token to the verification of its log.

use super::log::Keep as Kept;
use super::{Answer, Evidence, FrontServer, Process, Settings, Way, calls, process, template, until};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use tempfile::TempDir;

/// The program under test.
pub(crate) const CHANCERY: &str = env!("CARGO_BIN_EXE_chancery");

/// A token, a configuration, a log, and the processes that use them.
pub(crate) struct Appliance {
    pub(crate) settings: Settings,
    pub(crate) gateway: Option<Process>,
    pub(crate) signer: Option<Process>,
    /// Variables of the processes beside `SOFTHSM2_CONF`.
    pub(crate) environment: Vec<(String, String)>,
    /// Base URL of the public listener.
    pub(crate) public: String,
    /// Base URL of the operations listener.
    pub(crate) operations: String,
    home: TempDir,
    agent: ureq::Agent,
    /// The log's verifier key as `audit init` printed it, or a file of keys.
    pub(crate) log_key: String,
    kept: Mutex<Kept>,
    /// Output of ended processes.
    said: String,
    /// Texts that no log line may hold.
    secrets: Mutex<Vec<String>>,
    /// Checkpoints of earlier moments.
    checkpoints: Vec<PathBuf>,
    finished: bool,
}

impl Appliance {
    /// Prepares everything up to `audit init`; starts no process.
    pub(crate) fn prepare(settings: Settings) -> Self {
        let home = tempfile::Builder::new().prefix("chancery-").tempdir().unwrap();
        let mut ca = None;
        if settings.tls {
            ca = Some(make_certificates(home.path()));
        }
        let mut appliance = Self {
            agent: calls::agent(ca.as_deref()),
            gateway: None,
            signer: None,
            environment: Vec::new(),
            public: String::new(),
            operations: String::new(),
            home,
            log_key: String::new(),
            kept: Mutex::default(),
            said: String::new(),
            secrets: Mutex::new(settings.everybody().map(|party| party.secret.clone()).collect()),
            checkpoints: Vec::new(),
            finished: false,
            settings,
        };
        std::fs::create_dir(appliance.path("faults")).unwrap();
        std::fs::write(appliance.path("login.jwks"), FrontServer::get().jwks().to_string()).unwrap();
        appliance.write_config();
        if let Some(group) = &appliance.settings.auditors {
            make_auditors_directory(&appliance.path("auditors"), group);
        }
        appliance.log_key = template::token_and_log(&appliance);
        let pin = std::fs::read_to_string(appliance.path("token/pin")).unwrap();
        appliance.secrets.lock().unwrap().push(pin.trim().to_owned());
        appliance
    }

    /// The operator's steps before the first start; returns the log's verifier key.
    pub(super) fn make_token_and_log(&self) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("softhsm/token.sh");
        let output = Command::new(script).arg(self.path("token")).arg("chancery").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Root's check runs as the gateway's user, which cannot enter the home of a test.
        if self.settings.gateway_user.is_none() {
            self.must(&["config", "check"]);
        }
        self.must(&["key", "generate"]);
        let made = self.must(&["audit", "init"]);
        let key = made.split_whitespace().find(|word| word.starts_with("as.bank.example/audit/test+"));
        key.unwrap_or_else(|| panic!("audit init prints its key: {made}")).to_owned()
    }

    /// The whole service, ready.
    pub(crate) fn start(settings: Settings) -> Self {
        let mut appliance = Self::prepare(settings);
        appliance.run();
        appliance
    }

    /// Writes the configuration as the settings have it now.
    pub(crate) fn write_config(&self) {
        std::fs::write(self.path("chancery.toml"), self.settings.toml(self.home.path())).unwrap();
    }

    /// The appliance's own directory.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A file in the appliance's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The directory of the audit log.
    pub(crate) fn audit(&self) -> PathBuf {
        self.settings.audit.clone().unwrap_or_else(|| self.path("audit"))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CHANCERY);
        command.args(arguments).arg("--config").arg(self.path("chancery.toml"));
        command.env("SOFTHSM2_CONF", self.path("token/softhsm2.conf")).env_remove("CHANCERY_LOG");
        command.env("CHANCERY_FAULTS", self.path("faults"));
        command.env("CHANCERY_FAULTS_MODULE", super::settings::module());
        command.env_remove("NOTIFY_SOCKET").env_remove("CREDENTIALS_DIRECTORY");
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; returns its output.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "chancery {arguments:?}: {}\n{wrong}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts one process.
    pub(crate) fn process(&self, command: &str) -> Process {
        Process::start(&mut self.command(&[command]))
    }

    /// Starts the service and waits until it is ready. One process after the other: each login makes SoftHSM rewrite
    /// its token file, which another that starts meanwhile may find empty.
    pub(crate) fn run(&mut self) {
        if self.settings.way == Way::Separate && self.signer.is_none() {
            self.run_signer();
        }
        self.run_gateway();
        self.wait_until_ready();
    }

    /// Starts a separate signer, and waits until it serves.
    pub(crate) fn run_signer(&mut self) {
        let mut signer = self.process("signer");
        signer
            .wait_for("the signer is ready", |line| (line["message"] == "the signer is ready").then_some(()));
        self.signer = Some(signer);
    }

    /// Starts the gateway, and waits until it listens.
    pub(crate) fn run_gateway(&mut self) {
        let gateway = self.process("serve");
        self.meet_gateway(gateway);
    }

    /// Waits until a gateway listens that the test started.
    pub(crate) fn meet_gateway(&mut self, mut gateway: Process) {
        let public = gateway.listening("http.listen");
        let scheme = if self.settings.tls { "https" } else { "http" };
        // The certificate has a name.
        let public = if self.settings.tls { public.replace("127.0.0.1", "localhost") } else { public };
        self.public = format!("{scheme}://{public}");
        self.operations = format!("http://{}", gateway.listening("http.operations_listen"));
        self.gateway = Some(gateway);
    }

    /// Waits until `/readyz` fails with these words; returns its body.
    pub(crate) fn wait_until_unready_because(&self, words: &str) -> String {
        until(&format!("/readyz says: {words}"), || {
            let answer = self.operation("/readyz").send();
            (answer.status == 503 && answer.text().contains(words)).then(|| answer.text().to_owned())
        })
    }

    /// The value of a metric without labels, an integer.
    pub(crate) fn metric(&self, name: &str) -> i64 {
        let answer = self.operation("/metrics").send();
        let found = answer.text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("{name} is not in\n{}", answer.text()))
    }

    /// Whether `/readyz` is 200.
    pub(crate) fn is_ready(&self) -> bool {
        self.operation("/readyz").try_send().is_ok_and(|answer| answer.status == 200)
    }

    /// Waits until `/readyz` is 200.
    pub(crate) fn wait_until_ready(&mut self) {
        until("readiness", || {
            if let Some(gateway) = &mut self.gateway
                && let Some(status) = gateway.ended()
            {
                panic!("the gateway ended with {status}:\n{}", gateway.said());
            }
            self.is_ready().then_some(())
        });
    }

    /// The number of the signer's process.
    pub(crate) fn signer_id(&self) -> Option<u32> {
        match &self.signer {
            Some(signer) => Some(signer.id()),
            None => self.gateway.as_ref().and_then(Process::child_id),
        }
    }

    /// Ends the service in order: SIGTERM, status 0 of both.
    pub(crate) fn stop(&mut self) {
        for mut process in [self.gateway.take(), self.signer.take()].into_iter().flatten() {
            process.signal(Signal::SIGTERM);
            let status = process.wait_all();
            self.said.push_str(&process.said());
            assert_eq!(
                status.code(),
                Some(0),
                "SIGTERM ends it in order, not with {status}:\n{}",
                process.said()
            );
        }
    }

    /// Kills all processes.
    pub(crate) fn kill(&mut self) {
        self.kill_now();
        self.buried();
    }

    /// Only sends the signals: callers may be at work.
    pub(crate) fn kill_now(&self) {
        // The signer first: it would end in order if its gateway ended first.
        for id in [self.signer_id(), self.gateway.as_ref().map(Process::id)].into_iter().flatten() {
            process::send(id, Signal::SIGKILL);
        }
    }

    /// Waits for the end of all that were killed.
    pub(crate) fn buried(&mut self) {
        for mut process in [self.gateway.take(), self.signer.take()].into_iter().flatten() {
            let status = process.wait_all();
            self.said.push_str(&process.said());
            assert_eq!(status.signal(), Some(9), "it ran until it was killed:\n{}", process.said());
        }
    }

    /// Keeps the output of a process that the test has ended.
    pub(crate) fn ended(&mut self, process: &Process) {
        self.said.push_str(&process.said());
    }

    /// Keeps the newest published checkpoint; the log must extend it at the end.
    pub(crate) fn keep_checkpoint(&mut self) {
        let file = self.path(&format!("seen-{}", self.checkpoints.len()));
        std::fs::copy(self.audit().join("published/checkpoint"), &file).unwrap();
        self.checkpoints.push(file);
    }

    /// The log's verifier key.
    pub(crate) fn log_key(&self) -> &str {
        &self.log_key
    }

    /// Exports the log; the service may be running.
    pub(crate) fn export(&self, name: &str) -> PathBuf {
        let out = self.path(name);
        self.must(&["audit", "export", "--out", out.to_str().unwrap()]);
        out
    }

    /// Stops in order, exports, verifies, and compares with all answers that callers received. Every test ends with it.
    pub(crate) fn finish(mut self) -> Finished {
        self.stop();
        let out = self.export("export-at-the-end");
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        let evidence = Evidence::check(
            out,
            &self.log_key,
            &kept,
            &self.checkpoints,
            &self.audit().join("segments"),
            self.home.path(),
        );
        self.says_nothing_secret(&kept);
        self.finished = true;
        Finished {
            evidence,
            said: std::mem::take(&mut self.said),
            log_key: self.log_key.clone(),
            _appliance: self,
        }
    }

    /// The log does not extend earlier checkpoints, after the operator's decision.
    pub(crate) fn forget_checkpoints(&mut self) {
        self.checkpoints.clear();
    }

    /// As [`Self::finish`], for a log that has lost records of received answers.
    pub(crate) fn finish_without_answers(self) -> Finished {
        *self.kept.lock().unwrap() = Kept::default();
        self.finish()
    }

    /// Searches all output for values that must never be logged.
    fn says_nothing_secret(&self, kept: &Kept) {
        let secrets = self.secrets.lock().unwrap();
        let customer = [super::front::CUSTOMER.to_owned(), super::front::IBAN.to_owned()];
        for secret in kept.signed.iter().chain(&kept.opaque).chain(secrets.iter()).chain(&customer) {
            assert!(!self.said.contains(secret.as_str()), "a log line holds {secret}");
        }
    }

    pub(super) fn agent(&self) -> &ureq::Agent {
        &self.agent
    }

    /// Keeps the tokens of an answer.
    pub(super) fn received(&self, path: &str, token: Option<&str>, answer: &Answer) {
        if answer.status != 200 || (answer.body.is_empty() && !path.ends_with("/revoke")) {
            return;
        }
        let mut kept = self.kept.lock().unwrap();
        let is_jwt = answer.header("content-type") == Some("application/token-introspection+jwt");
        if path.ends_with("/introspect") {
            let list = if is_jwt { &mut kept.signed } else { &mut kept.unsigned };
            list.push(answer.text().to_owned());
        } else if path.ends_with("/token") {
            let issued = answer.token();
            let list = if issued.contains('.') { &mut kept.signed } else { &mut kept.opaque };
            list.push(issued);
        } else if path.ends_with("/revoke")
            && let Some(token) = token.map(str::to_owned)
            && (kept.opaque.contains(&token) || kept.signed.contains(&token))
        {
            kept.revoked.push(token);
        } else if path.contains("/.well-known/")
            && let Some(signed) = answer.json()["signed_metadata"].as_str()
        {
            kept.signed.push(signed.to_owned());
        }
    }

    /// Notes a signed answer that the test received without the harness.
    pub(crate) fn kept_elsewhere(&self, signed: &str) {
        self.kept.lock().unwrap().signed.push(signed.to_owned());
    }

    /// No log line may hold this text.
    pub(super) fn keep_secret(&self, text: &str) {
        self.secrets.lock().unwrap().push(text.to_owned());
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in [&self.gateway, &self.signer].into_iter().flatten() {
                let said = process.said();
                let lines: Vec<&str> = said.lines().collect();
                eprintln!("its last lines:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
            // No process may write to the directory while it is removed.
            self.kill_now();
            for process in [&mut self.gateway, &mut self.signer].into_iter().flatten() {
                process.let_go();
            }
        } else {
            assert!(self.finished, "every test ends with finish()");
        }
    }
}

/// As in `systemd/chancery.tmpfiles`.
fn make_auditors_directory(directory: &Path, group: &str) {
    let group = nix::unistd::Group::from_name(group).unwrap().expect("a group of this machine");
    std::fs::create_dir(directory).unwrap();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o710)).unwrap();
    std::os::unix::fs::chown(directory, None, Some(group.gid.as_raw())).unwrap();
}

/// An appliance after its end.
pub(crate) struct Finished {
    pub(crate) evidence: Evidence,
    /// All output of its processes.
    pub(crate) said: String,
    pub(crate) log_key: String,
    /// Keeps the files.
    _appliance: Appliance,
}

/// A certificate for `localhost` and the authority that signed it, in PEM; the authority is returned.
fn make_certificates(home: &Path) -> Vec<u8> {
    let script = "set -e
        ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $ec -keyout ca.key -out ca.pem -days 2 -subj '/CN=test authority' \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
        openssl req $ec -keyout server.key -out server.csr -subj /CN=localhost
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > extensions
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
            -out server.pem
        chmod 600 server.key";
    let output = Command::new("sh").args(["-c", script]).current_dir(home).output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(home.join("ca.pem")).unwrap()
}
