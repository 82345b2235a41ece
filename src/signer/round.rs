//! The asks of one round while the token is called, and their transfer to other threads when a call is late.

use super::inbox::{Asks, Inbox};
use std::sync::Arc;

/// Unfinished asks that one thread took together.
pub(super) struct Round {
    asks: Asks,
    /// The indexes in `asks`, in the order of processing.
    order: Vec<usize>,
    /// Number of finished ones.
    finished: usize,
    /// Where the others are handed over.
    inbox: Arc<Inbox>,
}

impl Round {
    pub(super) const fn new(asks: Asks, order: Vec<usize>, inbox: Arc<Inbox>) -> Self {
        Self { asks, order, finished: 0, inbox }
    }

    /// Marks the next asks as finished; returns whether none is left.
    pub(super) fn finish(&mut self, asks: usize) -> bool {
        self.finished += asks;
        self.finished >= self.order.len()
    }

    /// Hands over the unfinished asks except the one at this index among them; returns their count. Each goes alone, so
    /// that none is handed over twice.
    pub(super) fn hand_over(self, but: usize) -> usize {
        let left = self.order.iter().skip(self.finished).enumerate().filter(|(place, _)| *place != but);
        left.filter_map(|(_, number)| self.asks.only(*number)).map(|ask| self.inbox.hand(ask)).count()
    }
}
