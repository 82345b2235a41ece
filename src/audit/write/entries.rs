//! Entries on their way into the log, each with what hears of its record.

use super::receipt::Receipt;
use super::space::Reservation;
use crate::audit::error::BeyondReservation;
use crate::audit::record::entry::Entry;
use std::sync::mpsc::SyncSender;

/// One entry in the queue.
pub(in crate::audit) struct Queued<T> {
    pub(super) entry: Entry,
    /// Bytes that were reserved for it.
    pub(super) reserved: u64,
    pub(super) recipient: Recipient<T>,
    /// A record of a checkpoint: it makes no new checkpoint necessary.
    pub(super) of_checkpoint: bool,
}

/// What gets the receipt once the record is durable.
pub(in crate::audit) enum Recipient<T> {
    /// [`crate::audit::Handlers::on_durable`], with this ticket.
    Handler(T),
    /// A thread that waits.
    Thread(SyncSender<Receipt>),
}

/// Entries with their tickets. They enter the log in [`crate::audit::Log::commit`] or [`crate::audit::Log::hand_over`]
/// and in no other way; a value that is dropped before drops its tickets.
#[must_use = "commit the entries or hand them over: else their tickets get no receipts"]
pub struct Entries<T>(pub(in crate::audit) Vec<Queued<T>>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Entries<T> {
    /// Adds an entry, for which space was reserved.
    ///
    /// # Errors
    /// The ticket is dropped then.
    pub fn push(
        &mut self,
        reservation: Reservation,
        entry: Entry,
        ticket: T,
    ) -> Result<(), BeyondReservation> {
        let (reserved, needed) = (reservation.bytes(), entry.size());
        if needed > reserved {
            return Err(BeyondReservation { reserved, needed });
        }
        let (reserved, recipient) = (reservation.into_cost(), Recipient::Handler(ticket));
        self.0.push(Queued { entry, reserved, recipient, of_checkpoint: false });
        Ok(())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
