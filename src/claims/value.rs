//! The value of a further claim: a string, an integer, a boolean, or arrays and objects of those.

use super::ClaimName;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Further claims about the resource owner or the consent (`given_name`, `groups`, `openbanking_intent_id`): at most
/// [`ClaimValue::MOST`] of them.
pub type ExtraClaims = BTreeMap<ClaimName, ClaimValue>;

/// The value of a further claim, passed on unchanged.
///
/// Parsing refuses ambiguous JSON: duplicate members, numbers with a fraction, an exponent or more than 53 bits (RFC
/// 7493 §2.2; strings can hold those), null, strings with control characters. Size, depth and number of values are
/// bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimValue(Node);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Node {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

impl ClaimValue {
    /// Limit of further claims in one grant.
    pub const MOST: usize = 32;
    /// Limit of bytes of all strings and names in one value.
    const MAX_BYTES: usize = 4096;
    /// Limit of bytes of one string or name.
    const MAX_TEXT: usize = 1024;
    /// Limit of values in one, including arrays and objects.
    const MAX_VALUES: usize = 256;
    /// Limit of nested arrays and objects; `http.limits.json_depth` bounds the front server's JWT as a whole.
    pub const MAX_DEPTH: usize = 8;
}

impl Serialize for ClaimValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ClaimValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut left = Left { bytes: Self::MAX_BYTES, values: Self::MAX_VALUES, depth: Self::MAX_DEPTH };
        left.node(deserializer).map(Self)
    }
}

/// The remaining limits while one value is parsed.
struct Left {
    bytes: usize,
    values: usize,
    depth: usize,
}

impl Left {
    fn node<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<Node, D::Error> {
        self.values = self.values.checked_sub(1).ok_or_else(|| too_large("more values"))?;
        deserializer.deserialize_any(self)
    }

    fn text<E: Error>(&mut self, text: &str) -> Result<String, E> {
        if text.len() > ClaimValue::MAX_TEXT {
            return Err(too_large("a longer text"));
        }
        self.bytes = self.bytes.checked_sub(text.len()).ok_or_else(|| too_large("more"))?;
        if text.chars().any(char::is_control) {
            return Err(E::custom("expected texts without control characters, found one with"));
        }
        Ok(text.to_owned())
    }

    fn deeper<T, E: Error>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| too_large("deeper nesting"))?;
        let read = read(self)?;
        self.depth += 1;
        Ok(read)
    }
}

fn too_large<E: Error>(found: &str) -> E {
    E::custom(format_args!(
        "expected at most {} values, {} deep, with {} bytes in texts of at most {}, found {found}",
        ClaimValue::MAX_VALUES,
        ClaimValue::MAX_DEPTH,
        ClaimValue::MAX_BYTES,
        ClaimValue::MAX_TEXT
    ))
}

impl<'de> serde::de::DeserializeSeed<'de> for &mut Left {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.node(deserializer)
    }
}

impl<'de> Visitor<'de> for &mut Left {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number of at most 53 bits, true, false, a list or an object")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Node, E> {
        // JSON readers that store numbers as IEEE doubles round any other.
        const MOST: u64 = (1 << 53) - 1;
        if number.unsigned_abs() > MOST {
            return Err(E::invalid_value(serde::de::Unexpected::Signed(number), &self));
        }
        Ok(Node::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Node, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        self.text(text).map(Node::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        self.deeper(|left| {
            let mut nodes = Vec::new();
            while let Some(node) = list.next_element_seed(&mut *left)? {
                nodes.push(node);
            }
            Ok(Node::List(nodes))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
        self.deeper(|left| {
            let mut members = BTreeMap::new();
            while let Some(name) = object.next_key::<String>()? {
                let name = left.text(&name)?;
                if members.contains_key(&name) {
                    return Err(A::Error::custom("expected each member once, found one twice"));
                }
                members.insert(name, object.next_value_seed(&mut *left)?);
            }
            Ok(Node::Object(members))
        })
    }
}

#[cfg(test)]
impl From<&str> for ClaimValue {
    fn from(text: &str) -> Self {
        Self(Node::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: &Value) -> Result<ClaimValue, String> {
        let from_text = serde_json::from_str::<ClaimValue>(&value.to_string()).map_err(|e| e.to_string());
        let from_value = ClaimValue::deserialize(value).map_err(|e| e.to_string());
        assert_eq!(from_text.is_ok(), from_value.is_ok(), "{value}");
        from_text
    }

    #[test]
    fn texts_numbers_lists_and_objects_come_back_as_they_were_given() {
        for good in [
            json!("Alice"),
            json!(""),
            json!(true),
            json!(-7),
            json!(9_007_199_254_740_991_i64),
            json!(-9_007_199_254_740_991_i64),
            json!([]),
            json!(["admins", "payers"]),
            json!([{"value": "e9e30dba", "display": "Tour \u{200d}Guides"}]),
            json!({"street": "Main", "lines": [1, [2, {"a": false}]]}),
        ] {
            assert_eq!(serde_json::to_value(read(&good).unwrap()).unwrap(), good);
        }
    }

    #[test]
    fn ambiguous_values_are_refused() {
        for bad in [
            "null",
            "[null]",
            "1.0",
            "1.10",
            "1e2",
            "-0",
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551615",
            "18446744073709551616",
            "[0.1]",
            r#""a\u0000b""#,
            r#"["a\nb"]"#,
            r#"{"a\tb":1}"#,
            r#"{"a":1,"a":1}"#,
            r#"[{"a":1,"\u0061":2}]"#,
        ] {
            assert!(serde_json::from_str::<ClaimValue>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_values_and_depth_are_bounded() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(read(&nested(8)).is_ok());
        assert!(read(&nested(9)).unwrap_err().contains("8 deep"));
        assert!(read(&json!(vec![0; 255])).is_ok());
        assert!(read(&json!(vec![0; 256])).unwrap_err().contains("256 values"));
        assert!(read(&json!("x".repeat(1024))).is_ok());
        assert!(read(&json!("x".repeat(1025))).is_err());
        assert!(read(&json!(vec!["x".repeat(1024); 4])).is_ok());
        assert!(read(&json!(vec!["x".repeat(1024); 5])).unwrap_err().contains("4096 bytes"));
        assert!(read(&json!({"x".repeat(1025): 1})).is_err());
    }
}
