//! The body of a request: `application/x-www-form-urlencoded` as OAuth uses it (RFC 6749 §3.2, appendix B).
//!
//! Ambiguous forms are refused, since a proxy may read them differently: invalid escapes, invalid UTF-8, repeated
//! names.

use super::error::{ErrorCode, OAuthError};
use crate::percent;
use zeroize::Zeroizing;

/// May be repeated (RFC 8707 §2).
const REPEATABLE: &str = "resource";

/// The parameters of one request. Values may be secrets: they are wiped on drop and have no `Debug`.
pub struct Parameters(Vec<(String, Zeroizing<String>)>);

/// The claimed client authentication (RFC 6749 §2.3.1), which the room `client` verifies.
pub struct ClientParameters<'a> {
    /// `client_id`.
    pub client_id: Option<&'a str>,
    /// `client_secret`.
    pub client_secret: Option<&'a str>,
}

impl Parameters {
    /// Parses a body of at most `most` parameters. An empty value counts as omitted (§3.2), but its name must not be
    /// repeated. `invalid_request` for any other form.
    pub fn parse(body: &[u8], most: usize) -> Result<Self, OAuthError> {
        // Names of omitted parameters.
        let mut empty: Vec<String> = Vec::new();
        let mut values: Vec<(String, Zeroizing<String>)> = Vec::new();
        let pairs = body.split(|b| *b == b'&').filter(|pair| !pair.is_empty());
        for (i, pair) in pairs.enumerate() {
            if i >= most {
                let text = format!("expected at most {most} parameters, found more");
                return Err(refused("parameters-too-many", text));
            }
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let mut name = decoded(halves.next().unwrap_or_default())?;
            let value = decoded(halves.next().unwrap_or_default())?;
            let name = std::mem::take(&mut *name);
            if name.is_empty() {
                return Err(refused(
                    "parameter-malformed",
                    "expected name=value, found a value without name",
                ));
            }
            let stands = empty.contains(&name) || values.iter().any(|(other, _)| *other == name);
            if stands && name != REPEATABLE {
                let text = format!("the parameter {} stands more than once", shown(&name));
                return Err(refused("parameter-repeated", text));
            }
            if value.is_empty() {
                empty.push(name);
            } else {
                values.push((name, value));
            }
        }
        Ok(Self(values))
    }

    /// The value of `name`, or the first one of a repeatable name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of `name` in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The value of `name`, or `invalid_request` that names it.
    pub fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| {
            refused("parameter-missing", format!("the parameter {name} is required and missing or empty"))
        })
    }

    /// The caller's authentication. `client_assertion` (RFC 7523 §2.2) is refused with `invalid_client`, not ignored,
    /// since it is not verified.
    pub fn client(&self) -> Result<ClientParameters<'_>, OAuthError> {
        if self.get("client_assertion").or_else(|| self.get("client_assertion_type")).is_some() {
            return Err(OAuthError::new(
                ErrorCode::InvalidClient,
                "client-method-unsupported",
                "expected client_secret_basic or client_secret_post, found client_assertion",
            ));
        }
        Ok(ClientParameters { client_id: self.get("client_id"), client_secret: self.get("client_secret") })
    }
}

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} parameters", self.0.len())
    }
}

impl std::fmt::Debug for ClientParameters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientParameters").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

fn refused(rule: &'static str, description: impl AsRef<str>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, rule, description)
}

/// A name for an error text: whole if it looks like an OAuth name, else nothing, since a client that forgot the name
/// may have put a secret in its place.
fn shown(name: &str) -> &str {
    let plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if plain { name } else { "(of an unusual name)" }
}

/// Decodes `+` and percent escapes to UTF-8. The buffer never grows, so no copy is left behind.
fn decoded(raw: &[u8]) -> Result<Zeroizing<String>, OAuthError> {
    let malformed = |what| refused("parameter-malformed", what);
    let broken = || malformed("a percent sign stands without two hexadecimal digits");
    let mut bytes = percent::decode(raw, broken, |byte| match byte {
        b'+' => Ok(b' '),
        0..=0x1f | 0x7f => Err(malformed("the form holds a raw control character")),
        other => Ok(other),
    })?;
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        malformed("a parameter is not UTF-8 after percent-decoding")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(body: &str) -> &'static str {
        Parameters::parse(body.as_bytes(), 10).unwrap_err().rule
    }

    #[test]
    fn a_form_is_decoded_once() {
        let form = Parameters::parse(b"a=1+2%2B3&b=%C3%A9&&c=x=y&d&resource=r1&resource=r2", 10).unwrap();
        assert_eq!(form.get("a"), Some("1 2+3"));
        assert_eq!(form.get("b"), Some("\u{e9}"));
        assert_eq!(form.get("c"), Some("x=y"));
        assert_eq!(form.get("d"), None);
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["r1", "r2"]);
        assert_eq!(Parameters::parse(b"a=%2541", 1).unwrap().get("a"), Some("%41"));
        assert!(Parameters::parse(b"", 0).is_ok());
    }

    #[test]
    fn a_repeated_name_is_refused_even_when_one_value_is_empty_or_the_name_is_escaped() {
        for body in ["token=a&token=b", "token=a&token=a", "token=&token=b", "token=a&t%6fken=b", "x&x"] {
            assert_eq!(rule(body), "parameter-repeated", "{body}");
        }
    }

    #[test]
    fn an_empty_value_counts_as_left_out() {
        let form = Parameters::parse(b"token=&scope=", 10).unwrap();
        assert_eq!(form.get("token"), None);
        assert_eq!(form.required("token").unwrap_err().code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn invalid_escapes_controls_and_invalid_utf8_are_refused() {
        for body in [
            "a=%",
            "a=%4",
            "a=%zz",
            "a=%+1",
            "%=1",
            "a=%ff",
            "a=%C3",
            "a=%C0%80",
            "a=%ED%A0%80",
            "a=\n",
            "=a",
        ] {
            assert_eq!(rule(body), "parameter-malformed", "{body:?}");
        }
        assert!(Parameters::parse(b"a=\xff", 10).is_err());
    }

    #[test]
    fn there_is_a_limit_on_their_number() {
        assert!(Parameters::parse(b"a=1&b=1", 2).is_ok());
        assert_eq!(Parameters::parse(b"a=1&b=1&c", 2).unwrap_err().rule, "parameters-too-many");
        assert!(Parameters::parse(b"resource=1&resource=2&resource=3", 2).is_err());
    }

    #[test]
    fn nothing_that_is_shown_holds_a_value() {
        let form = Parameters::parse(b"client_id=shop&client_secret=hunter2", 10).unwrap();
        assert!(!format!("{form:?} {:?}", form.client().unwrap()).contains("hunter2"));
        let error = Parameters::parse(b"S3cret=&S3cret=", 10).unwrap_err();
        assert!(!error.description.contains("S3cret"));
    }

    #[test]
    fn a_client_assertion_is_refused_and_not_ignored() {
        let form = Parameters::parse(b"client_id=shop&client_assertion=x", 10).unwrap();
        assert_eq!(form.client().unwrap_err().code, ErrorCode::InvalidClient);
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(Parameters::parse(&body, 10));
        }

        #[test]
        fn forms_of_another_encoder_are_parsed(pairs in proptest::collection::btree_map("[a-z]{1,8}", ".{1,20}", 0..8)) {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            let form = Parameters::parse(body.as_bytes(), 10).unwrap();
            for (name, value) in &pairs {
                prop_assert_eq!(form.get(name), Some(value.as_str()));
            }
        }
    }
}
