//! Compares the cost of one signed answer with the cost of its parts, in one run on one machine.
//!
//! `tests/bench/run.sh` builds it as it is released and runs it. Everything is real: a SoftHSM token, the daemon as
//! `chancery serve` with its own signer, its log and its store on the disk that holds the directory of the run. What
//! the daemon's processor time is compared with is measured between its loads, on the same keys and the same cores,
//! because only ratios from one run mean anything on a noisy machine.

mod appliance;
mod awake;
mod cost;
mod disk;
mod goals;
mod http;
mod load;
mod process;
mod reference;
mod report;
mod samples;
mod scenario;
mod token;
mod verification;

use clap::Parser;
use scenario::Scenario;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// An error that ends a run, as a text for the user.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Signed answers through the whole daemon beside `C_Sign`, verification and fdatasync alone.
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that is given or not")]
#[command(name = "bench")]
struct Arguments {
    /// Seconds that each thing is measured for
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// One second for each: to see that it works, not to quote
    #[arg(long)]
    quick: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// What to ask for: all of them unless given
    #[arg(long, value_enum)]
    only: Vec<Scenario>,
    /// Connections at once; 1, 16 and 64 unless given
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// Worker threads of the gateway, as `http.threads`; the daemon's default unless given
    #[arg(long, value_name = "N")]
    gateway_threads: Option<usize>,
    /// Signing threads, as `hsm.sessions`; the daemon's default unless given
    #[arg(long, value_name = "N")]
    sessions: Option<usize>,
    /// Where token, log and store are made; it must not exist, and is removed after a good run unless it is named here
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Let processors sleep between two steps, as the machine is set up; else they are kept awake if that is allowed
    #[arg(long)]
    asleep: bool,
    /// Show where the processor time of each process goes, by thread
    #[arg(long)]
    threads: bool,
    /// Seconds to wait, with the daemon ready, before the first load: for a profiler to attach
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    pause: f64,
    /// Used by the tool itself: sign with the token in this directory as standard input says
    #[arg(long, hide = true, value_name = "DIR")]
    reference: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn plan(&self) -> Outcome<Plan> {
        let seconds = if self.quick { 1.0 } else { self.seconds };
        let time = Duration::try_from_secs_f64(seconds).map_err(|e| format!("--seconds {seconds}: {e}"))?;
        let pause =
            Duration::try_from_secs_f64(self.pause).map_err(|e| format!("--pause {}: {e}", self.pause))?;
        if time < Duration::from_millis(100) {
            return Err(format!("--seconds {seconds}: expected at least 0.1").into());
        }
        let connections =
            if self.connections.is_empty() { vec![1, 16, 64] } else { self.connections.clone() };
        if !connections.iter().all(|n| (1..=512).contains(n)) {
            return Err("--connections: expected numbers from 1 to 512".into());
        }
        let scenarios = if self.only.is_empty() { Scenario::ALL.to_vec() } else { self.only.clone() };
        let (gateway_threads, sessions) = (self.gateway_threads, self.sessions);
        let (asleep, threads) = (self.asleep, self.threads);
        Ok(Plan { time, pause, connections, scenarios, gateway_threads, sessions, asleep, threads })
    }
}

/// The task of a run.
struct Plan {
    time: Duration,
    pause: Duration,
    connections: Vec<usize>,
    scenarios: Vec<Scenario>,
    gateway_threads: Option<usize>,
    sessions: Option<usize>,
    asleep: bool,
    threads: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.reference {
        Some(dir) => reference::serve(dir),
        None => run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let plan = arguments.plan()?;
    let made =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
    let dir = arguments.dir.clone().unwrap_or(made);
    let report = scenario::run(&plan, &dir)?;
    if arguments.dir.is_none() {
        std::fs::remove_dir_all(&dir)?;
    }
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(())
}
