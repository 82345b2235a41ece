//! # Glossary
//!
//! One meaning for each word, in this project.
//!
//! | term | is |
//! |---|---|
//! | access token | a client's credential for a resource server: *opaque* (a random text, kept as its SHA-256) or an *at+jwt* (RFC 9068) |
//! | adopt | the operator's recorded decision to continue a log that extends no memory (`chancery audit adopt`) |
//! | answer | the result of an introspection: a signed JWT (RFC 9701) or JSON (RFC 7662) |
//! | ask | one typed request of the gateway to the signer |
//! | assertion | a JWT by which a front server issues a grant (RFC 7523); valid for one access token |
//! | authorization details | typed objects of a grant (RFC 9396): a payment, the documents to sign |
//! | batch | records that are written and synced together |
//! | bundle | the directory that `chancery audit export` makes and `chancery audit verify` reads |
//! | channel | the gateway's end of its connection to the signer |
//! | checkpoint | a signed note with the log's origin, size and root hash (C2SP `tlog-checkpoint`) |
//! | commitment | the salted hash of a value, which stands in a record in the value's place |
//! | continuity | the proof that a log extends a memory; no checkpoint is signed without one |
//! | damage | a change of the log that no crash explains; the signer does not start |
//! | door | the socket between gateway and signer, and its messages |
//! | doubt | the state of a clock that was set by more than the tolerance: requests that depend on time get 503 |
//! | entry | a record with its payload, as it is appended |
//! | epoch | one login to the PKCS#11 token; a key's handle is valid within the epoch that found it |
//! | front server | the authorization server or identity provider that signed the user in (`[[grant_issuers]]`) |
//! | gateway | the process that serves HTTP, `chancery serve`; it holds neither PIN nor keys |
//! | generation | one key of a series, numbered from 1; the newest in the token signs |
//! | grant | the rights that a user approved, or that a client has in its own right |
//! | mark | the last trusted time, stored for the next start |
//! | memory | a checkpoint stored outside the log: one by the gateway, one by the signer |
//! | payload | erasable data beside a record: the JWS and the openings of commitments (values and salts) |
//! | PKCS#11 token | the device that holds the keys, in hardware or in `SoftHSM`; *the token* where no access token is meant |
//! | published | the directory with checkpoint, tiles and verifier keys, made from the segments |
//! | purpose | the kind of messages that a key signs: introspection answers, access tokens, metadata, checkpoints |
//! | receipt | the value that the log returns for a durable record; it releases the answer that the record covers |
//! | record | the bytes of one JSON object in the log, chained to the record before |
//! | released | of a signed answer: readable, since its record is durable |
//! | round | the asks that one signing thread processes together |
//! | rule | a named condition for an act; a rule that withholds or refuses is named in the record or the log line |
//! | sealed | of a signed answer: unreadable until its record is durable |
//! | segment | a file of the log, of fixed size, to which batches are appended |
//! | series | the keys of one purpose and one algorithm: one `[[keys]]` entry |
//! | signer | the process that holds PIN, keys and log, `chancery signer` |
//! | state | the gateway's database, `state.db`: access tokens, used assertions, its memory |
//! | torn | of the log's last batch: a crash interrupted its write; the log continues in the next segment |
//! | turn | a signing thread's exclusive time for short calls into the token |
//! | verifier key | the public key of a log in one line; auditors pin it |
