//! Each call to the system that the store makes, made to fail: what was told before is there after.

use super::migration::older_file;
use super::{facts, opaque, used};
use crate::claims::NumericDate;
use crate::durable::faults;
use crate::store::{InsertError, Store};
use tokio::runtime::{Builder, Runtime};

const WORK: &str = "store::tests::faults::work";
const TOKENS: u64 = 12;

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn used_of(n: u64) -> super::UsedAssertion {
    used(&format!("assertion-{n}"))
}

#[test]
#[ignore = "the work of the other test, in a process of its own"]
fn work() {
    let Some(home) = faults::home() else { return };
    let runtime = runtime();
    let store = match Store::open(&home.join("files/state.db")) {
        Ok(store) => store,
        Err(e) => return println!("told refused {e}"),
    };
    for n in 1..=TOKENS {
        match runtime.block_on(store.insert(opaque(n), facts(n), Some(used_of(n)))) {
            Ok(()) => println!("told inserted {n}"),
            Err(e) => println!("told not-inserted {n} {e}"),
        }
        if n % 2 == 0 {
            match runtime.block_on(store.revoke(opaque(n), NumericDate(500))) {
                Ok(true) => println!("told revoked {n}"),
                other => println!("told not-revoked {n} {other:?}"),
            }
        }
    }
    drop(store);
    println!("told closed");
}

#[test]
fn whichever_call_to_the_system_fails_what_the_store_said_to_have_it_has() {
    let scratch = tempfile::tempdir().unwrap();
    let template_home = scratch.path().join("template");
    std::fs::create_dir_all(template_home.join("files")).unwrap();
    // Of an older version, so that the migration fails too.
    drop(older_file(&template_home.join("files/state.db"), 1));
    let fresh = |name: &str| {
        let home = scratch.path().join(name);
        faults::copy(&template_home, &home);
        home
    };
    let clean = faults::run(WORK, &fresh("clean"), "files", None);
    assert_eq!(
        clean.told.iter().filter(|line| line.starts_with("inserted")).count() as u64,
        TOKENS,
        "{:?}",
        clean.told
    );
    let faults = faults::faults(&clean.calls);
    println!("{} faults, {} calls", faults.len(), clean.calls.len());
    assert!(faults.len() > 30, "the shim sees the calls of SQLite");
    faults::each(&faults, |fault| {
        let home = fresh(&fault.to_string().replace('/', "_"));
        let ran = faults::run(WORK, &home, "files", Some(fault));
        let store = Store::open(&home.join("files/state.db"))
            .unwrap_or_else(|e| panic!("{fault}: {e}; {:?}", ran.told));
        let runtime = runtime();
        for line in &ran.told {
            let Some((what, n)) = line.split_once(' ') else { continue };
            let Ok(n) = n.parse::<u64>() else { continue };
            let found =
                store.find(&opaque(n)).unwrap().unwrap_or_else(|| panic!("{fault}: token {n} is lost"));
            if what == "revoked" {
                assert!(found.revoked, "{fault}: the revocation of {n} is lost");
            }
            let again = runtime.block_on(store.insert(opaque(1000 + n), facts(1000 + n), Some(used_of(n))));
            assert!(
                matches!(again, Err(InsertError::Replayed)),
                "{fault}: assertion {n} was accepted twice: {again:?}"
            );
        }
        assert!(store.find(&opaque(0)).unwrap().is_some(), "{fault}");
        runtime.block_on(store.insert(opaque(500), facts(500), None)).unwrap();
        drop(store);
        std::fs::remove_dir_all(home).unwrap();
    });
}
