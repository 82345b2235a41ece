//! The audit log: append-only, and durable before anything that it records is released.
//!
//! ```text
//! reserve ─ sign ─ append ─► queue ─► writer ─► segment, fdatasync ─► receipts ─► release
//!                                                     │
//!                          publisher thread ◄─ durable records ─► tiles, signed checkpoint, its record
//! ```
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

mod block;
mod commit;
mod continuity;
mod copy;
mod create;
mod direct;
mod draft;
mod entry;
mod error;
mod event;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod header;
mod keeper;
mod log;
pub mod note;
mod pen;
mod publisher;
mod queue;
mod reader;
mod record;
mod recorded_keys;
mod recovery;
mod replay;
mod republish;
mod segment;
mod settings;
mod shared;
mod source;
mod space;
mod sync;
#[cfg(test)]
mod tests;
pub mod tiles;
pub mod tree;
mod view;
mod writer;

pub use commit::{Commitment, Digest, Disclosure, Opened, Salt};
pub use continuity::{Adoption, Continuity, NotExtended};
pub use copy::{Extent, Part, Verified, verify_copy};
pub use create::NewLog;
pub use draft::{CheckpointRef, Committed, Draft, Known, Withheld};
pub use entry::{Covered, Entry, JwsDigest, Payload, Receipt};
pub use error::{
    AppendError, CreateError, FileError, Full, LockError, LogError, OpenError, Poisoned, SettingsError,
    TooLarge,
};
pub use event::{Event, Outcome};
pub use frame::Form;
pub use log::{Handlers, Log, OnDisk, Queued};
pub use publisher::Published;
pub use record::{MEMBERS_MAX, Members, RECORD_MAX, TooLong, VERSION};
pub use recorded_keys::RecordedKey;
pub use recovery::{Recovery, Torn};
pub use segment::{SEGMENT_DEFAULT, SEGMENT_MAX, SEGMENT_MIN};
pub use settings::{LogLock, LogSettings, SignCheckpoint};
pub use space::Room;
pub use view::{RecordView, ViewError};
