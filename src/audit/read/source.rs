//! Reads a file piece by piece, from the disk itself when asked to.

use crate::audit::disk::direct::{ALIGNED, set_direct};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are read at once; a multiple of what any disk wants.
const PIECE: usize = 256 * 1024;

/// A file and the piece of it that was read last.
pub(super) struct Source {
    file: File,
    /// Read past the cache.
    direct: bool,
    /// Holds the piece, at an address that every disk takes.
    buffer: Vec<u8>,
    /// Where in the file the piece begins, and its bytes.
    begin: u64,
    length: usize,
}

impl Source {
    pub(in crate::audit) fn of(file: File) -> Self {
        Self { file, direct: false, buffer: vec![0; PIECE + ALIGNED], begin: 0, length: 0 }
    }

    /// Makes the following reads show what the disk has: after a failed sync the page cache may hold what the disk never
    /// got, in pages that the kernel already counts as clean. Whether the file system promises it.
    ///
    /// Where it can read past the cache (`O_DIRECT`), it does promise it. Where it cannot, the pages are offered for
    /// removal, and the kernel keeps those that are mapped, locked or just being written: nothing is promised then, and
    /// what is read may be what only memory has.
    pub(super) fn read_from_disk(&mut self) -> io::Result<bool> {
        self.file.sync_data()?;
        self.length = 0;
        self.direct = set_direct(&self.file, true).is_ok();
        if self.direct && self.fill(0).is_err() {
            set_direct(&self.file, false)?;
            self.direct = false;
        }
        if !self.direct {
            fadvise(&self.file, 0, None, Advice::DontNeed)?;
        }
        Ok(self.direct)
    }

    /// Fills `out` from `offset` on; what lies behind the end of the file is zeros.
    pub(in crate::audit) fn read(&mut self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            let inside = offset.checked_sub(self.begin).and_then(|n| usize::try_from(n).ok());
            let Some(inside) = inside.filter(|n| *n < self.length) else {
                self.fill(offset - offset % ALIGNED as u64)?;
                if offset >= self.begin + self.length as u64 {
                    out.fill(0);
                    return Ok(());
                }
                continue;
            };
            let piece = self.piece().get(inside..self.length).unwrap_or_default();
            let count = piece.len().min(out.len());
            let (now, later) = std::mem::take(&mut out).split_at_mut(count);
            now.copy_from_slice(piece.get(..count).unwrap_or_default());
            offset += count as u64;
            out = later;
        }
        Ok(())
    }

    /// Reads the piece that begins at `begin`.
    fn fill(&mut self, begin: u64) -> io::Result<()> {
        (self.begin, self.length) = (begin, 0);
        let from = self.buffer.as_ptr().align_offset(ALIGNED);
        while self.length < PIECE {
            let room = self.buffer.get_mut(from + self.length..from + PIECE).unwrap_or_default();
            match self.file.read_at(room, begin + self.length as u64) {
                Ok(0) => return Ok(()),
                Ok(read) => self.length += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.length = 0;
                    return Err(e);
                }
            }
            // Past the cache only the last read of a file ends within a block, and nothing follows it.
            if self.direct && !self.length.is_multiple_of(ALIGNED) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn piece(&self) -> &[u8] {
        self.buffer.get(self.buffer.as_ptr().align_offset(ALIGNED)..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_where_it_lies_and_zeros_behind_the_end() {
        // On a disk and in memory: the two differ in what they can read past the cache.
        for place in [Some("/dev/shm"), Some("target"), None] {
            let dir = place.and_then(|p| tempfile::tempdir_in(p).ok());
            let dir = dir.unwrap_or_else(|| tempfile::tempdir().unwrap());
            let bytes: Vec<u8> =
                (0..700_001_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)] | 1).collect();
            let path = dir.path().join("file");
            std::fs::write(&path, &bytes).unwrap();
            for disk in [false, true] {
                let mut source = Source::of(File::open(&path).unwrap());
                if disk {
                    source.read_from_disk().unwrap();
                }
                for (offset, length) in
                    [(0, 1), (511, 4097), (262_100, 100_000), (10, 700_000), (699_000, 5000), (800_000, 9)]
                {
                    let mut out = vec![7; length];
                    source.read(offset as u64, &mut out).unwrap();
                    let expected = bytes.iter().skip(offset).copied().chain(std::iter::repeat(0));
                    assert!(
                        out.iter().copied().eq(expected.take(length)),
                        "{length} bytes at {offset}, {disk}"
                    );
                }
            }
        }
    }
}
