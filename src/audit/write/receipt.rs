//! The proof that a record is durable.

use super::queue::Durable;
use crate::audit::record::entry::Covered;

/// The record is durable.
///
/// Only the log makes one, after the sync that covers the record has returned, and nothing copies it: what needs a
/// receipt cannot be had without a record, and no record releases two things.
#[derive(Debug)]
#[must_use = "a receipt is what releases the answer"]
pub struct Receipt {
    sequence: u64,
    covers: Option<Covered>,
}

impl Receipt {
    /// For the log alone, behind the sync.
    pub(super) const fn new(sequence: u64, covers: Option<Covered>, _: &Durable) -> Self {
        Self { sequence, covers }
    }

    /// The record's place in the log.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether the record holds this of what was released. All of it is public, so time tells nothing.
    pub fn covers(&self, covered: &Covered) -> bool {
        self.covers.as_ref() == Some(covered)
    }
}
