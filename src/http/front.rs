//! The first beat of every endpoint with callers: the caller is identified, and its rate checked.
//!
//! In this order ([D2](crate::manual::decisions#d2)): type and size of the body, its form, authentication, the caller's
//! rate. What follows (required parameters, `Accept`, the token) is the endpoint's.

use super::limits::{Bucket, Failures};
use super::meters::Endpoint;
use super::reply::Reply;
use super::visit::Visit;
use crate::claims::ClientId;
use crate::client::{AuthError, AuthenticatedClient, Directory, Presented, authenticate, claimed_client_id};
use crate::clock;
use crate::config::Config;
use crate::protocol::{ClientParameters, Parameters};
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bytes of a body that is too large which are read and thrown away, so that its sender gets to read the refusal
/// instead of a reset connection (RFC 9112 §9.6).
const DISCARDED: usize = 1 << 20;

/// What a caller that fails too often is told to wait: both budgets are those of a second.
const RETRY_FAILED: Duration = Duration::from_secs(1);

/// The callers of a configuration, and how often each may ask.
pub(super) struct Front {
    directory: Directory,
    allowances: HashMap<ClientId, Allowance>,
    failures: Failures,
    parameters: usize,
    request_time: Duration,
}

/// What one caller may have.
struct Allowance {
    rate: Bucket,
    permits: CallerPermits,
}

/// How many requests of one caller are at the signer at once, `limits.in_flight_per_caller`: the next one waits for one of
/// them to end, and delays no other caller. A reload begins with all of them.
#[derive(Clone)]
pub(super) struct CallerPermits(pub(super) Arc<Semaphore>);

impl CallerPermits {
    /// So many at once.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))))
    }
}

/// A request of a caller that has proved itself.
pub(super) struct Admitted {
    /// The caller.
    pub(super) caller: AuthenticatedClient,
    /// What it sent.
    pub(super) parameters: Parameters,
    /// How it wants the answer, among others.
    pub(super) headers: HeaderMap,
    /// How many of its requests are at the signer at once.
    pub(super) permits: CallerPermits,
}

impl Front {
    /// For the callers of this configuration.
    pub(super) fn new(config: &Config) -> Self {
        let limits = &config.http.limits;
        let servers = config.resource_servers.iter().map(|rs| rs.client_id.clone());
        let clients = config.clients.iter().map(|client| client.client_id.clone());
        let allowance = || Allowance {
            rate: Bucket::per_second(limits.requests_per_second),
            permits: CallerPermits::new(limits.in_flight_per_caller),
        };
        Self {
            directory: Directory::new(config),
            allowances: servers.chain(clients).map(|id| (id, allowance())).collect(),
            failures: Failures::per_second(limits.failures_per_second, limits.address_failures_per_second),
            parameters: limits.parameters,
            request_time: limits.request_time,
        }
    }

    /// Admits a request with a body of at most `most` bytes.
    pub(super) async fn admit(
        &self,
        visit: &mut Visit,
        request: Request<Body>,
        most: usize,
    ) -> Result<Admitted, Reply> {
        let (head, body) = request.into_parts();
        if !is_form(&head.headers) {
            return Err(Reply::wrong_content_type());
        }
        let body = tokio::time::timeout(self.request_time, read(body, most))
            .await
            .map_err(|_| Reply::too_slow())??;
        let parameters = Parameters::parse(&body, self.parameters).map_err(|error| Reply::refused(&error))?;
        let caller = self.authenticate(visit, &head.headers, &parameters)?;
        visit.is_from(caller.client_id());
        // The directory knows none but these.
        let Some(Allowance { rate, permits }) = self.allowances.get(caller.client_id()) else {
            return Err(Reply::unavailable("caller-unknown"));
        };
        rate.take(visit.began()).map_err(|wait| Reply::too_many("caller-rate", wait))?;
        Ok(Admitted { caller, parameters, headers: head.headers, permits: permits.clone() })
    }

    fn authenticate(
        &self,
        visit: &Visit,
        headers: &HeaderMap,
        parameters: &Parameters,
    ) -> Result<AuthenticatedClient, Reply> {
        let authorization: Option<Vec<&str>> =
            headers.get_all(AUTHORIZATION).iter().map(|line| line.to_str().ok()).collect();
        let Some(authorization) = authorization else {
            return Err(self.unproved(visit, AuthError::Malformed, None));
        };
        let ClientParameters { client_id, client_secret } = parameters.client().map_err(|error| {
            // One method that is not known here is one; beside another it makes two (RFC 6749 §2.3).
            if authorization.is_empty() && parameters.get("client_secret").is_none() {
                Reply::refused(&error)
            } else {
                self.unproved(visit, AuthError::Several, None)
            }
        })?;
        let presented = Presented { authorization: &authorization, client_id, client_secret };
        authenticate(&self.directory, &presented)
            .map_err(|error| self.unproved(visit, error, claimed_client_id(&presented).as_deref()))
    }

    /// 400 without usable credentials and 401 with wrong ones (RFC 9701 §5, RFC 7662 §2.3,
    /// [D2](crate::manual::decisions#d2)), or 429 when its address has failed too often. The secret was
    /// compared before, so that no caller with the right one comes here.
    fn unproved(&self, visit: &Visit, error: AuthError, claimed: Option<&str>) -> Reply {
        if matches!(error, AuthError::Bearer | AuthError::Wrong { .. })
            && !self.failures.take(visit.peer().source(), claimed, clock::monotonic_nanos())
        {
            return Reply::too_many("failed-authentications", RETRY_FAILED);
        }
        match error {
            AuthError::Missing | AuthError::Several | AuthError::Malformed => {
                Reply::malformed(error.rule(), &error.to_string())
            }
            AuthError::Bearer if visit.endpoint() == Endpoint::Introspect => {
                Reply::wrong_bearer(error.rule())
            }
            AuthError::Bearer => Reply::wrong_credentials(error.rule(), true),
            AuthError::Wrong { header_used } => Reply::wrong_credentials(error.rule(), header_used),
        }
    }
}

/// Whether the head announces a plain form (RFC 6749 §3.2); parameters of the media type are tolerated.
fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let media_type = one.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
        && !headers.contains_key(CONTENT_ENCODING)
}

async fn read(body: Body, most: usize) -> Result<Bytes, Reply> {
    // A length that is announced is judged before a byte is kept.
    if HttpBody::size_hint(&body).lower() > most as u64 {
        discard(body).await;
        return Err(Reply::body_too_large(most));
    }
    let mut limited = Limited::new(body, most);
    let mut first: Option<Bytes> = None;
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = limited.frame().await {
        let data = match frame {
            Ok(frame) => frame.into_data(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(Reply::body_too_large(most));
            }
            Err(_) => return Err(Reply::body_broken()),
        };
        // Trailers say nothing to us.
        let Ok(data) = data else { continue };
        match &first {
            None => first = Some(data),
            Some(start) => {
                if rest.is_empty() {
                    rest.extend_from_slice(start);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    // Nearly every body comes in one piece and is not copied.
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.into() })
}

async fn discard(mut body: Body) {
    let mut seen = 0;
    while seen <= DISCARDED {
        match body.frame().await {
            Some(Ok(frame)) => seen += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        is_form(&map)
    }

    #[test]
    fn only_one_plain_form_is_a_form() {
        assert!(form(&[("content-type", "application/x-www-form-urlencoded")]));
        assert!(form(&[("content-type", "Application/X-WWW-Form-URLencoded ; charset=UTF-8")]));
        assert!(!form(&[]));
        assert!(!form(&[("content-type", "application/json")]));
        assert!(!form(&[("content-type", "application/x-www-form-urlencoded-x")]));
        let urlencoded = ("content-type", "application/x-www-form-urlencoded");
        assert!(!form(&[urlencoded, urlencoded]));
        assert!(!form(&[urlencoded, ("content-encoding", "gzip")]));
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit_and_no_further() {
        assert_eq!(read(Body::from("12345"), 5).await.ok().as_deref(), Some(&b"12345"[..]));
        assert_eq!(read(Body::empty(), 5).await.ok().as_deref(), Some(&b""[..]));
        let refused = read(Body::from("123456"), 5).await.err().map(|reply| reply.status());
        assert_eq!(refused, Some(413));
    }
}
