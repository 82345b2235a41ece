//! Resources that a process used, by the kernel's accounts.

use super::Outcome;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// One process of the daemon.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pid: Pid,
}

/// Resources used since its start.
#[derive(Clone, Default)]
pub(crate) struct Usage {
    /// Processor time of all its threads, ended ones too, counted in nanoseconds.
    pub cpu: Duration,
    /// By name of each living thread.
    pub threads: BTreeMap<String, Ran>,
}

/// What threads of one name have used.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ran {
    /// Processor time.
    pub cpu: Duration,
    /// Task switches.
    pub switches: u64,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Outcome<Self> {
        Ok(Self { pid: Pid::from_raw(i32::try_from(pid)?) })
    }

    pub(crate) const fn pid(self) -> Pid {
        self.pid
    }

    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    /// Its first child.
    pub(crate) fn child(self) -> Outcome<Self> {
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // A process may end between the list and the look.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            // The name stands in brackets and may hold anything: state and parent follow the last one.
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            if parent == Some(self.pid.to_string().as_str()) {
                return Self::new(pid);
            }
        }
        Err(format!("process {} has no child: no signer runs", self.pid).into())
    }

    /// Resident memory in KiB: now, and the most it ever had.
    pub(crate) fn memory(self) -> Outcome<(u64, u64)> {
        let status = fs::read_to_string(self.file("status"))?;
        Ok((number(&status, "VmRSS:")?, number(&status, "VmHWM:")?))
    }

    /// Resources used so far.
    pub(crate) fn usage(self) -> Outcome<Usage> {
        let mut usage =
            Usage { cpu: Duration::from(clock_getcpuclockid(self.pid)?.now()?), ..Usage::default() };
        for entry in fs::read_dir(self.file("task"))? {
            let task = entry?.path();
            let read = |name: &str| fs::read_to_string(task.join(name));
            // A thread may end between the list and the look.
            let (Ok(name), Ok(ran), Ok(status)) = (read("comm"), read("schedstat"), read("status")) else {
                continue;
            };
            let nanoseconds = ran.split(' ').next().unwrap_or_default().parse().unwrap_or(0);
            let ran = usage.threads.entry(name.trim().to_owned()).or_default();
            ran.cpu += Duration::from_nanos(nanoseconds);
            ran.switches += number(&status, "voluntary_ctxt_switches:")?;
            ran.switches += number(&status, "nonvoluntary_ctxt_switches:")?;
        }
        Ok(usage)
    }
}

impl Usage {
    /// Resources used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let threads = self.threads.iter().map(|(name, ran)| {
            let earlier = before.threads.get(name).copied().unwrap_or_default();
            let cpu = ran.cpu.saturating_sub(earlier.cpu);
            (name.clone(), Ran { cpu, switches: ran.switches.saturating_sub(earlier.switches) })
        });
        Self { cpu: self.cpu.saturating_sub(before.cpu), threads: threads.collect() }
    }

    /// The sum of both.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.cpu += other.cpu;
        for (name, ran) in other.threads {
            let both = self.threads.entry(name).or_default();
            both.cpu += ran.cpu;
            both.switches += ran.switches;
        }
        self
    }

    /// Task switches of all its threads.
    pub(crate) fn switches(&self) -> u64 {
        self.threads.values().map(|ran| ran.switches).sum()
    }
}

/// Of this machine, over the last minute.
pub(crate) fn load_average() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

fn number(status: &str, name: &str) -> Outcome<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next()).and_then(|value| value.parse().ok());
    value.ok_or_else(|| format!("/proc/PID/status has no {name}").into())
}
