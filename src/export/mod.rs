//! Bundles for auditors, and their verification offline, with published keys alone.
//!
//! A bundle is a directory: `checkpoint`, `tile/…` (C2SP `tlog-tiles`, exactly the tiles that the checkpoint covers),
//! `keys.json` ([`KeyFile`]) and `manifest.json` ([`Manifest`]). The checkpoint's signature proves everything: its root
//! proves the records, the key records prove the keys, and both prove the manifest.

mod bundle;
mod chain;
mod facts;
mod finding;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keys;
mod manifest;
mod sheets;
#[cfg(test)]
pub(crate) mod tests;
mod verify;

pub use bundle::{ExportError, LogSource, NewDirectory, Summary, write};
pub use chain::Configurations;
pub use finding::{Finding, Kind};
pub use keys::{KeyFile, SigningKey};
pub use manifest::{Manifest, ManifestFile};
pub use verify::{Inputs, Report, find, verify};

/// Called after every bundle of records with the count of processed records and the total.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

const KEYS: &str = "keys.json";
/// The list of all other files.
const MANIFEST: &str = "manifest.json";
