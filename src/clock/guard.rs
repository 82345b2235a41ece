//! The guard over the system's clock: wall clock against the time since boot.
//!
//! The wall clock (`CLOCK_REALTIME`) and the boot clock (`CLOCK_BOOTTIME`) run at one rate: what slews one slews the
//! other. So their distance changes only when the wall clock is *set*. The guard knows the distance that it trusts, and
//! compares it at each reading: two calls into the vDSO, two loads, no lock.
//!
//! `CLOCK_BOOTTIME`, because it counts a suspended machine's sleep as the wall clock does; by `CLOCK_MONOTONIC` each
//! wake-up would look like a jump forward.
//!
//! | found | what follows |
//! |---|---|
//! | a step of up to [`TOLERANCE`] in all | followed, and told by [`Clock::look`] |
//! | more, forward or back | *in doubt*: [`Clock::now`] gives no time to decide by; records go on by the boot clock |
//! | the distance is the trusted one again | trusted again |
//! | another boot than the last mark's, and not behind it | settles: followed either way, and nothing is purged |
//! | the operator says that the new time is right ([`Clock::accept`]) | trusted again, by the new distance |
//!
//! At start the last [`Mark`] takes the place of the distance: with the same boot it gives the distance exactly, with
//! another boot the time that it must at least be. The wall clock then comes from the machine's battery clock, which may
//! be wrong until NTP has set it. So it *settles* for [`SETTLING`]: it may be set either way, as long as it is not behind
//! that bound, and decides meanwhile; nothing is purged by it ([`Clock::settled`]), records are dated by the bound with
//! the wall clock beside, and no mark is kept.

use super::Timestamp;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How far the wall clock may be set in all, within a day, before its time is in doubt. Clients and servers of NTP
/// slew what is less than 0.1 s to 1 s and step the rest once; leap seconds are single seconds; a step of 10 s moves no
/// expiry by more than clocks of clients may differ.
pub const TOLERANCE: Duration = Duration::from_secs(10);

/// Steps within the tolerance count together for so long: a machine whose clock is set by a second a day stays trusted.
const RENEWED: i64 = 24 * 3600 * SECOND;

/// How long the wall clock settles after another boot than the mark's, by the boot clock: the time that a machine needs
/// to find a network and its NTP client to set the clock. `STA_UNSYNC` of adjtimex(2) would say it sooner, and is set in
/// most containers for ever; `ProtectClock=` of the units forbids the call.
pub const SETTLING: Duration = Duration::from_secs(600);

/// The smallest step that is told: below it the readings of two clocks, one after the other, differ by themselves.
const STEP: i64 = SECOND / 10;

/// A reading of both clocks that took longer was interrupted in between.
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

/// Where time comes from: the system, or a test.
#[derive(Clone)]
pub struct Sources {
    read: Arc<dyn Fn() -> Raw + Send + Sync>,
    boot_id: Arc<str>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("boot_id", &self.boot_id).finish_non_exhaustive()
    }
}

impl Sources {
    /// The system's clocks.
    pub fn system() -> Self {
        Self::of(&boot_id(), || Raw { wall: read(WALL), boot: read(BOOT) })
    }

    /// Other clocks, of the boot with this name.
    pub fn of(boot_id: &str, read: impl Fn() -> Raw + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), boot_id: boot_id.into() }
    }

    /// The machine's boot: times of the boot clock can be compared within one.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Both clocks, read at once: again when something came between the two readings.
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

const WALL: nix::time::ClockId = nix::time::ClockId::CLOCK_REALTIME;
const BOOT: nix::time::ClockId = nix::time::ClockId::CLOCK_BOOTTIME;

fn read(clock: nix::time::ClockId) -> i64 {
    // Linux has both clocks and needs no argument of ours: it cannot fail.
    nix::time::clock_gettime(clock)
        .map_or(0, |t| t.tv_sec().saturating_mul(SECOND).saturating_add(t.tv_nsec()))
}

/// The machine's current boot; `unknown` where the system does not tell, which is never the same boot.
fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = read.trim();
    let valid = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if valid { id.to_owned() } else { UNKNOWN.to_owned() }
}

const UNKNOWN: &str = "unknown";

/// A time to decide by. Only [`Clock::now`] makes one: what needs it cannot be done while the clock is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trusted(Timestamp);

impl Trusted {
    /// The time.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }
}

/// A time to purge by: trusted, of a clock that has settled. Only [`Clock::settled`] makes one: what needs it cannot be
/// done while NTP may still set back a clock that was ahead when the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled(Trusted);

impl Settled {
    /// The time.
    pub const fn time(self) -> Trusted {
        self.0
    }
}

/// The wall clock was set, and nothing says which of its two times is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// Nanoseconds that it is ahead of what it should be; negative when it is behind.
    pub ahead: i64,
    /// How long it has been in doubt.
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

/// What a record says of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The time as trusted: the wall clock's, or in doubt what the boot clock makes of the last trusted time.
    pub time: Timestamp,
    /// What the wall clock says.
    pub raw: Timestamp,
    /// The boot clock, in nanoseconds.
    pub boot: u64,
    /// How `time` was reckoned.
    pub basis: Basis,
}

/// How a time was reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The wall clock's, which is trusted.
    Wall,
    /// In doubt: the last trusted time and what passed since by the boot clock.
    Expected,
    /// In doubt or settling since the machine started: the last time of the boot before, and what passed since the
    /// start. The real time is that or later.
    AtLeast,
}

/// A time that was trusted once, kept for the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The time.
    pub time: Timestamp,
    /// The boot clock at that time, in nanoseconds, and the boot; `None` where it was not kept.
    pub boot: Option<(u64, String)>,
    /// [`Basis::AtLeast`]: the time is a bound, not a time that was trusted.
    pub at_least: bool,
}

/// What [`Clock::look`] found new. Each is worth a log line and a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The time is in doubt.
    Lost(InDoubt),
    /// The time is trusted again.
    Restored {
        /// How long it was in doubt.
        lasted: Duration,
    },
    /// The clock was set by this many nanoseconds, within the tolerance.
    Stepped(i64),
}

impl fmt::Display for Change {
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

/// The guarded clock. Clones share what is trusted.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    sources: Sources,
    /// Wall clock minus boot clock, as trusted.
    trusted: AtomicI64,
    /// `trusted` is a lower bound, and the clock settles: [`Basis::AtLeast`].
    at_least: AtomicBool,
    /// In doubt since then by the boot clock; 0 when it is not. Whoever finds a doubt begins it, [`Clock::look`] ends it.
    since: AtomicI64,
    watch: Mutex<Watch>,
}

/// What [`Clock::look`] keeps from one time to the next.
struct Watch {
    /// The doubt was told.
    told: bool,
    /// The distance that was told last.
    seen: i64,
    /// When the trusted distance was renewed, by the boot clock.
    renewed: i64,
    /// Until when the clock settles, by the boot clock, while `at_least` is set.
    settles: i64,
}

impl Clock {
    /// Compares the clocks with the last mark; without one the wall clock is believed.
    pub fn start(sources: Sources, last: Option<&Mark>) -> Self {
        let raw = sources.read_at_once();
        let (trusted, at_least) = match last {
            None => (raw.distance(), false),
            Some(Mark { time, boot: Some((boot, id)), at_least })
                if *id == *sources.boot_id && id != UNKNOWN =>
            {
                (time.nanos_i64().saturating_sub_unsigned(*boot), *at_least)
            }
            // Another boot: time has passed, and nobody knows how much.
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

    /// The time to decide by.
    pub fn now(&self) -> Result<Trusted, InDoubt> {
        match self.observe() {
            Ok(raw) => Ok(Trusted(Timestamp::from_unix_nanos(raw.wall.into()))),
            Err((_, doubt)) => Err(doubt),
        }
    }

    /// The time to purge by; `None` while the clock is in doubt or settles.
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

    /// Looks again, since a thread that was interrupted between the two clocks would see a jump.
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

    /// The time for a record, which is made whatever the clock says.
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

    /// What is to be kept for the next start; `None` in doubt and while the clock settles.
    pub fn mark(&self) -> Option<Mark> {
        let Reading { time, boot, basis, .. } = self.reading();
        let boot = Some((boot, self.0.sources.boot_id.to_string()));
        (basis == Basis::Wall).then_some(Mark { time, boot, at_least: false })
    }

    /// Called every second, by one thread: tells what changed, once each, ends a doubt whose reason is gone, and trusts
    /// a clock that has settled.
    pub fn look(&self) -> Option<Change> {
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
                return Some(Change::Lost(self.in_doubt(raw, since)));
            }
            if !agrees {
                return None;
            }
            watch.told = false;
            if self.settles() {
                // It was behind the bound and is set now: it settles from here on.
                (watch.seen, watch.settles) = (distance, settles(raw));
            }
            drop(watch);
            self.0.since.store(0, Ordering::Relaxed);
            return Some(Change::Restored { lasted: nanos(raw.boot.saturating_sub(since)) });
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
        Some(Change::Stepped(step))
    }

    /// The distance of the wall clock from the boot clock, as it is now, for [`Self::accept`].
    pub fn distance(&self) -> i64 {
        self.0.sources.read_at_once().distance()
    }

    /// The same, while it is trusted and has settled: what the other process may go by.
    pub fn settled_distance(&self) -> Option<i64> {
        if self.settles() { None } else { self.observe().ok().map(Raw::distance) }
    }

    /// Trusts this distance from now on: an operator has said that the time is right, and a record says so. `false`, and
    /// nothing happens, when the clock has been set once more. A doubt whose reason is gone ends without it.
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

/// Until when a clock settles that begins to.
const fn settles(raw: Raw) -> i64 {
    raw.boot.saturating_add(SETTLING.as_secs().cast_signed().saturating_mul(SECOND))
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
