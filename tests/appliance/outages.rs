//! Outages without effect for callers, and outages that they learn of in time.

use crate::harness::{Appliance, Process, Settings, Way, copy, send, until};
use nix::sys::signal::Signal;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Waits for a signer without a limit of its own.
fn patient(way: Way) -> Settings {
    Settings::new(way).limit("signer_wait", "\"1m\"").limit("answer_time", "\"1m\"")
}

/// Sets its flag on drop: after a failed assertion callers must not ask for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Eight callers request and introspect tokens until `change` is done; returns the number of answers, all of them 200.
/// A caller whose connection was closed before an answer asks once more (RFC 9110 §9.2.2).
fn load(appliance: &Appliance, token: &str, change: impl FnOnce()) -> usize {
    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (over, answers) = (&over, &answers);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let ask = || match caller {
                        0 => appliance
                            .call("POST", "/token")
                            .by("shop")
                            .form("grant_type", "client_credentials"),
                        1 => appliance
                            .call("POST", "/token")
                            .by("shop-jwt")
                            .form("grant_type", "client_credentials")
                            .form("scope", "payments:status"),
                        _ => appliance.introspection("payments-api", token),
                    };
                    let answer = ask().try_send().unwrap_or_else(|_| ask().send());
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let many = |more: usize| {
            let before = answers.load(Ordering::Relaxed);
            until("many answers", || (answers.load(Ordering::Relaxed) >= before + more).then_some(()));
        };
        let _over = Over(&over);
        many(50);
        change();
        many(50);
    });
    answers.into_inner()
}

#[test]
fn a_separate_signer_is_restarted_under_load_without_one_failed_request() {
    let mut appliance = Appliance::start(patient(Way::Separate));
    let token = appliance.token_of_the_case();
    let mut first = appliance.signer.take().unwrap();
    let mut second = None;
    load(&appliance, &token, || {
        first.signal(Signal::SIGTERM);
        assert_eq!(first.wait_all().code(), Some(0), "{}", first.said());
        second = Some(appliance.process("signer"));
    });
    appliance.ended(&first);
    appliance.signer = second;
    assert_eq!(appliance.metric("chancery_signer_connections_total"), 2);
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("started").count(), 2);
}

#[test]
fn introspection_survives_a_signer_that_is_killed() {
    let appliance = Appliance::start(patient(Way::Child));
    let token = appliance.token_of_the_case();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    appliance.introspection("payments-api", &token).send().jwt();
                }
            });
        }
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            let before = appliance.metric("chancery_signer_connections_total");
            send(appliance.signer_id().unwrap(), Signal::SIGKILL);
            until("another signer", || {
                (appliance.metric("chancery_signer_connections_total") > before).then_some(())
            });
        }
        over.store(true, Ordering::Relaxed);
    });
    appliance.finish();
}

#[test]
fn a_stopped_signer_is_seen_and_requests_get_their_503_in_time() {
    let settings = Settings::new(Way::Child).limit("answer_time", "\"2s\"");
    let mut appliance = Appliance::start(settings);
    let token = appliance.token_of_the_case();
    let signer = appliance.signer_id().unwrap();
    assert_eq!(appliance.metric("chancery_signer_up"), 1);
    send(signer, Signal::SIGSTOP);
    // Before the outage is detected: the request's own deadline ends it.
    appliance.introspection("payments-api", &token).send().is_unavailable();
    appliance.client_credentials("shop", &[]).is_unavailable();
    appliance.wait_until_unready_because("the signer says nothing");
    assert_eq!(appliance.metric("chancery_signer_up"), 0);
    appliance.introspection("payments-api", &token).send().is_unavailable();
    send(signer, Signal::SIGCONT);
    appliance.wait_until_ready();
    assert_eq!(appliance.signer_id(), Some(signer), "it was not replaced");
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.finish();
}

/// A gateway that gets its socket from the parent, as from systemd.
fn with_socket(appliance: &Appliance, socket: &TcpListener) -> Process {
    let plain = appliance.command(&["serve"]);
    // The variable names the process id of the shell, which exec keeps for the gateway.
    let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&{}", socket.as_raw_fd());
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash"]).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Process::start(&mut command)
}

#[test]
fn a_gateway_with_socket_activation_is_restarted_under_load_without_a_failed_request() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let mut settings = patient(Way::Separate);
    settings.listen = socket.local_addr().unwrap().to_string();
    let mut appliance = Appliance::prepare(settings);
    appliance.run_signer();
    let first = with_socket(&appliance, &socket);
    appliance.meet_gateway(first);
    appliance.wait_until_ready();
    let token = appliance.token_of_the_case();
    let mut first = appliance.gateway.take().unwrap();
    let mut second = None;
    load(&appliance, &token, || {
        first.signal(Signal::SIGTERM);
        assert_eq!(first.wait_all().code(), Some(0), "{}", first.said());
        second = Some(with_socket(&appliance, &socket));
    });
    appliance.ended(&first);
    appliance.meet_gateway(second.unwrap());
    appliance.wait_until_ready();
    appliance.finish();
}

#[test]
fn a_refused_pin_leaves_the_gateway_up_which_recovers_with_the_right_pin() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Child));
    let right = std::fs::read_to_string(appliance.path("token/pin")).unwrap();
    let (tokens, fresh) = (appliance.path("token/tokens"), appliance.path("token/fresh"));
    copy(&tokens, &fresh);
    std::fs::write(appliance.path("token/pin"), "00000000000000000000000000000000").unwrap();
    appliance.run_gateway();
    appliance.wait_until_unready_because("PIN");
    appliance.client_credentials("shop", &[]).is_unavailable();
    // On a token whose warning the security officer has cleared.
    std::fs::remove_dir_all(&tokens).unwrap();
    std::fs::rename(&fresh, &tokens).unwrap();
    std::fs::write(appliance.path("token/pin"), right).unwrap();
    appliance.wait_until_ready();
    assert_eq!(appliance.client_credentials("shop", &[]).status, 200);
    appliance.finish();
}
