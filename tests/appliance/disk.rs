//! A full disk under the audit log, and a hanging one: no answer is unsigned or unrecorded, and the service recovers by
//! itself (B19, row 36).

use crate::harness::{Appliance, Settings, Way, copy, disk_faults, until};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A file system of a few megabytes, unmounted when dropped.
struct SmallDisk {
    place: tempfile::TempDir,
}

impl SmallDisk {
    fn of_megabytes(size: u32) -> Self {
        let place = tempfile::Builder::new().prefix("chancery-disk-").tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}m,mode=0700"), "chancery-test"])
            .arg(place.path());
        let output = mount.output().expect("mount is installed");
        assert!(
            output.status.success(),
            "this test mounts a small tmpfs: run it as root, or `unshare --user --map-root-user --mount` the whole \
             run ({})",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Self { place }
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    /// Takes all space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        path
    }
}

impl SmallDisk {
    fn remount(&self, how: &str) {
        let mounted = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.path()).status();
        assert!(mounted.unwrap().success(), "remount,{how}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: a process of the test may still use it.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_stops_every_answer_and_service_returns_by_itself_when_there_is_space() {
    let disk = SmallDisk::of_megabytes(6);
    let mut settings = Settings::new(Way::Child);
    settings.audit = Some(disk.path().join("audit"));
    let appliance = Appliance::start(settings);
    let token = appliance.token_of_the_case();
    let doomed = appliance.token_of_the_case();
    let ballast = disk.fill();
    let mut answered = 0;
    until("the first refusal", || {
        std::thread::scope(|scope| {
            let ask = || {
                (0..50).map(|_| appliance.introspection("payments-api", &token).send()).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            let answers: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            answered += answers.iter().filter(|answer| answer.status == 200).count();
            answers.iter().filter(|answer| answer.status != 200).for_each(|answer| answer.is_unavailable());
            answers.iter().any(|answer| answer.status != 200).then_some(())
        })
    });
    assert!(answered > 50, "what was reserved before was used: {answered}");

    // Every request that needs a record is refused, in every format.
    until("the last bit of space is used up", || {
        let answers: Vec<_> = (0..20).map(|_| appliance.client_credentials("shop", &[])).collect();
        answers.iter().all(|answer| answer.status == 503).then_some(())
    });
    appliance.introspection("payments-api", &token).send().is_unavailable();
    let json =
        appliance.call("POST", &appliance.endpoint("introspect")).by("accounts-api").form("token", &token);
    json.send().is_unavailable();
    appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).is_unavailable();
    appliance.revoke("shop", &doomed).is_unavailable();
    until("unreadiness", || (!appliance.is_ready()).then_some(()));
    assert_eq!(appliance.metadata().status, 200, "what needs no record is served");

    std::fs::remove_file(ballast).unwrap();
    until("service", || (appliance.introspection("payments-api", &token).send().status == 200).then_some(()));
    until("readiness", || appliance.is_ready().then_some(()));
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    assert_eq!(appliance.client_credentials("shop", &[]).status, 200);
    // A revocation that could not be recorded takes effect all the same, and can be repeated.
    assert_eq!(*appliance.introspect("payments-api", &doomed).inner(), json!({"active": false}));
    assert_eq!(appliance.revoke("shop", &doomed).status, 200);
    let evidence = appliance.finish().evidence;
    assert!(evidence.events("disk-full").count() >= 1 && evidence.events("disk-recovered").count() >= 1);
}

#[test]
fn a_hanging_disk_is_reported_at_once_and_ends_the_signer_without_loss_of_released_answers() {
    // The log and the signer's memory of it.
    let disk = tempfile::Builder::new().prefix("chancery-disk-").tempdir().unwrap();
    let mut settings = Settings::new(Way::Separate);
    settings.audit = Some(disk.path().join("audit"));
    let mut appliance = Appliance::prepare(settings);
    let hold = appliance.path("hold");
    appliance.environment = [
        ("LD_PRELOAD", disk_faults()),
        ("FAULTS_UNDER", disk.path().to_owned()),
        ("FAULTS_HOLD", hold.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value.display().to_string()))
    .to_vec();
    appliance.run_signer();
    appliance.environment.clear();
    appliance.run_gateway();
    appliance.wait_until_ready();
    let token = appliance.token_of_the_case();
    let answered = AtomicUsize::new(0);
    let refused = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    // Until the disk hangs, and then until the deadline.
                    loop {
                        let answer = appliance.introspection("payments-api", &token).send();
                        if answer.status != 200 {
                            return answer;
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        until("answers", || (answered.load(Ordering::Relaxed) > 500).then_some(()));
        File::create(&hold).unwrap();
        appliance.wait_until_unready_because("the disk of the audit log has not taken a record for");
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    refused.iter().for_each(crate::harness::Answer::is_unavailable);
    // The signer keeps sending its status for longer than the limit of silence: sizes and memory are on that disk too.
    let age = || {
        let text = appliance.operation("/metrics").send().text().to_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("chancery_oldest_record_age_seconds "));
        line.unwrap().parse::<f64>().unwrap()
    };
    for seconds in [12.0, 18.0, 24.0] {
        until("the age of the oldest record", || (age() >= seconds).then_some(()));
        appliance.wait_until_unready_because("the disk of the audit log has not taken a record for");
    }
    let mut signer = appliance.signer.take().unwrap();
    assert_eq!(signer.wait_all().code(), Some(74), "{}", signer.said());
    appliance.ended(&signer);
    // The reason stays until another replaces it.
    let words = appliance.wait_until_unready_because("signer.sock: Connection refused");
    assert!(words.contains("its disk has not taken a batch for"), "{words}");
    std::fs::remove_file(hold).unwrap();
    appliance.run_signer();
    appliance.wait_until_ready();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.finish();
}

#[test]
fn a_pin_is_given_to_the_token_only_where_its_refusal_can_be_kept_however_full_the_disk_is() {
    const WRONG: &str = "00000000000000000000000000000000";
    let disk = SmallDisk::of_megabytes(6);
    let mut settings = Settings::new(Way::Separate).with_faults("deadline = \"30s\"");
    settings.audit = Some(disk.path().join("audit"));
    let mut appliance = Appliance::prepare(settings);
    let right = std::fs::read_to_string(appliance.path("token/pin")).unwrap();
    let signer_ends = |appliance: &mut Appliance| {
        let mut signer = appliance.process("signer");
        let status = signer.wait_all().code();
        appliance.ended(&signer);
        (status, signer.said())
    };
    std::fs::write(appliance.path("token/pin"), WRONG).unwrap();
    let before = appliance.calls_of("C_Login");
    let place = disk.path().join("signer/pin-place");
    std::fs::remove_file(&place).unwrap();
    let ballast = disk.fill();
    let (status, said) = signer_ends(&mut appliance);
    assert_eq!((status, appliance.calls_of("C_Login") - before), (Some(74), 0), "{said}");
    std::fs::remove_file(ballast).unwrap();

    // First with the right PIN, which reserves the space.
    std::fs::write(appliance.path("token/pin"), &right).unwrap();
    appliance.must(&["key", "generate"]);
    let (tokens, fresh) = (appliance.path("token/tokens"), appliance.path("token/fresh"));
    copy(&tokens, &fresh);
    std::fs::write(appliance.path("token/pin"), WRONG).unwrap();
    let (before, ballast) = (appliance.calls_of("C_Login"), disk.fill());
    for _ in 0..2 {
        let (status, said) = signer_ends(&mut appliance);
        assert_eq!(status, Some(77), "{said}");
    }
    assert_eq!(appliance.calls_of("C_Login") - before, 1, "the mark was kept on the full disk");
    std::fs::remove_file(ballast).unwrap();
    appliance.must(&["pin", "clear"]);
    // A token that does not report the wrong PIN.
    std::fs::remove_dir_all(&tokens).unwrap();
    copy(&fresh, &tokens);
    std::fs::write(appliance.path("token/pin"), &right).unwrap();
    appliance.run();
    appliance.finish();
}

#[test]
fn memories_that_cannot_be_stored_are_reported_and_stop_the_answers_when_both_fail() {
    let disk = SmallDisk::of_megabytes(2);
    let mut settings = Settings::new(Way::Separate);
    settings.state = Some(disk.path().to_owned());
    let mut appliance = Appliance::start(settings);
    let token = appliance.token_of_the_case();
    let ballast = disk.fill();
    // An answer that only the log has, then the reason beside further answers, then none.
    let (mut unready, mut told) = (0, false);
    until("no answer", || {
        let probe = appliance.operation("/readyz").send();
        told |=
            ["the signer's (signer.state_directory) was not kept", "the gateway's (store.url) was not kept"]
                .iter()
                .all(|words| probe.text().contains(words));
        let answer = appliance.introspection("payments-api", &token).send();
        if answer.status == 200 {
            unready += u32::from(probe.status == 503);
            return None;
        }
        answer.is_unavailable();
        Some(())
    });
    assert!(told && unready > 0, "{told} {unready}");
    appliance.wait_until_unready_because("neither memory of the audit log is kept any more");
    let metrics = appliance.operation("/metrics").send().text().to_owned();
    for name in ["chancery_signer_memory_lag_seconds", "chancery_gateway_memory_lag_seconds"] {
        let lag = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        assert!(lag.is_some_and(|lag| lag > 30.0), "{name}: {lag:?}");
    }
    std::fs::remove_file(ballast).unwrap();
    // Both are tried again without a new record.
    appliance.wait_until_ready();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.finish();
}

#[test]
fn a_state_of_tokens_that_cannot_be_written_is_unready_and_one_that_can_only_be_read_is_refused() {
    let disk = SmallDisk::of_megabytes(2);
    let mut settings = Settings::new(Way::Child);
    settings.state = Some(disk.path().to_owned());
    let mut appliance = Appliance::start(settings);
    let token = appliance.token_of_the_case();
    let ballast = disk.fill();
    until("a token that cannot be stored", || {
        (appliance.client_credentials("shop", &[]).status == 503).then_some(())
    });
    appliance.wait_until_unready_because("the disk is full");
    assert_eq!(
        appliance.introspect("payments-api", &token).inner()["active"],
        true,
        "reading needs no space"
    );
    std::fs::remove_file(ballast).unwrap();
    appliance.wait_until_ready();
    assert_eq!(appliance.client_credentials("shop", &[]).status, 200);
    appliance.stop();
    disk.remount("ro");
    let mut gateway = appliance.process("serve");
    assert_eq!(gateway.wait_all().code(), Some(78), "{}", gateway.said());
    assert!(gateway.said().contains("Read-only file system"), "{}", gateway.said());
    appliance.ended(&gateway);
    disk.remount("rw");
    appliance.run();
    appliance.finish();
}
