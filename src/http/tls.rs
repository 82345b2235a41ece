//! TLS of the public listener: 1.2 and 1.3 with the suites of rustls, all of them with forward secrecy (RFC 9325).

use super::ServeError;
use crate::config::{Tls, outside_validity};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate as X509;
use x509_cert::der::Decode;

/// The certificate of the moment, with its key: a reload replaces it, connections that are open keep theirs.
#[derive(Debug)]
pub(super) struct Certificate {
    provider: Arc<CryptoProvider>,
    held: RwLock<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    key: Arc<CertifiedKey>,
    /// `notAfter` of the leaf, in seconds since 1970 (RFC 5280 §4.1.2.5).
    expires: i64,
}

impl Certificate {
    /// Reads certificate and key; both are checked against each other.
    pub(super) fn read(tls: &Tls) -> Result<Arc<Self>, ServeError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let held = RwLock::new(read(tls, &provider)?);
        Ok(Arc::new(Self { provider, held }))
    }

    /// Reads them anew, from where `tls` says now. After an error the old ones stay. So they do when one of the chain is
    /// not valid at `now` (seconds since 1970; `None`: the clock is in doubt, and nothing is decided by it).
    pub(super) fn reread(&self, tls: &Tls, now: Option<i64>) -> Result<(), ServeError> {
        let new = read(tls, &self.provider)?;
        if let Some(reason) = now.and_then(|now| outside_validity(&new.key.cert, now)) {
            return Err(ServeError::Tls { path: tls.certificate.clone(), reason });
        }
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Why no client trusts the certificate at `now`, in seconds since 1970: by the leaf alone, since a client may know
    /// another way from it than the chain that is sent.
    pub(super) fn trouble(&self, now: i64) -> Option<String> {
        let key = Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner).key);
        outside_validity(key.cert.get(..1)?, now)
    }

    /// When the certificate ends, in seconds since 1970.
    pub(super) fn expires(&self) -> i64 {
        self.held.read().unwrap_or_else(PoisonError::into_inner).expires
    }

    /// Agrees on TLS with this certificate.
    pub(super) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner).key))
    }
}

fn read(tls: &Tls, provider: &CryptoProvider) -> Result<Held, ServeError> {
    let failed = |path: &Path, reason: &dyn std::fmt::Display| ServeError::Tls {
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| failed(&tls.certificate, &error))?;
    let Some(leaf) = chain.first() else {
        return Err(failed(&tls.certificate, &"expected a PEM certificate, found none"));
    };
    let leaf = X509::from_der(leaf).map_err(|error| failed(&tls.certificate, &error))?;
    let expires = leaf.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| failed(&tls.key, &error))?;
    let key =
        CertifiedKey::from_der(chain, key, provider).map_err(|error| failed(&tls.certificate, &error))?;
    Ok(Held { key: Arc::new(key), expires: i64::try_from(expires).unwrap_or(i64::MAX) })
}
