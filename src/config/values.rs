//! Parsers of single values.

use super::SecretHashes;
use crate::claims::WordError;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use toml::de::DeValue;

/// Why a value is wrong; the caller fills in omitted parts.
#[derive(Default, Debug)]
pub(super) struct Wrong {
    pub(super) expected: Option<String>,
    pub(super) found: Option<String>,
}

impl Wrong {
    /// Describes the found value without repeating it: for secrets and for other reasons.
    pub(super) fn found(found: impl Into<String>) -> Self {
        Self { expected: None, found: Some(found.into()) }
    }

    pub(super) fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), found: Some(found.into()) }
    }
}

/// The longest text that a mistake repeats, in characters.
const SHOWN: usize = 80;

/// A value for a message: short, on one line.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => shown_text(text),
        DeValue::Integer(i) => i.to_string(),
        DeValue::Float(f) => f.to_string(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A text for a message: short, on one line, in quotes.
pub(super) fn shown_text(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// The text of a string value.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    value.as_str().ok_or_else(Wrong::default)
}

/// A value with a type of the room `claims`; the error of that type says what was expected.
pub(super) fn word<T: FromStr<Err = WordError>>(value: &DeValue<'_>) -> Result<T, Wrong> {
    let text = text(value)?;
    text.parse().map_err(|error: WordError| {
        let said = error.to_string();
        match said.strip_prefix("expected ").and_then(|s| s.split_once(", found ")) {
            Some((expected, found)) => Wrong::new(expected, format!("{} ({found})", shown_text(text))),
            None => Wrong::new(said, shown_text(text)),
        }
    })
}

/// One of some names; `later` are names of a later version.
pub(super) fn one_of<T: Copy>(value: &DeValue<'_>, known: &[(&str, T)], later: &[&str]) -> Result<T, Wrong> {
    let text = text(value)?;
    if let Some((_, found)) = known.iter().find(|(name, _)| *name == text) {
        return Ok(*found);
    }
    if later.contains(&text) {
        return Err(Wrong::found(format!("{} (a later version knows it)", shown_text(text))));
    }
    Err(Wrong::default())
}

/// An integer in a range.
pub(super) fn count(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Result<u64, Wrong> {
    let integer = value.as_integer().ok_or_else(Wrong::default)?;
    u64::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(Wrong::default)
}

/// Bytes: an integer, or a text with `KiB`, `MiB`, `GiB`.
pub(super) fn size(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Result<u64, Wrong> {
    if value.as_integer().is_some() {
        return count(value, range);
    }
    let text = text(value)?;
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        .into_iter()
        .find_map(|(unit, factor)| digits(text.strip_suffix(unit)?)?.checked_mul(factor))
        .filter(|n| range.contains(n))
        .ok_or_else(Wrong::default)
}

/// The shortest text of a size.
pub(super) fn shown_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >> shift > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A time span: digits and one of `ms`, `s`, `m`, `h`.
pub(super) fn duration(value: &DeValue<'_>, range: &RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let text = text(value)?;
    let millis = |unit: &str, factor: u64| digits(text.strip_suffix(unit)?)?.checked_mul(factor);
    // "ms" before "s" and "m": each is an end of the other.
    millis("ms", 1)
        .or_else(|| millis("s", 1_000))
        .or_else(|| millis("m", 60_000))
        .or_else(|| millis("h", 3_600_000))
        .map(Duration::from_millis)
        .filter(|d| range.contains(d))
        .ok_or_else(Wrong::default)
}

/// The shortest text of a time span.
pub(super) fn shown_duration(span: Duration) -> String {
    let millis = span.as_millis();
    for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis > 0 && millis.is_multiple_of(factor) {
            return format!("{}{unit}", millis / factor);
        }
    }
    format!("{millis}ms")
}

/// Decimal digits alone: no sign, no space.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A path, from `base` if it is relative.
pub(super) fn path(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Wrong> {
    let text = text(value)?;
    if text.is_empty() || text.contains('\0') {
        return Err(Wrong::default());
    }
    Ok(base.join(text))
}

/// `sqlite:///absolute/path` or `sqlite:relative/path`.
pub(super) fn sqlite(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Wrong> {
    let text = text(value)?;
    let Some(rest) = text.strip_prefix("sqlite:") else {
        // The address of another database may hold a password: only its scheme is shown.
        return Err(match text.split_once(':') {
            Some((scheme @ ("postgres" | "postgresql"), _)) => {
                Wrong::found(format!("the scheme {scheme} (a later version knows it)"))
            }
            Some((scheme, _)) => Wrong::found(format!("the scheme {}", shown_text(scheme))),
            None => Wrong::found("no scheme"),
        });
    };
    // Query, fragment and percent-encoding of a URL would become part of the file's name.
    if rest.contains(['?', '#', '%', '\0']) {
        return Err(Wrong::found("one of the characters ? # % NUL"));
    }
    let file = match rest.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err(Wrong::found("two slashes after sqlite: (three before an absolute path)")),
        None => rest,
    };
    if file.is_empty() || file.ends_with('/') {
        return Err(Wrong::found("no file name"));
    }
    Ok(base.join(file))
}

/// A Unix user or group: its name.
pub(super) fn user(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    let right = text.len() <= 32
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if right { Ok(text.to_owned()) } else { Err(Wrong::default()) }
}

/// The name of a systemd credential or of a node: 1 to 64 of `A-Z a-z 0-9 . _ -`, so never a path.
pub(super) fn simple_name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    let right = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && text.bytes().any(|b| b != b'.');
    if right { Ok(text.to_owned()) } else { Err(Wrong::default()) }
}

/// The name of a log: a URL without scheme, as C2SP tlog-checkpoint and signed-note want it (no space, no plus).
pub(super) fn origin(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    let right = text.len() <= 255
        && text.split('/').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~:-".contains(&b))
        });
    if right { Ok(text.to_owned()) } else { Err(Wrong::default()) }
}

/// A `pkcs11:` URI without anything about a PIN. The room `hsm` reads its attributes (RFC 7512 §2.3).
pub(super) fn pkcs11(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    let Some(rest) = text.strip_prefix("pkcs11:") else { return Err(Wrong::found("another scheme")) };
    if rest.split([';', '?', '&']).any(|attribute| attribute.trim().to_ascii_lowercase().starts_with("pin-"))
    {
        // The value could be the PIN itself.
        return Err(Wrong::found("a pin attribute (use pin_file or pin_credential)"));
    }
    if rest.is_empty() || !rest.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
        return Err(Wrong::found("no attribute, or a character that no URI has"));
    }
    Ok(text.to_owned())
}

/// SHA-256 of one to four secrets, in hexadecimal. The value is never shown: it could be the secret itself.
pub(super) fn secret_hashes(value: &DeValue<'_>) -> Result<SecretHashes, Wrong> {
    let one = |value: &DeValue<'_>| -> Result<[u8; 32], Wrong> {
        let mut hash = [0; 32];
        match value {
            DeValue::String(text) => hex::decode_to_slice(text.as_bytes(), &mut hash)
                .map(|()| hash)
                .map_err(|_| Wrong::found(format!("another text of {} characters", text.chars().count()))),
            _ => Err(Wrong::found("another type")),
        }
    };
    match value {
        DeValue::Array(list) if (1..=4).contains(&list.len()) => {
            let hashes = list.iter().map(|v| one(v.get_ref())).collect::<Result<Vec<_>, _>>()?;
            Ok(SecretHashes(hashes))
        }
        DeValue::Array(list) => Err(Wrong::found(format!("a list of {}", list.len()))),
        value => Ok(SecretHashes(vec![one(value)?])),
    }
}

/// Whether an address is on this machine or in a private network (RFC 1918, RFC 3927, RFC 4193, RFC 4291).
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> toml::Spanned<DeValue<'_>> {
        DeValue::parse(text).unwrap()
    }

    #[test]
    fn sizes_and_durations_have_one_unit_and_no_sign() {
        let all = 0..=u64::MAX;
        for (text, bytes) in
            [("\"64KiB\"", 65536), ("\"1MiB\"", 1 << 20), ("7", 7), ("0x10", 16), ("1_000", 1000)]
        {
            assert_eq!(size(toml(text).get_ref(), &all).unwrap(), bytes, "{text}");
        }
        for bad in
            ["\"64\"", "\"64KB\"", "\"-1KiB\"", "\"KiB\"", "\" 1KiB\"", "\"99999999999GiB\"", "-1", "1.5"]
        {
            assert!(size(toml(bad).get_ref(), &all).is_err(), "{bad}");
        }
        let all = Duration::ZERO..=Duration::MAX;
        for (text, millis) in
            [("\"250ms\"", 250), ("\"2s\"", 2000), ("\"5m\"", 300_000), ("\"1h\"", 3_600_000)]
        {
            assert_eq!(duration(toml(text).get_ref(), &all).unwrap().as_millis(), millis, "{text}");
        }
        for bad in ["\"5\"", "5", "\"5 s\"", "\"1h5m\"", "\"s\"", "\"1d\"", "\"-1s\"", "\"1.5s\""] {
            assert!(duration(toml(bad).get_ref(), &all).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_durations_are_shown_as_they_are_written() {
        for text in ["64KiB", "1MiB", "1GiB", "1000"] {
            let source = if text.ends_with('B') { format!("{text:?}") } else { text.to_owned() };
            assert_eq!(shown_size(size(toml(&source).get_ref(), &(0..=u64::MAX)).unwrap()), text);
        }
        for text in ["250ms", "2s", "5m", "1h", "90s"] {
            let source = format!("{text:?}");
            let span = duration(toml(&source).get_ref(), &(Duration::ZERO..=Duration::MAX)).unwrap();
            assert_eq!(shown_duration(span), text);
        }
    }

    #[test]
    fn a_sqlite_file_is_absolute_with_three_slashes_and_else_relative() {
        let base = Path::new("/etc/chancery");
        let at = |text: &str| sqlite(toml(&format!("{text:?}")).get_ref(), base).ok();
        assert_eq!(at("sqlite:///var/lib/s.db"), Some("/var/lib/s.db".into()));
        assert_eq!(at("sqlite:state/s.db"), Some("/etc/chancery/state/s.db".into()));
        for bad in
            ["sqlite://s.db", "sqlite:", "sqlite:///", "sqlite:a?mode=ro", "sqlite:a%20b", "s.db", "file:a"]
        {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_pin_in_the_token_uri_is_refused_and_not_repeated() {
        assert!(pkcs11(toml("'pkcs11:token=chancery;serial=1'").get_ref()).is_ok());
        assert!(pkcs11(toml("'pkcs11:token=pin-board'").get_ref()).is_ok());
        for bad in
            ["pkcs11:token=a?pin-value=1234", "pkcs11:token=a;PIN-VALUE=1234", "pkcs11:?pin-source=file:1234"]
        {
            let wrong = pkcs11(toml(&format!("{bad:?}")).get_ref()).unwrap_err();
            assert!(!format!("{wrong:?}").contains("1234"), "{bad}");
        }
    }

    #[test]
    fn only_private_addresses_are_private() {
        for (text, private) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("192.168.0.1", true),
            ("172.16.0.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("::ffff:10.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("8.8.8.8", false),
            ("2001:db8::1", false),
            ("::ffff:8.8.8.8", false),
        ] {
            assert_eq!(is_private(text.parse().unwrap()), private, "{text}");
        }
    }
}
