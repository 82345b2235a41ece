//! One event as one line of JSON, its fields written straight into the line.
//!
//! Time (RFC 3339, UTC, microseconds), level, then `message` and the other fields in their order. The same lines as
//! `tracing_subscriber`'s own with flattened events, without its serializer and its calendar for each of them.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format. There are no spans in this program, so none are shown.
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str("{\"timestamp\":\"")?;
        write_time(&mut line, now())?;
        line.write_str("\",\"level\":\"")?;
        line.write_str(event.metadata().level().as_str())?;
        line.write_char('"')?;
        let mut fields = Fields { line: &mut line, written: Ok(()) };
        event.record(&mut fields);
        fields.written?;
        line.write_str("}\n")
    }
}

/// Since 1970. A clock before 1970 is shown as 1970.
#[expect(clippy::disallowed_methods, reason = "the time of a log line decides nothing")]
fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2026-11-21T20:32:34.`
type Second = [u8; 20];

thread_local! {
    /// The second that this thread wrote last: the calendar is asked once for each.
    static LAST: Cell<(u64, Second)> = const { Cell::new((u64::MAX, [0; 20])) };
}

fn write_time(line: &mut impl Write, since_1970: std::time::Duration) -> fmt::Result {
    let seconds = since_1970.as_secs();
    let (of, mut text) = LAST.get();
    if of != seconds {
        text = second(seconds);
        LAST.set((seconds, text));
    }
    // Digits and signs alone.
    line.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)?;
    let mut digits = [0; 6];
    put(&mut digits, since_1970.subsec_micros());
    line.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)?;
    line.write_char('Z')
}

fn second(seconds: u64) -> Second {
    let mut text = *b"0000-00-00T00:00:00.";
    let date = i64::try_from(seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    if let Some(date) = date {
        let [year, month, day, hour, minute, second] = [
            u32::try_from(date.year()).unwrap_or(0),
            u32::from(u8::from(date.month())),
            u32::from(date.day()),
            u32::from(date.hour()),
            u32::from(date.minute()),
            u32::from(date.second()),
        ];
        for (range, value) in
            [(0..4, year), (5..7, month), (8..10, day), (11..13, hour), (14..16, minute), (17..19, second)]
        {
            if let Some(digits) = text.get_mut(range) {
                put(digits, value);
            }
        }
    }
    text
}

/// Decimal, with leading zeros.
fn put(digits: &mut [u8], mut value: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// `,"name":value` for each field. Of several failures the first one is kept.
struct Fields<'a, 'w> {
    line: &'a mut Writer<'w>,
    written: fmt::Result,
}

impl Fields<'_, '_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.written.is_ok() {
            self.written = name(self.line, field).and_then(|()| value(self.line));
        }
    }
}

fn name(line: &mut Writer<'_>, field: &Field) -> fmt::Result {
    line.write_str(",\"")?;
    // A keyword as name is written `r#type` in the source.
    let name = field.name();
    Escaped(line).write_str(name.strip_prefix("r#").unwrap_or(name))?;
    line.write_str("\":")
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |line| {
            line.write_char('"')?;
            Escaped(line).write_str(value)?;
            line.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |line| write!(line, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |line| line.write_str(if value { "true" } else { "false" }));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // `Debug` writes a finite number as JSON has it, and JSON has no other.
        self.field(
            field,
            |line| {
                if value.is_finite() { write!(line, "{value:?}") } else { line.write_str("null") }
            },
        );
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |line| {
            line.write_char('"')?;
            write!(Escaped(line), "{value:?}")?;
            line.write_char('"')
        });
    }
}

/// Text inside a JSON string (RFC 8259 §7).
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        // What is escaped is one byte long in UTF-8.
        while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
            let (plain, from) = rest.split_at(at);
            self.0.write_str(plain)?;
            let (special, after) = from.split_at(1);
            match special {
                "\"" => self.0.write_str("\\\"")?,
                "\\" => self.0.write_str("\\\\")?,
                "\n" => self.0.write_str("\\n")?,
                other => write!(self.0, "\\u{:04x}", other.bytes().next().unwrap_or_default())?,
            }
            rest = after;
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// What `say` says in our format and in that of `tracing_subscriber`, each without its time.
    fn said(say: impl Fn()) -> (String, String) {
        let base = || tracing_subscriber::fmt().with_target(false).with_max_level(tracing::Level::TRACE);
        let (ours, theirs) = (Lines::default(), Lines::default());
        let subscriber = base().event_format(JsonLine).with_writer(ours.clone()).finish();
        tracing::subscriber::with_default(subscriber, &say);
        let format = base().json().flatten_event(true).with_current_span(false);
        tracing::subscriber::with_default(format.with_writer(theirs.clone()).finish(), &say);
        let timeless = |lines: Lines| {
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            let (head, rest) = text.split_at("{\"timestamp\":\"2026-11-21T20:32:34.000000Z\"".len());
            assert!(head.starts_with("{\"timestamp\":\"") && head.ends_with("Z\""), "{head}");
            rest.to_owned()
        };
        (timeless(ours), timeless(theirs))
    }

    #[test]
    fn a_line_is_what_the_library_would_have_written() {
        let nothing: Option<&str> = None;
        let (ours, theirs) = said(|| {
            tracing::info!(
                request_id = %"abc-1", endpoint = "token", client_id = nothing, some = Some("x"), status = 200_u16,
                below = -5, yes = true, no = false, half = 0.5, whole = 2.0, list = ?["a", "b"],
                r#type = "x", "request"
            );
        });
        assert_eq!(ours, theirs);
        assert!(ours.starts_with(r#","level":"INFO","message":"request","request_id":"abc-1","#), "{ours}");
        let (ours, theirs) = said(|| tracing::warn!(number = f64::NAN, "{} words", 3));
        assert_eq!(ours, theirs);
    }

    proptest! {
        #[test]
        fn whatever_a_field_holds_it_is_one_line_that_reads_back(text in any::<String>(), shown in "\\PC*|[\\x00-\\x7f]*") {
            let (ours, _) = said(|| tracing::error!(text = text.as_str(), %shown, "{text}"));
            prop_assert_eq!(ours.matches('\n').count(), 1);
            let line: Value = serde_json::from_str(&format!("{{\"timestamp\":0{ours}")).unwrap();
            let expected = json!({"timestamp": 0, "level": "ERROR", "message": text, "text": text, "shown": shown});
            prop_assert_eq!(line, expected);
        }

        #[test]
        fn the_time_is_that_of_the_calendar(seconds in 0..253_402_300_799_u64, micros in 0..1_000_000_u32) {
            let mut text = String::new();
            write_time(&mut text, Duration::new(seconds, micros * 1_000)).unwrap();
            let format = time::macros::format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
            );
            let read = time::PrimitiveDateTime::parse(&text, format).unwrap().assume_utc();
            prop_assert_eq!(read.unix_timestamp_nanos(), i128::from(seconds) * 1_000_000_000 + i128::from(micros) * 1_000);
        }
    }
}
