//! Runs a task in a process of its own and makes each of its system calls on some files fail in turn.
//!
//! The task is an ignored test of this program: real code on real files. It prints, line by line, the results that
//! callers got before the fault; the test compares them with the files afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Environment variable with the task's directory.
const HOME: &str = "FAULTS_HOME";

/// The task's directory, in the task's process.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os(HOME).map(PathBuf::from)
}

#[derive(Clone)]
pub(crate) struct Fault {
    call: String,
    name: String,
    number: usize,
    how: &'static str,
}

impl Fault {
    /// Whether the caller must retry by itself.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.how, "eintr" | "short")
    }

    /// Whether this is one of these calls on this name.
    pub(crate) fn is_of(&self, calls: &[&str], name: &str) -> bool {
        calls.contains(&self.call.as_str()) && self.name == name
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.call, self.name, self.number, self.how)
    }
}

pub(crate) struct Ran {
    /// The task's output.
    pub(crate) told: Vec<String>,
    /// Its calls in order: call and name; a call `fault` follows a failed one; calls of other threads may lie in
    /// between.
    pub(crate) calls: Vec<(String, String)>,
}

/// Runs the ignored test `test` in `home`, with a fault, if any, in its calls on `files` there.
pub(crate) fn run(test: &str, home: &Path, files: &str, fault: Option<&Fault>) -> Ran {
    let log = home.with_file_name(format!("{}.calls", home.file_name().unwrap().display()));
    let _ = std::fs::remove_file(&log);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command
        .env("LD_PRELOAD", library())
        .env(HOME, home)
        .env("FAULTS_UNDER", home.join(files))
        .env("FAULTS_LOG", &log);
    if let Some(fault) = fault {
        command.env("FAULTS_AT", fault.to_string());
    }
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "with {}: {said}", fault.map_or_else(String::new, Fault::to_string));
    let told =
        said.lines().filter_map(|line| line.split_once("told ")).map(|(_, told)| told.to_owned()).collect();
    let calls = std::fs::read_to_string(&log).unwrap_or_default();
    let calls = calls.lines().filter_map(|line| line.split_once(' '));
    Ran { told, calls: calls.map(|(call, name)| (call.to_owned(), name.to_owned())).collect() }
}

/// The faults to try, from the calls of a run without faults: for each call on files of one name the first, the second,
/// the middle and the last, in every way that it can fail.
pub(crate) fn faults(calls: &[(String, String)]) -> Vec<Fault> {
    let mut counts = BTreeMap::<_, usize>::new();
    for call in calls {
        *counts.entry(call).or_default() += 1;
    }
    let mut faults = Vec::new();
    for ((call, name), count) in counts {
        let mut numbers = vec![1, 2, count.div_ceil(2), count];
        numbers.sort_unstable();
        numbers.dedup();
        let ways: &[&str] = match call.as_str() {
            "read" | "pread" => &["eio", "eintr", "short"],
            "write" | "pwrite" => &["eio", "done", "enospc", "eintr", "short"],
            "open" => &["eio", "enospc", "eintr"],
            "fsync" | "fdatasync" => &["eio", "done", "eintr"],
            _ => &["eio", "done", "enospc"],
        };
        for number in numbers.into_iter().filter(|n| *n <= count) {
            let fault = |how| Fault { call: call.clone(), name: name.clone(), number, how };
            faults.extend(ways.iter().copied().map(fault));
        }
    }
    faults
}

/// Tries all, two at a time, and reports all failures.
pub(crate) fn each(faults: &[Fault], try_one: impl Fn(&Fault) + Sync) {
    let (next, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if catch_unwind(AssertUnwindSafe(|| try_one(fault))).is_err() {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(wrong.into_inner(), 0, "of {} faults", faults.len());
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// `tests/faults.c`, compiled.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = LIBRARY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("faults.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library);
        compiler.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults.c")).arg("-ldl");
        let output = compiler.output().expect("a C compiler is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (directory, library)
    });
    library
}
