//! `chancery signer`: the process that holds PIN, token and log. It serves the gateway and, on sockets of their own,
//! operators and auditors on the same machine.

use super::{ConfigFile, Unusable, complain, fail, log_lines, usable};
use crate::audit::{Event, Outcome};
use crate::config::{Config, Process, SignerMode};
use crate::door::{bind, check_peer};
use crate::exit::{self, Status};
use crate::hsm::leave;
use crate::signer::{
    Appliance, Calls, Ending, Identity, Service, listen, listen_for_auditors, record_event, refuse,
    remember_lost_token,
};
use crate::{clock, systemd, telemetry};
use clap::Args;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// The longest time for one batch to become durable. A thread that waits for a disk cannot be ended, but the process
/// can; the next one reads the log from the disk once it answers. Network storage fails over sooner.
const DISK_DEADLINE: Duration = Duration::from_secs(30);

/// Limit of time for an end in order; then the process exits.
pub const LONGEST_END: Duration = Duration::from_secs(45);

/// Signs and records for a gateway.
///
/// As a service it listens on `[signer] socket` for the user `gateway_user`; `chancery serve` without `[signer]`
/// starts one by itself.
#[derive(Args)]
pub struct SignerArgs {
    #[command(flatten)]
    file: ConfigFile,
    /// Serve the one gateway at the other end of standard input, which is a socket, and end with it
    #[arg(long, hide = true)]
    child: bool,
}

/// Runs the command.
pub fn run(args: &SignerArgs) -> Status {
    let config = match usable(&args.file, Process::Signer) {
        Ok(config) => config,
        Err(Unusable { mistakes, status, config }) => {
            complain(&mistakes);
            let reason = format!("its configuration: {mistakes}");
            send_reason(args.child, config.as_deref(), &reason, status);
            return status;
        }
    };
    let _flush = match log_lines(config.log) {
        Ok(guard) => guard,
        Err(status) => return status,
    };
    // Before the log is opened and records are appended.
    if let Err((error, status)) = may_be_reached(args.child, &config) {
        tracing::error!(%error, "the signer does not start");
        systemd::status(&error);
        return status;
    }
    let (ending, ended) = mpsc::channel();
    if let Err(error) = watch_signals(args.child, &ending) {
        return fail(&error, exit::OS);
    }
    let serving = Arc::new(AtomicBool::new(false));
    let hung = hung(args.child, Arc::clone(&config), Arc::clone(&serving), ending.clone());
    let calls = match Calls::watch(config.hsm.deadline, hung) {
        Ok(calls) => calls,
        Err(error) => return fail(&error, exit::OS),
    };
    let started = Appliance::open(Arc::clone(&config), &ending, calls.clone()).and_then(|appliance| {
        let identity = appliance.identity();
        Ok((Service::start(appliance, ending.clone())?, identity))
    });
    let (service, identity) = match started {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(%error, "the signer does not start");
            if error.is_token() {
                remember_lost_token(&config, &error.to_string());
            }
            send_reason(args.child, Some(&config), &error.to_string(), error.exit_status());
            return error.exit_status();
        }
    };
    serving.store(true, Ordering::Release);
    if let Err(error) = meet_gateways(args.child, &config, &service, &ending) {
        tracing::error!(%error, "no gateway can reach the signer");
        let _ = service.finish(&identity);
        return exit::OS;
    }
    if let Err(error) = listen(&config, &service, appliance_identity(&identity)) {
        tracing::error!(%error, "no operator can reach the signer; admin.sock in the audit directory");
    }
    if let Err(error) = listen_for_auditors(&config, &service, appliance_identity(&identity)) {
        tracing::error!(%error, "no auditor can reach the signer; auditors.socket in the configuration");
    }
    if !args.child {
        systemd::ready();
        systemd::status("ready");
    }
    tracing::info!(token = %config.hsm.token, log = %config.audit.origin, "the signer is ready");
    let why = wait(&service, &ended, &calls);
    systemd::stopping();
    let patience = match why {
        Ending::Requested | Ending::TokenLost { .. } => LONGEST_END,
        Ending::Hung(_) | Ending::LogFailed(_) | Ending::RolledBack(_) => Duration::from_secs(5),
    };
    if let Err(error) = end_at_last(patience) {
        tracing::warn!(%error, "nothing watches over the end");
    }
    let status = end(service, &config, &identity, why);
    // A late refusal of the PIN decides the status: the unit must not try that PIN again.
    if ended.try_iter().any(|late| matches!(late, Ending::TokenLost { pin: true, .. })) {
        exit::NO_PERMISSION
    } else {
        status
    }
}

/// Ends the process when a call into the module does not return, from the first call on and also during the end of the
/// process: a thread inside the module cannot be ended.
fn hung(
    child: bool,
    config: Arc<Config>,
    serving: Arc<AtomicBool>,
    ending: Sender<Ending>,
) -> impl FnOnce(String) {
    move |what| {
        tracing::error!(%what, "a call into the PKCS#11 module hangs; the signer ends");
        if serving.load(Ordering::Acquire) {
            // On a thread of its own, since the main thread may hang as well.
            let watched = end_at_last(Duration::from_secs(5));
            if watched.is_ok() && ending.send(Ending::Hung(what)).is_ok() {
                return;
            }
            end_now(exit::SOFTWARE)
        }
        remember_lost_token(&config, &what);
        send_reason(child, Some(&config), &what, exit::SOFTWARE);
        end_now(exit::SOFTWARE)
    }
}

/// Skips the module's destructors.
fn end_now(status: Status) -> ! {
    telemetry::flush();
    leave(status)
}

/// How long a signer that cannot start waits for a gateway to send it the reason: gateways connect every five seconds.
const REASON_WAIT: Duration = Duration::from_secs(6);

/// Reports to systemd, and to one gateway, why the signer does not start.
///
/// After a failure of the log's disk (74) it waits for all of [`REASON_WAIT`]: the service manager restarts it a second
/// after its end, and each start may append records.
fn send_reason(child: bool, config: Option<&Config>, reason: &str, status: Status) {
    systemd::status(&reason.replace('\n', "; "));
    if child {
        if let Ok(stream) = std::io::stdin().as_fd().try_clone_to_owned() {
            refuse(&UnixStream::from(stream), reason);
        }
        return;
    }
    let Some(SignerMode::Separate { socket, gateway_user, .. }) = config.map(|config| &config.signer) else {
        return;
    };
    if is_taken(socket) {
        return;
    }
    let told = bind(socket, 0o666).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let began = clock::monotonic_nanos();
        while clock::since(began) < REASON_WAIT {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    if check_peer(&stream, gateway_user).is_ok() {
                        refuse(&stream, reason);
                        if status != exit::IO {
                            break;
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error),
            }
        }
        std::fs::remove_file(socket)
    });
    if let Err(error) = told {
        tracing::warn!(%error, "no gateway was told why the signer does not start");
    }
}

/// Whether the gateway can connect: else the reason and the exit status.
fn may_be_reached(child: bool, config: &Config) -> Result<(), (String, Status)> {
    match &config.signer {
        _ if child => Ok(()),
        SignerMode::Child => Err((
            "the configuration has no [signer] socket to listen on: name one, or run `chancery serve` alone, which starts \
             its signer by itself"
                .to_owned(),
            exit::CONFIG,
        )),
        SignerMode::Separate { socket, .. } if is_taken(socket) => Err((
            format!(
                "{}: another process listens there, perhaps a signer with another log; stop it, or give each signer a \
                 [signer] socket of its own",
                socket.display()
            ),
            exit::TEMPORARY,
        )),
        SignerMode::Separate { .. } => Ok(()),
    }
}

/// Whether another process listens on the socket.
fn is_taken(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

const fn appliance_identity(identity: &Identity) -> Identity {
    Identity { config: identity.config, program: identity.program }
}

/// Waits for a reason to end; once a second it sends the signer's state to the gateways, and a ping to systemd while no
/// call to the module or the disk hangs. This thread waits for neither.
fn wait(service: &Arc<Service>, ended: &mpsc::Receiver<Ending>, calls: &Calls) -> Ending {
    loop {
        match ended.recv_timeout(Duration::from_secs(1)) {
            Ok(why) => return why,
            Err(RecvTimeoutError::Timeout) => {
                service.tick();
                let waits = service.log().oldest_write();
                if waits > DISK_DEADLINE {
                    let seconds = waits.as_secs();
                    return Ending::LogFailed(format!("its disk has not taken a batch for {seconds} s"));
                }
                if !calls.hang() {
                    systemd::watchdog();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ending::Requested,
        }
    }
}

/// Ends the process after `patience` at the latest: during the end nothing watches for hung calls, and an end in order
/// waits for threads that may be inside the module.
fn end_at_last(patience: Duration) -> std::io::Result<()> {
    std::thread::Builder::new().name("end".to_owned()).spawn(move || {
        std::thread::sleep(patience);
        tracing::error!(seconds = patience.as_secs(), "the signer did not end by itself; it ends as it is");
        end_now(exit::SOFTWARE)
    })?;
    Ok(())
}

fn end(service: Arc<Service>, config: &Config, identity: &Identity, why: Ending) -> Status {
    match why {
        Ending::Requested => {
            if !service.finish(identity) {
                return exit::IO;
            }
            tracing::info!("the signer has ended in order");
            0
        }
        Ending::TokenLost { reason, pin } => {
            tracing::error!(%reason, "the token is lost; the signer ends, and a new one looks for it");
            lost(&service, config, identity, &reason);
            let _ = service.finish(identity);
            if pin { exit::NO_PERMISSION } else { exit::TEMPORARY }
        }
        Ending::Hung(reason) => {
            service.finish_beside_hung_calls();
            lost(&service, config, identity, &reason);
            end_now(exit::SOFTWARE)
        }
        // Nothing is written after a failed sync: the next start reads the log from the disk.
        Ending::LogFailed(reason) => {
            tracing::error!(%reason, "the audit log failed; the signer ends at once");
            service.say_why(&reason);
            end_now(exit::IO)
        }
        // Nothing is appended to a log that does not extend the known one.
        Ending::RolledBack(reason) => {
            tracing::error!(%reason, "the audit log was rolled back or changed; restore it from a copy");
            end_now(exit::DATA)
        }
    }
}

/// Records the loss, tells the gateways, and marks it for the start that finds the token again.
fn lost(service: &Service, config: &Config, identity: &Identity, reason: &str) {
    remember_lost_token(config, reason);
    record_event(service.log(), Event::TokenLost, Outcome::Failure, reason, identity);
    service.say_why(reason);
    systemd::status(reason);
}

/// SIGTERM and SIGINT end a service in order. A child ignores them: it ends with its gateway, which drains first.
fn watch_signals(child: bool, ending: &Sender<Ending>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    let ending = ending.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    // A reload changes secrets, key sets and certificates of the gateway alone.
                    _ = hangup.recv() => {
                        tracing::warn!("SIGHUP changes nothing in the signer: it reads its configuration when it starts");
                        continue;
                    }
                }
                if !child && ending.send(Ending::Requested).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(())
}

fn meet_gateways(
    child: bool,
    config: &Config,
    service: &Arc<Service>,
    ending: &Sender<Ending>,
) -> std::io::Result<()> {
    if child {
        let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        let (service, ending) = (Arc::downgrade(service), ending.clone());
        std::thread::Builder::new().name("gateway".to_owned()).spawn(move || {
            if let Some(service) = service.upgrade() {
                service.serve(stream);
            }
            let _ = ending.send(Ending::Requested);
        })?;
        return Ok(());
    }
    // `may_be_reached` has checked the mode before the log was opened.
    let SignerMode::Separate { socket, gateway_user, .. } = &config.signer else { return Ok(()) };
    // Peer credentials, not the file's mode, decide which process may connect.
    let listener = bind(socket, 0o666)?;
    let (service, user) = (Arc::downgrade(service), gateway_user.clone());
    std::thread::Builder::new().name("gateways".to_owned()).spawn(move || {
        let mut failing = false;
        for stream in listener.incoming() {
            let stream = match stream {
                Ok(stream) => {
                    failing = false;
                    stream
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "no gateway can be accepted at the moment; trying again and again");
                    }
                    // Without file descriptors the next accept(2) fails at once as well.
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            if let Err(error) = check_peer(&stream, &user) {
                tracing::error!(%error, "somebody who is not the gateway connected; refused");
                continue;
            }
            let Some(service) = service.upgrade() else { return };
            let spawned =
                std::thread::Builder::new().name("gateway".to_owned()).spawn(move || service.serve(stream));
            if let Err(error) = spawned {
                tracing::error!(%error, "no thread for a gateway");
            }
        }
    })?;
    Ok(())
}
