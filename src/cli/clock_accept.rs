//! `chancery clock accept`: the operator confirms the time to which the system clock was set.

use super::{ConfigFile, fail, operator, read};
use crate::config::Config;
use crate::exit::{self, Status};
use crate::signer::{AdminAnswer, AdminAsk, AdminError, Offline, StartError, ask_admin};
use clap::Args;

/// Trusts the time that the system's clock shows now, after it was set by more than the tolerance.
///
/// Check the clock first: tokens expire, and used assertions are purged, by the accepted time. A record names operator,
/// reason, and the time before and after. A running signer informs the gateway; if it is stopped, this command writes
/// to the log, and the gateway is informed once both run again.
#[derive(Args)]
pub struct ClockAccept {
    #[command(flatten)]
    file: ConfigFile,
    /// Why the new time is right; every auditor can read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Printed on success.
const ACCEPTED: &str = "the signer trusts the time of the system's clock from now on; a gateway that is connected follows \
                        within seconds, and /readyz says when";
const ACCEPTED_OFFLINE: &str = "the time of the system's clock is accepted in the log; signer and gateway trust it once they \
                                are started and connected";

fn accept(config: &Config, reason: &str) -> Result<&'static str, (String, Status)> {
    match ask_admin(config, &AdminAsk::AcceptClock { reason: reason.to_owned() }) {
        Ok(AdminAnswer::ClockAccepted {}) => return Ok(ACCEPTED),
        Ok(AdminAnswer::Failed { reason }) => return Err((reason, exit::UNAVAILABLE)),
        Ok(AdminAnswer::Checkpoint { .. }) => {
            return Err(("the signer answered something else".to_owned(), exit::UNAVAILABLE));
        }
        Err(AdminError::Stopped) => {}
        Err(error) => return Err((error.to_string(), error.exit_status())),
    }
    let failed = |e: StartError| (e.to_string(), e.exit_status());
    let log = Offline::open(config).map_err(failed)?;
    log.accept_clock(reason, &operator()).map_err(|reason| (reason, exit::UNAVAILABLE))?;
    log.close().map_err(failed)?;
    Ok(ACCEPTED_OFFLINE)
}

/// Runs the command.
pub fn run(args: &ClockAccept) -> Status {
    let config = match read(&args.file) {
        Ok(config) => config,
        Err(status) => return status,
    };
    match accept(&config, &args.reason) {
        Ok(said) => {
            say!("{said}");
            0
        }
        Err((reason, status)) => fail(&reason, status),
    }
}
