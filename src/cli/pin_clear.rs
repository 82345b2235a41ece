//! `chancery pin clear`: the operator has looked after a PIN that the token refused.

use super::{ConfigFile, Status, fail, load};
use crate::config::Process;
use crate::signer::clear_refused_pin;

/// Does it, and says what the mark said. The token is not touched.
pub fn run(args: &ConfigFile) -> Status {
    let config = match load(args, Process::Signer) {
        Ok(config) => config,
        Err(status) => return status,
    };
    match clear_refused_pin(&config) {
        Ok(Some(said)) => {
            say!("cleared: {said}");
            say!("the next start gives the configured PIN to the token once");
            0
        }
        Ok(None) => {
            say!("no PIN is marked as refused");
            0
        }
        Err(error) => fail(&error, 74),
    }
}
