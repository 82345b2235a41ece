//! The log's files as bytes: segments, their headers, and the frames of records in them.

pub(in crate::audit) mod block;
pub(in crate::audit) mod direct;
pub(in crate::audit) mod frame;
pub(in crate::audit) mod header;
pub(in crate::audit) mod segment;
