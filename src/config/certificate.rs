//! Checks certificate and key of the public listener: whether they match, the order of the chain, and its validity.

use super::{HostProblem, Tls};
use rustls::InconsistentKeys;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Days before the expiry of a certificate that cause a note.
const SOON: i64 = 14;

const DAY: i64 = 24 * 60 * 60;

/// Problems at `now` (seconds since 1970), and notes for the operator. Skips a file that cannot be read:
/// [`super::check_host`] reports it.
pub fn check_certificate(tls: &Tls, now: i64) -> (Vec<HostProblem>, Vec<String>) {
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    let mut wrong = |key: &'static str, path: &Path, expected: &str, found: String| {
        problems.push(HostProblem::new(key, path, expected.to_owned(), found));
    };
    let (certificate, key) = ("http.tls.certificate", "http.tls.key");
    let (Ok(chain), Ok(private)) = (std::fs::read(&tls.certificate), std::fs::read(&tls.key)) else {
        return (problems, notes);
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => {
            wrong(certificate, &tls.certificate, "a PEM certificate", "none".to_owned());
            Vec::new()
        }
        Err(error) => {
            wrong(certificate, &tls.certificate, "PEM certificates", error.to_string());
            Vec::new()
        }
    };
    let parsed: Result<Vec<_>, _> = chain.iter().map(|der| Certificate::from_der(der)).collect();
    match parsed {
        Ok(parsed) => {
            for problem in times(&parsed, now, &mut notes).into_iter().chain(order(&parsed)) {
                wrong(certificate, &tls.certificate, problem.0, problem.1);
            }
        }
        Err(error) => wrong(certificate, &tls.certificate, "X.509 certificates", error.to_string()),
    }
    match PrivateKeyDer::from_pem_slice(&private) {
        Ok(private) => {
            if let (false, Err(found)) = (chain.is_empty(), fits(chain, private)) {
                wrong(key, &tls.key, "the key of http.tls.certificate", found);
            }
        }
        Err(error) => wrong(key, &tls.key, "a PEM private key", error.to_string()),
    }
    (problems, notes)
}

/// Expected and found validity, if one of these certificates is not valid at `now` (seconds since 1970).
pub fn outside_validity(chain: &[CertificateDer<'_>], now: i64) -> Option<String> {
    let parsed: Vec<_> = chain.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
    let (expected, found) = times(&parsed, now, &mut Vec::new()).into_iter().next()?;
    Some(format!("expected {expected}, found {found}"))
}

/// Checks that the key belongs to the first certificate.
fn fits(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err("the key of another certificate (the first in the file counts)".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// (expected, found)
type Wrong = (&'static str, String);

fn times(chain: &[Certificate], now: i64, notes: &mut Vec<String>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for certificate in chain {
        let certificate = certificate.tbs_certificate();
        let (validity, subject) = (certificate.validity(), certificate.subject());
        let seconds = |time: x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
        };
        let (from, until) = (seconds(validity.not_before), seconds(validity.not_after));
        if now < from {
            let found = format!("{subject}, not valid before {}", validity.not_before);
            wrong.push(("certificates that are valid now", found));
        } else if now > until {
            wrong.push((
                "certificates that are valid now",
                format!("{subject}, expired at {}", validity.not_after),
            ));
        } else if until - now < SOON * DAY {
            let days = (until - now) / DAY;
            notes.push(format!(
                "http.tls.certificate: {subject} expires in {days} days, at {}",
                validity.not_after
            ));
        }
    }
    wrong
}

/// Each certificate is issued by the next one (RFC 5246 §7.4.2).
fn order(chain: &[Certificate]) -> Vec<Wrong> {
    let pairs = chain.iter().zip(chain.iter().skip(1));
    let broken = pairs.filter_map(|(one, next)| {
        let (one, next) = (one.tbs_certificate(), next.tbs_certificate());
        let found = format!("{}, issued by {}, before {}", one.subject(), one.issuer(), next.subject());
        (one.issuer() != next.subject()).then_some(("the leaf first, each followed by its issuer", found))
    });
    broken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;

    /// An authority (`ca.pem`), a server of it (`server.pem`, `server.key`, 90 days), and the key of another (`other.key`).
    fn certificates() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let script = "set -e
            ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
            openssl req -x509 $ec -keyout ca.key -out ca.pem -days 90 -subj '/CN=authority'
            openssl req $ec -keyout server.key -out server.csr -subj /CN=as.bank.example
            echo 'subjectAltName=DNS:as.bank.example' > extensions
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile extensions \
                -out server.pem
            openssl req $ec -keyout other.key -out other.csr -subj /CN=as.bank.example
            cat server.pem ca.pem > chain.pem
            cat ca.pem server.pem > turned.pem
            echo nothing > empty.pem";
        let output = Command::new("sh").args(["-c", script]).current_dir(home.path()).output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        home
    }

    /// Problems as `KEY: expected …, found …`, and notes, `days` and an hour from now.
    fn found(
        home: &tempfile::TempDir,
        certificate: &str,
        key: &str,
        days: i64,
    ) -> (Vec<String>, Vec<String>) {
        let at = |name: &str| -> PathBuf { home.path().join(name) };
        let tls = Tls { certificate: at(certificate), key: at(key) };
        let now = crate::clock::wall_unchecked().unix_seconds() + days * DAY + 3600;
        let (problems, notes) = check_certificate(&tls, now);
        let said = |p: HostProblem| format!("{}: expected {}, found {}", p.key, p.expected, p.found);
        (problems.into_iter().map(said).collect(), notes)
    }

    #[test]
    fn a_certificate_with_its_key_and_its_issuer_is_right() {
        let home = certificates();
        for certificate in ["server.pem", "chain.pem"] {
            assert_eq!(found(&home, certificate, "server.key", 0), (Vec::new(), Vec::new()));
        }
        assert_eq!(
            found(&home, "missing.pem", "server.key", 0),
            (Vec::new(), Vec::new()),
            "check_host names it"
        );
    }

    #[test]
    fn a_wrong_key_and_a_malformed_certificate_are_found() {
        let home = certificates();
        for (certificate, key, says) in [
            (
                "server.pem",
                "other.key",
                "http.tls.key: expected the key of http.tls.certificate, found the key of another",
            ),
            ("server.pem", "empty.pem", "http.tls.key: expected a PEM private key, found "),
            ("empty.pem", "server.key", "http.tls.certificate: expected a PEM certificate, found none"),
        ] {
            let (problems, _) = found(&home, certificate, key, 0);
            assert!(
                problems.len() == 1 && problems[0].starts_with(says),
                "{certificate} {key}: {problems:?}"
            );
        }
        let (problems, _) = found(&home, "turned.pem", "server.key", 0);
        assert!(
            problems.iter().any(|p| p.contains("the leaf first, each followed by its issuer")),
            "{problems:?}"
        );
        assert!(problems.iter().any(|p| p.starts_with("http.tls.key: ")), "{problems:?}");
    }

    #[test]
    fn validity_is_checked_and_expiry_is_announced_two_weeks_before() {
        let home = certificates();
        let (problems, notes) = found(&home, "server.pem", "server.key", 80);
        assert!(
            problems.is_empty() && notes.len() == 1 && notes[0].contains("expires in 9 days"),
            "{problems:?} {notes:?}"
        );
        for (days, says) in
            [(91, "CN=as.bank.example, expired at "), (-1, "CN=as.bank.example, not valid before ")]
        {
            let (problems, notes) = found(&home, "server.pem", "server.key", days);
            assert!(
                problems.len() == 1 && problems[0].contains(says) && notes.is_empty(),
                "{problems:?} {notes:?}"
            );
        }
    }
}
