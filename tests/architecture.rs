//! Which room may name which: the map of `src/lib.rs` as data, read against `src`. And the checklist of the protocols:
//! each row has its tests.
//!
//! The finder reads syntax trees, so comments, doc links and texts do not count; neither does what only tests compile.
//! `unsafe` and the crates that one room owns are counted in tests too.

#[path = "architecture/checklist.rs"]
mod checklist;
#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/source.rs"]
mod source;

use source::{Reference, Source};
use std::fmt::Write;
use std::path::Path;

/// One line of the table: a room, what it names not, and why.
struct Room {
    name: &'static str,
    /// Rooms as `http`, other crates as `axum::`, parts of crates as `std::fs`; `*` is every room.
    names_no: &'static [&'static str],
    because: &'static str,
}

const fn room(name: &'static str, names_no: &'static [&'static str], because: &'static str) -> Room {
    Room { name, names_no, because }
}

/// `cli` names whatever it composes; everything else has its limits.
const TABLE: &[Room] = &[
    room("main", &["hsm", "audit", "store", "signer", "protocol", "jose"], "arguments in, exit status out"),
    room("lib", &["*"], "the map: it lists the rooms and re-exports none of them"),
    room("manual", &["*"], "documentation only; its links are for rustdoc"),
    room("cli", &[], "the only composition root"),
    room(
        "config",
        &["http", "client", "protocol", "store", "signer", "hsm", "audit", "export"],
        "it describes; running objects are built from it, not by it",
    ),
    room(
        "http",
        &["hsm", "audit", "signer", "export", "std::fs", "tokio::fs"],
        "the edge knows neither token, log nor files, and asks the signer through the door",
    ),
    room(
        "client",
        &["axum::", "store", "signer", "hsm", "audit", "http"],
        "who asks does not depend on how or on state",
    ),
    room(
        "protocol",
        &["tokio::", "clock", "random", "axum::", "signer", "store", "http", "hsm", "audit", "std::fs"],
        "pure functions of caller, query, facts and time",
    ),
    room("claims", &["*"], "what we say rests on nothing"),
    room("store", &["http", "signer", "hsm", "audit", "client"], "facts about tokens, for whoever asks"),
    room(
        "door",
        &["axum::", "store", "http", "client", "protocol", "hsm", "audit", "signer", "export"],
        "what crosses the socket, and nothing of how either side makes it",
    ),
    room(
        "memory",
        &["claims", "config", "http", "store", "hsm", "door", "signer", "client", "protocol", "export"],
        "what shows that one checkpoint extends another, whichever process asks",
    ),
    room("signer", &["axum::", "store", "http", "client"], "it signs: no HTTP and no state of tokens"),
    room(
        "jose",
        &["hsm", "audit", "http", "store", "signer", "client", "protocol"],
        "formats; private keys live elsewhere",
    ),
    room(
        "hsm",
        &["claims", "audit", "http", "config", "signer", "store", "export"],
        "PKCS#11 and nothing else",
    ),
    room(
        "audit",
        &["claims", "jose", "http", "hsm", "config", "signer", "store", "client"],
        "it stores bytes and digests",
    ),
    room(
        "export",
        &["hsm", "http", "store", "config", "signer", "client"],
        "offline: an auditor has none of those",
    ),
    room(
        "backup",
        &["hsm", "http", "config", "signer", "client", "protocol"],
        "it copies files in the right order; the command has the log record it",
    ),
    room("durable", &["*"], "a leaf"),
    room("clock", &["*"], "a leaf"),
    room("random", &["*"], "a leaf"),
    room("sha256", &["*"], "a leaf"),
    room("percent", &["*"], "a leaf"),
    room("exit", &["*"], "a leaf"),
    room("telemetry", &["*"], "a leaf"),
    room("systemd", &["*"], "a leaf"),
];

/// Arrows that stand against the table, each with its argument.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "claims",
        "clock",
        "a NumericDate is made from a time that is trusted, in one place; both are plain values",
    ),
    ("claims", "sha256", "a token is named by its digest, which rests on nothing"),
];

/// Crates that one or two rooms own: (crate, rooms, why). Tests inside `src` count too.
const OWNED_CRATES: &[(&str, &[&str], &str)] = &[
    ("cryptoki", &["hsm"], "nothing above hsm knows PKCS#11"),
    ("axum", &["http", "cli"], "nothing behind the edge knows HTTP"),
    ("rusqlite", &["store"], "state of tokens has one door"),
    ("clap", &["cli", "main"], "arguments are read in one place"),
];

/// Words that only these files may name outside of tests, and why.
const OWNED_WORDS: &[(&str, &[&str], &str)] = &[(
    "of_verified",
    &["audit/record/entry.rs", "signer/release.rs"],
    "a public digest is made where the signature is at hand, and of nothing else",
)];

/// `unsafe` stands in this room alone.
const UNSAFE_ROOM: &str = "hsm";

/// Lines of the longest file.
const MOST_LINES: usize = 600;

/// Rooms whose files still name each other in circles: the list only shrinks.
const CIRCLES_LEFT: &[&str] = &["client", "door", "hsm", "signer"];

/// File names without meaning, which collect everything.
const DRAWERS: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc"];

/// The findings in one file, one sentence each.
fn mistakes(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let path = source.path();
    let Some(room) = TABLE.iter().find(|r| r.name == source.room()) else {
        return vec![format!("{path}: the room `{}` stands in no line of the table", source.room())];
    };
    for reference in source.references() {
        found.extend(forbidden(room, reference).map(|why| format!("{path}:{}: {why}", reference.line)));
    }
    for (name, owners, why) in OWNED_CRATES {
        if let (Some(line), false) = (source.line_of_word(name), owners.contains(&room.name)) {
            found.push(format!("{path}:{line}: names the crate {name}, which belongs to {owners:?}: {why}"));
        }
    }
    for (word, owners, why) in OWNED_WORDS {
        if let (Some(line), false) =
            (source.line_of_word(word), owners.contains(&path) || path.contains("/tests"))
        {
            found.push(format!("{path}:{line}: names `{word}`, which belongs to {owners:?}: {why}"));
        }
    }
    if let (Some(line), false) = (source.line_of_word("unsafe"), room.name == UNSAFE_ROOM) {
        found.push(format!("{path}:{line}: `unsafe` outside {UNSAFE_ROOM}"));
    }
    if source.lines() > MOST_LINES {
        found.push(format!("{path}: {} lines; {MOST_LINES} are the end: split it by sense", source.lines()));
    }
    for part in path.split(['/', '.']) {
        if DRAWERS.contains(&part) {
            found.push(format!("{path}: `{part}` says nothing about what is inside"));
        }
    }
    found
}

/// Why `room` may not make this reference, if it may not.
fn forbidden(room: &Room, reference: &Reference) -> Option<String> {
    let (own, named) = (room.name, reference.path.as_slice());
    let refuse = |what: &str, because: &str| Some(format!("`{own}` names `{what}`, but {because}"));
    let [first, rest @ ..] = named else { return None };
    let second = rest.first().map_or("", String::as_str);
    if first != "crate" {
        let hit = |&&entry: &&&str| {
            entry.strip_suffix("::").is_some_and(|name| name == first)
                || entry == format!("{first}::{second}")
        };
        return room.names_no.iter().find(hit).and_then(|entry| refuse(entry, room.because));
    }
    if second == own || EXCEPTIONS.iter().any(|(from, to, _)| *from == own && *to == second) {
        return None;
    }
    if second == "*" {
        return refuse("the whole crate", "a glob or an alias of the root hides what is named");
    }
    if second == "cli" && own != "main" {
        return refuse("cli", "only main stands above the composition root");
    }
    let is_room = TABLE.iter().any(|r| r.name == second);
    let denied = room.names_no.contains(&second) || (is_room && room.names_no.contains(&"*"));
    if denied {
        return refuse(second, room.because);
    }
    if reference.public_use && is_room {
        return refuse(second, "a room re-exports nothing of another: it would open a way around the table");
    }
    None
}

#[test]
fn no_room_names_what_the_table_forbids() {
    let sources = source::read_all(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))).unwrap();
    assert!(sources.len() > 10, "found only {} files below src: is this the right directory?", sources.len());
    let arrows =
        sources.iter().flat_map(Source::references).filter(|r| r.path.first().is_some_and(|w| w == "crate"));
    assert!(arrows.count() > 10, "no arrows found: is the finder broken?");
    let mut report = String::new();
    for mistake in sources.iter().flat_map(mistakes) {
        writeln!(report, "  {mistake}").unwrap();
    }
    assert!(report.is_empty(), "the rooms of src and the table in this file differ:\n{report}");
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    let sources = source::read_all(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))).unwrap();
    let mut found = circles::circles(&sources);
    found.retain(|circle| !CIRCLES_LEFT.iter().any(|room| circle.contains(&format!("    {room}/"))));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_circle_of_files_is_found_through_any_of_its_names() {
    let found = |files: &[(&str, &str)]| {
        let texts: Vec<_> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        circles::circles(&source::parse_all(&texts))
    };
    let log = ("audit/log.rs", "use super::queue::Queue; pub struct Log;");
    assert_eq!(found(&[log, ("audit/queue.rs", "pub struct Queue;")]), Vec::<String>::new());
    for (path, text) in [
        ("audit/queue.rs", "use crate::audit::log::Log;"),
        ("audit/queue.rs", "fn f() -> super::log::Log {}"),
        ("audit/queue/mod.rs", "use super::Log;"),
    ] {
        let face = ("audit/mod.rs", "mod log; mod queue; pub use log::Log;");
        let circle = found(&[face, log, (path, text)]);
        assert_eq!(circle.len(), 1, "{text}: {circle:?}");
        assert!(circle[0].contains(&format!("audit/log.rs:1 names {path}")), "{circle:?}");
        assert!(!circle[0].contains("mod.rs names") || path.ends_with("mod.rs"), "{circle:?}");
    }
    let of_tests = [log, ("audit/queue.rs", "#[cfg(test)] mod tests { use super::super::log::Log; }")];
    assert_eq!(found(&of_tests), Vec::<String>::new());
    let three = [("a.rs", "use crate::b::B;"), ("b.rs", "use crate::c::C;"), ("c.rs", "use crate::a::A;")];
    assert!(found(&three)[0].starts_with("3 files"));
}

/// The mistakes of one piece of text, as if it stood at this place below `src`.
fn mistakes_of(path: &str, text: &str) -> Vec<String> {
    mistakes(&Source::parse(path, text))
}

#[test]
fn each_forbidden_arrow_is_found_however_it_is_written() {
    for (path, text, named) in [
        ("http/token.rs", "use crate::hsm::Hsm;", "hsm"),
        ("http/token.rs", "use crate::{claims::Jti, hsm::{self, Hsm}};", "hsm"),
        ("http/token.rs", "use super::super::audit;", "audit"),
        ("http/mod.rs", "use super::audit::Log;", "audit"),
        ("http/token.rs", "fn f(x: &crate::audit::Log) {}", "audit"),
        ("http/token.rs", "use ::chancery::hsm;", "hsm"),
        ("http/token.rs", "mod inner { use super::super::super::hsm; }", "hsm"),
        ("http/token.rs", "use crate as all;", "the whole crate"),
        ("http/token.rs", "use crate::*;", "the whole crate"),
        ("http/token.rs", "use super::super::{self as root};", "the whole crate"),
        ("http/token.rs", "use std::{io, fs};", "std::fs"),
        ("http/token.rs", "fn f() { let _ = tokio::fs::read(\"x\"); }", "tokio::fs"),
        ("http/token.rs", "fn f() -> &'a str { let c = '\"'; crate::hsm::x(c) }", "hsm"),
        ("http/token.rs", "macro_rules! m { () => { $crate::hsm::x() } }", "hsm"),
        ("http/token.rs", "fn f() { format!(\"{}\", crate::hsm::x::<32>()) }", "hsm"),
        ("http/token.rs", "#[cfg(not(test))] use crate::hsm::Hsm;", "hsm"),
        ("http/token.rs", "#[cfg(test)] mod tests { fn f() {} }\nuse crate::hsm::Hsm;", "hsm"),
        ("http/token.rs", "#[cfg(test)] use crate::audit::{Log};\nuse crate::hsm::Hsm;", "hsm"),
        ("protocol/mod.rs", "#[tokio::main] async fn f() {}", "tokio::"),
        ("protocol/scope.rs", "use crate::clock::Timestamp;", "clock"),
        ("client/basic.rs", "fn f(h: axum::http::HeaderMap) {}", "axum::"),
        ("claims/scope.rs", "use crate::config::Config;", "config"),
        ("door/client.rs", "use crate::store::Store;", "store"),
        ("clock.rs", "use super::jose::PublicKey;", "jose"),
        ("audit/log.rs", "use crate::jose::PublicKey;", "jose"),
        ("store/mod.rs", "use crate::cli::Exit;", "cli"),
        ("store/mod.rs", "use {crate::http::reply};", "http"),
        ("signer/mod.rs", "pub use crate::hsm::Key;", "hsm"),
        ("signer/mod.rs", "pub(crate) use crate::{audit, claims};", "audit"),
        ("lib.rs", "pub use crate::hsm;", "hsm"),
    ] {
        let found = mistakes_of(path, text);
        let expected = format!("names `{named}`");
        assert!(
            found.iter().any(|m| m.contains(&expected)),
            "{path}: {text}: expected {expected}, found {found:?}"
        );
    }
}

#[test]
fn text_that_only_looks_like_an_arrow_is_ignored() {
    for (path, text) in [
        (
            "http/token.rs",
            "//! [`crate::hsm`] and `use crate::audit;`\n/* crate::hsm /* crate::audit */ */ fn f() {}",
        ),
        ("http/token.rs", "const X: &str = \"crate::hsm\"; const Y: &str = r#\"\" use crate::audit; \"#;"),
        ("http/token.rs", "#[cfg(test)] mod tests { use crate::hsm::Hsm; }"),
        ("http/token.rs", "#[cfg(test)] use crate::hsm::{Hsm, Key};\nfn f() {}"),
        ("http/token.rs", "#[cfg(all(test, unix))] #[expect(x)] fn f() { crate::hsm::x() }"),
        ("http/token.rs", "use crate::door::Recorded; use super::reply; use self::hsm::x; mod hsm {}"),
        ("http/token.rs", "fn f(hsm: u8) { let audit = other::audit::x(hsm); }"),
        (
            "audit/mod.rs",
            "mod note; pub use note::Note; pub use self::note::Key; pub(crate) use super::audit::x;",
        ),
        ("claims/words.rs", "impl From<crate::clock::Timestamp> for NumericDate {}"),
        ("cli/serve.rs", "use crate::{http, hsm, audit, store}; use axum::Router;"),
        ("lib.rs", "pub mod hsm; pub mod audit;"),
    ] {
        assert_eq!(mistakes_of(path, text), Vec::<String>::new(), "in {path}: {text}");
    }
}

#[test]
fn a_glob_that_stays_inside_its_room_is_no_alias_of_the_root() {
    assert!(mistakes_of("http/token.rs", "use super::*;").is_empty());
    assert!(mistakes_of("clock.rs", "mod inner { use super::*; }").is_empty());
    assert!(!mistakes_of("clock.rs", "use super::*;").is_empty());
}

#[test]
fn crates_with_one_owner_and_unsafe_count_in_tests_too() {
    for (path, text) in [
        ("signer/mod.rs", "#[cfg(test)] mod tests { use cryptoki::context::Pkcs11; }"),
        ("signer/mod.rs", "use cryptoki;"),
        ("store/mod.rs", "use axum::Router;"),
        ("http/mod.rs", "use rusqlite::Connection;"),
        ("clock.rs", "#[cfg(test)] mod tests { fn f() { unsafe { g() } } }"),
    ] {
        assert!(!mistakes_of(path, text).is_empty(), "not found in {path}: {text}");
    }
    assert!(mistakes_of("hsm/module.rs", "use cryptoki::x; fn f() { unsafe { g() } }").is_empty());
    assert!(mistakes_of("clock.rs", "#![expect(unsafe_code)] // unsafe\nfn f() {}").is_empty());
}

#[test]
fn long_files_drawers_and_unknown_rooms_are_found() {
    assert!(mistakes_of("clock.rs", &"\n".repeat(MOST_LINES)).is_empty());
    assert_eq!(mistakes_of("clock.rs", &"\n".repeat(MOST_LINES + 1)).len(), 1);
    assert_eq!(mistakes_of("http/utils.rs", "").len(), 1);
    assert_eq!(mistakes_of("http/helper/mod.rs", "").len(), 1);
    assert_eq!(mistakes_of("cellar/wine.rs", "").len(), 1);
    assert_eq!(mistakes_of("helpers.rs", "").len(), 1);
}

#[test]
fn files_that_only_tests_compile_are_known_by_their_declaration() {
    let text = "#[cfg(test)]\nmod tests;\n#[cfg(test)]\npub(crate) mod fixture;\nmod real;";
    let source = Source::parse("audit/mod.rs", text);
    assert_eq!(source.test_modules(), ["audit/tests", "audit/fixture"]);
    let source = Source::parse("audit/log.rs", text);
    assert_eq!(source.test_modules(), ["audit/log/tests", "audit/log/fixture"]);
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let arrow = "use crate::jose::sha256;";
    let files =
        [file("audit/mod.rs", text), file("audit/tests/torn.rs", arrow), file("audit/real.rs", arrow)];
    let found: Vec<String> = source::parse_all(&files).iter().flat_map(mistakes).collect();
    assert!(matches!(&found[..], [one] if one.starts_with("audit/real.rs:1:")), "{found:?}");
}

#[test]
fn every_line_of_the_table_gives_a_reason_and_exceptions_name_rooms() {
    for room in TABLE {
        assert!(room.because.len() > 5, "{} gives no reason", room.name);
        assert_eq!(TABLE.iter().filter(|r| r.name == room.name).count(), 1, "{} stands twice", room.name);
    }
    for (from, to, why) in EXCEPTIONS {
        assert!(
            TABLE.iter().any(|r| r.name == *from) && TABLE.iter().any(|r| r.name == *to) && !why.is_empty()
        );
    }
}
