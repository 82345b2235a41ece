//! Writes past the system's cache, where the file system can: a segment is not read again soon, so the copy, its
//! write-back and the memory are spared, and a durable write returns sooner.

use super::frame::BATCH_MAX;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Memory and places at a multiple of it suit nearly every disk.
pub(in crate::audit) const ALIGNED: usize = 4096;

/// How one file is written.
pub(super) struct Direct {
    /// Past the cache.
    on: bool,
    /// Holds what is written, where the disk wants it.
    buffer: Vec<u8>,
}

impl Direct {
    /// From now on past the cache, if the file system of `file` knows how.
    pub(in crate::audit) fn of(file: &File) -> Self {
        Self { on: set_direct(file, true).is_ok(), buffer: Vec::new() }
    }

    /// As [`FileExt::write_all_at`]: what it has written is not yet durable.
    pub(in crate::audit) fn write_all_at(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.on {
            let written = match self.aligned(bytes) {
                Some(aligned) => file.write_all_at(aligned, at),
                None => Err(io::ErrorKind::InvalidInput.into()),
            };
            match written {
                // The sectors of this disk are larger than our blocks. The cache takes it, over what may have been written.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    set_direct(file, false)?;
                    tracing::info!(
                        "this disk is written through the system's cache: it takes no blocks of this size past it"
                    );
                    *self = Self { on: false, buffer: Vec::new() };
                }
                done => return done,
            }
        }
        file.write_all_at(bytes, at)
    }

    fn aligned(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        // One large batch must not keep its memory for good.
        let needed = ALIGNED + bytes.len().next_power_of_two();
        if self.buffer.len() < needed || self.buffer.len() > needed.max(BATCH_MAX / 4) {
            self.buffer = vec![0; needed];
        }
        let begin = self.buffer.as_ptr().align_offset(ALIGNED);
        let aligned = self.buffer.get_mut(begin..begin.checked_add(bytes.len())?)?;
        aligned.copy_from_slice(bytes);
        Some(aligned)
    }
}

/// Has what follows read and written past the cache, or through it again.
pub(in crate::audit) fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_disk_takes_all_bytes_are_written_where_they_belong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [0; 16_384]).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let mut direct = Direct::of(&file);
        let knows = direct.on;
        assert_eq!(knows, set_direct(&file, true).is_ok());
        let bytes: Vec<u8> = (0..9_000_u32).map(|n| n.to_le_bytes()[0] | 1).collect();
        // Sectors of any disk, from an address that is none of theirs.
        direct.write_all_at(&file, &bytes[1..4_097], 4_096).unwrap();
        assert_eq!(direct.on, knows, "aligned");
        // Ours, which a disk with larger ones refuses.
        direct.write_all_at(&file, &bytes[4_097..8_705], 8_192).unwrap();
        let mut expected = vec![0; 16_384];
        expected[4_096..12_800].copy_from_slice(&bytes[1..8_705]);
        assert_eq!(std::fs::read(&path).unwrap(), expected);

        // No sectors: a disk that takes nothing else is written through the cache from here on.
        direct.write_all_at(&file, &bytes[..100], 12_800).unwrap();
        direct.write_all_at(&file, &bytes[100..512], 12_900).unwrap();
        expected[12_800..13_312].copy_from_slice(&bytes[..512]);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn a_large_batch_keeps_no_memory() {
        let file = tempfile::tempfile().unwrap();
        let mut direct = Direct { on: true, buffer: Vec::new() };
        direct.write_all_at(&file, &vec![1; BATCH_MAX], 0).unwrap();
        direct.write_all_at(&file, &[1; 512], 0).unwrap();
        assert!(direct.buffer.len() < BATCH_MAX / 4);
    }
}
