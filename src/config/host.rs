//! Checks that the files and directories that a configuration names exist on this machine.

use super::{Auditors, Config, Mistake, Mistakes, PinSource, SignerMode};
use nix::unistd::Group;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The process that checks: each needs its own part of the machine and may have no access to the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// `chancery serve` with a signer of its own user.
    Gateway,
    /// `chancery signer`.
    Signer,
    /// Both, for `config check` and for a gateway with a child.
    Both,
}

/// A file or directory that is not as the configuration needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProblem {
    /// Line of the key in the configuration; 0 before [`super::find_lines`], and where the key is absent.
    pub line: usize,
    /// Dotted path of the key that names it.
    pub key: Cow<'static, str>,
    /// The file or directory.
    pub path: PathBuf,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// The user of the check, if it is not the current one.
    pub user: Option<String>,
    /// This user has no access, another one may: a problem only for the process that needs it.
    pub denied: bool,
}

impl HostProblem {
    pub(super) fn new(key: &'static str, path: &Path, expected: String, found: String) -> Self {
        Self { line: 0, key: key.into(), path: path.to_owned(), expected, found, user: None, denied: false }
    }

    /// Mistakes that another user finds, since it may not read a file that the current one may.
    pub fn from_mistakes(mistakes: &Mistakes) -> Vec<Self> {
        let file = mistakes.file();
        let problem = |mistake: &Mistake| Self {
            line: mistake.line,
            key: mistake.key.clone().into(),
            path: file.to_owned(),
            expected: mistake.expected.clone(),
            found: mistake.found.clone(),
            user: None,
            denied: false,
        };
        mistakes.list().iter().map(problem).collect()
    }

    fn no_group(name: &str) -> Self {
        Self::new(
            "auditors.group",
            Path::new(name),
            "a group of this machine".to_owned(),
            "none of this name".to_owned(),
        )
    }

    /// `key` names a user that this machine does not know.
    pub fn no_user(key: &'static str, name: &str) -> Self {
        Self::new(key, Path::new(name), "a user of this machine".to_owned(), "none of this name".to_owned())
    }

    fn denied(self, denied: bool) -> Self {
        Self { denied, ..self }
    }
}

impl fmt::Display for HostProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} = {}: expected {}, found {}",
            self.key,
            self.path.display(),
            self.expected,
            self.found
        )?;
        self.user.as_ref().map_or(Ok(()), |user| write!(f, " (as the user {user})"))
    }
}

/// Checks this machine without changing it. An empty list means that `process` has everything that it needs.
pub fn check_host(config: &Config, process: Process) -> Vec<HostProblem> {
    let mut problems = Vec::new();
    let mut look = |problem: Option<HostProblem>| problems.extend(problem);
    if process != Process::Signer {
        if let Some(tls) = &config.http.tls {
            look(file("http.tls.certificate", &tls.certificate));
            look(file("http.tls.key", &tls.key));
            // A key of the system's store is often readable for a group.
            look(closed("http.tls.key", &tls.key, 0o007, "a file that not everybody can read (chmod o-rwx)"));
        }
        if let Some(directory) = config.store.path.parent() {
            look(writable("store.url", directory, "a directory that this user can write to"));
        }
    }
    if process != Process::Gateway {
        look(file("hsm.module", &config.hsm.module));
        if let PinSource::File(path) = &config.hsm.pin {
            look(file("hsm.pin_file", path));
            look(closed("hsm.pin_file", path, 0o077, "a file that only its owner can read (chmod 600)"));
        }
        for (key, directory) in
            [("audit.directory", &config.audit.directory), ("signer.state_directory", &config.signer_state)]
        {
            // The signer makes it: until then its nearest existing parent counts.
            let nearest = directory.ancestors().find(|d| d.exists()).unwrap_or(directory);
            look(writable(key, nearest, "a directory, there or yet to be made, that this user can write to"));
        }
        if let SignerMode::Separate { socket, .. } = &config.signer
            && let Some(directory) = socket.parent()
        {
            look(writable("signer.socket", directory, "a directory that the signer can write to"));
        }
    }
    problems
}

/// What keeps the auditors' group from its socket, or admits other accounts. Apart from [`check_host`], since the
/// service runs without auditors.
pub fn check_auditors(auditors: &Auditors) -> Vec<HostProblem> {
    const KEY: &str = "auditors.socket";
    let mut problems = Vec::new();
    let group = Group::from_name(&auditors.group).ok().flatten();
    if group.is_none() {
        problems.push(HostProblem::no_group(&auditors.group));
    }
    let Some(directory) = auditors.socket.parent() else { return problems };
    problems.extend(writable(KEY, directory, "a directory that the signer can write to"));
    let Ok(about) = std::fs::metadata(directory) else { return problems };
    if let Some(group) = group
        && about.gid() != group.gid.as_raw()
    {
        let expected = format!("a directory of the group {0} (chgrp {0})", group.name);
        let found = match Group::from_gid(about.gid().into()) {
            Ok(Some(other)) => format!("one of {}", other.name),
            _ => format!("one of gid {}", about.gid()),
        };
        problems.push(HostProblem::new(KEY, directory, expected, found));
    }
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o037 != 0o010 {
        let expected = "a directory that its group may enter and not write to, and that others may not enter \
            (chmod g=x,o=)";
        problems.push(HostProblem::new(KEY, directory, expected.to_owned(), format!("mode {mode:04o}")));
    }
    problems
}

/// A regular file that this user can read.
fn file(key: &'static str, path: &Path) -> Option<HostProblem> {
    let expected = "a file that this user can read";
    let problem =
        |found, denied| Some(HostProblem::new(key, path, expected.to_owned(), found).denied(denied));
    match std::fs::metadata(path) {
        Ok(about) if !about.is_file() => problem("no regular file".to_owned(), false),
        Ok(_) => access(path, Access::READ_OK).and_then(|(found, denied)| problem(found, denied)),
        Err(error) => problem(error.to_string(), error.kind() == std::io::ErrorKind::PermissionDenied),
    }
}

/// The file of a secret, without any of the `forbidden` permissions.
fn closed(key: &'static str, path: &Path, forbidden: u32, expected: &'static str) -> Option<HostProblem> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let found = format!("mode {mode:04o}");
    (mode & forbidden != 0).then(|| HostProblem::new(key, path, expected.to_owned(), found))
}

/// A directory that this user can write to.
fn writable(key: &'static str, path: &Path, expected: &'static str) -> Option<HostProblem> {
    // The parent of a bare file name is empty: the working directory.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let problem =
        |found, denied| Some(HostProblem::new(key, path, expected.to_owned(), found).denied(denied));
    match std::fs::metadata(path) {
        Ok(about) if !about.is_dir() => problem("no directory".to_owned(), false),
        Ok(_) => access(path, Access::WRITE_OK | Access::EXEC_OK)
            .and_then(|(found, denied)| problem(found, denied)),
        Err(error) => problem(error.to_string(), error.kind() == std::io::ErrorKind::PermissionDenied),
    }
}

/// Why the effective user has no access, and whether another user could have it.
fn access(path: &Path, how: Access) -> Option<(String, bool)> {
    let error = std::io::Error::from(accessat(CWD, path, how, AtFlags::EACCESS).err()?);
    Some((error.to_string(), error.kind() == std::io::ErrorKind::PermissionDenied))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A machine in a directory of its own, and the configuration that names it.
    fn machine() -> (tempfile::TempDir, Config) {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("module.so"), "").unwrap();
        fs::write(at("pin"), "").unwrap();
        fs::set_permissions(at("pin"), fs::Permissions::from_mode(0o600)).unwrap();
        let text = crate::config::tests::GOOD
            .replace("/usr/lib/softhsm/libsofthsm2.so", at("module.so").to_str().unwrap())
            .replace("/var/lib/chancery", home.path().to_str().unwrap());
        let config = crate::config::tests::read_at(&at("chancery.toml"), &text).unwrap();
        (home, config)
    }

    fn keys(config: &Config, process: Process) -> Vec<String> {
        check_host(config, process).into_iter().map(|p| p.key.into_owned()).collect()
    }

    #[test]
    fn a_machine_that_has_everything_has_no_problem_even_before_the_log_is_made() {
        let (home, config) = machine();
        assert!(!home.path().join("audit").exists());
        assert_eq!(keys(&config, Process::Both), Vec::<String>::new());
    }

    #[test]
    fn the_auditors_directory_is_for_the_signer_and_their_group_alone() {
        let home = tempfile::tempdir().unwrap();
        let own = Group::from_gid(nix::unistd::getegid()).unwrap().unwrap().name;
        let auditors =
            |group: &str| Auditors { socket: home.path().join("auditors.sock"), group: group.to_owned() };
        let wrong = |mode, group| {
            fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
            let found = check_auditors(&auditors(group)).into_iter();
            found.map(|p| format!("{}: {}", p.key, p.found)).collect::<Vec<_>>()
        };
        for mode in [0o710, 0o750, 0o2710] {
            assert_eq!(wrong(mode, &own), Vec::<String>::new(), "{mode:o}");
        }
        for mode in [0o700, 0o711, 0o755, 0o770, 0o777] {
            assert_eq!(wrong(mode, &own), [format!("auditors.socket: mode {mode:04o}")]);
        }
        assert_eq!(wrong(0o710, "no-such-group"), ["auditors.group: none of this name"]);
        let other = if own == "root" { "daemon" } else { "root" };
        assert_eq!(wrong(0o710, other), [format!("auditors.socket: one of {own}")]);
    }

    #[test]
    fn each_process_gets_its_own_problems() {
        let (home, config) = machine();
        fs::remove_file(home.path().join("module.so")).unwrap();
        fs::set_permissions(home.path().join("pin"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(home.path().join("audit"), "").unwrap();
        assert_eq!(keys(&config, Process::Signer), ["hsm.module", "hsm.pin_file", "audit.directory"]);
        assert_eq!(keys(&config, Process::Gateway), Vec::<String>::new());
        drop(home);
        assert_eq!(keys(&config, Process::Gateway), ["store.url"]);
    }
}
