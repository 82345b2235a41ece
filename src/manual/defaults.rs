//! # Defaults, and why
//!
//! | setting | default | why |
//! |---|---|---|
//! | `introspection_signed_response_alg` | RS256 | RFC 9701 §6 says so; a key of that kind must then be configured |
//! | `require_signed_response` | false | RFC 7662 clients exist; set it wherever evidence matters |
//! | `rsa_bits` | 3072 | lasts longer than the seven years that signing services must keep evidence |
//! | `[hsm] sessions` | 2 | `SoftHSM` has global locks: more threads are slower; raise it for a network HSM. Calls that take less than 0.2 ms always go one at a time |
//! | `[audit] segment_bytes` | 64 MiB | a start reads one segment: smaller segments start faster, larger ones make fewer files |
//! | request body | 64 KiB; 256 KiB for introspection | an oversized token is inactive, not an error (RFC 7662 §2.2) |
//! | request head | 16 KiB | no endpoint takes an `at+jwt`, which may be long, in a header |
//! | time to receive a request | 10 s | a slow sender holds a connection, not a thread |
//! | time to answer | 10 s | no caller waits longer; the signer's rules allow an `iat` of 30 s ago |
//! | wait for a lost signer | 3 s from the loss | a restart takes less than one; later requests get 503 at once |
//! | connections | 1,024; 256 from one address | every connection is accepted, and at the limit an idle one is closed: of the same source, else an unauthenticated one, else the one idle for longest. 256 serve a payment provider behind one address |
//! | open requests of one caller at the signer | 64 of 1,024 | enough to fill the signer's rounds; further requests of the caller wait, and another caller's request waits behind at most 64 |
//! | failed authentications in a second | 10 of an address with a `client_id`; 1,000 of an address | beyond it 429 and a rate-limited log line: this protects the log. A right secret is always accepted, so guesses lock no caller out |
//! | inactive answers to one resource server | 50 in a second, 2 GiB of the log in a day | each is signed and recorded for a text that any client can send to the resource server. The budget refills evenly; a restart begins with a full one |
//! | tolerance of clock steps | 10 s in all within a day | NTP steps once by less; no expiry moves by more than clocks of clients may differ; no setting |
//! | settling of the clock after a start of the machine | 10 min | a network comes up and NTP sets the clock within minutes; purging waits an hour anyway; no setting |
//! | an assertion's longest life | 5 min | the assertion is used at once; its `jti` is kept until then |
//! | `[auditors]` | none | the operator names the group; the shipped example has one without members |
//! | exports of auditors in an hour | 12 of an account, 60 of all | each adds a record and signs a checkpoint: at most 6 MB of the log in a day. One in five minutes serves a program too; no setting |
//! | answers without a resource server's scopes, types, claims | nothing | default deny: it sees only members that its entry names |
