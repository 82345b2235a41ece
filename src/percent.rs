//! Percent escapes (RFC 3986 §2.1), undone strictly: a sign without two hexadecimal digits is an error.

use zeroize::Zeroizing;

/// Undoes each `%XX`. `plain` says what every other byte stands for, or why it may not stand there; `broken` is the
/// error of an escape. The one buffer never grows, so that no copy of a secret stays behind.
pub fn decode<E>(
    text: &[u8],
    broken: impl Fn() -> E,
    plain: impl Fn(u8) -> Result<u8, E>,
) -> Result<Zeroizing<Vec<u8>>, E> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        decoded.push(match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(broken()),
            },
            other => plain(other)?,
        });
    }
    Ok(decoded)
}

fn digit(byte: Option<&u8>) -> Option<u8> {
    char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
