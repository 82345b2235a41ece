//! One request from its head to its reply: its name, its clock, its one log line and its counters.

use super::meters::{Endpoint, Meters};
use super::peer::Peer;
use super::reply::Reply;
use crate::claims::{ClientId, RequestId};
use crate::client::AuthenticatedClient;
use crate::clock;
use crate::door::message::Context;
use crate::jose::base64url;
use crate::random;
use axum::body::Body;
use axum::http::Response;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the visits to one listener have in common: the numbers, and the names of requests, which are unique across
/// restarts and no secret.
pub(super) struct Visits {
    meters: Arc<Meters>,
    series: String,
    next: AtomicU64,
}

impl Visits {
    /// Counted here; the names are a series of their own.
    pub(super) fn new(meters: Arc<Meters>) -> Self {
        Self { meters, series: base64url(random::bytes::<9>()), next: AtomicU64::new(1) }
    }

    #[expect(clippy::expect_used, reason = "base64url, a hyphen and digits are what a RequestId is made of")]
    fn name(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.series).parse().expect("the grammar of RequestId")
    }

    /// The head of a request has arrived.
    pub(super) fn begin(&self, endpoint: Endpoint, peer: Peer) -> Visit {
        if endpoint == Endpoint::Operations {
            // Operators keep a connection between two requests, as callers do.
            peer.connection().has_carried_a_caller();
        }
        Visit {
            endpoint,
            meters: Arc::clone(&self.meters),
            request_id: self.name(),
            peer,
            began: clock::monotonic_nanos(),
            caller: None,
            ended: false,
        }
    }
}

/// One request. It ends with [`Visit::end`]; dropped before, its client went away.
pub(super) struct Visit {
    endpoint: Endpoint,
    meters: Arc<Meters>,
    request_id: RequestId,
    peer: Peer,
    began: u64,
    caller: Option<ClientId>,
    ended: bool,
}

impl Visit {
    /// When the head had arrived, in nanoseconds of the monotonic clock.
    pub(super) fn began(&self) -> u64 {
        self.began
    }

    /// Where the request goes.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Where the request came from.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Which caller it is, once that is proved.
    pub(super) fn is_from(&mut self, caller: &ClientId) {
        self.peer.connection().has_carried_a_caller();
        self.caller = Some(caller.clone());
    }

    /// The caller and its request, for the record.
    pub(super) fn context(&self, caller: &AuthenticatedClient) -> Context {
        Context {
            request_id: self.request_id.clone(),
            caller: caller.client_id().clone(),
            method: caller.method(),
            peer: Some(self.peer.address()),
        }
    }

    /// The reply in HTTP's words; see [`Self::note`].
    pub(super) fn end(self, reply: Reply) -> Response<Body> {
        self.note(reply).into_response()
    }

    /// The counters and the one log line. Answers to proven callers have one each; of requests without a proven caller and of
    /// refusals, some lines a second stand for all.
    pub(super) fn note(mut self, reply: Reply) -> Reply {
        self.ended = true;
        if self.endpoint == Endpoint::Operations {
            return reply;
        }
        let nanos = clock::monotonic_nanos().saturating_sub(self.began);
        let (status, rule) = (reply.status(), reply.rule());
        let seconds = std::time::Duration::from_nanos(nanos).as_secs_f64();
        self.meters.replied(self.endpoint, status, rule, seconds);
        let ended = if self.caller.is_none() { rule.or(Some("answered")) } else { rule };
        let Some(stands_for) = self.line(ended) else { return reply };
        // The address stands only in the line of a failure, where its sender may have to be found.
        let peer = (status >= 400).then(|| self.peer.address());
        tracing::info!(
            request_id = %self.request_id,
            endpoint = self.endpoint.name(),
            client_id = self.caller.as_ref().map(display),
            status,
            rule,
            peer = peer.map(display),
            microseconds = nanos / 1_000,
            stands_for = (stands_for > 1).then_some(stands_for),
            "request"
        );
        reply
    }

    /// How many requests that ended by this rule the line stands for; `None` when none is due.
    fn line(&self, rule: Option<&'static str>) -> Option<u64> {
        match rule {
            Some(rule) => self.meters.floods.count(self.caller.as_ref(), rule, clock::monotonic_nanos()),
            None => Some(1),
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.ended || self.endpoint == Endpoint::Operations {
            return;
        }
        self.meters.abandoned.increment(1);
        let Some(stands_for) = self.line(Some("abandoned")) else { return };
        tracing::info!(
            request_id = %self.request_id,
            endpoint = self.endpoint.name(),
            client_id = self.caller.as_ref().map(display),
            microseconds = clock::monotonic_nanos().saturating_sub(self.began) / 1_000,
            stands_for = (stands_for > 1).then_some(stands_for),
            "the client went away before the reply"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::Progress;
    use super::*;

    #[test]
    fn no_two_requests_have_one_name() {
        let [one, other] = [(); 2].map(|()| Visits::new(Arc::new(Meters::new())));
        assert_ne!(one.name(), one.name());
        assert_ne!(one.name().as_str().get(..12), other.name().as_str().get(..12));
    }

    #[test]
    fn a_visit_that_gets_no_reply_is_counted_as_abandoned() {
        let meters = Arc::new(Meters::new());
        let visits = Visits::new(Arc::clone(&meters));
        let peer = Peer::new("192.0.2.7:1".parse().unwrap(), Arc::new(Progress::new(1)));
        for endpoint in [Endpoint::Token, Endpoint::Operations] {
            drop(visits.begin(endpoint, peer.clone()));
            drop(visits.begin(endpoint, peer.clone()).end(Reply::unknown_path()));
        }
        let text = meters.render("");
        assert!(text.contains("chancery_http_requests_abandoned_total 1"));
        assert!(text.contains("chancery_http_requests_total{endpoint=\"token\",status=\"404\"} 1"));
    }
}
