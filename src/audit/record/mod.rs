//! What a record holds: its members, what they commit to, and its exact bytes.

pub(in crate::audit) mod commit;
pub(in crate::audit) mod draft;
pub(in crate::audit) mod encoding;
pub(in crate::audit) mod entry;
pub(in crate::audit) mod event;
pub(in crate::audit) mod view;
