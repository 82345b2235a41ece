//! Requests of callers to an appliance.

use super::{Answer, Appliance, Call, Grant, JWT_BEARER, Jwt};
use serde_json::Value;

impl Appliance {
    /// A call to the public listener.
    pub(crate) fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call::new(self, method, &self.public, path)
    }

    /// A call to the operations listener.
    pub(crate) fn operation(&self, path: &str) -> Call<'_> {
        Call::new(self, "GET", &self.operations, path)
    }

    /// Path of an endpoint: below the issuer's own.
    pub(crate) fn endpoint(&self, name: &str) -> String {
        let url = self.settings.issuer.split_once("://").unwrap().1;
        let path = url.find('/').map_or("", |start| &url[start..]).trim_end_matches('/');
        format!("{path}/{name}")
    }

    /// Introspects and ignores the result.
    pub(crate) fn introspection(&self, caller: &str, token: &str) -> Call<'_> {
        let call = self.call("POST", &self.endpoint("introspect")).by(caller).form("token", token);
        call.header("accept", "application/token-introspection+jwt")
    }

    /// Introspects: a signed answer, verified.
    pub(crate) fn introspect(&self, caller: &str, token: &str) -> Jwt {
        let jwt = self.introspection(caller, token).send().jwt();
        jwt.verify(&self.jwks());
        jwt
    }

    /// Asks for a token.
    pub(crate) fn token(&self, client: &str, parameters: &[(&str, &str)]) -> Answer {
        self.call("POST", &self.endpoint("token")).by(client).forms(parameters).send()
    }

    /// Asks for a token in the client's own right.
    pub(crate) fn client_credentials(&self, client: &str, parameters: &[(&str, &str)]) -> Answer {
        let call = self.call("POST", &self.endpoint("token")).by(client);
        call.form("grant_type", "client_credentials").forms(parameters).send()
    }

    /// Presents an assertion.
    pub(crate) fn assert(&self, client: &str, assertion: &str, parameters: &[(&str, &str)]) -> Answer {
        if assertion.len() > 32 {
            self.keep_secret(assertion);
        }
        let call = self.call("POST", &self.endpoint("token")).by(client);
        call.form("grant_type", JWT_BEARER).form("assertion", assertion).forms(parameters).send()
    }

    /// The grant of the design's case.
    pub(crate) fn the_case(&self) -> Grant {
        Grant::of_the_case(&self.settings.issuer)
    }

    /// The opaque token of the case.
    pub(crate) fn token_of_the_case(&self) -> String {
        self.assert("shop", &self.the_case().text(), &[]).token()
    }

    /// Revokes.
    pub(crate) fn revoke(&self, client: &str, token: &str) -> Answer {
        self.call("POST", &self.endpoint("revoke")).by(client).form("token", token).send()
    }

    /// The current keys.
    pub(crate) fn jwks(&self) -> Value {
        let answer = self.call("GET", &self.endpoint("jwks")).send();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The metadata.
    pub(crate) fn metadata(&self) -> Answer {
        let path = self.endpoint("").trim_end_matches('/').to_owned();
        self.call("GET", &format!("/.well-known/oauth-authorization-server{path}")).send()
    }
}
