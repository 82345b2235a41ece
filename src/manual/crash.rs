//! # Crashes: what is durable when
//!
//! | the machine stops after | state afterwards | result for the caller |
//! |---|---|---|
//! | the assertion's `jti` and the grant's row are durable | the assertion is used; a row whose token was never released | nothing; a retry is refused as a replay, a new assertion works |
//! | the token's signature, before the record's sync returned | the whole record or none of it | nothing |
//! | the record's sync returned | the record | perhaps the answer: a record proves that an answer was made available |
//! | a revocation's row is durable, before its record | the token is inactive | nothing, or 503; a retry records it |
//!
//! ## Recovery
//!
//! Batch *n + 1* is written only after the sync of batch *n* returned, and into blocks of the disk that hold only the
//! zeros of the prepared segment (4,096 bytes, more where the disk or its file system has larger blocks). So no interrupted
//! write touches a block with a released record. Findings in the last segment:
//!
//! | finding | meaning | action |
//! |---|---|---|
//! | a last batch in which a record lacks a whole sector of 512 bytes: it is still zeros | *torn*: the write was interrupted, since a disk writes a sector whole or not at all | the whole records before it are kept; the rest stays in place; the log continues in the next segment, whose header has position, length and SHA-256 of the rest, as has a `torn-tail-repaired` record |
//! | wrong bytes although no sector is missing: a changed bit, another file's block | *damage*: no crash does that | nothing is changed, exit status 65 |
//! | a defect with another batch, or the beginning of one, behind it | *damage*: the batch had been durable | as before |
//! | a gap, a segment of another length, anything missing below a signed checkpoint | *damage* | as before |
//!
//! Whole blocks cost space for small batches. Measured bytes of a segment for one answer: 4,116 instead of 2,052 at one
//! connection, 1,988 instead of 1,826 at 64 connections, where a batch holds many.
//!
//! Limit: if the disk loses a block of the very last batch after it had confirmed the sync, and a crash follows, the batch
//! looks incomplete, since a disk writes the sectors of a batch in any order. Refusing every such batch would turn an
//! ordinary power failure into an outage. So the log continues, and names the remaining bytes of the batch, which stay in
//! the segment. Only a last batch without any bytes left vanishes. The window is short: a checkpoint is recorded and
//! published at most a second later, and at every orderly end; the loss of a record below it is damage.
//!
//! The end of the log is read from the disk, past the page cache, if the file system supports it (`O_DIRECT`: ext4, XFS,
//! btrfs). Otherwise the kernel is asked to drop its pages, which it may refuse: then a start right after a failed sync may
//! read data that only memory has, and a later crash can lose it.
//!
//! A log that was rolled back together with its published files is consistent in itself. So no checkpoint is signed
//! without a [`crate::audit::Continuity`]: a memory outside the log proves that no record is missing, or the operator
//! decides. There are two memories: the signer's, a file in its state directory, and the gateway's, in its database. Both
//! follow within two seconds, and a failed write is retried each second.
//!
//! A memory whose disk is full, read-only or hangs falls behind, and cannot detect a rollback to a newer checkpoint than
//! its own. Two metrics show the lags, and `/readyz` is 503 with the reason once either is above ten seconds. Answers
//! continue while one memory follows, since either alone detects a rollback. After 30 seconds without either, which is also
//! the limit for the log's own disk, the gateway answers 503 until one follows again. So at most half a minute of records
//! can be rolled back unnoticed, and only by an attacker that also prevents the writes of both memories.
//!
//! | signer's memory | gateway's memory | effect |
//! |---|---|---|
//! | not extended by the log | any | the signer ends (65) before it appends anything |
//! | extended, or lost | not extended by the log | the signer ends (65); it has appended only the records of its start, without a checkpoint |
//! | extended, or lost | extended | checkpoints continue, and both memories follow |
//! | extended | lost | the same: a new installation starts like this, since `audit init` writes the signer's memory |
//! | lost | lost | the signer runs and signs nothing; requests get 503 until a memory is restored or the operator decides |
//!
//! Restore the newest copy of the log; if there is none, `chancery audit adopt` records the decision to continue this log.
//!
//! A backup copies first the state, then the log. A log copied first would lack records that the memory in the state
//! covers, like a rolled-back log. The signer's memory is in no backup: on the host that made the backup, it shows that
//! records released since are missing.
//!
//! Beside the signer's memory lies `keys-known`: every generation of a key that was ever used. A key is entered before its
//! first record, so the file has every key recorded under the signer's memory. A start reads the key records behind the
//! memory, and those of the whole log if either file is missing or the operator has adopted another copy.
//!
//! A command beside a stopped service opens the log without the token, so it can append a record but sign nothing.
//!
//! `published/` may be lost: tiles, checkpoint and register of keys are made again from the segments.
//!
//! After a failed write or sync nothing is signed until a new process has read the log from the disk: the pages in memory
//! may differ from the disk. A write that does not return makes the gateway unready after five seconds; after thirty the
//! signer ends, since a thread that waits for a disk cannot be ended.
//!
//! ## The gateway
//!
//! `SQLite` in WAL mode with `synchronous=FULL`: a revocation that was answered with 200 survives. A child signer ends in
//! order after every end of the gateway, since its socket closes.
//!
//! When the socket breaks, an ask that the system had not taken completely cannot have been read: it is sent again over
//! the next connection. An ask that was sent may have its record. An introspection and a revocation are sent again, since a
//! second record of either is true; a token is not, since two records would read as two tokens: its client gets 503. A
//! signer that ends in order answers every ask that was sent, so its restart loses none.
