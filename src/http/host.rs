//! `Host`: every request names exactly one (RFC 9112 §3.2).

use super::reply::Reply;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::uri::Authority;

/// 400 without exactly one `Host` of the form `uri-host [ ":" port ]`.
///
/// RFC 9112 asks it of HTTP/1.1; here it holds for HTTP/1.0 too, and beside a target in absolute form, whose own host
/// counts instead of the header's. No answer depends on the name: the issuer stands in the configuration. What is
/// refused is a request that a proxy in front may have read for another host than we do.
pub(super) fn one(headers: &HeaderMap) -> Result<(), Reply> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accepted(lines: &[&[u8]]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HOST, HeaderValue::from_bytes(line).unwrap());
        }
        one(&headers).is_ok()
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
}
