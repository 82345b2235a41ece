//! Which changes affect a digest, and what a reload takes over.

use super::super::grant_keys::tests::KEYS;
use super::super::tests::{GOOD, read_at};
use super::*;
use std::path::Path;

const REFERENCE: &str = include_str!("../../../config/reference.toml");

fn read(text: &str) -> Config {
    read_at(Path::new("/etc/chancery/chancery.toml"), text)
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

#[test]
fn comments_order_and_defaults_that_are_written_out_change_no_digest() {
    let one = read(GOOD);
    let other = read(
        &format!("# a comment\n{GOOD}# another\n")
            .replace(
                "listen = \"127.0.0.1:8443\"\noperations_listen = \"127.0.0.1:9443\"\n",
                "operations_listen = \"127.0.0.1:9443\"\nthreads = 1\nlisten   = '127.0.0.1:8443' # here\n",
            )
            .replace("[store]", "segment_bytes = \"64MiB\"\n[log]\nlines = \"auto\"\n[store]"),
    );
    assert_eq!(one.digest(), other.digest());
    assert!(one.differences(&other).is_empty());
}

/// Another valid value for each key of the reference that can have one: the line, and its replacement.
const CHANGES: &[(&str, &str)] = &[
    ("issuer  = \"https://as.example\"", "issuer  = \"https://other.example\""),
    ("listen            = \"127.0.0.1:8443\"", "listen            = \"127.0.0.1:8444\""),
    ("operations_listen = \"127.0.0.1:9443\"", "operations_listen = \"127.0.0.1:9444\""),
    ("threads           = 1", "threads           = 2"),
    ("certificate = \"server.pem\"", "certificate = \"other.pem\""),
    ("key         = \"server.key\"", "key         = \"other.key\""),
    ("socket       = \"/run/chancery/signer.sock\"", "socket       = \"/run/other.sock\""),
    ("gateway_user = \"chancery\"", "gateway_user = \"other\""),
    ("signer_user  = \"chancery-signer\"", "signer_user  = \"other\""),
    ("state_directory = \"/var/lib/chancery/signer\"", "state_directory = \"/var/lib/other\""),
    ("module         = \"/usr/lib/softhsm/libsofthsm2.so\"", "module         = \"/usr/lib/other.so\""),
    ("token          = \"pkcs11:token=chancery\"", "token          = \"pkcs11:token=other\""),
    ("pin_credential = \"pin\"", "pin_credential = \"other\""),
    ("pin_credential = \"pin\"", "pin_file = \"pin\""),
    ("sessions       = 2", "sessions       = 3"),
    ("deadline       = \"10s\"", "deadline       = \"11s\""),
    ("rsa_bits  = 3072", "rsa_bits  = 4096"),
    ("directory     = \"/var/lib/chancery/audit\"", "directory     = \"/var/lib/other\""),
    ("origin        = \"as.example/audit/node-a\"", "origin        = \"as.example/audit/other\""),
    ("node          = \"node-a\"", "node          = \"other\""),
    ("segment_bytes = \"64MiB\"", "segment_bytes = \"65MiB\""),
    ("\"/run/chancery-auditors/auditors.sock\"", "\"/run/other/auditors.sock\""),
    ("group  = \"chancery-auditors\"", "group  = \"other\""),
    ("url = \"sqlite:///var/lib/chancery/state.db\"", "url = \"sqlite:///var/lib/other.db\""),
    ("lines = \"auto\"", "lines = \"json\""),
    ("issuer                      = \"https://login.example\"", "issuer = \"https://other.example\""),
    ("max_assertion_lifetime      = \"5m\"", "max_assertion_lifetime      = \"6m\""),
    ("client_id                         = \"api\"", "client_id                         = \"other\""),
    (
        "token_endpoint_auth_method        = \"client_secret_basic\"",
        "token_endpoint_auth_method        = \"client_secret_post\"",
    ),
    (
        "\"0000000000000000000000000000000000000000000000000000000000000001\"",
        "\"1000000000000000000000000000000000000000000000000000000000000001\"",
    ),
    ("require_signed_response           = false", "require_signed_response           = true"),
    ("response_jti                      = true", "response_jti                      = false"),
    ("response_audience                 = \"client_id\"", "response_audience                 = \"resource\""),
    ("access_token_formats              = [\"opaque\"]", "access_token_formats = [\"opaque\", \"at+jwt\"]"),
    ("scopes                            = []", "scopes                            = [\"read\"]"),
    ("authorization_details_types       = []", "authorization_details_types       = [\"credential\"]"),
    ("claims                            = []", "claims                            = [\"sub\"]"),
    ("client_id                   = \"shop\"", "client_id                   = \"other\""),
    (
        "token_endpoint_auth_method  = \"client_secret_basic\"",
        "token_endpoint_auth_method  = \"client_secret_post\"",
    ),
    (
        "[\"0000000000000000000000000000000000000000000000000000000000000002\"]",
        "[\"2000000000000000000000000000000000000000000000000000000000000002\"]",
    ),
    ("grant_types                 = [\"client_credentials\", ", "grant_types                 = ["),
    ("access_token_lifetime       = \"5m\"", "access_token_lifetime       = \"6m\""),
];

/// Keys with a single value, or whose other values need other entries too, each with the reason.
const NOT_CHANGED_ALONE: &[(&str, &str)] = &[
    ("version", "there is one"),
    ("profile", "there is one"),
    ("keys.purpose", "each of the reference is needed"),
    ("keys.algorithm", "resource servers name it"),
    ("grant_issuers.jwks_file", "its keys count, and have a test of their own"),
    ("grant_issuers.resources", "a resource server has it"),
    ("grant_issuers.authorization_details_types", "a resource server owns it"),
    ("resource_servers.resource", "a client may ask for it"),
    ("resource_servers.introspection_signed_response_alg", "there must be a key for it"),
    ("resource_servers.access_token_signing_alg", "there must be a key for it"),
    ("clients.resources", "a resource server has it"),
    ("clients.scope", "a resource server owns it"),
    ("clients.authorization_details_types", "a resource server owns it"),
    ("clients.access_token_format", "its resources must take it"),
];

#[test]
fn every_key_of_the_reference_changes_the_digest() {
    let before = read(REFERENCE);
    let mut changed: Vec<String> = Vec::new();
    for (line, other) in CHANGES {
        assert!(REFERENCE.contains(line), "the reference has no line {line}");
        let after = read(&REFERENCE.replacen(line, other, 1));
        assert_ne!(after.digest(), before.digest(), "{line}");
        let keys = after.differences(&before);
        assert!(!keys.is_empty(), "{line}");
        changed.extend(keys);
    }
    // Limits of numbers and times: one more of each.
    let limits = REFERENCE.split("[http.limits]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for line in limits.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())) {
        let (key, value) = line.split_once('=').unwrap();
        let digits =
            value.trim_start_matches([' ', '"']).split(|c: char| !c.is_ascii_digit()).next().unwrap();
        let more = (digits.parse::<u64>().unwrap() + 1).to_string();
        let after = read(&REFERENCE.replacen(line, &line.replacen(digits, &more, 1), 1));
        assert_eq!(after.differences(&before), [format!("http.limits.{}", key.trim())], "{line}");
        assert_ne!(after.digest(), before.digest(), "{line}");
        changed.push(format!("http.limits.{}", key.trim()));
    }
    let (_, _, known) =
        super::super::load::parse_all(Path::new("r"), REFERENCE.as_bytes(), &|_| Ok(KEYS.into()));
    let plain = |key: &str| -> String {
        let mut inside = false;
        key.chars()
            .filter(|c| match c {
                '[' => {
                    inside = true;
                    false
                }
                ']' => {
                    inside = false;
                    false
                }
                _ => !inside,
            })
            .collect()
    };
    let changed: Vec<String> = changed.iter().map(|key| plain(key)).collect();
    let tables = |key: &str| known.keys().any(|other| other.starts_with(&format!("{key}.")));
    for key in known.keys().filter(|key| !tables(key)) {
        let excused = NOT_CHANGED_ALONE.iter().any(|(excused, _)| excused == key);
        assert!(excused || changed.contains(key), "no test changes {key}: give it a line in CHANGES");
    }
}

#[test]
fn the_digest_covers_the_keys_of_front_servers_and_not_the_bytes_of_their_file() {
    let with = |keys: &str| {
        super::super::parse(Path::new("/c.toml"), GOOD.as_bytes(), &|_| Ok(keys.as_bytes().to_vec())).unwrap()
    };
    assert_eq!(with(KEYS).digest(), with(&format!("{KEYS} \n")).digest());
    let mut set: serde_json::Value = serde_json::from_str(KEYS).unwrap();
    set["keys"].as_array_mut().unwrap().truncate(1);
    assert_ne!(with(KEYS).digest(), with(&set.to_string()).digest());
    assert_eq!(with(KEYS).rules(), with(&set.to_string()).rules(), "they are the gateway's alone");
}

#[test]
fn the_rules_are_the_settings_that_the_signer_enforces() {
    let rules = |line: &str, other: &str| {
        assert!(GOOD.contains(line));
        read(&GOOD.replacen(line, other, 1)).rules() != read(GOOD).rules()
    };
    assert!(rules("access_token_lifetime = \"90s\"", "access_token_lifetime = \"91s\""));
    assert!(rules("claims = [\"sub\", ", "claims = ["));
    assert!(!rules("client_secret_sha256 = \"1000", "client_secret_sha256 = \"f000"));
    assert!(!rules("pin_file = \"pin\"", "pin_file = \"other\""));
    assert!(!rules("listen = \"127.0.0.1:8443\"", "listen = \"127.0.0.1:8444\""));
}

#[test]
fn a_reload_takes_over_exactly_the_listed_settings_and_the_rules_of_a_followed_signer() {
    let old = read(GOOD);
    let text = GOOD
        .replace("client_secret_sha256 = \"1000", "client_secret_sha256 = \"f000")
        .replace("client_secret_sha256 = \"3000", "client_secret_sha256 = \"e000")
        .replace("access_token_lifetime = \"90s\"", "access_token_lifetime = \"91s\"")
        .replace(
            "listen = \"127.0.0.1:8443\"",
            "listen = \"127.0.0.1:8444\"\n[http.limits]\nbody_bytes = 2048\nin_flight = 7\n[http.x]",
        )
        .replace("[http.x]\noperations_listen = \"127.0.0.1:9443\"\n", "")
        .replace("[http]\n", "[http]\noperations_listen = \"127.0.0.1:9443\"\n");
    let new = read(&text);
    for rules in [false, true] {
        let merged = old.reloaded(&new, rules);
        let takes = |said: &Said| match said.using {
            Use::Reload => true,
            Use::Rules => rules,
            Use::Start => false,
        };
        let wanted =
            said(&old).into_iter().zip(said(&new)).map(|(old, new)| if takes(&old) { new } else { old });
        assert_eq!(said(&merged), wanted.collect::<Vec<_>>());
        let waits = ["clients[0].access_token_lifetime", "http.limits.in_flight", "http.listen"];
        assert_eq!(merged.differences(&new), waits[usize::from(rules)..]);
    }
}
