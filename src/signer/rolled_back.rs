//! Compares the published log with the signer's checkpoint, for commands that open no log and must not show a
//! rolled-back one.

use super::checkpoint_key::{known_log_keys, log_keys_path};
use super::kept::Memory;
use super::start::StartError;
use super::state::StateDirectory;
use crate::audit::note::VerifierKey;
use crate::audit::tiles::{TileError, TileReader};
use crate::audit::{LogError, NotExtended};
use crate::config::Config;

/// An error if the published log does not extend the signer's checkpoint. The checkpoint is stored after the
/// publication, so it is never ahead of a complete log.
pub fn compare_published(config: &Config) -> Result<(), StartError> {
    let memory = Memory::of(StateDirectory::of(config));
    let Some(note) = memory.read()? else { return Ok(()) };
    let not_extended = |why| StartError::NotExtended { path: memory.path(), why };
    let unreadable =
        |e: TileError| not_extended(NotExtended::Unreadable(LogError::Publish(e.to_string().into())));
    let keys = known_log_keys(&log_keys_path(config));
    let open = |note: &[u8]| VerifierKey::open(&keys, note).map_err(|why| not_extended(why.into()));
    let tiles = TileReader::open(config.audit.directory.join("published"));
    // The first start publishes and compares a restored log.
    let Some(newest) = tiles.checkpoint().map_err(unreadable)? else { return Ok(()) };
    let newest = open(&newest)?;
    let known = open(&note)?;
    if known.origin != newest.origin {
        return Err(not_extended(NotExtended::Origin(known.origin)));
    }
    if known.size > newest.size {
        return Err(not_extended(NotExtended::Shorter { known: known.size, size: newest.size }));
    }
    if tiles.root_at(known.size).map_err(unreadable)? != known.root {
        return Err(not_extended(NotExtended::Forked { known: known.size }));
    }
    Ok(())
}
