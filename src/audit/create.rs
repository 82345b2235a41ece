//! Creating a log, once: what opening it later never does.

use super::entry::Entry;
use super::error::{CreateError, FileError, LogError, TooLarge, at};
use super::pen::{Pen, Place};
use super::publisher::{publish_error, sign};
use super::segment::{self, Prepared};
use super::settings::{Lock, LogSettings, SignCheckpoint};
use super::tiles::TileWriter;
use super::tree::Edge;
use crate::clock::Clock;
use crate::durable;
use std::path::Path;

/// `segments/` is the signer's alone.
const PRIVATE: u32 = 0o700;
/// `published/` may be read by others, as far as the umask lets them.
const PUBLIC: u32 = 0o755;

/// See [`super::Log::create`].
pub(super) fn create(
    mut settings: LogSettings,
    first: &[Entry],
    mut signer: SignCheckpoint,
) -> Result<(), CreateError> {
    settings.check()?;
    let segments = segment::directory(&settings.directory);
    let published = settings.published();
    make_directory(&settings.directory, PUBLIC)?;
    let _lock = Lock::take(&settings)?;
    // Published files without segments are what is left of a log that was lost: a fresh start would hide that.
    let leftover = ["checkpoint", "tile"].map(|name| published.join(name)).into_iter().find(|p| p.exists());
    if let Some(path) = leftover {
        return Err(CreateError::Exists(path));
    }
    if let Some((_, path)) = segment::list(&segments)?.into_iter().next() {
        return Err(CreateError::Exists(path));
    }
    make_directory(&segments, PRIVATE)?;
    make_directory(&published, PUBLIC)?;

    let bytes = settings.segment_bytes;
    let prepared = Prepared::make(&segments, bytes, &mut || true)?.ok_or(LogError::Closed)?;
    let place = Place::start();
    let active = prepared.inscribe(&place.header(&settings.origin, 0, bytes))?;
    let clock = Clock::start(settings.sources.clone(), None);
    let mut pen = Pen::new(&settings, clock, &segments, active, place);
    pen.tick();
    let mut tiles = TileWriter::resume(published, Edge::new(), Vec::new()).map_err(publish_error)?;
    for entry in first {
        put(&mut pen, &mut tiles, entry)?;
    }
    flush(&mut pen, &mut tiles)?;
    let size = pen.edge().size();
    let (checkpoint, entry) = sign(&settings.origin, size, pen.edge().root(), &mut signer)?;
    put(&mut pen, &mut tiles, &entry)?;
    pen.flush()?;
    // The point of no return: before it there is no log, and creating it again writes over what is left; after it there
    // is one, and opening it publishes the recorded checkpoint.
    pen.segment_mut().put_in_place(&segments, 0)?;
    tiles.write().map_err(publish_error)?;
    tiles.publish(checkpoint.note.as_bytes()).map_err(publish_error)?;
    Ok(())
}

fn make_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    durable::create_dir(path, mode).map_err(at(path, "creating the directory"))
}

fn put(pen: &mut Pen, tiles: &mut TileWriter, entry: &Entry) -> Result<(), CreateError> {
    if !pen.fits(entry) {
        flush(pen, tiles)?;
    }
    if !pen.fits(entry) {
        let most = pen.segment().left();
        return Err(LogError::from(TooLarge { found: entry.size(), most }).into());
    }
    pen.put(entry);
    Ok(())
}

fn flush(pen: &mut Pen, tiles: &mut TileWriter) -> Result<(), FileError> {
    if pen.gathered() > 0 {
        pen.flush()?;
        pen.records().for_each(|record| tiles.push(record));
        pen.begin();
    }
    Ok(())
}
