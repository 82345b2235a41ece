//! Files that are there after a crash, or are not there at all.
//!
//! A rename is durable only when the directory that holds it has been synced, and a renamed file has contents only
//! when it was synced before the rename. Every function here returns after the disk has said so.

#[cfg(test)]
pub(crate) mod faults;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Replaces `path` with `contents`, atomically and durably: a reader, also one after a crash, sees the old contents
/// or the new ones, whole.
///
/// The new contents are gathered in `.<name>.new` beside `path`, so one path has one writer at a time. `mode` is what
/// the file gets, less the process's umask.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let (mut file, gathering) = gather(path, mode)?;
    file.write_all(contents)?;
    file.sync_all()?;
    // The point of no return: before it the old contents stand, after it the new ones. Which of the two a crash
    // leaves is settled only by the sync of the directory.
    std::fs::rename(&gathering, path)?;
    sync_dir(&parent(path))
}

/// A new file `.<name>.new` beside `path`, for contents that get this name once they are synced, and its path. What a
/// crash left there is replaced, and a name that leads elsewhere is not followed.
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

/// Refuses a directory of another user, or one that others may write: what root makes there locks its owner out, and root
/// would follow whatever names the owner put there. It is no error when nothing is there yet.
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
