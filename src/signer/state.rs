//! The signer's files outside the audit directory, so that a restored log does not bring them back: the signer's
//! checkpoint, and facts for later processes.
//!
//! Each file holds one fact and is replaced atomically and durably. The directory belongs to the signer's user alone.

use crate::config::Config;
use crate::durable;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// Limit of bytes that are read from one file.
const MOST: u64 = 1 << 20;

/// Bytes reserved for a fact: one block of the disk.
const RESERVED: usize = 4096;

/// Reserved space of a fact, and a lock on it.
#[derive(Debug)]
pub struct Reservation(#[expect(dead_code, reason = "its drop unlocks the file")] Flock<File>);

/// `[signer] state_directory`.
#[derive(Clone, Debug)]
pub struct StateDirectory(PathBuf);

impl StateDirectory {
    /// The configured directory; nothing is read or made yet.
    pub fn of(config: &Config) -> Self {
        Self(config.signer_state.clone())
    }

    /// A directory for a test.
    #[cfg(test)]
    pub(super) const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Path of a fact, for messages to the operator.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The fact of this name; `None` if there is none, or no directory.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MOST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST {
            return Err(io::Error::other(format!("it has more than {MOST} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Stores `contents` under this name, durably; makes the directory (mode 0700) if it is missing.
    pub fn write(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        durable::own(&self.0)?;
        durable::create_dir(&self.0, 0o700)?;
        durable::write(&self.path(name), contents, 0o600)
    }

    /// Reserves disk space for a fact that must be stored even on a full disk, and locks out every other process with
    /// the same reservation while the result lives. `WouldBlock` if another process holds it.
    pub fn reserve(&self, name: &str) -> io::Result<Reservation> {
        durable::own(&self.0)?;
        durable::create_dir(&self.0, 0o700)?;
        let path = self.path(name);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
        if file.metadata()?.len() < RESERVED as u64 {
            file.write_all_at(&[b' '; RESERVED], 0)?;
            file.sync_all()?;
            durable::sync_dir(&self.0)?;
        }
        Ok(Reservation(file))
    }

    /// Renames reserved space to its fact, which takes no further space; the content is blank.
    pub fn take_place(&self, reserved: &str, name: &str) -> io::Result<()> {
        durable::rename(&self.path(reserved), &self.path(name))
    }

    /// Writes a fact over its blank space, durably.
    pub fn fill_place(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let mut padded = [b' '; RESERVED];
        let begin = padded.get_mut(..contents.len()).ok_or(ErrorKind::FileTooLarge)?;
        begin.copy_from_slice(contents);
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        file.write_all_at(&padded, 0)?;
        file.sync_all()
    }

    /// Removes a fact, durably, if there is one.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(name)) {
            Ok(()) => durable::sync_dir(&self.0),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_kept_replaced_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDirectory(dir.path().join("signer"));
        assert_eq!(state.read("mark").unwrap(), None);
        state.remove("mark").unwrap();
        state.write("mark", b"one").unwrap();
        state.write("mark", b"two").unwrap();
        assert_eq!(state.read("mark").unwrap().as_deref(), Some(&b"two"[..]));
        state.remove("mark").unwrap();
        assert_eq!(state.read("mark").unwrap(), None);
    }

    #[test]
    fn a_reserved_place_has_one_holder_and_keeps_its_fact() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDirectory(dir.path().join("signer"));
        let held = state.reserve("trial").unwrap();
        assert_eq!(state.reserve("trial").unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(held);
        let held = state.reserve("trial").unwrap();
        state.take_place("trial", "mark").unwrap();
        assert_eq!(state.read("mark").unwrap().unwrap(), [b' '; RESERVED]);
        state.fill_place("mark", b"refused").unwrap();
        assert_eq!(state.read("mark").unwrap().unwrap().trim_ascii_end(), b"refused");
        assert_eq!(state.read("trial").unwrap(), None);
        drop(held);
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDirectory(dir.path().to_path_buf());
        state.write("mark", &vec![0; 1_100_000]).unwrap();
        assert!(state.read("mark").is_err());
    }
}
