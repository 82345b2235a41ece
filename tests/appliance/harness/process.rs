//! One process with its standard error.

use super::{PATIENCE, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

/// Killed when dropped, if it still runs.
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
    /// Ends when standard error is closed by the process and its children.
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let to = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut said = to.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self { child, said, reader: Some(reader) }
    }

    /// All output of it and its children so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The log lines so far that are JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.said().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a line of the log.
    pub(crate) fn wait_for<T>(&mut self, what: &str, look: impl Fn(&Value) -> Option<T>) -> T {
        until(what, || {
            let found = self.lines().iter().find_map(&look);
            if found.is_none()
                && let Some(status) = self.child.try_wait().unwrap()
            {
                panic!("it ended with {status} before: {what}\n{}", self.said());
            }
            found
        })
    }

    /// The address that it listens on for this setting.
    pub(crate) fn listening(&mut self, setting: &str) -> String {
        self.wait_for(&format!("listening on {setting}"), |line| {
            let of_it = line["message"] == "listening" && line["setting"] == setting;
            of_it.then(|| line["address"].as_str().unwrap().to_owned())
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process id of its only child: the signer that a gateway started.
    pub(crate) fn child_id(&self) -> Option<u32> {
        let parent = self.id().to_string();
        std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // proc(5): the name in parentheses may contain anything; state and parent follow the last parenthesis.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let (state, its_parent) = (fields.next()?, fields.next()?);
            (state != "Z" && its_parent == parent).then_some(id)
        })
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.said());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits briefly for the end of a killed process, and ignores the result.
    pub(crate) fn let_go(&mut self) {
        let _ = self.child.wait();
        let ended = || self.reader.as_ref().is_none_or(JoinHandle::is_finished);
        (0..200)
            .take_while(|_| !ended())
            .for_each(|_| std::thread::sleep(std::time::Duration::from_millis(10)));
    }

    /// Waits until it and all its children have ended.
    pub(crate) fn wait_all(&mut self) -> ExitStatus {
        let status = self.wait();
        until("the end of all its children", || {
            self.reader.as_ref().is_none_or(JoinHandle::is_finished).then_some(())
        });
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }
}

/// Sends a process a signal; one that has ended already ignores it.
pub(crate) fn send(id: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(id).unwrap()), signal);
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
