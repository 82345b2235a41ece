//! The asks of one round while the token is called for them: what of them another thread gets when a call is late.

use super::inbox::{Asks, Inbox};
use std::sync::Arc;

/// Asks that came together and are not finished.
pub(super) struct Round {
    asks: Asks,
    /// The number in `asks` of each, in the order in which they are done.
    order: Vec<usize>,
    /// How many of them are finished.
    finished: usize,
    /// Where the others go.
    inbox: Arc<Inbox>,
}

impl Round {
    pub(super) const fn new(asks: Asks, order: Vec<usize>, inbox: Arc<Inbox>) -> Self {
        Self { asks, order, finished: 0, inbox }
    }

    /// The next of them are finished; whether none is left.
    pub(super) fn finish(&mut self, asks: usize) -> bool {
        self.finished += asks;
        self.finished >= self.order.len()
    }

    /// Hands over those that are not finished but for the one with this place among them; how many. Each goes alone, so
    /// that none is handed over twice.
    pub(super) fn hand_over(self, but: usize) -> usize {
        let left = self.order.iter().skip(self.finished).enumerate().filter(|(place, _)| *place != but);
        left.filter_map(|(_, number)| self.asks.only(*number)).map(|ask| self.inbox.hand(ask)).count()
    }
}
