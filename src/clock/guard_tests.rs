use super::*;
use std::sync::atomic::AtomicI64;

/// Clocks that a test controls.
#[derive(Clone)]
struct Hands(Arc<[AtomicI64; 2]>);

const NOON: i64 = 1_800_000_000 * SECOND;
const HOUR: i64 = 3600 * SECOND;

impl Hands {
    fn new() -> Self {
        Self(Arc::new([AtomicI64::new(NOON), AtomicI64::new(HOUR)]))
    }

    fn sources(&self, boot_id: &str) -> TimeSource {
        let hands = Arc::clone(&self.0);
        TimeSource::of(boot_id, move || {
            let [wall, boot] = &*hands;
            Raw { wall: wall.load(Ordering::SeqCst), boot: boot.load(Ordering::SeqCst) }
        })
    }

    fn clock(&self) -> Clock {
        Clock::start(self.sources("a"), None)
    }

    fn pass(&self, nanos: i64) {
        self.0.iter().for_each(|hand| {
            hand.fetch_add(nanos, Ordering::SeqCst);
        });
    }

    fn set(&self, by: i64) {
        self.0[0].fetch_add(by, Ordering::SeqCst);
    }

    fn boot(&self) {
        self.0[1].store(SECOND, Ordering::SeqCst);
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.0[0].load(Ordering::SeqCst).into())
    }
}

fn later(time: Timestamp, nanos: i64) -> Timestamp {
    Timestamp::from_unix_nanos(time.unix_nanos() + i128::from(nanos))
}

#[test]
fn passing_time_is_trusted_also_during_sleep() {
    let hands = Hands::new();
    let clock = hands.clock();
    for nanos in [0, 1, SECOND, HOUR, 1000 * HOUR] {
        hands.pass(nanos);
        assert_eq!(clock.now().unwrap().timestamp(), hands.wall());
        assert_eq!(clock.look(), None);
        let reading = clock.reading();
        assert_eq!((reading.time, reading.raw, reading.basis), (hands.wall(), hands.wall(), Basis::Wall));
    }
}

#[test]
fn a_jump_causes_doubt_until_it_is_reverted_and_records_use_the_boot_clock() {
    for jump in [2 * HOUR, -2 * HOUR, MOST + 1, -MOST - 1] {
        let hands = Hands::new();
        let clock = hands.clock();
        let begin = hands.wall();
        hands.set(jump);
        assert_eq!(clock.now().unwrap_err().ahead, jump);
        hands.pass(SECOND);
        let reading = clock.reading();
        assert_eq!((reading.time, reading.raw), (later(begin, SECOND), hands.wall()));
        assert_eq!((reading.basis, clock.mark()), (Basis::Expected, None));
        assert!(
            matches!(clock.look(), Some(ClockChange::Lost(doubt)) if doubt.lasted == Duration::from_secs(1))
        );
        assert_eq!(clock.look(), None, "told once");
        hands.set(-jump);
        assert!(clock.now().is_err(), "only the watch ends a doubt");
        assert_eq!(clock.look(), Some(ClockChange::Restored { lasted: Duration::from_secs(1) }));
        assert_eq!(clock.now().unwrap().timestamp(), later(begin, SECOND));
        assert_eq!(clock.look(), None);
    }
}

#[test]
fn a_jump_that_a_request_noticed_first_is_reported() {
    let hands = Hands::new();
    let clock = hands.clock();
    hands.set(HOUR);
    assert!(clock.now().is_err());
    hands.set(-HOUR);
    assert!(matches!(clock.look(), Some(ClockChange::Lost(_))));
    assert!(matches!(clock.look(), Some(ClockChange::Restored { .. })));
}

#[test]
fn small_steps_are_followed_and_reported_until_they_exceed_the_tolerance() {
    let hands = Hands::new();
    let clock = hands.clock();
    for step in [4 * SECOND, -SECOND, 7 * SECOND] {
        hands.set(step);
        assert_eq!(clock.now().unwrap().timestamp(), hands.wall());
        assert_eq!(clock.look(), Some(ClockChange::Stepped(step)));
        assert_eq!(clock.look(), None);
    }
    hands.set(SECOND / 20);
    assert!(clock.now().is_err(), "10.05 s in all");
}

#[test]
fn small_steps_count_together_for_a_day() {
    let hands = Hands::new();
    let clock = hands.clock();
    for _ in 0..100 {
        hands.set(SECOND);
        hands.pass(24 * HOUR);
        assert!(clock.now().is_ok());
        assert_eq!(clock.look(), Some(ClockChange::Stepped(SECOND)));
    }
}

#[test]
fn an_interruption_between_the_two_clocks_is_no_jump() {
    let calls = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&calls);
    let clock = Clock::start(
        // The third reading is interrupted for a minute between wall clock and boot clock.
        TimeSource::of("a", move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Raw { wall: NOON, boot: HOUR },
            2 => Raw { wall: NOON, boot: HOUR + 60 * SECOND },
            _ => Raw { wall: NOON + 60 * SECOND, boot: HOUR + 60 * SECOND },
        }),
        None,
    );
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(clock.now().unwrap().timestamp(), Timestamp::from_unix_nanos((NOON + 60 * SECOND).into()));
    assert_eq!(clock.look(), None);
}

#[test]
fn a_restart_within_a_boot_detects_jumps_in_both_directions() {
    for (jump, trusted) in [(0, true), (9 * SECOND, true), (HOUR, false), (-9 * SECOND, true), (-HOUR, false)]
    {
        let hands = Hands::new();
        let mark = hands.clock().mark().unwrap();
        hands.pass(HOUR);
        let right = hands.wall();
        hands.set(jump);
        let clock = Clock::start(hands.sources("a"), Some(&mark));
        assert_eq!(clock.now().is_ok(), trusted, "{jump}");
        if trusted {
            assert_eq!(clock.look(), (jump != 0).then_some(ClockChange::Stepped(jump)));
        } else {
            assert_eq!(clock.reading().time, right);
            assert!(matches!(clock.look(), Some(ClockChange::Lost(_))));
        }
    }
}

#[test]
fn after_another_boot_a_clock_behind_the_mark_is_in_doubt_until_it_is_set() {
    let hands = Hands::new();
    let mark = hands.clock().mark().unwrap();
    let begin = hands.wall();
    hands.boot();
    hands.set(100 * HOUR);
    assert!(Clock::start(hands.sources("b"), Some(&mark)).now().is_ok(), "the machine may have been off");

    // A machine without a battery starts in 1970.
    hands.set(-200 * HOUR);
    let clock = Clock::start(hands.sources("b"), Some(&mark));
    assert!(clock.now().is_err());
    hands.pass(SECOND);
    let reading = clock.reading();
    assert_eq!((reading.time, reading.basis), (later(begin, SECOND), Basis::AtLeast));
    assert!(matches!(clock.look(), Some(ClockChange::Lost(_))));
    // After another restart the bound is still a bound.
    let bound = Mark { time: reading.time, boot: Some((reading.boot, "b".to_owned())), at_least: true };
    assert!(Clock::start(hands.sources("b"), Some(&bound)).now().is_err());
    // NTP sets the clock.
    hands.set(300 * HOUR);
    assert!(Clock::start(hands.sources("b"), Some(&bound)).now().is_ok());
    assert!(matches!(clock.look(), Some(ClockChange::Restored { .. })));
    assert_eq!(clock.now().unwrap().timestamp(), hands.wall());
    assert_eq!(clock.settled(), None, "it settles from here on");
    hands.pass(SETTLED);
    assert_eq!(clock.look(), None);
    assert!(clock.settled().is_some());
    hands.set(-HOUR);
    assert!(clock.now().is_err(), "and from then on it is held to it");
}

const SETTLED: i64 = SETTLING.as_secs().cast_signed() * SECOND;

#[test]
fn a_clock_that_is_set_right_after_a_start_of_the_machine_is_followed_and_nothing_is_purged_before_it_has_settled()
 {
    for wrong in [2 * HOUR, 15 * SECOND, -HOUR + 20 * SECOND, 0] {
        let hands = Hands::new();
        let mark = hands.clock().mark().unwrap();
        let bound = hands.wall();
        hands.boot();
        // The machine was off for an hour.
        hands.set(HOUR + wrong);
        let clock = Clock::start(hands.sources("b"), Some(&mark));
        hands.pass(SECOND);
        assert_eq!(clock.now().unwrap().timestamp(), hands.wall(), "{wrong}");
        let unsettled = |clock: &Clock| {
            assert_eq!(
                (clock.settled(), clock.mark(), clock.settled_distance()),
                (None, None, None),
                "{wrong}"
            );
        };
        unsettled(&clock);
        let reading = clock.reading();
        assert_eq!(
            (reading.time, reading.raw),
            (later(bound, SECOND), hands.wall()),
            "no record is dated by it"
        );
        assert_eq!(reading.basis, Basis::AtLeast);

        // Restarts, with the time of a record and with the time that the gateway stored.
        let boot = Some((reading.boot, "b".to_owned()));
        let last = Mark { time: reading.time, boot, at_least: true };
        let again = [&last, &mark].map(|mark| Clock::start(hands.sources("b"), Some(mark)));
        hands.set(-wrong);
        for clock in again.iter().chain([&clock]) {
            assert_eq!(clock.look(), (wrong != 0).then_some(ClockChange::Stepped(-wrong)));
            assert_eq!(clock.now().unwrap().timestamp(), hands.wall(), "{wrong}");
            unsettled(clock);
        }
        hands.pass(SETTLED);
        assert_eq!(clock.look(), None);
        assert_eq!(clock.settled().unwrap().time().timestamp(), hands.wall());
        assert_eq!(clock.mark().unwrap().time, hands.wall());
        assert_eq!(clock.reading().basis, Basis::Wall);
        hands.set(15 * SECOND);
        assert!(clock.now().is_err() && clock.settled().is_none(), "as on every other day");
    }
}

#[test]
fn a_clock_that_settles_is_in_doubt_as_soon_as_it_is_set_behind_the_last_time_that_was_known() {
    let hands = Hands::new();
    let mark = hands.clock().mark().unwrap();
    hands.boot();
    hands.set(HOUR);
    let clock = Clock::start(hands.sources("b"), Some(&mark));
    hands.set(-HOUR - 11 * SECOND);
    assert!(clock.now().is_err());
    hands.pass(2 * SETTLED);
    assert!(matches!(clock.look(), Some(ClockChange::Lost(_))));
    assert!(clock.settled().is_none(), "time alone ends no doubt");
    assert!(clock.accept(clock.distance()));
    assert!(matches!(clock.look(), Some(ClockChange::Restored { .. })));
    assert!(clock.settled().is_some(), "an operator has said that it is right");
}

#[test]
fn a_mark_without_boot_clock_is_a_bound_and_an_unknown_boot_is_another_one() {
    let hands = Hands::new();
    for boot in [None, Some((0, UNKNOWN.to_owned()))] {
        let mark = Mark { time: hands.wall(), boot, at_least: false };
        let start = || Clock::start(hands.sources(UNKNOWN), Some(&mark));
        assert!(start().now().is_ok());
        hands.set(HOUR);
        assert!(start().now().is_ok());
        hands.set(-2 * HOUR);
        assert!(start().now().is_err());
        hands.set(HOUR);
    }
}

#[test]
fn an_accepted_time_is_trusted_unless_the_clock_was_set_once_more() {
    let hands = Hands::new();
    let clock = hands.clock();
    hands.set(2 * HOUR);
    assert!(matches!(clock.look(), Some(ClockChange::Lost(_))));
    let distance = clock.distance();
    hands.set(HOUR);
    assert!(!clock.accept(distance));
    hands.set(-HOUR);
    assert!(clock.accept(distance));
    assert!(matches!(clock.look(), Some(ClockChange::Restored { .. })));
    assert_eq!(clock.now().unwrap().timestamp(), hands.wall());
    assert_eq!(clock.look(), None);
    hands.set(-2 * HOUR);
    assert!(clock.now().is_err());
}

#[test]
fn the_systems_clocks_agree_with_themselves() {
    let clock = Clock::start(TimeSource::system(), None);
    for _ in 0..100_000 {
        clock.now().unwrap();
    }
    assert_eq!(clock.look(), None);
}
