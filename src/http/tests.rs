//! The endpoints with everything behind them except a signer: who is refused, in which order, with which words.

mod answered;

use super::peer::Peer;
use super::reply::Reply;
use super::*;
use crate::clock::TimeSource;
use crate::config::testing;
use crate::sha256::sha256;
use axum::RequestExt;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;

/// `payments-api`, `signed-api` (signed answers only) and `shop`, each with the secret `secret-of-` and its name.
fn config() -> Config {
    let caller = |name: &str| {
        let hash = hex::encode(sha256(format!("secret-of-{name}").as_bytes()));
        format!("client_id = {name:?}\nclient_secret_sha256 = {hash:?}\n")
    };
    let server = |name: &str| {
        let caller = caller(name);
        format!(
            "[[resource_servers]]\n{caller}resource = \"https://{name}.example\"\nscopes = [\"{name}:use\"]\n\
             introspection_signed_response_alg = \"ES256\"\n"
        )
    };
    testing::config(&format!(
        r#"issuer = "https://as.example/:t/*1"
        [http.limits]
        body_bytes = "1KiB"
        introspection_body_bytes = "2KiB"
        parameters = 10
        json_depth = 8
        request_time = "200ms"
        connections = 8
        requests_per_second = 5
        failures_per_second = 3
        address_failures_per_second = 100
        inactive_per_second = 5
        in_flight = 8
        in_flight_per_caller = 3
        signer_wait = "0s"
        {}{}require_signed_response = true
        [[clients]]
        {}grant_types = ["client_credentials"]
        resources = ["https://payments-api.example"]
        scope = "payments-api:use"
        "#,
        server("payments-api"),
        server("signed-api"),
        caller("shop"),
    ))
}

/// The public side of a gateway.
struct Public {
    site: Site,
    store: Store,
    directory: tempfile::TempDir,
}

fn gate(config: &Arc<Config>, signer: SignerClient) -> Arc<Gate> {
    let (_, live) = watch::channel(Arc::clone(config));
    Arc::new(Gate::new(live, signer, Lag::default()))
}

fn public(config: &Arc<Config>, signer: SignerClient) -> Public {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("state.db")).unwrap();
    let clock = Clock::start(TimeSource::system(), None);
    let gate = gate(config, signer);
    let site = Site::new(public_routes(config, &store, &gate, &clock, &Arc::new(Meters::new())));
    Public { site, store, directory }
}

/// Without a signer.
fn alone() -> Public {
    public(&Arc::new(config()), SignerClient::new(Duration::ZERO))
}

fn peer(address: &str) -> Peer {
    Peer::new(address.parse().unwrap(), Arc::new(progress::Progress::new(1)))
}

fn post(path: &str, caller: Option<&str>, body: impl Into<Body>) -> Request<Body> {
    let mut request =
        Request::post(format!("/:t/*1/{path}")).header("content-type", "application/x-www-form-urlencoded");
    if let Some(name) = caller {
        request = request.header("authorization", basic(name, &format!("secret-of-{name}")));
    }
    request.body(body.into()).unwrap()
}

fn basic(name: &str, secret: &str) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}"));
    format!("Basic {text}")
}

impl Public {
    async fn reply(&self, mut request: Request<Body>) -> Response<Body> {
        request.headers_mut().entry("host").or_insert("as.example".parse().unwrap());
        let peer = request.extensions().get().cloned().unwrap_or_else(|| peer("192.0.2.7:1"));
        self.site.answer(peer, request).await.unwrap()
    }

    /// Status, `error`, and the rest of the response.
    async fn refusal(&self, request: Request<Body>) -> (u16, String) {
        let response = self.reply(request).await;
        let status = response.status().as_u16();
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        (status, body["error"].as_str().unwrap().to_owned())
    }
}

fn is(refusal: &(u16, String), status: u16, error: &str) -> bool {
    refusal.0 == status && refusal.1 == error
}

#[tokio::test]
async fn a_caller_without_credentials_gets_400_and_one_with_wrong_ones_401() {
    let alone = alone();
    for path in ["introspect", "token", "revoke"] {
        let none = alone.refusal(post(path, None, "token=x")).await;
        assert!(is(&none, 400, "invalid_request"), "{none:?}");
        let mut wrong = post(path, None, "token=x");
        wrong.headers_mut().insert("authorization", basic("shop", "guess").parse().unwrap());
        let wrong = alone.reply(wrong).await;
        assert_eq!(wrong.status(), 401);
        assert_eq!(wrong.headers()["www-authenticate"], "Basic realm=\"chancery\"");
    }
}

#[tokio::test]
async fn two_methods_in_one_request_are_refused_also_when_one_is_unknown_here() {
    let alone = alone();
    for (caller, body, status, error) in [
        (Some("shop"), "token=x&client_assertion=y", 400, "invalid_request"),
        (Some("shop"), "token=x&client_secret=y", 400, "invalid_request"),
        (None, "token=x&client_id=shop&client_secret=z&client_assertion=y", 400, "invalid_request"),
        (None, "token=x&client_assertion=y", 401, "invalid_client"),
    ] {
        let refusal = alone.refusal(post("revoke", caller, body)).await;
        assert!(is(&refusal, status, error), "{body}: {refusal:?}");
    }
}

#[tokio::test]
async fn a_party_gets_only_the_calls_that_it_needs() {
    let alone = alone();
    let client = alone.refusal(post("introspect", Some("shop"), "token=x")).await;
    assert!(is(&client, 403, "unauthorized_client"), "{client:?}");
    for path in ["token", "revoke"] {
        let server = alone.refusal(post(path, Some("payments-api"), "token=x")).await;
        assert!(is(&server, 400, "unauthorized_client"), "{server:?}");
    }
}

#[tokio::test]
async fn parameters_are_judged_before_accept_and_accept_before_the_token() {
    let alone = alone();
    let json = |mut request: Request<Body>| {
        request.headers_mut().insert("accept", "application/json".parse().unwrap());
        request
    };
    let missing = alone.refusal(json(post("introspect", Some("signed-api"), ""))).await;
    assert!(is(&missing, 400, "invalid_request"), "{missing:?}");
    let unsigned = alone.reply(json(post("introspect", Some("signed-api"), "token=x"))).await;
    assert_eq!(unsigned.status(), 406);
    assert_eq!(unsigned.headers()["vary"], "Accept");
    // The signer is down: no token is looked at, and nothing unsigned is said instead.
    let down = alone.reply(post("introspect", Some("signed-api"), "token=x")).await;
    assert_eq!(down.status(), 503);
    assert_eq!(down.headers()["vary"], "Accept");
    assert!(down.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_repeated_parameter_is_refused_whoever_sends_it() {
    let refused = alone().refusal(post("introspect", Some("payments-api"), "token=x&token=x")).await;
    assert!(is(&refused, 400, "invalid_request"), "{refused:?}");
}

#[tokio::test]
async fn a_signer_that_is_down_is_noticed_before_anything_is_stored() {
    let alone = alone();
    let down = alone.reply(post("token", Some("shop"), "grant_type=client_credentials")).await;
    assert_eq!(down.status(), 503);
    let far = crate::clock::settled_in_tests(9_000_000_000);
    assert_eq!(alone.store.forget_expired(far).await.unwrap(), 0);
}

#[tokio::test]
async fn a_caller_beyond_its_rate_waits_and_others_do_not() {
    let alone = alone();
    for _ in 0..5 {
        assert_eq!(alone.reply(post("introspect", Some("payments-api"), "token=x")).await.status(), 503);
    }
    let refused = alone.reply(post("introspect", Some("payments-api"), "token=x")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(alone.reply(post("introspect", Some("signed-api"), "token=x")).await.status(), 503);
}

#[tokio::test]
async fn a_guesser_gets_429_after_some_and_harms_neither_the_caller_that_it_guesses_nor_others() {
    let alone = alone();
    let guess = |name: &str| {
        let mut wrong = post("token", None, "");
        wrong.headers_mut().insert("authorization", basic(name, "guess").parse().unwrap());
        wrong
    };
    for name in ["shop", "unknown"] {
        for status in [401, 401, 401, 429, 429] {
            assert_eq!(alone.reply(guess(name)).await.status(), status, "{name}");
        }
    }
    let refused = alone.reply(guess("shop")).await;
    assert_eq!(refused.headers()["retry-after"], "1");
    // Its own caller, another one behind the same address, and the same one behind another address.
    assert_eq!(alone.reply(post("token", Some("shop"), "")).await.status(), 400);
    assert_eq!(alone.reply(post("introspect", Some("payments-api"), "")).await.status(), 400);
    let mut elsewhere = guess("shop");
    elsewhere.extensions_mut().insert(peer("192.0.2.8:1"));
    assert_eq!(alone.reply(elsewhere).await.status(), 401);
}

#[tokio::test]
async fn a_body_that_is_no_form_or_too_large_or_too_slow_is_refused_as_json() {
    let alone = alone();
    let mut json = post("token", Some("shop"), "{}");
    json.headers_mut().insert("content-type", "application/json".parse().unwrap());
    assert_eq!(alone.refusal(json).await.0, 415);
    assert_eq!(alone.refusal(post("token", Some("shop"), "x".repeat(1_025))).await.0, 413);
    let longer = post("introspect", Some("payments-api"), format!("token={}", "x".repeat(1_900)));
    assert_eq!(alone.refusal(longer).await.0, 503);
    // A connection over which no body ever comes.
    let (near, _far) = tokio::net::UnixStream::pair().unwrap();
    let never = Body::new(Never(near));
    assert_eq!(alone.refusal(post("token", Some("shop"), never)).await.0, 408);
}

/// A body that stays open and says nothing.
struct Never(tokio::net::UnixStream);

impl axum::body::HttpBody for Never {
    type Data = axum::body::Bytes;
    type Error = io::Error;
    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::task::ready!(self.0.poll_read_ready(cx))?;
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_told_so() {
    let alone = alone();
    let unknown = alone.refusal(Request::get("/t1/introspect").body(Body::empty()).unwrap()).await;
    assert!(is(&unknown, 404, "not_found"), "{unknown:?}");
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let request = Request::builder().method(method).uri("/:t/*1/introspect");
        let response = alone.reply(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"POST".parse().unwrap())
        );
    }
    let posted = alone.reply(post("jwks", None, "")).await;
    assert_eq!((posted.status().as_u16(), &posted.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    let keys = Request::get("/:t/*1/jwks").body(Body::empty()).unwrap();
    assert_eq!(alone.reply(keys).await.status(), 503);
    let path = "/.well-known/oauth-authorization-server/:t/*1";
    let metadata = Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(alone.reply(metadata).await.status(), 503);
}

/// Says which parameters it was given.
struct Trial;

impl router::Handler for Trial {
    async fn answer(&self, _: &mut visit::Visit, mut request: Request<Body>) -> Result<Reply, Reply> {
        let Path(parameters) = request.extract_parts::<Path<Vec<String>>>().await.unwrap();
        Ok(Reply::document(parameters.join(" and ").into()))
    }
}

#[tokio::test]
async fn a_pattern_takes_whole_segments_and_its_endpoint_alone_stands_in_the_metrics() {
    let meters = Arc::new(Meters::new());
    let gate = gate(&Arc::new(config()), SignerClient::new(Duration::ZERO));
    let routes = Routes::new(Visits::new(Arc::clone(&meters)), Endpoint::Unknown)
        .get("/x/known", Endpoint::Jwks, Document { gate, of: |publication| &publication.jwks })
        .post("/x/{id}", Endpoint::Token, Trial)
        .post("/x/{id}/of/{other}", Endpoint::Token, Trial);
    let site = Site::new(routes);
    let ask = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).header("host", "as.example");
        let response = site.answer(peer("192.0.2.7:1"), request.body(Body::empty()).unwrap()).await.unwrap();
        let allow = response.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, allow.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(ask("POST", "/x/a%2Fb?q=1").await, (200, String::new(), "a/b".to_owned()));
    assert_eq!(ask("POST", "/x/a/of/b").await.2, "a and b");
    for path in ["/x/", "/x", "/x/a/", "/x/a/b", "//x/a", "/x/a/of/"] {
        let (status, _, body) = ask("POST", path).await;
        assert!(status == 404 && body.starts_with("{\"error\":\"not_found\""), "{path}: {status} {body}");
    }
    let (status, allow, body) = ask("GET", "/x/a").await;
    assert!(status == 405 && allow == "POST" && body.starts_with("{\"error\":"), "{status} {allow} {body}");
    assert_eq!(ask("POST", "/x/known").await.1, "GET, HEAD", "a name goes before a parameter");
    let text = meters.render("");
    assert!(text.contains("chancery_http_requests_total{endpoint=\"token\",status=\"200\"} 2"), "{text}");
    assert!(!text.contains("a%2Fb"));
}
