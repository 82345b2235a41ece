//! # Glossary
//!
//! One meaning for each word, in this project.
//!
//! | term | is |
//! |---|---|
//! | access token | what a client shows a resource server: *opaque* (a random text, kept as its SHA-256) or an *at+jwt* (RFC 9068) |
//! | adopt | the operator's recorded decision that a log goes on which no memory vouches for (`chancery audit adopt`) |
//! | answer | what a resource server is told of a token: a signed JWT (RFC 9701) or JSON (RFC 7662) |
//! | ask | one typed request of the gateway to the signer |
//! | assertion | a JWT by which a front server hands over a grant (RFC 7523); good for one access token |
//! | authorization details | what exactly a grant allows, as typed objects (RFC 9396): a payment, the documents to sign |
//! | batch | records that are written and synced together |
//! | bundle | the directory that `chancery audit export` makes and `chancery audit verify` reads |
//! | checkpoint | a signed note with the log's origin, size and root hash (C2SP `tlog-checkpoint`) |
//! | commitment | the salted hash of a value, which stands in a record in the value's place |
//! | continuity | the proof that a log extends what was known of it; no checkpoint is signed without one |
//! | damage | a change of the log that no crash explains; the signer does not start |
//! | door | the socket between gateway and signer, and the messages that may cross it |
//! | doubt | the state of a clock that was set by too much: nothing that depends on time is decided |
//! | entry | a record with its payload, as it is appended |
//! | epoch | one login to the PKCS#11 token; a key's handle is good within the epoch that found it |
//! | front server | the authorization server or identity provider that signed the user in (`[[grant_issuers]]`) |
//! | gateway | the process that serves HTTP, `chancery serve`; it holds neither PIN nor keys |
//! | generation | one key of a series, numbered from 1; the newest in the token signs |
//! | grant | what a user approved, or what a client may have in its own right |
//! | memory | a checkpoint that is kept outside the log: one by the gateway, one by the signer |
//! | origin | the name of a log, and the first line of its checkpoints |
//! | payload | what lies beside a record and can be erased: the JWS and the values behind commitments, with their salts |
//! | PKCS#11 token | the device that holds the keys, in hardware or in `SoftHSM`; *the token* where no access token is meant |
//! | published | the directory with checkpoint, tiles and verifier keys, made from the segments |
//! | purpose | the one kind of thing that a key signs: introspection answers, access tokens, metadata, checkpoints |
//! | receipt | the value that the log makes when a record is durable; it releases what the record covers |
//! | record | the bytes of one JSON object in the log, chained to the record before |
//! | released | of a signed answer: its record is durable, its bytes may be read and sent |
//! | resource | the URI that names a resource server as an audience (RFC 8707) |
//! | rule | a named condition for an act; where one withholds or refuses, its name stands in the record or the log line |
//! | sealed | of a signed answer: made, but unreadable until its record is durable |
//! | segment | a file of the log, of fixed size, to which batches are appended |
//! | series | the keys of one purpose and one algorithm: one `[[keys]]` entry |
//! | signer | the process that holds PIN, keys and log, `chancery signer`; it talks to the gateway alone |
//! | state | what the gateway keeps of access tokens, used assertions and the log, in `state.db` |
//! | tile | a file of hashes or records in the published layout (C2SP `tlog-tiles`) |
//! | torn | of the log's last batch: a crash cut its write off; the log goes on behind it |
//! | tree | the Merkle tree over all records (RFC 6962) |
//! | verifier key | the public key of a log in one line; auditors pin it |
