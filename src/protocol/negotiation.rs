//! The format of an introspection answer: server-driven negotiation (RFC 9110 §12.4.2, §12.5.1) for RFC 9701 §4.
//!
//! The most specific range gives each format its weight, the greater weight wins, and a tie goes to the JWT if it was
//! named. Wildcards and an absent or empty field name no format and get the default of the resource server: JSON, or
//! the JWT if it is required. `application/*+jwt` is no wildcard but a subtype of that name. Parameters of a media type
//! are ignored.

use crate::claims::AnswerFormat;

/// The media type of RFC 9701 §10.2.
pub const INTROSPECTION_JWT: &str = "application/token-introspection+jwt";

/// The media type of RFC 7662 §2.2.
pub const JSON: &str = "application/json";

/// Why no format was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// The field breaks its grammar: 400.
    #[error(
        "the Accept field is malformed: expected media ranges with weights from 0 to 1 (RFC 9110 section 12.5.1)"
    )]
    Malformed,
    /// None of the available formats is acceptable: 406.
    #[error("the Accept field takes no form that is available: expected application/token-introspection+jwt")]
    NotAcceptable,
}

/// Chooses from all `Accept` lines of a request; with `require_signed` only the JWT is available.
pub fn negotiate(accept: &[&str], require_signed: bool) -> Result<AnswerFormat, NegotiationError> {
    let mut ranges = Vec::new();
    for line in accept {
        read_line(line, &mut ranges)?;
    }
    if ranges.is_empty() {
        return Ok(if require_signed { AnswerFormat::Jwt } else { AnswerFormat::Json });
    }
    let jwt = weigh(&ranges, INTROSPECTION_JWT).filter(|m| m.weight > 0);
    let json = weigh(&ranges, JSON).filter(|m| m.weight > 0 && !require_signed);
    match (jwt, json) {
        (None, None) => Err(NegotiationError::NotAcceptable),
        (Some(_), None) => Ok(AnswerFormat::Jwt),
        (None, Some(_)) => Ok(AnswerFormat::Json),
        (Some(jwt), Some(json)) => {
            let jwt_wins = jwt.weight > json.weight
                || (jwt.weight == json.weight && jwt.specificity == Specificity::Exact);
            Ok(if jwt_wins { AnswerFormat::Jwt } else { AnswerFormat::Json })
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    All,
    Type,
    Exact,
}

/// Preference for one format, ordered by specificity, then by weight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    specificity: Specificity,
    /// Thousandths.
    weight: u16,
}

struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// Thousandths.
    weight: u16,
}

fn weigh(ranges: &[Range<'_>], media_type: &str) -> Option<Match> {
    let (kind, subtype) = media_type.split_once('/')?;
    let fits = |range: &Range<'_>| {
        let specificity = match (range.kind, range.subtype) {
            ("*", "*") => Specificity::All,
            (k, "*") if k.eq_ignore_ascii_case(kind) => Specificity::Type,
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => Specificity::Exact,
            _ => return None,
        };
        Some(Match { specificity, weight: range.weight })
    };
    ranges.iter().filter_map(fits).max()
}

/// One field line: `#( media-range [ weight ] )`, empty elements allowed (RFC 9110 §5.6.1.2).
fn read_line<'a>(line: &'a str, ranges: &mut Vec<Range<'a>>) -> Result<(), NegotiationError> {
    let mut rest = Rest(line);
    loop {
        rest.skip_space();
        if rest.is_empty() {
            return Ok(());
        }
        if rest.take(',') {
            continue;
        }
        ranges.push(rest.range().ok_or(NegotiationError::Malformed)?);
        rest.skip_space();
        if !rest.is_empty() && !rest.take(',') {
            return Err(NegotiationError::Malformed);
        }
    }
}

/// The unread rest of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, c: char) -> bool {
        match self.0.strip_prefix(c) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// RFC 9110 §5.6.2.
    fn token(&mut self) -> Option<&'a str> {
        let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let length = self.0.bytes().take_while(|b| is_tchar(*b)).count();
        let (token, rest) = self.0.split_at_checked(length).filter(|(token, _)| !token.is_empty())?;
        self.0 = rest;
        Some(token)
    }

    /// RFC 9110 §5.6.4; the content is ignored.
    fn quoted(&mut self) -> Option<()> {
        let mut characters = self.0.strip_prefix('"')?.char_indices();
        while let Some((place, c)) = characters.next() {
            match c {
                '"' => {
                    self.0 = self.0.get(place + 2..)?;
                    return Some(());
                }
                '\\' => {
                    characters.next().filter(|(_, c)| *c == '\t' || !c.is_control())?;
                }
                '\t' => {}
                c if c.is_control() => return None,
                _ => {}
            }
        }
        None
    }

    /// `media-range [ weight ]` with parameters before and after the weight.
    fn range(&mut self) -> Option<Range<'a>> {
        let kind = self.token()?;
        if !self.take('/') {
            return None;
        }
        let subtype = self.token()?;
        let mut weight = None;
        loop {
            let before = self.0;
            self.skip_space();
            if !self.take(';') {
                self.0 = before;
                return Some(Range { kind, subtype, weight: weight.unwrap_or(1000) });
            }
            self.skip_space();
            let Some(name) = self.token() else { continue };
            if !self.take('=') {
                return None;
            }
            if name.eq_ignore_ascii_case("q") {
                if weight.replace(thousandths(self.token()?)?).is_some() {
                    return None;
                }
            } else if self.0.starts_with('"') {
                self.quoted()?;
            } else {
                self.token()?;
            }
        }
    }
}

/// `qvalue` (RFC 9110 §12.4.2): 0 or 1 with at most three decimals, none above 1.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, fraction) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AnswerFormat::{Json, Jwt};
    use NegotiationError::{Malformed, NotAcceptable};
    use proptest::prelude::*;

    const J: &str = INTROSPECTION_JWT;

    #[test]
    fn the_field_chooses() {
        let half = |a: &str, b: &str| format!("{a};q=0.5, {b}");
        // Accept, the answer where JSON is allowed, the answer where it is not.
        let table: [(&str, _, _); 32] = [
            ("", Ok(Json), Ok(Jwt)),
            (" , ,", Ok(Json), Ok(Jwt)),
            ("*/*", Ok(Json), Ok(Jwt)),
            ("application/*", Ok(Json), Ok(Jwt)),
            ("APPLICATION/*;q=0.1", Ok(Json), Ok(Jwt)),
            (J, Ok(Jwt), Ok(Jwt)),
            ("Application/Token-Introspection+JWT", Ok(Jwt), Ok(Jwt)),
            (&format!("{J};charset=utf-8"), Ok(Jwt), Ok(Jwt)),
            (&format!("{J} ; v=\"a,b;q=0\\\"\" ; q=1.000 ; ext=1"), Ok(Jwt), Ok(Jwt)),
            ("application/json", Ok(Json), Err(NotAcceptable)),
            (&format!("application/json, {J}"), Ok(Jwt), Ok(Jwt)),
            (&format!("{J}, application/json"), Ok(Jwt), Ok(Jwt)),
            (&half(J, "application/json"), Ok(Json), Ok(Jwt)),
            (&half("application/json", J), Ok(Jwt), Ok(Jwt)),
            (&half(J, "*/*"), Ok(Json), Ok(Jwt)),
            (&format!("{J}, */*"), Ok(Jwt), Ok(Jwt)),
            ("application/json, */*", Ok(Json), Ok(Jwt)),
            ("application/json;q=0.5, */*", Ok(Jwt), Ok(Jwt)),
            ("application/json;q=0, */*", Ok(Jwt), Ok(Jwt)),
            (&format!("{J};q=0, */*"), Ok(Json), Err(NotAcceptable)),
            (&format!("{J};q=0"), Err(NotAcceptable), Err(NotAcceptable)),
            (&format!("{J};q=0."), Err(NotAcceptable), Err(NotAcceptable)),
            ("*/*;q=0", Err(NotAcceptable), Err(NotAcceptable)),
            (&format!("{J};q=0.001, application/json;q=0.000"), Ok(Jwt), Ok(Jwt)),
            (&format!("{J};q=0.2, {J};q=0.9, application/json;q=0.5"), Ok(Jwt), Ok(Jwt)),
            ("application/*+jwt", Err(NotAcceptable), Err(NotAcceptable)),
            ("application/token-userinfo+jwt", Err(NotAcceptable), Err(NotAcceptable)),
            ("application/jwt, text/html", Err(NotAcceptable), Err(NotAcceptable)),
            ("*/json", Err(NotAcceptable), Err(NotAcceptable)),
            ("text/*", Err(NotAcceptable), Err(NotAcceptable)),
            (&format!("text/plain;x=\", {J}\""), Err(NotAcceptable), Err(NotAcceptable)),
            (&format!("{J};Q=0.3, application/json;q=0.2"), Ok(Jwt), Ok(Jwt)),
        ];
        for (accept, open, signed_only) in table {
            assert_eq!(negotiate(&[accept], false), open, "{accept:?}");
            assert_eq!(negotiate(&[accept], true), signed_only, "{accept:?}, signed only");
        }
        assert_eq!(negotiate(&[], false), Ok(Json));
        assert_eq!(negotiate(&[], true), Ok(Jwt));
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(negotiate(&["text/html", J], false), Ok(Jwt));
        assert_eq!(negotiate(&["application/json", &format!("{J};q=0.9")], false), Ok(Json));
        assert_eq!(negotiate(&[J, "x"], false), Err(Malformed));
    }

    #[test]
    fn grammar_errors_are_malformed_at_every_position() {
        for bad in [
            "application",
            "application/",
            "/json",
            "a/b/c",
            "a b/c",
            "a/b c/d",
            "a/b;q",
            "a/b;q=",
            "a/b;q=.5",
            "a/b;q=1.001",
            "a/b;q=1.0000",
            "a/b;q=2",
            "a/b;q=-1",
            "a/b;q=0,5",
            "a/b;q=\"0.5\"",
            "a/b;q =1",
            "a/b;q= 1",
            "a/b;q=0.5;q=0.5",
            "a/b;x=\"",
            "a/b;x=\"\\",
            "a/b;x=\"\n\"",
            "a/b;x",
            "a/b;=1",
            "\u{e9}/b",
            "a/b;q=+1",
            "a/b;q=1e0",
            "*",
            "a/b;;;x",
        ] {
            assert_eq!(negotiate(&[bad], false), Err(Malformed), "{bad:?}");
            assert_eq!(negotiate(&[J, bad], true), Err(Malformed), "{bad:?} beside the JWT");
        }
        assert_eq!(negotiate(&["application/json; ;"], false), Ok(Json), "empty parameters are none");
    }

    proptest! {
        #[test]
        fn no_field_makes_the_reader_panic(line in "\\PC{0,80}", signed in any::<bool>()) {
            let _ = negotiate(&[&line], signed);
        }

        #[test]
        fn a_signed_only_resource_server_never_gets_json(line in "[a-z/*;=,. \"q0-9+-]{0,60}") {
            prop_assert_ne!(negotiate(&[&line], true), Ok(Json));
        }

        #[test]
        fn every_weight_of_the_grammar_is_read(n in 0_u16..=1000) {
            let text = if n == 1000 { "1".to_owned() } else { format!("0.{n:03}") };
            prop_assert_eq!(thousandths(&text), Some(n));
        }
    }
}
