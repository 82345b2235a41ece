//! TLS 1.2 and 1.3, and nothing older: rows 29, 38, 84, 148.

use crate::harness::{Appliance, Settings, Way};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older_and_no_plain_http() {
    let appliance = Appliance::start(Settings::new(Way::Child).with_tls());
    assert!(appliance.public.starts_with("https://localhost:"));
    let token = appliance.token_of_the_case();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);

    let address = appliance.public.trim_start_matches("https://").to_owned();
    let s_client = |options: &[&str]| {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-connect",
            &address,
            "-servername",
            "localhost",
            "-verify_return_error",
            "-CAfile",
        ]);
        // OpenSSL must offer the version that the server must refuse.
        command.arg(appliance.path("ca.pem")).args(["-cipher", "ALL:@SECLEVEL=0"]).args(options);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for (option, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (connected, said) = s_client(&[option]);
        assert!(connected && said.contains(&format!("New, {name}")), "{said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    for option in ["-tls1_1", "-tls1"] {
        let (connected, said) = s_client(&[option]);
        assert!(!connected && said.contains("Cipher is (NONE)"), "{option}: {said}");
    }
    // Only suites with forward secrecy and authenticated encryption (row 84).
    for weak in ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"] {
        let (connected, _) = s_client(&["-tls1_2", "-cipher", &format!("{weak}:@SECLEVEL=0")]);
        assert!(!connected, "{weak}");
    }

    let mut plain = TcpStream::connect(&address).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    plain.write_all(b"GET /jwks HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1 200"), "plain HTTP is refused");
    appliance.finish();
}
