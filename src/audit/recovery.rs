//! Opening a log: reads what the last run left, from the disk, and decides whether it is whole, torn or damaged.
//!
//! It reads from the segment that holds the published checkpoint to the end, or everything when nothing usable is
//! published. *Torn* is a defect in the last batch: nobody was told of what it held, so its whole frames are kept and
//! the rest becomes zeros. Everything else that is not as it was written is *damage*, and then nothing is changed.

use super::error::{FileError, OpenError, SettingsError, at};
use super::frame::{BATCH_HEADER, BatchHeader};
use super::note::{Checkpoint, VerifierKey};
use super::pen::Place;
use super::publisher::Published;
use super::reader::{Defect, Found, ReadError, Reader, Rest, TornBatch};
use super::replay::Replay;
use super::segment::{self, Active, Header, clear_from};
use super::settings::LogSettings;
use super::tiles::TileReader;
use super::tree::Edge;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
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
}

/// A write that a crash had cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub segment: PathBuf,
    /// The first byte that is not as it was written.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
    /// Whole records of the torn batch that were kept.
    pub kept: u32,
}

/// What the rest of opening needs.
pub(super) struct Recovered {
    pub(super) place: Place,
    pub(super) active: Active,
    pub(super) torn: Option<Torn>,
    pub(super) checkpoint: Option<Published>,
    /// Records, not of checkpoints, that the last recorded checkpoint does not cover.
    pub(super) uncovered: u64,
    /// The tree at the published checkpoint, when what is published can be continued.
    pub(super) published: Option<Edge>,
    /// The segments to publish from.
    pub(super) segments: Vec<PathBuf>,
    /// Given and found in key records.
    pub(super) keys: Vec<VerifierKey>,
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
pub(super) struct ReadErrorIn(pub(super) PathBuf, pub(super) ReadError);

fn damage(segment: &Path, offset: u64, what: impl Into<String>) -> OpenError {
    OpenError::Damage { segment: segment.to_path_buf(), offset, what: what.into() }
}

/// How the last segment ends.
enum Tail {
    Whole,
    /// Zeros from here on, with nothing of a batch before.
    Cleared(Torn, u64),
    Batch(Torn, TornBatch),
}

/// Reads and checks the log, and repairs a torn tail.
pub(super) fn recover(settings: &LogSettings, keys: &[VerifierKey]) -> Result<Recovered, OpenError> {
    let segments = segment::list(&segment::directory(&settings.directory))?;
    if segments.is_empty() {
        return Err(OpenError::Missing(settings.directory.clone()));
    }
    let headers = headers(settings, &segments)?;
    let published = published(settings, keys);
    let usable = published.as_ref().filter(|p| tiles_reach(settings, p));
    // The tiles go on at the first record of the incomplete bundle, which is rebuilt as well.
    let from = usable.map_or(0, |p| p.size - p.size % 256);
    let begin = segments.iter().rposition(|(first, _)| *first <= from).unwrap_or(0);
    let whole = |begin| {
        let replay = Replay::begin(&settings.origin, keys, published.as_ref());
        replay_from(settings, replay, &headers, &segments, begin)
    };
    let (mut replay, reader, tail, begin) = match whole(begin) {
        // The record of a key that signed a checkpoint may lie in an earlier segment.
        Err(OpenError::Damage { .. }) if begin > 0 => whole(0)?,
        other => other?,
    };
    let (active, torn, batch) = repair(&reader, tail)?;
    Ok(Recovered {
        place: replay.place(batch),
        active,
        torn,
        uncovered: replay.uncovered(),
        published: usable.and(replay.published_edge.take()),
        checkpoint: replay.checkpoint,
        segments: segments.into_iter().skip(begin).map(|(_, path)| path).collect(),
        keys: replay.keys,
    })
}

/// Reads and checks the segments from number `begin` on.
fn replay_from<'a>(
    settings: &LogSettings,
    mut replay: Replay<'a>,
    headers: &[Header],
    segments: &[(u64, PathBuf)],
    begin: usize,
) -> Result<(Replay<'a>, Reader, Tail, usize), OpenError> {
    let missing = || OpenError::Missing(settings.directory.clone());
    let Header { edge, prev, .. } = headers.get(begin).ok_or_else(missing)?;
    replay.after(edge.clone(), *prev);
    let mut last = None;
    for (place, (_, path)) in segments.iter().enumerate().skip(begin) {
        last = Some(read(&mut replay, path, place + 1 == segments.len())?);
    }
    let (reader, tail) = last.ok_or_else(missing)?;
    check_published(&replay, &reader)?;
    Ok((replay, reader, tail, begin))
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

/// The checkpoint that is published, when one of the keys signed it. One that cannot be read or that nobody signed
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
fn read(replay: &mut Replay<'_>, path: &Path, last: bool) -> Result<(Reader, Tail), OpenError> {
    let inside = |e| ReadErrorIn(path.to_path_buf(), e);
    let mut reader = Reader::open(path).map_err(inside)?;
    if last {
        reader.forget_cache()?;
    }
    let header = &reader.header;
    if (header.first(), header.prev, &header.edge) != (replay.seq(), replay.prev(), &replay.edge()) {
        return Err(damage(path, 0, "the segment does not follow the one before it"));
    }
    let found = loop {
        let mut each = |frame: super::frame::Frame<'_>, offset| {
            replay.record(&frame).map_err(|what| ReadError::Damage(Defect { offset, what }))
        };
        match reader.next::<ReadError>(&mut each).map_err(inside)? {
            Found::Batch => {}
            found => break found,
        }
    };
    let tail = tail(&reader, found)?;
    match tail {
        Tail::Cleared(torn, _) | Tail::Batch(torn, _) if !last => Err(damage(path, torn.offset, torn.what)),
        tail => Ok((reader, tail)),
    }
}

/// Says how the segment ends behind its last whole batch: a batch behind a defect means that the defect is no write
/// that was cut off, since nothing is written behind a batch that is not durable.
fn tail(reader: &Reader, found: Found) -> Result<Tail, OpenError> {
    let path = reader.path();
    let torn =
        |offset, what: &str, kept| Torn { segment: path.to_path_buf(), offset, what: what.to_owned(), kept };
    match found {
        Found::Torn(batch) => match reader.rest(reader.at() + batch.header.extent())? {
            Rest::Batch(_) => Err(damage(path, batch.defect.offset, batch.defect.what)),
            _ => Ok(Tail::Batch(torn(batch.defect.offset, &batch.defect.what, batch.frames), batch)),
        },
        Found::End | Found::Batch => match reader.rest(reader.at())? {
            Rest::Batch(_) => Err(damage(path, reader.at(), "no batch, but one behind it")),
            Rest::Remains(offset) => {
                let torn = torn(offset, "the remains of a batch that was never completed", 0);
                Ok(Tail::Cleared(torn, reader.at()))
            }
            Rest::Zeros if reader.length != reader.header.bytes => {
                let end = reader.length.min(reader.header.bytes);
                let torn = torn(end, "the file has another length than the segment", 0);
                Ok(Tail::Cleared(torn, reader.at()))
            }
            Rest::Zeros => Ok(Tail::Whole),
        },
    }
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

/// Makes a torn tail what it would be had the cut-off write never begun, save its whole frames.
fn repair(reader: &Reader, tail: Tail) -> Result<(Active, Option<Torn>, u64), OpenError> {
    let path = reader.path().to_path_buf();
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(at(&path, "opening"))?;
    let mut end = reader.at();
    let mut batch = reader.batch();
    let torn = match tail {
        Tail::Whole => None,
        Tail::Cleared(torn, from) => {
            fit(&file, &path, from, reader.header.bytes)?;
            Some(torn)
        }
        Tail::Batch(torn, TornBatch { header, frames, length, .. }) => {
            let kept = BatchHeader { frames, length, ..header };
            let from = if frames == 0 { end } else { end + BATCH_HEADER as u64 + u64::from(length) };
            // Zeros first: a crash between the two writes leaves the same torn batch, with the same whole frames.
            fit(&file, &path, from, reader.header.bytes)?;
            if frames > 0 {
                file.write_all_at(&kept.encode(), end).map_err(at(&path, "writing"))?;
                file.sync_data().map_err(at(&path, "fdatasync"))?;
                end += kept.extent();
                batch += 1;
            }
            Some(torn)
        }
    };
    Ok((Active::resume(file, path, &reader.header, end), torn, batch))
}

/// Zeros from `from` to the size that the segment has to have.
fn fit(file: &std::fs::File, path: &Path, from: u64, bytes: u64) -> Result<(), FileError> {
    file.set_len(bytes).map_err(at(path, "setting the length"))?;
    clear_from(file, path, from, bytes)
}
