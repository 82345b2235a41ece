//! A record: the exact bytes of one JSON object, at most 16 KiB, whose head the log writes itself.
//!
//! The head is `v`, `origin`, `seq`, `prev` (RFC 6962 leaf hash of the record before, of zeros in the first), `time`,
//! `mono`, `node`, `boot` and, where they apply:
//!
//! | member | when | what |
//! |---|---|---|
//! | `clock_raw` | it is not `time` | what the wall clock said |
//! | `clock_expected` | the clock was in doubt | the last trusted time and what passed since by the boot clock |
//! | `clock_at_least` | the clock was in doubt or settled since the machine started | the last time of the boot before, and what passed since the start |
//! | `sha256` | a JWS was released | its SHA-256 |
//!
//! The members of the [`Draft`](super::draft::Draft) follow. `time` never goes back, and never runs ahead because the wall
//! clock was set: it is the later of the last record's and of the trusted (else the expected) time.
//!
//! In version 1 `mono` is of `CLOCK_MONOTONIC`, which does not count a machine's sleep, no member tells of the clock, and
//! `sha256` stands for unsigned answers as well. Records of both versions verify.

use super::commit::Commitment;
use crate::audit::tree::Hash;
use crate::clock::{Basis, Clock, Reading, Timestamp};
use std::io::Write as _;

/// Version of the record's format that is written; those before it are read as well.
pub const VERSION: u32 = 2;
/// Longest record in bytes.
pub const RECORD_MAX: usize = 16 * 1024;
/// Longest head: 256 bytes of origin and of node, 64 of the boot id, and what is fixed.
pub(in crate::audit) const HEAD_MAX: usize = 1024;
/// Longest members: what a head at its longest leaves.
pub const MEMBERS_MAX: usize = RECORD_MAX - HEAD_MAX;
/// Longest origin and longest node name.
pub(in crate::audit) const NAME_MAX: usize = 256;

/// The encoded members of one record: a JSON object that is known to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    bytes: Vec<u8>,
    body: Option<Commitment>,
}

impl Members {
    /// Takes the bytes of a JSON object of at most [`MEMBERS_MAX`] bytes with at least one member, and the commitment to
    /// an unsigned answer that stands in it.
    pub(super) const fn of_object(bytes: Vec<u8>, body: Option<Commitment>) -> Self {
        Self { bytes, body }
    }

    /// `committed.body`.
    pub(in crate::audit) const fn body(&self) -> Option<Commitment> {
        self.body
    }

    /// The JSON object.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What follows the head: all but the opening brace.
    fn after_brace(&self) -> &[u8] {
        self.bytes.get(1..).unwrap_or_default()
    }
}

/// What is the same in every record of one run of the log.
pub(in crate::audit) struct HeadForm {
    before_seq: Vec<u8>,
    after_mono: Vec<u8>,
}

/// The varying members of one head.
pub(in crate::audit) struct Head<'a> {
    pub(in crate::audit) seq: u64,
    pub(in crate::audit) prev: &'a Hash,
    /// Text of a [`Timestamp`].
    pub(in crate::audit) time: &'a str,
    /// Nanoseconds of the boot clock.
    pub(in crate::audit) mono: u64,
    /// Members that tell of a clock that is not `time`: [`Times::aside`].
    pub(in crate::audit) aside: &'a str,
    /// Digest of what the receipt will release.
    pub(in crate::audit) sha256: Option<&'a [u8; 32]>,
}

impl HeadForm {
    /// Names that [`valid_name`] accepts; `boot` as well.
    pub(in crate::audit) fn new(origin: &str, node: &str, boot: &str) -> Self {
        Self {
            before_seq: format!("{{\"v\":{VERSION},\"origin\":\"{origin}\",\"seq\":").into_bytes(),
            after_mono: format!(",\"node\":\"{node}\",\"boot\":\"{boot}\",").into_bytes(),
        }
    }

    /// Appends one whole record to `out`. The hot path: nothing is allocated when `out` has the room.
    pub(in crate::audit) fn write(&self, head: &Head<'_>, members: &Members, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before_seq);
        number(head.seq, out);
        out.extend_from_slice(b",\"prev\":\"");
        hexadecimal(head.prev, out);
        out.extend_from_slice(b"\",\"time\":\"");
        out.extend_from_slice(head.time.as_bytes());
        out.extend_from_slice(b"\",\"mono\":");
        number(head.mono, out);
        out.extend_from_slice(&self.after_mono);
        out.extend_from_slice(head.aside.as_bytes());
        if let Some(digest) = head.sha256 {
            out.extend_from_slice(b"\"sha256\":\"");
            hexadecimal(digest, out);
            out.extend_from_slice(b"\",");
        }
        out.extend_from_slice(members.after_brace());
    }
}

fn number(n: u64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{n}");
}

fn hexadecimal(bytes: &[u8; 32], out: &mut Vec<u8>) {
    let mut text = [0; 64];
    // 32 bytes are 64 digits: it cannot fail.
    let _ = hex::encode_to_slice(bytes, &mut text);
    out.extend_from_slice(&text);
}

/// Whether a name may stand in a record, a note and a key without being written in another way: printable ASCII
/// without space, quotation mark, backslash and plus (C2SP `signed-note` forbids space and plus).
pub(in crate::audit) fn valid_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'+'))
}

/// The times of the records of one batch; they never go back.
pub(in crate::audit) struct Times {
    clock: Clock,
    last: Timestamp,
    text: String,
    mono: u64,
    aside: String,
}

impl Times {
    /// `last` is the time of the last record.
    pub(in crate::audit) fn new(clock: Clock, last: Timestamp) -> Self {
        Self { clock, last, text: last.to_string(), mono: 0, aside: String::new() }
    }

    /// Reads the clock for the next records.
    pub(in crate::audit) fn advance(&mut self) {
        let Reading { time, raw, boot, basis } = self.clock.reading();
        self.mono = boot;
        if time > self.last {
            self.last = time;
            self.text.clear();
            member(&mut self.text, format_args!("{time}"));
        }
        self.aside.clear();
        if raw != self.last {
            member(&mut self.aside, format_args!("\"clock_raw\":\"{raw}\","));
        }
        match basis {
            Basis::Wall => {}
            Basis::Expected => member(&mut self.aside, format_args!("\"clock_expected\":\"{time}\",")),
            Basis::AtLeast => member(&mut self.aside, format_args!("\"clock_at_least\":\"{time}\",")),
        }
    }

    /// `time` of the next record.
    pub(in crate::audit) fn text(&self) -> &str {
        &self.text
    }

    /// `mono` of the next record.
    pub(in crate::audit) const fn mono(&self) -> u64 {
        self.mono
    }

    /// Members of the next record that tell of the clock.
    pub(in crate::audit) fn aside(&self) -> &str {
        &self.aside
    }
}

fn member(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = std::fmt::Write::write_fmt(text, words);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Draft, Event, Outcome, RecordView};
    use crate::clock::{Raw, TimeSource};
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn a_record_at_its_longest_fits() {
        let name = "n".repeat(NAME_MAX);
        let form = HeadForm::new(&name, &name, &"b".repeat(64));
        let members = Members::of_object(vec![b' '; MEMBERS_MAX], None);
        let time = Timestamp::from_unix_seconds(0).to_string();
        let aside = format!("\"clock_raw\":\"{time}\",\"clock_expected\":\"{time}\",");
        let head = Head {
            seq: u64::MAX,
            prev: &[0; 32],
            time: &time,
            mono: u64::MAX,
            aside: &aside,
            sha256: Some(&[0; 32]),
        };
        let mut out = Vec::new();
        form.write(&head, &members, &mut out);
        assert!(out.len() <= RECORD_MAX, "{} bytes", out.len());
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let form = HeadForm::new("as.example/audit", "node-a", "boot");
        let members = Draft::new(Event::Signed, Outcome::Success).encode().unwrap();
        let time = Timestamp::from_unix_seconds(1_800_000_000).to_string();
        let head = Head { seq: 7, prev: &[3; 32], time: &time, mono: 9, aside: "", sha256: Some(&[4; 32]) };
        let mut out = Vec::new();
        form.write(&head, &members, &mut out);
        let view = RecordView::parse(&out).unwrap();
        assert_eq!((view.seq, view.prev.0, view.mono), (7, [3; 32], 9));
        assert_eq!(view.sha256.map(|d| d.0), Some([4; 32]));
        assert_eq!((view.event.as_ref(), view.origin.as_ref()), ("signed", "as.example/audit"));
    }

    #[test]
    fn the_time_of_records_never_goes_back_and_the_wall_clock_stands_beside_it() {
        static WALL: AtomicI64 = AtomicI64::new(100);
        static BOOT: AtomicI64 = AtomicI64::new(10);
        const SECOND: i64 = 1_000_000_000;
        let read =
            || Raw { wall: WALL.load(Ordering::SeqCst) * SECOND, boot: BOOT.load(Ordering::SeqCst) * SECOND };
        let at = |seconds| Timestamp::from_unix_seconds(seconds).to_string();
        let mut times =
            Times::new(Clock::start(TimeSource::of("boot", read), None), Timestamp::from_unix_seconds(0));
        times.advance();
        assert_eq!((times.text(), times.mono(), times.aside()), (at(100).as_str(), 10_000_000_000, ""));
        // Set back a little.
        WALL.store(95, Ordering::SeqCst);
        times.advance();
        assert_eq!(times.text(), at(100));
        assert_eq!(times.aside(), format!("\"clock_raw\":\"{}\",", at(95)));
        // Two hours ahead, then back.
        WALL.store(7_297, Ordering::SeqCst);
        BOOT.store(12, Ordering::SeqCst);
        times.advance();
        assert_eq!(times.text(), at(102));
        let aside = format!("\"clock_raw\":\"{}\",\"clock_expected\":\"{}\",", at(7_297), at(102));
        assert_eq!(times.aside(), aside);
        WALL.store(103, Ordering::SeqCst);
        BOOT.store(13, Ordering::SeqCst);
        times.clock.look();
        times.clock.look();
        times.advance();
        assert_eq!((times.text(), times.aside()), (at(103).as_str(), ""));
    }

    #[test]
    fn names_that_would_need_escapes_are_refused() {
        assert!(valid_name("as.bank.example/audit/node-a"));
        for bad in ["", "a b", "a\"b", "a\\b", "a+b", "ä", &"x".repeat(NAME_MAX + 1)] {
            assert!(!valid_name(bad), "{bad}");
        }
    }
}
