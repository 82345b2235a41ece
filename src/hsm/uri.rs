//! A `pkcs11:` URI (RFC 7512) that selects a token.

use crate::percent;
use std::fmt;
use std::str::FromStr;

/// The token attributes of a `pkcs11:` URI: `token`, `serial`, `manufacturer`, `model`, `slot-id`.
///
/// At least one attribute is given. Exactly one token must match all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenUri {
    token: Option<String>,
    serial: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    slot_id: Option<u64>,
}

/// Why a text selects no token. The error never repeats a PIN in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenUriError {
    /// Another scheme.
    #[error("a token URI begins with pkcs11: (RFC 7512), for example pkcs11:token=chancery")]
    Scheme,
    /// A PIN or PIN source.
    #[error(
        "a token URI must not hold {0}: a PIN comes from its own file or systemd credential; take it out of the URI, and change the PIN if it was in clear"
    )]
    Pin(&'static str),
    /// An attribute that does not choose a token.
    #[error("a token URI may name token, serial, manufacturer, model and slot-id, but it names {0:?}")]
    Attribute(String),
    /// The same attribute again.
    #[error("the token URI names {0:?} twice")]
    Twice(String),
    /// A `?` with a query.
    #[error("a token URI has no query (what follows the \"?\"); the module's path is a setting of its own")]
    Query,
    /// No `=`, a character that must be percent-encoded, a broken `%XX`, not UTF-8, or no number.
    #[error(
        "the value of {0:?} in the token URI is not as RFC 7512 wants it: characters outside its set are written %XX, slot-id is a decimal number, and no value is empty"
    )]
    Value(String),
    /// Not one attribute.
    #[error("the token URI names no attribute; name at least the token's label: pkcs11:token=…")]
    Empty,
}

impl FromStr for TokenUri {
    type Err = TokenUriError;

    fn from_str(text: &str) -> Result<Self, TokenUriError> {
        let rest = match text.split_once(':') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("pkcs11") => rest,
            _ => return Err(TokenUriError::Scheme),
        };
        // Checked first, so that no other error can repeat a PIN.
        for attribute in rest.split(['?', ';', '&']) {
            match attribute.split('=').next().unwrap_or_default().trim() {
                name if name.eq_ignore_ascii_case("pin-value") => {
                    return Err(TokenUriError::Pin("pin-value"));
                }
                name if name.eq_ignore_ascii_case("pin-source") => {
                    return Err(TokenUriError::Pin("pin-source"));
                }
                _ => {}
            }
        }
        if rest.contains('?') {
            return Err(TokenUriError::Query);
        }
        if rest.is_empty() {
            return Err(TokenUriError::Empty);
        }
        let mut uri = Self::default();
        for attribute in rest.split(';') {
            uri.take(attribute)?;
        }
        Ok(uri)
    }
}

impl TokenUri {
    fn take(&mut self, attribute: &str) -> Result<(), TokenUriError> {
        let Some((name, value)) = attribute.split_once('=') else {
            return Err(TokenUriError::Value(attribute.to_owned()));
        };
        let place = match name {
            "token" => &mut self.token,
            "serial" => &mut self.serial,
            "manufacturer" => &mut self.manufacturer,
            "model" => &mut self.model,
            "slot-id" => {
                let digits = !value.is_empty() && value.bytes().all(|c| c.is_ascii_digit());
                let number = value.parse().ok().filter(|_| digits);
                let number = number.ok_or_else(|| TokenUriError::Value(name.to_owned()))?;
                return match self.slot_id.replace(number) {
                    Some(_) => Err(TokenUriError::Twice(name.to_owned())),
                    None => Ok(()),
                };
            }
            other => return Err(TokenUriError::Attribute(other.to_owned())),
        };
        let value = decode(value).ok_or_else(|| TokenUriError::Value(name.to_owned()))?;
        match place.replace(value) {
            Some(_) => Err(TokenUriError::Twice(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether a token with these properties matches.
    pub(super) fn fits(&self, token: &super::TokenInfo) -> bool {
        let fits = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        fits(&self.token, &token.label)
            && fits(&self.serial, &token.serial)
            && fits(&self.manufacturer, &token.manufacturer)
            && fits(&self.model, &token.model)
            && self.slot_id.is_none_or(|id| id == token.slot_id)
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let mut separator = "";
        for (name, value) in [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("serial", &self.serial),
            ("model", &self.model),
        ] {
            if let Some(value) = value {
                write!(f, "{separator}{name}=")?;
                for byte in value.bytes() {
                    if is_plain(byte) {
                        write!(f, "{}", char::from(byte))?;
                    } else {
                        write!(f, "%{byte:02X}")?;
                    }
                }
                separator = ";";
            }
        }
        if let Some(id) = self.slot_id {
            write!(f, "{separator}slot-id={id}")?;
        }
        Ok(())
    }
}

/// `unreserved`, `pk11-res-avail` and `&` of RFC 7512 §2.3.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || matches!(
            byte,
            b':' | b'[' | b']' | b'@' | b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b'&'
        )
}

/// The value of a path attribute; `None` when it is empty or violates §2.3.
fn decode(value: &str) -> Option<String> {
    let plain = |byte| if is_plain(byte) { Ok(byte) } else { Err(()) };
    let decoded = percent::decode(value.as_bytes(), || (), plain).ok()?.to_vec();
    String::from_utf8(decoded).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<TokenUri, TokenUriError> {
        text.parse()
    }

    #[test]
    fn the_attributes_of_a_token_are_read_and_decoded() {
        let uri = parse(
            "PKCS11:token=The%20Software%20PKCS%2311;manufacturer=Snake%20Oil,%20Inc.;serial=00a;model=1.0;slot-id=327",
        );
        let expected = TokenUri {
            token: Some("The Software PKCS#11".to_owned()),
            manufacturer: Some("Snake Oil, Inc.".to_owned()),
            serial: Some("00a".to_owned()),
            model: Some("1.0".to_owned()),
            slot_id: Some(327),
        };
        assert_eq!(uri, Ok(expected));
        assert_eq!(parse("pkcs11:token=Z%C3%BCrich").unwrap().token.as_deref(), Some("Zürich"));
    }

    #[test]
    fn a_pin_in_the_uri_is_refused_and_not_repeated() {
        for text in [
            "pkcs11:token=a?pin-value=geheim",
            "pkcs11:token=a;pin-value=geheim",
            "pkcs11:?pin-value=geheim",
            "pkcs11:token=a?module-name=x&pin-value=geheim",
            "pkcs11:PIN-VALUE=geheim",
            "pkcs11:token=%zz;x=y;pin-value=geheim",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error, TokenUriError::Pin("pin-value"), "{text}");
            assert!(!error.to_string().contains("geheim"));
        }
        assert_eq!(parse("pkcs11:token=a?pin-source=file:/x"), Err(TokenUriError::Pin("pin-source")));
    }

    #[test]
    fn uris_that_select_no_token_are_refused() {
        for name in ["object", "id", "type", "library-version", "slot-description", "Token", "x-vendor"] {
            let error = parse(&format!("pkcs11:token=a;{name}=b")).unwrap_err();
            assert_eq!(error, TokenUriError::Attribute(name.to_owned()));
        }
        assert_eq!(parse("pkcs11:token=a?module-path=/x.so"), Err(TokenUriError::Query));
        assert_eq!(parse("pkcs11:token=a;token=b"), Err(TokenUriError::Twice("token".to_owned())));
        assert_eq!(parse("pkcs11:slot-id=1;slot-id=1"), Err(TokenUriError::Twice("slot-id".to_owned())));
        assert_eq!(parse("pkcs11:"), Err(TokenUriError::Empty));
        for scheme in ["token=a", "http:token=a", "pkcs11", ""] {
            assert_eq!(parse(scheme), Err(TokenUriError::Scheme));
        }
    }

    #[test]
    fn a_value_outside_the_grammar_is_refused() {
        for value in ["", "a b", "a/b", "%", "%4", "%4g", "%ff", "a\"b", "Zürich", "%+1"] {
            let error = parse(&format!("pkcs11:token={value}")).unwrap_err();
            assert_eq!(error, TokenUriError::Value("token".to_owned()), "{value:?}");
        }
        for value in ["", "x", "+1", "-1", "0x1", "99999999999999999999"] {
            assert!(parse(&format!("pkcs11:slot-id={value}")).is_err(), "{value:?}");
        }
        assert!(parse("pkcs11:token").is_err());
        assert!(parse("pkcs11:token=a;").is_err());
    }

    proptest! {
        #[test]
        fn every_token_survives_its_uri(
            token in prop::option::of(".{1,32}"), serial in prop::option::of(".{1,16}"), slot_id in any::<u64>(),
        ) {
            let uri = TokenUri { token, serial, slot_id: Some(slot_id), ..TokenUri::default() };
            prop_assert_eq!(parse(&uri.to_string()), Ok(uri));
        }

        #[test]
        fn no_text_breaks_the_parser(text in "(pkcs11:)?.{0,60}") {
            if let Ok(uri) = parse(&text) {
                prop_assert_eq!(parse(&uri.to_string()), Ok(uri));
            }
        }
    }
}
