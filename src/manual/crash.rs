//! # Crashes: what is durable when
//!
//! | the machine stops after | what is there afterwards | what the caller saw |
//! |---|---|---|
//! | the assertion's `jti` and the grant's row are durable | the assertion is used up; a row without token: inactive, since nobody holds one | nothing; a retry is refused as a replay, a new assertion works |
//! | the token's signature, before the record's sync returned | perhaps the record, whole or not at all | nothing |
//! | the record's sync returned | the record | perhaps the answer: a record says that an answer was made available |
//! | a revocation's row is durable, before its record | the token is inactive | nothing, or 503; a retry records it |
//!
//! ## Recovery
//!
//! Batch *n + 1* is written only after the sync of batch *n* returned. So a defect in the last batch is a torn write: its
//! whole frames are kept, the rest is zeroed, and a record says so. A defect before the last batch, a gap, or anything
//! missing below a signed checkpoint is damage: nothing is changed and the signer does not start (exit status 65).
//!
//! A log that was rolled back together with its published files looks whole from inside. So no checkpoint is signed
//! without a [`crate::audit::Continuity`]: a memory outside the log shows that nothing of it is missing, or the operator
//! decides. There are two memories: the signer's, a file in its state directory, and the gateway's, in its database; both
//! lag by two seconds at most.
//!
//! | signer's memory | gateway's memory | what happens |
//! |---|---|---|
//! | not extended by the log | any | the signer ends (65) before it adds anything |
//! | extended, or lost | not extended by the log | the signer ends (65); it has added nothing but a start that nobody signed |
//! | extended, or lost | extended | checkpoints go on, and both memories follow |
//! | extended | lost | the same: a new installation begins so, since `audit init` writes the signer's memory |
//! | lost | lost | the signer stays and signs nothing; requests get 503 until a memory is restored or the operator decides |
//!
//! Restore the newest copy of the log; where there is none, `chancery audit adopt` records the decision that the log goes
//! on as it is.
//!
//! A command beside a stopped service opens the log without the token, so it can append a record but sign nothing.
//!
//! `published/` can be lost whole: tiles, checkpoint and register of keys are made again from the segments.
//!
//! After a failed write or sync nothing is signed again until a new process has read the log from the disk: the pages in
//! memory may not be what the disk has.
//!
//! ## The gateway
//!
//! `SQLite` in WAL mode with `synchronous=FULL`: a revocation that was answered with 200 survives. In the child way the
//! signer ends when the gateway does, in order, whatever the gateway died of: its socket closes.
