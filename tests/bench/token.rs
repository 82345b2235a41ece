//! The SoftHSM token of a run.

use super::Outcome;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The token's label.
pub(crate) const LABEL: &str = "chancery-bench";

/// Where Debian and others keep SoftHSM.
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

/// SoftHSM on this machine.
pub(crate) fn module() -> Outcome<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        format!("no SoftHSM in {}; on Debian: apt-get install softhsm2", MODULES.join(", ")).into()
    })
}

/// The directory that `softhsm/token.sh` makes inside the run's.
pub(crate) fn directory(run: &Path) -> PathBuf {
    run.join("token")
}

/// What `SOFTHSM2_CONF` has to say for this token.
pub(crate) fn softhsm_conf(run: &Path) -> PathBuf {
    directory(run).join("softhsm2.conf")
}

/// The file with the user's PIN.
pub(crate) fn pin_file(run: &Path) -> PathBuf {
    directory(run).join("pin")
}

/// Makes it, with new PINs.
pub(crate) fn make(run: &Path) -> Outcome<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("softhsm/token.sh");
    let made = Command::new(&script)
        .arg(directory(run))
        .arg(LABEL)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    if made.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", script.display(), String::from_utf8_lossy(&made.stderr).trim()).into())
}
