//! The configuration of a test: the bank of the case, with some more callers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The mode of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The gateway starts its signer.
    Child,
    /// Two services and a socket.
    Separate,
}

/// A caller that the configuration names.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    pub(crate) id: &'static str,
    /// `client_secret_basic` rather than `client_secret_post`.
    pub(crate) basic: bool,
    pub(crate) secret: String,
}

/// Its table in the configuration.
#[derive(Clone, Debug)]
struct Entry {
    party: Party,
    table: &'static str,
    rest: String,
}

/// Settings of a test.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) way: Way,
    pub(crate) issuer: String,
    /// Address of the public listener.
    pub(crate) listen: String,
    pub(crate) tls: bool,
    parties: Vec<Entry>,
    /// Directory of the log, if not the appliance's own.
    pub(crate) audit: Option<PathBuf>,
    /// Directory of the state and, with a separate signer, of the signer's state, if it differs.
    pub(crate) state: Option<PathBuf>,
    pub(crate) gateway_user: Option<&'static str>,
    /// The group whose members may make exports; their socket lies in `auditors`.
    pub(crate) auditors: Option<String>,
    pub(crate) segment_bytes: u64,
    /// With the module that fails on request.
    pub(crate) faults: bool,
    /// Further lines of `[hsm]`.
    pub(crate) hsm: &'static str,
    limits: Vec<(&'static str, String)>,
    pub(super) keys: Vec<(&'static str, &'static str)>,
}

pub(crate) const PAYMENTS: &str = "https://payments.bank.example";
pub(crate) const SIGNING: &str = "https://sign.trust.example";
pub(crate) const ACCOUNTS: &str = "https://accounts.bank.example";
pub(crate) const OUTSIDE: &str = "https://outside.example";
pub(crate) const LOGIN: &str = "https://login.bank.example";
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// All algorithms, with their resource servers.
pub(crate) const ALGORITHMS: [(&str, &str); 5] = [
    ("ES256", "rs-es256"),
    ("ES384", "rs-es384"),
    ("RS256", "rs-rs256"),
    ("PS256", "rs-ps256"),
    ("EdDSA", "rs-eddsa"),
];

impl Settings {
    /// The bank: only elliptic curves, generous limits.
    pub(crate) fn new(way: Way) -> Self {
        Self {
            way,
            issuer: "https://as.bank.example".to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            tls: false,
            parties: the_bank(),
            audit: None,
            state: None,
            gateway_user: None,
            auditors: None,
            segment_bytes: 1 << 20,
            faults: false,
            hsm: "deadline = \"30s\"",
            // A test fails more often from one address than honest callers do.
            limits: vec![
                ("failures_per_second", "100000".to_owned()),
                ("address_failures_per_second", "1000000".to_owned()),
                ("inactive_per_second", "100000".to_owned()),
                // Effects on the signer are visible at once.
                ("signer_wait", "\"0s\"".to_owned()),
            ],
            keys: vec![
                ("introspection", "ES256"),
                ("access-token", "ES256"),
                ("metadata", "ES256"),
                ("audit-checkpoint", "ES256"),
            ],
        }
    }

    /// With a module that fails on request, and these lines in `[hsm]`.
    pub(crate) fn with_faults(mut self, hsm: &'static str) -> Self {
        self.faults = true;
        self.hsm = hsm;
        self
    }

    /// With one more key, before the others.
    pub(crate) fn with_key(mut self, purpose: &'static str, algorithm: &'static str) -> Self {
        self.keys.insert(0, (purpose, algorithm));
        self
    }

    /// With another limit.
    pub(crate) fn limit(mut self, name: &'static str, value: &str) -> Self {
        self.limits.retain(|(other, _)| *other != name);
        self.limits.push((name, value.to_owned()));
        self
    }

    /// Behind TLS, with the certificate of the appliance's own directory.
    pub(crate) fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// With `client_credentials` as the only grant type of every client.
    pub(crate) fn without_assertions(mut self) -> Self {
        for entry in &mut self.parties {
            let one_less = entry.rest.replace(&format!(", \"{JWT_BEARER}\""), "");
            entry.rest = one_less.replace(JWT_BEARER, "client_credentials");
        }
        self
    }

    /// A resource server and keys for each algorithm, and a client that may use them all.
    pub(crate) fn every_algorithm(mut self) -> Self {
        let mut resources = Vec::new();
        for (algorithm, id) in ALGORITHMS {
            for purpose in ["introspection", "access-token"] {
                if !self.keys.contains(&(purpose, algorithm)) {
                    self.keys.push((purpose, algorithm));
                }
            }
            // RS256 is the default (RFC 9701 §6).
            let alg = match algorithm {
                "RS256" => String::new(),
                other => format!("introspection_signed_response_alg = \"{other}\"\n"),
            };
            let resource = format!("https://{id}.example");
            let rest = format!(
                "resource = \"{resource}\"\n{alg}access_token_formats = [\"opaque\", \"at+jwt\"]\n\
                 access_token_signing_alg = \"{algorithm}\"\nscopes = [\"{id}\"]\n"
            );
            self.parties.push(party("resource_servers", id, true, &rest));
            resources.push((id, resource));
        }
        let scopes: Vec<&str> = resources.iter().map(|(id, _)| *id).collect();
        let urls: Vec<String> = resources.iter().map(|(_, url)| format!("\"{url}\"")).collect();
        for (id, format) in [("everywhere", "opaque"), ("everywhere-jwt", "at+jwt")] {
            let rest = format!(
                "grant_types = [\"client_credentials\"]\nresources = [{}]\nscope = \"{}\"\naccess_token_format = \"{format}\"\n",
                urls.join(", "),
                scopes.join(" ")
            );
            self.parties.push(party("clients", id, true, &rest));
        }
        self
    }

    /// Changes a caller's secret; returns the earlier one.
    pub(crate) fn renew_secret(&mut self, id: &str) -> Party {
        let entry = self.parties.iter_mut().find(|entry| entry.party.id == id).unwrap();
        let before = entry.party.clone();
        entry.party.secret = hex::encode(chancery::random::bytes::<32>());
        before
    }

    /// The caller with this name.
    pub(crate) fn party(&self, id: &str) -> &Party {
        self.everybody().find(|party| party.id == id).unwrap_or_else(|| panic!("nobody is called {id}"))
    }

    /// All callers.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = &Party> {
        self.parties.iter().map(|entry| &entry.party)
    }

    /// The file. Everything lies in `home`.
    pub(crate) fn toml(&self, home: &Path) -> String {
        let home = home.display();
        let audit =
            self.audit.as_ref().map_or_else(|| format!("{home}/audit"), |path| path.display().to_string());
        let state = self.state.as_ref().map_or_else(|| home.to_string(), |path| path.display().to_string());
        let mut text = format!(
            "version = 1\nissuer = \"{}\"\n\n[http]\nlisten = \"{}\"\noperations_listen = \"127.0.0.1:0\"\n",
            self.issuer, self.listen
        );
        if self.tls {
            let _ = write!(
                text,
                "\n[http.tls]\ncertificate = \"{home}/server.pem\"\nkey = \"{home}/server.key\"\n"
            );
        }
        text.push_str("\n[http.limits]\n");
        for (name, value) in &self.limits {
            let _ = writeln!(text, "{name} = {value}");
        }
        if self.way == Way::Separate {
            let me = user();
            let gateway = self.gateway_user.unwrap_or(&me);
            let _ = write!(
                text,
                "\n[signer]\nsocket = \"{home}/signer.sock\"\ngateway_user = \"{gateway}\"\nsigner_user = \"{me}\"\n"
            );
            if self.state.is_some() {
                let _ = writeln!(text, "state_directory = \"{state}/signer\"");
            }
        }
        let _ = write!(
            text,
            "\n[hsm]\nmodule = \"{}\"\ntoken = \"pkcs11:token=chancery\"\npin_file = \"{home}/token/pin\"\n\
             {}\n\n[audit]\ndirectory = \"{audit}\"\norigin = \"as.bank.example/audit/test\"\n\
             segment_bytes = {}\n\n[store]\nurl = \"sqlite://{state}/state.db\"\n\n[log]\nlines = \"json\"\n",
            if self.faults { super::faults::module() } else { module() }.display(),
            self.hsm,
            self.segment_bytes
        );
        if let Some(group) = &self.auditors {
            let _ = write!(
                text,
                "\n[auditors]\nsocket = \"{home}/auditors/auditors.sock\"\ngroup = \"{group}\"\n"
            );
        }
        for (purpose, algorithm) in &self.keys {
            let _ = write!(text, "\n[[keys]]\npurpose = \"{purpose}\"\nalgorithm = \"{algorithm}\"\n");
            if algorithm.ends_with("S256") && !algorithm.starts_with('E') {
                text.push_str("rsa_bits = 2048\n");
            }
        }
        let _ = write!(
            text,
            "\n[[grant_issuers]]\nissuer = \"{LOGIN}\"\njwks_file = \"{home}/login.jwks\"\n\
             resources = [\"{PAYMENTS}\", \"{SIGNING}\", \"{ACCOUNTS}\"]\n\
             authorization_details_types = [\"payment_initiation\", \"credential\"]\n"
        );
        for Entry { party, table, rest } in &self.parties {
            let method = if party.basic { "client_secret_basic" } else { "client_secret_post" };
            let hash = super::sha256_hex(party.secret.as_bytes());
            let _ = write!(
                text,
                "\n[[{table}]]\nclient_id = \"{}\"\ntoken_endpoint_auth_method = \"{method}\"\n\
                 client_secret_sha256 = \"{hash}\"\n{rest}",
                party.id
            );
        }
        text
    }
}

fn party(table: &'static str, id: &'static str, basic: bool, rest: &str) -> Entry {
    // Generated as described in config/.
    let secret = hex::encode(chancery::random::bytes::<32>());
    Entry { party: Party { id, basic, secret }, table, rest: rest.to_owned() }
}

fn the_bank() -> Vec<Entry> {
    let rs = |id, basic, rest: &str| party("resource_servers", id, basic, rest);
    let client = |id, basic, rest: &str| party("clients", id, basic, rest);
    let both = format!("grant_types = [\"client_credentials\", \"{JWT_BEARER}\"]\n");
    vec![
        rs(
            "payments-api",
            true,
            &format!(
                "resource = \"{PAYMENTS}\"\nintrospection_signed_response_alg = \"ES256\"\n\
                 require_signed_response = true\naccess_token_formats = [\"opaque\", \"at+jwt\"]\n\
                 scopes = [\"payments:initiate\", \"payments:status\"]\n\
                 authorization_details_types = [\"payment_initiation\"]\n\
                 claims = [\"sub\", \"client_id\", \"acr\", \"auth_time\", \"groups\", \"entitlements\"]\n"
            ),
        ),
        rs(
            "signing-service",
            true,
            &format!(
                "resource = \"{SIGNING}\"\nintrospection_signed_response_alg = \"ES256\"\n\
                 require_signed_response = true\nscopes = [\"credential\"]\n\
                 authorization_details_types = [\"credential\"]\n\
                 claims = [\"sub\", \"acr\", \"amr\", \"auth_time\", \"given_name\", \"roles\"]\n"
            ),
        ),
        // Accepts JSON too, is addressed by its resource, wants no `jti`, and owns a type that the bank owns as well.
        rs(
            "accounts-api",
            false,
            &format!(
                "resource = \"{ACCOUNTS}\"\nintrospection_signed_response_alg = \"ES256\"\n\
                 response_audience = \"resource\"\nresponse_jti = false\n\
                 access_token_formats = [\"at+jwt\", \"opaque\"]\nscopes = [\"accounts:read\"]\n\
                 authorization_details_types = [\"payment_initiation\"]\n"
            ),
        ),
        rs(
            "outsider",
            true,
            &format!(
                "resource = \"{OUTSIDE}\"\nintrospection_signed_response_alg = \"ES256\"\nclaims = [\"sub\"]\n"
            ),
        ),
        client(
            "shop",
            true,
            &format!(
                "{both}resources = [\"{PAYMENTS}\", \"{SIGNING}\", \"{ACCOUNTS}\"]\n\
                 scope = \"payments:initiate payments:status credential accounts:read\"\n\
                 authorization_details_types = [\"payment_initiation\", \"credential\"]\n\
                 access_token_format = \"opaque\"\n"
            ),
        ),
        client(
            "shop-jwt",
            false,
            &format!(
                "{both}resources = [\"{PAYMENTS}\", \"{ACCOUNTS}\"]\n\
                 scope = \"payments:initiate payments:status accounts:read\"\n\
                 authorization_details_types = [\"payment_initiation\"]\naccess_token_format = \"at+jwt\"\n"
            ),
        ),
        // Uses the first format of its resource.
        client(
            "teller",
            true,
            &format!(
                "grant_types = [\"client_credentials\"]\nresources = [\"{PAYMENTS}\", \"{ACCOUNTS}\"]\n\
                 scope = \"payments:status accounts:read\"\n"
            ),
        ),
        client(
            "hasty",
            true,
            &format!(
                "{both}resources = [\"{PAYMENTS}\"]\nscope = \"payments:status\"\n\
                 access_token_format = \"at+jwt\"\naccess_token_lifetime = \"2s\"\n"
            ),
        ),
        client(
            "grants-alone",
            true,
            &format!(
                "grant_types = [\"{JWT_BEARER}\"]\nresources = [\"{PAYMENTS}\"]\nscope = \"payments:status\"\n"
            ),
        ),
    ]
}

/// The user that runs the tests.
fn user() -> String {
    nix::unistd::User::from_uid(nix::unistd::getuid())
        .unwrap()
        .expect("the user of this process has a name")
        .name
}

/// Paths of SoftHSM on Debian and others.
pub(super) fn module() -> PathBuf {
    let places = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
    ];
    let found = std::env::var_os("SOFTHSM2_MODULE").map(PathBuf::from);
    found
        .or_else(|| places.iter().map(PathBuf::from).find(|path| path.exists()))
        .expect("SoftHSM 2 is installed")
}
