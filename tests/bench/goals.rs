//! Goals of a run, beside its results. Only ratios and differences of one run count.

use super::report::{Load, Report};
use super::scenario::Scenario;
use serde::Serialize;

/// One figure and its goal.
#[derive(Serialize)]
pub(crate) struct Goal {
    /// Name of the measure.
    pub figure: String,
    /// Measured value.
    pub value: f64,
    /// Goal.
    pub wanted: f64,
    /// Whether it should be at least or at most that.
    pub at_least: bool,
    /// `µs`, `MiB`, or nothing for a ratio.
    pub unit: &'static str,
}

impl Goal {
    /// Whether it was reached.
    pub(crate) fn reached(&self) -> bool {
        if self.at_least { self.value >= self.wanted } else { self.value <= self.wanted }
    }

    fn least(figure: String, value: f64, wanted: f64) -> Self {
        Self { figure, value, wanted, at_least: true, unit: "" }
    }

    fn most(figure: String, value: f64, wanted: f64, unit: &'static str) -> Self {
        Self { figure, value, wanted, at_least: false, unit }
    }
}

/// All that this run can tell.
pub(crate) fn goals(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    for load in &report.loads {
        if load.connections == 1 {
            goals.extend(alone(report, load));
        }
        if load.connections >= 64 {
            goals.extend(crowded(report, load));
        }
    }
    goals
}

/// Of one connection: nothing waits for anything but its own answer.
fn alone(report: &Report, load: &Load) -> Option<Goal> {
    let parts = report.alone.get(&load.scenario)?;
    let [_, sign, _] = parts.sign;
    let [_, verify, _] = parts.verify;
    let goal = 1e6 / sign.per_second + 1e6 / verify.per_second + report.fdatasync_us + 80.0;
    let figure = format!(
        "{}: p50 with one connection, C_Sign + verification + fdatasync + 80 µs",
        load.scenario.name()
    );
    Some(Goal::most(figure, load.p50_us, goal, "µs"))
}

/// Of many connections: the processor is the limit.
fn crowded(report: &Report, load: &Load) -> Vec<Goal> {
    let Some(parts) = report.alone.get(&load.scenario) else { return Vec::new() };
    let name = |figure: &str| format!("{}: {figure}", load.scenario.name());
    let [_, _, sign] = parts.sign;
    let [_, _, verify] = parts.verify;
    let floor = sign.cpu_us + verify.cpu_us;
    let spent = load.gateway_us + load.signer_us;
    let efficiency = if load.scenario == Scenario::Rs256 { 0.95 } else { 0.80 };
    let resident = load.resident_kib.iter().map(|kib| super::cost::float(*kib) / 1024.0).sum();
    let mut goals = vec![
        Goal::least(name("efficiency"), floor / spent, efficiency),
        Goal::most(name("CPU beyond C_Sign and verification"), spent - floor, 40.0, "µs"),
    ];
    if load.scenario != Scenario::Rs256 {
        goals.push(Goal::least(name("answers ÷ raw C_Sign"), load.per_second / sign.per_second, 0.50));
    }
    goals.push(Goal::most(name("p99, 3 × p50"), load.p99_us, 3.0 * load.p50_us, "µs"));
    goals.push(Goal::most(name("memory of both processes"), resident, 64.0, "MiB"));
    goals
}
