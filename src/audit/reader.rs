//! Reads a segment batch by batch, and says what it finds where no whole batch is.

use super::error::{FileError, at};
use super::frame::{self, BATCH_HEADER, BATCH_MAX, BatchHeader, Frame, SECTOR};
use super::segment::{HEADER_MAX, Header};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One sector as it was prepared.
const ZEROS: [u8; 512] = [0; 512];

/// A place in a segment that is not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Defect {
    pub(super) offset: u64,
    pub(super) what: String,
}

/// Why reading ended.
#[derive(Debug)]
pub(super) enum ReadError {
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
pub(super) enum Found {
    /// A whole batch; the reader has moved behind it.
    Batch,
    /// A batch whose first frames are whole; the reader stays at its begin.
    Torn(TornBatch),
    /// No batch; the reader stays.
    End,
}

/// A batch with a defect in it.
pub(super) struct TornBatch {
    pub(super) defect: Defect,
    pub(super) header: BatchHeader,
    /// Whole frames before the defect.
    pub(super) frames: u32,
    /// Their bytes.
    pub(super) length: u32,
}

/// What lies behind the last batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Zeros,
    /// Something that is no batch, from this byte on.
    Remains(u64),
    /// A batch, at this byte.
    Batch(u64),
}

/// A segment that is read from its first batch on.
pub(super) struct Reader {
    path: PathBuf,
    file: File,
    pub(super) header: Header,
    /// Length of the file; what is missing to the segment's size is read as zeros.
    pub(super) length: u64,
    at: u64,
    batch: u64,
    seq: u64,
    body: Vec<u8>,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(at(path, "opening"))?;
        let length = file.metadata().map_err(at(path, "looking at"))?.len();
        let mut body = Vec::new();
        fill(&file, 0, HEADER_MAX.min(length), &mut body).map_err(at(path, "reading"))?;
        let (header, at) = Header::decode(&body)
            .map_err(|what| ReadError::Damage(Defect { offset: 0, what: what.to_owned() }))?;
        let (batch, seq) = (header.batch, header.first());
        Ok(Self { path: path.to_path_buf(), file, header, length, at, batch, seq, body })
    }

    /// Makes the following reads come from the disk: after a failed sync the page cache may hold what the disk never
    /// got, and pages that the kernel already counts as clean.
    pub(super) fn forget_cache(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(at(&self.path, "fdatasync"))?;
        posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(|errno| FileError {
            path: self.path.clone(),
            did: "posix_fadvise",
            source: errno.into(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next batch would begin.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Number that the next batch would have.
    pub(super) const fn batch(&self) -> u64 {
        self.batch
    }

    /// Reads the next batch and shows each whole frame, and the byte where it begins, to `each`.
    pub(super) fn next<E: From<ReadError>>(
        &mut self,
        each: &mut dyn FnMut(Frame<'_>, u64) -> Result<(), E>,
    ) -> Result<Found, E> {
        let Some(header) = self.batch_at(self.at).map_err(ReadError::Io)? else { return Ok(Found::End) };
        self.check(&header)?;
        let length = header.extent() - BATCH_HEADER as u64;
        let from = self.at + BATCH_HEADER as u64;
        fill(&self.file, from, length, &mut self.body)
            .map_err(at(&self.path, "reading"))
            .map_err(ReadError::Io)?;

        let end = usize::try_from(header.length).unwrap_or(BATCH_MAX);
        let (frames, padding) = self.body.split_at_checked(end).unwrap_or_default();
        let mut rest = frames;
        let mut whole = 0;
        let mut defect = None;
        while whole < header.frames && defect.is_none() {
            let offset = from + (frames.len() - rest.len()) as u64;
            match frame::read(rest) {
                Err(found) => defect = Some(Defect { offset, what: found.text().to_owned() }),
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
        let read = u32::try_from(frames.len() - rest.len()).unwrap_or(u32::MAX);
        if defect.is_none() && (!rest.is_empty() || padding.iter().any(|b| *b != 0)) {
            let what = "a batch holds more than its frames".to_owned();
            defect = Some(Defect { offset: from + u64::from(read), what });
        }
        if let Some(defect) = defect {
            return Ok(Found::Torn(TornBatch { defect, header, frames: whole, length: read }));
        }
        self.at += header.extent();
        self.batch += 1;
        self.seq += u64::from(header.frames);
        Ok(Found::Batch)
    }

    /// A header whose checksum is right was written as it is: what it says wrongly no crash explains.
    fn check(&self, header: &BatchHeader) -> Result<(), ReadError> {
        let what = if header.number != self.batch {
            format!("batch {} stands where {} belongs", header.number, self.batch)
        } else if header.first != self.seq {
            format!("a batch begins with record {} where {} belongs", header.first, self.seq)
        } else if header.length as usize > BATCH_MAX || self.at + header.extent() > self.header.bytes {
            format!("a batch of {} bytes is longer than one can be here", header.length)
        } else {
            return Ok(());
        };
        Err(ReadError::Damage(Defect { offset: self.at, what }))
    }

    /// The batch of this segment that begins at `offset`.
    fn batch_at(&self, offset: u64) -> Result<Option<BatchHeader>, FileError> {
        let mut bytes = [0; BATCH_HEADER];
        if offset < self.header.bytes {
            read_or_zeros(&self.file, offset, &mut bytes).map_err(at(&self.path, "reading"))?;
        }
        Ok(BatchHeader::decode(&bytes).filter(|h| h.segment == self.header.id))
    }

    /// Says what lies from the byte `from` (where a sector begins) to the end of the file.
    pub(super) fn rest(&self, from: u64) -> Result<Rest, FileError> {
        let mut remains = None;
        let mut offset = from;
        let mut chunk = Vec::new();
        while offset < self.length {
            let length = (self.length - offset).min(BATCH_MAX as u64);
            fill(&self.file, offset, length, &mut chunk).map_err(at(&self.path, "reading"))?;
            for (sector, bytes) in (0u64..).zip(chunk.chunks(512)) {
                let place = offset + sector * SECTOR;
                if ZEROS.starts_with(bytes) {
                    continue;
                }
                remains.get_or_insert(place);
                if BatchHeader::decode(bytes).is_some_and(|h| h.segment == self.header.id) {
                    return Ok(Rest::Batch(place));
                }
            }
            offset += length;
        }
        Ok(remains.map_or(Rest::Zeros, Rest::Remains))
    }
}

/// Reads `length` bytes into `out`; what lies behind the end of the file is zeros.
fn fill(file: &File, offset: u64, length: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    out.clear();
    out.resize(length, 0);
    read_or_zeros(file, offset, out)
}

fn read_or_zeros(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match file.read_at(out, offset) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                offset += read as u64;
                out = out.get_mut(read..).unwrap_or_default();
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
