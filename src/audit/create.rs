//! Creating a log, once: what opening it later never does.

use super::disk::block::block_of;
use super::disk::segment::{self, Prepared};
use super::error::{CreateError, FileError, LogError, TooLarge, at};
use super::note::Published;
use super::publish::continuity::Continuity;
use super::publish::publisher::sign;
use super::record::entry::Entry;
use super::settings::{LogLock, LogSettings, SignCheckpoint};
use super::tiles::TileWriter;
use super::tree::Edge;
use super::write::pen::{Pen, Place};
use crate::clock::Clock;
use crate::durable;
use std::path::Path;

/// `segments/` is the signer's alone.
const PRIVATE: u32 = 0o700;
/// `published/` may be read by others, as far as the umask lets them.
const PUBLIC: u32 = 0o755;

/// A locked place in which there is no log.
pub struct NewLog(LogLock);

impl NewLog {
    /// Makes the directory, keeps every other writer out, and refuses what holds a log or the rest of one.
    pub fn prepare(mut settings: LogSettings) -> Result<Self, CreateError> {
        settings.check()?;
        make_directory(&settings.directory, PUBLIC)?;
        let lock = LogLock::of(settings)?;
        let published = lock.settings.published();
        // Published files without segments are what is left of a log that was lost: a fresh start would hide that.
        let leftover =
            ["checkpoint", "tile"].map(|name| published.join(name)).into_iter().find(|p| p.exists());
        if let Some(path) = leftover {
            return Err(CreateError::Exists(path));
        }
        match segment::list(&segment::directory(&lock.settings.directory))?.into_iter().next() {
            Some((_, path)) => Err(CreateError::Exists(path)),
            None => Ok(Self(lock)),
        }
    }
}

/// Creates a log with its first records (`log-created` and one for each key), signs its first checkpoint over them,
/// records and publishes it. The only way to make a log where none is.
pub fn create(
    NewLog(LogLock { settings, _held, .. }): NewLog,
    first: &[Entry],
    mut signer: SignCheckpoint,
) -> Result<(Published, Continuity), CreateError> {
    let (segments, published) = (segment::directory(&settings.directory), settings.published());
    make_directory(&segments, PRIVATE)?;
    make_directory(&published, PUBLIC)?;

    let bytes = settings.segment_bytes;
    let prepared = Prepared::make(&segments, bytes, &mut || true)?.ok_or(LogError::Closed)?;
    let place = Place::start();
    let active = prepared.inscribe(&place.header(&settings.origin, 0, bytes, block_of(&segments), None))?;
    let clock = Clock::start(settings.sources.clone(), None);
    let mut pen = Pen::new(&settings, clock, &segments, active, place);
    pen.tick();
    let mut tiles = TileWriter::resume(published, Edge::new(), Vec::new()).map_err(LogError::from)?;
    for entry in first {
        put(&mut pen, &mut tiles, entry)?;
    }
    flush(&mut pen, &mut tiles)?;
    let size = pen.edge().size();
    let continuity = Continuity::created();
    let (checkpoint, entry) = sign(&continuity, &settings.origin, size, pen.edge().root(), &mut signer)?;
    put(&mut pen, &mut tiles, &entry)?;
    pen.flush()?;
    // The point of no return: before it there is no log, and creating it again writes over what is left; after it there
    // is one, and opening it publishes the recorded checkpoint.
    pen.segment_mut().put_in_place(&segments, 0)?;
    tiles.write().map_err(LogError::from)?;
    tiles.publish(checkpoint.note.as_bytes()).map_err(LogError::from)?;
    Ok((checkpoint, continuity))
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
