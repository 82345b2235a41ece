//! What the head of every request must say in one way, so that each proxy in front reads it as the gateway does.

use super::reply::Reply;
use axum::http::HeaderMap;
use axum::http::header::{HOST, TRANSFER_ENCODING};
use axum::http::uri::Authority;

/// Refuses a head that names no host, or a body whose end may be read in two ways.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Reply> {
    host(headers)?;
    framing(headers)
}

/// 400 without exactly one `Host` of the form `uri-host [ ":" port ]` (RFC 9112 §3.2).
///
/// RFC 9112 asks it of HTTP/1.1; here it holds for HTTP/1.0 too, and beside a target in absolute form, whose own host
/// counts instead of the header's. No answer depends on the name: the issuer stands in the configuration. What is
/// refused is a request that a proxy in front may have read for another host.
fn host(headers: &HeaderMap) -> Result<(), Reply> {
    let mut lines = headers.get_all(HOST).iter();
    let named = |line: &[u8]| {
        // An authority may begin with user information, a `Host` may not (RFC 9110 §7.2).
        let Ok(host) = Authority::try_from(line) else { return false };
        let port = host.as_str().strip_prefix(host.host()).map(|rest| rest.trim_start_matches(':'));
        !host.host().is_empty() && port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
    };
    match (lines.next(), lines.next()) {
        (Some(host), None) if named(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(Reply::unhosted("expected a host and perhaps a port in Host")),
        (None, _) => Err(Reply::unhosted("expected one Host, found none")),
        (Some(_), Some(_)) => Err(Reply::unhosted("expected one Host, found several")),
    }
}

/// 501 with any transfer coding but `chunked`, once (RFC 9112 §6.1).
///
/// hyper takes whatever ends in `chunked`, and gives the body as if that were all that was done to it.
fn framing(headers: &HeaderMap) -> Result<(), Reply> {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(Reply::unknown_coding()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accepted(lines: &[&[u8]]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HOST, HeaderValue::from_bytes(line).unwrap());
        }
        host(&headers).is_ok()
    }

    #[test]
    fn exactly_one_host_with_a_name_is_accepted() {
        for good in ["as.bank.example", "AS.bank.example:8443", "127.0.0.1:1", "[::1]:8443", "x"] {
            assert!(accepted(&[good.as_bytes()]), "{good}");
            assert!(!accepted(&[good.as_bytes(), good.as_bytes()]), "{good} twice");
        }
        assert!(!accepted(&[]));
        for bad in ["", ":8443", "a b", "user@a", "a/b", "http://a", "a:x", "a?b", "a#b", "[::1"] {
            assert!(!accepted(&[bad.as_bytes()]), "{bad}");
        }
        assert!(!accepted(&[b"a\xff"]));
    }

    #[test]
    fn a_body_is_chunked_once_or_not_at_all() {
        let accepted = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRANSFER_ENCODING, line.parse().unwrap());
            }
            framing(&headers).is_ok()
        };
        assert!(accepted(&[]) && accepted(&["chunked"]) && accepted(&["Chunked"]));
        for bad in ["gzip, chunked", "chunked, chunked", "identity, chunked", "identity", "chunked;q=1", ""] {
            assert!(!accepted(&[bad]), "{bad}");
        }
        assert!(!accepted(&["chunked", "chunked"]));
    }
}
