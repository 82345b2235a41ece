//! The configuration as used: every value checked, every reference resolved, every default filled in.
//!
//! `file.rs` and `parties.rs` parse the file, `rules.rs` checks its entries against each other; [`load()`] returns a
//! configuration or every mistake, and [`check_host`] checks the machine afterwards.

mod certificate;
mod file;
mod grant_keys;
mod host;
mod load;
mod mistake;
mod parties;
mod place;
mod reload;
mod rules;
mod said;
mod section;
mod used;
mod values;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use certificate::{check_certificate, outside_validity};
pub use host::{HostProblem, Process, check_auditors, check_host};
pub use load::{ReadFile, find_lines, load, parse};
pub use mistake::{Mistake, Mistakes};

use crate::claims::{ClaimName, ClientId, DetailType, Issuer, Purpose, Resource, ScopePatterns, TokenFormat};
use crate::jose::{Algorithm, PublicKey};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// SHA-256 of a configuration as used ([`Config::digest`]) or of its rules ([`Config::rules`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ConfigDigest(pub [u8; 32]);

impl std::fmt::Display for ConfigDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    /// The rules to follow.
    pub profile: Profile,
    /// `iss` of everything that is signed.
    pub issuer: Issuer,
    /// HTTP listeners and limits.
    pub http: Http,
    /// Mode of the two processes.
    pub signer: SignerMode,
    /// `[signer] state_directory`: the signer's files outside the log (default: `signer` beside the audit directory).
    pub signer_state: PathBuf,
    /// The PKCS#11 token.
    pub hsm: Hsm,
    /// Series of keys, one for each purpose and algorithm, in the order of the file.
    pub keys: Vec<KeySeries>,
    /// The log.
    pub audit: Audit,
    /// The auditors' group and socket; none by default.
    pub auditors: Option<Auditors>,
    /// State of tokens.
    pub store: Store,
    /// Front servers, which issue grants.
    pub grant_issuers: Vec<Arc<GrantIssuer>>,
    /// Resource servers, which introspect tokens.
    pub resource_servers: Vec<Arc<ResourceServer>>,
    /// Clients, which request tokens.
    pub clients: Vec<Arc<Client>>,
    /// Format of log lines.
    pub log: LogLines,
}

/// `profile`: which specification's rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// OAuth 2.0 and its extensions, without a profile's stricter rules.
    Generic,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Generic];

    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
        }
    }
}

/// `[http]`: listeners and limits.
#[derive(Debug, Clone)]
pub struct Http {
    /// Public listener.
    pub listen: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`; never public.
    pub operations_listen: SocketAddr,
    /// Without it: plain HTTP, on loopback addresses alone.
    pub tls: Option<Tls>,
    /// Worker threads of the gateway's runtime (1); 0 means one for each core.
    pub threads: usize,
    /// Limits.
    pub limits: Limits,
}

/// `[http.tls]`.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// `[http.limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request body, `/introspect` excepted (64 KiB).
    pub body_bytes: usize,
    /// Bytes of an introspection request's body (256 KiB).
    pub introspection_body_bytes: usize,
    /// Bytes of the request head (16 KiB).
    pub header_bytes: usize,
    /// Parameters in one body (100).
    pub parameters: usize,
    /// Depth of nested JSON (32).
    pub json_depth: usize,
    /// Time to receive a whole request (10 s).
    pub request_time: Duration,
    /// Open connections (1,024).
    pub connections: usize,
    /// Open connections of one address (IPv6: one /64) (256).
    pub connections_per_source: usize,
    /// Requests of one authenticated caller in a second; bursts of as many (10,000).
    pub requests_per_second: u32,
    /// Failed authentications of one address with one `client_id` in a second; bursts of as many (10).
    pub failures_per_second: u32,
    /// Failed authentications of one address in a second; bursts of as many (1,000).
    pub address_failures_per_second: u32,
    /// Inactive answers to one resource server in a second, against token scanning (RFC 7662 §4) (50).
    pub inactive_per_second: u32,
    /// Bytes of the log that inactive answers to one resource server may take in a day, 4,096 for each (2 GiB).
    pub inactive_bytes_per_day: u64,
    /// Open requests at the signer; beyond it 503 (1,024).
    pub in_flight: usize,
    /// Open requests of one authenticated caller at the signer; beyond it its requests wait (64).
    pub in_flight_per_caller: usize,
    /// Time to answer a received request, then 503 (10 s).
    pub answer_time: Duration,
    /// Time that requests wait for a lost signer, then 503 at once (3 s).
    pub signer_wait: Duration,
}

/// Mode of the two processes.
#[derive(Debug, Clone)]
pub enum SignerMode {
    /// `serve` starts the signer as a child over a socket pair.
    Child,
    /// Two services, each checking the other's user.
    Separate {
        /// Unix socket that the signer listens on.
        socket: PathBuf,
        /// User that the gateway runs as.
        gateway_user: String,
        /// User that the signer runs as.
        signer_user: String,
    },
}

/// `[hsm]`.
#[derive(Debug, Clone)]
pub struct Hsm {
    /// The PKCS#11 module, an absolute path.
    pub module: PathBuf,
    /// `pkcs11:` URI of the token (RFC 7512), never with `pin-value`.
    pub token: String,
    /// Source of the PIN.
    pub pin: PinSource,
    /// Signing threads, each with a session of its own (2).
    pub sessions: usize,
    /// The longest a call into the module may take before the watchdog ends the process (10 s).
    pub deadline: Duration,
}

/// Source of the PIN.
#[derive(Debug, Clone)]
pub enum PinSource {
    /// A file that only its owner reads.
    File(PathBuf),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// One `[[keys]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySeries {
    /// What its keys sign.
    pub purpose: Purpose,
    /// Their algorithm.
    pub algorithm: Algorithm,
    /// Size of RSA keys (3072); 0 for all others.
    pub rsa_bits: u32,
}

impl KeySeries {
    /// The label of one generation: `introspection-es256-1`.
    pub fn label(&self, generation: u32) -> String {
        format!("{}-{}-{generation}", self.purpose, self.algorithm.name().to_ascii_lowercase())
    }
}

/// `[audit]`.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Holds `segments/`, `published/`, `lock`, `admin.sock`.
    pub directory: PathBuf,
    /// Name of the log: the origin line of its checkpoints.
    pub origin: String,
    /// Name of this machine in records (the origin's last part unless given).
    pub node: String,
    /// Size of one segment file (64 MiB).
    pub segment_bytes: u64,
}

/// `[auditors]`.
#[derive(Debug, Clone)]
pub struct Auditors {
    /// Unix socket that the signer listens on, in a directory that the group alone may enter.
    pub socket: PathBuf,
    /// Group whose members may make exports.
    pub group: String,
}

/// `[store]`.
#[derive(Debug, Clone)]
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
}

/// One `[[grant_issuers]]`: a front server, whose assertions are accepted (RFC 7523).
#[derive(Debug, Clone)]
pub struct GrantIssuer {
    /// `iss` of its assertions.
    pub issuer: Issuer,
    /// Its keys, read from `jwks_file`.
    pub keys: Vec<GrantKey>,
    /// Resources that it may grant.
    pub resources: Vec<Resource>,
    /// Types that it may grant.
    pub authorization_details_types: BTreeSet<DetailType>,
    /// The longest life of an assertion, `exp` − now (5 min).
    pub max_assertion_lifetime: Duration,
}

/// One key of a front server.
#[derive(Debug, Clone)]
pub struct GrantKey {
    /// `kid` as the JWKS has it.
    pub kid: Option<String>,
    /// The key, with its one algorithm (`alg` of the JWK; without it ES256/ES384/EdDSA by the curve, RS256 for RSA).
    pub key: PublicKey,
}

/// Method of client authentication (RFC 8414 names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// RFC 6749 §2.3.1, in the header.
    ClientSecretBasic,
    /// RFC 6749 §2.3.1, in the body.
    ClientSecretPost,
}

impl AuthMethod {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ClientSecretBasic, Self::ClientSecretPost];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
        }
    }
}

/// SHA-256 of each secret that a caller may use; compared in constant time by the room `client`.
#[derive(Clone)]
pub struct SecretHashes(pub Vec<[u8; 32]>);

impl std::fmt::Debug for SecretHashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secret hashes", self.0.len())
    }
}

/// Client authentication of a caller.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// Its one registered method.
    pub method: AuthMethod,
    /// Its secrets.
    pub secrets: SecretHashes,
}

/// One `[[resource_servers]]`.
#[derive(Debug, Clone)]
pub struct ResourceServer {
    /// Its name as a caller.
    pub client_id: ClientId,
    /// Its resource indicator; no two share one.
    pub resource: Resource,
    /// How it authenticates.
    pub authentication: Authentication,
    /// RS256 if left out (RFC 9701 §6).
    pub introspection_alg: Algorithm,
    /// Never JSON.
    pub require_signed_response: bool,
    /// Whether answers carry a `jti` ([D12](crate::manual::decisions#d12)).
    pub response_jti: bool,
    /// `aud` of answers ([D4](crate::manual::decisions#d4)).
    pub response_audience: ResponseAudience,
    /// Accepted formats; the first is the default. Never empty.
    pub access_token_formats: Vec<TokenFormat>,
    /// Algorithm of `at+jwt` for it.
    pub access_token_alg: Algorithm,
    /// Scopes that it owns.
    pub scopes: ScopePatterns,
    /// Types that it owns.
    pub authorization_details_types: BTreeSet<DetailType>,
    /// Claims that it may see beyond those of [D22](crate::manual::decisions#d22).
    pub claims: BTreeSet<ClaimName>,
}

/// `aud` of an introspection answer ([D4](crate::manual::decisions#d4)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseAudience {
    /// The resource server's `client_id`.
    ClientId,
    /// Its resource indicator.
    Resource,
}

/// Grants that a client may use at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GrantType {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 7523 §2.1.
    JwtBearer,
}

impl GrantType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ClientCredentials, Self::JwtBearer];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }
}

/// One `[[clients]]`.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its name.
    pub client_id: ClientId,
    /// How it authenticates.
    pub authentication: Authentication,
    /// Grants that it may use.
    pub grant_types: BTreeSet<GrantType>,
    /// Resources that it may ask for.
    pub resources: Vec<Resource>,
    /// Scopes that it may request. Those that are no patterns are the default for a request without any.
    pub scope: ScopePatterns,
    /// Types that it may ask for.
    pub authorization_details_types: BTreeSet<DetailType>,
    /// Its choice among the formats that its resource servers accept ([D27](crate::manual::decisions#d27)).
    pub access_token_format: Option<TokenFormat>,
    /// Lifetime of its tokens.
    pub access_token_lifetime: Duration,
}

/// `[log]`: lines on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLines {
    /// Human on a terminal, else JSON.
    Auto,
    /// Human.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogLines {
    /// Whether lines are JSON, given whether standard error is a terminal.
    pub const fn is_json(self, terminal: bool) -> bool {
        match self {
            Self::Auto => !terminal,
            Self::Human => false,
            Self::Json => true,
        }
    }
}

impl Config {
    /// The resource server with this resource indicator.
    pub fn resource_server_of(&self, resource: &Resource) -> Option<&Arc<ResourceServer>> {
        self.resource_servers.iter().find(|rs| rs.resource == *resource)
    }

    /// The resource server with this `client_id`.
    pub fn resource_server(&self, client_id: &ClientId) -> Option<&Arc<ResourceServer>> {
        self.resource_servers.iter().find(|rs| rs.client_id == *client_id)
    }

    /// Warnings that are no mistakes: shown by `config check` and logged when the gateway starts.
    pub fn warnings(&self) -> Vec<String> {
        let rs256 = |k: &KeySeries| k.purpose == Purpose::Introspection && k.algorithm == Algorithm::RS256;
        let mut warnings = Vec::new();
        if !self.keys.iter().any(rs256) {
            let profile = self.profile.name();
            warnings.push(format!(
                "profile {profile} without a key for introspection with RS256, which a resource server gets that \
                 registers no introspection_signed_response_alg (RFC 9701 §6): add [[keys]] with purpose = \
                 \"introspection\", algorithm = \"RS256\""
            ));
        }
        warnings
    }

    /// The client with this `client_id`.
    pub fn client(&self, client_id: &ClientId) -> Option<&Arc<Client>> {
        self.clients.iter().find(|c| c.client_id == *client_id)
    }
}
