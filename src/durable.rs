//! Atomic and durable changes of files.
//!
//! A rename is durable only after a sync of its directory, and a renamed file has its contents only if it was synced
//! before the rename. Every function here returns after these syncs.

#[cfg(test)]
pub(crate) mod faults;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Replaces `path` with `contents`, atomically and durably: a reader, also after a crash, sees either the old or the
/// new contents, whole.
///
/// Writes to `.<name>.new` beside `path` first, so one path has one writer at a time. `mode` is reduced by the
/// process's umask.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let (mut file, gathering) = gather(path, mode)?;
    file.write_all(contents)?;
    file.sync_all()?;
    // The point of no return: before it the old contents are in place, after it the new ones. The sync of the directory
    // decides which of them a crash leaves.
    std::fs::rename(&gathering, path)?;
    sync_dir(&parent(path))
}

/// Makes a new file `.<name>.new` beside `path`, to be renamed after its sync, and returns its path. Replaces the
/// leftover of a crash and follows no link.
pub fn gather(path: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut gathering = std::ffi::OsString::from(".");
    gathering.push(name);
    gathering.push(".new");
    let gathering = path.with_file_name(gathering);
    match std::fs::remove_file(&gathering) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&gathering)?;
    Ok((file, gathering))
}

/// Renames a file that is synced already, within one file system, durably.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_dir(&parent(to))
}

/// Creates `path` and its missing parents, durably. An existing directory is no error.
///
/// `mode` of new directories is reduced by the process's umask.
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

/// Refuses a directory of another user, or one that others may write: files that root makes there lock the owner out,
/// and root would follow the owner's links. A missing directory is no error.
pub fn own(path: &Path) -> io::Result<()> {
    let (owner, mode) = match std::fs::metadata(path) {
        Ok(found) => (found.uid(), found.mode()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let me = nix::unistd::geteuid().as_raw();
    if owner == me && mode & 0o022 == 0 {
        return Ok(());
    }
    if owner == me {
        let mode = mode & 0o777;
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("expected a directory that its owner alone may write, found mode {mode:o}: chmod go-w"),
        ));
    }
    let name = |uid: u32| match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => user.name,
        _ => format!("the user with number {uid}"),
    };
    let (owner, me) = (name(owner), name(me));
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "the directory belongs to {owner}, and this command runs as {me}, whose files {owner} could not use: \
             run it as {owner}, with systemd by chancery-once"
        ),
    ))
}

/// Makes created, renamed and removed names in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory of `path`; the working directory for a bare name.
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
    fn a_name_that_leads_elsewhere_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("checkpoint"), dir.path().join("other"));
        std::fs::write(&other, "kept").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join(".checkpoint.new")).unwrap();
        write(&path, b"one", 0o644).unwrap();
        assert_eq!(std::fs::read(&other).unwrap(), b"kept");
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_directory_that_others_may_write_is_not_ours() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        own(dir.path()).unwrap();
        own(&dir.path().join("missing")).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(own(dir.path()).unwrap_err().to_string().contains("chmod go-w"));
        if nix::unistd::geteuid().is_root() {
            let other = tempfile::tempdir().unwrap();
            std::os::unix::fs::chown(other.path(), Some(1), Some(1)).unwrap();
            assert!(own(other.path()).unwrap_err().to_string().contains("chancery-once"));
        }
    }

    #[test]
    fn a_write_into_a_missing_directory_fails() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(&dir.path().join("no/file"), b"x", 0o644).is_err());
    }
}
