//! The edge: HTTP in, HTTP out. One file an endpoint, each in five beats: caller, facts, rule, sign, reply.
//!
//! ```text
//! listen ─► connection ─► router ─► front (caller) ─► tokens (facts) ─► protocol (rule) ─► gate (sign) ─► reply
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `listen`, `tls` | sockets |
//! | `pool`, `progress` | the open connections, and which one is closed when no slot is free |
//! | `connection`, `watched` | one connection, with limits of size and time |
//! | `router`, `head` | which method and path lead where; what every head must say |
//! | `introspect`, `token`, `revoke`, `documents` | the endpoints |
//! | `operations` | `/livez`, `/readyz`, `/metrics`, on a listener of their own |
//! | `peer` | the other end of a request |
//! | `front`, `limits` | which caller is asking, and how often |
//! | `tokens` | what is known of a presented token |
//! | `gate`, `publication` | the way to the signer, and what it published |
//! | `visit`, `meters` | one log line and some counters for each request |
//! | `reply` | the only place that knows status codes and headers |
//!
//! Nothing that is signed, and no answer about a token, can be sent without a
//! [`Recorded`](crate::door::Recorded): `reply` takes nothing else.

mod connection;
mod documents;
mod front;
mod gate;
mod head;
mod introspect;
mod limits;
mod listen;
mod meters;
mod operations;
mod peer;
mod pool;
mod progress;
mod publication;
mod reply;
mod revoke;
mod router;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod tokens;
mod visit;
mod watched;

use crate::claims::NumericDate;
use crate::clock::Clock;
use crate::config::Config;
use crate::door::SignerClient;
use crate::memory::Lag;
use crate::protocol::{endpoint, metadata_path};
use crate::store::Store;
use connection::Shape;
use documents::Document;
use front::Front;
use gate::Gate;
use listen::listen;
use meters::{Endpoint, Meters};
use pool::Pool;
use router::{Routes, Site};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot, watch};
use visit::Visits;

/// Connections at once on the operations listener.
const OPERATORS: usize = 64;
/// How long an effect that began may take to end when the service stops.
const EFFECTS: Duration = Duration::from_secs(10);
/// How long an operator's last request may take to end then.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How long [`serve`] goes on at most once it is asked to stop.
pub const LONGEST_END: Duration =
    Duration::from_secs(listen::DRAIN.as_secs() + EFFECTS.as_secs() + LAST_LOOK.as_secs());
/// How often counters are folded.
const FOLD: Duration = Duration::from_secs(1);

/// Why the gateway cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener cannot be opened.
    #[error("{setting}: cannot listen on {address}: {source}")]
    Bind {
        /// The setting that named the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("http.tls: {}: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS itself cannot be set up: a defect of ours.
    #[error("TLS: {0}")]
    Agree(rustls::Error),
}

/// What a running gateway is made of.
pub struct Gateway {
    /// The configuration of the moment: what a reload may change is taken over while requests are served.
    pub config: watch::Receiver<Arc<Config>>,
    /// State of tokens.
    pub store: Store,
    /// The way to the signer.
    pub signer: SignerClient,
    /// For how long the gateway's own memory of the log was not kept.
    pub memory: Lag,
    /// What time it is.
    pub clock: Clock,
    /// Listening sockets that the service manager passed on, to be used where the configuration names their addresses.
    pub sockets: Vec<std::net::TcpListener>,
    /// Told once both listeners are there.
    pub listening: oneshot::Sender<()>,
    /// Told of each new configuration once requests are served by it.
    pub taken_over: watch::Sender<Option<Arc<Config>>>,
}

/// Serves until `shutdown` says so (or its sender is gone), then lets requests under way end, and returns.
///
/// Both listeners are opened before anything else; their addresses stand in a log line `listening` each, so that port
/// 0 may be configured. Requests are answered with 503 until the signer is ready.
pub async fn serve(gateway: Gateway, shutdown: watch::Receiver<bool>) -> Result<(), ServeError> {
    let Gateway { config: live, store, signer, memory, clock, mut sockets, listening, taken_over } = gateway;
    let config = Arc::clone(&live.borrow());
    let http = &config.http;
    let certificate = http.tls.as_ref().map(tls::Certificate::read).transpose()?;
    let acceptor =
        certificate.as_ref().map(tls::Certificate::acceptor).transpose().map_err(ServeError::Agree)?;
    let public = bind("http.listen", http.listen, &mut sockets).await?;
    let operations = bind("http.operations_listen", http.operations_listen, &mut sockets).await?;
    for unused in sockets {
        let address = unused.local_addr().map_or_else(|e| e.to_string(), |address| address.to_string());
        tracing::warn!(%address, "the service manager passed a socket that the configuration does not name");
    }
    // An error: the gateway is ending already.
    let _ = listening.send(());

    let meters = Arc::new(Meters::new());
    let gate = Arc::new(Gate::new(live.clone(), signer, memory));
    let pool = Pool::new(http.limits.connections, http.limits.connections_per_source);
    let routes_of = {
        let (store, gate, clock, meters) =
            (store.clone(), Arc::clone(&gate), clock.clone(), Arc::clone(&meters));
        move |config: &Arc<Config>| public_routes(config, &store, &gate, &clock, &meters)
    };
    let site = Site::new(routes_of(&config));
    let told = operations::Operations {
        meters: Arc::clone(&meters),
        gate: Arc::clone(&gate),
        store,
        clock: clock.clone(),
        pool: pool.clone(),
        stopping: shutdown.clone(),
        config: live.clone(),
        certificate: certificate.clone(),
        self_test: Mutex::default(),
    };

    // Operators can look until the last request has ended.
    let (drained, ended) = watch::channel(false);
    let (header_bytes, request_time) = (http.limits.header_bytes, http.limits.request_time);
    let inside = Shape::new(Site::new(operations::routes(told)), header_bytes, request_time);
    let inward = listen(operations, None, inside, Pool::new(OPERATORS, OPERATORS), ended.clone());
    let mut inward = tokio::spawn(inward);
    let upkeep =
        keep_house(Arc::clone(&gate), Arc::clone(&meters), clock.clone(), certificate.clone(), ended.clone());
    let upkeep = tokio::spawn(upkeep);
    let follow = Follow { site: site.clone(), certificate, clock, taken_over };
    let follow = tokio::spawn(follow.run(live, routes_of, ended));

    let outside = Shape::new(site, header_bytes, request_time);
    let outward = tokio::spawn(listen(public, acceptor, outside, pool, shutdown));
    let unfinished = outward.await.is_err();
    if tokio::time::timeout(EFFECTS, gate.empty()).await.is_err() || unfinished {
        tracing::warn!("the service ends while something is still under way at the signer");
    }
    drained.send_replace(true);
    if tokio::time::timeout(LAST_LOOK, &mut inward).await.is_err() {
        inward.abort();
    }
    for task in [upkeep, follow] {
        drop(task.await);
    }
    Ok(())
}

/// What a new configuration changes.
struct Follow {
    site: Site,
    certificate: Option<Arc<tls::Certificate>>,
    clock: Clock,
    taken_over: watch::Sender<Option<Arc<Config>>>,
}

impl Follow {
    /// Takes each new configuration over: certificate and edge. A certificate that cannot be read, or is not valid now,
    /// leaves the old one.
    async fn run(
        self,
        mut live: watch::Receiver<Arc<Config>>,
        routes_of: impl Fn(&Arc<Config>) -> Routes,
        mut end: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                changed = live.changed() => if changed.is_err() { return },
                _ = end.wait_for(|end| *end) => return,
            }
            let config = Arc::clone(&live.borrow_and_update());
            if let (Some(certificate), Some(tls)) = (&self.certificate, &config.http.tls)
                && let Err(error) = certificate.reread(tls, sure(&self.clock))
            {
                tracing::error!(%error, "the certificate was not replaced; the one before stays in use");
            }
            self.site.replace(routes_of(&config));
            self.taken_over.send_replace(Some(config));
        }
    }
}

/// What time it is, in seconds since 1970; `None` while the clock is in doubt.
fn sure(clock: &Clock) -> Option<i64> {
    clock.now().ok().map(|now| NumericDate::from(now).0)
}

/// The socket that was passed on for this address, or else a new one.
async fn bind(
    setting: &'static str,
    address: SocketAddr,
    sockets: &mut Vec<std::net::TcpListener>,
) -> Result<TcpListener, ServeError> {
    let failed = |source| ServeError::Bind { setting, address, source };
    let passed = sockets.iter().position(|socket| socket.local_addr().is_ok_and(|found| found == address));
    let listener = match passed {
        Some(passed) => {
            let socket = sockets.swap_remove(passed);
            socket.set_nonblocking(true).map_err(failed)?;
            TcpListener::from_std(socket).map_err(failed)?
        }
        None => TcpListener::bind(address).await.map_err(failed)?,
    };
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(setting, address = %bound, passed = passed.is_some(), "listening");
    Ok(listener)
}

fn public_routes(
    config: &Arc<Config>,
    store: &Store,
    gate: &Arc<Gate>,
    clock: &Clock,
    meters: &Arc<Meters>,
) -> Routes {
    let front = &Arc::new(Front::new(config));
    let tokens = Arc::new(tokens::Tokens::new(Arc::clone(config), store.clone()));
    let introspection = introspect::Introspection::new(
        Arc::clone(front),
        Arc::clone(config),
        Arc::clone(&tokens),
        Arc::clone(gate),
        clock.clone(),
        Arc::clone(meters),
    );
    let issuance = token::Issuance::new(
        Arc::clone(front),
        Arc::clone(config),
        store.clone(),
        Arc::clone(gate),
        clock.clone(),
    );
    let revocation = revoke::Revocation::new(
        Arc::clone(front),
        tokens,
        store.clone(),
        Arc::clone(gate),
        clock.clone(),
        config.http.limits.body_bytes,
    );
    let keys = Document { gate: Arc::clone(gate), of: |publication| &publication.jwks };
    let metadata = Document { gate: Arc::clone(gate), of: |publication| &publication.metadata };
    let at = |path| endpoint(&config.issuer, path);
    Routes::new(Visits::new(Arc::clone(meters)), Endpoint::Unknown)
        .post(&at("introspect"), Endpoint::Introspect, introspection)
        .post(&at("token"), Endpoint::Token, issuance)
        .post(&at("revoke"), Endpoint::Revoke, revocation)
        .get(&at("jwks"), Endpoint::Jwks, keys)
        .get(&metadata_path(&config.issuer), Endpoint::Metadata, metadata)
}

/// What has to be done now and then, until the end.
async fn keep_house(
    gate: Arc<Gate>,
    meters: Arc<Meters>,
    clock: Clock,
    certificate: Option<Arc<tls::Certificate>>,
    mut end: watch::Receiver<bool>,
) {
    let mut told = None;
    while tokio::time::timeout(FOLD, end.wait_for(|end| *end)).await.is_err() {
        meters.fold();
        // Remembered for the time when the signer is being restarted.
        drop(gate.published());
        let (Some(certificate), Some(now)) = (&certificate, sure(&clock)) else { continue };
        let trouble = certificate.trouble(now);
        if trouble != told {
            if let Some(reason) = &trouble {
                tracing::error!(
                    reason,
                    "no client trusts the certificate in http.tls.certificate: replace it and reload; until then /readyz \
                     says 503"
                );
            } else {
                tracing::info!("the certificate in http.tls.certificate is valid");
            }
            told = trouble;
        }
    }
}
