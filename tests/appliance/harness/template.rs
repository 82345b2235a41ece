//! A token and a log that are made once and copied for each test: they are the same for all settings with the same keys.

use super::{Appliance, copy};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What [`Appliance::make_token_and_log`] leaves in the home of an appliance.
const FILES: [&str; 3] = ["token", "audit", "signer"];

struct Template {
    keys: Vec<(&'static str, &'static str)>,
    segment_bytes: u64,
    home: PathBuf,
    log_key: String,
}

static MADE: Mutex<Vec<Template>> = Mutex::new(Vec::new());

/// Gives an appliance its token and its log; the log's verifier key.
pub(super) fn token_and_log(appliance: &Appliance) -> String {
    let settings = &appliance.settings;
    // Files of other users, or in other places.
    if settings.audit.is_some() || settings.state.is_some() || settings.gateway_user.is_some() {
        return appliance.make_token_and_log();
    }
    // Locked while one is made: most others need the same.
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |t: &&Template| t.keys == settings.keys && t.segment_bytes == settings.segment_bytes;
    if let Some(template) = made.iter().find(fits) {
        copy_files(&template.home, appliance.home());
        return template.log_key.clone();
    }
    let log_key = appliance.make_token_and_log();
    let home = directory().join(made.len().to_string());
    std::fs::create_dir_all(&home).unwrap();
    copy_files(appliance.home(), &home);
    let (keys, segment_bytes) = (settings.keys.clone(), settings.segment_bytes);
    made.push(Template { keys, segment_bytes, home, log_key: log_key.clone() });
    log_key
}

/// Copies them from one home to another.
fn copy_files(from: &Path, to: &Path) {
    for name in FILES {
        copy(&from.join(name), &to.join(name));
    }
    // The one file that names the place.
    let conf = to.join("token/softhsm2.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(conf, text.replace(from.to_str().unwrap(), to.to_str().unwrap())).unwrap();
}

/// Of this process; those of processes that have ended are removed.
fn directory() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates");
    for old in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(old.file_name()).exists() {
            std::fs::remove_dir_all(old.path()).unwrap();
        }
    }
    all.join(std::process::id().to_string())
}
