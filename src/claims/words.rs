//! Claims of one value: identifiers and dates, with their grammar and limits.

use super::visible::is_seen;
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// Why a text violates its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct WordError {
    expected: &'static str,
    found: Cow<'static, str>,
}

impl WordError {
    pub(super) fn new(expected: &'static str, found: impl Into<Cow<'static, str>>) -> Self {
        Self { expected, found: found.into() }
    }
}

/// Parses a string value in place, without copying it first.
pub(super) fn by_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(PhantomData))
}

// A word is copied from the request or row into answers, records and log lines: its clones share one text.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::claims::words::by_text(deserializer)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl $name {
            /// The text, unchanged.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = WordError;
            fn try_from(text: String) -> Result<Self, WordError> {
                text.parse()
            }
        }

        impl std::str::FromStr for $name {
            type Err = WordError;
            fn from_str(text: &str) -> Result<Self, WordError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}
pub(super) use word;

word!(
    /// `client_id` of a client or a resource server: 1 to 255 printable ASCII characters (RFC 6749 §A.1).
    ClientId, check_client_id
);
word!(
    /// An issuer identifier (RFC 8414 §2): a URL without query and fragment, compared code point by code point.
    Issuer, check_issuer
);
word!(
    /// A resource indicator (RFC 8707 §2): an absolute URI without fragment.
    Resource, check_resource
);
word!(
    /// `sub`: 1 to 255 visible characters (`OpenID` Connect Core §2 has the same limit); no space at either end.
    Subject, check_text
);
word!(
    /// `jti`: 1 to 255 printable ASCII characters.
    Jti, check_client_id
);
word!(
    /// `acr` or one value of `amr`: 1 to 255 visible characters, no space at either end.
    Acr, check_text
);
word!(
    /// The name of a claim or member: 1 to 64 of `A-Z a-z 0-9 _ . : / # -`. [`ClaimName::kind`] has its meaning.
    ClaimName, check_claim_name
);

word!(
    /// The id of one request, in log lines and records: 1 to 64 of `A-Z a-z 0-9 _ -`.
    RequestId, check_request_id
);

const MAX_WORD: usize = 255;
const MAX_URI: usize = 2048;

fn check_client_id(text: &str) -> Result<(), WordError> {
    let expected = "1 to 255 printable ASCII characters";
    if text.is_empty() {
        return Err(WordError::new(expected, "an empty text"));
    }
    if text.len() > MAX_WORD {
        return Err(WordError::new(expected, "a longer text"));
    }
    if !text.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
        return Err(WordError::new(expected, "another character"));
    }
    Ok(())
}

/// Programs compare identifiers by characters and people by sight: an invisible character would make two look alike.
fn check_text(text: &str) -> Result<(), WordError> {
    let expected = "1 to 255 visible characters";
    if text.is_empty() {
        return Err(WordError::new(expected, "an empty text"));
    }
    if text.chars().count() > MAX_WORD {
        return Err(WordError::new(expected, "a longer text"));
    }
    if !text.chars().all(|c| is_seen(c) && (c == ' ' || !c.is_whitespace())) {
        return Err(WordError::new(expected, "a character that is not visible"));
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(WordError::new(expected, "a space at an end"));
    }
    Ok(())
}

fn check_claim_name(text: &str) -> Result<(), WordError> {
    let expected = "1 to 64 of A-Z a-z 0-9 _ . : / # -";
    if text.is_empty() || text.len() > 64 {
        return Err(WordError::new(expected, "an empty or longer text"));
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/#-".contains(&b)) {
        return Err(WordError::new(expected, "another character"));
    }
    Ok(())
}

fn check_request_id(text: &str) -> Result<(), WordError> {
    let expected = "1 to 64 of A-Z a-z 0-9 _ -";
    if text.is_empty() || text.len() > 64 {
        return Err(WordError::new(expected, "an empty or longer text"));
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return Err(WordError::new(expected, "another character"));
    }
    Ok(())
}

/// `scheme ":" rest` in the characters of RFC 3986 (§2, §4.3), without fragment. Texts are compared, never followed, so
/// nothing is normalized. Runs for each resource of each token, so nothing is allocated.
fn check_uri(text: &str, expected: &'static str) -> Result<(), WordError> {
    if text.len() > MAX_URI {
        return Err(WordError::new(expected, "more than 2,048 bytes"));
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(WordError::new(expected, "no scheme"));
    };
    let mut letters = scheme.bytes();
    let begins = letters.next().is_some_and(|b| b.is_ascii_alphabetic());
    if !begins || !letters.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
        return Err(WordError::new(expected, "no scheme"));
    }
    if rest.contains('#') {
        return Err(WordError::new(expected, "a fragment"));
    }
    let bytes = rest.as_bytes();
    let legal = bytes.iter().enumerate().all(|(i, &b)| match b {
        b'%' => bytes.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        _ => b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=".contains(&b),
    });
    if !legal {
        return Err(WordError::new(expected, "a character that no URI has"));
    }
    // A web address needs at least a host.
    if matches!(scheme, "http" | "https") {
        let host = rest.strip_prefix("//").and_then(|address| address.split(['/', '?']).next());
        if host.is_none_or(str::is_empty) {
            return Err(WordError::new(expected, "no host"));
        }
    }
    Ok(())
}

fn check_resource(text: &str) -> Result<(), WordError> {
    check_uri(text, "an absolute URI without fragment")
}

fn check_issuer(text: &str) -> Result<(), WordError> {
    let expected = "an https URL (http on loopback) without query, fragment and user";
    check_uri(text, expected)?;
    let url = url::Url::parse(text).map_err(|_| WordError::new(expected, "no URL"))?;
    if url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(WordError::new(expected, "a query or a user"));
    }
    let loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => return Err(WordError::new(expected, "no host")),
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err(WordError::new(expected, "another scheme")),
    }
}

/// Whole seconds since 1970 (RFC 7519 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NumericDate(pub i64);

impl From<crate::clock::Trusted> for NumericDate {
    fn from(time: crate::clock::Trusted) -> Self {
        Self(time.timestamp().unix_seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_https_or_on_loopback() {
        for good in ["https://as.example", "https://as.example/t1", "http://127.0.0.1:8443", "http://[::1]:1"]
        {
            assert!(good.parse::<Issuer>().is_ok(), "{good}");
        }
        for bad in [
            "http://as.example",
            "https://as.example?x=1",
            "https://as.example#f",
            "as",
            "https://u@as.example",
        ] {
            assert!(bad.parse::<Issuer>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_resource_is_an_absolute_uri_without_fragment() {
        for good in
            ["https://rs.example", "https://rs.example/a?b=%20c", "urn:example:rs", "http://[::1]:8080/x"]
        {
            assert!(good.parse::<Resource>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "rs",
            "/rs",
            "https:",
            "https://",
            "https:///path",
            "https://?q",
            "1https://rs",
            "https://rs/#f",
            "https://rs/ x",
            "https://rs/%2",
            "https://rs/%zz",
            "https://rs/\u{e4}",
            "https://rs/<>",
            ":x",
            "https://rs/\\",
        ] {
            assert!(bad.parse::<Resource>().is_err(), "{bad}");
        }
        assert!(format!("https://rs/{}", "x".repeat(2048)).parse::<Resource>().is_err());
    }

    #[test]
    fn an_identifier_holds_no_character_that_is_not_seen() {
        for good in
            ["alice", "customer-4711", "M\u{fc}ller 7", "\u{645}\u{62d}\u{645}\u{62f}", "urn:mace:silver"]
        {
            assert!(good.parse::<Subject>().is_ok() && good.parse::<Acr>().is_ok(), "{good}");
        }
        for bad in [
            "batch\u{200b}",
            "batch\u{a0}",
            "batch ",
            " batch",
            "\u{2800}",
            "b\u{202e}atch",
            "a\tb",
            "\u{ad}a",
        ] {
            assert!(bad.parse::<Subject>().is_err() && bad.parse::<Acr>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_are_checked_in_json_too() {
        assert!(serde_json::from_str::<ClientId>("\"a\\u0000b\"").is_err());
        assert!(serde_json::from_str::<Resource>("\"https://x.example/#f\"").is_err());
        assert!(serde_json::from_str::<Subject>("\"\"").is_err());
    }
}
