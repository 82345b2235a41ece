//! What the store promises, against real files.

mod equality;
mod faults;
mod file;
mod health;
mod migration;
mod tokens;
mod writes;

use super::{InsertError, Kept, Store, StoreError, TokenKey, UsedAssertion};
use crate::claims::{
    Authentication, AuthorizationDetail, Grant, NumericDate, Origin, TokenFacts, TokenFormat, TokenHash,
    parse_authorization_details,
};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn kept(note: &str) -> Kept {
    Kept { note: note.to_owned(), keys: format!("key of {note}"), replaced: Vec::new() }
}

struct Place {
    directory: TempDir,
    runtime: Runtime,
}

impl Place {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        Self { directory: TempDir::new().unwrap(), runtime }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state.db")
    }

    fn open(&self) -> Store {
        Store::open(&self.path()).unwrap()
    }

    fn insert(&self, store: &Store, n: u64, used: Option<UsedAssertion>) -> Result<(), InsertError> {
        self.runtime.block_on(store.insert(opaque(n), facts(n), used))
    }

    fn revoke(&self, store: &Store, key: TokenKey) -> Result<bool, StoreError> {
        self.runtime.block_on(store.revoke(key, NumericDate(500)))
    }

    /// Lets the writer's thread wait, so that what comes now gathers; ends when the sender is dropped.
    fn hold(&self, store: &Store) -> Sender<()> {
        let (release, held) = channel::<()>();
        let (started, running) = channel::<()>();
        let store = store.clone();
        self.runtime.spawn(async move {
            let wait = move |_: &Connection| {
                let _ = started.send(());
                let _ = held.recv();
                Ok(())
            };
            store.inner.writer.write("wait", wait).await
        });
        running.recv().unwrap();
        release
    }

    fn on_writer<T: Send + 'static>(
        &self,
        store: &Store,
        mut act: impl FnMut(&Connection) -> T + Send + 'static,
    ) -> T {
        self.runtime.block_on(store.inner.writer.write("test", move |conn| Ok(act(conn)))).unwrap()
    }
}

pub(super) fn opaque(n: u64) -> TokenKey {
    TokenKey::Opaque(TokenHash::of(&n.to_string()))
}

fn used(jti: &str) -> UsedAssertion {
    UsedAssertion {
        issuer: "https://login.bank.example".parse().unwrap(),
        jti: jti.parse().unwrap(),
        expires_at: NumericDate(1000),
    }
}

pub(super) fn facts(n: u64) -> TokenFacts {
    TokenFacts {
        format: TokenFormat::Opaque,
        jti: format!("jti-{n}").parse().unwrap(),
        grant: Grant {
            client_id: "shop".parse().unwrap(),
            subject: "customer-1".parse().unwrap(),
            origin: Origin::Assertion("https://login.bank.example".parse().unwrap()),
            audience: vec![
                "https://payments.bank.example".parse().unwrap(),
                "https://sign.example".parse().unwrap(),
            ],
            scope: "payments:initiate payments:status".parse().unwrap(),
            authorization_details: details(),
            authentication: Authentication {
                acr: Some("urn:sca".parse().unwrap()),
                amr: vec!["pwd".parse().unwrap(), "otp".parse().unwrap()],
                auth_time: Some(NumericDate(90)),
            },
            extra: BTreeMap::from([("given_name".parse().unwrap(), "Zo\u{eb} \"x\"".into())]),
        },
        issued_at: NumericDate(100),
        not_before: None,
        expires_at: NumericDate(1000),
        revoked: false,
    }
}

fn details() -> Vec<AuthorizationDetail> {
    parse_authorization_details(
        r#"[{"type":"payment_initiation","actions":["initiate","status"],
            "locations":["https://payments.bank.example"],
            "instructedAmount":{"currency":"EUR","amount":"123.50"},"creditorName":"Merchant A",
            "creditorAccount":{"iban":"DE02100100109307118603"}},
           {"type":"credential","credentialID":"GX0112348","hashAlgorithmOID":"2.16.840.1.101.3.4.2.1",
            "documentDigests":[{"hash":"sTOgwOm+474gFj0q0x1iSNspKqbcse4IeiqlDg/HWuI=","label":"Contract"}]}]"#,
    )
    .unwrap()
}

fn at_jwt(n: u64) -> (TokenKey, TokenFacts) {
    let facts = TokenFacts { format: TokenFormat::AtJwt, ..facts(n) };
    (TokenKey::AtJwt(facts.jti.clone()), facts)
}
