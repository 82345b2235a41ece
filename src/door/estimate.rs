//! Estimates how long one more ask takes, so that an ask without a chance fails at once.

use std::time::Duration;

/// Number of last answers that count. The quickest of them decides, so one call that hung or one slow disk write does
/// not matter.
const ANSWERS: usize = 4;

/// After this time without an answer, the next one is expected to take as long again.
const GAP: u64 = 3_000_000_000;

/// All times in monotonic nanoseconds.
#[derive(Default)]
pub(super) struct Estimate {
    /// For each of the last answers, its duration divided by the number of open asks.
    each: [u64; ANSWERS],
    next: usize,
    /// Time of the last answer, or of the first ask after it.
    last: u64,
}

impl Estimate {
    /// Enters the first ask after the last answer.
    pub(super) fn begins(&mut self, now: u64) {
        self.last = now;
    }

    /// Enters an answer after `took`, to an ask that was sent behind `before` others.
    pub(super) fn answered(&mut self, now: u64, took: u64, before: usize) {
        if let Some(each) = self.each.get_mut(self.next % ANSWERS) {
            *each = took / (before as u64 + 1);
        }
        self.next = (self.next + 1) % ANSWERS;
        self.last = now;
    }

    /// Estimated time of one more ask behind the open ones. Zero without any: else a token that was slow once would
    /// never be asked again. A missing answer counts only while an ask waits that no answer has overtaken: one call
    /// that hangs says nothing about the others.
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

    fn millis(estimate: &Estimate, under_way: usize, now: u64) -> u128 {
        estimate.likely_time(under_way, true, now).as_millis()
    }

    #[test]
    fn the_estimate_follows_slow_answers() {
        let mut estimate = Estimate::default();
        assert_eq!(millis(&estimate, 500, 0), 0, "nothing is known yet");
        // Two sessions, nine seconds a call: two answers every nine seconds.
        for round in 1..=2 {
            estimate.answered(round * 9 * SECOND, 9 * SECOND, 0);
            estimate.answered(round * 9 * SECOND, 9 * SECOND, 1);
        }
        let now = 18 * SECOND;
        assert_eq!(millis(&estimate, 0, now), 0);
        assert_eq!(millis(&estimate, 1, now), 9_000);
        assert_eq!(millis(&estimate, 2, now), 13_500);
    }

    #[test]
    fn one_slow_answer_among_quick_ones_changes_nothing() {
        let mut estimate = Estimate::default();
        for n in 0..8 {
            estimate.answered(n, SECOND / 1_000, 0);
        }
        estimate.answered(10 * SECOND, 10 * SECOND, 0);
        assert!(millis(&estimate, 100, 10 * SECOND) < 200);
    }

    #[test]
    fn a_signer_that_answers_nothing_for_seconds_is_taken_to_go_on_like_that() {
        let mut estimate = Estimate::default();
        estimate.begins(0);
        assert_eq!(millis(&estimate, 2, 3 * SECOND), 0);
        assert_eq!(millis(&estimate, 2, 4 * SECOND), 12_000);
        assert_eq!(
            estimate.likely_time(1, false, 9 * SECOND),
            Duration::ZERO,
            "one that hangs, and was overtaken"
        );
    }
}
