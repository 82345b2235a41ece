//! What an auditor gets and how it is verified on another machine: offline, with published keys alone.
//!
//! A bundle is a directory: `checkpoint`, `tile/…` (C2SP `tlog-tiles`, exactly what the checkpoint covers), `keys.json`
//! ([`KeyFile`]) and `manifest.json` ([`Manifest`]). The checkpoint's signature carries everything: records hang on its
//! root, the keys on records, the manifest on both.

mod bundle;
mod chain;
mod finding;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keys;
mod manifest;
mod sheets;
#[cfg(test)]
pub(crate) mod tests;
mod verify;

pub use bundle::{ExportError, NewDirectory, Source, Summary, write};
pub use chain::Configurations;
pub use finding::{Finding, Kind};
pub use keys::{KeyFile, SigningKey};
pub use manifest::{Manifest, ManifestFile};
pub use verify::{Asked, Report, find, verify};

/// Told after every bundle of records: how many are done, and how many there are.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// The file with the keys.
const KEYS: &str = "keys.json";
/// The file that lists all others.
const MANIFEST: &str = "manifest.json";
