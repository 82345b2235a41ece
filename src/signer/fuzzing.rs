//! Entry points of `tests/fuzz`: messages in both directions, and the rules for asks of a hostile gateway.

use super::content::{AccessTokenClaims, Introspection};
use super::{AdminAnswer, AdminAsk, AuditorAnswer, AuditorAsk, rules};
use crate::claims::NumericDate;
use crate::config::Config;
use crate::door::frame::{Frames, append_answer, first};
use crate::door::message::{Ask, Hello, Request, Response, Welcome};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Splits `wire` into frames, in one piece and in several: `None` if a frame is too long.
///
/// # Panics
///
/// If the results differ.
pub fn frames(wire: &[u8], piece: usize) -> Option<Vec<Vec<u8>>> {
    let mut whole = Vec::new();
    let mut rest = wire;
    let ended = loop {
        match first(rest) {
            Ok(Some(frame)) => {
                whole.push(frame.to_vec());
                rest = rest.get(4 + frame.len()..).unwrap_or_default();
            }
            Ok(None) => break Some(()),
            Err(_) => break None,
        }
    };
    let (mut frames, mut pieces) = (Frames::default(), Vec::new());
    'wire: for part in wire.chunks(piece.max(1)) {
        frames.push(part);
        loop {
            match frames.next() {
                Ok(Some(frame)) => pieces.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => break 'wire,
            }
        }
    }
    assert_eq!(whole, pieces);
    ended.map(|()| whole)
}

/// Parses every JSON message and serializes the valid ones.
pub fn messages(json: &[u8]) {
    fn again<T: Serialize + DeserializeOwned>(json: &[u8]) {
        let Ok(message) = serde_json::from_slice::<T>(json) else { return };
        let once = serde_json::to_string(&message).unwrap_or_default();
        let twice = serde_json::from_str::<T>(&once).ok().and_then(|m| serde_json::to_string(&m).ok());
        assert_eq!(Some(once), twice);
    }
    again::<Request>(json);
    again::<Hello>(json);
    again::<Welcome>(json);
    again::<AdminAsk>(json);
    again::<AdminAnswer>(json);
    again::<AuditorAsk>(json);
    again::<AuditorAnswer>(json);
}

/// Checks an ask at `now` and builds the bytes to sign; `None` if a rule is broken.
pub fn judge(config: &Config, request: &[u8], now: NumericDate) -> Option<String> {
    let request: Request = serde_json::from_slice(request).ok()?;
    let issuer = &config.issuer;
    match &request.ask {
        Ask::Introspection(ask) => {
            let rs = rules::introspection(config, ask, now).ok()?;
            serde_json::to_string(&Introspection::new(issuer, rs, ask)).ok()
        }
        Ask::Token(ask) if ask.opaque.is_some() => {
            rules::opaque_token(config, ask, now).ok()?;
            None
        }
        Ask::Token(ask) => {
            let rs = rules::access_token(config, ask, now).ok()?;
            serde_json::to_string(&AccessTokenClaims::new(issuer, rs, ask)).ok()
        }
        _ => None,
    }
}

/// Parses an answer, and compares its serialization with the input.
///
/// # Panics
///
/// If they differ.
pub fn answer(frame: &[u8]) {
    let Some(answer) = Response::decode(frame) else { return };
    let mut wire = Vec::new();
    if append_answer(&mut wire, &answer).is_ok() {
        let again = first(&wire).ok().flatten().and_then(Response::decode);
        assert_eq!(again.as_ref(), Some(&answer));
    }
}
