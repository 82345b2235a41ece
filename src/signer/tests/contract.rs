//! The double of the signer and the real one say the same to the same gateway.

use super::*;
use crate::signer::Double;

/// What a signer says to a gateway of another version, to one with other rules, and to each ask of one with its own, in
/// words that hold neither keys nor randomness.
fn exchange(config: &Config, now: NumericDate, serve: &(dyn Fn(UnixStream) + Sync)) -> Vec<String> {
    std::thread::scope(|scope| {
        let connect = |version, rules| {
            let (gateway, theirs) = UnixStream::pair().unwrap();
            scope.spawn(move || serve(theirs));
            let hello = Hello { version, config: config.digest(), rules, checkpoint: None };
            frame::write_one(&gateway, &hello).unwrap();
            let welcome: Welcome = frame::read_one(&gateway).unwrap();
            (gateway, welcome)
        };
        let mut said = Vec::new();
        for (version, rules) in [(PROTOCOL_VERSION + 1, config.rules()), (PROTOCOL_VERSION, config.digest())]
        {
            let (mut gateway, welcome) = connect(version, rules);
            said.push(match welcome {
                Welcome::Refused { .. } => "refused".to_owned(),
                Welcome::OtherRules { rules } => format!("other rules than {rules}"),
                other => panic!("{other:?}"),
            });
            assert_eq!(gateway.read(&mut [0]).unwrap(), 0, "the connection ends");
        }
        let (mut gateway, welcome) = connect(PROTOCOL_VERSION, config.rules());
        let Welcome::Accepted { documents, .. } = welcome else { panic!("{welcome:?}") };
        for outcome in answers(&mut gateway, asks(now)) {
            said.push(match outcome {
                message::Outcome::Done { body } if !body.is_empty() && !body.starts_with('{') => {
                    words(&documents.keys, &body)
                }
                other => format!("{other:?}"),
            });
        }
        frame::write_one(&gateway, &"what").unwrap();
        // Behind what is no request nothing is answered: what comes has the number 0.
        let mut rest = Vec::new();
        gateway.read_to_end(&mut rest).unwrap();
        let mut frames = frame::Frames::default();
        frames.push(&rest);
        while let Some(frame) = frames.next().unwrap() {
            assert_eq!(message::Response::decode(frame).unwrap().number, 0);
        }
        said
    })
}

/// Header and claims of a JWT whose signature a published key verifies.
fn words(keys: &[message::PublishedKey], jwt: &str) -> String {
    let (input, signature) = jwt.rsplit_once('.').unwrap();
    let read =
        |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let (header, payload) = input.split_once('.').unwrap();
    let (mut header, mut claims) = (read(header), read(payload));
    let key = keys.iter().find(|key| header["kid"] == *key.jwk.kid.as_deref().unwrap()).unwrap();
    let public = PublicKey::from_jwk(Algorithm::ES256, &key.jwk).unwrap();
    public.verify(input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    header["kid"] = json!(format!("{:?}", key.purpose));
    // 128 random bits.
    if claims.get("token_introspection").is_some() {
        claims["jti"] = json!(claims["jti"].as_str().unwrap().len());
    }
    format!("{header} {claims}")
}

/// Of each kind one that is done and one that a rule forbids.
fn asks(now: NumericDate) -> Vec<Value> {
    let context = |caller: &str| json!({"request_id": "r-1", "caller": caller, "method": "client_secret_basic", "peer": "192.0.2.1"});
    let grant = json!({
        "subject": "shop", "client_id": "shop", "origin": "own-right", "audience": ["https://payments.example"],
        "scope": "payments:status",
    });
    let introspection = |caller: &str, format: &str, active: bool, iat: NumericDate| {
        let active = active.then(|| json!({"iat": now, "exp": now.0 + 60, "grant": grant.clone()}));
        json!({"introspection": {
            "context": context(caller), "format": format, "token": TokenHash([7; 32]), "known": active.is_some(),
            "iat": iat, "active": active, "reasons": [],
        }})
    };
    let token = |opaque: bool, lives: i64| {
        json!({"token": {
            "context": context("shop"), "opaque": opaque.then_some(TokenHash([7; 32])), "jti": "t-1", "iat": now,
            "exp": now.0 + lives, "grant": grant,
        }})
    };
    let revocation = |caller: &str| json!({"revocation": {"context": context(caller), "token": TokenHash([7; 32]), "format": "opaque", "jti": "t-1"}});
    let refusal = |caller: &str| json!({"refusal": {"context": context(caller), "reason": "assertion-replayed", "jti": "a-1"}});
    vec![
        introspection("payments-api", "jwt", true, now),
        introspection("payments-api", "jwt", false, now),
        introspection("payments-api", "json", true, now),
        introspection("payments-api", "json", false, now),
        introspection("payments-api", "jwt", false, NumericDate(now.0 - 3_600)),
        introspection("shop", "jwt", false, now),
        token(true, 60),
        token(false, 60),
        token(true, 1_000_000),
        token(false, 1_000_000),
        revocation("shop"),
        revocation("payments-api"),
        refusal("shop"),
        refusal("unknown"),
        json!("self-test"),
    ]
}

test! {
fn the_double_keeps_the_contract_of_the_real_signer(token) {
    let config = made(token);
    let now = NumericDate(crate::clock::wall_unchecked().unix_seconds());
    let appliance = open(&config).unwrap();
    let identity = appliance.identity();
    let (ending, _ended) = channel();
    let service = Service::start(appliance, ending).unwrap();
    let real = exchange(&config, now, &|stream| service.serve(stream));
    assert!(service.finish(&identity));
    let double = Double::new(Arc::clone(&config));
    assert_eq!(exchange(&config, now, &|stream| drop(double.serve(&stream))), real);
    let forbidden = real.iter().filter(|said| said.starts_with("Forbidden")).count();
    assert_eq!((real.len(), forbidden), (17, 6), "{real:#?}");
}
}
