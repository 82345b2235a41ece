//! Space in the segments, promised before anything is signed.

use super::sync::lock;
use crate::audit::disk::frame::{BATCH_HEADER, BATCH_MAX, FRAME_HEADER};
use crate::audit::disk::header::HEADER_MAX;
use crate::audit::error::{Full, TooLarge};
use std::sync::{Arc, Mutex};

/// What the segments still take, and what of that is promised.
pub(in crate::audit) struct Space {
    state: Mutex<State>,
    /// Most that one entry may cost.
    most: u64,
    /// What only the system's own records may use.
    emergency: u64,
    /// What an empty segment takes.
    capacity: u64,
    /// A batch takes whole blocks of so many bytes.
    block: u64,
}

struct State {
    /// Left in the active segment.
    active: u64,
    /// The prepared next one: all of it or nothing.
    next: u64,
    reserved: u64,
    /// The largest entry so far: at most so much of the active segment stays unused when the next begins.
    largest: u64,
}

/// What the space is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) enum For {
    /// A request, which can still be refused.
    Request,
    /// A record of the system's own.
    System,
}

impl Space {
    /// Segments of `segment_bytes` in blocks of `block`; `active` bytes are left in the active one.
    pub(in crate::audit) fn new(segment_bytes: u64, block: u64, active: u64) -> Self {
        let capacity = segment_bytes - HEADER_MAX;
        Self {
            state: Mutex::new(State { active, next: 0, reserved: 0, largest: 0 }),
            most: (capacity / 4).min(BATCH_MAX as u64) / block * block,
            emergency: (segment_bytes / 16).max(64 * 1024),
            capacity,
            block,
        }
    }

    /// What an entry costs that gets a batch of its own; in company it costs less.
    fn cost(&self, bytes: u64) -> u64 {
        (bytes.saturating_add((FRAME_HEADER + BATCH_HEADER) as u64))
            .checked_next_multiple_of(self.block)
            .unwrap_or(u64::MAX)
    }

    /// Promises space for an entry of `bytes` bytes.
    pub(in crate::audit) fn reserve(self: &Arc<Self>, bytes: u64, purpose: For) -> Result<Reservation, Full> {
        let cost = self.cost(bytes);
        if cost > self.most {
            let around = (FRAME_HEADER + BATCH_HEADER) as u64;
            return Err(TooLarge { found: bytes, most: self.most - around }.into());
        }
        let mut state = lock(&self.state);
        let largest = state.largest.max(cost);
        let kept = if purpose == For::Request { self.emergency } else { 0 };
        let unused = if state.next > 0 { largest } else { 0 };
        let left = (state.active + state.next).saturating_sub(state.reserved + unused + kept);
        if cost > left {
            return Err(Full::Disk { wanted: cost, left });
        }
        state.largest = largest;
        state.reserved += cost;
        drop(state);
        Ok(Reservation { space: Arc::clone(self), bytes, cost })
    }

    /// The next segment is there.
    pub(in crate::audit) fn prepared(&self) {
        lock(&self.state).next = self.capacity;
    }

    /// The next segment has become the active one.
    pub(super) fn rotated(&self, active: u64) {
        let mut state = lock(&self.state);
        state.active = active;
        state.next = 0;
    }

    /// A batch was written whose entries had reserved `reserved`; `active` is left.
    pub(in crate::audit) fn written(&self, active: u64, reserved: u64) {
        let mut state = lock(&self.state);
        state.active = active;
        state.reserved = state.reserved.saturating_sub(reserved);
    }
}

/// Space for one entry, kept until [`crate::audit::Entries::push`] uses it or it is dropped.
pub struct Reservation {
    space: Arc<Space>,
    bytes: u64,
    cost: u64,
}

impl Reservation {
    /// Bytes that the entry may have.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Leaves the space reserved until the entry is written.
    pub(super) fn into_cost(mut self) -> u64 {
        std::mem::take(&mut self.cost)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.cost > 0 {
            let mut state = lock(&self.space.state);
            state.reserved = state.reserved.saturating_sub(self.cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::disk::header::SEGMENT_MIN;

    #[test]
    fn requests_leave_the_emergency_reserve_to_the_system() {
        let space = Arc::new(Space::new(SEGMENT_MIN, 4096, 128 * 1024));
        let mut rooms = Vec::new();
        while let Ok(room) = space.reserve(10_000, For::Request) {
            rooms.push(room);
        }
        assert!(!rooms.is_empty());
        assert!(space.reserve(10_000, For::System).is_ok());
        rooms.pop();
        assert!(space.reserve(10_000, For::Request).is_ok(), "a dropped room is free again");
    }

    #[test]
    fn an_entry_that_no_segment_takes_is_refused_for_good() {
        let space = Arc::new(Space::new(SEGMENT_MIN, 4096, SEGMENT_MIN));
        space.prepared();
        assert!(matches!(space.reserve(SEGMENT_MIN, For::System), Err(Full::TooLarge(_))));
        assert!(matches!(space.reserve(u64::MAX, For::System), Err(Full::TooLarge(_))));
    }

    #[test]
    fn what_stays_unused_at_the_end_of_a_segment_is_not_promised() {
        let space = Arc::new(Space::new(SEGMENT_MIN, 512, 1024));
        space.prepared();
        let mut promised = 0;
        let mut rooms = Vec::new();
        while let Ok(room) = space.reserve(100_000, For::System) {
            promised += room.cost;
            rooms.push(room);
        }
        assert!(promised <= SEGMENT_MIN - HEADER_MAX, "the 1024 bytes take none of them");
    }
}
