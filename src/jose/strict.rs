//! Strict JSON for untrusted input: UTF-8, no duplicate members at any depth, bounded depth, nothing after the value.
//!
//! Parsers differ on duplicate members (first, last, both), so two readers of one signed text could see two different
//! grants. RFC 7515 §4 and RFC 7519 §4 allow refusing them.

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Why a JSON text is refused. The message names the rule and the place, never a value.
#[derive(Debug, thiserror::Error)]
#[error("expected strict JSON: {0}")]
pub struct StrictError(String);

/// Reads one JSON text of at most `depth` nested objects and arrays (`{}` has depth 1, a number 0).
pub fn strict_json(bytes: &[u8], depth: usize) -> Result<Value, StrictError> {
    let text = std::str::from_utf8(bytes).map_err(|_| StrictError("the text is not UTF-8".to_owned()))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let refuse = |error: serde_json::Error| StrictError(error.to_string());
    let value = Strict { depth }.deserialize(&mut reader).map_err(refuse)?;
    reader.end().map_err(refuse)?;
    Ok(value)
}

/// Reads one value that may hold `depth` further levels.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("it is nested too deeply"))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = array.next_element_seed(deeper)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let value = object.next_value_seed(deeper)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn duplicate_members_are_refused_at_every_depth() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"b":{"a":1,"a":2}}]"#,
            r#"{"x":[[{"a":null,"a":null}]]}"#,
        ] {
            let error = strict_json(bad.as_bytes(), 32).unwrap_err().to_string();
            assert!(error.contains("stands twice"), "{bad}: {error}");
        }
        assert_eq!(strict_json(br#"{"a":{"a":1}}"#, 2).unwrap(), json!({"a": {"a": 1}}));
    }

    #[test]
    fn the_depth_is_counted_in_objects_and_arrays() {
        assert!(strict_json(b"1", 0).is_ok());
        assert!(strict_json(b"{}", 0).is_err());
        assert!(strict_json(br#"{"a":[1]}"#, 2).is_ok());
        assert!(strict_json(br#"{"a":[{}]}"#, 2).is_err());
        let deep = "[".repeat(100_000);
        assert!(strict_json(deep.as_bytes(), usize::MAX).is_err(), "no depth overflows the stack");
    }

    #[test]
    fn only_one_json_text_in_utf8_is_accepted() {
        for bad in [
            &b""[..],
            b"{",
            b"{}x",
            b"{} {}",
            b"{'a':1}",
            b"[1,]",
            b"nan",
            b"01",
            b"1e999",
            b"\"\\ud800\"",
            b"\"a\nb\"",
            b"\"\xff\"",
            b"\xc0\x80",
            b"\xef\xbb\xbf{}",
            b"\xff\xfe{\0}\0",
        ] {
            assert!(strict_json(bad, 32).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn strict_json_reads_what_serde_json_reads_and_never_more(text in ".{0,200}") {
            if let Ok(value) = strict_json(text.as_bytes(), 128) {
                prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }

        #[test]
        fn an_object_survives_its_text(members in proptest::collection::btree_map(".{0,8}", any::<i64>(), 0..8)) {
            let value = serde_json::to_value(&members).unwrap();
            prop_assert_eq!(strict_json(value.to_string().as_bytes(), 1).unwrap(), value);
        }
    }
}
