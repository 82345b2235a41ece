//! Results of a run, for people and for programs.

use super::appliance::Verified;
use super::cost::Cost;
use super::goals::{Goal, goals};
use super::scenario::Scenario;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What threads of one name take for an answer.
#[derive(Serialize)]
pub(crate) struct Thread {
    /// Processor time.
    pub cpu_us: f64,
    /// Task switches.
    pub switches: f64,
}

/// By name of thread.
pub(crate) type Threads = BTreeMap<String, Thread>;

/// The parts of a signed answer alone, each with one thread that rests between, with one, and with two.
pub(crate) struct Alone {
    /// `C_Sign`.
    pub sign: [Cost; 3],
    /// Software verification.
    pub verify: [Cost; 3],
}

impl Alone {
    /// Of two measurements, before and after the loads, and of more with two threads, between the parts of the loads.
    pub(crate) fn between(&self, other: &Self, pairs: &[[Cost; 2]]) -> Self {
        let between = |[a, b, c]: [Cost; 3], [d, e, f]: [Cost; 3], more: fn(&[Cost; 2]) -> Cost| {
            let both: Vec<_> = [c, f].into_iter().chain(pairs.iter().map(more)).collect();
            [Cost::mean(&[a, d]), Cost::mean(&[b, e]), Cost::mean(&both)]
        };
        Self {
            sign: between(self.sign, other.sign, |[sign, _]| *sign),
            verify: between(self.verify, other.verify, |[_, verify]| *verify),
        }
    }
}

/// One load on the whole daemon; pairs are of gateway and signer.
pub(crate) struct Load {
    pub scenario: Scenario,
    pub connections: usize,
    pub answers: u64,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Processor time an answer.
    pub gateway_us: f64,
    /// Processor time an answer.
    pub signer_us: f64,
    /// Processor time that the load generator took for a request; in no other figure.
    pub generator_us: f64,
    /// Task switches an answer.
    pub switches: [f64; 2],
    /// After the load.
    pub resident_kib: [u64; 2],
    /// The most until then.
    pub peak_kib: [u64; 2],
    /// Where the processor time went; empty unless asked for.
    pub threads: [Threads; 2],
}

/// All of it.
pub(crate) struct Report {
    /// Load average of the minute before the run: other load on these cores falsifies rates and times.
    pub others: f64,
    /// No processor slept meanwhile.
    pub awake: bool,
    pub fdatasync_us: f64,
    pub alone: BTreeMap<Scenario, Alone>,
    pub loads: Vec<Load>,
    pub verified: Verified,
    /// Answers that were verified one by one and found in the log.
    pub samples: usize,
}

impl Report {
    /// Tables.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "alone                   1 thread, resting        1 thread             2 threads")?;
        writeln!(out, "                         a second  CPU µs     a second  CPU µs     a second  CPU µs")?;
        for (scenario, alone) in &self.alone {
            let algorithm = scenario.algorithm();
            for (name, costs) in [("C_Sign", alone.sign), ("verification", alone.verify)] {
                write!(out, "{:<20}", format!("{name} {algorithm}"))?;
                for Cost { per_second, cpu_us } in costs {
                    write!(out, " {per_second:>12.0} {cpu_us:>7.1}")?;
                }
                writeln!(out)?;
            }
        }
        writeln!(out, "fdatasync of 2 KiB: {:.0} µs at the median", self.fdatasync_us)?;
        let processors = if self.awake {
            "were kept awake (/dev/cpu_dma_latency)"
        } else {
            "slept between two steps: times with few connections are those of waking them too"
        };
        writeln!(out, "processors {processors}\n")?;

        writeln!(
            out,
            "through the daemon                              µs         CPU µs an answer        switches       MiB"
        )?;
        writeln!(
            out,
            "                     conns a second     p50     p99  gateway  signer  load  gateway signer  gw sgn"
        )?;
        for load in &self.loads {
            let (name, connections, rate) = (load.scenario.name(), load.connections, load.per_second);
            let (p50, p99, gateway, signer) = (load.p50_us, load.p99_us, load.gateway_us, load.signer_us);
            let ([g, s], generator) = (load.switches, load.generator_us);
            let [gm, sm] = load.resident_kib.map(|kib| kib / 1024);
            writeln!(
                out,
                "{name:<20} {connections:>5} {rate:>8.0} {p50:>7.0} {p99:>7.0} {gateway:>8.1} {signer:>7.1} \
                 {generator:>5.1} {g:>8.2} {s:>6.2} {gm:>3} {sm:>3}"
            )?;
            for (process, threads) in ["gateway", "signer"].iter().zip(&load.threads) {
                for (name, Thread { cpu_us, switches }) in threads.iter().filter(|(_, t)| t.cpu_us >= 0.05) {
                    writeln!(out, "    {process:<8} {name:<16} {cpu_us:>7.1} µs {switches:>6.2} switches")?;
                }
            }
        }
        writeln!(out)?;
        for goal in goals(self) {
            let Goal { figure, value, wanted, unit, .. } = &goal;
            let bound = if goal.at_least { "≥" } else { "≤" };
            let reached = if goal.reached() { "reached" } else { "NOT reached" };
            let digits = if unit.is_empty() { 2 } else { 0 };
            writeln!(out, "{reached:<12} {value:>7.digits$} {bound} {wanted:.digits$} {unit:<4} {figure}")?;
        }
        let Verified { records, signed } = self.verified;
        if self.others > 0.5 {
            let others = self.others;
            writeln!(
                out,
                "warning: load average {others:.1} before the run: rates and times are not to be quoted"
            )?;
        }
        let samples = self.samples;
        writeln!(
            out,
            "\nthe log verifies: {records} records, {signed} signed answers; {samples} answers checked one by one"
        )
    }

    /// The same, for machines.
    pub(crate) fn json(&self) -> Value {
        let alone: Vec<_> = self
            .alone
            .iter()
            .map(|(scenario, alone)| json!({"scenario": scenario.name(), "c_sign": alone.sign, "verification": alone.verify}))
            .collect();
        let loads: Vec<_> = self.loads.iter().map(Load::json).collect();
        let goals: Vec<_> =
            goals(self).into_iter().map(|goal| json!({"reached": goal.reached(), "is": goal})).collect();
        json!({
            "load_average_before": self.others, "kept_awake": self.awake, "fdatasync_us": self.fdatasync_us, "alone": alone, "loads": loads, "goals": goals,
            "log": {"records": self.verified.records, "signed": self.verified.signed, "samples": self.samples},
        })
    }
}

impl Load {
    fn json(&self) -> Value {
        json!({
            "scenario": self.scenario.name(), "connections": self.connections, "answers": self.answers,
            "per_second": self.per_second, "p50_us": self.p50_us, "p99_us": self.p99_us,
            "cpu_us": {"gateway": self.gateway_us, "signer": self.signer_us, "generator": self.generator_us},
            "switches": self.switches, "resident_kib": self.resident_kib, "peak_kib": self.peak_kib,
            "threads": self.threads,
        })
    }
}
