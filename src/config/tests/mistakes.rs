//! One row for each kind of mistake, which is reported alone and with its line.

use super::{GOOD, read};
use proptest::prelude::*;
use std::fmt::Write;

/// Replaced text in [`GOOD`], replacement, reported key, message.
pub(super) type Row = (&'static str, &'static str, &'static str, &'static str);

pub(super) fn check(rows: &[Row]) {
    let mut wrong = String::new();
    for (from, to, key, says) in rows {
        assert_eq!(GOOD.matches(from).count(), 1, "{from:?} must stand once in the good configuration");
        let text = GOOD.replace(from, to);
        match read(&text) {
            Ok(_) => writeln!(wrong, "{to:?}: accepted").unwrap(),
            Err(mistakes) => {
                let list = mistakes.list();
                let right = list.len() == 1 && list[0].key == *key && mistakes.to_string().contains(says);
                if !right {
                    writeln!(wrong, "{to:?}, {key}, {says:?}:\n{mistakes}\n").unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_top_of_the_file() {
    check(&[
        ("version = 1\n", "", "version", "expected 1, found nothing"),
        ("version = 1\n", "version = 2\n", "version", "expected 1, found 2"),
        ("version = 1\n", "version = \"1\"\n", "version", "found \"1\""),
        (
            "version = 1\n",
            "version = 1\nprofile = \"fapi2\"\n",
            "profile",
            "\"fapi2\" (a later version knows it)",
        ),
        (
            "\"https://as.example\"",
            "\"http://as.example\"",
            "issuer",
            "\"http://as.example\" (another scheme)",
        ),
        ("\"https://as.example\"", "\"https://as.example?x\"", "issuer", "without query"),
        ("version = 1\n", "version = 1\nlogs = 1\n", "logs", "did you mean \"log\"?"),
        (
            "[store]\nurl = \"sqlite:///var/lib/chancery/state.db\"\n",
            "",
            "store",
            "expected a table [store], found nothing",
        ),
        ("[store]\nurl =", "[[store]]\nurl =", "store", "found a list"),
        ("[audit]\n", "[log]\nlines = \"xml\"\n[audit]\n", "log.lines", "found \"xml\""),
    ]);
}

#[test]
fn the_edge() {
    check(&[
        ("\"127.0.0.1:8443\"", "\"localhost:8443\"", "http.listen", "an address and a port"),
        (
            "\"127.0.0.1:8443\"",
            "\"0.0.0.0:8443\"",
            "http.listen",
            "plain HTTP is for loopback addresses alone",
        ),
        ("\"127.0.0.1:9443\"", "\"0.0.0.0:9443\"", "http.operations_listen", "a loopback or private address"),
        ("\"127.0.0.1:9443\"", "\"[::]:9443\"", "http.operations_listen", "not for the public"),
        (
            "\"127.0.0.1:9443\"",
            "\"192.0.2.1:9443\"",
            "http.operations_listen",
            "a loopback or private address",
        ),
        (
            "\"127.0.0.1:9443\"",
            "\"127.0.0.1:8443\"",
            "http.operations_listen",
            "another address than http.listen",
        ),
        ("[hsm]\n", "[http.tls]\ncertificate = \"c\"\n[hsm]\n", "http.tls.key", "found nothing"),
        (
            "[hsm]\n",
            "[http.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\n[hsm]\n",
            "http.tls.client_ca",
            "a later version reads it",
        ),
        (
            "[hsm]\n",
            "[http.limits]\nbody_bytes = \"64kB\"\n[hsm]\n",
            "http.limits.body_bytes",
            "a size from 1KiB to 16MiB",
        ),
        ("[hsm]\n", "[http.limits]\nbody_bytes = 10\n[hsm]\n", "http.limits.body_bytes", "found 10"),
        ("[hsm]\n", "[http.limits]\njson_depth = 200\n[hsm]\n", "http.limits.json_depth", "from 8 to 128"),
        ("[hsm]\n", "[http.limits]\nconnections = -1\n[hsm]\n", "http.limits.connections", "found -1"),
        (
            "[hsm]\n",
            "[http.limits]\nrequest_time = \"10\"\n[hsm]\n",
            "http.limits.request_time",
            "a time span from 100ms to 5m",
        ),
        (
            "[hsm]\n",
            "[http.limits]\nrequest_times = \"1s\"\n[hsm]\n",
            "http.limits.request_times",
            "did you mean \"request_time\"?",
        ),
        ("[hsm]\n", "threads = 2000\n[hsm]\n", "http.threads", "from 0 to 1024"),
        (
            "version = 1\nissuer = \"https://as.example\"\n[http]\n",
            "version = 1\nissuer = \"http://localhost\"\n[http]\ntls = {certificate = \"c\", key = \"k\"}\n",
            "issuer",
            "because [http.tls] is there",
        ),
    ]);
}

#[test]
fn signer_token_log_and_store() {
    let long = format!(
        "[signer]\nsocket = \"/{}\"\ngateway_user = \"a\"\nsigner_user = \"b\"\n[hsm]\n",
        "s".repeat(107)
    );
    let long: &'static str = Box::leak(long.into_boxed_str());
    check(&[
        ("[hsm]\n", long, "signer.socket", "at most 107 bytes"),
        (
            "[hsm]\n",
            "[signer]\nsocket = \"/s\"\ngateway_user = \"a b\"\nsigner_user = \"b\"\n[hsm]\n",
            "signer.gateway_user",
            "found \"a b\"",
        ),
        (
            "[hsm]\n",
            "[signer]\ngateway_user = \"a\"\nsigner_user = \"b\"\n[hsm]\n",
            "signer.socket",
            "found nothing",
        ),
        ("[hsm]\n", "[auditors]\nsocket = \"/s\"\n[hsm]\n", "auditors.group", "the name of a group"),
        ("[hsm]\n", "[auditors]\ngroup = \"g\"\n[hsm]\n", "auditors.socket", "found nothing"),
        (
            "[hsm]\n",
            "[auditors]\nsocket = \"/s\"\ngroup = \"g h\"\n[hsm]\n",
            "auditors.group",
            "found \"g h\"",
        ),
        (
            "[hsm]\n",
            "[signer]\nsocket = \"/s\"\ngateway_user = \"a\"\nsigner_user = \"b\"\n\
             [auditors]\nsocket = \"/s\"\ngroup = \"g\"\n[hsm]\n",
            "auditors.socket",
            "another path than signer.socket",
        ),
        ("\"/usr/lib/softhsm/libsofthsm2.so\"", "\"libsofthsm2.so\"", "hsm.module", "the absolute path"),
        ("\"pkcs11:token=chancery\"", "\"chancery\"", "hsm.token", "another scheme"),
        ("\"pkcs11:token=chancery\"", "\"pkcs11:token=c?pin-value=1\"", "hsm.token", "a pin attribute"),
        ("pin_file = \"pin\"\n", "", "hsm", "pin_file or pin_credential, found neither"),
        ("pin_file = \"pin\"\n", "pin_file = \"pin\"\npin_credential = \"pin\"\n", "hsm", "found both"),
        (
            "pin_file = \"pin\"\n",
            "pin_credential = \"../1234\"\n",
            "hsm.pin_credential",
            "found another value",
        ),
        ("pin_file = \"pin\"\n", "pin_file = 1234\n", "hsm.pin_file", "found another value"),
        ("pin_file = \"pin\"\n", "pin_file = \"pin\"\npin = \"1234\"\n", "hsm.pin", "an unknown key"),
        ("pin_file = \"pin\"\n", "pin_file = \"pin\"\nsessions = 0\n", "hsm.sessions", "from 1 to 256"),
        (
            "pin_file = \"pin\"\n",
            "pin_file = \"pin\"\ndeadline = \"1ms\"\n",
            "hsm.deadline",
            "from 100ms to 10m",
        ),
        ("as.example/audit/node-a", "https://as.example/audit", "audit.origin", "a URL without scheme"),
        ("as.example/audit/node-a", "as.example/a+b", "audit.origin", "space and plus"),
        ("as.example/audit/node-a", "as.example/a b", "audit.origin", "space and plus"),
        ("as.example/audit/node-a", "as.example/", "audit.origin", "found \"as.example/\""),
        ("[store]\n", "node = \"a/b\"\n[store]\n", "audit.node", "found \"a/b\""),
        ("[store]\n", "segment_bytes = \"512KiB\"\n[store]\n", "audit.segment_bytes", "from 1MiB to 1GiB"),
        (
            "sqlite:///var/lib/chancery/state.db",
            "postgres://u:secret@db/x",
            "store.url",
            "found the scheme postgres (a later",
        ),
        (
            "sqlite:///var/lib/chancery/state.db",
            "sqlite://state.db",
            "store.url",
            "three before an absolute path",
        ),
    ]);
}

#[test]
fn every_mistake_comes_at_once_each_with_its_line() {
    let text = "version = 3\n\
        isuer = \"https://as.example\"\n\
        [http]\n\
        listen = 8443\n\
        operations_listen = \"8.8.8.8:1\"\n\
        [http.limits]\n\
        parameters = \"many\"\n\
        [[keys]]\n\
        purpose = \"metadta\"\n\
        \n\
        [[clients]]\n\
        client_id = \"shop\"\n\
        client_secret_sha256 = \"x\"\n\
        grant_types = [\"client_credentials\",\n\
          \"password\"]\n\
        resources = [\"https://a.example\"]\n\
        colour = 1\n";
    let mistakes = read(text).unwrap_err();
    let found: Vec<(usize, &str)> = mistakes.list().iter().map(|m| (m.line, m.key.as_str())).collect();
    assert_eq!(
        found,
        [
            (1, "version"),
            (1, "issuer"),
            (1, "hsm"),
            (1, "audit"),
            (1, "store"),
            (2, "isuer"),
            (4, "http.listen"),
            (5, "http.operations_listen"),
            (7, "http.limits.parameters"),
            (8, "keys[0].algorithm"),
            (9, "keys[0].purpose"),
            (13, "clients[0].client_secret_sha256"),
            (15, "clients[0].grant_types[1]"),
            (16, "clients[0].resources[0]"),
            (17, "clients[0].colour"),
        ],
        "{mistakes}"
    );
    let first = mistakes.to_string().lines().next().unwrap().to_owned();
    assert_eq!(first, "/etc/chancery/chancery.toml:1: version: expected 1, found 3");
    assert_eq!(mistakes.exit_status(), 78);
}

#[test]
fn toml_syntax_errors_are_reported_with_their_line() {
    for (text, line) in [("version = 1\nx = \n", 2), ("[a\n", 1), ("a = 1\n\na = 2\n", 3)] {
        let mistakes = read(text).unwrap_err();
        assert_eq!(mistakes.list().len(), 1, "{mistakes}");
        assert_eq!(
            (mistakes.list()[0].line, mistakes.list()[0].expected.as_str()),
            (line, "TOML"),
            "{mistakes}"
        );
    }
    let mistakes = super::parse("c".as_ref(), b"a = 1\n\xff", &|_| Ok(Vec::new())).unwrap_err();
    assert_eq!(mistakes.to_string(), "c:2: expected UTF-8, found other bytes");
}

#[test]
fn no_message_repeats_a_possible_secret() {
    for (from, to) in [
        ("pkcs11:token=chancery", "pkcs11:token=a;pin-value=hunter2"),
        ("pin_file = \"pin\"", "pin_credential = \"hunter2!\""),
        ("pin_file = \"pin\"", "pin_file = \"pin\"\npin = \"hunter2\""),
        ("sqlite:///var/lib/chancery/state.db", "postgres://u:hunter2@db"),
        ("\"1000000000000000000000000000000000000000000000000000000000000000\"", "\"hunter2\""),
        ("client_id = \"shop\"\n", "client_id = \"shop\"\nclient_secret = \"hunter2\"\n"),
        ("client_id = \"shop\"\n", "client_id = \"shop\"\nclient_secret = \"hunter2\n"),
    ] {
        let mistakes = read(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_are_never_refused_without_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let answer = super::parse("c".as_ref(), &bytes, &|_| Ok(Vec::new()));
        prop_assert!(!answer.unwrap_err().list().is_empty());
    }

    #[test]
    fn a_good_file_with_some_bytes_changed_never_panics(at in 0..GOOD.len(), with in "[ -~\n]{0,4}", cut in 0_usize..40) {
        let mut bytes = GOOD.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, with.bytes());
        if let Err(mistakes) = super::parse("c".as_ref(), &bytes, &|_| Ok(bytes.clone())) {
            prop_assert!(!mistakes.list().is_empty());
        }
    }
}
