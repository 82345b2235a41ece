//! Time as an argument: the only file that reads the system's clocks.
//!
//! | use | source |
//! |---|---|
//! | decisions by expiry | [`Clock::now`], which refuses while the system's clock is in doubt |
//! | purging | [`Clock::settled`], which refuses also while NTP may still correct the clock after a boot |
//! | records | [`Clock::reading`]: the time used, and the wall clock |
//! | durations | [`monotonic_nanos`] |
//! | texts without effect (a manifest, a test) | [`wall_unchecked`] |
//!
//! Rules take the time as an argument, so that they can be tested at any instant (`.clippy.toml` forbids the ambient
//! clocks elsewhere).

mod guard;

pub use guard::{
    Basis, Clock, ClockChange, InDoubt, Mark, Raw, Reading, SETTLING, Settled, TOLERANCE, TimeSource, Trusted,
};

use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// UTC with nine digits, so that texts of records sort and have one length.
const RFC3339_NANOS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");

/// An instant of UTC in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i128);

impl Timestamp {
    /// From nanoseconds since 1970.
    pub const fn from_unix_nanos(nanos: i128) -> Self {
        Self(nanos)
    }

    /// From seconds since 1970.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds as i128 * 1_000_000_000)
    }

    /// Whole seconds since 1970, as JWT's `NumericDate` (RFC 7519 §2).
    pub fn unix_seconds(self) -> i64 {
        i64::try_from(self.0.div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
    }

    /// Nanoseconds since 1970.
    pub const fn unix_nanos(self) -> i128 {
        self.0
    }

    /// Nanoseconds since 1970, as far as 64 bits reach: from 1677 to 2262.
    fn nanos_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(if self.0 < 0 { i64::MIN } else { i64::MAX })
    }

    /// From the text that [`fmt::Display`] writes: RFC 3339 in UTC with nine digits.
    pub fn parse(text: &str) -> Option<Self> {
        // The shape first: `time` 0.3.55 subtracts with overflow where a digit should be and is none, which is a panic in
        // a debug build.
        const SHAPE: &[u8; 30] = b"0000-00-00T00:00:00.000000000Z";
        let fits =
            |(found, shape): (u8, &u8)| if *shape == b'0' { found.is_ascii_digit() } else { found == *shape };
        if text.len() != SHAPE.len() || !text.bytes().zip(SHAPE).all(fits) {
            return None;
        }
        let parsed = time::PrimitiveDateTime::parse(text, RFC3339_NANOS).ok()?;
        Some(Self(parsed.assume_utc().unix_timestamp_nanos()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = OffsetDateTime::from_unix_timestamp_nanos(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        f.write_str(&date.format(RFC3339_NANOS).map_err(|_| fmt::Error)?)
    }
}

/// The system's wall clock, right or wrong: for texts alone. Decisions use [`Clock::now`].
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock unguarded")]
pub fn wall_unchecked() -> Timestamp {
    Timestamp(OffsetDateTime::now_utc().unix_timestamp_nanos())
}

/// Nanoseconds of the monotonic clock since the machine started; it never goes back.
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Time since `began`, a value of [`monotonic_nanos`].
pub fn since(began: u64) -> Duration {
    Duration::from_nanos(monotonic_nanos().saturating_sub(began))
}

/// Decaying minimum of a duration, measured repeatedly by threads that may be interrupted: the shortest of about the
/// last 16 values, or the last value if it is too long for an interruption.
#[derive(Default)]
pub struct Quickest {
    /// In nanoseconds; 0 before the first.
    nanos: AtomicU64,
}

impl Quickest {
    /// Longer than any interruption of a thread.
    const LONG: Duration = Duration::from_millis(100);

    /// Enters one duration.
    pub fn took(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let quickest = match self.nanos.load(Ordering::Relaxed) {
            0 => nanos,
            _ if time > Self::LONG => nanos,
            before => nanos.min(before.saturating_add(before / 16 + 1)),
        };
        self.nanos.store(quickest, Ordering::Relaxed);
    }

    /// Zero before the first duration.
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// A trusted time for tests.
#[cfg(test)]
pub(crate) fn settled_in_tests(seconds: i64) -> Settled {
    let read = move || Raw { wall: seconds * 1_000_000_000, boot: 0 };
    Clock::start(TimeSource::of("test", read), None).settled().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_its_text() {
        let t = Timestamp::from_unix_nanos(1_795_000_000_123_456_789);
        assert_eq!(Timestamp::parse(&t.to_string()), Some(t));
        assert_eq!(t.to_string().len(), "2026-11-21T20:32:34.000000001Z".len());
    }

    #[test]
    fn a_text_with_any_other_byte_in_any_place_is_no_time_and_no_panic() {
        let good = "2026-11-21T20:32:34.000000001Z";
        for place in 0..good.len() {
            for byte in 0..=0x7f_u8 {
                let mut text = good.as_bytes().to_vec();
                text[place] = byte;
                let parsed = Timestamp::parse(std::str::from_utf8(&text).unwrap());
                assert!(parsed.is_none_or(|t| t.to_string().as_bytes() == text));
            }
        }
        for bad in [
            "",
            "2026-11-21T20:32:34Z",
            "2026-13-41T25:61:61.000000000Z",
            "2026-11-21T20:32:34.00000000\u{e9}Z",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }
}
