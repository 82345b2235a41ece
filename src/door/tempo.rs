//! How fast the signer answers, as the gateway sees it: what tells that one more ask would come too late.

use std::time::Duration;

/// Answers that are looked at: the quickest of them counts, so that one call that hung or one slow write of the disk
/// turns nobody away.
const ANSWERS: usize = 4;

/// Without any answer for so long, the next is taken to need as long again.
const GAP: u64 = 3_000_000_000;

/// All times in monotonic nanoseconds.
#[derive(Default)]
pub(super) struct Tempo {
    /// Of the last answers, how long each took, divided by the asks that were under way.
    each: [u64; ANSWERS],
    next: usize,
    /// The last answer; or when an ask began after it.
    last: u64,
}

impl Tempo {
    /// An ask begins, the first after the last answer.
    pub(super) fn begins(&mut self, now: u64) {
        self.last = now;
    }

    /// An answer has come that took so long, to an ask that found so many before it.
    pub(super) fn answered(&mut self, now: u64, took: u64, before: usize) {
        if let Some(each) = self.each.get_mut(self.next % ANSWERS) {
            *each = took / (before as u64 + 1);
        }
        self.next = (self.next + 1) % ANSWERS;
        self.last = now;
    }

    /// How long one more ask is likely to take behind those under way. Zero behind none: else a token that was slow once
    /// would never be asked again. That nothing is answered tells something only while an ask waits that was not
    /// overtaken by an answer: one call that hangs is not the tempo of the others.
    pub(super) fn likely_time(&self, under_way: usize, waits: bool, now: u64) -> Duration {
        if under_way == 0 {
            return Duration::ZERO;
        }
        let quickest = self.each.iter().copied().min().unwrap_or(0);
        let gap = Some(now.saturating_sub(self.last)).filter(|gap| waits && *gap > GAP).unwrap_or(0);
        Duration::from_nanos(quickest.max(gap).saturating_mul(under_way as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn millis(tempo: &Tempo, under_way: usize, now: u64) -> u128 {
        tempo.likely_time(under_way, true, now).as_millis()
    }

    #[test]
    fn what_slow_answers_took_is_expected_of_the_next() {
        let mut tempo = Tempo::default();
        assert_eq!(millis(&tempo, 500, 0), 0, "nothing is known yet");
        // Two sessions, nine seconds a call: two answers every nine seconds.
        for round in 1..=2 {
            tempo.answered(round * 9 * SECOND, 9 * SECOND, 0);
            tempo.answered(round * 9 * SECOND, 9 * SECOND, 1);
        }
        let now = 18 * SECOND;
        assert_eq!(millis(&tempo, 0, now), 0);
        assert_eq!(millis(&tempo, 1, now), 9_000);
        assert_eq!(millis(&tempo, 2, now), 13_500);
    }

    #[test]
    fn one_slow_answer_among_quick_ones_changes_nothing() {
        let mut tempo = Tempo::default();
        for n in 0..8 {
            tempo.answered(n, SECOND / 1_000, 0);
        }
        tempo.answered(10 * SECOND, 10 * SECOND, 0);
        assert!(millis(&tempo, 100, 10 * SECOND) < 200);
    }

    #[test]
    fn a_signer_that_answers_nothing_for_seconds_is_taken_to_go_on_like_that() {
        let mut tempo = Tempo::default();
        tempo.begins(0);
        assert_eq!(millis(&tempo, 2, 3 * SECOND), 0);
        assert_eq!(millis(&tempo, 2, 4 * SECOND), 12_000);
        assert_eq!(
            tempo.likely_time(1, false, 9 * SECOND),
            Duration::ZERO,
            "one that hangs, and was overtaken"
        );
    }
}
