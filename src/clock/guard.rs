//! Guards the system's clock: compares the wall clock with the time since boot.
//!
//! The wall clock (`CLOCK_REALTIME`) and the boot clock (`CLOCK_BOOTTIME`) run at one rate: slewing changes both. So
//! their distance changes only when the wall clock is *set*. The guard compares the distance with the trusted one at
//! each reading: two calls into the vDSO, two loads, no lock.
//!
//! `CLOCK_BOOTTIME` counts the sleep of a suspended machine, as the wall clock does; `CLOCK_MONOTONIC` does not, so
//! each wake-up would look like a jump forward.
//!
//! | observation | effect |
//! |---|---|
//! | a step of up to [`TOLERANCE`] in all | followed, and reported by [`Clock::look`] |
//! | a larger step, forward or back | *in doubt*: [`Clock::now`] refuses; records are dated by the boot clock |
//! | the distance is the trusted one again | trusted again |
//! | another boot than the last mark's, and not behind the mark | settles: every correction is followed, nothing is purged |
//! | the operator confirms the new time ([`Clock::accept`]) | trusted again, with the new distance |
//!
//! At start the last [`Mark`] gives the trusted distance: exactly within the same boot, as a lower bound of the time after
//! another boot. The wall clock then comes from the machine's battery clock, which may be wrong until NTP sets it. So it
//! *settles* for [`SETTLING`]: it may be set either way, but not behind the bound, and decisions use it; nothing is purged
//! ([`Clock::settled`]), records have the bound with the wall clock beside, and no mark is stored.

use super::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How far the wall clock may be set in all, within a day, before it is in doubt. NTP clients slew offsets below 0.1 s
/// to 1 s and step larger ones once; leap seconds are single seconds; a step of 10 s moves no expiry by more than the
/// usual difference between clocks of clients.
pub const TOLERANCE: Duration = Duration::from_secs(10);

/// Steps within the tolerance are added up for this time: a clock that is set by a second a day stays trusted.
const RENEWED: i64 = 24 * 3600 * SECOND;

/// How long the wall clock settles after another boot than the mark's, by the boot clock: time for the network to come
/// up and for NTP to set the clock. `STA_UNSYNC` of adjtimex(2) is no alternative: most containers have it set for
/// ever, and `ProtectClock=` of the units forbids the call.
pub const SETTLING: Duration = Duration::from_secs(600);

/// The smallest step that is reported: smaller differences come from reading the two clocks one after the other.
const STEP: i64 = SECOND / 10;

/// A longer reading of both clocks was interrupted.
const AT_ONCE: i64 = SECOND / 1000;

const SECOND: i64 = 1_000_000_000;
const MOST: i64 = 10 * SECOND;

/// Both clocks at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The wall clock: since 1970.
    pub wall: i64,
    /// The boot clock: since the machine started, its sleep included.
    pub boot: i64,
}

impl Raw {
    const fn distance(self) -> i64 {
        self.wall.saturating_sub(self.boot)
    }
}

/// The source of time: the system, or a test.
#[derive(Clone)]
pub struct TimeSource {
    read: Arc<dyn Fn() -> Raw + Send + Sync>,
    boot_id: Arc<str>,
}

impl fmt::Debug for TimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeSource").field("boot_id", &self.boot_id).finish_non_exhaustive()
    }
}

impl TimeSource {
    /// The system's clocks.
    pub fn system() -> Self {
        Self::of(&boot_id(), || Raw { wall: wall(), boot: since_boot() })
    }

    /// Other clocks, for the boot with this id.
    pub fn of(boot_id: &str, read: impl Fn() -> Raw + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), boot_id: boot_id.into() }
    }

    /// The id of the boot: times of the boot clock are comparable within one boot.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Reads both clocks, again if the thread was interrupted in between.
    fn read_at_once(&self) -> Raw {
        let mut before = (self.read)();
        for _ in 0..8 {
            let after = (self.read)();
            if (after.boot.saturating_sub(before.boot)).abs() < AT_ONCE {
                return after;
            }
            before = after;
        }
        before
    }
}

/// Nanoseconds of the wall clock since 1970.
fn wall() -> i64 {
    i64::try_from(super::wall_unchecked().unix_nanos()).unwrap_or(i64::MAX)
}

/// Nanoseconds since the machine started, sleep included.
fn since_boot() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.saturating_mul(SECOND).saturating_add(now.tv_nsec)
}

/// The id of the machine's boot; `unknown` if the system does not give it, which equals no other boot.
fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = read.trim();
    let valid = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if valid { id.to_owned() } else { UNKNOWN.to_owned() }
}

const UNKNOWN: &str = "unknown";

/// A time for decisions. Only [`Clock::now`] makes one, so none is made while the clock is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trusted(Timestamp);

impl Trusted {
    /// The time.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }
}

/// A time for purging: trusted, from a clock that has settled. Only [`Clock::settled`] makes one, so nothing is purged
/// while NTP may still correct a clock that was ahead at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled(Trusted);

impl Settled {
    /// The time.
    pub const fn time(self) -> Trusted {
        self.0
    }
}

/// The wall clock was set, and it is unknown which of the two times is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// Nanoseconds that the wall clock is ahead of the expected time; negative when it is behind.
    pub ahead: i64,
    /// How long the clock has been in doubt.
    pub lasted: Duration,
}

impl fmt::Display for InDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, side) = (self.ahead.unsigned_abs() / SECOND.unsigned_abs(), direction(self.ahead));
        write!(
            f,
            "the system's clock is in doubt for {} s: it is {seconds} s {side} what the time since boot makes \
             of the last trusted time; set it right, or if its new time is right run: chancery clock accept",
            self.lasted.as_secs()
        )
    }
}

impl std::error::Error for InDoubt {}

const fn direction(nanos: i64) -> &'static str {
    if nanos < 0 { "behind" } else { "ahead of" }
}

/// The times of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The trusted time: the wall clock's, or in doubt the last trusted time advanced by the boot clock.
    pub time: Timestamp,
    /// The wall clock.
    pub raw: Timestamp,
    /// The boot clock, in nanoseconds.
    pub boot: u64,
    /// How `time` was computed.
    pub basis: Basis,
}

/// How a time was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The wall clock, trusted.
    Wall,
    /// In doubt: the last trusted time advanced by the boot clock.
    Expected,
    /// In doubt or settling after a boot: the last time of the boot before, advanced by the time since boot. The real
    /// time is that or later.
    AtLeast,
}

/// A trusted time, stored for the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The time.
    pub time: Timestamp,
    /// The boot clock at that time, in nanoseconds, and the boot's id; `None` where they were not stored.
    pub boot: Option<(u64, String)>,
    /// [`Basis::AtLeast`]: the time is a lower bound.
    pub at_least: bool,
}

/// A change that [`Clock::look`] reports, for a log line and a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockChange {
    /// The time is in doubt.
    Lost(InDoubt),
    /// The time is trusted again.
    Restored {
        /// How long the doubt lasted.
        lasted: Duration,
    },
    /// The clock was set by this many nanoseconds, within the tolerance.
    Stepped(i64),
}

impl fmt::Display for ClockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(doubt) => doubt.fmt(f),
            Self::Restored { lasted } => {
                write!(f, "the system's clock is trusted again, after {} s in doubt", lasted.as_secs())
            }
            Self::Stepped(by) => {
                let (whole, part) = (by.abs() / SECOND, by.abs() % SECOND / (SECOND / 1000));
                let side = if *by < 0 { "back" } else { "forward" };
                write!(f, "the system's clock was set {side} by {whole}.{part:03} s, which is followed")
            }
        }
    }
}

/// The guarded clock. Clones share the trusted distance.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    sources: TimeSource,
    /// The trusted distance: wall clock minus boot clock.
    trusted: AtomicI64,
    /// `trusted` is a lower bound, and the clock settles: [`Basis::AtLeast`].
    at_least: AtomicBool,
    /// Start of the doubt by the boot clock; 0 without one. Any reading begins a doubt, [`Clock::look`] ends it.
    since: AtomicI64,
    watch: Mutex<Watch>,
}

/// State of [`Clock::look`] between calls.
struct Watch {
    told: bool,
    /// The distance that was reported last.
    seen: i64,
    /// When the trusted distance was renewed, by the boot clock.
    renewed: i64,
    /// End of settling by the boot clock, while `at_least` is set.
    settles: i64,
}

impl Clock {
    /// Compares the clocks with the last mark; without a mark the wall clock is trusted.
    pub fn start(sources: TimeSource, last: Option<&Mark>) -> Self {
        let raw = sources.read_at_once();
        let (trusted, at_least) = match last {
            None => (raw.distance(), false),
            Some(Mark { time, boot: Some((boot, id)), at_least })
                if *id == *sources.boot_id && id != UNKNOWN =>
            {
                (time.nanos_i64().saturating_sub_unsigned(*boot), *at_least)
            }
            // Another boot: an unknown time has passed.
            Some(mark) => (mark.time.nanos_i64().saturating_sub(raw.boot), true),
        };
        let clock = Self(Arc::new(Inner {
            sources,
            trusted: AtomicI64::new(trusted),
            at_least: AtomicBool::new(at_least),
            since: AtomicI64::new(0),
            watch: Mutex::new(Watch {
                told: false,
                seen: if at_least { raw.distance() } else { trusted },
                renewed: raw.boot,
                settles: settles(raw),
            }),
        }));
        if !clock.agrees(raw) {
            clock.0.since.store(raw.boot.max(1), Ordering::Relaxed);
        }
        clock
    }

    /// The time for decisions.
    pub fn now(&self) -> Result<Trusted, InDoubt> {
        match self.observe() {
            Ok(raw) => Ok(Trusted(Timestamp::from_unix_nanos(raw.wall.into()))),
            Err((_, doubt)) => Err(doubt),
        }
    }

    /// The time for purging; `None` while the clock is in doubt or settles.
    pub fn settled(&self) -> Option<Settled> {
        if self.settles() { None } else { self.now().ok().map(Settled) }
    }

    fn settles(&self) -> bool {
        self.0.at_least.load(Ordering::Relaxed)
    }

    fn observe(&self) -> Result<Raw, (Raw, InDoubt)> {
        let raw = (self.0.sources.read)();
        if self.0.since.load(Ordering::Relaxed) == 0 && self.agrees(raw) { Ok(raw) } else { self.doubt() }
    }

    /// Reads again, since a thread that was interrupted between the two clocks would see a jump.
    #[cold]
    fn doubt(&self) -> Result<Raw, (Raw, InDoubt)> {
        let raw = self.0.sources.read_at_once();
        let since = self.0.since.load(Ordering::Relaxed);
        if since == 0 && self.agrees(raw) {
            return Ok(raw);
        }
        let begin = raw.boot.max(1);
        let since = self.0.since.compare_exchange(0, begin, Ordering::Relaxed, Ordering::Relaxed);
        Err((raw, self.in_doubt(raw, since.err().unwrap_or(begin))))
    }

    fn in_doubt(&self, raw: Raw, since: i64) -> InDoubt {
        let ahead = raw.distance().saturating_sub(self.0.trusted.load(Ordering::Relaxed));
        InDoubt { ahead, lasted: nanos(raw.boot.saturating_sub(since)) }
    }

    /// The time for a record, which is made in doubt too.
    pub fn reading(&self) -> Reading {
        let (raw, trusted) = match self.observe() {
            Ok(raw) => (raw, true),
            Err((raw, _)) => (raw, false),
        };
        let (wall, boot) =
            (Timestamp::from_unix_nanos(raw.wall.into()), u64::try_from(raw.boot).unwrap_or(0));
        let settles = self.settles();
        if trusted && !settles {
            return Reading { time: wall, raw: wall, boot, basis: Basis::Wall };
        }
        let expected = raw.boot.saturating_add(self.0.trusted.load(Ordering::Relaxed));
        let basis = if settles { Basis::AtLeast } else { Basis::Expected };
        Reading { time: Timestamp::from_unix_nanos(expected.into()), raw: wall, boot, basis }
    }

    /// The mark for the next start; `None` in doubt and while the clock settles.
    pub fn mark(&self) -> Option<Mark> {
        let Reading { time, boot, basis, .. } = self.reading();
        let boot = Some((boot, self.0.sources.boot_id.to_string()));
        (basis == Basis::Wall).then_some(Mark { time, boot, at_least: false })
    }

    /// Called every second by one thread: reports each change once, ends a doubt when the clock is right again, and
    /// trusts a clock that has settled.
    pub fn look(&self) -> Option<ClockChange> {
        let mut watch = self.0.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let raw = self.0.sources.read_at_once();
        let (distance, agrees) = (raw.distance(), self.agrees(raw));
        let mut since = self.0.since.load(Ordering::Relaxed);
        if since == 0 && !agrees {
            since = raw.boot.max(1);
            self.0.since.store(since, Ordering::Relaxed);
        }
        if since != 0 {
            if !watch.told {
                watch.told = true;
                return Some(ClockChange::Lost(self.in_doubt(raw, since)));
            }
            if !agrees {
                return None;
            }
            watch.told = false;
            if self.settles() {
                // The clock was behind the bound and has been set: it settles from now on.
                (watch.seen, watch.settles) = (distance, settles(raw));
            }
            drop(watch);
            self.0.since.store(0, Ordering::Relaxed);
            return Some(ClockChange::Restored { lasted: nanos(raw.boot.saturating_sub(since)) });
        }
        let step = distance.saturating_sub(watch.seen);
        let renew = if self.settles() {
            raw.boot >= watch.settles
        } else {
            raw.boot.saturating_sub(watch.renewed) >= RENEWED
        };
        if renew {
            watch.renewed = raw.boot;
            self.0.trusted.store(distance, Ordering::Relaxed);
            self.0.at_least.store(false, Ordering::Relaxed);
        }
        if step.abs() < STEP {
            return None;
        }
        watch.seen = distance;
        Some(ClockChange::Stepped(step))
    }

    /// The current distance of the wall clock from the boot clock, for [`Self::accept`].
    pub fn distance(&self) -> i64 {
        self.0.sources.read_at_once().distance()
    }

    /// The distance, if it is trusted and has settled; the other process may adopt it.
    pub fn settled_distance(&self) -> Option<i64> {
        if self.settles() { None } else { self.observe().ok().map(Raw::distance) }
    }

    /// Trusts this distance after the operator has confirmed the time and a record says so. Returns `false` and changes
    /// nothing if the clock has been set again meanwhile. A doubt ends without it once the clock is right again.
    pub fn accept(&self, distance: i64) -> bool {
        let raw = self.0.sources.read_at_once();
        if raw.distance().abs_diff(distance) > MOST.unsigned_abs() {
            return false;
        }
        if !self.agrees(raw) {
            self.trust(distance, raw.boot);
        }
        true
    }

    fn trust(&self, distance: i64, boot: i64) {
        let mut watch = self.0.watch.lock().unwrap_or_else(PoisonError::into_inner);
        (watch.seen, watch.renewed) = (distance, boot);
        self.0.trusted.store(distance, Ordering::Relaxed);
        self.0.at_least.store(false, Ordering::Relaxed);
    }

    fn agrees(&self, raw: Raw) -> bool {
        let off = raw.distance().saturating_sub(self.0.trusted.load(Ordering::Relaxed));
        off >= -MOST && (off <= MOST || self.0.at_least.load(Ordering::Relaxed))
    }
}

/// End of settling for a clock that begins to settle.
const fn settles(raw: Raw) -> i64 {
    raw.boot.saturating_add(SETTLING.as_secs().cast_signed().saturating_mul(SECOND))
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
