//! The edge: HTTP in, HTTP out. One file an endpoint, each in five beats: who, facts, rule, sign, reply.
//!
//! ```text
//! listen ─► connection ─► edge ─► front (who) ─► tokens (facts) ─► protocol (rule) ─► gate (sign) ─► reply
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `listen`, `tls` | sockets |
//! | `pool`, `progress` | the open connections, and which one is closed when places run out |
//! | `connection`, `watched` | one connection, with limits of size and time |
//! | `edge` | which path leads where |
//! | `introspect`, `token`, `revoke`, `metadata`, `jwks` | the endpoints |
//! | `operations` | `/livez`, `/readyz`, `/metrics`, on a listener of their own |
//! | `host`, `front`, `limits` | which host is meant, who is asking, and how often |
//! | `tokens` | what is known of a presented token |
//! | `gate` | the way to the signer |
//! | `visit`, `meters` | one log line and some counters for each request |
//! | `reply` | the only place that knows status codes and headers |
//!
//! Nothing that is signed, and no answer about a token, can be sent without a
//! [`Recorded`](crate::signer::Recorded): `reply` takes nothing else.

mod connection;
mod edge;
mod front;
mod gate;
mod host;
mod introspect;
mod jwks;
mod limits;
mod listen;
mod metadata;
mod meters;
mod operations;
mod pool;
mod progress;
mod reply;
mod revoke;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod tokens;
mod visit;
mod watched;

use crate::clock::Clock;
use crate::config::Config;
use crate::signer::SignerClient;
use crate::store::Store;
use connection::Shape;
use edge::{Edge, Endpoints};
use front::Front;
use gate::Gate;
use listen::listen;
use meters::{Endpoint, Meters};
use pool::Pool;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use visit::{RequestNames, Visits};

/// Connections at once on the operations listener.
const OPERATORS: usize = 64;
/// How long an effect that began may take to end when the service stops.
const EFFECTS: Duration = Duration::from_secs(10);
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
}

/// Serves until `shutdown` says so (or its sender is gone), then lets requests under way end, and returns.
///
/// Both listeners are opened before anything else; their addresses stand in a log line `listening` each, so that port
/// 0 may be configured. Requests are answered with 503 until the signer is ready.
pub async fn serve(
    config: Arc<Config>,
    store: Store,
    signer: SignerClient,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let http = &config.http;
    let tls = http.tls.as_ref().map(tls::acceptor).transpose()?;
    let public = bind("http.listen", http.listen).await?;
    let operations = bind("http.operations_listen", http.operations_listen).await?;

    let meters = Arc::new(Meters::new());
    let gate = Arc::new(Gate::new(Arc::clone(&config), signer));
    let front = Arc::new(Front::new(&config));
    let pool = Pool::new(http.limits.connections, http.limits.connections_per_source);
    let edge = public_edge(&config, &store, &gate, &clock, &front, &meters);
    let told = operations::Operations::new(
        Arc::clone(&meters),
        Arc::clone(&gate),
        store.clone(),
        clock,
        pool.clone(),
        shutdown.clone(),
        config.hsm.deadline,
    );

    // Operators can look until the last request has ended.
    let (drained, ended) = watch::channel(false);
    let (header_bytes, request_time) = (http.limits.header_bytes, http.limits.request_time);
    let inside = Shape::new(operations::routes(told), header_bytes, request_time);
    let inward = listen(operations, None, inside, Pool::new(OPERATORS, OPERATORS), ended.clone());
    let inward = tokio::spawn(inward);
    let upkeep = tokio::spawn(keep_house(Arc::clone(&gate), meters, ended));

    let outside = Shape::new(edge, header_bytes, request_time);
    let outward = tokio::spawn(listen(public, tls, outside, pool, shutdown));
    let unfinished = outward.await.is_err();
    if tokio::time::timeout(EFFECTS, gate.empty()).await.is_err() || unfinished {
        tracing::warn!("the service ends while something is still under way at the signer");
    }
    drained.send_replace(true);
    for task in [inward, upkeep] {
        drop(task.await);
    }
    Ok(())
}

async fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    let failed = |source| ServeError::Bind { setting, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(setting, address = %bound, "listening");
    Ok(listener)
}

fn public_edge(
    config: &Arc<Config>,
    store: &Store,
    gate: &Arc<Gate>,
    clock: &Clock,
    front: &Arc<Front>,
    meters: &Arc<Meters>,
) -> Edge {
    let names = Arc::new(RequestNames::new());
    let visits = |endpoint| Visits::new(endpoint, Arc::clone(meters), Arc::clone(&names));
    let tokens = Arc::new(tokens::Tokens::new(Arc::clone(config), store.clone()));
    let endpoints = Endpoints {
        introspection: introspect::Introspection::new(
            visits(Endpoint::Introspect),
            Arc::clone(front),
            Arc::clone(config),
            Arc::clone(&tokens),
            Arc::clone(gate),
            clock.clone(),
        ),
        issuance: token::Issuance::new(
            visits(Endpoint::Token),
            Arc::clone(front),
            Arc::clone(config),
            store.clone(),
            Arc::clone(gate),
            clock.clone(),
        ),
        revocation: revoke::Revocation::new(
            visits(Endpoint::Revoke),
            Arc::clone(front),
            tokens,
            store.clone(),
            Arc::clone(gate),
            clock.clone(),
            config.http.limits.body_bytes,
        ),
        metadata: metadata::MetadataDocument::new(visits(Endpoint::Metadata), Arc::clone(gate)),
        keys: jwks::KeySet::new(visits(Endpoint::Jwks), Arc::clone(gate)),
        unknown: visits(Endpoint::Unknown),
    };
    Edge::new(&config.issuer, endpoints)
}

/// What has to be done now and then, until the end.
async fn keep_house(gate: Arc<Gate>, meters: Arc<Meters>, mut end: watch::Receiver<bool>) {
    while tokio::time::timeout(FOLD, end.wait_for(|end| *end)).await.is_err() {
        meters.fold();
        // Remembered for the time when the signer is being restarted.
        drop(gate.published());
    }
}
