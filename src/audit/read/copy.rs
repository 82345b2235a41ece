//! What a copy of the log takes while the log goes on, and whether a copy is one that a start would accept.

use super::reader::{Found, ReadError, Reader};
use super::recovery::{ReadErrorIn, damage, recover_against};
use crate::audit::disk::segment;
use crate::audit::error::OpenError;
use crate::audit::note::VerifierKey;
use crate::audit::settings::LogSettings;
use std::path::{Path, PathBuf};

/// The segments that a copy takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// In their order.
    pub segments: Vec<Part>,
    /// Records in them.
    pub records: u64,
}

/// What a copy takes of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes; the copy has the same.
    pub bytes: u64,
    /// The bytes to copy, from its begin. The rest of the copy is zeros, as a segment is prepared: in the log itself
    /// batches may lie there that are not durable yet.
    pub end: u64,
}

impl Extent {
    /// The segments in the log's `directory` up to the end of the batch that holds record number `records` - 1, which must
    /// be durable: a [`crate::audit::Receipt`] says so. The log may be open and growing.
    pub fn of(directory: &Path, records: u64) -> Result<Self, OpenError> {
        let missing = || OpenError::Missing(directory.to_path_buf());
        let mut segments = Vec::new();
        for (first, path) in segment::list(&segment::directory(directory))? {
            if first < records {
                let bytes = std::fs::metadata(&path)
                    .map_err(crate::audit::error::at(&path, "asking for its size"))?
                    .len();
                segments.push(Part { path, bytes, end: bytes });
            }
        }
        let last = segments.last_mut().ok_or_else(missing)?;
        let inside = |error| ReadErrorIn(last.path.clone(), error);
        let mut reader = Reader::open(&last.path).map_err(inside)?;
        while reader.seq() < records {
            match reader.next::<ReadError>(&mut |_, _| Ok(())).map_err(inside)? {
                Found::Batch => {}
                Found::Torn(_) | Found::End => {
                    let what = format!("record {} was durable and is not there", records - 1);
                    return Err(damage(&last.path, reader.at(), what));
                }
            }
        }
        last.end = reader.at();
        Ok(Self { segments, records: reader.seq() })
    }
}

/// A copy that a start would accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Records in it.
    pub records: u64,
    /// Of them, those under its newest checkpoint.
    pub covered: u64,
}

/// Reads a copy of a log as a start reads a log without published files: every record from the first on, the chain, the
/// tree and each recorded checkpoint. Changes nothing.
///
/// `known` is the checkpoint that the gateway's state beside the copy keeps, a signed note: the log must have recorded it.
pub fn verify_copy(
    settings: &LogSettings,
    keys: &[VerifierKey],
    known: Option<&[u8]>,
) -> Result<Verified, OpenError> {
    let known = match known.map(|note| VerifierKey::open(keys, note)).transpose() {
        Ok(known) => known,
        Err(error) => {
            let what = format!("the checkpoint in the state beside it is not of this log: {error}");
            return Err(damage(&settings.directory, 0, what));
        }
    };
    let found = recover_against(settings, keys, known.as_ref(), u64::MAX)?;
    let covered = found.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
    Ok(Verified { records: found.place.edge.size(), covered })
}
