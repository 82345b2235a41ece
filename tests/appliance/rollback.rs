//! The log's directory is replaced by an older copy of itself: the gateway remembers and notices (invariant 8).

use crate::harness::{Appliance, Settings, Way, copy, unique, until};
use std::time::Duration;

fn rolled_back(way: Way) {
    let mut appliance = Appliance::start(Settings::new(way));
    appliance.token_of_the_case();
    appliance.stop();
    let old = appliance.path("old-copy");
    copy(&appliance.audit(), &old);
    appliance.run();
    let token = appliance.token_of_the_case();
    for _ in 0..30 {
        appliance.introspect("payments-api", &token);
    }
    // However soon it stops, the gateway was told the checkpoint that covers its last answer.
    appliance.stop();
    appliance.keep_checkpoint();

    let (real, away) = (appliance.audit(), appliance.path("real"));
    std::fs::rename(&real, &away).unwrap();
    copy(&old, &real);
    let mut refused = match way {
        // The signer's status is the gateway's own: nobody starts on this log again.
        Way::Child => appliance.process("serve"),
        Way::Separate => {
            appliance.run_signer();
            appliance.run_gateway();
            appliance.signer.take().unwrap()
        }
    };
    assert_eq!(refused.wait_all().code(), Some(65), "{}", refused.said());
    assert!(refused.said().contains("checkpoint"), "operators are told why: {}", refused.said());
    appliance.ended(&refused);
    if way == Way::Separate {
        for _ in 0..20 {
            appliance.introspection("payments-api", &unique()).send().is_unavailable();
            appliance.client_credentials("shop", &[]).is_unavailable();
            assert!(!appliance.is_ready());
            std::thread::sleep(Duration::from_millis(50));
        }
        appliance.stop();
    }
    let signed = |log: &std::path::Path| std::fs::read(log.join("published/checkpoint")).unwrap();
    assert_eq!(signed(&real), signed(&old), "nothing was signed over a log that had lost records");

    // The log that the gateway knows is welcome.
    std::fs::remove_dir_all(&real).unwrap();
    std::fs::rename(&away, &real).unwrap();
    appliance.run();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    until("readiness", || appliance.is_ready().then_some(()));
    appliance.finish();
}

#[test]
fn a_log_that_was_rolled_back_is_refused_when_the_signer_is_a_child() {
    rolled_back(Way::Child);
}

#[test]
fn a_log_that_was_rolled_back_is_refused_when_the_signer_is_separate() {
    rolled_back(Way::Separate);
}
