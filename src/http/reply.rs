//! Replies: the only place that knows status codes and headers.
//!
//! The body of an introspection answer, and a token that leaves, can only be made from a [`Recorded`]: no record, no
//! release (invariant 1). Everything else is a refusal, a public document or a number for the operator.

use crate::claims::AnswerFormat;
use crate::door::Recorded;
use crate::protocol::negotiation::{INTROSPECTION_JWT, JSON};
use crate::protocol::{ErrorCode, Issue, NegotiationError, OAuthError, token_response};
use axum::body::{Body, Bytes};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::Duration;
use zeroize::Zeroizing;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Seconds in which a signer is usually back.
const OUTAGE_RETRY: u32 = 2;

/// An access token that may leave, because its record is durable.
pub(super) enum IssuedToken {
    /// An `at+jwt`: the bytes that the record covers.
    AtJwt(Recorded),
    /// A random text, and the receipt for its record.
    Opaque(Zeroizing<String>, Recorded),
}

/// What is sent, before it is put into HTTP's words.
pub(super) struct Reply {
    status: StatusCode,
    content_type: Option<&'static str>,
    body: Bytes,
    /// Beside those that every reply has.
    headers: Vec<(HeaderName, HeaderValue)>,
    rule: Option<&'static str>,
}

/// Answers.
impl Reply {
    /// The answer to an introspection: RFC 9701 §5 or RFC 7662 §2.2.
    pub(super) fn introspection(format: AnswerFormat, recorded: Recorded) -> Self {
        let content_type = match format {
            AnswerFormat::Jwt => INTROSPECTION_JWT,
            AnswerFormat::Json => JSON,
        };
        Self::new(StatusCode::OK, Some(content_type), recorded.into_body())
    }

    /// A token (RFC 6749 §5.1).
    pub(super) fn token(issue: &Issue, token: IssuedToken) -> Self {
        let text = match token {
            IssuedToken::AtJwt(recorded) => Zeroizing::new(recorded.into_body()),
            IssuedToken::Opaque(text, _receipt) => text,
        };
        // RFC 6749 §5.1.
        Self::json(StatusCode::OK, &token_response(issue, &text))
            .with(PRAGMA, HeaderValue::from_static("no-cache"))
    }

    /// A revocation that is recorded (RFC 7009 §2.2).
    pub(super) fn revoked(_receipt: Recorded) -> Self {
        Self::new(StatusCode::OK, None, String::new())
    }

    /// Nothing of ours, so nothing to revoke: 200 as well (RFC 7009 §2.2).
    pub(super) fn nothing_to_revoke() -> Self {
        Self::new(StatusCode::OK, None, String::new()).because("unknown-token")
    }

    /// A public JSON document, made and recorded when it last changed.
    ///
    /// Not to be stored either: a key must be visible everywhere before it signs.
    pub(super) fn document(json: Bytes) -> Self {
        Self::new(StatusCode::OK, Some(JSON), json)
    }

    /// For the operator: 200 when `well`, else 503.
    pub(super) fn health(well: bool, value: &Value) -> Self {
        Self::json(if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, value)
    }

    /// For the operator's collector: the Prometheus text format.
    pub(super) fn metrics(text: String) -> Self {
        Self::new(StatusCode::OK, Some(PROMETHEUS), text)
    }
}

/// Refusals: always JSON (`tests/conformance.md`, row 35), whatever was asked for.
impl Reply {
    /// What a rule of the protocol refused (RFC 6749 §5.2).
    pub(super) fn refused(error: &OAuthError) -> Self {
        Self::error(status_of(error.code), error.code.name(), &error.description).because(error.rule)
    }

    /// A request whose shape is wrong.
    pub(super) fn malformed(rule: &'static str, description: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, "invalid_request", description).because(rule)
    }

    /// No `Host`, several, or none that names a host (RFC 9112 §3.2). Where that is unclear, so is where the request ends.
    pub(super) fn unhosted(description: &str) -> Self {
        Self::malformed("host", description).and_close()
    }

    /// A body in a transfer coding that is not spoken here (RFC 9112 §6.1). Where it ends is unclear, so the connection does.
    pub(super) fn unknown_coding() -> Self {
        let text = "expected a body that is sent as it is, or chunked once";
        Self::error(StatusCode::NOT_IMPLEMENTED, "invalid_request", text)
            .because("transfer-coding")
            .and_close()
    }

    /// A head that cannot be read or is too large: what hyper refuses with this status.
    pub(super) fn unreadable(status: StatusCode) -> Self {
        let text = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "expected a head of fewer bytes and fields",
            StatusCode::URI_TOO_LONG => "expected a shorter target",
            _ => "expected the head of a request as HTTP/1.1 has it (RFC 9112)",
        };
        Self::error(status, "invalid_request", text).because("head-unreadable").and_close()
    }

    /// Credentials that are wrong; with a challenge if they came in the `Authorization` header (RFC 6749 §5.2).
    pub(super) fn wrong_credentials(rule: &'static str, header_used: bool) -> Self {
        let reply = Self::error(StatusCode::UNAUTHORIZED, "invalid_client", "client authentication failed")
            .because(rule);
        if header_used {
            reply.with(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"chancery\""))
        } else {
            reply
        }
    }

    /// A bearer token instead of client authentication at introspection (RFC 7662 §2.3, RFC 6750 §3).
    pub(super) fn wrong_bearer(rule: &'static str) -> Self {
        let text = "no bearer token is taken here; authenticate as a client";
        Self::error(StatusCode::UNAUTHORIZED, "invalid_token", text).because(rule).with(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"chancery\", error=\"invalid_token\""),
        )
    }

    /// An authenticated caller that is no resource server asks about a token (RFC 9701 §3).
    pub(super) fn not_a_resource_server() -> Self {
        let text = "this client is not registered as a resource server and may not introspect";
        Self::error(StatusCode::FORBIDDEN, "unauthorized_client", text).because("not-a-resource-server")
    }

    /// A resource server at an endpoint for clients (RFC 9701 §3): its credentials serve the calls that it needs.
    pub(super) fn not_a_client() -> Self {
        let text = "this caller is registered as a resource server, which may only introspect";
        Self::error(StatusCode::BAD_REQUEST, "unauthorized_client", text).because("not-a-client")
    }

    /// A token of another client is not revoked, and the caller is told so (RFC 7009 §2.1).
    pub(super) fn foreign_token() -> Self {
        let text = "the token was issued to another client";
        Self::error(StatusCode::BAD_REQUEST, "unauthorized_client", text).because("foreign-token")
    }

    /// `Accept` cannot be read (400) or names nothing that this caller may have (406, RFC 9110 §15.5.7).
    pub(super) fn not_negotiable(error: NegotiationError) -> Self {
        match error {
            NegotiationError::Malformed => Self::malformed("accept-malformed", "Accept cannot be read"),
            NegotiationError::NotAcceptable => {
                let text = format!("expected an Accept header that allows {INTROSPECTION_JWT}");
                Self::error(StatusCode::NOT_ACCEPTABLE, "invalid_request", &text).because("not-acceptable")
            }
        }
    }

    /// No such path.
    pub(super) fn unknown_path() -> Self {
        Self::error(StatusCode::NOT_FOUND, "not_found", "no such endpoint; see the metadata (RFC 8414)")
            .because("unknown-path")
    }

    /// Another method than those that the endpoint has.
    pub(super) fn wrong_method(allowed: &'static str) -> Self {
        let text = format!("expected {allowed}");
        Self::error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", &text)
            .because("wrong-method")
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// A body that is no form.
    pub(super) fn wrong_content_type() -> Self {
        let text = "expected a body of type application/x-www-form-urlencoded, not compressed";
        Self::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", text).because("wrong-content-type")
    }

    /// A body with more bytes than the endpoint takes. What follows on the connection is unread, so it ends.
    pub(super) fn body_too_large(most: usize) -> Self {
        let text = format!("expected a body of at most {most} bytes");
        Self::error(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", &text)
            .because("body-too-large")
            .and_close()
    }

    /// A body that did not come in time.
    pub(super) fn too_slow() -> Self {
        Self::error(StatusCode::REQUEST_TIMEOUT, "invalid_request", "the request did not arrive in time")
            .because("request-too-slow")
            .and_close()
    }

    /// A body that broke off.
    pub(super) fn body_broken() -> Self {
        Self::malformed("body-broken", "the body ended early or is not framed as HTTP/1.1 says").and_close()
    }

    /// More requests than this caller has; the next one may come after `wait`.
    pub(super) fn too_many(rule: &'static str, wait: Duration) -> Self {
        let text = "too many requests; wait as long as Retry-After says";
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::error(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", text)
            .because(rule)
            .with(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Signer or store cannot serve now; nothing signed, nothing told (`tests/conformance.md`, row 36).
    pub(super) fn unavailable(rule: &'static str) -> Self {
        let text = "the service cannot answer now; wait as long as Retry-After says";
        Self::error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", text)
            .because(rule)
            .with(RETRY_AFTER, HeaderValue::from(OUTAGE_RETRY))
    }

    /// A mistake of ours: the signer refused what the gateway's own rules had allowed.
    pub(super) fn our_fault() -> Self {
        let text = "the service made a mistake; its operator finds the reason in the log";
        Self::error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", text).because("signer-forbade")
    }
}

impl Reply {
    fn new(status: StatusCode, content_type: Option<&'static str>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { status, content_type, body, headers: Vec::new(), rule: None }
    }

    fn json(status: StatusCode, value: &Value) -> Self {
        Self::new(status, Some(JSON), value.to_string())
    }

    fn error(status: StatusCode, code: &str, description: &str) -> Self {
        Self::json(status, &json!({"error": code, "error_description": &*speakable(description)}))
    }

    fn because(mut self, rule: &'static str) -> Self {
        self.rule = Some(rule);
        self
    }

    fn and_close(self) -> Self {
        self.with(CONNECTION, HeaderValue::from_static("close"))
    }

    /// With one more header.
    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status, for the log line and the counters.
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The rule that refused, by its stable name; `None` for an answer.
    pub(super) fn rule(&self) -> Option<&'static str> {
        self.rule
    }

    /// The whole message, under a head that hyper wrote for a message without a body.
    pub(super) fn under(&self, head: &[u8]) -> Option<Vec<u8>> {
        const EMPTY: &[u8] = b"content-length: 0\r\n";
        let at = head.windows(EMPTY.len()).position(|field| field == EMPTY)?;
        let (before, after) = (head.get(..at)?, head.get(at + EMPTY.len()..)?);
        let length = self.body.len();
        let fields =
            format!("content-type: {JSON}\r\ncache-control: no-store\r\ncontent-length: {length}\r\n");
        Some([before, fields.as_bytes(), after, &self.body].concat())
    }

    /// In HTTP's words. `Cache-Control: no-store` stands on everything (RFC 6749 §5.1, RFC 7662 §4,
    /// [D10](crate::manual::decisions#d10)).
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.reserve(6);
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}

fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Only the characters that RFC 6749 §5.2 allows in `error_description`.
fn speakable(text: &str) -> Cow<'_, str> {
    let allowed = |c: char| matches!(c, ' ' | '!' | '#'..='[' | ']'..='~');
    if text.chars().all(allowed) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().map(|c| if allowed(c) { c } else { '\'' }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(reply: Reply, name: &str) -> Option<String> {
        let response = reply.into_response();
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn every_refusal_is_json_that_is_not_to_be_stored() {
        for reply in [
            Reply::malformed("accept-malformed", "Accept cannot be read"),
            Reply::wrong_credentials("wrong", true),
            Reply::not_a_resource_server(),
            Reply::not_negotiable(NegotiationError::NotAcceptable),
            Reply::unknown_path(),
            Reply::wrong_method("POST"),
            Reply::body_too_large(1),
            Reply::too_slow(),
            Reply::too_many("caller-rate", Duration::ZERO),
            Reply::unreadable(StatusCode::BAD_REQUEST),
            Reply::unavailable("signer-down"),
            Reply::our_fault(),
        ] {
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            assert!(body["error"].is_string() && body["error_description"].is_string());
            assert!(reply.rule().is_some());
            let response = reply.into_response();
            assert_eq!(response.headers()["content-type"], "application/json");
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
    }

    #[test]
    fn wrong_credentials_are_challenged_only_if_they_came_in_the_header() {
        let challenge = header(Reply::wrong_credentials("wrong", true), "www-authenticate");
        assert_eq!(challenge.as_deref(), Some("Basic realm=\"chancery\""));
        assert_eq!(header(Reply::wrong_credentials("wrong", false), "www-authenticate"), None);
    }

    #[test]
    fn a_caller_that_must_wait_is_told_how_long() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (337_500, "338")] {
            let reply = Reply::too_many("caller-rate", Duration::from_millis(millis));
            assert_eq!(header(reply, "retry-after").as_deref(), Some(seconds));
        }
        assert_eq!(header(Reply::unavailable("signer-down"), "retry-after").as_deref(), Some("2"));
    }

    #[test]
    fn a_wrong_method_is_answered_with_the_right_ones() {
        assert_eq!(header(Reply::wrong_method("POST"), "allow").as_deref(), Some("POST"));
    }

    #[test]
    fn a_description_keeps_to_the_characters_of_rfc_6749() {
        assert_eq!(speakable("a \"b\" \\ \n ü"), "a 'b' ' ' '");
        assert!(matches!(speakable("plain text."), Cow::Borrowed(_)));
    }
}
