//! # Threats and their mitigations
//!
//! ## Capabilities of an attacker
//!
//! | in control of | can | cannot |
//! |---|---|---|
//! | gateway | ask for answers about tokens that do not exist, name another subject, refuse service, forget revocations, see bearer tokens and client secrets as they are presented | sign without a record; sign for another issuer, audience, purpose or algorithm; show a resource server a scope, type or claim that its entry does not name; give a token a longer life than the client's entry; reach PIN or keys; change or shorten the log |
//! | signer | sign anything with the keys in the token while in control; refuse service | extract a key from the token; change records under a checkpoint held outside, unnoticed; make the gateway forget its checkpoint |
//! | both, with a child signer | both columns: one user is no boundary | what the signer cannot |
//! | a resource server | introspect tokens that it received | learn another's part; learn whether an inactive answer means unknown, revoked or not its own |
//! | an auditor's account | read the clear fields of records, make 12 exports an hour (60 with all other auditors), each with a record that names it; delay other auditors | read a payload; reach an operator's command, the token or a file of the signer; fill the log or delay signing: it has at most eight threads, of low priority |
//! | the disk of the log, reading | read payloads, which are in clear for now | learn the committed fields from an export, which holds records alone |
//! | the disk of the log, writing | stop the service | go unnoticed by a holder of an earlier checkpoint, such as the gateway |
//!
//! The subject of a token depends on the gateway and on the front server's assertion: the signer cannot verify the
//! authentication of a user. It records a commitment to the subject, so the claim can be disputed later.
//!
//! ## Memories of the log, and their replacement
//!
//! The gateway pins the log's verifier keys at its first contact and stores the newest checkpoint. It replaces that only
//! by one that a pinned key signed, that is not smaller, and that a consistency proof connects with the old root
//! ([`crate::memory::LogMemory`]). Otherwise it keeps its own, closes the connection, and answers 503 with the reason. A
//! new generation of the checkpoint key is pinned when it signs a checkpoint together with a pinned one: the signer signs
//! with every generation in the token. If all pinned keys are lost with their token, the gateway accepts no checkpoint:
//! move its state away, so that it starts again without tokens (all are inactive then).
//!
//! The other way to replace a memory is the operator's decision, `chancery audit adopt`: a `log-adopted` record with
//! operator, reason, and the SHA-256 of each overridden memory. The signer shows the gateway this record with its
//! inclusion proof under the new checkpoint. The gateway accepts it only if the record names exactly its own checkpoint,
//! logs a warning, and keeps the overridden checkpoint with the decision in its state (`replaced_checkpoint`). An attacker
//! in the signer can forge such a record, but leaves evidence: the warning, the record, and the kept checkpoint, which the
//! log does not extend. A decision covers no later rollback, since it does not name later memories.
//!
//! The first contact is trusted: the gateway does not notice an attacker that controls the signer before it, or that
//! deletes the gateway's state. Auditors pin the key that `audit init` printed.
//!
//! ## Lessons from elsewhere
//!
//! * *An answer about a token of another audience* (Keycloak CVE-2026-37979): [`crate::protocol`] checks the audience first,
//!   and the signer checks it again.
//! * *The signed JWT inside an inactive answer* (CVE-2026-18208): an inactive answer has no inputs.
//! * *The success event before the signature* (Duende), *the event queue that drops* (`NazoAuth`): the types force the record
//!   between signature and answer.
//! * *Handles that later name another key* (`SoftHSM`, Kryoptic, p11-kit after a re-initialisation): a handle belongs to its
//!   epoch, and each signature is verified before it is used.
//! * *A PIN tried until the token locks*: it is tried once, and the file `pin-refused` stops every later start. The file
//!   holds the refused PIN salted and stretched (PBKDF2, 600,000 rounds), readable for the signer's user alone: an attacker
//!   with the file can find a wrong PIN by brute force, which may differ from the right one by one digit.
//! * *A key that is missing at one start* (a replica behind, an older copy of the token, a search without results): the
//!   public key of every generation is known. No earlier generation signs in place of the newest, and no token becomes
//!   unknown.
//! * *A key that another user of the machine wrote under a key's label*: an object that is visible without a login is
//!   refused, and the public key is the one that verifies the private key's signature.
//! * *Logs whose newest entries vanish unnoticed while the node is down* (EJBCA, `SignServer`): the gateway stores the newest
//!   checkpoint in its own database and shows it at every handshake.
//! * *A clock that jumps for a minute* and ends all tokens and used assertions: decisions use [`crate::clock::Clock::now`],
//!   which refuses while wall clock and boot clock disagree, and purging needs a [`crate::clock::Settled`], which no clock
//!   gives in the ten minutes after a boot.
//! * *A digest that gives away what it stands for* (an IBAN in 34 µs, a subject in 17 ms): a record shows the digest of
//!   nothing but a JWS; everything else that can be guessed is committed with a salt
//!   ([`crate::audit::Draft`] says so of each field).
//!
//! ## Known limits
//!
//! * ECDSA nonces are the token's (RFC 8725 §3.2 would prefer RFC 6979; `CKM_ECDSA` does not offer the choice).
//! * The gateway's state store is trusted for *which tokens are active*: an attacker that can write it can make a token of a
//!   known client and subject. Each answer about it is in the log.
//! * A battery clock that is wrong at boot is trusted until NTP sets it, unless it is behind the last record or the
//!   gateway's last stored time: after another boot the elapsed time is unknown. Behind by less than the machine was off, it
//!   shows tokens as active that expired meanwhile, never one that had expired before. Ahead, it shows tokens as expired, and
//!   dates new ones in the future, which are inactive once it is right. For [`crate::clock::SETTLING`] nothing is purged and
//!   each correction is followed. A clock that is wrong for longer, or set by an attacker, purges entries that expired by it:
//!   a purged assertion that has not expired by the right time can be used again once the operator accepts that time. Set
//!   the clock before the service starts (`time-sync.target`).
//! * A lost `state.db` forgets used assertions; those still within their few minutes could be handed over once more.
//!   Restore it, or wait for the longest assertion lifetime before serving. One that comes back from a backup has neither
//!   the assertions nor the revocations since: README says how long to wait.
//! * Unauthenticated clients with many addresses can fill the pool: their new connections close idle ones of each other,
//!   never one with an open request, and one of an authenticated caller only while the unauthenticated hold less than a
//!   quarter of the pool. If more than 4,096 of them arrive in a second (1,024 connections, 250 ms each), new connections of
//!   callers are refused as often as theirs: raise `connections`, or block them before the gateway. An authenticated caller
//!   delays others by at most `in_flight_per_caller` of its asks.
//! * Budgets of the edge (rates, failures, a day's inactive answers) live in memory: a restart begins
//!   with whole ones.
