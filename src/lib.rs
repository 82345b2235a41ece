//! Chancery signs token introspection answers (RFC 9701) and `at+jwt` access tokens (RFC 9068) with keys that never
//! leave a PKCS#11 token, and keeps each of them in an append-only log before anybody receives it.
//!
//! # The map
//!
//! ```text
//!  stranger                                                     operator, auditor
//!     │                                                               │
//!     ▼                                                               ▼
//!    http ──► client ──► store ──► protocol ──► door ════════════════╗ cli ──► export
//!     ▲       who        facts     rule         ask                  ║            ▲
//!     │                                                    socket    ║            │ published/
//!     └── reply ◄── Recorded ◄═══════════════════════════════════════╣            │
//!                                                                    ▼            │
//!              signer::service ──► rules ──► content ──► hsm ──► Sealed ──► audit ─┘
//!                                  may it?   typed       verified   │  durable │
//!                                                                   └─ Receipt ◄┘──► Released
//! ```
//!
//! Everything above the socket is the *gateway*: it talks to strangers and holds neither PIN nor token. Everything below
//! is the *signer*: it talks to the gateway alone and, on sockets of their own, to commands of operators and auditors.
//!
//! | room | holds |
//! |---|---|
//! | [`cli`] | one file a command; the only place that puts rooms together |
//! | [`config`] | the file as written, turned into the configuration as used; refuses, never guesses |
//! | [`http`] | the edge: one file an endpoint, each in five beats: who, facts, rule, sign, reply |
//! | [`client`] | who is asking; one maker of [`client::AuthenticatedClient`] |
//! | [`protocol`] | what the specifications allow: pure functions of caller, query, facts and time |
//! | [`claims`] | what we say: words parsed on entry |
//! | [`store`] | facts about tokens |
//! | [`door`] | what the two processes say to each other, and the gateway's client |
//! | [`memory`] | what the gateway remembers of the log, and when it believes a newer checkpoint |
//! | [`signer`] | the process that signs, with [`signer::Sealed`] and [`signer::Released`] |
//! | [`jose`] | algorithms, public keys, verification of what others signed |
//! | [`hsm`] | the only room that names PKCS#11 |
//! | [`audit`] | the log: records, batches, segments, tree, checkpoints, recovery |
//! | [`backup`] | copies of state and log that belong together, and their verification |
//! | [`export`] | bundles for auditors, and their verification offline |
//! | [`durable`], [`clock`], [`random`], [`telemetry`], [`systemd`] | leaves |
//! | [`manual`] | why: threats, crashes, defaults, decisions where specifications disagree; the glossary |
//!
//! `tests/architecture.rs` reads `src` and fails on an arrow that this map forbids. `tests/conformance.md` lists what the
//! protocols require, each line with the tests that show it.
//!
//! # Invariants, and where each is kept
//!
//! 1. **No record, no release.** [`signer::Sealed`] shows nothing; [`signer::Sealed::release`] wants the
//!    [`audit::Receipt`] that only the log makes, after its sync.
//! 2. **No signature, no data.** The signer refuses an unsigned answer for a resource server that asked for signed ones,
//!    and [`http`] has no body but [`door::Recorded`].
//! 3. **Keys never leave the token.** [`hsm::Hsm::find`] refuses a key whose attributes do not say so.
//! 4. **One key, one algorithm, one purpose.** The signer looks a key up by both, [`jose::PublicKey`] knows its algorithm.
//! 5. **Default deny.** [`protocol`] narrows, the signer's own rules check it again.
//! 6. **No oracle.** What is signed is built in the signer from typed claims.
//! 7. **What was signed stays verifiable.** Every key has its record, with its public half, before its first use; the signer
//!    knows them all, and publishes them, whatever the token shows at one start.
//! 8. **The log cannot be shortened, changed or forked unnoticed.** The gateway and the signer remember the newest
//!    checkpoint outside the log, and none is signed without the [`audit::Continuity`] that such a memory shows.
//! 9. **Time is checked.** What decides by time takes a [`clock::Trusted`], which only [`clock::Clock::now`] makes and a
//!    clock in doubt does not; what purges takes a [`clock::Settled`], which a clock after a start of the machine makes
//!    only after a while.

pub mod audit;
pub mod backup;
pub mod claims;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod door;
pub mod durable;
pub mod export;
pub mod hsm;
pub mod http;
pub mod jose;
pub mod manual;
pub mod memory;
pub mod protocol;
pub mod random;
pub mod signer;
pub mod store;
pub mod systemd;
pub mod telemetry;
