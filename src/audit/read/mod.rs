//! Records as they lie on the disk: read, checked against each other and against checkpoints.

pub(in crate::audit) mod copy;
pub(in crate::audit) mod reader;
pub(in crate::audit) mod recorded_keys;
pub(in crate::audit) mod recovery;
mod replay;
mod source;
