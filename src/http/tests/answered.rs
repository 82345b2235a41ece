//! The endpoints up to their 200, with a signer that keeps the contract of the real one and needs no token.

use super::*;
use crate::claims::TokenFormat;
use crate::door::{Link, SignerState, keep_separate};
use crate::jose::{Algorithm, Jwk, PublicKey};
use crate::memory::LogMemory;
use crate::signer::{Double, Mood};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// More than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// A gateway, and the signer that it is connected to.
struct Served {
    gateway: Public,
    signer: Arc<Double>,
    /// Ends the connection when it is dropped.
    _going_on: watch::Sender<bool>,
}

/// `shop` gets tokens of this form; a request has `answer_time`, and waits so long for a signer that is away.
async fn served(form: TokenFormat, answer_time: Duration) -> Served {
    let mut config = config();
    config.http.limits.requests_per_second = 1_000;
    config.http.limits.answer_time = answer_time;
    for server in &mut config.resource_servers {
        Arc::get_mut(server).unwrap().access_token_formats = vec![TokenFormat::Opaque, TokenFormat::AtJwt];
    }
    Arc::get_mut(&mut config.clients[0]).unwrap().access_token_format = Some(form);
    let config = Arc::new(config);
    let client = SignerClient::new(answer_time);
    let gateway = public(&config, client.clone());
    let signer = Arc::new(Double::new(Arc::clone(&config)));
    let socket = gateway.directory.path().join("signer.sock");
    signer.listen(&socket);
    let (going_on, stop) = watch::channel(false);
    let memory = LogMemory::new(&config.audit.origin, String::new(), "").unwrap();
    let link = Link {
        client: client.clone(),
        config: watch::channel(config).1,
        checkpoints: watch::channel(memory).0,
        disagreement: watch::channel(None).0,
        stop,
    };
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    tokio::spawn(keep_separate(link, socket, user));
    client.watch().wait_for(|state| matches!(state, SignerState::Ready(_))).await.unwrap();
    Served { gateway, signer, _going_on: going_on }
}

impl Served {
    /// Status and body of a POST by this caller.
    async fn ask(&self, path: &str, caller: &str, body: &str) -> (u16, String) {
        text(self.gateway.reply(post(path, Some(caller), body.to_owned())).await).await
    }

    /// A new token of the shop.
    async fn token(&self) -> String {
        let (status, body) = self.ask("token", "shop", "grant_type=client_credentials").await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &answer["token_type"]), (200, &Value::from("Bearer")), "{body}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Whether the token is active, as a signed answer says whose key the gateway publishes.
    async fn is_active(&self, token: &str) -> bool {
        let mut request = post("introspect", Some("payments-api"), format!("token={token}"));
        let jwt = "application/token-introspection+jwt";
        request.headers_mut().insert("accept", jwt.parse().unwrap());
        let response = self.gateway.reply(request).await;
        assert_eq!(response.headers()["content-type"], jwt);
        assert_eq!(response.headers()["vary"], "Accept");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let (status, jwt) = text(response).await;
        assert_eq!(status, 200);
        let claims = self.verified(&jwt).await;
        assert_eq!(
            (&claims["iss"], &claims["aud"]),
            (&"https://as.example/:t/*1".into(), &"payments-api".into())
        );
        claims["token_introspection"]["active"].as_bool().unwrap()
    }

    async fn verified(&self, jwt: &str) -> Value {
        let keys = Request::get("/:t/*1/jwks").body(Body::empty()).unwrap();
        let (_, keys) = text(self.gateway.reply(keys).await).await;
        let keys: Value = serde_json::from_str(&keys).unwrap();
        let (input, signature) = jwt.rsplit_once('.').unwrap();
        let (header, payload) = input.split_once('.').unwrap();
        let read =
            |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        let kid = read(header)["kid"].clone();
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap();
        let key: Jwk = serde_json::from_value(key.clone()).unwrap();
        let key = PublicKey::from_jwk(Algorithm::ES256, &key).unwrap();
        key.verify(input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        read(payload)
    }
}

async fn text(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_either_form_is_issued_introspected_and_revoked() {
    for form in [TokenFormat::Opaque, TokenFormat::AtJwt] {
        let served = served(form, LONG).await;
        let token = served.token().await;
        assert_eq!(token.contains('.'), form == TokenFormat::AtJwt);
        if form == TokenFormat::AtJwt {
            assert_eq!(served.verified(&token).await["aud"], "https://payments-api.example");
        }
        assert!(served.is_active(&token).await);
        assert!(!served.is_active("another").await);
        let mut json = post("introspect", Some("payments-api"), format!("token={token}"));
        json.headers_mut().insert("accept", "application/json".parse().unwrap());
        let (_, answer) = text(served.gateway.reply(json).await).await;
        assert!(answer.starts_with("{\"active\":true,"), "{answer}");
        let revoke = format!("token={token}");
        assert_eq!(served.ask("revoke", "shop", &revoke).await, (200, String::new()));
        assert!(!served.is_active(&token).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_record_there_is_503_with_retry_after_and_a_revocation_stands_all_the_same() {
    let served = served(TokenFormat::Opaque, Duration::from_secs(3)).await;
    let token = served.token().await;
    let body = format!("token={token}");
    for mood in [Mood::Unavailable, Mood::Hangs] {
        served.signer.is(mood);
        let refused = async |path: &str, caller: &str, body: &str| {
            let response = served.gateway.reply(post(path, Some(caller), body.to_owned())).await;
            assert_eq!(response.headers()["retry-after"], "2");
            let (status, answer) = text(response).await;
            assert!(
                answer.starts_with("{\"error\":\"temporarily_unavailable\""),
                "{mood:?} {path}: {answer}"
            );
            assert_eq!(status, 503);
        };
        tokio::join!(
            refused("introspect", "payments-api", &body),
            refused("token", "shop", "grant_type=client_credentials"),
            refused("revoke", "shop", &body),
        );
        if mood == Mood::Unavailable {
            served.signer.is(Mood::Answers);
            assert!(!served.is_active(&token).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_asked_for_once_more_unless_that_would_make_a_second_token() {
    let served = served(TokenFormat::AtJwt, LONG).await;
    let token = served.token().await;
    served.signer.is(Mood::BreaksOff);
    assert!(served.is_active(&token).await, "over the next connection");
    served.signer.is(Mood::BreaksOff);
    assert_eq!(served.ask("token", "shop", "grant_type=client_credentials").await.0, 503);
    served.token().await;
}
