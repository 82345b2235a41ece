//! HTTP calls of callers, with an independent client. Responses are kept for the end of the test.

use super::{Appliance, Jwt, Party};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::time::Duration;
use ureq::http::{Method, Request};

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of the only header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values =
            self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands twice");
        value
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("no JSON ({why}): {self:?}"))
    }

    /// The body as a signed introspection answer, not verified.
    pub(crate) fn jwt(&self) -> Jwt {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/token-introspection+jwt"), "{self:?}");
        Jwt::read(self.text())
    }

    /// The token that was issued.
    pub(crate) fn token(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["access_token"].as_str().expect("access_token").to_owned()
    }

    /// A refusal: status and error code; it is JSON that is not cached, without other members (row 35).
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        assert!(self.status >= 400, "expected a refusal, found {self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        let json = self.json();
        assert_eq!(super::members(&json), ["error", "error_description"], "{self:?}");
        (self.status, json["error"].as_str().unwrap().to_owned())
    }

    /// A refusal of this kind.
    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16, error: &str, case: &str) {
        assert_eq!(self.refusal(), (status, error.to_owned()), "{case}: {}", self.text());
    }

    /// 503 with the time to wait, without token data.
    #[track_caller]
    pub(crate) fn is_unavailable(&self) {
        self.is_refused(503, "temporarily_unavailable", "unavailable");
        let wait: u32 = self.header("retry-after").expect("Retry-After").parse().unwrap();
        assert!((1..=60).contains(&wait));
    }
}

/// A request being built.
pub(crate) struct Call<'a> {
    appliance: &'a Appliance,
    method: Method,
    url: String,
    path: String,
    headers: Vec<(String, String)>,
    form: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl<'a> Call<'a> {
    pub(super) fn new(appliance: &'a Appliance, method: &str, base: &str, path: &str) -> Self {
        Self {
            appliance,
            method: method.parse().unwrap(),
            url: format!("{base}{path}"),
            path: path.to_owned(),
            headers: Vec::new(),
            form: Vec::new(),
            body: None,
        }
    }

    /// With this header, beside others of its name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this parameter.
    pub(crate) fn form(mut self, name: &str, value: &str) -> Self {
        self.form.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these parameters.
    pub(crate) fn forms(self, pairs: &[(&str, &str)]) -> Self {
        pairs.iter().fold(self, |call, (name, value)| call.form(name, value))
    }

    /// With this body instead of a form; the test sets its type as a header.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Authenticated as the configuration has it.
    pub(crate) fn by(self, id: &str) -> Self {
        let party = self.appliance.settings.party(id).clone();
        self.by_party(&party)
    }

    /// Authenticated as this caller.
    pub(crate) fn by_party(self, party: &Party) -> Self {
        if party.basic {
            self.header("authorization", &basic(party.id, &party.secret))
        } else {
            self.form("client_id", party.id).form("client_secret", &party.secret)
        }
    }

    /// Makes the call; an answer must come.
    pub(crate) fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.url);
        self.try_send().unwrap_or_else(|why| panic!("{what}: {why}"))
    }

    /// Makes the call; the server may end meanwhile.
    pub(crate) fn try_send(self) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let token = self.form.iter().find(|(name, _)| name == "token").map(|(_, value)| value.clone());
        let bodiless = [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS].contains(&self.method);
        let response = if bodiless {
            self.appliance.agent().run(request.body(()).unwrap())?
        } else {
            let body = self.body.unwrap_or_else(|| {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(&self.form).finish().into_bytes()
            });
            if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request = request.header("content-type", "application/x-www-form-urlencoded");
            }
            self.appliance.agent().run(request.body(body).unwrap())?
        };
        let (parts, mut body) = response.into_parts();
        let text = |v: &ureq::http::HeaderValue| v.to_str().unwrap().to_owned();
        let answer = Answer {
            status: parts.status.as_u16(),
            headers: parts.headers.iter().map(|(n, v)| (n.to_string(), text(v))).collect(),
            body: body.with_config().limit(16 << 20).read_to_vec()?,
        };
        self.appliance.received(&self.path, token.as_deref(), &answer);
        Ok(answer)
    }
}

/// `client_secret_basic` (RFC 6749 §2.3.1); no name or secret here needs escapes.
pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// A client without defaults: no `Accept`, no proxy, no redirects.
pub(super) fn agent(ca: Option<&[u8]>) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .accept(ureq::config::AutoHeaderValue::None)
        .accept_encoding(ureq::config::AutoHeaderValue::None)
        .proxy(None)
        .max_redirects(0)
        .max_idle_connections_per_host(32)
        .timeout_global(Some(Duration::from_secs(60)));
    if let Some(ca) = ca {
        let roots = ureq::tls::RootCerts::new_with_certs(&[ureq::tls::Certificate::from_pem(ca).unwrap()]);
        config = config.tls_config(ureq::tls::TlsConfig::builder().root_certs(roots).build());
    }
    config.build().into()
}
