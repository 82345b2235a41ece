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
//! Batch *n + 1* is written only after the sync of batch *n* returned, and into blocks of the disk that hold nothing but
//! the zeros that the segment was prepared with (4,096 bytes, more where the disk or its file system has larger ones). So
//! no write of a batch, however it ends, touches a block that holds a released record. What is found in the last segment:
//!
//! | found | meant | done |
//! |---|---|---|
//! | a last batch in which a record lacks a whole sector of 512 bytes: it is still zeros | *torn*: the write was cut off, since a disk writes a sector whole or not at all | the whole records before it are kept; the rest stays where it is; the log goes on in the next segment, whose header has place, length and SHA-256 of what is left; a record (`torn-tail-repaired`) says the same |
//! | bytes that are wrong although no sector lacks: a changed bit, another file's block | *damage*: no crash does that | nothing is changed, exit status 65 |
//! | a defect with another batch, or the beginning of one, behind it | *damage*: the batch had been durable | as before |
//! | a gap, a segment of another length, anything missing below a signed checkpoint | *damage* | as before |
//!
//! Whole blocks have their price where batches are small: an answer that was measured took 2,052 bytes of its segment at
//! one connection and takes 4,116; at 64 connections, where a batch holds many, 1,826 and 1,988.
//!
//! What this cannot tell: when the disk loses a block that it had said to have, and the block lies in the very last batch
//! before a crash, the batch looks like one that was never completed, because a disk also writes the sectors of one batch
//! in any order. A start that refused every such batch would turn an ordinary power cut into an outage that no operator
//! could decide better. So the log goes on, and nothing is lost in silence: whatever the disk still has of the batch stays
//! in the segment, whole records behind the gap included, and is named in the log. Only where nothing is left of the last
//! batch does it vanish. The window is short: a checkpoint is recorded and published a second later at most, and at every
//! stop in order, and with it the loss of any record below is damage.
//!
//! The end of the log is read from the disk, past the system's cache, where the file system can (`O_DIRECT`: ext4, XFS,
//! btrfs). Where it cannot, the kernel is asked to forget its pages, which it may refuse for some: then a start right after
//! a failed sync may see what only memory has, and a later crash can take it.
//!
//! A log that was rolled back together with its published files looks whole from inside. So no checkpoint is signed
//! without a [`crate::audit::Continuity`]: a memory outside the log shows that nothing of it is missing, or the operator
//! decides. There are two memories: the signer's, a file in its state directory, and the gateway's, in its database. Both
//! follow within two seconds, and what could not be kept is tried again each second.
//!
//! A memory whose disk is full, read-only or hangs falls behind, and a copy of the log from that time looks whole to it. So
//! how far each lags is told: two metrics, and `/readyz` is 503 with the reason once either lags by more than ten seconds.
//! Answers go on while the other one is kept, since either alone shows a rollback: an outage for a full state directory
//! would protect nothing that is not protected already. When neither was kept for 30 seconds, the time that the log's own
//! disk has as well, the gateway answers 503 until one of them is: so records of half a minute at most can be rolled back
//! without being noticed, and only by an attacker that also kept both memories from being written.
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
//! A backup is a state and a log that were copied one after the other. The log only grows, so the state comes first: a log
//! that was copied before would lack records that the memory in the state covers, which is what a rollback looks like. The
//! signer's memory is in no backup: on the host that made it, it tells that records are missing which were released since.
//!
//! Beside the signer's memory lies `keys-known`: every generation of a key that was ever in use. A key is entered before its
//! first record, so the file has every key that is recorded under the signer's memory; a start reads the key records behind
//! it, and those of the whole log when either file is missing or the operator has decided that another copy goes on.
//!
//! A command beside a stopped service opens the log without the token, so it can append a record but sign nothing.
//!
//! `published/` can be lost whole: tiles, checkpoint and register of keys are made again from the segments.
//!
//! After a failed write or sync nothing is signed again until a new process has read the log from the disk: the pages in
//! memory may not be what the disk has. A write that does not return makes the gateway unready after five seconds; after
//! thirty the signer ends, since a thread that waits for a disk cannot be ended.
//!
//! ## The gateway
//!
//! `SQLite` in WAL mode with `synchronous=FULL`: a revocation that was answered with 200 survives. In the child way the
//! signer ends when the gateway does, in order, whatever the gateway died of: its socket closes.
//!
//! When the socket breaks, an ask whose last byte the system had not taken cannot have been read: it is asked again,
//! whatever it is, over the next connection. One that was sent may have its record. An introspection and a revocation
//! are asked once more, since a second record of either is true; a token is not, since two records would read as two
//! tokens: its client gets 503. A signer that ends in order answers all that it was sent, so its restart costs none.
