//! The file as written: every table and every key, with default and bounds.
//!
//! Values are parsed with their position; a missing or wrong value is noted and left out, so that parsing goes on and
//! `rules.rs` can check the rest.

use super::parties::{self, ClientEntry, GrantIssuerEntry, KeyEntry, ResourceServerEntry};
use super::place::Placed;
use super::section::{Need, Section};
use super::values;
use super::{Audit, Auditors, Hsm, Http, Limits, LogLines, PinSource, Profile, SignerMode, Store, Tls};
use crate::claims::Issuer;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `sun_path` of a Unix socket address holds 108 bytes, the last a zero (unix(7)).
const SOCKET_PATH: usize = 107;

/// The whole file. `None` means that a mistake was noted.
pub(super) struct File {
    pub(super) profile: Option<Profile>,
    pub(super) issuer: Option<Placed<Issuer>>,
    pub(super) http: Option<Http>,
    pub(super) signer: Option<SignerMode>,
    pub(super) signer_state: Option<PathBuf>,
    pub(super) hsm: Option<Hsm>,
    pub(super) keys: Vec<KeyEntry>,
    pub(super) audit: Option<Audit>,
    /// `None` also if the file has no such table.
    pub(super) auditors: Option<Auditors>,
    pub(super) store: Option<Store>,
    pub(super) log: Option<LogLines>,
    pub(super) grant_issuers: Vec<GrantIssuerEntry>,
    pub(super) resource_servers: Vec<ResourceServerEntry>,
    pub(super) clients: Vec<ClientEntry>,
}

/// Reads the top of the file.
pub(super) fn read(top: &mut Section<'_, '_, '_>) -> File {
    top.get("version", Need::Required, "1", |v| values::count(v, &(1..=1)));
    let profiles = Profile::ALL.map(|p| (p.name(), p));
    let profile = top.get("profile", Need::Default(r#""generic""#), r#""generic""#, |v| {
        values::one_of(v, &profiles, &["fapi2"])
    });
    let issuer = top.get("issuer", Need::Required, "an https URL", values::word::<Issuer>);
    let http = top.table("http", Need::Required, |s| http(s, issuer.as_ref())).flatten();
    let signer = top.table("signer", Need::Default("{}"), signer).flatten();
    let (signer, state_directory) = signer.unzip();
    let hsm = top.table("hsm", Need::Required, hsm).flatten();
    let keys = top.tables("keys", parties::key);
    let audit = top.table("audit", Need::Required, audit).flatten();
    let gateways = match &signer {
        Some(SignerMode::Separate { socket, .. }) => Some(socket.as_path()),
        _ => None,
    };
    let auditors = top.table("auditors", Need::Optional, |s| auditors(s, gateways)).flatten();
    File {
        profile: profile.map(|p| p.value),
        issuer,
        http,
        signer,
        signer_state: state_directory
            .flatten()
            .or_else(|| audit.as_ref().map(|audit| audit.directory.with_file_name("signer"))),
        hsm,
        keys,
        audit,
        auditors,
        store: top.table("store", Need::Required, store).flatten(),
        log: top.table("log", Need::Default("{}"), log).flatten(),
        grant_issuers: top.tables("grant_issuers", parties::grant_issuer),
        resource_servers: top.tables("resource_servers", parties::resource_server),
        clients: top.tables("clients", parties::client),
    }
}

fn http(s: &mut Section<'_, '_, '_>, issuer: Option<&Placed<Issuer>>) -> Option<Http> {
    let expected = "an address and a port like \"127.0.0.1:8443\"";
    let address = |v: &toml::de::DeValue<'_>| -> Result<SocketAddr, values::Wrong> {
        values::text(v)?.parse().map_err(|_| values::Wrong::default())
    };
    let listen = s.get("listen", Need::Required, expected, address);
    let operations = s.get("operations_listen", Need::Required, expected, address);
    let threads = s.number("threads", "1", 0..=1024);
    let encrypted = s.has("tls");
    let tls = s.table("tls", Need::Optional, tls);
    let limits = s.table("limits", Need::Default("{}"), limits).flatten();
    if let Some(listen) = &listen {
        if !encrypted && !listen.value.ip().to_canonical().is_loopback() {
            let found = format!("{} without it: plain HTTP is for loopback addresses alone", listen.value);
            s.mistake(&listen.place, "a table [http.tls]", found);
        }
        if encrypted && let Some(issuer) = issuer.filter(|i| i.value.as_str().starts_with("http:")) {
            s.mistake(
                &issuer.place,
                "an https URL, because [http.tls] is there",
                values::shown_text(issuer.value.as_str()),
            );
        }
    }
    if let Some(operations) = &operations {
        if !values::is_private(operations.value.ip()) {
            let found = format!("{}: metrics and readiness are not for the public", operations.value);
            s.mistake(&operations.place, "a loopback or private address", found);
        }
        // Port 0 lets the system choose a free one.
        if operations.value.port() != 0 && listen.as_ref().is_some_and(|l| l.value == operations.value) {
            s.mistake(&operations.place, "another address than http.listen", operations.value.to_string());
        }
    }
    Some(Http {
        listen: listen?.value,
        operations_listen: operations?.value,
        tls: if encrypted { Some(tls??) } else { None },
        threads: threads?,
        limits: limits?,
    })
}

fn tls(s: &mut Section<'_, '_, '_>) -> Option<Tls> {
    let certificate = s.path("certificate", "a PEM file with the certificate chain, leaf first");
    let key = s.path("key", "a PEM file with the private key");
    Some(Tls { certificate: certificate?.value, key: key?.value })
}

fn limits(s: &mut Section<'_, '_, '_>) -> Option<Limits> {
    let body = s.size("body_bytes", r#""64KiB""#, 1 << 10..=16 << 20);
    let introspection = s.size("introspection_body_bytes", r#""256KiB""#, 1 << 10..=16 << 20);
    // hyper needs at least 8 KiB for a request head.
    let header = s.size("header_bytes", r#""16KiB""#, 8 << 10..=1 << 20);
    let parameters = s.number("parameters", "100", 8..=10_000);
    // serde_json's own limit is 128; the deepest accepted structure has 5.
    let json_depth = s.number("json_depth", "32", 8..=128);
    let request_time = s.duration("request_time", r#""10s""#, millis(100)..=minutes(5));
    let connections = s.number("connections", "1024", 1..=1_000_000);
    let per_source = s.number("connections_per_source", "256", 1..=1_000_000);
    let requests = s.number("requests_per_second", "10000", 1..=1_000_000);
    let failures = s.number("failures_per_second", "10", 1..=1_000_000);
    let address_failures = s.number("address_failures_per_second", "1000", 1..=1_000_000);
    let inactive = s.number("inactive_per_second", "50", 1..=1_000_000);
    let inactive_bytes = s.size("inactive_bytes_per_day", r#""2GiB""#, 1 << 20..=1 << 40);
    let in_flight = s.number("in_flight", "1024", 1..=65_536);
    let in_flight_of_one = s.number("in_flight_per_caller", "64", 1..=65_536);
    let answer_time = s.duration("answer_time", r#""10s""#, millis(100)..=minutes(5));
    let signer_wait = s.duration("signer_wait", r#""3s""#, millis(0)..=minutes(1));
    Some(Limits {
        body_bytes: body?,
        introspection_body_bytes: introspection?,
        header_bytes: header?,
        parameters: parameters?,
        json_depth: json_depth?,
        request_time: request_time?.value,
        connections: connections?,
        connections_per_source: per_source?,
        requests_per_second: requests?,
        failures_per_second: failures?,
        address_failures_per_second: address_failures?,
        inactive_per_second: inactive?,
        inactive_bytes_per_day: inactive_bytes?,
        in_flight: in_flight?,
        in_flight_per_caller: in_flight_of_one?,
        answer_time: answer_time?.value,
        signer_wait: signer_wait?.value,
    })
}

/// The mode of the processes, and the signer's state directory if the file names it.
fn signer(s: &mut Section<'_, '_, '_>) -> Option<(SignerMode, Option<PathBuf>)> {
    let expected = "a directory that the signer alone may write";
    let named = s.has("state_directory");
    let state = s.optional_path("state_directory", expected).map(|path| path.value);
    // All three or none.
    let separate = ["socket", "gateway_user", "signer_user"].iter().any(|key| s.has(key));
    let need = if separate { Need::Required } else { Need::Optional };
    let base = s.base();
    let socket = s.get("socket", need, "the path of a Unix socket", |v| values::path(v, base));
    let name = "the name of a user of this system";
    let gateway = s.get("gateway_user", need, name, values::user);
    let signer = s.get("signer_user", need, name, values::user);
    fits(s, socket.as_ref());
    if named && state.is_none() {
        return None;
    }
    if !separate {
        return Some((SignerMode::Child, state));
    }
    let mode = SignerMode::Separate {
        socket: socket?.value,
        gateway_user: gateway?.value,
        signer_user: signer?.value,
    };
    Some((mode, state))
}

/// Checks that the system can bind to the path of a socket.
fn fits(s: &mut Section<'_, '_, '_>, socket: Option<&Placed<PathBuf>>) {
    if let Some(socket) = socket
        && let length = socket.value.as_os_str().len()
        && length > SOCKET_PATH
    {
        let expected = format!("a path of at most {SOCKET_PATH} bytes (unix(7))");
        s.mistake(&socket.place, expected, format!("{length} bytes"));
    }
}

fn hsm(s: &mut Section<'_, '_, '_>) -> Option<Hsm> {
    let module = s.get("module", Need::Required, "the absolute path of a PKCS#11 module", |v| {
        let path = PathBuf::from(values::text(v)?);
        // The loader would search a relative name in directories that other users may write to.
        if path.is_absolute() { Ok(path) } else { Err(values::Wrong::default()) }
    });
    let token =
        s.get("token", Need::Required, "a URI like \"pkcs11:token=chancery\" (RFC 7512)", values::pkcs11);
    let place = s.place().clone();
    let file = s.has("pin_file");
    let credential = s.has("pin_credential");
    let from_file = s.optional_path("pin_file", "the path of a file that holds the PIN");
    let name = "the name of a systemd credential: 1 to 64 of A-Z a-z 0-9 . _ -";
    let from_credential = s.get("pin_credential", Need::Optional, name, values::simple_name);
    if file == credential {
        let found = if file { "both" } else { "neither" };
        s.mistake(&place, "pin_file or pin_credential", found);
    }
    let sessions = s.number("sessions", "2", 1..=256);
    let deadline = s.duration("deadline", r#""10s""#, millis(100)..=minutes(10));
    let pin = match (from_file, from_credential) {
        (Some(path), None) => Some(PinSource::File(path.value)),
        (None, Some(name)) => Some(PinSource::Credential(name.value)),
        _ => None,
    };
    Some(Hsm {
        module: module?.value,
        token: token?.value,
        pin: pin?,
        sessions: sessions?,
        deadline: deadline?.value,
    })
}

fn audit(s: &mut Section<'_, '_, '_>) -> Option<Audit> {
    let directory = s.path("directory", "the path of a directory");
    let expected = "the name of the log like \"as.bank.example/audit/node-a\": \
        a URL without scheme, space and plus, at most 255 bytes";
    let origin = s.get("origin", Need::Required, expected, values::origin).map(|o| o.value);
    let expected = "the name of this machine: 1 to 64 of A-Z a-z 0-9 . _ -";
    let named = s.has("node");
    let node = s.get("node", Need::Optional, expected, values::simple_name);
    let segment = s.size("segment_bytes", r#""64MiB""#, 1 << 20..=1 << 30);
    let last = origin.as_deref().and_then(|o| o.rsplit('/').next()).map(str::to_owned);
    Some(Audit {
        directory: directory?.value,
        node: if named { node?.value } else { last? },
        origin: origin?,
        segment_bytes: segment?,
    })
}

/// The auditors' group and socket. `gateways` is the socket of the gateway.
fn auditors(s: &mut Section<'_, '_, '_>, gateways: Option<&Path>) -> Option<Auditors> {
    let socket = s.path("socket", "the path of a Unix socket");
    let group = s.get("group", Need::Required, "the name of a group of this system", values::user);
    fits(s, socket.as_ref());
    if let Some(socket) = &socket
        && gateways == Some(&socket.value)
    {
        s.mistake(&socket.place, "another path than signer.socket", "the same");
    }
    Some(Auditors { socket: socket?.value, group: group?.value })
}

fn store(s: &mut Section<'_, '_, '_>) -> Option<Store> {
    let base = s.base();
    let expected = "a URL like \"sqlite:///var/lib/chancery/state.db\"";
    let path = s.get("url", Need::Required, expected, |v| values::sqlite(v, base));
    Some(Store { path: path?.value })
}

fn log(s: &mut Section<'_, '_, '_>) -> Option<LogLines> {
    let known = [("auto", LogLines::Auto), ("human", LogLines::Human), ("json", LogLines::Json)];
    let lines = s.get("lines", Need::Default(r#""auto""#), r#""auto", "human" or "json""#, |v| {
        values::one_of(v, &known, &[])
    });
    lines.map(|l| l.value)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}
