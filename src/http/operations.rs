//! The operations listener: `/livez`, `/readyz`, `/metrics`. Never public: it tells operators why something fails.

use super::gate::Gate;
use super::meters::{Endpoint, Figure, Meters};
use super::pool::Pool;
use super::reply::Reply;
use super::router::{Handler, Routes};
use super::tls::Certificate;
use super::visit::{Visit, Visits};
use crate::claims::NumericDate;
use crate::clock::{Clock, monotonic_nanos};
use crate::config::Config;
use crate::store::Store;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// How long the outcome of one self-test stands: more frequent probes do not make the token sign more often.
const SELF_TEST_STANDS: Duration = Duration::from_secs(5);

/// What operators are told about.
pub(super) struct Operations {
    pub(super) meters: Arc<Meters>,
    pub(super) gate: Arc<Gate>,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) pool: Pool,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) self_test: Mutex<Option<SelfTest>>,
}

/// The last self-test.
pub(super) struct SelfTest {
    began: u64,
    outcome: Result<(), String>,
}

/// One of the paths.
#[derive(Clone, Copy)]
enum Look {
    Live,
    Ready,
    Metrics,
}

struct Page {
    look: Look,
    at: Arc<Operations>,
}

/// The routes of the operations listener.
pub(super) fn routes(operations: Operations) -> Routes {
    let at = Arc::new(operations);
    let visits = Visits::new(Arc::clone(&at.meters));
    let pages = [("/livez", Look::Live), ("/readyz", Look::Ready), ("/metrics", Look::Metrics)];
    pages.into_iter().fold(Routes::new(visits, Endpoint::Operations), |routes, (path, look)| {
        routes.get(path, Endpoint::Operations, Page { look, at: Arc::clone(&at) })
    })
}

impl Handler for Page {
    async fn answer(&self, _: &mut Visit, _: Request<Body>) -> Result<Reply, Reply> {
        Ok(match self.look {
            // As long as the loop runs.
            Look::Live => Reply::health(true, &json!({"alive": true})),
            Look::Ready => self.at.ready().await,
            Look::Metrics => self.at.metrics(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float: 53 bits are exact up to 9 PB")]
fn large(number: u64) -> f64 {
    number as f64
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

impl Operations {
    /// 200 when a request would be served: a place for its connection, signer there, every key signs, state read and
    /// written, clock trusted, both memories of the log kept, certificate valid, not stopping. Else 503.
    async fn ready(&self) -> Reply {
        let stopping = *self.stopping.borrow();
        let down = self.gate.down();
        let self_test = match &down {
            Some(_) => Err("not made: the signer is down".to_owned()),
            None => self.self_test().await,
        };
        let store = self.store.check();
        let clock = self.clock.now();
        let connections = self.pool.census().room();
        let certificate = match (&self.certificate, &clock) {
            (None, _) => Ok("none: plain HTTP".to_owned()),
            // Without a time that is sure nothing is decided by it; the clock's own word says so.
            (Some(_), Err(_)) => Ok("not looked at: the clock is in doubt".to_owned()),
            (Some(certificate), Ok(now)) => {
                certificate.trouble(NumericDate::from(*now).0).map_or_else(|| Ok("valid".to_owned()), Err)
            }
        };
        let memories = self.gate.memories().follow();
        let ready = !stopping
            && self_test.is_ok()
            && store.is_ok()
            && clock.is_ok()
            && connections.is_ok()
            && certificate.is_ok()
            && memories.is_ok();
        let signer = down.unwrap_or_else(|| "ready".to_owned());
        let body = json!({
            "ready": ready,
            "stopping": stopping,
            "signer": signer,
            "self_test": self_test.err().unwrap_or_else(|| "passed".to_owned()),
            "clock": clock.err().map_or_else(|| "trusted".to_owned(), |doubt| doubt.to_string()),
            "certificate": certificate.unwrap_or_else(|reason| reason),
            "connections": connections.unwrap_or_else(|full| full),
            "log_memories": memories.unwrap_or_else(|late| late),
            "store": store.err().map_or_else(|| "readable and writable".to_owned(), |error| error.to_string()),
        });
        Reply::health(ready, &body)
    }

    /// The Prometheus text format.
    fn metrics(&self) -> Reply {
        let meters = &self.meters;
        meters.pool.show(&self.pool.census());
        meters.set(Figure::InFlight, count(self.gate.in_flight()));
        meters.set(Figure::SignerUp, if self.gate.down().is_none() { 1.0 } else { 0.0 });
        meters.set(Figure::ClockTrusted, if self.clock.now().is_ok() { 1.0 } else { 0.0 });
        let signer = self.gate.signer();
        let (connected, failed) = signer.starts();
        meters.signer_connections.absolute(connected);
        meters.signer_failures.absolute(failed);
        // Of a signer that is away the last word stands: its log has not gone with it.
        if let Some(status) = signer.status() {
            meters.set(Figure::LogBytes, large(status.log_bytes));
            meters.set(Figure::LogFreeBytes, large(status.log_free_bytes));
            meters.set(Figure::CheckpointRecords, large(status.checkpoint_records));
            meters.set(Figure::CheckpointAge, large(status.checkpoint_millis) / 1_000.0);
            meters.set(Figure::OldestRecordAge, large(status.oldest_record_millis) / 1_000.0);
        }
        let memories = self.gate.memories();
        meters.set(Figure::SignerMemoryLag, memories.signer.as_secs_f64());
        meters.set(Figure::GatewayMemoryLag, memories.gateway.as_secs_f64());
        if let Some(certificate) = &self.certificate {
            let expires = u64::try_from(certificate.expires()).unwrap_or(0);
            meters.set(Figure::CertificateExpiry, large(expires));
        }
        let config = Arc::clone(&self.config.borrow());
        Reply::metrics(meters.render(&config.digest().to_string()))
    }

    /// Every key signs and its signature is verified; asked again only when the last outcome is old.
    async fn self_test(&self) -> Result<(), String> {
        // Held while the signer is asked, so that probes which come together share one test.
        let mut last = self.self_test.lock().await;
        let now = monotonic_nanos();
        if let Some(known) = &*last
            && Duration::from_nanos(now.saturating_sub(known.began)) < SELF_TEST_STANDS
        {
            return known.outcome.clone();
        }
        let deadline = self.config.borrow().hsm.deadline;
        let outcome = self.gate.self_test(Instant::now() + deadline).await;
        if let Err(reason) = &outcome {
            tracing::warn!(%reason, "the self-test failed");
        }
        *last = Some(SelfTest { began: now, outcome: outcome.clone() });
        outcome
    }
}
