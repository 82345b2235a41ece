//! Files that are there after a crash, or are not there at all.
//!
//! A rename is durable only when the directory that holds it has been synced, and a renamed file has contents only
//! when it was synced before the rename. Every function here returns after the disk has said so.

#[cfg(test)]
pub(crate) mod faults;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Replaces `path` with `contents`, atomically and durably: a reader, also one after a crash, sees the old contents
/// or the new ones, whole.
///
/// The new contents are gathered in `.<name>.new` beside `path`, so one path has one writer at a time. `mode` is what
/// the file gets, less the process's umask.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut gathering = std::ffi::OsString::from(".");
    gathering.push(name);
    gathering.push(".new");
    let gathering = path.with_file_name(gathering);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&gathering)?;
    file.write_all(contents)?;
    file.sync_all()?;
    // The point of no return: before it the old contents stand, after it the new ones. Which of the two a crash
    // leaves is settled only by the sync of the directory.
    std::fs::rename(&gathering, path)?;
    sync_dir(&parent(path))
}

/// Moves a file that is synced already to another name in the same file system, durably.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_dir(&parent(to))
}

/// Creates `path` and the directories above it that are missing, durably. It is no error when it exists already.
///
/// `mode` is what new directories get, less the process's umask.
pub fn create_dir(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    create_dir(&above, mode)?;
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    sync_dir(&above)
}

/// Makes the names in a directory durable: those created, renamed and removed.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory that holds `path`; a bare name is held by the working directory.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        write(&path, b"one", 0o644).unwrap();
        write(&path, b"two", 0o644).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_are_created_to_any_depth_and_once_more_without_error() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir(&deep, 0o755).unwrap();
        create_dir(&deep, 0o755).unwrap();
        assert!(deep.is_dir());
    }

    #[test]
    fn a_write_into_a_missing_directory_fails() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(&dir.path().join("no/file"), b"x", 0o644).is_err());
    }
}
