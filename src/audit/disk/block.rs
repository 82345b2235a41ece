//! The block of a disk: what it may lose as a whole when the power goes while a part of it is written.
//!
//! A disk that takes sectors of 512 bytes mostly keeps blocks of 4096 and rewrites one for each of them. Whatever was
//! durable in a block is at risk as long as anything else is written into it.

use super::header::{BLOCK_MAX, BLOCK_MIN};
use rustix::fs::{major, minor, statvfs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a block where `directory` lies: of the disk as the kernel has it from the device, and of the file system,
/// which writes no less through the cache; never less than 4096.
///
/// A file system that copies what is written again (btrfs, ZFS) or that lies elsewhere (NFS) names no disk, and sizes
/// beyond 64 KiB say how to read fast, not what is at risk: they do not count.
pub(in crate::audit) fn block_of(directory: &Path) -> u64 {
    let file_system = statvfs(directory).map_or(0, |s| s.f_frsize);
    let sane = |bytes: &u64| bytes.is_power_of_two() && *bytes <= BLOCK_MAX;
    [file_system, of_disk(directory).unwrap_or(0)].into_iter().filter(sane).fold(BLOCK_MIN, u64::max)
}

/// A partition's directory in sysfs lies in that of its disk.
fn of_disk(directory: &Path) -> Option<u64> {
    let device = std::fs::metadata(directory).ok()?.dev();
    let queue = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let read = |parent| std::fs::read_to_string(format!("{queue}/{parent}queue/physical_block_size"));
    read("").or_else(|_| read("../")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_whole_on_every_disk() {
        for place in ["/dev/shm", "/tmp", "/nowhere"] {
            let block = block_of(Path::new(place));
            assert!(block.is_power_of_two() && (BLOCK_MIN..=BLOCK_MAX).contains(&block), "{place}: {block}");
        }
    }
}
