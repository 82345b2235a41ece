//! Chancery signs token introspection answers (RFC 9701) and `at+jwt` access tokens (RFC 9068) with keys that never
//! leave a PKCS#11 token, and records each of them in an append-only log before it is released.
//!
//! # The map
//!
//! ```text
//!  stranger                                                     operator, auditor
//!     │                                                               │
//!     ▼                                                               ▼
//!    http ──► client ──► store ──► protocol ──► door ════════════════╗ cli ──► export
//!     ▲      caller      facts     rule         ask                  ║            ▲
//!     │                                                    socket    ║            │ published/
//!     └── reply ◄── Recorded ◄═══════════════════════════════════════╣            │
//!                                                                    ▼            │
//!              signer::service ──► rules ──► content ──► hsm ──► Sealed ──► audit ─┘
//!                                  allowed?  typed       verified   │  durable │
//!                                                                   └─ Receipt ◄┘──► Released
//! ```
//!
//! Everything above the socket is the *gateway*: it serves the network and holds neither PIN nor token. Everything below
//! is the *signer*: it serves the gateway and, on sockets of their own, commands of operators and auditors.
//!
//! | room | holds |
//! |---|---|
//! | [`cli`] | the commands, one file each; the only room that connects the others |
//! | [`config`] | the file as written, turned into the configuration as used; refuses, never guesses |
//! | [`http`] | the edge: one file an endpoint, each in five steps: caller, facts, rule, sign, reply |
//! | [`client`] | client authentication; the only maker of [`client::AuthenticatedClient`] |
//! | [`protocol`] | the rules of the specifications: pure functions of caller, query, facts and time |
//! | [`claims`] | typed claims, validated when parsed |
//! | [`store`] | facts about tokens |
//! | [`door`] | the messages between the two processes, and the gateway's client |
//! | [`memory`] | the gateway's copy of the newest checkpoint, and the rules for replacing it |
//! | [`signer`] | the process that signs, with [`signer::Sealed`] and [`signer::Released`] |
//! | [`jose`] | algorithms, public keys, verification of foreign signatures |
//! | [`hsm`] | the only room that names PKCS#11 |
//! | [`audit`] | the log: records, batches, segments, tree, checkpoints, recovery |
//! | [`backup`] | consistent copies of state and log, and their verification |
//! | [`export`] | bundles for auditors, and their verification offline |
//! | [`durable`], [`clock`], [`random`], [`sha256`], [`percent`], [`exit`], [`telemetry`], [`systemd`] | leaves |
//! | [`manual`] | threats, crashes, defaults, decisions where specifications disagree; the glossary |
//!
//! `tests/architecture.rs` fails on an arrow that this map forbids. `tests/conformance.md` lists the requirements of the
//! specifications, each with its tests.
//!
//! # Invariants, and where each is kept
//!
//! 1. **No record, no release.** [`signer::Sealed`] is unreadable; [`signer::Sealed::release`] needs the
//!    [`audit::Receipt`] that only the log makes, after its sync.
//! 2. **No signature, no data.** The signer refuses an unsigned answer for a resource server that asked for signed ones,
//!    and [`http`] has no body but [`door::Recorded`].
//! 3. **Keys never leave the token.** [`hsm::Hsm::find`] refuses a key whose attributes do not guarantee it.
//! 4. **One key, one algorithm, one purpose.** The signer looks a key up by both, [`jose::PublicKey`] knows its algorithm.
//! 5. **Default deny.** [`protocol`] narrows each grant, and the signer's own rules check the result again.
//! 6. **No oracle.** The signer builds every signed message from typed claims.
//! 7. **Signatures stay verifiable.** Every key is recorded with its public key before its first use; the signer publishes
//!    all of them, even keys that the token has lost.
//! 8. **The log cannot be shortened, changed or forked unnoticed.** Gateway and signer store the newest checkpoint outside
//!    the log, and none is signed without the [`audit::Continuity`] that such a memory proves.
//! 9. **Time is checked.** Decisions by time need a [`clock::Trusted`], which only [`clock::Clock::now`] makes and never in
//!    doubt; purging needs a [`clock::Settled`], which exists only some minutes after a boot.

pub mod audit;
pub mod backup;
pub mod claims;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod door;
pub mod durable;
pub mod exit;
pub mod export;
pub mod hsm;
pub mod http;
pub mod jose;
pub mod manual;
pub mod memory;
pub mod percent;
pub mod protocol;
pub mod random;
pub mod sha256;
pub mod signer;
pub mod store;
pub mod systemd;
pub mod telemetry;
