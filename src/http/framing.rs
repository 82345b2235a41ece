//! `Transfer-Encoding`: where the body of a request ends is said in one way, which every proxy in front reads alike.

use super::reply::Reply;
use axum::http::HeaderMap;
use axum::http::header::TRANSFER_ENCODING;

/// 501 with any transfer coding but `chunked`, once (RFC 9112 §6.1).
///
/// hyper takes whatever ends in `chunked`, and gives the body as if that were all that was done to it.
pub(super) fn plain(headers: &HeaderMap) -> Result<(), Reply> {
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

    #[test]
    fn a_body_is_chunked_once_or_not_at_all() {
        let accepted = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRANSFER_ENCODING, line.parse().unwrap());
            }
            plain(&headers).is_ok()
        };
        assert!(accepted(&[]) && accepted(&["chunked"]) && accepted(&["Chunked"]));
        for bad in ["gzip, chunked", "chunked, chunked", "identity, chunked", "identity", "chunked;q=1", ""] {
            assert!(!accepted(&[bad]), "{bad}");
        }
        assert!(!accepted(&["chunked", "chunked"]));
    }
}
