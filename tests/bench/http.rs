//! A minimal HTTP/1.1 client, whose cost is small beside the server's.

use super::Outcome;

/// A `POST` of a form with a secret in the header (RFC 6749 §2.3.1), complete.
pub(crate) fn post(path: &str, caller: &str, secret: &str, accept: &str, form: &str) -> Vec<u8> {
    let credentials = basic(caller, secret);
    let length = form.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Basic {credentials}\r\naccept: {accept}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{form}"
    )
    .into_bytes()
}

/// A `GET`.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

fn basic(caller: &str, secret: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("{caller}:{secret}"))
}

/// One answer in a buffer.
#[derive(Debug)]
pub(crate) struct Answer<'b> {
    /// The status code's three digits.
    pub status: &'b [u8],
    /// The media type, as sent.
    pub content_type: &'b [u8],
    /// The body.
    pub body: &'b [u8],
    /// Bytes of the whole answer.
    pub length: usize,
}

impl Answer<'_> {
    /// The answer as an error text.
    pub(crate) fn text(&self) -> String {
        let [status, body] = [self.status, self.body].map(String::from_utf8_lossy);
        format!("status {status}, {}, {body}", String::from_utf8_lossy(self.content_type))
    }
}

/// The answer at the start of `bytes`; `None` while some of it is still to come.
pub(crate) fn parse(bytes: &[u8]) -> Outcome<Option<Answer<'_>>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = bytes.split_at(end + 4);
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.next().unwrap_or_default();
    let status =
        first.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)).ok_or("no HTTP/1.1 answer")?;
    let (mut length, mut content_type) = (None, &b""[..]);
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            length = std::str::from_utf8(value).ok().and_then(|value| value.parse::<usize>().ok());
        } else if name.eq_ignore_ascii_case(b"content-type") {
            content_type = value;
        }
    }
    let length = length.ok_or("an answer without content-length, which this client does not read")?;
    let body = rest.get(..length);
    Ok(body.map(|body| Answer { status, content_type, body, length: head.len() + length }))
}
