//! `scope`: a list of case-sensitive tokens (RFC 6749 §3.3) in unchanged order and spelling: payment schemes use opaque
//! identifiers as scopes (`PIS:1234-wertiq-983`).

use super::WordError;
use super::words::by_text;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One scope token: 1 to 255 of `%x21 / %x23-5B / %x5D-7E`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeToken(Arc<str>);

/// Why a text is no scope.
pub type ScopeError = WordError;

impl ScopeToken {
    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScopeToken {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        let expected = "1 to 255 printable ASCII characters without space, quote and backslash";
        if text.is_empty() || text.len() > 255 {
            return Err(WordError::new(expected, "an empty or longer token"));
        }
        if !text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            return Err(WordError::new(expected, "another character"));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for ScopeToken {
    type Error = WordError;
    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl<'de> Deserialize<'de> for ScopeToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_text(deserializer)
    }
}

impl Serialize for ScopeToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Lets a set of tokens be searched by text.
impl std::borrow::Borrow<str> for ScopeToken {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ScopeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A list of at most 64 scope tokens without duplicates, in the given order. As JSON: one string, separated by spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Vec<ScopeToken>);

impl Scope {
    /// The most tokens that one scope may have.
    pub const MAX: usize = 64;

    /// Whether it holds no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tokens in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, ScopeToken> {
        self.0.iter()
    }

    /// Whether it holds `token`.
    pub fn contains(&self, token: &ScopeToken) -> bool {
        self.0.contains(token)
    }

    /// The tokens for which `keep` returns true, in the same order.
    #[must_use]
    pub fn narrowed(&self, keep: impl Fn(&ScopeToken) -> bool) -> Self {
        Self(self.0.iter().filter(|t| keep(t)).cloned().collect())
    }
}

impl<'a> IntoIterator for &'a Scope {
    type Item = &'a ScopeToken;
    type IntoIter = std::slice::Iter<'a, ScopeToken>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<ScopeToken> for Scope {
    /// Duplicates are dropped.
    fn from_iter<I: IntoIterator<Item = ScopeToken>>(tokens: I) -> Self {
        let mut list: Vec<ScopeToken> = Vec::new();
        for token in tokens {
            if !list.contains(&token) {
                list.push(token);
            }
        }
        Self(list)
    }
}

impl FromStr for Scope {
    type Err = WordError;
    /// An empty text is the empty scope; tokens are separated by exactly one space.
    fn from_str(text: &str) -> Result<Self, WordError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut list: Vec<ScopeToken> = Vec::new();
        for part in text.split(' ') {
            let token = part.parse()?;
            if !list.contains(&token) {
                list.push(token);
            }
            if list.len() > Self::MAX {
                return Err(WordError::new("at most 64 scope tokens", "more"));
            }
        }
        Ok(Self(list))
    }
}

impl TryFrom<String> for Scope {
    type Error = WordError;
    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_text(deserializer)
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(&one.0),
            _ => serializer.collect_str(self),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, token) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&token.0)?;
        }
        Ok(())
    }
}

/// How the configuration names scope tokens: one by itself, or with a trailing `*` all that begin so and go on
/// (`PIS:*`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopePattern(ScopeToken);

impl ScopePattern {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What stands before a trailing `*`.
    fn prefix(&self) -> Option<&str> {
        self.as_str().strip_suffix('*')
    }

    /// A token that itself ends in `*` is never meant by a pattern: a resource server could read it as one.
    fn matches(&self, token: &ScopeToken) -> bool {
        match self.prefix() {
            Some(prefix) => {
                token.0.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && !rest.ends_with('*'))
            }
            None => self.0 == *token,
        }
    }

    /// Whether all tokens of `other` are tokens of this one.
    pub fn covers(&self, other: &Self) -> bool {
        match (self.prefix(), other.prefix()) {
            (Some(own), Some(theirs)) => theirs.starts_with(own),
            (None, Some(_)) => false,
            (_, None) => self.matches(&other.0),
        }
    }
}

impl FromStr for ScopePattern {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        if text == "*" {
            return Err(WordError::new(
                "a scope token (RFC 6749 §3.3), or the beginning of one and *",
                "* alone",
            ));
        }
        text.parse().map(Self)
    }
}

/// The scope tokens of one entry of the configuration, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopePatterns(Vec<ScopePattern>);

impl ScopePatterns {
    /// Whether `token` is one of them.
    pub fn contains(&self, token: &ScopeToken) -> bool {
        self.0.iter().any(|pattern| pattern.matches(token))
    }

    /// As they are written.
    pub fn patterns(&self) -> impl Iterator<Item = &ScopePattern> {
        self.0.iter()
    }

    /// Those that are named one by one.
    pub fn tokens(&self) -> impl Iterator<Item = &ScopeToken> {
        self.0.iter().filter(|pattern| pattern.prefix().is_none()).map(|pattern| &pattern.0)
    }
}

impl FromIterator<ScopePattern> for ScopePatterns {
    fn from_iter<I: IntoIterator<Item = ScopePattern>>(patterns: I) -> Self {
        Self(patterns.into_iter().collect())
    }
}

impl FromStr for ScopePatterns {
    type Err = WordError;
    /// As a [`Scope`].
    fn from_str(text: &str) -> Result<Self, WordError> {
        text.parse::<Scope>()?.iter().map(|token| token.as_str().parse()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_tokens_that_go_on_and_for_no_pattern() {
        let patterns: ScopePatterns = "PIS:* status a*b".parse().unwrap();
        for (token, named) in [
            ("PIS:1234-wertiq-983", true),
            ("PIS:a:b", true),
            ("PIS:*a", true),
            ("status", true),
            ("a*b", true),
            ("PIS:", false),
            ("PIS:*", false),
            ("PIS:a*", false),
            ("pis:1", false),
            ("XPIS:1", false),
            ("status2", false),
            ("aXb", false),
        ] {
            assert_eq!(patterns.contains(&token.parse().unwrap()), named, "{token}");
        }
        assert_eq!(patterns.tokens().map(ScopeToken::as_str).collect::<Vec<_>>(), ["status", "a*b"]);
        assert!("*".parse::<ScopePattern>().is_err() && "a *".parse::<ScopePatterns>().is_err());
    }

    #[test]
    fn a_pattern_covers_what_begins_like_it() {
        let covers =
            |one: &str, other: &str| one.parse::<ScopePattern>().unwrap().covers(&other.parse().unwrap());
        for (one, other) in [("a:*", "a:*"), ("a:*", "a:b:*"), ("a:*", "a:b"), ("a", "a")] {
            assert!(covers(one, other), "{one} {other}");
        }
        for (one, other) in [("a:b:*", "a:*"), ("a:b", "a:*"), ("a:*", "a:"), ("a:*", "b:c"), ("a", "b")] {
            assert!(!covers(one, other), "{one} {other}");
        }
    }

    #[test]
    fn scopes_keep_their_order_and_their_case() {
        let scope: Scope = "PIS:b pis:b a PIS:b".parse().unwrap();
        assert_eq!(scope.to_string(), "PIS:b pis:b a");
        assert_eq!(scope.narrowed(|t| t.as_str() != "a").to_string(), "PIS:b pis:b");
    }

    #[test]
    fn two_spaces_quotes_and_too_many_tokens_are_refused() {
        assert!("a  b".parse::<Scope>().is_err());
        assert!("a\"".parse::<Scope>().is_err());
        let many = (0..65).map(|i| i.to_string()).collect::<Vec<_>>().join(" ");
        assert!(many.parse::<Scope>().is_err());
    }
}
