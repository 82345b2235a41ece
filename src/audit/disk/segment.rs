//! Segment files: prepared in advance, inscribed when their turn comes, then only appended to.
//!
//! A file of zeros that were written and synced takes further writes without any change to the file system's own
//! structures, so one `fdatasync` is one write of data, and the space cannot be missing later. `posix_fallocate`
//! promises the space alone: its extents are marked unwritten, and each first write would change that mark.
//!
//! ```text
//! segments/preparing     zeros are being written           a crash leaves it: it is begun again
//! segments/next          all zeros, synced                 a crash leaves it: checked for zeros and used
//! segments/<20 digits>   header, batches, zeros            named after the sequence of its first record
//! ```
//!
//! What is written into a segment stays. When a crash cut off the last batch, the log goes on in the next segment, whose
//! header says what was left; if not even one record precedes that batch, both have the same first sequence, and the
//! second has its index in its name (`<20 digits>-<index>`).

use super::direct::Direct;
use super::header::Header;
use crate::audit::error::{FileError, at};
use crate::durable;
use rustix::fs::{AtFlags, StatxFlags, statx};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const CHUNK: usize = 1024 * 1024;
const ENDING: &str = ".seg";

/// The directory of the segments.
pub(in crate::audit) fn directory(log: &Path) -> PathBuf {
    log.join("segments")
}

/// All segments, each with the sequence in its name, in order.
pub(in crate::audit) fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>, FileError> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(directory, "listing"))?,
    };
    for entry in entries {
        let entry = entry.map_err(at(directory, "listing"))?;
        if let Some(place) = entry.file_name().to_str().and_then(place) {
            found.push((place, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|((first, _), path)| (first, path)).collect())
}

/// First sequence and index in a name.
fn place(name: &str) -> Option<(u64, u64)> {
    let stem = name.strip_suffix(ENDING)?;
    let (digits, index) = match stem.split_once('-') {
        Some((digits, index)) => (digits, index.parse().ok()?),
        None => (stem, 0),
    };
    (digits.len() == 20).then_some((digits.parse().ok()?, index))
}

/// A file of zeros, synced, whose turn has not come.
pub(in crate::audit) struct Prepared {
    file: File,
    direct: Direct,
    path: PathBuf,
    pub(in crate::audit) bytes: u64,
}

impl Prepared {
    /// Takes the file that an earlier run left when it is all zeros, else makes one.
    ///
    /// `between` is called now and then while zeros are written and says whether to go on; `None` when it did not.
    pub(in crate::audit) fn make(
        directory: &Path,
        bytes: u64,
        between: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Self>, FileError> {
        let path = directory.join("next");
        if let Ok(file) = OpenOptions::new().read(true).write(true).open(&path)
            && is_zeros(&file, bytes, between).map_err(at(&path, "reading"))?
        {
            return Ok(Some(Self { direct: Direct::of(&file), file, path, bytes }));
        }
        let preparing = directory.join("preparing");
        let made = fill(&preparing, bytes, between).and_then(|file| {
            let Some((file, direct)) = file else { return Ok(None) };
            durable::rename(&preparing, &path).map_err(at(&path, "renaming"))?;
            Ok(Some(Self { file, direct, path, bytes }))
        });
        if !matches!(made, Ok(Some(_))) {
            // Half a file of zeros would keep the space that other processes may need.
            let _ = std::fs::remove_file(&preparing);
        }
        made
    }

    /// Writes the header, durable. The file still has no name that counts.
    ///
    /// Refuses a file that its path does not lead to any more: a header in it would never count, or would be written
    /// over that of a segment.
    pub(in crate::audit) fn inscribe(mut self, header: &Header) -> Result<Active, FileError> {
        let named = |e| at(&self.path, "looking at the next segment")(e);
        let (file, found) = (self.file.metadata().map_err(named)?, std::fs::symlink_metadata(&self.path));
        let found = found.map_err(named)?;
        if (file.dev(), file.ino(), file.nlink(), file.len()) != (found.dev(), found.ino(), 1, self.bytes) {
            return Err(named(io::Error::other("it was replaced by another file")));
        }
        let encoded = header.encode();
        self.direct.write_all_at(&self.file, &encoded, 0).map_err(at(&self.path, "writing the header"))?;
        self.file.sync_data().map_err(at(&self.path, "fdatasync"))?;
        Ok(Active {
            file: self.file,
            direct: self.direct,
            path: self.path,
            id: header.id,
            index: header.index,
            bytes: self.bytes,
            block: header.block,
            at: encoded.len() as u64,
        })
    }
}

fn fill(
    path: &Path,
    bytes: u64,
    between: &mut dyn FnMut() -> bool,
) -> Result<Option<(File, Direct)>, FileError> {
    // Asked first: an attempt each second that fills the disk to its last byte before it fails would take the space
    // from the published files and from other processes that write there.
    let disk = rustix::fs::statvfs(path.parent().unwrap_or(path));
    if disk.is_ok_and(|d| d.f_bavail.saturating_mul(d.f_frsize) < bytes) {
        return Err(at(path, "finding space for zeros")(io::ErrorKind::StorageFull.into()));
    }
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = open.open(path).map_err(at(path, "creating"))?;
    let mut direct = Direct::of(&file);
    if !zeros(0..bytes, between, |zeros, at| direct.write_all_at(&file, zeros, at))
        .map_err(at(path, "writing zeros"))?
    {
        return Ok(None);
    }
    file.sync_all().map_err(at(path, "fsync"))?;
    Ok(Some((file, direct)))
}

/// Writes zeros over these bytes; whether `between` let it come to the end.
fn zeros(
    bytes: Range<u64>,
    between: &mut dyn FnMut() -> bool,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<bool> {
    let zeros = vec![0; CHUNK];
    let mut offset = bytes.start;
    while offset < bytes.end {
        if !between() {
            return Ok(false);
        }
        let length = usize::try_from(bytes.end - offset).unwrap_or(CHUNK).min(CHUNK);
        write(zeros.get(..length).unwrap_or_default(), offset)?;
        offset += length as u64;
    }
    Ok(true)
}

fn is_zeros(mut file: &File, bytes: u64, between: &mut dyn FnMut() -> bool) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() != bytes {
        return Ok(false);
    }
    let zeros = vec![0; CHUNK];
    let mut chunk = zeros.clone();
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if !between() || chunk.get(..read) != zeros.get(..read) {
            return Ok(false);
        }
    }
}

/// The segment that is written to.
pub(in crate::audit) struct Active {
    file: File,
    path: PathBuf,
    id: [u8; 8],
    index: u64,
    bytes: u64,
    block: u64,
    at: u64,
    direct: Direct,
}

impl Active {
    /// Goes on in a segment that was read up to `end`.
    pub(in crate::audit) fn resume(path: &Path, header: &Header, end: u64) -> Result<Self, FileError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(at(path, "opening"))?;
        let (direct, path) = (Direct::of(&file), path.to_path_buf());
        let Header { id, index, bytes, block, .. } = *header;
        Ok(Self { file, path, id, index, bytes, block, at: end, direct })
    }

    /// Gives an inscribed file the name that makes it part of the log.
    pub(in crate::audit) fn put_in_place(&mut self, directory: &Path, first: u64) -> Result<(), FileError> {
        self.name(directory.join(format!("{first:020}{ENDING}")))
    }

    /// As [`Self::put_in_place`], behind a segment of the same first sequence: none of its records is whole.
    pub(in crate::audit) fn put_behind(&mut self, directory: &Path, first: u64) -> Result<(), FileError> {
        self.name(directory.join(format!("{first:020}-{}{ENDING}", self.index)))
    }

    fn name(&mut self, path: PathBuf) -> Result<(), FileError> {
        // A segment of that name would be overwritten: there is none, unless two logs write into one directory.
        if path.exists() {
            return Err(at(&path, "renaming the next segment")(io::ErrorKind::AlreadyExists.into()));
        }
        durable::rename(&self.path, &path).map_err(at(&path, "renaming the next segment"))?;
        self.path = path;
        Ok(())
    }

    pub(in crate::audit) const fn id(&self) -> [u8; 8] {
        self.id
    }

    pub(in crate::audit) const fn index(&self) -> u64 {
        self.index
    }

    /// Bytes of a block: a batch takes whole ones.
    pub(in crate::audit) const fn block(&self) -> u64 {
        self.block
    }

    /// Bytes that it still takes.
    pub(in crate::audit) const fn left(&self) -> u64 {
        self.bytes - self.at
    }

    /// Writes one batch, whole blocks that hold nothing yet, and returns when it is durable.
    pub(in crate::audit) fn append(&mut self, batch: &[u8]) -> Result<(), FileError> {
        self.direct.write_all_at(&self.file, batch, self.at).map_err(at(&self.path, "writing"))?;
        // The point of no return. Before it returns nothing of this batch is true: a crash may leave any of its
        // sectors, and recovery keeps the frames that are whole, though they released nothing. After it returns
        // everything in the batch survives every crash, and receipts may be made.
        self.file.sync_data().map_err(at(&self.path, "fdatasync"))?;
        self.at += batch.len() as u64;
        // A file that was deleted takes writes and syncs without an error, and is gone; one that was cut off takes them
        // too, behind a hole where records had been.
        let looked = |e| at(&self.path, "looking at the live segment")(e);
        // Not `metadata`: asking for the time of the last change makes the next write change the inode too, which is
        // one more write to the disk for each batch.
        let asked = StatxFlags::NLINK | StatxFlags::SIZE;
        let m = statx(&self.file, c"", AtFlags::EMPTY_PATH, asked).map_err(|e| looked(e.into()))?;
        if m.stx_nlink != 1 {
            return Err(looked(io::Error::other(links(m.stx_nlink.into()))));
        }
        if m.stx_size != self.bytes {
            let why = format!("it has {} bytes, expected {}: it was cut or extended", m.stx_size, self.bytes);
            return Err(looked(io::Error::other(why)));
        }
        Ok(())
    }

    /// What its name must lead to while it is live.
    pub(in crate::audit) fn identity(&self) -> Result<Identity, FileError> {
        let m = self.file.metadata().map_err(at(&self.path, "looking at the live segment"))?;
        Ok(Identity { path: self.path.clone(), device: m.dev(), inode: m.ino(), bytes: self.bytes })
    }
}

/// The refusal to write a live segment that has `found` names in the file system instead of one.
fn links(found: u64) -> String {
    match found {
        0 => "expected one name in the file system, found none: it was deleted".to_owned(),
        _ => format!(
            "expected one name in the file system, found {found}: hard links to it (made by `cp -l` or a backup) would \
             change with it; remove them, and copy instead"
        ),
    }
}

/// A file by device and inode, with its length.
pub(in crate::audit) struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
}

impl Identity {
    /// Whether the path still leads to the file, and nothing else does.
    pub(in crate::audit) fn check(&self) -> Result<(), String> {
        let path = self.path.display();
        let m = std::fs::symlink_metadata(&self.path)
            .map_err(|e| format!("the live segment {path} is gone: {e}"))?;
        if (m.dev(), m.ino()) != (self.device, self.inode) {
            return Err(format!("the live segment {path} was replaced by another file"));
        }
        if m.nlink() != 1 {
            return Err(format!("the live segment {path}: {}", links(m.nlink())));
        }
        if m.len() != self.bytes {
            return Err(format!("the live segment {path} has {} bytes, expected {}", m.len(), self.bytes));
        }
        Ok(())
    }
}
