//! The format of an answer: rows 5, 31, 32, 34; D11, D24; B6, B16.

use crate::harness::{Appliance, Settings, Way};
use serde_json::json;

/// Result for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Jwt,
    Json,
    NotAcceptable,
    Malformed,
}

use Form::{Json, Jwt, Malformed, NotAcceptable};

const JWT: &str = "application/token-introspection+jwt";

/// `Accept` lines; format for a resource server that accepts both; format for one that requires signed answers.
const TABLE: &[(&[&str], Form, Form)] = &[
    (&[], Json, Jwt),
    (&[""], Json, Jwt),
    (&["*/*"], Json, Jwt),
    (&["application/*"], Json, Jwt),
    (&["application/json"], Json, NotAcceptable),
    (&[JWT], Jwt, Jwt),
    (&["APPLICATION/Token-Introspection+JWT"], Jwt, Jwt),
    (&["application/token-introspection+jwt; charset=utf-8"], Jwt, Jwt),
    (&["application/token-introspection+jwt, application/json"], Jwt, Jwt),
    (&["application/json, application/token-introspection+jwt"], Jwt, Jwt),
    (&["application/json", JWT], Jwt, Jwt),
    (&[JWT, JWT], Jwt, Jwt),
    (&["application/json, application/token-introspection+jwt;q=0.9"], Json, Jwt),
    (&["application/json;q=0.8, application/token-introspection+jwt;q=0.9"], Jwt, Jwt),
    (&["application/json;Q=0.8, application/token-introspection+jwt;Q=1"], Jwt, Jwt),
    (&["application/json;q=0.5, */*;q=0.1"], Json, Jwt),
    (&["application/token-introspection+jwt;q=0.1, */*"], Json, Jwt),
    (&["application/token-introspection+jwt;q=0, */*"], Json, NotAcceptable),
    (&["application/json;q=0, */*"], Jwt, Jwt),
    (&["application/*+jwt"], NotAcceptable, NotAcceptable),
    (&["application/jwt"], NotAcceptable, NotAcceptable),
    (&["application/token-userinfo+jwt"], NotAcceptable, NotAcceptable),
    (&["text/html, text/*"], NotAcceptable, NotAcceptable),
    (&["*/*;q=0"], NotAcceptable, NotAcceptable),
    (&["text/plain;a=\"x, application/json\""], NotAcceptable, NotAcceptable),
    (&["text/plain;a=\"x,y\", application/token-introspection+jwt"], Jwt, Jwt),
    (&["application/token-introspection+jwt;q=0."], NotAcceptable, NotAcceptable),
    (&["application/token-introspection+jwt;q=1.000"], Jwt, Jwt),
    (&["application/token-introspection+jwt;q=1.001"], Malformed, Malformed),
    (&["application/token-introspection+jwt;q=.5"], Malformed, Malformed),
    (&["application/token-introspection+jwt;q=2"], Malformed, Malformed),
    (&["application/token-introspection+jwt;q="], Malformed, Malformed),
    (&["application"], Malformed, Malformed),
    (&["*/json"], NotAcceptable, NotAcceptable),
];

#[test]
fn the_accept_header_decides_between_jwt_and_json_and_a_signed_answer_is_never_replaced_by_an_unsigned_one() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.client_credentials("shop", &[("scope", "accounts:read payments:status")]).token();
    let mut wrong = Vec::new();
    for (accept, flexible, strict) in TABLE {
        for (caller, expected) in [("accounts-api", flexible), ("payments-api", strict)] {
            let call =
                appliance.call("POST", &appliance.endpoint("introspect")).by(caller).form("token", &token);
            let answer = accept.iter().fold(call, |call, line| call.header("accept", line)).send();
            assert_eq!(answer.header("vary"), Some("Accept"), "{accept:?}");
            let found = match (answer.status, answer.header("content-type")) {
                (200, Some(JWT)) => {
                    assert_eq!(answer.jwt().inner()["active"], true);
                    Jwt
                }
                (200, Some("application/json")) => {
                    assert_eq!(answer.json()["active"], json!(true));
                    Json
                }
                (406, _) => {
                    answer.is_refused(406, "invalid_request", "row 32");
                    NotAcceptable
                }
                (400, _) => {
                    answer.is_refused(400, "invalid_request", "row 31");
                    Malformed
                }
                _ => panic!("{accept:?}: {answer:?}"),
            };
            if found != *expected {
                wrong.push(format!("{accept:?} by {caller}: expected {expected:?}, found {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    appliance.finish();
}
