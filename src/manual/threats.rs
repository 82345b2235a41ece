//! # Threats: what goes wrong, and why it does not pass unnoticed here
//!
//! ## What each process could do if it were taken over
//!
//! | taken over | can | cannot |
//! |---|---|---|
//! | gateway | ask for answers about tokens that do not exist, name another subject, refuse service, forget revocations, see bearer tokens and client secrets as they are presented | sign without a record; sign for another issuer, audience, purpose or algorithm; show a resource server a scope, type or claim that its entry does not name; give a token a longer life than the client's entry; reach PIN or keys; change or shorten the log |
//! | signer | sign anything with the keys in the token while it is taken over; refuse service | take a key out of the token; change records under a checkpoint that somebody outside holds, unnoticed; make the gateway forget the checkpoint that it holds |
//! | both, in the child way of running | both columns: one user is no boundary | what the signer cannot |
//! | a resource server | ask about tokens that it was given | learn another's part; learn whether an inactive answer means unknown, revoked or not its own |
//! | an auditor's account | read what records say in clear, make 12 exports an hour (60 with all other auditors), each with a record that names it; keep other auditors waiting | see a payload; reach an operator's command, the token or a file of the signer; fill the log or hold up signing: its threads stand back, eight at most |
//! | the disk of the log, read | see what was disclosed: payloads lie in clear for now | learn the committed fields from an export, which holds records alone |
//! | the disk of the log, written | stop the service | go unnoticed by anybody who holds one earlier checkpoint, the gateway among them |
//!
//! Which subject stands behind a token rests on the gateway and on the front server's assertion: the signer cannot know
//! who signed in. It records the commitment to the subject, so the claim can be disputed later.
//!
//! ## What is known of the log, and who may override it
//!
//! The gateway pins the log's verifier keys at its first contact and keeps the newest checkpoint. It takes another one in
//! its place only when a pinned key signed it, its size is not smaller, and a consistency proof leads from the old root
//! to the new one ([`crate::memory::LogMemory`]). Else it keeps its own, closes the connection, and answers 503 with the
//! reason. A new generation of the checkpoint key is pinned when it signs a checkpoint together with a pinned one: the
//! signer signs with every generation that the token holds. A gateway whose pinned keys are all gone with their token
//! believes nothing: move its state away, so that it forgets every token (all are inactive then) and begins anew.
//!
//! The other way to replace a memory is the operator's decision, `chancery audit adopt`: a `log-adopted` record with
//! operator, reason, and the SHA-256 of each memory that it overrides. The signer shows the gateway this record with its
//! inclusion proof under the new checkpoint; the gateway takes it only when the record names exactly the checkpoint that
//! it holds, says so at warn level, and keeps the overridden checkpoint with the decision in its state
//! (`replaced_checkpoint`). A signer that was taken over can forge such a record, but not in silence: the warning, the
//! record in the log and the kept checkpoint, which the log does not extend, are the evidence. A decision excuses no later
//! rollback, since it does not name later memories.
//!
//! The first contact is believed: who takes the signer over before it, or takes the gateway's state away, is not noticed
//! by the gateway. Auditors pin the key that `audit init` printed.
//!
//! ## Lessons from elsewhere
//!
//! * *An answer about a token of another audience* (Keycloak CVE-2026-37979): the audience is the first thing that
//!   [`crate::protocol`] looks at, and the signer has its own check.
//! * *The signed JWT inside an inactive answer* (CVE-2026-18208): an inactive answer is built from nothing.
//! * *The success event before the signature* (Duende), *the event queue that drops* (`NazoAuth`): here the record comes
//!   between signature and answer, in the types.
//! * *Handles that come back with another key behind them* (`SoftHSM`, Kryoptic, p11-kit after a re-initialisation): a
//!   handle belongs to its epoch, and each signature is verified before it is used.
//! * *A PIN tried until the token locks*: it is tried once, and leaves a mark that every later start respects, whatever
//!   starts it. The mark holds the refused PIN salted and stretched (PBKDF2, 600,000 rounds), for the signer's user alone: it
//!   tells a reader by patient guessing which PIN is wrong, perhaps by one digit.
//! * *A key that is not there for one start* (a replica behind, an older copy of the token, a search that finds nothing): every
//!   generation that was ever in use is known by its public half. No earlier one signs in the place of the newest, and no
//!   token becomes unknown.
//! * *A key that another user of the machine wrote under our label*: an object that the token shows without a login is not
//!   ours, and the public half is the one that verifies what the private one signs.
//! * *Logs whose newest entries vanish unseen while the node is down* (EJBCA, `SignServer`): the gateway keeps the newest
//!   checkpoint in its own database and shows it at every handshake.
//! * *A clock that jumps for a minute* and takes all tokens and used assertions with it: every time that decides comes from
//!   [`crate::clock::Clock::now`], which refuses while the wall clock is not where the boot clock says, and purging takes a
//!   [`crate::clock::Settled`], which no clock gives in the ten minutes after a start of the machine.
//! * *A digest that gives away what it stands for* (an IBAN in 34 µs, a subject in 17 ms): a record shows the digest of
//!   nothing but a JWS; everything else that can be guessed is committed with a salt
//!   ([`crate::audit::Draft`] says so of each field).
//!
//! ## Known limits
//!
//! * ECDSA nonces are the token's (RFC 8725 §3.2 would prefer RFC 6979; `CKM_ECDSA` does not offer the choice).
//! * The gateway's state store is trusted for *what is active*: who can write it can make a token of a known client and
//!   subject. Each answer about it is in the log.
//! * A battery clock that is wrong when the machine starts is believed until NTP sets it, unless it is behind the last
//!   record, or behind the last time that the gateway kept: after another boot nothing says how much time has passed.
//!   Behind by less than the machine was off, it shows tokens as active that ended meanwhile, never one that had ended
//!   before. Ahead, it shows tokens as ended, and dates new ones in the future, which are inactive once it is set right.
//!   For [`crate::clock::SETTLING`] nothing is purged and each correction is followed; what is wrong for longer, or set by
//!   an attacker who holds the machine's clock, purges what ended by it: a used assertion that is purged and has not ended
//!   by the right time counts once more when the operator accepts that time. Set the clock before the service starts
//!   (`time-sync.target`).
//! * A lost `state.db` forgets used assertions; those still within their few minutes could be handed over once more.
//!   Restore it, or wait for the longest assertion lifetime before serving. One that comes back from a backup has neither
//!   the assertions nor the revocations since: README says how long to wait.
//! * Strangers with many addresses can fill the pool: they close each other's idle connections, never one whose request
//!   is being answered, and one on which a caller has proved itself only while they hold less than a quarter of the
//!   places. Where more than 4,096 of them arrive in a second (1,024 places, 250 ms each), new connections of callers are
//!   refused as often as theirs: raise `connections`, or keep strangers away before the gateway. A caller that has its
//!   secret delays others by at most `in_flight_per_caller` of its asks.
//! * Budgets of the edge (rates, failures, a day's inactive answers) live in memory: a restart begins
//!   with whole ones.
