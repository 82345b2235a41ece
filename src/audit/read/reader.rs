//! Reads a segment batch by batch, and says what it finds where no whole batch is.

use super::source::Source;
use crate::audit::disk::frame::{self, BATCH_HEADER, BATCH_MAX, BatchHeader, Frame, FrameDefect, SECTOR};
use crate::audit::disk::header::{HEADER_MAX, Header};
use crate::audit::error::{FileError, at};
use aws_lc_rs::digest::{Context, SHA256};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// One sector as it was prepared.
const ZEROS: [u8; SECTOR] = [0; SECTOR];

/// A place in a segment that is not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Defect {
    pub(in crate::audit) offset: u64,
    pub(in crate::audit) what: String,
}

/// Why reading ended.
#[derive(Debug)]
pub(in crate::audit) enum ReadError {
    Io(FileError),
    /// No crash leaves this behind.
    Damage(Defect),
}

impl From<FileError> for ReadError {
    fn from(e: FileError) -> Self {
        Self::Io(e)
    }
}

/// What lies at the reader's place.
pub(in crate::audit) enum Found {
    /// A whole batch; the reader has moved behind it.
    Batch,
    /// A batch that lacks sectors; the reader stays at its begin.
    Torn(TornBatch),
    /// No batch; the reader stays.
    End,
}

/// A batch that a crash cut off.
pub(in crate::audit) struct TornBatch {
    /// Where it would end.
    pub(in crate::audit) end: u64,
    /// Where its whole frames end.
    pub(in crate::audit) offset: u64,
    /// Whole frames before the first that lacks sectors.
    pub(in crate::audit) frames: u64,
}

/// What lies behind a place.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::audit) enum Rest {
    Zeros,
    /// Sectors with something in them that is no batch: where the first begins and the last ends.
    Remains(u64, u64),
    /// A batch, at this byte.
    Batch(u64),
}

/// A segment that is read from its first batch on.
pub(in crate::audit) struct Reader {
    path: PathBuf,
    source: Source,
    pub(in crate::audit) header: Header,
    /// Length of the file.
    pub(in crate::audit) length: u64,
    at: u64,
    batch: u64,
    seq: u64,
    body: Vec<u8>,
}

impl Reader {
    pub(in crate::audit) fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(at(path, "opening"))?;
        let length = file.metadata().map_err(at(path, "looking at"))?.len();
        let (mut source, mut body) = (Source::of(file), Vec::new());
        fill(&mut source, 0, HEADER_MAX.min(length), &mut body).map_err(at(path, "reading"))?;
        let (header, at) = Header::decode(&body)
            .map_err(|what| ReadError::Damage(Defect { offset: 0, what: what.to_owned() }))?;
        let (batch, seq) = (header.batch, header.first());
        Ok(Self { path: path.to_path_buf(), source, header, length, at, batch, seq, body })
    }

    /// Makes the following reads show what the disk has, as far as [`Source::read_from_disk`] can.
    pub(super) fn read_from_disk(&mut self) -> Result<(), FileError> {
        if !self.source.read_from_disk().map_err(at(&self.path, "reading from the disk"))? {
            tracing::debug!(
                segment = %self.path.display(),
                "the log's end is read through the system's cache: its file system knows no other way"
            );
        }
        Ok(())
    }

    pub(in crate::audit) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next batch would begin.
    pub(in crate::audit) const fn at(&self) -> u64 {
        self.at
    }

    /// Sequence that the next record would have.
    pub(in crate::audit) const fn seq(&self) -> u64 {
        self.seq
    }

    /// Number that the next batch would have.
    pub(in crate::audit) const fn batch(&self) -> u64 {
        self.batch
    }

    /// Reads the next batch and shows each whole frame, and the byte where it begins, to `each`.
    pub(in crate::audit) fn next<E: From<ReadError>>(
        &mut self,
        each: &mut dyn FnMut(Frame<'_>, u64) -> Result<(), E>,
    ) -> Result<Found, E> {
        let Some(header) = self.batch_at(self.at).map_err(ReadError::Io)? else { return Ok(Found::End) };
        self.check(&header)?;
        let extent = header.extent(self.header.block);
        let from = self.at + BATCH_HEADER as u64;
        fill(&mut self.source, from, extent - BATCH_HEADER as u64, &mut self.body)
            .map_err(at(&self.path, "reading"))
            .map_err(ReadError::Io)?;

        let end = usize::try_from(header.length).unwrap_or(BATCH_MAX);
        let (frames, padding) = self.body.split_at_checked(end).unwrap_or_default();
        let mut rest = frames;
        let mut whole = 0;
        while whole < header.frames {
            let offset = from + (frames.len() - rest.len()) as u64;
            match frame::read(rest) {
                Err((found, length)) => {
                    let begin = usize::try_from(offset - self.at).unwrap_or(usize::MAX);
                    if found != FrameDefect::Length && self.lacks_sector(begin, length) {
                        let torn = TornBatch { end: self.at + extent, offset, frames: u64::from(whole) };
                        return Ok(Found::Torn(torn));
                    }
                    return Err(ReadError::Damage(Defect { offset, what: found.text().to_owned() }).into());
                }
                Ok((frame, _)) if frame.seq != self.seq + u64::from(whole) => {
                    let what =
                        format!("record {} stands where {} belongs", frame.seq, self.seq + u64::from(whole));
                    return Err(ReadError::Damage(Defect { offset, what }).into());
                }
                Ok((frame, length)) => {
                    each(frame, offset)?;
                    rest = rest.get(length..).unwrap_or_default();
                    whole += 1;
                }
            }
        }
        if !rest.is_empty() || padding.iter().any(|b| *b != 0) {
            let what = "a batch holds more than its frames".to_owned();
            let offset = from + (frames.len() - rest.len()) as u64;
            return Err(ReadError::Damage(Defect { offset, what }).into());
        }
        self.at += extent;
        self.batch += 1;
        self.seq += u64::from(header.frames);
        Ok(Found::Batch)
    }

    /// Whether one of the sectors that these bytes of the batch lie in is all zeros, as it was prepared: then a crash
    /// explains what is wrong with them. A sector that was written is right on every disk: what is wrong with bytes that
    /// lack none came later.
    fn lacks_sector(&self, begin: usize, length: usize) -> bool {
        // The batch's header is not in the body; its sector was written.
        let first = begin / SECTOR * SECTOR;
        let sector = |place: usize| {
            let begin = place.checked_sub(BATCH_HEADER)?;
            self.body.get(begin..(begin + SECTOR).min(self.body.len()))
        };
        (first..begin.saturating_add(length))
            .step_by(SECTOR)
            .any(|place| sector(place).is_some_and(|s| ZEROS.starts_with(s)))
    }

    /// A header whose checksum is right was written as it is: what it says wrongly no crash explains.
    fn check(&self, header: &BatchHeader) -> Result<(), ReadError> {
        let what = if header.number != self.batch {
            format!("batch {} stands where {} belongs", header.number, self.batch)
        } else if header.first != self.seq {
            format!("a batch begins with record {} where {} belongs", header.first, self.seq)
        } else if header.length as usize > BATCH_MAX
            || self.at + header.extent(self.header.block) > self.header.bytes
        {
            format!("a batch of {} bytes is longer than one can be here", header.length)
        } else {
            return Ok(());
        };
        Err(ReadError::Damage(Defect { offset: self.at, what }))
    }

    /// The batch of this segment that begins at `offset`.
    fn batch_at(&mut self, offset: u64) -> Result<Option<BatchHeader>, FileError> {
        let mut bytes = [0; BATCH_HEADER];
        if offset < self.header.bytes {
            self.source.read(offset, &mut bytes).map_err(at(&self.path, "reading"))?;
        }
        Ok(BatchHeader::decode(&bytes).filter(|h| h.segment == self.header.id))
    }

    /// Says what lies from the byte `from` (where a sector begins) to the end of the file.
    pub(in crate::audit) fn rest(&mut self, from: u64) -> Result<Rest, FileError> {
        let mut remains: Option<(u64, u64)> = None;
        let mut place = from;
        let mut sector = ZEROS;
        while place < self.length {
            self.source.read(place, &mut sector).map_err(at(&self.path, "reading"))?;
            if sector != ZEROS {
                remains = Some((remains.map_or(place, |(first, _)| first), place + SECTOR as u64));
                if BatchHeader::decode(&sector).is_some_and(|h| h.segment == self.header.id) {
                    return Ok(Rest::Batch(place));
                }
            }
            place += SECTOR as u64;
        }
        Ok(remains.map_or(Rest::Zeros, |(first, end)| Rest::Remains(first, end)))
    }

    /// Where the last sector between `from` and `to` ends that is not all zeros; `from` if there is none.
    pub(in crate::audit) fn written(&mut self, from: u64, to: u64) -> Result<u64, FileError> {
        let mut sector = ZEROS;
        let mut end = from;
        let mut place = from - from % SECTOR as u64;
        while place < to {
            self.source.read(place, &mut sector).map_err(at(&self.path, "reading"))?;
            place += SECTOR as u64;
            if sector != ZEROS {
                end = place;
            }
        }
        Ok(end)
    }

    /// SHA-256 of the bytes from `from` to `to`.
    pub(in crate::audit) fn digest(&mut self, from: u64, to: u64) -> Result<[u8; 32], FileError> {
        let mut context = Context::new(&SHA256);
        let mut place = from;
        while place < to {
            let length = (to - place).min(BATCH_MAX as u64);
            fill(&mut self.source, place, length, &mut self.body).map_err(at(&self.path, "reading"))?;
            context.update(&self.body);
            place += length;
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Ok(out)
    }
}

/// Reads `length` bytes into `out`; what lies behind the end of the file is zeros.
fn fill(source: &mut Source, offset: u64, length: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    out.clear();
    out.resize(length, 0);
    source.read(offset, out)
}
