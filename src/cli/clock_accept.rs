//! `chancery clock accept`: the operator says that the time to which the system's clock was set is right.

use super::{ConfigFile, Status, fail, operator, read};
use crate::config::Config;
use crate::signer::{AdminAnswer, AdminAsk, AdminError, Offline, StartError, ask_admin};
use clap::Args;

/// Trusts the time that the system's clock shows now, after it was set by more than the tolerance.
///
/// Look at the clock first: tokens end, and used assertions are forgotten, by the time that is accepted. The act is
/// recorded with operator and reason, and with the time before and after. A running signer tells the gateway; when it is
/// stopped, this command does it at the log, and the gateway hears of it when both run again.
#[derive(Args)]
pub struct ClockAccept {
    #[command(flatten)]
    file: ConfigFile,
    /// Why the new time is right; every auditor can read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What is said of what was done.
const ACCEPTED: &str = "the signer trusts the time of the system's clock from now on; a gateway that is connected follows \
                        within seconds, and /readyz says when";
const ACCEPTED_OFFLINE: &str = "the time of the system's clock is accepted in the log; signer and gateway trust it once they \
                                are started and connected";

fn accept(config: &Config, reason: &str) -> Result<&'static str, (String, Status)> {
    match ask_admin(config, &AdminAsk::AcceptClock { reason: reason.to_owned() }) {
        Ok(AdminAnswer::ClockAccepted {}) => return Ok(ACCEPTED),
        Ok(AdminAnswer::Failed { reason }) => return Err((reason, 69)),
        Ok(AdminAnswer::Checkpoint { .. }) => {
            return Err(("the signer answered something else".to_owned(), 69));
        }
        Err(AdminError::Stopped) => {}
        Err(error) => return Err((error.to_string(), error.exit_status())),
    }
    let failed = |e: StartError| (e.to_string(), e.exit_status());
    let log = Offline::open(config).map_err(failed)?;
    log.accept_clock(reason, &operator()).map_err(|reason| (reason, 69))?;
    log.close().map_err(failed)?;
    Ok(ACCEPTED_OFFLINE)
}

/// Does it.
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
