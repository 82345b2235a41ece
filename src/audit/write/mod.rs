//! From an entry to its receipt: space, queue, batch, sync.

pub(in crate::audit) mod entries;
pub(in crate::audit) mod keeper;
pub(in crate::audit) mod pen;
mod queue;
pub(in crate::audit) mod receipt;
pub(in crate::audit) mod shared;
pub(in crate::audit) mod space;
pub(in crate::audit) mod sync;
pub(in crate::audit) mod writer;
