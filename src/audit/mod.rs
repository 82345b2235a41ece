//! The audit log: append-only, and durable before anything that it records is released.
//!
//! ```text
//! reserve ─ sign ─ commit ─► queue ─► writer ─► segment, fdatasync ─► receipts ─► release
//!                                                     │
//!                          publisher thread ◄─ durable records ─► tiles, signed checkpoint, its record
//! ```
//!
//! | part | holds |
//! |---|---|
//! | `record` | members of a record, what they commit to, entries |
//! | `disk` | segments, their headers, frames |
//! | `write` | space, queue, batches, receipts |
//! | `publish` | the publisher thread, [`Continuity`] |
//! | `read` | recovery, verification of a copy |
//! | [`note`], [`tree`], [`tiles`] | formats that other verifiers read |
//!
//! What holds:
//!
//! * A [`Receipt`] exists only after the `fdatasync` that covers its record has returned.
//! * The first error of a write or sync on a segment ends the log: no waiter gets a receipt, nothing is tried again.
//! * Batch *n* + 1 is written only after the sync of batch *n* has returned, into blocks of the disk that hold nothing
//!   yet. So a last batch that lacks sectors is a write that a crash cut off, and every other defect, or anything missing
//!   below a signed checkpoint, is damage. Nothing that was written into a segment is ever overwritten.
//! * The note of a checkpoint is published only after the record of its signature is durable, and no checkpoint is
//!   signed over fewer records than one before, and none without a [`Continuity`].
//!
//! The background check of segments older than the last checkpoint, erasing of payloads and pruning come later.

mod create;
mod disk;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod log;
pub mod note;
mod publish;
mod read;
mod record;
mod settings;
#[cfg(test)]
mod tests;
pub mod tiles;
pub mod tree;
mod write;

pub use create::{NewLog, create};
pub use disk::header::{SEGMENT_DEFAULT, SEGMENT_MAX, SEGMENT_MIN};
pub use error::{
    BeyondReservation, CreateError, FileError, Full, LockError, LogError, OpenError, Poisoned, SettingsError,
    TooLarge, TooLong,
};
pub use log::{Handlers, Log, OnDisk};
pub use note::Published;
pub use publish::continuity::{Adoption, Continuity, NotExtended};
pub use read::copy::{Extent, Part, Verified, verify_copy};
pub use read::recorded_keys::RecordedKey;
pub use read::recovery::{Recovery, Torn};
pub use record::commit::{Commitment, Digest, Disclosure, Opened, Salt};
pub use record::draft::{CheckpointRef, Committed, Draft, Known, Withheld};
pub use record::encoding::{MEMBERS_MAX, Members, RECORD_MAX, VERSION};
pub use record::entry::{Covered, Entry, JwsDigest, Payload};
pub use record::event::{Event, Outcome};
pub use record::view::{RecordView, ViewError};
pub use settings::{LogLock, LogSettings, SignCheckpoint};
pub use write::entries::Entries;
pub use write::receipt::Receipt;
pub use write::space::Reservation;
