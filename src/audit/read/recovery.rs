//! Opening a log: reads what the last run left, from the disk, and decides whether it is whole, torn or damaged.
//!
//! It reads from the segment that holds the published checkpoint to the end, or everything when nothing usable is
//! published. *Torn* is a last batch that lacks sectors: they are still the zeros that they were prepared with. Its whole
//! frames before the first such sector are kept, the rest stays where it is, and the log goes on in the next segment,
//! whose header says so ([`Remains`]). Everything else that is not as it was written is *damage*. In no case is anything
//! overwritten: see [`crate::manual::crash`] for what this can tell and what it cannot.

use super::reader::{Defect, Found, ReadError, Reader, Rest};
use super::recorded_keys::RecordedKey;
use super::replay::Replay;
use crate::audit::disk::block::block_of;
use crate::audit::disk::frame::{BATCH_HEADER, BATCH_MAX};
use crate::audit::disk::header::{Header, Remains};
use crate::audit::disk::segment::{self, Active, Prepared};
use crate::audit::error::{LogError, OpenError, SettingsError, at};
use crate::audit::note::Published;
use crate::audit::note::{Checkpoint, VerifierKey};
use crate::audit::settings::LogSettings;
use crate::audit::tiles::TileReader;
use crate::audit::tree::Edge;
use crate::audit::write::pen::Place;
use crate::durable;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What opening a log found; worth a `log-opened` record, which is the caller's.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Records in the log when it was opened.
    pub size: u64,
    /// The write that a crash had cut off, if one had; a `torn-tail-repaired` record tells of it.
    pub torn: Option<Torn>,
    /// The last checkpoint that the log records: verified, and its records are all there.
    pub checkpoint: Option<Arc<Published>>,
    /// The published files were missing or unusable and were made again from the segments.
    pub rebuilt: bool,
    /// All keys that are known to have signed checkpoints: those given, and those that the log's own key records name.
    pub keys: Vec<VerifierKey>,
    /// Keys of all purposes in the key records from [`LogLock::reading_from`] on, and perhaps in some before.
    ///
    /// [`LogLock::reading_from`]: crate::audit::LogLock::reading_from
    pub recorded_keys: Vec<RecordedKey>,
}

/// What a crash left of a batch: its whole records are part of the log, the rest stays where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub segment: PathBuf,
    /// The first byte behind the last whole record.
    pub offset: u64,
    /// Bytes from there on that are part of no record; zeros behind them do not count.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
    /// Whole records of the torn batch that were kept.
    pub kept: u64,
}

impl Torn {
    fn of(segment: &Path, Remains { offset, bytes, kept, sha256 }: Remains) -> Self {
        Self { segment: segment.to_path_buf(), offset, bytes, sha256, kept }
    }
}

/// What the rest of opening needs.
pub(in crate::audit) struct Recovered {
    pub(in crate::audit) place: Place,
    last: Last,
    pub(in crate::audit) torn: Option<Torn>,
    pub(in crate::audit) checkpoint: Option<Published>,
    /// Records, not of checkpoints, that the last recorded checkpoint does not cover.
    pub(in crate::audit) uncovered: u64,
    /// The tree at the published checkpoint, when what is published can be continued.
    pub(in crate::audit) published: Option<Edge>,
    /// The segments to publish from.
    pub(in crate::audit) segments: Vec<PathBuf>,
    /// Given and found in key records.
    pub(in crate::audit) keys: Vec<VerifierKey>,
    pub(in crate::audit) recorded_keys: Vec<RecordedKey>,
}

/// The last segment.
struct Last {
    path: PathBuf,
    header: Header,
    /// Where its last batch ends.
    end: u64,
    /// What a crash left behind it.
    remains: Option<Remains>,
}

impl Recovered {
    /// The segment to go on in: the last one; or the next, made at once, when a crash left something in the last or its
    /// blocks are not those of this disk.
    pub(in crate::audit) fn active(&self, settings: &LogSettings) -> Result<Active, OpenError> {
        let directory = segment::directory(&settings.directory);
        let (block, Last { path, header, end, remains }) = (block_of(&directory), &self.last);
        if remains.is_none() && header.block == block {
            return Ok(Active::resume(path, header, *end)?);
        }
        let next =
            Prepared::make(&directory, settings.segment_bytes, &mut || true)?.ok_or(LogError::Closed)?;
        let bytes = next.bytes;
        let next_header = self.place.header(&settings.origin, header.index + 1, bytes, block, *remains);
        let mut active = next.inscribe(&next_header)?;
        let (first, last) = (next_header.first(), header.first());
        // The point of no return: before it the next start finds the same remains, after it this header tells of them.
        if first == last {
            active.put_behind(&directory, first)?;
        } else {
            active.put_in_place(&directory, first)?;
        }
        Ok(active)
    }
}

impl From<ReadErrorIn> for OpenError {
    fn from(ReadErrorIn(segment, error): ReadErrorIn) -> Self {
        match error {
            ReadError::Io(e) => Self::Io(e),
            ReadError::Damage(Defect { offset, what }) => Self::Damage { segment, offset, what },
        }
    }
}

/// An error and the segment that it is about.
pub(in crate::audit) struct ReadErrorIn(pub(in crate::audit) PathBuf, pub(in crate::audit) ReadError);

pub(in crate::audit) fn damage(segment: &Path, offset: u64, what: impl Into<String>) -> OpenError {
    OpenError::Damage { segment: segment.to_path_buf(), offset, what: what.into() }
}

/// Reads and checks the log, at least from the record `known` on, and changes nothing.
pub(in crate::audit) fn recover(
    settings: &LogSettings,
    keys: &[VerifierKey],
    known: u64,
) -> Result<Recovered, OpenError> {
    recover_against(settings, keys, published(settings, keys).as_ref(), known)
}

/// The same, with the checkpoint that was published.
pub(super) fn recover_against(
    settings: &LogSettings,
    keys: &[VerifierKey],
    published: Option<&Checkpoint>,
    known: u64,
) -> Result<Recovered, OpenError> {
    let directory = segment::directory(&settings.directory);
    let segments = segment::list(&directory)?;
    if segments.is_empty() {
        return Err(OpenError::Missing(settings.directory.clone()));
    }
    // The names of the segments were read, not the disk: one whose rename a crash could still undo must not be built on.
    durable::sync_dir(&directory).map_err(at(&directory, "fsync"))?;
    let headers = headers(settings, &segments)?;
    let usable = published.filter(|p| tiles_reach(settings, p));
    // The tiles go on at the first record of the incomplete bundle, which is rebuilt as well.
    let from = usable.map_or(0, |p| p.size - p.size % 256).min(known);
    let begin = segments.iter().rposition(|(first, _)| *first <= from).unwrap_or(0);
    let whole = |begin| {
        let replay = Replay::begin(&settings.origin, keys, published);
        replay_from(settings, replay, &headers, &segments, begin)
    };
    let (mut replay, reader, remains, begin) = match whole(begin) {
        // The record of a key that signed a checkpoint may lie in an earlier segment.
        Err(OpenError::Damage { .. }) if begin > 0 => whole(0)?,
        other => other?,
    };
    let path = reader.path().to_path_buf();
    let before = segments.len().checked_sub(2).and_then(|n| segments.get(n));
    // A segment without a record was made for what the one before it ends with, and no record tells of that yet.
    let unrecorded = before.zip(reader.header.remains).filter(|_| replay.seq() == reader.header.first());
    let torn = match (remains, unrecorded) {
        (Some(remains), _) => Some(Torn::of(&path, remains)),
        (None, Some(((_, before), remains))) => Some(Torn::of(before, remains)),
        (None, None) => None,
    };
    let batch = reader.batch() + u64::from(remains.is_some_and(|r| r.kept > 0));
    Ok(Recovered {
        place: replay.place(batch),
        torn,
        last: Last { path, end: reader.at(), remains, header: reader.header },
        uncovered: replay.uncovered(),
        published: usable.and(replay.published_edge.take()),
        checkpoint: replay.checkpoint,
        segments: segments.into_iter().skip(begin).map(|(_, path)| path).collect(),
        keys: replay.keys,
        recorded_keys: replay.recorded.into_vec(),
    })
}

/// Reads and checks the segments from number `begin` on.
fn replay_from<'a>(
    settings: &LogSettings,
    mut replay: Replay<'a>,
    headers: &[Header],
    segments: &[(u64, PathBuf)],
    begin: usize,
) -> Result<(Replay<'a>, Reader, Option<Remains>, usize), OpenError> {
    let missing = || OpenError::Missing(settings.directory.clone());
    let Header { edge, prev, .. } = headers.get(begin).ok_or_else(missing)?;
    replay.after(edge.clone(), *prev);
    let mut last = None;
    for (place, (_, path)) in segments.iter().enumerate().skip(begin) {
        let next = headers.get(place + 1);
        let (reader, remains) = read(&mut replay, path, next.is_none())?;
        match next {
            Some(next) if next.remains != remains => {
                let offset = remains.or(next.remains).map_or(0, |r| r.offset);
                let what = "what lies behind its last whole record is not what the next segment says of it";
                return Err(damage(path, offset, what));
            }
            _ => last = Some((reader, remains)),
        }
    }
    let (reader, remains) = last.ok_or_else(missing)?;
    check_published(&replay, &reader)?;
    Ok((replay, reader, remains, begin))
}

/// Reads all headers: the segments must follow each other without a gap.
fn headers(settings: &LogSettings, segments: &[(u64, PathBuf)]) -> Result<Vec<Header>, OpenError> {
    let mut headers: Vec<Header> = Vec::with_capacity(segments.len());
    for ((first, path), index) in segments.iter().zip(0..) {
        let header = Reader::open(path).map_err(|e| ReadErrorIn(path.clone(), e))?.header;
        if header.origin != settings.origin {
            let (expected, found) = (settings.origin.clone(), header.origin);
            return Err(SettingsError::Origin { expected, found }.into());
        }
        if header.index != index {
            return Err(damage(
                path,
                0,
                format!("segment {} stands where segment {index} belongs", header.index),
            ));
        }
        if header.first() != *first {
            return Err(damage(
                path,
                0,
                format!("its first record is {}, its name says another", header.first()),
            ));
        }
        if index == 0 && (*first, header.prev, header.batch) != (0, [0; 32], 0) {
            return Err(damage(path, 0, "the first segment does not begin a log"));
        }
        headers.push(header);
    }
    Ok(headers)
}

/// The checkpoint that is published, when one of the keys signed it. One that cannot be read or that no key signed
/// says nothing about the log: it is replaced by the last one that the log records.
fn published(settings: &LogSettings, keys: &[VerifierKey]) -> Option<Checkpoint> {
    let note = TileReader::open(settings.published()).checkpoint().ok()??;
    VerifierKey::open(keys, &note).ok().filter(|c| c.origin == settings.origin)
}

fn tiles_reach(settings: &LogSettings, published: &Checkpoint) -> bool {
    let tiles = TileReader::open(settings.published());
    tiles.is_complete(published.size)
        && tiles.root_at(published.size).is_ok_and(|root| root == published.root)
}

/// Reads one segment to its end.
fn read(replay: &mut Replay<'_>, path: &Path, last: bool) -> Result<(Reader, Option<Remains>), OpenError> {
    let inside = |e| ReadErrorIn(path.to_path_buf(), e);
    let mut reader = Reader::open(path).map_err(inside)?;
    if last {
        reader.read_from_disk()?;
    }
    let header = &reader.header;
    if (header.first(), header.prev, &header.edge) != (replay.seq(), replay.prev(), &replay.edge()) {
        return Err(damage(path, 0, "the segment does not follow the one before it"));
    }
    if reader.length != header.bytes {
        let what =
            format!("the file has {} bytes, expected {}: no crash changes that", reader.length, header.bytes);
        return Err(damage(path, reader.length.min(header.bytes), what));
    }
    let found = loop {
        let mut each = |frame: crate::audit::disk::frame::Frame<'_>, offset| {
            replay.record(&frame).map_err(|what| ReadError::Damage(Defect { offset, what }))
        };
        match reader.next::<ReadError>(&mut each).map_err(inside)? {
            Found::Batch => {}
            found => break found,
        }
    };
    let remains = remains(&mut reader, &found)?;
    Ok((reader, remains))
}

/// What a crash left behind the last whole record. Nothing is written behind a batch that is not durable: with anything
/// behind it, what is wrong with a batch is no write that was cut off.
fn remains(reader: &mut Reader, found: &Found) -> Result<Option<Remains>, OpenError> {
    let path = reader.path().to_path_buf();
    let (offset, kept, end) = match found {
        Found::Torn(torn) => match reader.rest(torn.end)? {
            Rest::Zeros => (torn.offset, torn.frames, torn.end),
            _ => {
                return Err(damage(
                    &path,
                    torn.offset,
                    "a batch lacks sectors, and another was begun behind it",
                ));
            }
        },
        Found::End | Found::Batch => match reader.rest(reader.at())? {
            Rest::Zeros => return Ok(None),
            Rest::Batch(_) => return Err(damage(&path, reader.at(), "no batch, but one behind it")),
            Rest::Remains(first, _) if first == reader.at() => {
                return Err(damage(&path, first, "the header of a batch is wrong, and lacks no sector"));
            }
            Rest::Remains(_, end) if end - reader.at() > (BATCH_HEADER + BATCH_MAX) as u64 => {
                return Err(damage(
                    &path,
                    reader.at(),
                    "no batch, but something too far behind to be part of one",
                ));
            }
            Rest::Remains(_, end) => (reader.at(), 0, end),
        },
    };
    let end = reader.written(offset, end)?;
    let sha256 = reader.digest(offset, end)?;
    Ok(Some(Remains { offset, bytes: end - offset, kept, sha256 }))
}

/// A checkpoint that was published had its record durable before: when the record is not there, records were lost.
fn check_published(replay: &Replay<'_>, reader: &Reader) -> Result<(), OpenError> {
    let Some(published) = replay.published else { return Ok(()) };
    let last = replay.checkpoint.as_ref().map_or(0, |c| c.size);
    if published.size > last {
        let what = format!(
            "a signed checkpoint over {} records was published, but the log's {} records end before its record",
            published.size,
            replay.seq()
        );
        return Err(damage(reader.path(), reader.at(), what));
    }
    if replay.published_edge.is_none() {
        let what = format!(
            "a signed checkpoint over {} records was published that the log never recorded",
            published.size
        );
        return Err(damage(reader.path(), 0, what));
    }
    Ok(())
}
