//! `POST …/revoke` (RFC 7009), for opaque tokens and `at+jwt` alike.

use super::front::{Admitted, Front};
use super::gate::{Gate, Permit, reply_by};
use super::reply::Reply;
use super::router::Handler;
use super::tokens::{Known, Tokens};
use super::visit::Visit;
use crate::claims::{NumericDate, TokenHash};
use crate::client::Party;
use crate::clock::Clock;
use crate::door::message::{Ask, RevocationAsk};
use crate::store::Store;
use axum::body::Body;
use axum::http::Request;
use std::sync::Arc;

/// What revocation needs.
pub(super) struct Revocation {
    front: Arc<Front>,
    tokens: Arc<Tokens>,
    store: Store,
    gate: Arc<Gate>,
    clock: Clock,
    body_bytes: usize,
}

impl Revocation {
    /// For bodies of at most `body_bytes`.
    pub(super) fn new(
        front: Arc<Front>,
        tokens: Arc<Tokens>,
        store: Store,
        gate: Arc<Gate>,
        clock: Clock,
        body_bytes: usize,
    ) -> Self {
        Self { front, tokens, store, gate, clock, body_bytes }
    }
}

impl Handler for Revocation {
    async fn answer(&self, visit: &mut Visit, request: Request<Body>) -> Result<Reply, Reply> {
        // Caller: a client; a resource server's credentials serve introspection alone (RFC 9701 §3).
        let Admitted { caller, parameters, permits, .. } =
            self.front.admit(visit, request, self.body_bytes).await?;
        let Party::Client(client) = caller.party() else { return Err(Reply::not_a_client()) };
        let token = parameters.required("token").map_err(|error| Reply::refused(&error))?;

        // Facts: which of our tokens it is. The keys that the signer published last do, so that a stolen opaque or
        // signed token can be revoked while the signer is down.
        let permit = self.gate.permit(&permits).await?;
        // Without any keys a JWT of ours would look unknown, and 200 be a lie.
        let last = self.gate.published().ok_or_else(|| Reply::unavailable("signer-down"))?;
        let hash = TokenHash::of(token);
        let Some(known) = self.tokens.find(token, hash, &last.published.access_token_keys)? else {
            return Ok(Reply::nothing_to_revoke());
        };

        // Rule: its own tokens only (RFC 7009 §2.1).
        if known.facts.grant.client_id != client.client_id {
            return Err(Reply::foreign_token());
        }

        // Revoke and record, in a task of its own: once the row says "revoked" the record must follow, also when the
        // client closes its connection in between.
        let record = RevocationAsk {
            context: visit.context(&caller),
            token: hash,
            format: known.facts.format,
            jti: known.facts.jti.clone(),
        };
        // Nothing here depends on expiry, and a stolen token can be revoked while the clock is in doubt.
        let now = NumericDate(self.clock.reading().time.unix_seconds());
        let due = permit.due();
        let effects = effects(self.store.clone(), Arc::clone(&self.gate), permit, known, now, record);

        // Reply.
        reply_by(due, tokio::spawn(effects)).await
    }
}

/// The order of effects: row, record, 200.
async fn effects(
    store: Store,
    gate: Arc<Gate>,
    permit: Permit,
    known: Known,
    now: NumericDate,
    record: RevocationAsk,
) -> Result<Reply, Reply> {
    if let Err(error) = store.revoke(known.key, now).await {
        tracing::error!(%error, "a revocation cannot be stored");
        // RFC 7009 §2.2.1: the client must take the token for valid still, and try again.
        return Err(Reply::unavailable("store-unwritable"));
    }
    // Point of no return: the token is inactive from here on. A crash now, or a signer that cannot record, leaves a
    // revocation without a record and the client without a 200. It tries again and comes through here again:
    // therefore a token that is revoked already is recorded once more, rather than perhaps never.
    let recorded = gate.ask(&permit, Ask::Revocation(record)).await?;
    Ok(Reply::revoked(recorded))
}
