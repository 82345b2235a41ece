//! Copies and hashes large files beside a log that uses the same disk: in small pieces, with a sync after every few, so
//! that a write of the log does not wait for hundreds of megabytes; and drops their pages from the page cache.

use super::BackupError;
use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::{Advice, OFlags, fadvise};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes for each read and write.
const PIECE: usize = 256 * 1024;
/// Bytes between two syncs.
const STRIDE: u64 = 4 << 20;

/// Copies the first `end` bytes of a file, and zeros behind them up to `bytes`, to a new file of mode 0600, durably;
/// returns its SHA-256 in hexadecimal digits. `done` gets the number of bytes written since its last call.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    end: u64,
    bytes: u64,
    done: &mut dyn FnMut(u64),
) -> Result<String, BackupError> {
    let mut open = OpenOptions::new();
    // Another user could replace the file by a link, which root would follow.
    open.read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let mut source = open.open(from).map_err(BackupError::io(from, "opening"))?;
    let mut open = OpenOptions::new();
    open.write(true).create_new(true).mode(0o600);
    let mut target = open.open(to).map_err(BackupError::io(to, "creating"))?;
    let (mut buffer, mut digest) = (vec![0; PIECE], Context::new(&SHA256));
    let (mut written, mut synced) = (0, 0);
    while written < bytes {
        let copied = written < end;
        let piece = piece(&mut buffer, if copied { end - written } else { bytes - written });
        if copied {
            source.read_exact(piece).map_err(BackupError::io(from, "reading"))?;
        } else {
            // Written zeros: a sparse file would lack the disk space that the log has reserved.
            piece.fill(0);
        }
        target.write_all(piece).map_err(BackupError::io(to, "writing"))?;
        digest.update(piece);
        written += piece.len() as u64;
        done(piece.len() as u64);
        if written - synced >= STRIDE {
            target.sync_data().map_err(BackupError::io(to, "fdatasync"))?;
            synced = written;
            forget(&source);
            forget(&target);
        }
    }
    target.sync_all().map_err(BackupError::io(to, "fsync"))?;
    forget(&source);
    forget(&target);
    Ok(hex::encode(digest.finish()))
}

/// SHA-256 of a file in hexadecimal digits, and its length; `done` as for [`copy`].
pub(super) fn digest(path: &Path, done: &mut dyn FnMut(u64)) -> Result<(u64, String), BackupError> {
    let mut file = File::open(path).map_err(BackupError::io(path, "opening"))?;
    let length = file.metadata().map_err(BackupError::io(path, "asking for its size"))?.len();
    let (mut buffer, mut digest, mut read) = (vec![0; PIECE], Context::new(&SHA256), 0);
    while read < length {
        let piece = piece(&mut buffer, length - read);
        file.read_exact(piece).map_err(BackupError::io(path, "reading"))?;
        digest.update(piece);
        read += piece.len() as u64;
        done(piece.len() as u64);
    }
    Ok((length, hex::encode(digest.finish())))
}

/// The buffer, cut to the remaining length.
fn piece(buffer: &mut [u8], left: u64) -> &mut [u8] {
    let length = usize::try_from(left).unwrap_or(PIECE).min(buffer.len());
    buffer.get_mut(..length).unwrap_or_default()
}

/// Drops the file's pages from the page cache in favour of the service's. Failure is harmless.
fn forget(file: &File) {
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}
