//! Durable records as tiles and signed checkpoints.

pub(in crate::audit) mod continuity;
pub(in crate::audit) mod publisher;
pub(in crate::audit) mod republish;
