//! `POST …/introspect` (RFC 7662, RFC 9701).

use super::front::{Admitted, Front};
use super::gate::Gate;
use super::limits::Bucket;
use super::meters::Meters;
use super::reply::Reply;
use super::router::Handler;
use super::tokens::Tokens;
use super::visit::Visit;
use crate::claims::{AnswerFormat, ClientId, NumericDate, TokenHash};
use crate::client::Party;
use crate::clock::{self, Clock};
use crate::config::{Config, ResourceServer};
use crate::door::message::{Ask, IntrospectionAsk};
use crate::protocol::{NegotiationError, View, negotiate, view};
use axum::body::Body;
use axum::http::header::{ACCEPT, VARY};
use axum::http::{HeaderMap, HeaderValue, Request};
use metrics::Counter;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of the log that an inactive answer is charged for. Its record, payload, hashes and tiles take about 2.6 kB
/// when it is signed by ES256; alone in its batch it takes a whole block of the disk.
const LOG_BYTES: u64 = 4_096;

/// What introspection needs.
pub(super) struct Introspection {
    front: Arc<Front>,
    config: Arc<Config>,
    tokens: Arc<Tokens>,
    gate: Arc<Gate>,
    clock: Clock,
    meters: Arc<Meters>,
    inactive: HashMap<ClientId, Inactive>,
}

/// The budget of one resource server for inactive answers: each is signed and recorded for a token that may be made up.
struct Inactive {
    rate: Bucket,
    day: Bucket,
    log_bytes: Counter,
}

impl Introspection {
    /// For the resource servers of this configuration.
    pub(super) fn new(
        front: Arc<Front>,
        config: Arc<Config>,
        tokens: Arc<Tokens>,
        gate: Arc<Gate>,
        clock: Clock,
        meters: Arc<Meters>,
    ) -> Self {
        let limits = &config.http.limits;
        let budget = |client_id: &ClientId| Inactive {
            rate: Bucket::per_second(limits.inactive_per_second),
            day: Bucket::per_day(limits.inactive_bytes_per_day / LOG_BYTES),
            log_bytes: meters.inactive_bytes(client_id.as_str()),
        };
        let servers = config.resource_servers.iter();
        let inactive = servers.map(|rs| (rs.client_id.clone(), budget(&rs.client_id))).collect();
        Self { front, config, tokens, gate, clock, meters, inactive }
    }
}

impl Handler for Introspection {
    async fn answer(&self, visit: &mut Visit, request: Request<Body>) -> Result<Reply, Reply> {
        // Another `Accept` could have got another reply (RFC 9110 §12.5.5), a refusal too.
        let reply = self.inspect(visit, request).await.unwrap_or_else(|refusal| refusal);
        Ok(reply.with(VARY, HeaderValue::from_static("Accept")))
    }
}

impl Introspection {
    async fn inspect(&self, visit: &mut Visit, request: Request<Body>) -> Result<Reply, Reply> {
        // Caller: a resource server, identified and authorized (RFC 9701 §3; decision D5, manual/decisions.rs).
        let most = self.config.http.limits.introspection_body_bytes;
        let Admitted { caller, parameters, headers, permits } =
            self.front.admit(visit, request, most).await?;
        let Party::ResourceServer(rs) = caller.party() else { return Err(Reply::not_a_resource_server()) };
        let token = parameters.required("token").map_err(|error| Reply::refused(&error))?;
        let format = wanted(&headers, rs).map_err(Reply::not_negotiable)?;

        // Facts: read after the time that becomes `iat`, so that they are never older than the answer says.
        let (permit, published) = self.gate.enter(&permits).await?;
        let iat = NumericDate::from(self.clock.now().map_err(|_| Reply::unavailable("clock-in-doubt"))?);
        let hash = TokenHash::of(token);
        let known = self.tokens.find(token, hash, &published.access_token_keys)?;

        // Rule: what this resource server may be told.
        let View { active, reasons } = view(rs, &self.config, known.as_ref().map(|known| &*known.facts), iat);
        if active.is_none() {
            self.spend_inactive(rs)?;
        }

        // Sign: and record. Nothing was changed so far. A caller that closes its connection now is not answered; a record
        // that is made all the same says that an answer was available.
        let ask = IntrospectionAsk {
            context: visit.context(&caller),
            format,
            token: hash,
            known: known.is_some(),
            iat,
            active: active.map(Box::new),
            reasons,
        };
        let recorded = self.gate.ask(&permit, Ask::Introspection(ask)).await?;

        // Reply.
        Ok(Reply::introspection(format, recorded))
    }

    /// Against token scanning (RFC 7662 §4): instead of an inactive answer, which would be signed and recorded.
    ///
    /// A caller learns no more from the 429 than from the answer that it replaces; and active tokens go on being
    /// answered, so that made-up tokens sent to a resource server do not lock out its customers.
    fn spend_inactive(&self, rs: &ResourceServer) -> Result<(), Reply> {
        let Some(budget) = self.inactive.get(&rs.client_id) else { return Ok(()) };
        let now = clock::monotonic_nanos();
        budget.rate.take(now).map_err(|wait| Reply::too_many("token-scanning", wait))?;
        budget.day.take(now).map_err(|wait| Reply::too_many("inactive-bytes", wait))?;
        self.meters.inactive.increment(1);
        budget.log_bytes.increment(LOG_BYTES);
        Ok(())
    }
}

/// JWT or JSON (RFC 9110 §12.5.1, [D24](crate::manual::decisions#d24)).
fn wanted(headers: &HeaderMap, rs: &ResourceServer) -> Result<AnswerFormat, NegotiationError> {
    let lines: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .map(|line| line.to_str().map_err(|_| NegotiationError::Malformed))
        .collect::<Result<_, _>>()?;
    negotiate(&lines, rs.require_signed_response)
}
