//! The PIN: read from a file into memory that is wiped, never shown.

use cryptoki::types::RawAuthPin;
use secrecy::ExposeSecret;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Rounds of PBKDF2: OWASP's recommendation for SHA-256 (2023).
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

/// No token takes more (SoftHSM 255, others far less).
const LONGEST: usize = 255;

/// The user's PIN. Its bytes are wiped on drop, and it has neither `Debug` nor a comparison.
pub struct Pin(Arc<RawAuthPin>);

/// Why a file has no usable PIN. The text names the file and never its contents.
#[derive(Debug, thiserror::Error)]
pub enum PinFileError {
    /// The file cannot be read.
    #[error("the PIN file {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("the PIN file {path} is no regular file")]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("the PIN file {path} has mode {mode:04o}, so others can read it; run: chmod 0600 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Nothing in it, or more than a PIN.
    #[error("the PIN file {path} must hold a PIN of 1 to 255 bytes and at most one line end after it")]
    Length {
        /// The file.
        path: PathBuf,
    },
}

impl Pin {
    /// Reads a file that only its owner can read; one line feed at its end is cut.
    pub fn from_file(path: &Path) -> Result<Self, PinFileError> {
        Ok(Self::from_bytes(&read(path, 0o077)?))
    }

    /// Reads a systemd credential; one line feed at its end is cut.
    ///
    /// systemd may use an access control list, whose mask shows as a read permission of the group in the mode. So only
    /// permissions for others are refused here.
    pub fn from_credential(path: &Path) -> Result<Self, PinFileError> {
        Ok(Self::from_bytes(&read(path, 0o007)?))
    }

    /// Copies a PIN from memory; the caller wipes its own copy.
    pub fn from_bytes(pin: &[u8]) -> Self {
        Self(Arc::new(RawAuthPin::new(Box::new(pin.to_vec()))))
    }

    /// PBKDF2-HMAC-SHA256 of the PIN (RFC 8018 §5.2), to compare it with an earlier one. Slow on purpose: a PIN is
    /// short, and an attacker with the result could guess it.
    pub fn stretched(&self, salt: &[u8; 16]) -> [u8; 32] {
        let mut out = [0; 32];
        aws_lc_rs::pbkdf2::derive(
            aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
            ROUNDS,
            salt,
            self.0.expose_secret(),
            &mut out,
        );
        out
    }

    pub(super) fn as_raw(&self) -> &RawAuthPin {
        &self.0
    }

    /// Shares the bytes with another owner, for a later login.
    #[must_use]
    pub fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn read(path: &Path, forbidden: u32) -> Result<Zeroizing<Vec<u8>>, PinFileError> {
    let failed = |source| PinFileError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    // Of the open file, so that it cannot be replaced meanwhile.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(PinFileError::Kind { path: path.to_owned() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(PinFileError::Mode { path: path.to_owned(), mode });
    }
    // A buffer of fixed size: a growing one would leave copies behind.
    let mut buffer = Zeroizing::new([0_u8; LONGEST + 2]);
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let bytes = buffer.get(..length).unwrap_or_default();
    let pin = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if pin.is_empty() || pin.len() > LONGEST || pin.contains(&b'\n') {
        return Err(PinFileError::Length { path: path.to_owned() });
    }
    Ok(Zeroizing::new(pin.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(contents: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_pin_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660, 0o601] {
            let (_dir, path) = file(b"1234", mode);
            assert!(matches!(Pin::from_file(&path), Err(PinFileError::Mode { .. })), "{mode:o}");
        }
        for mode in [0o600, 0o400] {
            let (_dir, path) = file(b"1234", mode);
            assert!(Pin::from_file(&path).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn a_credential_may_show_the_mask_of_its_access_list_but_nothing_for_the_world() {
        let (_dir, path) = file(b"1234", 0o440);
        assert!(Pin::from_credential(&path).is_ok());
        let (_dir, path) = file(b"1234", 0o444);
        assert!(matches!(Pin::from_credential(&path), Err(PinFileError::Mode { .. })));
    }

    #[test]
    fn one_line_end_is_cut_and_no_more() {
        for (contents, pin) in [(&b"1234\n"[..], &b"1234"[..]), (b"1234", b"1234"), (b" 12 \n", b" 12 ")] {
            let (_dir, path) = file(contents, 0o600);
            assert_eq!(read(&path, 0o077).unwrap().as_slice(), pin);
        }
        for contents in [&b""[..], b"\n", b"1234\n\n", b"12\n34", &[b'1'; 256], &[b'1'; 5000]] {
            let (_dir, path) = file(contents, 0o600);
            assert!(matches!(Pin::from_file(&path), Err(PinFileError::Length { .. })), "{}", contents.len());
        }
    }

    #[test]
    fn a_directory_is_no_pin_file_and_no_error_shows_a_pin() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Pin::from_file(dir.path()), Err(PinFileError::Kind { .. })));
        let (_dir, path) = file(b"geheim\ngeheim", 0o600);
        let text = Pin::from_file(&path).err().unwrap().to_string();
        assert!(!text.contains("geheim"), "{text}");
    }
}
